/**
 * Lines as Ink elements, or on the terminal itself; and a screen of them from its beginning to its end.
 *
 * @module
 */
import { Box, render, Text, useWindowSize } from "ink";
import process from "node:process";
import { createContext, type ReactNode, useContext, useLayoutEffect } from "react";
import type { Line, Span } from "./lines.ts";
import { Painter, type Palette, TONES_256 } from "./painter.ts";
import type { Size } from "./views/view.ts";

/** Who paints lines; without one Ink does. */
const PainterContext = createContext<Painter | undefined>(undefined);

/** A whole screen. */
export function Screen({ lines, size, palette }: {
  readonly lines: readonly Line[];
  readonly size: Size;
  readonly palette: Palette;
}) {
  const painter = useContext(PainterContext);
  useLayoutEffect(() => painter?.paint(lines, size));
  if (painter !== undefined) return null;
  return (
    <Box flexDirection="column" width={size.columns} height={size.rows}>
      {lines.map((line, i) => <Row key={i} line={line} palette={palette} />)}
    </Box>
  );
}

/** One line; an empty one keeps its place. */
function Row({ line, palette }: { readonly line: Line; readonly palette: Palette }) {
  return (
    <Text wrap="truncate-end">
      {line.length === 0
        ? " "
        : line.map((span, i) => <Piece key={i} span={span} palette={palette} />)}
    </Text>
  );
}

function Piece({ span, palette }: { readonly span: Span; readonly palette: Palette }) {
  const colour = palette === "none" ? undefined : TONES_256[span.tone ?? "plain"];
  return (
    <Text
      bold={span.bold ?? false}
      inverse={span.inverse ?? false}
      {...(colour === undefined ? {} : { color: `ansi256(${colour})` })}
    >
      {span.text}
    </Text>
  );
}

/**
 * Shows on this terminal what `view` draws in its size, until that leaves by Ink's `exit()` or `signal`
 * is aborted. The screen is then as it was before.
 */
export async function showFullScreen(
  view: (size: Size) => ReactNode,
  { palette, signal }: { readonly palette: Palette; readonly signal: AbortSignal },
): Promise<void> {
  const painter = new Painter(process.stdout, palette);
  const screen = render(
    <PainterContext value={painter}>
      <FullScreen view={view} />
    </PainterContext>,
    {
      alternateScreen: true,
      interactive: true, // the caller has seen that there is a terminal
      patchConsole: false,
      exitOnCtrlC: false, // what is on its way to the terminal goes first
    },
  );
  // What comes late would be on the screen of before.
  const leave = () => void painter.close().then(() => screen.unmount());
  signal.addEventListener("abort", leave, { once: true });
  if (signal.aborted) leave();
  try {
    await screen.waitUntilExit();
  } finally {
    signal.removeEventListener("abort", leave);
    await painter.close();
  }
}

function FullScreen({ view }: { readonly view: (size: Size) => ReactNode }) {
  return view(useWindowSize());
}

/** Ends the screen once the terminal has taken what is on its way. */
export function useLeave(exit: () => void): () => void {
  const painter = useContext(PainterContext);
  return () => void (painter?.close() ?? Promise.resolve()).then(exit);
}
