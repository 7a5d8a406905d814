/**
 * The dashboard as Ink components: they paint the lines of `screen.ts` and pass keys on.
 *
 * @module
 */
import { Box, render, useApp, useInput, useWindowSize } from "ink";
import { useEffect, useRef, useState, useSyncExternalStore } from "react";
import type { Clock } from "../agent/kernel/ports.ts";
import { type Effect, type Interaction, press, selectedOf } from "./interaction.ts";
import { keyPresses } from "./keys.ts";
import { Row } from "./painting.tsx";
import { componentNames, logHeight, screenLines, type Size } from "./screen.ts";
import { type DashboardAgent, Session } from "./session.ts";

/** Frames a second: enough for a tail, few enough for a slow line. */
const FPS_MAX = 15;

export interface DashboardProps {
  readonly session: Session;
  readonly clock: Clock;
  /** Whether to use colours; without them what is selected is marked and inverse all the same. */
  readonly colour: boolean;
  readonly size: Size;
}

/** The dashboard in a given size. */
export function Dashboard({ session, clock, colour, size }: DashboardProps) {
  const { exit } = useApp();
  const snapshot = useSyncExternalStore(session.subscribe, session.snapshot);
  const [interaction, setInteraction] = useState<Interaction>({
    mode: { kind: "browse" },
    selected: undefined,
  });
  const [message, setMessage] = useState("");
  // Keys can come faster than renders: each must see what the one before did.
  const latest = useRef(interaction);
  const components = componentNames(snapshot);
  const selected = selectedOf(interaction.selected, components);
  useEffect(() => session.follow(selected), [session, selected]);

  const run = async (effect: Effect) => {
    if (effect.kind === "quit") return exit();
    setMessage("…");
    setMessage(
      effect.kind === "restart"
        ? await session.restart(effect.component)
        : await session.scale(effect.component, effect.replicas),
    );
  };
  useInput((input, key) => {
    setMessage("");
    for (const each of keyPresses(input, key)) {
      const { state, effect } = press(latest.current, each, {
        components,
        logRows: session.snapshot().logs.rows,
        logHeight: logHeight(size.rows),
      });
      latest.current = state;
      if (effect !== undefined) void run(effect);
    }
    setInteraction(latest.current);
  });

  const lines = screenLines(snapshot, interaction, size, clock.wallMs(), message);
  return (
    <Box flexDirection="column" width={size.columns} height={size.rows}>
      {lines.map((line, i) => <Row key={i} line={line} colour={colour} />)}
    </Box>
  );
}

function FullScreen(props: Omit<DashboardProps, "size">) {
  return <Dashboard {...props} size={useWindowSize()} />;
}

/**
 * Shows the dashboard on this terminal until the operator quits, or `signal` is aborted. The
 * screen is then as it was before.
 */
export async function showDashboard(
  agent: DashboardAgent,
  { clock, colour, signal }: { clock: Clock; colour: boolean; signal: AbortSignal },
): Promise<void> {
  const session = new Session(agent, { clock });
  const screen = render(<FullScreen session={session} clock={clock} colour={colour} />, {
    alternateScreen: true,
    incrementalRendering: true,
    interactive: true, // the caller has seen that there is a terminal
    patchConsole: false,
    maxFps: FPS_MAX,
  });
  const leave = () => screen.unmount();
  signal.addEventListener("abort", leave, { once: true });
  if (signal.aborted) leave();
  try {
    await screen.waitUntilExit();
  } finally {
    signal.removeEventListener("abort", leave);
    session.close();
  }
}
