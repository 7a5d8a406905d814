/**
 * Lines of the screen as text with tones, and the ones that all views have: header, rule, log, facts.
 *
 * Pure; what paints them knows no more. Names and messages come from manifests and guests: nothing
 * here lets a control character through.
 *
 * @module
 */
import { cutText, fit, widthOf, wrapText } from "./cells.ts";
import { formatTime, singleLine } from "./quantity.ts";
import type { LogRow } from "./session.ts";
import type { Status, Tone } from "./view_model.ts";

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

/** Nothing to show in a cell. */
export const NONE: Span = { text: "-", tone: "dim" };

/** The line cut to `columns`. */
export function cut(line: Line, columns: number): Line {
  let left = columns;
  return line.flatMap((span) => {
    const text = cutText(span.text, left);
    left -= widthOf(text);
    return text === "" ? [] : [text === span.text ? span : { ...span, text }];
  });
}

/** A line of plain text. */
export function textLine(text: string, columns: number, tone: Tone = "plain"): Line {
  return [{ text: cutText(singleLine(text), columns), tone }];
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
  const name = ` ${singleLine(parts[0]!)}`;
  const rest = parts.slice(1).map((part) => `  ${singleLine(part)}`).join("");
  const room = columns - widthOf(right) - widthOf(name);
  return cut([
    { text: name, bold: true, tone: "accent" },
    { text: fit(rest, Math.max(0, room)) },
    { text: right, tone: link.tone },
  ], columns);
}

/** A line across the screen with a title in it. */
export function ruleLine(title: string, columns: number): Line {
  const head = title === "" ? "" : `── ${singleLine(title)} `;
  const rest = "─".repeat(Math.max(0, columns - widthOf(head)));
  return [{ text: cutText(head + rest, columns), tone: "dim" }];
}

/** Names and what they are, each text on as many lines as it needs. */
export function factLines(
  facts: readonly (readonly [name: string, text: string, tone?: Tone])[],
  columns: number,
): Line[] {
  const width = Math.max(0, ...facts.map(([name]) => widthOf(name))) + 2;
  return facts.flatMap(([name, text, tone]) =>
    wrapText(singleLine(text), Math.max(8, columns - width - 2)).map((part, i): Line => [
      { text: `  ${fit(i === 0 ? name : "", width)}`, tone: "dim" },
      { text: part, ...(tone === undefined ? {} : { tone }) },
    ])
  );
}

/** Short texts beside and below one another, in columns of one width. */
export function gridLines(cells: readonly Span[], columns: number): Line[] {
  const width = Math.max(1, ...cells.map(({ text }) => widthOf(text) + 3));
  const perLine = Math.max(1, Math.floor((columns - 2) / width));
  return Array.from({ length: Math.ceil(cells.length / perLine) }, (_, line): Line => [
    { text: "  " },
    ...cells.slice(line * perLine, (line + 1) * perLine)
      .map((cell) => ({ ...cell, text: fit(cell.text, width) })),
  ]);
}

const TONES_OF_REPLICAS: readonly Tone[] = ["accent", "good", "warn", "plain"];

/** How a line of a log is searched and shown. */
export interface LogMarks {
  /** Each occurrence stands out; empty: none. */
  readonly pattern?: string;
  /** The line that the search is at. */
  readonly isCurrent?: boolean;
}

/** A line of a log, as wide as the terminal; what does not fit is cut off. */
export function logLine(row: LogRow, columns: number, marks: LogMarks = {}): Line {
  if (row.kind === "missed") {
    return [{ text: cutText(` … ${row.lines} lines missed`, columns), tone: "warn" }];
  }
  const { replica, stream } = row;
  const mark = row.level ?? (stream === "realm" ? "realm" : stream === "stderr" ? "err" : "");
  const text: Span = {
    text: singleLine(row.text),
    tone: stream === "realm" ? "warn" : "plain",
    ...(marks.isCurrent ? { bold: true } : {}),
  };
  return cut([
    { text: `${formatTime(row.wallMs)} `, tone: marks.isCurrent ? "accent" : "dim" },
    {
      text: `${replica ?? "*"} `.padStart(3),
      tone: replica === null
        ? "dim"
        : TONES_OF_REPLICAS[replica % TONES_OF_REPLICAS.length] ?? "plain",
    },
    ...(mark === "" ? [] : [{ text: `${mark} `, tone: toneOfMark(mark) }]),
    ...highlighted(text, marks.pattern ?? ""),
  ], columns);
}

function toneOfMark(mark: string): Tone {
  if (["trace", "debug", "info"].includes(mark)) return "dim";
  return mark === "realm" || mark === "warn" ? "warn" : "bad";
}

/** Tells whether a line of a log has a text in it; upper and lower case are the same. */
export function logMatcher(pattern: string): (row: LogRow) => boolean {
  if (pattern === "") return () => false;
  const wanted = patternOf(pattern);
  return (row) => row.kind === "line" && wanted.test(singleLine(row.text));
}

function highlighted(span: Span, pattern: string): Span[] {
  if (pattern === "") return [span];
  return span.text.split(new RegExp(`(${patternOf(pattern).source})`, "iu"))
    .flatMap((text, i) => text === "" ? [] : [{ ...span, text, inverse: i % 2 === 1 }]);
}

/** A text as it is, and not what a regular expression would make of it. */
function patternOf(text: string): RegExp {
  return new RegExp(RegExp.escape(text.toWellFormed()), "iu");
}
