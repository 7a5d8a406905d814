/**
 * The user interface of an app on a terminal: {@link AppView} paints a tree, {@link AppScreen} passes
 * keys on, {@link showApp} takes the whole terminal for it.
 *
 * @module
 */
import { useApp, useInput } from "ink";
import { useRef, useState, useSyncExternalStore } from "react";
import { keyPresses } from "../keys.ts";
import { fit } from "../cells.ts";
import type { Line } from "../lines.ts";
import type { Palette } from "../painter.ts";
import { Screen, showFullScreen, useLeave } from "../painting.tsx";
import { singleLine } from "../quantity.ts";
import type { Tone } from "../view_model.ts";
import type { Size } from "../views/view.ts";
import { APP_START, type AppState, pressKey, settled, type ViewInput } from "./focus.ts";
import { type Layout, layoutOf, type ViewNode } from "./layout.ts";

/** What there is to show now. */
export interface AppSnapshot {
  /** Of the app and its topic. */
  readonly title: string;
  /** What the interaction component drew. */
  readonly nodes: readonly ViewNode[];
  /** What came of what the person did last. */
  readonly message?: { readonly text: string; readonly tone: Tone };
}

/** An app that is open. */
export interface AppSession {
  /** The same object until something changes. */
  snapshot(): AppSnapshot;
  /** Calls `listener` after changes; the function that is returned ends that. */
  subscribe(listener: () => void): () => void;
  /** What the person did. What comes of it is in a later snapshot. */
  input(input: ViewInput): void;
}

/** Lines that are not the app's: the title above, what came of things below. */
const FRAME_ROWS = 2;
const HELP = "tab moves  enter does it  esc leaves";

/** A tree as its person sees it: pure. */
export function AppView({ snapshot, layout, state, size: { columns, rows }, palette }: {
  readonly snapshot: AppSnapshot;
  readonly layout: Layout;
  readonly state: AppState;
  readonly size: Size;
  /** Without colours what has the focus is inverse all the same. */
  readonly palette: Palette;
}) {
  const height = rows - FRAME_ROWS;
  const { title, message } = snapshot;
  const seen = layout.lines.slice(state.top, state.top + height);
  const below = layout.lines.length - state.top - seen.length;
  const more = `${state.top > 0 ? `↑${state.top} ` : ""}${below > 0 ? `↓${below} ` : ""}`;
  const right = more === "" ? "" : ` ${more}`;
  const lines: Line[] = [
    [{ text: fit(` ${singleLine(title)}`, columns), inverse: true }],
    ...seen,
    ...Array.from({ length: height - seen.length }, () => []),
    [
      {
        text: fit(` ${singleLine(message?.text ?? HELP)}`, columns - right.length),
        tone: message?.tone ?? "dim",
      },
      { text: right, tone: "accent" },
    ],
  ];
  return <Screen lines={lines} size={{ columns, rows }} palette={palette} />;
}

/** An app in a given size, with its keys. */
export function AppScreen({ session, size, palette }: {
  readonly session: AppSession;
  readonly size: Size;
  readonly palette: Palette;
}) {
  const leave = useLeave(useApp().exit);
  const snapshot = useSyncExternalStore(
    (listener) => session.subscribe(listener),
    () => session.snapshot(),
  );
  const height = size.rows - FRAME_ROWS;
  const [, setState] = useState(APP_START);
  // Keys can come faster than renders: each must see what the one before did.
  const latest = useRef(APP_START);
  const settle = () => {
    const layout = layoutOf(session.snapshot().nodes, size.columns, latest.current);
    latest.current = settled(latest.current, layout, height);
    return layout;
  };
  useInput((text, key) => {
    if (key.ctrl && text === "c") return leave();
    for (const each of keyPresses(text, key)) {
      const { state, input, isLeaving } = pressKey(latest.current, each, settle(), height);
      latest.current = state;
      if (input !== undefined) session.input(input);
      if (isLeaving) leave();
    }
    setState(latest.current);
  });
  settle();
  const layout = layoutOf(snapshot.nodes, size.columns, latest.current);
  return <AppView {...{ snapshot, layout, state: latest.current, size, palette }} />;
}

/**
 * Shows an app on this terminal until its person leaves, or `signal` is aborted. The screen is then as
 * it was before.
 */
export async function showApp(
  session: AppSession,
  { palette, signal }: { readonly palette: Palette; readonly signal: AbortSignal },
): Promise<void> {
  await showFullScreen((size) => <AppScreen {...{ session, size, palette }} />, {
    palette,
    signal,
  });
}
