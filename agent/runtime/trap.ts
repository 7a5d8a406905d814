/**
 * Tells from how a guest's call ended what happened to it.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import type { Frame } from "../kernel/frame.ts";
import type { Exit } from "../kernel/ports.ts";
import type { Limiter } from "./limiter.ts";
import { TRAP_MESSAGE_LENGTH_MAX } from "./wasi/bounds.ts";

/** Text in which a guest may have had its say, no longer than that. */
export function cut(text: string, lengthMax: number): string {
  return text.length > lengthMax ? `${text.slice(0, lengthMax).toWellFormed()}…` : text;
}

/** Thrown through the guest by a host function that ended it; what counts is `limiter.ended`. */
export class GuestEnded extends Error {
  override readonly name = "GuestEnded";
}

/** A frame as the engine tells it: a place in a rewritten module. */
export interface RawFrame {
  /** The key of the module in `Artifact.modules`. */
  readonly module: string;
  /** In bytes from the start of the rewritten module. */
  readonly offset: number;
}

/** An {@link Exit} whose frames are still to be named; see `symbolizer.ts`. */
export type RawExit =
  | Exclude<Exit, { kind: "trap" }>
  | Omit<Extract<Exit, { kind: "trap" }>, "backtrace"> & {
    readonly backtrace: readonly RawFrame[];
  };

/**
 * The rewriter names every module; the host's own have no names, so they are left out. The number of
 * the function is always 0 on Deno.
 */
const FRAME = /wasm:\/\/wasm\/([^:/]+)-[0-9a-f]{8}:wasm-function\[\d+\]:0x([0-9a-f]+)\)?$/;
/** Frames of a backtrace that are kept; a Worker sets `Error.stackTraceLimit` to it. */
export const FRAMES_MAX = 64;

/** Frames of metered modules in an error's stack, innermost first. */
export function backtrace(error: unknown): RawFrame[] {
  if (!(error instanceof Error) || !error.stack) return [];
  const frames: RawFrame[] = [];
  for (const line of error.stack.split("\n")) {
    const m = FRAME.exec(line);
    if (m && frames.length < FRAMES_MAX) {
      frames.push({ module: m[1]!, offset: parseInt(m[2]!, 16) });
    }
  }
  return frames;
}

/** The name of a core module for people; `key` is that of `Artifact.modules`. */
export function moduleName(given: string | undefined, key: string): string {
  return given === undefined || given === "" ? key.replace(/^component\.|\.wasm$/g, "") : given;
}

/** A frame of which nothing more could be found out. */
export function unnamed({ module, offset }: RawFrame): Frame {
  return { module: moduleName(undefined, module), function: "?", offset };
}

const HINTS: Partial<Record<string, string>> = {
  "out-of-fuel": "Raise the fuel it may use",
  "epoch-timeout": "Raise epoch_timeout_ms (--epoch-timeout-ms)",
  "memory-limit": "Raise memory_max_mb (--memory-max-mb)",
  timeout: "Raise --timeout",
};

const SUSPENDED = "it waited where a component may not wait";

/** How the guest ended, from what its call threw. */
export function exitOf(error: unknown, limiter: Limiter): RawExit {
  const frames = backtrace(error);
  const trap = (code: Parameters<typeof limit>[0], message: string) => limit(code, message, frames);
  const ended = limiter.ended;
  if (ended?.kind === "exit") return { kind: "exit", status: ended.status };
  if (ended?.kind === "stopped") return { kind: "stopped" };
  if (ended?.kind === "limit") return trap(ended.code, ended.message);
  if (error instanceof RealmError) {
    return { ...trap(error.code, error.message), ...(error.hint ? { hint: error.hint } : {}) };
  }
  const overflow = limiter.stackExhausted || error instanceof RangeError;
  const reason = overflow
    ? "call stack exhausted"
    : String(error) === "[object WebAssembly.Exception]"
    ? "an exception that nothing caught"
    : error instanceof Error
    ? error.message
    : String(error);
  if (limiter.refusedGrowths > 0 && !overflow) {
    return trap("memory-limit", `it could not grow its memory and trapped: ${reason}`);
  }
  if (error instanceof Error && error.name === "SuspendError") return trap("trap", SUSPENDED);
  return trap("trap", reason);
}

function limit(
  code: RealmError["code"],
  message: string,
  frames: readonly RawFrame[],
): Extract<RawExit, { kind: "trap" }> {
  const hint = HINTS[code];
  // As V8 says it, also by way of a host function that the guest was called from.
  const said = message === "trying to suspend JS frames" ? SUSPENDED : message;
  const short = cut(said, TRAP_MESSAGE_LENGTH_MAX);
  return { kind: "trap", code, message: short, backtrace: frames, ...(hint ? { hint } : {}) };
}

/** How a replica ends when the host, not the guest, failed. */
export function hostFault(error: unknown): RawExit {
  const known = error instanceof RealmError;
  return {
    kind: "trap",
    code: known ? error.code : "failed",
    message: cut(error instanceof Error ? error.message : String(error), TRAP_MESSAGE_LENGTH_MAX),
    backtrace: [],
  };
}
