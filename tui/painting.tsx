/**
 * Lines as Ink elements.
 *
 * @module
 */
import { Text } from "ink";
import type { Line, Span } from "./lines.ts";
import type { Tone } from "./view_model.ts";

const COLOURS: Readonly<Record<Tone, string | undefined>> = {
  plain: undefined,
  dim: "gray",
  good: "green",
  warn: "yellow",
  bad: "red",
  accent: "cyan",
};

/** One line of the screen; an empty one keeps its place. */
export function Row({ line, colour }: { line: Line; colour: boolean }) {
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
