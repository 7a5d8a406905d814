/**
 * What keys do: from the dashboard's mode and a key to the next mode, and what to ask the agent.
 *
 * Pure: one function, so that every key in every mode can be tested without a terminal.
 *
 * @module
 */
import type { KeyPress } from "./keys.ts";
import { logMatcher } from "./lines.ts";
import type { LogRow } from "./session.ts";
import { VIEW_NAMES, type ViewName } from "./views/view.ts";

/** What is done to the realm, once it is confirmed. */
export type Action =
  | { readonly kind: "restart"; readonly component: string }
  | { readonly kind: "scale"; readonly component: string; readonly replicas: number | null }
  | { readonly kind: "drain"; readonly node: string; readonly drained: boolean };

/** What the key asks for beyond the screen. */
export type Effect =
  | Action
  | { readonly kind: "quit" }
  /** Look at the realm from this node, by its key. */
  | { readonly kind: "ask"; readonly node: string };

/** What the keys mean now. */
export type Mode =
  | { readonly kind: "browse" }
  | { readonly kind: "help" }
  /** All about what is selected, on the whole screen; `top` is the first line. */
  | { readonly kind: "detail"; readonly top: number }
  | { readonly kind: "confirm"; readonly action: Action }
  | { readonly kind: "enter-scale"; readonly component: string; readonly digits: string }
  /** The filter is typed; `before` is what it was. */
  | { readonly kind: "enter-filter"; readonly before: string }
  | LogMode;

/** The log on the whole screen. */
export interface LogMode {
  readonly kind: "logs";
  /** The lines as they were when it was paused; `undefined`: new lines come in. */
  readonly paused: readonly LogRow[] | undefined;
  /** How many of the last lines are below the screen; above 0 only when paused. */
  readonly below: number;
  /** What is searched for; empty: nothing. */
  readonly pattern: string;
  /** It is being typed. */
  readonly isTyping: boolean;
  /** The line among the paused ones that the search is at. */
  readonly at: number | undefined;
}

/** All that the dashboard itself remembers. */
export interface Interaction {
  /** `undefined`: nobody chose; the map where there are several nodes, else the components. */
  readonly view: ViewName | undefined;
  readonly mode: Mode;
  /** The id in each view that the keys act on. */
  readonly selected: Partial<Readonly<Record<ViewName, string>>>;
  readonly filters: Partial<Readonly<Record<ViewName, string>>>;
}

/** Nothing was pressed yet. */
export const START: Interaction = {
  view: undefined,
  mode: { kind: "browse" },
  selected: {},
  filters: {},
};

/** What is on the screen when the key is pressed. */
export interface Scene {
  readonly view: ViewName;
  /** Ids of what the view lists, in order. */
  readonly items: readonly string[];
  /** What `d` drains, or gives back: the selected node in the map, else the one that is asked. */
  readonly drains: { readonly node: string; readonly isDrained: boolean } | undefined;
  readonly logRows: readonly LogRow[];
  /** Lines of a log, or of a detail, that fit the screen. */
  readonly height: number;
  /** Lines of the detail. */
  readonly detailLines: number;
}

interface Pressed {
  readonly state: Interaction;
  readonly effect?: Effect;
}

/** The number of replicas that can be typed. */
const SCALE_DIGITS_MAX = 4;
/** Characters of a filter, or of what is searched for. */
const TEXT_LENGTH_MAX = 60;
/** Lines that page up and down move by in a list. */
const PAGE = 10;

const BROWSE: Mode = { kind: "browse" };
const LIVE: LogMode = {
  kind: "logs",
  paused: undefined,
  below: 0,
  pattern: "",
  isTyping: false,
  at: undefined,
};

/** What is selected: what was, or the nearest thing to it that is still there. */
export function selectedOf(
  selected: string | undefined,
  items: readonly string[],
): string | undefined {
  if (selected === undefined || items.includes(selected)) return selected ?? items[0];
  return items.findLast((id) => id < selected) ?? items[0];
}

/** What is asked before something is done. */
export function questionOf(action: Action): string {
  switch (action.kind) {
    case "restart":
      return `Restart all replicas of ${action.component}?`;
    case "scale":
      return `Scale ${action.component} to ${action.replicas ?? "what the manifest says"}?`;
    case "drain":
      return action.drained
        ? `Drain ${action.node}, so that all it runs moves to other nodes?`
        : `Let ${action.node} run its share again?`;
  }
}

