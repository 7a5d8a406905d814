/**
 * Tells from how a guest's call ended what happened to it.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import type { Exit } from "../kernel/ports.ts";
import type { Limiter } from "./limiter.ts";

/** Thrown through the guest by a host function that ended it; what counts is `limiter.ended`. */
export class GuestEnded extends Error {
  override readonly name = "GuestEnded";
}

const FRAME =
  /^\s*at (?:(.*?) \()?wasm:\/\/wasm\/(?:([^:/]*)-)?[0-9a-f]+:wasm-function\[(\d+)\]:(0x[0-9a-f]+)\)?$/;

/** Frames of WebAssembly in an error's stack, innermost first. */
export function backtrace(error: unknown): string[] {
  if (!(error instanceof Error) || !error.stack) return [];
  const frames: string[] = [];
  for (const line of error.stack.split("\n")) {
    const m = FRAME.exec(line);
    if (m) frames.push(`${m[1] ?? `wasm-function[${m[3]}]`} @ ${m[4]}`);
  }
  return frames;
}

const HINTS: Partial<Record<string, string>> = {
  "out-of-fuel": "Raise the fuel it may use",
  "epoch-timeout": "Raise epoch_timeout_ms (--epoch-timeout-ms)",
  "memory-limit": "Raise memory_max_mb (--memory-max-mb)",
  timeout: "Raise --timeout",
};

/** How the guest ended, from what its call threw. */
export function exitOf(error: unknown, limiter: Limiter): Exit {
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
    : error instanceof Error
    ? error.message
    : String(error);
  if (limiter.refusedGrowths > 0 && !overflow) {
    return trap("memory-limit", `it could not grow its memory and trapped: ${reason}`);
  }
  if (error instanceof Error && error.name === "SuspendError") {
    return trap("trap", "it waited where a component may not wait");
  }
  return trap("trap", reason);
}

function limit(
  code: RealmError["code"],
  message: string,
  frames: readonly string[],
): Extract<Exit, { kind: "trap" }> {
  const hint = HINTS[code];
  return { kind: "trap", code, message, backtrace: frames, ...(hint ? { hint } : {}) };
}

/** How a replica ends when the host, not the guest, failed. */
export function hostFault(error: unknown): Exit {
  const known = error instanceof RealmError;
  return {
    kind: "trap",
    code: known ? error.code : "failed",
    message: error instanceof Error ? error.message : String(error),
    backtrace: [],
  };
}
