/**
 * What a view of the dashboard is: a list that one thing is selected of, and a panel about that.
 *
 * Pure.
 *
 * @module
 */
import { type Line, textLine } from "../lines.ts";
import type { Snapshot } from "../session.ts";
import { type Column, tableOf, windowStart } from "../table.ts";
import type { Sample } from "../view_model.ts";

/** The views, in the order of their keys. */
export const VIEW_NAMES = [
  "map",
  "components",
  "rollouts",
  "apps",
  "secrets",
  "history",
  "alarms",
] as const;

/** One of {@link VIEW_NAMES}. */
export type ViewName = typeof VIEW_NAMES[number];

/** Columns and rows of a terminal, or of a part of it. */
export interface Size {
  readonly columns: number;
  readonly rows: number;
}

/** What there is to show. */
export interface Shown {
  readonly snapshot: Snapshot;
  /** Of the snapshot; there is one before anything is drawn. */
  readonly current: Sample;
  /** Wall time. */
  readonly nowMs: number;
}

/** What is below the list. */
export interface Panel {
  readonly title: string;
  readonly lines: readonly Line[];
}

/** A view. Things in its list are called by ids, which stay when the list changes. */
export interface View {
  /** What keys do here and in no other view. */
  readonly keys: readonly (readonly [keys: string, what: string])[];
  /** The same in a few words, for the last line. */
  readonly hints: string;
  /** Titles of the table that need words, and those. */
  readonly legend: readonly (readonly [title: string, what: string])[];
  /** The ids of what has `filter` in its text, in order. */
  items(shown: Shown, filter: string): readonly string[];
  /** The list in at most `rows` lines, titles included. */
  list(
    shown: Shown,
    items: readonly string[],
    selected: string | undefined,
    size: Size,
  ): readonly Line[];
  /** About what is selected; lines beyond `rows` are not seen, or scrolled to. */
  panel(shown: Shown, selected: string | undefined, size: Size): Panel;
}

/** What a view of one line for each thing is made of. */
export interface ListViewInit<Row>
  extends Pick<View, "keys" | "hints">, Partial<Pick<View, "legend">> {
  rows(shown: Shown): readonly Row[];
  idOf(row: Row): string;
  /** What a filter looks at. */
  textOf(row: Row): string;
  columns(shown: Shown): readonly Column<Row>[];
  /** Said where there is none. */
  empty(shown: Shown): string;
  /** What the panel is called. */
  titleOf(row: Row): string;
  about(row: Row, shown: Shown, size: Size): readonly Line[];
}

/** A view with one line for each thing. */
export function listView<Row>(init: ListViewInit<Row>): View {
  return {
    keys: init.keys,
    hints: init.hints,
    legend: init.legend ?? [],
    items: (shown, filter) =>
      init.rows(shown).filter((row) => hasText(init.textOf(row), filter)).map(init.idOf),
    list(shown, items, selected, { columns, rows: height }) {
      if (items.length === 0) return [textLine(`  ${init.empty(shown)}`, columns, "dim")];
      const rows = new Map(init.rows(shown).map((row) => [init.idOf(row), row]));
      const table = tableOf(init.columns(shown), columns);
      const at = Math.max(0, items.indexOf(selected ?? ""));
      const isCut = items.length > height - 1;
      const start = windowStart(items.length, at, height - 1);
      return [
        table.title(isCut ? `${at + 1}/${items.length}` : ""),
        ...items.slice(start, start + Math.max(0, height - 1)).map((id, i) =>
          table.row(rows.get(id)!, start + i === at)
        ),
      ];
    },
    panel(shown, selected, size) {
      const row = init.rows(shown).find((each) => init.idOf(each) === selected);
      if (row === undefined) return { title: "", lines: [] };
      return { title: init.titleOf(row), lines: init.about(row, shown, size) };
    },
  };
}

/** Whether a text has another in it, in upper or lower case. */
export function hasText(text: string, wanted: string): boolean {
  return wanted === "" || text.toLowerCase().includes(wanted.toLowerCase());
}
