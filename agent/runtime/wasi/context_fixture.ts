/**
 * A WASI context for tests: a virtual clock, recorded output, notices and ends.
 *
 * @module
 */
import { type Grants, NO_NETWORK } from "../../kernel/ports.ts";
import type { WasiContext } from "./context.ts";
import { createWasi, type WasiFunctions, type WasiHost } from "./host.ts";

/** How a guest was ended. */
export class Ended extends Error {
  constructor(readonly kind: "exit" | "trap", readonly value: number | string) {
    super(`${kind} ${value}`);
  }
}

/** A host and what it did. */
export interface Fixture {
  readonly wasi: WasiHost;
  readonly output: { stdout: string; stderr: string };
  readonly notices: [string, string][];
  readonly traces: [string, boolean][];
  readonly locks: string[];
  /** Moves the virtual clock and lets what was due run. */
  advance(ms: number): Promise<void>;
  /** An interface; typed by the test. */
  // deno-lint-ignore no-explicit-any
  get(iface: string): any;
}

/** Everything granted but mounts. */
export const ALL: Grants = {
  args: ["program", "x"],
  env: [["A", "b"]],
  mounts: [],
  clock: true,
  random: true,
  stdio: true,
  network: NO_NETWORK,
  config: [],
  keyvalue: false,
};

/** Builds a host on a virtual clock that starts at 1000.5 ms; `functions` as of `createWasi()`. */
export function createFixture(
  grants: Partial<Grants> = {},
  override: Partial<WasiContext> = {},
  functions?: WasiFunctions,
): Fixture {
  let nowNs = 1_000_500_000n;
  const sleepers = new Set<{ atNs: bigint; wake: () => void }>();
  const output = { stdout: "", stderr: "" };
  const notices: [string, string][] = [];
  const traces: [string, boolean][] = [];
  const locks: string[] = [];
  let seed = 7;
  const wasi = createWasi({
    grants: { ...ALL, ...grants },
    stdio: {
      read: () => Promise.resolve(null),
      write: (stream, bytes) => {
        output[stream] += new TextDecoder().decode(bytes);
      },
      terminal: { stdin: false, stdout: true, stderr: false },
    },
    denied: (call, grant) => void notices.push([call, grant]),
    exit: (status) => {
      throw new Ended("exit", status);
    },
    trap: (message) => {
      throw new Ended("trap", message);
    },
    clock: {
      wallNs: () => 1_700_000_000_123_456_789n,
      monotonicNs: () => nowNs,
      sleep: (ms, signal) =>
        new Promise((resolve, reject) => {
          const sleeper = { atNs: nowNs + BigInt(ms) * 1_000_000n, wake: resolve };
          sleepers.add(sleeper);
          signal?.addEventListener("abort", () => {
            sleepers.delete(sleeper);
            reject(signal.reason);
          });
        }),
    },
    random: {
      bytes: (length) => Uint8Array.from({ length }, () => (seed = (seed * 5 + 3) & 0xff)),
    },
    lock: (indexes, act) => {
      locks.push(indexes.join());
      return act();
    },
    trace: ({ call, lacks }) => void traces.push([call, lacks === undefined]),
    ...override,
  }, functions);
  return {
    wasi,
    output,
    notices,
    traces,
    locks,
    async advance(ms) {
      nowNs += BigInt(ms) * 1_000_000n;
      for (const sleeper of [...sleepers]) {
        if (sleeper.atNs > nowNs) continue;
        sleepers.delete(sleeper);
        sleeper.wake();
      }
      for (let turn = 0; turn < 5; turn++) await Promise.resolve();
    },
    get: (iface) => wasi.imports[iface],
  };
}

/** What `act` throws; fails when it throws nothing. */
export function thrown(act: () => unknown): unknown {
  try {
    act();
  } catch (error) {
    return error;
  }
  throw new Error("Expected a throw");
}

/** The message of the trap that `act` ends with. */
export function trapOf(act: () => unknown): string {
  const error = thrown(act);
  if (error instanceof Ended && error.kind === "trap") return String(error.value);
  throw error;
}
