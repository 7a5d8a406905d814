/**
 * What keys do in the user interface of an app: where the focus goes, what is typed, and what the app
 * is told.
 *
 * Pure: one function, so that every key can be tested without a terminal.
 *
 * @module
 */
import type { KeyPress } from "../keys.ts";
import type { Layout, Shown } from "./layout.ts";

/** What a person did, as `ui.input` of `realm:app` has it. */
export type ViewInput =
  | { readonly tag: "press" | "key"; readonly val: string }
  | { readonly tag: "submit"; readonly val: readonly [id: string, text: string] };

/** What the screen remembers of its person. */
export interface AppState extends Shown {
  /** The id of what has the focus: it keeps it when others come and go. */
  readonly focused: string | undefined;
  /** The first line that is shown. */
  readonly top: number;
}

/** What a key comes to. */
export interface Pressed {
  readonly state: AppState;
  /** What the app is told. */
  readonly input?: ViewInput;
  /** The person wants to leave. */
  readonly isLeaving?: boolean;
}

/** Characters of one field. */
const DRAFT_LENGTH_MAX = 4096;

/** Nothing was done yet. */
export const APP_START: AppState = { focus: 0, focused: undefined, drafts: new Map(), top: 0 };

/** The same person in front of a tree that may be another: the focus stays, and is in sight. */
export function settled(state: AppState, { stops, lines }: Layout, rows: number): AppState {
  const same = stops.flatMap(({ id }, i) => id === state.focused ? [i] : [])
    .sort((a, b) => Math.abs(a - state.focus) - Math.abs(b - state.focus))[0];
  const focus = same ?? Math.max(0, Math.min(state.focus, stops.length - 1));
  const top = Math.max(0, Math.min(state.top, lines.length - rows));
  return { ...state, focus, focused: stops[focus]?.id, top };
}

/** A key with this on the screen, of which `rows` lines are seen. */
export function pressKey(
  before: AppState,
  key: KeyPress,
  layout: Layout,
  rows: number,
): Pressed {
  const state = settled(before, layout, rows);
  const stop = layout.stops[state.focus];
  const draft = stop?.kind === "field" ? state.drafts.get(stop.id) ?? "" : "";
  const move = (steps: number): Pressed => ({ state: moved(state, steps, layout, rows) });
  switch (key) {
    case "tab":
    case "down":
    case "right":
      return move(1);
    case "back-tab":
    case "up":
    case "left":
      return move(-1);
    case "page-down":
    case "page-up": {
      const top = state.top + (key === "page-down" ? rows : -rows);
      return { state: { ...state, top: Math.max(0, Math.min(top, layout.lines.length - rows)) } };
    }
    case "escape":
      return draft === "" ? { state, isLeaving: true } : { state: typed(state, stop!.id, "") };
    case "enter":
      if (stop?.kind === "button") return { state, input: { tag: "press", val: stop.id } };
      if (stop?.kind !== "field") break;
      return {
        state: typed(state, stop.id, ""),
        input: { tag: "submit", val: [stop.id, draft] },
      };
    case "backspace":
      if (stop?.kind !== "field") break;
      return { state: typed(state, stop.id, [...draft].slice(0, -1).join("")) };
    case "home":
    case "end":
      break;
    default:
      if (stop?.kind === "field") {
        return { state: typed(state, stop.id, (draft + key.text).slice(0, DRAFT_LENGTH_MAX)) };
      }
      if (key.text === " " && stop !== undefined) {
        return { state, input: { tag: "press", val: stop.id } };
      }
      return { state, input: { tag: "key", val: key.text } };
  }
  return { state, input: { tag: "key", val: key } };
}

function typed(state: AppState, id: string, text: string): AppState {
  const drafts = new Map(state.drafts);
  if (text === "") drafts.delete(id);
  else drafts.set(id, text);
  return { ...state, drafts };
}

/** The focus goes on, from the last to the first, and is in sight. */
function moved(state: AppState, steps: number, { stops, lines }: Layout, rows: number): AppState {
  if (stops.length === 0) {
    const top = Math.max(0, Math.min(state.top + steps, lines.length - rows));
    return { ...state, top };
  }
  const focus = (state.focus + steps + stops.length) % stops.length;
  const { id, line } = stops[focus]!;
  // The first one is seen with what stands above it.
  const top = Math.max(focus === 0 ? 0 : Math.min(line, state.top), line - rows + 1);
  return { ...state, focus, focused: id, top };
}
