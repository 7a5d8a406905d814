/**
 * Runs the behavior of a topic: wakes it when it starts, after events were applied and at the time it
 * asked for, one call at a time, and no more of it than its fuel lasts.
 *
 * It is called only where everything that is stored is applied: by a state of before, as there is one for a
 * moment after a start, it would do again what it has done, such as a request.
 *
 * Its fuel is a bucket that refills at {@link FUEL_PER_SEC}: a call takes what it used, and the next one
 * waits until there is some again. One that ended by a fault is started anew after a while, which grows.
 *
 * @module
 */
import { AppGuest, type GuestCode } from "../guest/app_guest.ts";
import type { AppliedEvent } from "../guest/host_imports.ts";
import { type BehaviorSurroundings, hostOf, WAITING } from "./guest_host.ts";

/** What a {@link BehaviorRunner} is made of. */
export interface BehaviorInit {
  readonly code: GuestCode;
  readonly around: Omit<BehaviorSurroundings, "event">;
  nowMs(): number;
  later(ms: number, act: () => void): () => void;
  /** Whether the state is that of all events that are here; {@link BehaviorRunner.goOn} says when it is. */
  isCurrent(): boolean;
  /** It ended by a fault, and will be started again. */
  failed(problem: string): void;
}

/** Units for one call, and refilled in a second. */
export const WAKE_FUEL = 50_000_000;
export const FUEL_PER_SEC = 10_000_000;
/** Events that wait for it; of more the oldest are left out. */
export const EVENTS_MAX = 256;
/** Before it is started again. */
const RESTART_MIN_MS = 1_000;
const RESTART_MAX_MS = 300_000;
/** The least time between two wakes for time. */
const WAKE_MIN_MS = 10;

type Cause = "started" | "event" | "time";

/** See the module; it starts at once. */
export class BehaviorRunner {
  readonly #init: BehaviorInit;
  #guest: AppGuest | undefined;
  /** Events that it is to be woken for. */
  #events: AppliedEvent[] = [];
  #event: AppliedEvent | undefined;
  /** When it wants to be called at the latest. */
  #wakeAtMs = Infinity;
  #fuel = WAKE_FUEL;
  #fuelAtMs: number;
  #pauseMs = RESTART_MIN_MS;
  #startAtMs: number;
  #isAwake = false;
  #isStopped = false;
  #cancel: (() => void) | undefined;

  constructor(init: BehaviorInit) {
    this.#init = init;
    this.#startAtMs = this.#fuelAtMs = init.nowMs();
    this.#next();
  }

  /** An event was applied. */
  event(event: AppliedEvent): void {
    if (this.#guest === undefined) return; // it finds it in the state when it starts
    this.#events.push(event);
    if (this.#events.length > EVENTS_MAX) this.#events.shift();
    this.#next();
  }

  /** The state is current again. */
  goOn(): void {
    if (this.#cancel === undefined) this.#next();
  }

  /** It is not called any more. A call that waits for the agent goes no further. */
  stop(): void {
    this.#isStopped = true;
    this.#cancel?.();
    this.#guest = undefined;
  }

  #next(): void {
    if (this.#isStopped || this.#isAwake) return;
    this.#cancel?.();
    this.#cancel = undefined;
    if (!this.#init.isCurrent()) return;
    const nowMs = this.#init.nowMs();
    this.#fuel = Math.min(
      WAKE_FUEL,
      this.#fuel + (nowMs - this.#fuelAtMs) / 1000 * FUEL_PER_SEC,
    );
    this.#fuelAtMs = nowMs;
    const wantedMs = this.#guest === undefined
      ? this.#startAtMs
      : this.#events.length > 0
      ? nowMs
      : this.#wakeAtMs;
    if (wantedMs === Infinity) return;
    const fuelMs = this.#fuel > 0 ? 0 : Math.ceil((1 - this.#fuel) / FUEL_PER_SEC * 1000);
    const inMs = Math.max(wantedMs - nowMs, fuelMs, 0);
    this.#cancel = this.#init.later(Math.min(inMs, 2 ** 31 - 1), () => {
      this.#cancel = undefined;
      // A time that is further away than a timer goes is looked at again.
      if (this.#init.nowMs() < wantedMs || !this.#init.isCurrent()) this.#next();
      else void this.#wake();
    });
  }

  async #wake(): Promise<void> {
    this.#isAwake = true;
    const cause = this.#cause();
    let guest = this.#guest;
    try {
      guest = this.#guest ??= this.#start();
      const at = await guest.callAsync("wake", cause) as bigint | undefined;
      const nowMs = this.#init.nowMs();
      this.#wakeAtMs = at === undefined ? Infinity : Math.max(Number(at), nowMs + WAKE_MIN_MS);
      this.#pauseMs = RESTART_MIN_MS;
    } catch (error) {
      if (!this.#isStopped) this.#failed(error);
    }
    this.#fuel -= guest?.fuelUsed ?? 0;
    this.#event = undefined;
    this.#isAwake = false;
    this.#next();
  }

  #cause(): Cause {
    if (this.#guest === undefined) return "started";
    this.#event = this.#events.shift();
    return this.#event === undefined ? "time" : "event";
  }

  #start(): AppGuest {
    const { code, around } = this.#init;
    const whileRunning = <A extends unknown[], R>(act: (...args: A) => R) => (...args: A): R => {
      if (this.#isStopped) throw new Error("it was stopped");
      return act(...args);
    };
    const host = hostOf("behavior", {
      ...around,
      propose: whileRunning(around.propose),
      request: whileRunning(around.request),
      event: () => this.#event,
    });
    return new AppGuest(code, host, { fuelMax: WAKE_FUEL }, WAITING);
  }

  #failed(error: unknown): void {
    this.#guest = undefined;
    this.#events = [];
    this.#startAtMs = this.#init.nowMs() + this.#pauseMs;
    this.#pauseMs = Math.min(2 * this.#pauseMs, RESTART_MAX_MS);
    this.#init.failed(error instanceof Error ? error.message : String(error));
  }
}
