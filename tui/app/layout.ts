/**
 * The user interface of an app as lines of text: from the tree that its interaction component draws,
 * and what a person has typed, to what a terminal of a width shows, and where on it something can be
 * done.
 *
 * The tree comes from a guest and its texts from strangers: nothing lets a control character through,
 * nodes whose parent does not stand before them are left out, as is what lies too deep. Pure.
 *
 * @module
 */
import { charactersOf, cutText, widthOf, wrapText } from "../cells.ts";
import type { Line, Span } from "../lines.ts";
import { singleLine } from "../quantity.ts";

/** A node, as `ui.node` of `realm:app` has it. */
export interface ViewNode {
  /** The place of its parent in the list; of the first one, the root, itself. */
  readonly parent: number;
  readonly kind: "column" | "row" | "heading" | "text" | "button" | "field" | "gap";
  readonly text: string;
  /** Its name in what a person does; empty where nothing can be done. */
  readonly id: string;
}

/** Where a person can do something. */
export interface Stop {
  readonly kind: "button" | "field";
  readonly id: string;
  /** The line on which it begins. */
  readonly line: number;
}

/** What of a person the lines show. */
export interface Shown {
  /** The place among the stops of the one that keys go to. */
  readonly focus: number;
  /** What was typed into fields, by their ids. */
  readonly drafts: ReadonlyMap<string, string>;
}

/** The whole interface, of which a screen shows a part. */
export interface Layout {
  readonly lines: readonly Line[];
  /** In the order in which they stand. */
  readonly stops: readonly Stop[];
}

/** Nodes in one another. */
const DEPTH_MAX = 32;
/** Lines of all; what is drawn after them is left out. */
const LINES_MAX = 5000;
/** Columns between what stands in a row. */
const GAP = 2;
/** Columns for what is typed, where there is as much room. */
const FIELD_COLUMNS = 40;

/** A line with what can be done on it. */
interface PlacedLine {
  readonly spans: Line;
  readonly columns: number;
  readonly stops: readonly Omit<Stop, "line">[];
}

/** Lays out a tree for a terminal that is `columns` wide. */
export function layoutOf(nodes: readonly ViewNode[], columns: number, shown: Shown): Layout {
  const placed = nodes.length === 0 ? [] : new Placer(nodes, shown).place(0, columns, 0);
  const stops = placed.slice(0, LINES_MAX).flatMap(({ stops }, line) =>
    stops.map((stop) => ({ ...stop, line }))
  );
  return { lines: placed.slice(0, LINES_MAX).map(({ spans }) => spans), stops };
}

class Placer {
  readonly #children: readonly (readonly number[])[];
  #stops = 0;

  constructor(readonly nodes: readonly ViewNode[], readonly shown: Shown) {
    const children: number[][] = nodes.map(() => []);
    for (const [i, { parent }] of nodes.entries()) {
      if (i > 0 && parent < i) children[parent]!.push(i);
    }
    this.#children = children;
  }

  /** A node with all in it. */
  place(index: number, columns: number, depth: number): PlacedLine[] {
    if (depth > DEPTH_MAX) return [];
    const node = this.nodes[index]!;
    const own = this.#own(node, columns);
    const inside = this.#children[index]!.map((child) => this.place(child, columns, depth + 1));
    return [...own, ...node.kind === "row" ? inRow(inside, columns) : inside.flat()];
  }

  #own({ kind, text, id }: ViewNode, columns: number): PlacedLine[] {
    switch (kind) {
      case "column":
      case "row":
        return [];
      case "heading":
        return wrapped(text, columns).map((text) => line({ text, bold: true, tone: "accent" }));
      case "text":
        return wrapped(text, columns).map((text) => line({ text }));
      case "gap":
        return [line({ text: "" })];
      case "button":
        return [this.#button(text, id, columns)];
      case "field":
        return [this.#field(text, id, columns)];
    }
  }

  /** Whether keys go to the stop that comes next. */
  #next(id: string): boolean {
    return id !== "" && this.#stops++ === this.shown.focus;
  }

  #button(label: string, id: string, columns: number): PlacedLine {
    const text = `[ ${cutText(singleLine(label), columns - 4)} ]`;
    return {
      ...line({ text, inverse: this.#next(id), tone: id === "" ? "dim" : "plain" }),
      stops: id === "" ? [] : [{ kind: "button", id }],
    };
  }

  #field(label: string, id: string, columns: number): PlacedLine {
    const isNext = this.#next(id);
    const name = cutText(singleLine(label), Math.max(8, columns - 2 - FIELD_COLUMNS));
    const room = Math.max(4, Math.min(FIELD_COLUMNS, columns - widthOf(name) - 2));
    // The end is where the next character goes.
    const typed = cutFront(
      singleLine((this.shown.drafts.get(id) ?? "").slice(-16 * room)),
      room - 1,
    );
    const rest = "_".repeat(Math.max(0, room - widthOf(typed) - 1));
    const spans: Span[] = [
      { text: `${name}: `, bold: isNext },
      { text: typed },
      { text: isNext ? " " : "_", inverse: isNext, tone: "dim" },
      { text: rest, tone: "dim" },
    ];
    return {
      spans: spans.filter(({ text }) => text !== ""),
      columns: widthOf(name) + 2 + room,
      stops: id === "" ? [] : [{ kind: "field", id }],
    };
  }
}

function line(span: Span): PlacedLine {
  return { spans: span.text === "" ? [] : [span], columns: widthOf(span.text), stops: [] };
}

/** Blocks beside one another; what has no room left begins below. */
function inRow(blocks: readonly PlacedLine[][], columns: number): PlacedLine[] {
  const bands: PlacedLine[][][] = [];
  let used = 0;
  for (const block of blocks) {
    if (block.length === 0) continue;
    const width = Math.max(...block.map(({ columns }) => columns));
    if (bands.length === 0 || used + GAP + width > columns) {
      bands.push([]);
      used = -GAP;
    }
    bands.at(-1)!.push(block);
    used += GAP + width;
  }
  return bands.flatMap(beside);
}

function beside(blocks: readonly PlacedLine[][]): PlacedLine[] {
  return blocks.reduce((left, right) => {
    const width = Math.max(...left.map(({ columns }) => columns));
    return Array.from({ length: Math.max(left.length, right.length) }, (_, i) => {
      const [a, b] = [left[i], right[i]];
      if (b === undefined) return a!;
      const space = " ".repeat(width + GAP - (a?.columns ?? 0));
      return {
        spans: [...a?.spans ?? [], { text: space }, ...b.spans],
        columns: width + GAP + b.columns,
        stops: [...a?.stops ?? [], ...b.stops],
      };
    });
  });
}

/** A text in lines, broken between words where that is possible. */
function wrapped(text: string, columns: number): string[] {
  return text.split("\n").slice(0, LINES_MAX)
    .flatMap((paragraph) => wrapText(singleLine(paragraph), columns));
}

/** The end of a text; looks at no more of it than that can need. */
function cutFront(text: string, columns: number): string {
  const characters = charactersOf(text.slice(-16 * columns));
  while (widthOf(characters.join("")) > columns) {
    characters.splice(0, Math.max(1, characters.length - columns));
  }
  return characters.join("");
}
