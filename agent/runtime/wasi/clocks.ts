/**
 * `wasi:clocks`: wall clock, monotonic clock and timers, time zone.
 *
 * Without the grant the wall clock stands at {@link FROZEN_WALL_SECONDS} and the monotonic clock
 * moves in steps of {@link COARSE_STEP_NS}; timers run on it all the same.
 *
 * @see https://github.com/WebAssembly/wasi-clocks/tree/v0.2.12/wit
 * @module
 */
import type { WasiInstance } from "./context.ts";
import { Pollable, type Readiness, Signal } from "./io.ts";

/** 2020-01-01T00:00:00Z: late enough for programs that distrust 1970, and no secret. */
export const FROZEN_WALL_SECONDS = 1_577_836_800n;
/** One millisecond, what browsers give pages that are not isolated. */
export const COARSE_STEP_NS = 1_000_000n;

const NS_PER_S = 1_000_000_000n;
const NS_PER_MS = 1_000_000n;
/** A longer sleep than `setTimeout` can do is slept in parts. */
const SLEEP_MS_MAX = 2 ** 31 - 1;
const U64_MAX = 2n ** 64n - 1n;

/** `datetime` of the interface. */
export interface Datetime {
  readonly seconds: bigint;
  readonly nanoseconds: number;
}

/** A moment on a monotonic clock; the timer runs only while someone waits. */
class Deadline implements Readiness {
  #signal = new Signal();
  #waiting = 0;
  #timer: AbortController | undefined;
  #unclose: (() => void) | undefined;

  constructor(readonly host: WasiInstance, readonly now: () => bigint, readonly atNs: bigint) {}

  ready(): boolean {
    return this.now() >= this.atNs;
  }

  wait(wake: () => void): () => void {
    let waiting = true;
    this.#waiting++;
    const cancel = this.#signal.wait(() => {
      if (waiting) this.#waiting--;
      waiting = false;
      wake();
    });
    this.#start();
    return () => {
      cancel();
      if (!waiting) return;
      waiting = false;
      if (--this.#waiting === 0) this.#stop();
    };
  }

  #start(): void {
    if (this.#timer !== undefined) return;
    const timer = new AbortController();
    this.#timer = timer;
    this.#unclose = this.host.onClose(() => this.#stop());
    const leftNs = this.atNs - this.now();
    const ms = leftNs <= 0n ? 0n : (leftNs + NS_PER_MS - 1n) / NS_PER_MS;
    this.host.ctx.clock.sleep(Math.min(Number(ms), SLEEP_MS_MAX), timer.signal).then(
      () => {
        if (this.#timer !== timer) return;
        this.#timer = undefined;
        this.#unclose?.();
        this.#signal.notify();
      },
      () => {},
    );
  }

  #stop(): void {
    const timer = this.#timer;
    this.#timer = undefined;
    this.#unclose?.();
    timer?.abort();
  }
}

/**
 * The functions of `wasi:clocks`, by interface. Beside them `at` is when a moment of the monotonic
 * clock has come, `after` the moment in so many nanoseconds, `wallNow` the wall clock for a call.
 */
export function createClocks(host: WasiInstance) {
  const { clock, grants } = host.ctx;
  const denied = (call: string) => {
    if (!grants.clock) host.deny(call, "clock");
  };
  const now = grants.clock
    ? () => clock.monotonicNs()
    : () => clock.monotonicNs() / COARSE_STEP_NS * COARSE_STEP_NS;
  const at = (atNs: bigint): Readiness => new Deadline(host, now, atNs);
  const subscribe = (atNs: bigint) => new Pollable(host, at(atNs));
  const after = (ns: bigint) => {
    const atNs = now() + ns;
    return atNs > U64_MAX ? U64_MAX : atNs;
  };
  const datetime = (ns: bigint): Datetime => ({
    seconds: ns / NS_PER_S,
    nanoseconds: Number(ns % NS_PER_S),
  });
  const wallNow = (call: string): Datetime => {
    denied(call);
    return datetime(grants.clock ? clock.wallNs() : FROZEN_WALL_SECONDS * NS_PER_S);
  };
  return {
    at,
    after,
    wallNow,
    wallClock: {
      now: () => wallNow("wasi:clocks/wall-clock#now"),
      resolution: (): Datetime => datetime(grants.clock ? NS_PER_MS : NS_PER_S),
    },
    monotonicClock: {
      now,
      resolution: () => grants.clock ? 1_000n : COARSE_STEP_NS,
      subscribeInstant: (atNs: bigint) => subscribe(atNs),
      subscribeDuration: (ns: bigint) => subscribe(after(ns)),
    },
    timezone: {
      display: (_when: Datetime) => ({ utcOffset: 0, name: "UTC", inDaylightSavingTime: false }),
      utcOffset: (_when: Datetime) => 0,
    },
  };
}