/** The next state, and what to do. */
export function press(state: Interaction, key: KeyPress, scene: Scene): Pressed {
  const { mode } = state;
  const text = typeof key === "string" ? "" : key.text;
  const become = (next: Mode): Pressed => ({ state: { ...state, mode: next } });
  switch (mode.kind) {
    case "help":
      return text === "q" ? { state, effect: { kind: "quit" } } : become(BROWSE);
    case "confirm":
      return text === "y" || text === "Y"
        ? { ...become(BROWSE), effect: mode.action }
        : become(BROWSE);
    case "enter-scale":
      return enterScale(state, mode, key, text);
    case "enter-filter":
      return enterFilter(state, mode, key, text, scene);
    case "detail": {
      if (text === "q") return { state, effect: { kind: "quit" } };
      if (text === "?") return become({ kind: "help" });
      const lines = scrolled(key, text, scene.detailLines, scene.height);
      const topMax = Math.max(0, scene.detailLines - scene.height);
      if (lines !== 0) {
        return become({ kind: "detail", top: Math.min(topMax, Math.max(0, mode.top + lines)) });
      }
      if (key === "enter" || key === "escape") return become(BROWSE);
      return browse({ ...state, mode: BROWSE }, key, text, scene, state);
    }
    case "logs":
      if (mode.isTyping) return become(enterPattern(mode, key, text, scene));
      if (text === "q") return { state, effect: { kind: "quit" } };
      if (text === "?") return become({ kind: "help" });
      if (key === "escape" && mode.pattern !== "") {
        return become({ ...mode, pattern: "", at: undefined });
      }
      if (text === "l" || key === "escape") return become(BROWSE);
      if (text === "/") return become({ ...mode, pattern: "", isTyping: true, at: undefined });
      if (text === "n" || text === "N") return become(found(mode, text === "n" ? -1 : 1, scene));
      return become(scroll(mode, key, text, scene));
    case "browse":
      return browse(state, key, text, scene, state);
  }
}

/** `unknown` is the state where the key means nothing. */
function browse(
  state: Interaction,
  key: KeyPress,
  text: string,
  scene: Scene,
  unknown: Interaction,
): Pressed {
  const { view, items, drains } = scene;
  const selected = selectedOf(state.selected[view], items);
  const become = (mode: Mode): Pressed => ({
    state: { ...state, mode, selected: { ...state.selected, [view]: selected } },
  });
  const steps = moveOf(key, text, items.length);
  if (steps !== 0) {
    const at = selected === undefined ? 0 : items.indexOf(selected);
    const to = Math.min(items.length - 1, Math.max(0, at + steps));
    return { state: { ...state, selected: { ...state.selected, [view]: items[to] } } };
  }
  const next = viewOf(key, text, view);
  if (next !== undefined) return { state: { ...state, view: next } };
  if (key === "escape" && (state.filters[view] ?? "") !== "") return filtered(state, view, "");
  switch (text) {
    case "q":
      return { state, effect: { kind: "quit" } };
    case "?":
    case "h":
      return become({ kind: "help" });
    case "/":
      return become({ kind: "enter-filter", before: state.filters[view] ?? "" });
  }
  if (text === "d" && drains !== undefined && (view === "map" || view === "components")) {
    const action = { kind: "drain", node: drains.node, drained: !drains.isDrained } as const;
    return become({ kind: "confirm", action });
  }
  if (selected === undefined) return { state: unknown };
  if (view === "components") {
    if (key === "enter" || text === "l") return become(LIVE);
    if (text === "r") {
      return become({ kind: "confirm", action: { kind: "restart", component: selected } });
    }
    if (text === "s") return become({ kind: "enter-scale", component: selected, digits: "" });
  } else if (key === "enter") {
    return become({ kind: "detail", top: 0 });
  } else if (view === "map" && text === "c") {
    return { ...become(BROWSE), effect: { kind: "ask", node: selected } };
  }
  return { state: unknown };
}

/** The view that a key goes to. */
function viewOf(key: KeyPress, text: string, view: ViewName): ViewName | undefined {
  if (/^[1-9]$/.test(text)) return VIEW_NAMES[Number(text) - 1];
  const step = key === "tab" || key === "right" ? 1 : key === "back-tab" || key === "left" ? -1 : 0;
  if (step === 0) return undefined;
  return VIEW_NAMES.at((VIEW_NAMES.indexOf(view) + step) % VIEW_NAMES.length);
}

/** How far a key moves; the whole list for its ends. */
function moveOf(key: KeyPress, text: string, length: number): number {
  if (key === "up" || text === "k") return -1;
  if (key === "down" || text === "j") return 1;
  if (key === "page-up") return -PAGE;
  if (key === "page-down") return PAGE;
  if (key === "home" || text === "g") return -length;
  if (key === "end" || text === "G") return length;
  return 0;
}

