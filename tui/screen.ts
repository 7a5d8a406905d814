/**
 * The whole screen as lines: what stands where, for a size, a state and a mode.
 *
 * Pure. A screen has exactly as many lines as the terminal has rows, so that nothing scrolls and
 * nothing is left behind.
 *
 * @module
 */
import { fit, widthOf } from "./cells.ts";
import {
  type Interaction,
  type LogMode,
  questionOf,
  type Scene,
  selectedOf,
} from "./interaction.ts";
import {
  cut,
  headerLine,
  type Line,
  logLine,
  logMatcher,
  ruleLine,
  type Span,
  textLine,
} from "./lines.ts";
import { singleLine } from "./quantity.ts";
import type { Link, Snapshot, Wanted } from "./session.ts";
import { type Alarm, alarmsOf, type Tone } from "./view_model.ts";
import { alarms } from "./views/alarms.ts";
import { apps } from "./views/apps.ts";
import { components } from "./views/components.ts";
import { history } from "./views/history.ts";
import { map } from "./views/map.ts";
import { rollouts } from "./views/rollouts.ts";
import { secrets } from "./views/secrets.ts";
import { type Shown, type Size, type View, VIEW_NAMES, type ViewName } from "./views/view.ts";

export type { Size } from "./views/view.ts";

const VIEWS: Readonly<Record<ViewName, View>> = {
  map,
  components,
  rollouts,
  apps,
  secrets,
  history,
  alarms,
};

/** Alarms that are shown at once; the worst come first. */
const ALARMS_MAX = 3;
/** Header, views, keys. */
const FRAME_ROWS = 3;

const KEYS: readonly (readonly [keys: string, what: string])[] = [
  ["1-7 Tab ← →", "the views"],
  ["↑ ↓ k j g G", "select; page up and page down, too"],
  ["/", "show only what has a text in it; Esc: everything again"],
];
const LOG_KEYS: readonly (readonly [keys: string, what: string])[] = [
  ["in the log", "/ search  n N older, newer  space pause  ↑ ↓ scroll  Esc back"],
];
const LAST_KEYS: readonly (readonly [keys: string, what: string])[] = [
  ["? q", "this help; quit (ctrl-c too): the agent goes on"],
];

/** The view that is shown. */
export function viewNameOf({ view }: Interaction, snapshot: Snapshot): ViewName {
  const nodes = snapshot.current?.status.nodes.length ?? 0;
  return view ?? (nodes > 1 ? "map" : "components");
}

/** What the keys work on, see {@link Scene}. */
export function sceneOf(
  snapshot: Snapshot,
  interaction: Interaction,
  { columns, rows }: Size,
  nowMs: number,
): Scene {
  const name = viewNameOf(interaction, snapshot);
  const shown = shownOf(snapshot, nowMs);
  const items = shown && VIEWS[name].items(shown, interaction.filters[name] ?? "") || [];
  const selected = selectedOf(interaction.selected[name], items);
  const node = shown?.current.status.nodes.find(({ key, self }) =>
    name === "map" ? key === selected : self
  );
  const whole = { columns, rows: Infinity };
  return {
    view: name,
    items,
    drains: node && node.state === "approved"
      ? { node: node.name, isDrained: node.drained }
      : undefined,
    logRows: snapshot.logs.rows,
    height: Math.max(1, rows - FRAME_ROWS - 1),
    detailLines: shown && interaction.mode.kind === "detail"
      ? VIEWS[name].panel(shown, selected, whole).lines.length
      : 0,
  };
}

/** What the session has to ask for beside the status, and the component whose log is shown. */
export function wantedOf(
  snapshot: Snapshot,
  interaction: Interaction,
  nowMs: number,
): { readonly wanted: Wanted | undefined; readonly component: string | undefined } {
  const name = viewNameOf(interaction, snapshot);
  const shown = shownOf(snapshot, nowMs);
  const itemsOf = (name: ViewName) =>
    shown && VIEWS[name].items(shown, interaction.filters[name] ?? "") || [];
  const component = selectedOf(interaction.selected.components, itemsOf("components"));
  if (name === "secrets") return { wanted: { kind: "secrets" }, component };
  if (name !== "history") return { wanted: undefined, component };
  const selected = selectedOf(interaction.selected.history, itemsOf("history"));
  const entry = snapshot.history.value?.find(({ event }) => event === selected);
  const isPlan = interaction.mode.kind === "detail" && entry?.state === "applied";
  return {
    wanted: isPlan ? { kind: "plan", version: entry.version } : { kind: "history" },
    component,
  };
}

