/**
 * What a benchmark found: figures, the tables they stand in, and how both are printed.
 *
 * A figure is the median of several samples with the lowest and the highest beside it; a ratio is
 * the quotient of two medians. Nothing here measures.
 *
 * @module
 */

/** What a number counts. */
export type Unit = "µs" | "ms" | "MiB" | "kB" | "MB/s" | "req/s" | "/s" | "x" | "%" | "";

/** A measured value. */
export interface Figure {
  readonly median: number;
  readonly low: number;
  readonly high: number;
  readonly samples: number;
  readonly unit: Unit;
}

/** What was wanted of a figure, and whether it is. */
export interface Goal {
  readonly bound: "at most" | "at least";
  readonly value: number;
  readonly unit: Unit;
  readonly met: boolean;
}

/** A measured value, a goal, plain words, or nothing to say. */
export type Cell = Figure | Goal | string | undefined;

/** Figures side by side. The first column names what a row is about. */
export interface Table {
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly [name: string, ...cells: Cell[]])[];
  /** Commands with their flags, and what the reader has to know. */
  readonly notes: readonly string[];
}

/** The value in the middle; the mean of the two there when their number is even. */
export function median(samples: readonly number[]): number {
  const sorted = samples.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length % 2 === 1) return sorted[middle]!;
  return sorted.length === 0 ? NaN : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Sums samples up. Without samples there is no figure. */
export function figure(samples: readonly number[], unit: Unit): Figure | undefined {
  if (samples.length === 0) return undefined;
  return {
    median: median(samples),
    low: Math.min(...samples),
    high: Math.max(...samples),
    samples: samples.length,
    unit,
  };
}

/** How many times `a` is `b`, by their medians. */
export function ratio(a: Figure | undefined, b: Figure | undefined): Figure | undefined {
  if (a === undefined || b === undefined || b.median === 0) return undefined;
  return {
    median: a.median / b.median,
    low: a.low / b.high,
    high: a.high / b.low,
    samples: Math.min(a.samples, b.samples),
    unit: "x",
  };
}

/** What was wanted of `figure`; nothing when there is no figure. */
export function goal(
  figure: Figure | undefined,
  bound: Goal["bound"],
  value: number,
): Goal | undefined {
  if (figure === undefined) return undefined;
  const met = bound === "at most" ? figure.median <= value : figure.median >= value;
  return { bound, value, unit: figure.unit, met };
}

/** Three significant digits, as far as there are any: 0.12, 1.23, 12.3, 123, 1,234. */
function formatNumber(value: number): string {
  const magnitude = Math.abs(value);
  if (magnitude >= 99.95) return Math.round(value).toLocaleString("en-US");
  return value.toFixed(magnitude >= 9.995 ? 1 : 2);
}

function withUnit(value: number, unit: Unit): string {
  const number = formatNumber(value);
  return unit === "" ? number : unit === "x" || unit === "%" ? number + unit : `${number} ${unit}`;
}

/** A cell as text; the spread only of what was sampled more than once. */
export function formatCell(cell: Cell, spread = false): string {
  if (cell === undefined) return "-";
  if (typeof cell === "string") return cell;
  if ("bound" in cell) {
    const sign = cell.bound === "at most" ? "<=" : ">=";
    return `${sign} ${withUnit(cell.value, cell.unit)}: ${cell.met ? "met" : "missed"}`;
  }
  const text = withUnit(cell.median, cell.unit);
  if (!spread || cell.samples < 2 || cell.unit === "x") return text;
  return `${text} (${formatNumber(cell.low)}..${formatNumber(cell.high)})`;
}

/** A table for the terminal, or with `markdown` for a document. */
export function formatTable(
  { title, columns, rows, notes }: Table,
  { spread = false, markdown = false } = {},
): string {
  const text = [
    [...columns],
    ...rows.map(([name, ...cells]) => [name, ...cells.map((cell) => formatCell(cell, spread))]),
  ];
  const widths = columns.map((_, i) => Math.max(...text.map((row) => (row[i] ?? "").length)));
  const lines = text.map((row) =>
    widths.map((width, i) =>
      i === 0 ? (row[i] ?? "").padEnd(width) : (row[i] ?? "").padStart(width)
    )
  );
  if (markdown) {
    const rule = widths.map((width, i) => "-".repeat(i === 0 ? width : width - 1) + (i ? ":" : ""));
    const body = [lines[0]!, rule, ...lines.slice(1)].map((row) => `| ${row.join(" | ")} |`);
    const list = notes.map((note) => `- ${note}`);
    return [`### ${title}`, "", ...body, "", ...list, ""].join("\n");
  }
  return [
    title,
    ...lines.map((row) => `  ${row.join("  ").trimEnd()}`),
    ...notes.map((note) => `  * ${note}`),
    "",
  ].join("\n");
}