/** How far a key moves what is longer than the screen. */
function scrolled(key: KeyPress, text: string, length: number, height: number): number {
  if (key === "page-up") return -height;
  return key === "page-down" || text === " " ? height : moveOf(key, text, length);
}

/** A text with what was typed; `undefined` where the key is no typing. */
function typed(before: string, key: KeyPress, text: string): string | undefined {
  if (key === "backspace") return [...before].slice(0, -1).join("");
  return text === "" ? undefined : (before + text).slice(0, TEXT_LENGTH_MAX);
}

function filtered(state: Interaction, view: ViewName, filter: string): Pressed {
  return { state: { ...state, filters: { ...state.filters, [view]: filter } } };
}

/** What is typed counts at once; Enter keeps it, escape brings back what was. */
function enterFilter(
  state: Interaction,
  mode: Extract<Mode, { kind: "enter-filter" }>,
  key: KeyPress,
  text: string,
  { view, items }: Scene,
): Pressed {
  const done = { ...state, mode: BROWSE };
  if (key === "enter") return { state: done };
  if (key === "escape") return filtered(done, view, mode.before);
  if (key === "up" || key === "down") return browse(state, key, "", sceneOf(view, items), state);
  const next = typed(state.filters[view] ?? "", key, text);
  return next === undefined ? { state } : filtered(state, view, next);
}

/** A scene in which keys do nothing but move. */
function sceneOf(view: ViewName, items: readonly string[]): Scene {
  return { view, items, drains: undefined, logRows: [], height: 0, detailLines: 0 };
}

function enterScale(
  state: Interaction,
  mode: Extract<Mode, { kind: "enter-scale" }>,
  key: KeyPress,
  text: string,
): Pressed {
  const { component, digits } = mode;
  const done = { ...state, mode: BROWSE };
  if (key === "escape" || text === "q") return { state: done };
  if (text === "m" && digits === "") {
    return { state: done, effect: { kind: "scale", component, replicas: null } };
  }
  if (key === "enter") {
    if (digits === "") return { state: done };
    return { state: done, effect: { kind: "scale", component, replicas: Number(digits) } };
  }
  const next = key === "backspace" ? digits.slice(0, -1) : digits + text.replace(/\D/g, "");
  return { state: { ...state, mode: { ...mode, digits: next.slice(0, SCALE_DIGITS_MAX) } } };
}

/** What is searched for, as it is typed; Enter goes to its last occurrence. */
function enterPattern(mode: LogMode, key: KeyPress, text: string, scene: Scene): LogMode {
  if (key === "escape") return { ...mode, pattern: "", isTyping: false };
  if (key === "enter") {
    const done = { ...mode, isTyping: false };
    return mode.pattern === "" ? done : found(done, -1, scene);
  }
  return { ...mode, pattern: typed(mode.pattern, key, text) ?? mode.pattern };
}

/** The log, paused, at the next line before (-1) or after (1) that has the pattern in it. */
function found(mode: LogMode, step: -1 | 1, { logRows, height }: Scene): LogMode {
  const rows = mode.paused ?? logRows;
  if (mode.pattern === "") return mode;
  const isMatch = logMatcher(mode.pattern);
  // The first search begins with what is in sight.
  const from = mode.at ?? rows.length - mode.below - (step < 0 ? 0 : height + 1);
  for (let at = from + step; at >= 0 && at < rows.length; at += step) {
    if (!isMatch(rows[at]!)) continue;
    const isSeen = at < rows.length - mode.below && at >= rows.length - mode.below - height;
    const middle = rows.length - 1 - at - Math.floor(height / 2);
    const below = isSeen ? mode.below : Math.max(0, Math.min(middle, rows.length - height));
    return { ...mode, paused: rows, below, at };
  }
  return mode; // what comes may have it
}

/** Scrolling back pauses; scrolling past the end, or space, goes on. */
function scroll(mode: LogMode, key: KeyPress, text: string, { logRows, height }: Scene): LogMode {
  const live: LogMode = { ...mode, paused: undefined, below: 0, at: undefined };
  if (text === " ") return mode.paused === undefined ? { ...mode, paused: logRows } : live;
  const rows = mode.paused ?? logRows;
  const belowMax = Math.max(0, rows.length - height);
  const lines = -scrolled(key, text, rows.length, height);
  if (lines === 0 || (lines < 0 && mode.paused === undefined)) return mode;
  if (mode.below + lines < 0) return live;
  return { ...mode, paused: rows, below: Math.min(belowMax, mode.below + lines) };
}
