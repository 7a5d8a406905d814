/**
 * How results and errors look: tables, and the two forms of an error.
 *
 * All functions are pure. Text that comes from elsewhere (names in a manifest, messages of a
 * guest) may hold terminal escapes: tables and errors show control characters escaped.
 *
 * @module
 */
import { RealmError } from "../agent/kernel/error.ts";
import { formatBacktrace } from "../agent/kernel/frame.ts";

/** One column of a table: its title and the text of a cell. */
export interface Column<Row> {
  readonly title: string;
  readonly text: (row: Row) => string;
  /** Where a cell shorter than the column stands; left if not set. */
  readonly align?: "left" | "right";
}

/** The rows under a line of titles, columns two spaces apart, no trailing spaces. */
export function formatTable<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): string {
  const lines = [
    columns.map((column) => column.title),
    ...rows.map((row) => columns.map((column) => printableLine(column.text(row)))),
  ];
  const widths = columns.map((_, i) => Math.max(...lines.map((line) => [...line[i] ?? ""].length)));
  return lines.map((line) =>
    line.map((cell, i) => {
      const space = " ".repeat((widths[i] ?? 0) - [...cell].length);
      return columns[i]?.align === "right" ? space + cell : cell + space;
    }).join("  ").trimEnd()
  ).join("\n") + "\n";
}

/** `text` with control characters other than line feed and tab shown as `\u{…}`. */
export function printable(text: string): string {
  return text.replace(
    // deno-lint-ignore no-control-regex
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g,
    (c) => `\\u{${c.charCodeAt(0).toString(16)}}`,
  );
}

/** {@link printable} on one line: line feeds and tabs are shown, too. */
export function printableLine(text: string): string {
  return printable(text).replaceAll("\n", "\\n").replaceAll("\t", "\\t");
}

/** How an error looks. */
export interface ErrorForm {
  readonly json: boolean;
  readonly colour: boolean;
}

/**
 * An error as the user sees it: `error[code]: …` and `hint: …`, or one JSON document.
 *
 * What is not a RealmError is a bug of realm and comes with its stack.
 */
export function formatError(error: unknown, form: ErrorForm): string {
  if (!(error instanceof RealmError)) {
    const stack = error instanceof Error ? error.stack ?? error.message : String(error);
    const bug = new RealmError(
      "failed",
      `Cannot go on: a bug in realm, please report it\n${stack}`,
    );
    return formatError(bug, form);
  }
  if (form.json) return JSON.stringify({ error: error.toJSON() }, null, 2) + "\n";
  const [red, cyan, plain] = form.colour ? ["\x1b[1;31m", "\x1b[36m", "\x1b[0m"] : ["", "", ""];
  const lines = [`${red}error[${error.code}]${plain}: ${printable(error.message)}`];
  if (error.backtrace?.length) {
    lines[0] += printable(formatBacktrace(error.backtrace, "    "));
  }
  if (error.hint !== undefined) lines.push(`${cyan}hint${plain}: ${printable(error.hint)}`);
  return lines.join("\n") + "\n";
}