/** What `snapshot` and `interaction` look like at `nowMs`; `message` is what a key did. */
export function screenLines(
  snapshot: Snapshot,
  interaction: Interaction,
  { columns, rows }: Size,
  nowMs: number,
  message = "",
): Line[] {
  const { mode } = interaction;
  const name = viewNameOf(interaction, snapshot);
  const shown = shownOf(snapshot, nowMs);
  const size = { columns, rows: Math.max(0, rows - FRAME_ROWS) };
  const body = mode.kind === "help"
    ? helpLines(VIEWS[name], columns)
    : mode.kind === "logs"
    ? logLines(snapshot, mode, size, shown)
    : shown === undefined
    ? alarmLines(snapshot, columns)
    : mode.kind === "detail"
    ? detailLines(shown, interaction, name, mode.top, size)
    : viewLines(shown, interaction, name, size);
  return [
    headerLine(snapshot.current?.status, linkText(snapshot.link), columns),
    tabsLine(name, snapshot, columns),
    ...Array.from({ length: size.rows }, (_, i) => body[i] ?? []),
    footerLine(footerOf(snapshot, interaction, name, message), columns),
  ].slice(0, rows).map((line) => cut(line, columns));
}

function shownOf(snapshot: Snapshot, nowMs: number): Shown | undefined {
  const { current } = snapshot;
  return current && { snapshot, current, nowMs };
}

/** Alarms, the list, and the panel about what is selected. */
function viewLines(
  shown: Shown,
  { selected: all, filters }: Interaction,
  name: ViewName,
  { columns, rows }: Size,
): Line[] {
  const view = VIEWS[name];
  const above = name === "alarms" ? [] : alarmLines(shown.snapshot, columns);
  const items = view.items(shown, filters[name] ?? "");
  const selected = selectedOf(all[name], items);
  // The rule takes a line; the list gets what it needs, up to three fifths.
  const room = Math.max(0, rows - above.length - 1);
  const height = Math.max(Math.min(4, room), Math.floor(room * 0.6));
  const list = view.list(shown, items, selected, { columns, rows: height });
  const left = room - list.length;
  const { title, lines } = view.panel(shown, selected, { columns, rows: left });
  return [...above, ...list, ruleLine(title, columns), ...lines.slice(0, Math.max(0, left))];
}

function detailLines(
  shown: Shown,
  { selected: all, filters }: Interaction,
  name: ViewName,
  top: number,
  { columns, rows }: Size,
): Line[] {
  const view = VIEWS[name];
  const selected = selectedOf(all[name], view.items(shown, filters[name] ?? ""));
  const { title, lines } = view.panel(shown, selected, { columns, rows: Infinity });
  const height = Math.max(0, rows - 1);
  const first = Math.max(0, Math.min(top, lines.length - height));
  const below = Math.max(0, lines.length - first - height);
  const more = below === 0 ? "" : `, ${below} more lines below`;
  return [ruleLine(title + more, columns), ...lines.slice(first, first + height)];
}

function alarmLines(snapshot: Snapshot, columns: number): Line[] {
  const alarms: Alarm[] = [
    ...(snapshot.link.kind === "reconnecting"
      ? [{ id: "link", tone: "bad", text: snapshot.link.reason } as const]
      : []),
    ...(snapshot.current === undefined ? [] : alarmsOf(snapshot.current.status)),
  ];
  return alarms.slice(0, ALARMS_MAX).map(({ tone, text }, i) => {
    const more = i === ALARMS_MAX - 1 && alarms.length > ALARMS_MAX
      ? `  (7: ${alarms.length - ALARMS_MAX} more)`
      : "";
    const room = Math.max(0, columns - widthOf(more));
    return [{ text: fit(` ! ${singleLine(text)}`, room).trimEnd() + more, tone, bold: true }];
  });
}

