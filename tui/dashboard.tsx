/**
 * The dashboard as Ink components: they paint the lines of `screen.ts` and pass keys on.
 *
 * @module
 */
import { Box, type Key, render, Text, useApp, useInput, useWindowSize } from "ink";
import { useEffect, useRef, useState, useSyncExternalStore } from "react";
import type { Clock } from "../agent/kernel/ports.ts";
import { type Effect, type Interaction, type KeyPress, press, selectedOf } from "./interaction.ts";
import type { Line, Span } from "./lines.ts";
import { componentNames, logHeight, screenLines, type Size } from "./screen.ts";
import { type DashboardAgent, Session } from "./session.ts";
import type { Tone } from "./view_model.ts";

const COLOURS: Readonly<Record<Tone, string | undefined>> = {
  plain: undefined,
  dim: "gray",
  good: "green",
  warn: "yellow",
  bad: "red",
  accent: "cyan",
};

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

/** One line of the screen; an empty one keeps its place. */
function Row({ line, colour }: { line: Line; colour: boolean }) {
  return (
    <Text wrap="truncate-end">
      {line.length === 0
        ? " "
        : line.map((span, i) => <Piece key={i} span={span} colour={colour} />)}
    </Text>
  );
}

function Piece({ span, colour }: { span: Span; colour: boolean }) {
  const name = colour ? COLOURS[span.tone ?? "plain"] : undefined;
  return (
    <Text
      bold={span.bold ?? false}
      inverse={span.inverse ?? false}
      {...(name === undefined ? {} : { color: name })}
    >
      {span.text}
    </Text>
  );
}

/** Ink's key as ours. What is typed fast, or pasted, comes as one text: a press each. */
function keyPresses(input: string, key: Key): KeyPress[] {
  if (key.upArrow) return ["up"];
  if (key.downArrow) return ["down"];
  if (key.pageUp) return ["page-up"];
  if (key.pageDown) return ["page-down"];
  if (key.home) return ["home"];
  if (key.end) return ["end"];
  if (key.return) return ["enter"];
  if (key.escape) return ["escape"];
  if (key.backspace || key.delete) return ["backspace"];
  if (key.ctrl || key.meta) return [];
  return [...input].map((text) => ({ text }));
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
