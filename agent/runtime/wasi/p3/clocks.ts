/**
 * `wasi:clocks` of WASI 0.3, on the clocks of 0.2.
 *
 * @see https://github.com/WebAssembly/wasi-clocks
 * @module
 */
import type { createClocks } from "../clocks.ts";
import type { WasiInstance } from "../context.ts";
import type { Readiness } from "../io.ts";

/** Resolves when something is ready; the call in progress can be taken back. */
export function whenReady(host: WasiInstance, readiness: Readiness): Promise<void> | void {
  if (readiness.ready()) return;
  let unwait: (() => void) | undefined;
  const { promise, resolve } = Promise.withResolvers<void>();
  const again = () => {
    unwait = undefined;
    if (readiness.ready()) resolve();
    else unwait = readiness.wait(again);
  };
  unwait = readiness.wait(again);
  host.cancel = () => {
    unwait?.();
    resolve();
  };
  return promise;
}

/** The functions of `wasi:clocks`, by interface. */
export function createClocks3(host: WasiInstance, clocks: ReturnType<typeof createClocks>) {
  const { now, resolution } = clocks.monotonicClock;
  const wait = (at: bigint) => whenReady(host, clocks.at(at));
  return {
    monotonicClock: {
      now,
      getResolution: resolution,
      waitUntil: wait,
      waitFor: (ns: bigint) => wait(clocks.after(ns)),
    },
    systemClock: {
      now: () => clocks.wallNow("wasi:clocks/system-clock#now"),
      getResolution: () => {
        const { seconds, nanoseconds } = clocks.wallClock.resolution();
        return seconds * 1_000_000_000n + BigInt(nanoseconds);
      },
    },
  };
}
