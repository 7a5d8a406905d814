/**
 * The tail of a component's log.
 *
 * @module
 */
import { clockTime } from "./charts.ts";
import { type Actions, linkTo, type LogRow, type Model } from "./model.ts";
import { panel } from "./parts.ts";
import { type Children, h, type VNode } from "./vnode.ts";

/** Lines that the page keeps, and those of them that it shows. */
export const LOG_KEPT_MAX = 5_000;
export const LOG_SHOWN_MAX = 400;

/** The rows that fit what is searched for, the last of them. */
export function shownRows(rows: readonly LogRow[], filter: string): readonly LogRow[] {
  const wanted = filter.toLowerCase();
  const fitting = wanted === ""
    ? rows
    : rows.filter((row) => row.kind === "line" && row.text.toLowerCase().includes(wanted));
  return fitting.slice(-LOG_SHOWN_MAX);
}

/** The rows before and those that came, bounded. */
export function withRows(rows: readonly LogRow[], more: readonly LogRow[]): readonly LogRow[] {
  return more.length >= LOG_KEPT_MAX
    ? more.slice(-LOG_KEPT_MAX)
    : [...rows.slice(Math.max(0, rows.length + more.length - LOG_KEPT_MAX)), ...more];
}

/** See the module. */
export function logs(model: Model, component: string, actions: Actions): Children {
  const shown = shownRows(model.log, model.logFilter);
  return panel(
    `Log of ${component}`,
    h(
      "div",
      { class: "filters" },
      h(
        "label",
        null,
        "Search ",
        h("input", {
          type: "search",
          value: model.logFilter,
          oninput: (event: { target: { value: string } }) =>
            actions.change({ logFilter: event.target.value }),
        }),
      ),
      h("button", {
        "aria-pressed": model.logPaused ? "true" : "false",
        onclick: () => actions.pauseLog(!model.logPaused),
      }, model.logPaused ? `Go on (${model.logWaiting} wait)` : "Pause"),
      h("a", { href: linkTo("component", component) }, "its page"),
    ),
    model.logProblem !== undefined && h("p", { class: "bad", role: "alert" }, model.logProblem),
    h(
      "div",
      // The other way round it stands at its end by itself. Another log is another element.
      { class: "log", key: `log ${component}`, tabindex: 0, role: "log", "aria-live": "off" },
      h(
        "div",
        { class: "lines" },
        shown.length === 0
          ? h("p", { class: "dim" }, model.log.length === 0 ? "Nothing yet" : "Nothing fits")
          : shown.map(logLine),
      ),
    ),
  );
}

const lines = new WeakMap<LogRow, VNode>();

/** The line of a row; always the same one, so that nobody compares it again. */
function logLine(row: LogRow): VNode {
  let line = lines.get(row);
  if (line === undefined) lines.set(row, line = drawn(row));
  return line;
}

function drawn(row: LogRow): VNode {
  if (row.kind === "missed") {
    return h("div", { class: "warn", key: row.n }, `… ${row.lines} lines missed`);
  }
  const mark = row.level ??
    ({ stdout: "out", stderr: "err" } as Record<string, string>)[row.stream] ??
    row.stream;
  return h(
    "div",
    { key: row.n, class: `line ${mark}` },
    h("time", null, clockTime(row.wallMs)),
    " ",
    h("span", { class: "dim" }, `${row.replica ?? "*"} ${mark}`),
    " ",
    row.text,
  );
}
