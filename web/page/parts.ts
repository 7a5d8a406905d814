/**
 * Small pieces that several views have.
 *
 * @module
 */
import { formatAge, formatBytesOf, formatCount } from "../../tui/quantity.ts";
import type { Row } from "../../tui/view_model.ts";
import { chart, CHARTS } from "./charts.ts";
import type { Actions, Model } from "./model.ts";
import { type Children, h, type VNode } from "./vnode.ts";

/** Rows that a long table shows before it is asked for all. */
export const ROWS_MAX = 100;

/** A part of the page under a heading. */
export function panel(title: string, ...children: Children[]): VNode {
  return h(
    "section",
    { class: "panel", key: `panel ${title}`, "aria-label": title },
    h("h2", null, title),
    ...children,
  );
}

/** A table that becomes cards where there is no room: each cell knows its column. */
export function table(
  label: string,
  columns: readonly string[],
  rows: readonly VNode[],
): VNode {
  return h(
    "table",
    { "aria-label": label, key: `table ${label}` },
    h(
      "thead",
      null,
      h("tr", null, columns.map((name) => h("th", { scope: "col", key: name }, name))),
    ),
    h("tbody", null, rows),
  );
}

/** A cell. */
export function cell(column: string, ...children: Children[]): VNode {
  const content = children.filter((each) => each !== "");
  // One thing beside the name of the column, where rows are cards.
  return h(
    "td",
    { "data-label": column, key: column },
    content.length > 1 ? h("div", null, ...content) : content,
  );
}

/** A state as a word in its colour. */
export function badge(word: string, tone: string): VNode {
  return h("span", { class: `badge ${tone}` }, word);
}

/** What is used of a limit, drawn and said. */
export function used(text: string, part: number | undefined, label: string): VNode {
  return h(
    "span",
    { class: "used" },
    part !== undefined && h("meter", {
      min: 0,
      max: 1,
      high: 0.9,
      value: Math.min(1, Math.max(0, part)).toFixed(3),
      "aria-label": label,
    }),
    h("span", null, text),
  );
}

/** Memory of a row of the table. */
export function memoryOf({ memory }: Row): VNode | string {
  if (memory === undefined) return "–";
  const { bytes, bytesMax } = memory;
  return used(formatBytesOf(bytes, bytesMax), bytes / bytesMax, "memory in use");
}

/** Fuel of a row of the table. */
export function fuelOf({ fuel }: Row): VNode | string {
  if (fuel === undefined) return "–";
  const { perSec, perSecMax } = fuel;
  const now = perSec === undefined ? "…" : formatCount(Math.round(perSec));
  if (perSecMax === undefined) return `${now}/s`;
  return used(
    `${now} of ${formatCount(perSecMax)}/s`,
    perSec === undefined ? 0 : perSec / perSecMax,
    "fuel in use",
  );
}

/** Names and values. */
export function facts(pairs: readonly (readonly [string, Children])[]): VNode {
  return h(
    "dl",
    null,
    pairs.map(([name, value]) =>
      h("div", { key: name }, h("dt", null, name), h("dd", null, value))
    ),
  );
}

/** How long ago a wall time is. */
export function ago(atMs: number | null, nowMs: number): string {
  return atMs === null ? "–" : `${formatAge(Math.max(0, nowMs - atMs))} ago`;
}

/** Enough of a digest to tell it from others; the whole when it is pointed at. */
export function digest(text: string): VNode {
  return h("code", { title: text }, text.length > 16 ? `${text.slice(0, 12)}…` : text);
}

/** All charts of what `model.samples` is about. */
export function charts(model: Model, actions: Actions): VNode {
  return h(
    "div",
    { class: "charts", key: "charts" },
    CHARTS.map((spec) =>
      chart(
        spec,
        model.samples,
        model.nowMs,
        model.cursorMs,
        (cursorMs) => actions.change({ cursorMs }),
      )
    ),
  );
}

/** Says that there is more, and shows it. */
export function more(shown: number, all: number, actions: Actions): VNode | null {
  if (shown >= all) return null;
  return h(
    "p",
    { key: "more" },
    `${shown} of ${all} are shown, those that are ill first. `,
    h("button", { onclick: () => actions.change({ showAll: true }) }, "Show all"),
  );
}
