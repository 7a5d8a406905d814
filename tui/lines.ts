/**
 * The dashboard's lines as text with tones, cut to the width of the terminal.
 *
 * Pure; the Ink components only paint them. Names and messages come from manifests and guests:
 * nothing here lets a control character through.
 *
 * @module
 */
import { formatAge, formatBar, formatBytesOf, formatCount, singleLine } from "./quantity.ts";
import type { LogRow } from "./session.ts";
import type { Row, Status, Tone } from "./view_model.ts";

/** A piece of a line. */
export interface Span {
  readonly text: string;
  readonly tone?: Tone;
  readonly bold?: boolean;
  /** Stands out as a whole, as what is selected does. */
  readonly inverse?: boolean;
}

/** One line of the screen. */
export type Line = readonly Span[];

interface Column {
  readonly title: string;
  readonly width: number;
  readonly align?: "right";
  /** Shown only on terminals at least this wide. */
  readonly columnsMin?: number;
  readonly cell: (row: Row) => Span;
}

const plain = (text: string): Span => ({ text });
const NONE: Span = { text: "-", tone: "dim" };

/** A bar's colour: what is close to its maximum will soon be refused or throttled. */
function toneOfUse(fraction: number): Tone {
  return fraction >= 0.9 ? "bad" : fraction >= 0.7 ? "warn" : "good";
}

function bar(used: number | undefined, max: number | undefined, width: number): Span {
  if (used === undefined || max === undefined || max === 0) return plain("");
  return { text: formatBar(used / max, width), tone: toneOfUse(used / max) };
}

const COLUMNS: readonly Column[] = [
  {
    title: "STATE",
    width: 9,
    cell: (row) => ({ text: row.state, tone: row.tone }),
  },
  {
    title: "RST",
    width: 4,
    align: "right",
    cell: ({ restarts }) =>
      restarts === 0 ? { text: "0", tone: "dim" } : { text: formatCount(restarts), tone: "warn" },
  },
  {
    title: "MEMORY",
    width: 8,
    cell: ({ memory }) => bar(memory?.bytes, memory?.bytesMax, 8),
  },
  {
    title: "",
    width: 12,
    cell: ({ memory }) => memory ? plain(formatBytesOf(memory.bytes, memory.bytesMax)) : NONE,
  },
  {
    title: "PEAK",
    width: 12,
    columnsMin: 120,
    cell: ({ memory }) => memory ? plain(formatBytesOf(memory.bytesPeak, memory.bytesMax)) : NONE,
  },
  {
    title: "FUEL",
    width: 8,
    columnsMin: 100,
    cell: ({ fuel }) => bar(fuel?.perSec, fuel?.perSecMax, 8),
  },
  {
    title: "FUEL/S",
    width: 12,
    cell: ({ fuel }) => {
      if (fuel === undefined) return NONE;
      const rate = fuel.perSec === undefined ? "…" : formatCount(Math.round(fuel.perSec));
      return plain(fuel.perSecMax === undefined ? rate : `${rate}/${formatCount(fuel.perSecMax)}`);
    },
  },
  {
    title: "THR",
    width: 4,
    align: "right",
    // What is throttled at all shows: 0.3 % is not nothing.
    cell: ({ throttled }) =>
      throttled === 0
        ? plain("")
        : { text: `${Math.min(99, Math.ceil(throttled * 100))}%`, tone: "warn" },
  },
  {
    title: "EPOCH",
    width: 7,
    align: "right",
    columnsMin: 120,
    cell: ({ epochTimeoutMs }) => epochTimeoutMs ? plain(`${epochTimeoutMs}ms`) : plain(""),
  },
  {
    title: "AGE",
    width: 6,
    align: "right",
    cell: ({ ageMs }) => ageMs === undefined ? plain("") : plain(formatAge(ageMs)),
  },
  {
    title: "DIGEST",
    width: 12,
    columnsMin: 140,
    cell: ({ digest }) => ({ text: digest.slice(0, 12), tone: "dim" }),
  },
  {
    title: "LAST EXIT",
    width: 40,
    columnsMin: 180,
    cell: ({ lastExit }) => ({ text: lastExit, tone: "warn" }),
  },
];

const NAME_WIDTH_MIN = 8;
const NAME_WIDTH_MAX = 40;

/** The columns that fit, the first of them as wide as the rest allows. */
function columnsFor(columns: number): { nameWidth: number; shown: readonly Column[] } {
  const shown = COLUMNS.filter(({ columnsMin = 0 }) => columns >= columnsMin);
  const rest = columns - 2 - shown.reduce((total, { width }) => total + width + 1, 0);
  return { nameWidth: Math.min(NAME_WIDTH_MAX, Math.max(NAME_WIDTH_MIN, rest)), shown };
}