function logLines(
  snapshot: Snapshot,
  mode: LogMode,
  { columns, rows: height }: Size,
  shown: Shown | undefined,
): Line[] {
  const { component } = snapshot.logs;
  const rows = mode.paused ?? snapshot.logs.rows;
  const end = rows.length - mode.below;
  const start = Math.max(0, end - Math.max(0, height - 1));
  const state = mode.paused === undefined
    ? ""
    : mode.below === 0
    ? ", paused"
    : `, paused ${mode.below} lines back`;
  return [
    ruleLine(`log of ${component ?? "nothing"}${state}`, columns),
    ...rows.slice(start, end).map((row, i) =>
      logLine(row, columns, { pattern: mode.pattern, isCurrent: start + i === mode.at })
    ),
    // Which says where it runs, if that is not here.
    ...(rows.length > 0 || mode.paused !== undefined || shown === undefined
      ? []
      : components.panel(shown, component, { columns, rows: height }).lines),
  ];
}

function helpLines(view: View, columns: number): Line[] {
  const line = ([left, right]: readonly [string, string]): Line => [
    { text: `  ${fit(left, 13)}`, tone: "accent" },
    { text: right },
  ];
  const log = view === components ? LOG_KEYS : [];
  return [
    [],
    ...[...KEYS, ...view.keys, ...log, ...LAST_KEYS].map(line),
    [],
    ...view.legend.map(line),
  ].map((each) => cut(each, columns));
}

/** The views with their keys, that which is shown standing out, and how many alarms there are. */
function tabsLine(shown: ViewName, { current }: Snapshot, columns: number): Line {
  const count = current === undefined ? 0 : alarmsOf(current.status).length;
  return VIEW_NAMES.flatMap((name, i): Span[] => {
    const isAlarms = name === "alarms" && count > 0;
    const text = ` ${i + 1} ${name}${isAlarms ? ` ${count}` : ""} `;
    const tone: Tone = isAlarms ? "bad" : name === shown ? "accent" : "dim";
    // Where there is no room for all, the key has to do.
    const short = columns < 80 && name !== shown ? ` ${i + 1} ` : text;
    return [{ text: short, tone, ...(name === shown ? { inverse: true } : {}) }];
  });
}

function linkText(link: Link): { text: string; tone: Tone } {
  if (link.kind === "connected") return { text: "● connected", tone: "good" };
  if (link.kind === "connecting") return { text: "○ connecting", tone: "warn" };
  return { text: "○ reconnecting", tone: "bad" };
}

function footerLine([text, tone]: readonly [string, Tone], columns: number): Line {
  return textLine(` ${text}`, columns, tone);
}

function footerOf(
  snapshot: Snapshot,
  { mode, filters }: Interaction,
  name: ViewName,
  message: string,
): [text: string, tone: Tone] {
  const filter = filters[name] ?? "";
  switch (mode.kind) {
    case "help":
      return ["any key: back   q quit", "dim"];
    case "detail":
      return ["↑↓ scroll   Esc back   ? help   q quit", "dim"];
    case "confirm":
      return [`${questionOf(mode.action)} y/n`, "warn"];
    case "enter-scale":
      return [
        `Replicas of ${mode.component}: ${mode.digits}▏  Enter: set   m: as in the manifest   Esc`,
        "warn",
      ];
    case "enter-filter":
      return [`/${filter}▏  Enter: keep   Esc: as before`, "warn"];
    case "logs":
      return logFooter(mode, snapshot);
    case "browse": {
      if (message !== "") return [message, "accent"];
      const hints = VIEWS[name].hints;
      const keys = `${hints}${hints === "" ? "" : "  "}/ find  ? help  q quit`;
      return filter === ""
        ? [`↑↓ select  ${keys}`, "dim"]
        : [`only "${filter}" (Esc)  ${keys}`, "warn"];
    }
  }
}

function logFooter(mode: LogMode, { logs }: Snapshot): [text: string, tone: Tone] {
  const { pattern, at } = mode;
  if (mode.isTyping) return [`/${pattern}▏  Enter: find   Esc`, "warn"];
  if (pattern === "") return ["/ search  space pause  ↑↓ scroll  l back  ? help  q quit", "dim"];
  const rows = mode.paused ?? logs.rows;
  const isMatch = logMatcher(pattern);
  const matches = rows.flatMap((row, i) => isMatch(row) ? [i] : []);
  const place = at === undefined ? "" : `${matches.indexOf(at) + 1} of `;
  return matches.length === 0
    ? [`"${pattern}" is in no line   / search  space go on  Esc`, "warn"]
    : [`"${pattern}" ${place}${matches.length}   n older  N newer  space go on  Esc`, "accent"];
}
