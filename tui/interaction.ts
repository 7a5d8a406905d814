/**
 * What keys do: from the dashboard's mode and a key to the next mode, and what to ask the agent.
 *
 * Pure: one function, so that every key in every mode can be tested without a terminal.
 *
 * @module
 */
import type { KeyPress } from "./keys.ts";
import type { LogRow } from "./session.ts";

/** What the keys mean now. */
export type Mode =
  | { readonly kind: "browse" }
  | { readonly kind: "help" }
  | { readonly kind: "confirm-restart"; readonly component: string }
  | { readonly kind: "enter-scale"; readonly component: string; readonly digits: string }
  | {
    readonly kind: "logs";
    /** The lines as they were when it was paused; `undefined`: new lines come in. */
    readonly paused: readonly LogRow[] | undefined;
    /** How many of the last lines are below the screen; above 0 only when paused. */
    readonly below: number;
  };

/** All that the dashboard itself remembers. */
export interface Interaction {
  readonly mode: Mode;
  /** The component that the keys act on. */
  readonly selected: string | undefined;
}

/** What the key asks for beyond the screen. */
export type Effect =
  | { readonly kind: "quit" }
  | { readonly kind: "restart"; readonly component: string }
  | { readonly kind: "scale"; readonly component: string; readonly replicas: number | null };

/** What is on the screen when the key is pressed. */
export interface Scene {
  /** Names, in the order of the table. */
  readonly components: readonly string[];
  readonly logRows: readonly LogRow[];
  /** Lines of a log that fit the screen in the mode `logs`. */
  readonly logHeight: number;
}

/** The number of replicas that can be typed. */
const SCALE_DIGITS_MAX = 4;

const BROWSE: Mode = { kind: "browse" };

/** What is selected: what was, or the nearest thing to it that is still there. */
export function selectedOf(
  selected: string | undefined,
  components: readonly string[],
): string | undefined {
  if (selected === undefined || components.includes(selected)) return selected ?? components[0];
  return components.findLast((name) => name < selected) ?? components[0];
}

/** The next state, and what to do. */
export function press(
  state: Interaction,
  key: KeyPress,
  scene: Scene,
): { readonly state: Interaction; readonly effect?: Effect } {
  const { mode } = state;
  const text = typeof key === "string" ? "" : key.text;
  const become = (next: Mode): { state: Interaction } => ({ state: { ...state, mode: next } });
  switch (mode.kind) {
    case "help":
      return text === "q" ? { state, effect: { kind: "quit" } } : become(BROWSE);
    case "confirm-restart":
      return text === "y" || text === "Y"
        ? { ...become(BROWSE), effect: { kind: "restart", component: mode.component } }
        : become(BROWSE);
    case "enter-scale":
      return enterScale(state, mode, key, text);
    case "logs":
      if (text === "q") return { state, effect: { kind: "quit" } };
      if (text === "l" || key === "escape") return become(BROWSE);
      if (text === "?") return become({ kind: "help" });
      return become(scroll(mode, key, text, scene));
    case "browse":
      return browse(state, key, text, scene);
  }
}

function browse(
  state: Interaction,
  key: KeyPress,
  text: string,
  { components }: Scene,
): { state: Interaction; effect?: Effect } {
  const selected = selectedOf(state.selected, components);
  const become = (mode: Mode) => ({ state: { selected, mode } });
  const steps = moveOf(key, text, components.length);
  if (steps !== 0) {
    const at = selected === undefined ? 0 : components.indexOf(selected);
    const to = Math.min(components.length - 1, Math.max(0, at + steps));
    return { state: { mode: state.mode, selected: components[to] } };
  }
  switch (text) {
    case "q":
      return { state, effect: { kind: "quit" } };
    case "?":
    case "h":
      return become({ kind: "help" });
  }
  if (selected === undefined) return { state };
  if (key === "enter") return become({ kind: "logs", paused: undefined, below: 0 });
  switch (text) {
    case "r":
      return become({ kind: "confirm-restart", component: selected });
    case "s":
      return become({ kind: "enter-scale", component: selected, digits: "" });
    case "l":
      return become({ kind: "logs", paused: undefined, below: 0 });
    default:
      return { state };
  }
}

/** How far a key moves; the whole list for its ends. */
function moveOf(key: KeyPress, text: string, length: number): number {
  if (key === "up" || text === "k") return -1;
  if (key === "down" || text === "j") return 1;
  if (key === "page-up") return -10;
  if (key === "page-down") return 10;
  if (key === "home" || text === "g") return -length;
  if (key === "end" || text === "G") return length;
  return 0;
}

function enterScale(
  state: Interaction,
  mode: Extract<Mode, { kind: "enter-scale" }>,
  key: KeyPress,
  text: string,
): { state: Interaction; effect?: Effect } {
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
  const typed = key === "backspace" ? digits.slice(0, -1) : digits + text.replace(/\D/g, "");
  return { state: { ...state, mode: { ...mode, digits: typed.slice(0, SCALE_DIGITS_MAX) } } };
}

/** Scrolling back pauses; scrolling past the end, or space, goes on. */
function scroll(
  mode: Extract<Mode, { kind: "logs" }>,
  key: KeyPress,
  text: string,
  { logRows, logHeight }: Scene,
): Mode {
  const live: Mode = { kind: "logs", paused: undefined, below: 0 };
  if (text === " ") return mode.paused === undefined ? { ...live, paused: logRows } : live;
  const rows = mode.paused ?? logRows;
  const belowMax = Math.max(0, rows.length - logHeight);
  const lines = key === "page-up"
    ? logHeight
    : key === "page-down"
    ? -logHeight
    : -moveOf(key, text, rows.length);
  if (lines === 0 || (lines < 0 && mode.paused === undefined)) return mode;
  if (mode.below + lines < 0) return live;
  return { kind: "logs", paused: rows, below: Math.min(belowMax, mode.below + lines) };
}
