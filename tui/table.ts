/**
 * Tables of one line a row: columns that a width has room for, titles, rows, and the rows in sight.
 *
 * Pure.
 *
 * @module
 */
import { cutText, fit } from "./cells.ts";
import type { Line, Span } from "./lines.ts";
import { singleLine } from "./quantity.ts";

/** A column; what is wider than it is cut off. */
export interface Column<Row> {
  readonly title: string;
  /** In cells; of one that grows, the least. */
  readonly width: number;
  /** It takes what the others leave, up to so many cells. */
  readonly widthMax?: number;
  readonly align?: "right";
  /** Shown only on terminals at least this wide. */
  readonly columnsMin?: number;
  readonly cell: (row: Row) => Span;
}

/** A table of some width. */
export interface Table<Row> {
  /** The titles; `position` is such as `3/12` where not every row is in sight. */
  title(position?: string): Line;
  /** A row; what is selected has a mark and stands out. */
  row(row: Row, isSelected: boolean): Line;
}

/** The marks before a row. */
const MARKS = { selected: "▸ ", other: "  " } as const;

/** The columns that fit a terminal, those that grow as wide as the rest allows, the first one first. */
export function tableOf<Row>(all: readonly Column<Row>[], columns: number): Table<Row> {
  const shown = all.filter(({ columnsMin = 0 }) => columns >= columnsMin);
  let rest = columns - MARKS.other.length -
    shown.reduce((total, { width }) => total + width + 1, -1);
  const widths = shown.map(({ width, widthMax = width }) => {
    const more = Math.max(0, Math.min(rest, widthMax - width));
    rest -= more;
    return width + more;
  });
  return {
    title(position = "") {
      const text = shown.map(({ title, align }, i) =>
        fit(i === 0 && position !== "" ? `${title} ${position}` : title, widths[i]!, align)
      ).join(" ");
      return [{ text: cutText(MARKS.other + text, columns), tone: "dim", bold: true }];
    },
    row: (row, isSelected) =>
      shown.map(({ cell, align }, i) => {
        const span = cell(row);
        const text = fit(singleLine(span.text), widths[i]!, align);
        if (i > 0) return { ...span, text: ` ${text}` };
        return {
          ...span,
          text: (isSelected ? MARKS.selected : MARKS.other) + text,
          ...(isSelected ? { inverse: true } : {}),
        };
      }),
  };
}

/** Where to begin so that `height` of `count` rows show the one at `at`, in the middle if it may be. */
export function windowStart(count: number, at: number, height: number): number {
  return Math.max(0, Math.min(at - Math.floor(height / 2), count - height));
}
