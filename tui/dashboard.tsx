/**
 * The dashboard as an Ink component: it shows the lines of `screen.ts` and passes keys on.
 *
 * @module
 */
import { useApp, useInput } from "ink";
import { useEffect, useRef, useState, useSyncExternalStore } from "react";
import type { Clock } from "../agent/kernel/ports.ts";
import { type Effect, type Interaction, press, START } from "./interaction.ts";
import { keyPresses } from "./keys.ts";
import { type Palette } from "./painter.ts";
import { Screen, showFullScreen, useLeave } from "./painting.tsx";
import { sceneOf, screenLines, wantedOf } from "./screen.ts";
import { type DashboardAgent, Session, type SessionOptions } from "./session.ts";
import type { Size } from "./views/view.ts";

export interface DashboardProps {
  readonly session: Session;
  readonly clock: Clock;
  /** Without colours what is selected is marked and inverse all the same. */
  readonly palette: Palette;
  readonly size: Size;
}

/** The dashboard in a given size. */
export function Dashboard({ session, clock, palette, size }: DashboardProps) {
  const leave = useLeave(useApp().exit);
  const snapshot = useSyncExternalStore(session.subscribe, session.snapshot);
  const [interaction, setInteraction] = useState<Interaction>(START);
  const [message, setMessage] = useState("");
  // Keys can come faster than renders: each must see what the one before did.
  const latest = useRef(interaction);
  const { wanted, component } = wantedOf(snapshot, interaction, clock.wallMs());
  useEffect(() => session.follow(component), [session, component]);
  useEffect(() => session.want(wanted), [session, JSON.stringify(wanted)]);

  const run = async (effect: Effect) => {
    if (effect.kind === "quit") return leave();
    setMessage("…");
    setMessage(await answerTo(session, effect));
  };
  useInput((input, key) => {
    if (key.ctrl && input === "c") return leave();
    setMessage("");
    for (const each of keyPresses(input, key)) {
      const scene = sceneOf(session.snapshot(), latest.current, size, clock.wallMs());
      const { state, effect } = press(latest.current, each, scene);
      latest.current = state;
      if (effect !== undefined) void run(effect);
    }
    setInteraction(latest.current);
  });

  const lines = screenLines(snapshot, interaction, size, clock.wallMs(), message);
  return <Screen {...{ lines, size, palette }} />;
}

/** Does it, and says what came of it. */
function answerTo(
  session: Session,
  effect: Exclude<Effect, { kind: "quit" }>,
): string | Promise<string> {
  switch (effect.kind) {
    case "restart":
      return session.restart(effect.component);
    case "scale":
      return session.scale(effect.component, effect.replicas);
    case "drain":
      return session.drain(effect.node, effect.drained);
    case "ask": {
      const nodes = session.snapshot().current?.status.nodes;
      const node = nodes?.find(({ key }) => key === effect.node);
      return node === undefined ? "it is gone" : session.ask(node);
    }
  }
}

/**
 * Shows the dashboard on this terminal until the operator quits, or `signal` is aborted. The screen is
 * then as it was before.
 */
export async function showDashboard(
  agent: DashboardAgent,
  { palette, signal, ...options }: SessionOptions & {
    readonly palette: Palette;
    readonly signal: AbortSignal;
  },
): Promise<void> {
  const session = new Session(agent, options);
  const { clock } = options;
  try {
    await showFullScreen(
      (size) => <Dashboard {...{ session, clock, palette, size }} />,
      { palette, signal },
    );
  } finally {
    await session.close();
  }
}
