/**
 * Frames of a guest's call stack, and how they are written for people.
 *
 * @module
 */

/** Where a guest was when it trapped, or the call that led there. */
export interface Frame {
  /** The name that the core module gives itself, else its place among those of the component. */
  readonly module: string;
  /** Demangled; `function[12]` where the module has no name for it. */
  readonly function: string;
  /** Of the instruction, in bytes from the start of the file that the guest was loaded from. */
  readonly offset: number;
  /** As the debug information has it. */
  readonly file?: string;
  /** From 1; 0 where the compiler made the code without a line. */
  readonly line?: number;
}

/** Frames that are shown to people. */
const SHOWN_MAX = 32;

/** `module!function @ 0x1a2b (src/main.rs:12)`. */
export function formatFrame(frame: Frame): string {
  const where = frame.file === undefined ? "" : ` (${frame.file}:${frame.line ?? 0})`;
  return `${frame.module}!${frame.function} @ 0x${frame.offset.toString(16)}${where}`;
}

/** A line for each frame, innermost first, every one behind a line feed; empty without frames. */
export function formatBacktrace(frames: readonly Frame[], indent = "  "): string {
  const lines = frames.slice(0, SHOWN_MAX).map((frame) => `\n${indent}at ${formatFrame(frame)}`);
  if (frames.length > SHOWN_MAX) lines.push(`\n${indent}and ${frames.length - SHOWN_MAX} more`);
  return lines.join("");
}