/** The titles of the table. `position` is such as `3/12` where not everything is shown. */
export function titleLine(columns: number, position = ""): Line {
  const { nameWidth, shown } = columnsFor(columns);
  const text = [
    `  ${fit(`COMPONENT ${position}`, nameWidth)}`,
    ...shown.map(({ title, width, align }) => fit(title, width, align)),
  ].join(" ");
  return [{ text: text.slice(0, columns), tone: "dim", bold: true }];
}

/** A row of the table, exactly as wide as the terminal. */
export function rowLine(row: Row, columns: number, isSelected: boolean): Line {
  const { nameWidth, shown } = columnsFor(columns);
  const isComponent = row.kind === "component";
  const cells: Span[] = [
    {
      text: `${isSelected && isComponent ? "▸" : " "} ` +
        fit(singleLine(isComponent ? row.name : `└ ${row.name}`), nameWidth),
      bold: isComponent,
      inverse: isSelected && isComponent,
    },
  ];
  for (const column of shown) {
    const { text, tone } = column.cell(row);
    cells.push({
      text: ` ${fit(singleLine(text), column.width, column.align)}`,
      tone: tone ?? "plain",
    });
  }
  return cut(cells, columns);
}

/** The first line of the screen: realm, node, manifest, proxy, and how the agent answers. */
export function headerLine(
  status: Status | undefined,
  link: { readonly text: string; readonly tone: Tone },
  columns: number,
): Line {
  const parts = status === undefined ? ["realm"] : [
    `realm ${status.node.realm ?? "(no name)"}`,
    status.node.name,
    status.manifest === null ? "no manifest" : `v${status.manifest.version}`,
    status.proxy ?? "no proxy",
  ];
  const right = ` ${link.text} `;
  const room = columns - right.length;
  const text = fit(` ${singleLine(parts.join("  "))}`, Math.max(0, room));
  const [name, ...rest] = splitAt(text, 1 + parts[0]!.length);
  return cut(
    [{ text: name!, bold: true, tone: "accent" }, { text: rest.join("") }, {
      text: right,
      tone: link.tone,
    }],
    columns,
  );
}

const COLOURS_OF_REPLICAS: readonly Tone[] = ["accent", "good", "warn", "plain"];

/** A line of a log. `text` is cut where the line ends: the full-screen view is no wider. */
export function logLine(row: LogRow, columns: number): Line {
  if (row.kind === "missed") {
    return [{ text: cutText(` … ${row.lines} lines missed`, columns), tone: "warn" }];
  }
  const { replica, stream } = row;
  const mark = row.level ?? (stream === "realm" ? "realm" : stream === "stderr" ? "err" : "");
  return cut([
    { text: `${formatTime(row.wallMs)} `, tone: "dim" },
    {
      text: `${replica ?? "*"} `.padStart(3),
      tone: replica === null
        ? "dim"
        : COLOURS_OF_REPLICAS[replica % COLOURS_OF_REPLICAS.length] ?? "plain",
    },
    ...(mark === ""
      ? []
      : [{ text: `${mark} `, tone: stream === "realm" ? "warn" : "bad" } as Span]),
    { text: singleLine(row.text), tone: stream === "realm" ? "warn" : "plain" },
  ], columns);
}

/** A line across the screen with a title in it. */
export function ruleLine(title: string, columns: number): Line {
  const head = `── ${singleLine(title)} `;
  return [{ text: cutText(head.padEnd(columns, "─"), columns), tone: "dim" }];
}

/** Local wall time as `HH:MM:SS`. */
function formatTime(wallMs: number): string {
  const date = new Date(wallMs);
  return [date.getHours(), date.getMinutes(), date.getSeconds()]
    .map((part) => String(part).padStart(2, "0")).join(":");
}

/** `text` in exactly `width` characters, with `…` where something was cut off. */
export function fit(text: string, width: number, align?: "right"): string {
  const cutOff = cutText(text, width);
  const length = [...cutOff].length;
  const space = " ".repeat(Math.max(0, width - length));
  return align === "right" ? space + cutOff : cutOff + space;
}

function cutText(text: string, width: number): string {
  // Most lines fit, and most are of one unit a character.
  if (text.length <= width) return text;
  const characters = [...text];
  if (characters.length <= width) return text;
  return width < 1 ? "" : characters.slice(0, width - 1).join("") + "…";
}

/** The line cut to `columns`. */
export function cut(line: Line, columns: number): Line {
  let left = columns;
  return line.flatMap((span) => {
    const text = cutText(span.text, left);
    left -= [...text].length;
    return text === "" ? [] : [{ ...span, text }];
  });
}

function splitAt(text: string, at: number): string[] {
  return [text.slice(0, at), text.slice(at)];
}
