/**
 * How much work authors may make by events that come late.
 *
 * An event that sorts before others makes them be applied again. Its author pays for each of them, and
 * so does a purse that all share, because keys cost nothing; both fill up with time. Who has nothing
 * left waits: late events that wait are taken together later, in one go. It decides when an event is
 * applied, never where in the order.
 *
 * @module
 */
import { textOf } from "../kernel/byte_string.ts";

/** What a budget is made of: numbers of events that are applied again. */
export interface RewindLimits {
  readonly authorEventsMax: number;
  readonly authorEventsPerSecond: number;
  /** Of all authors together. */
  readonly eventsMax: number;
  readonly eventsPerSecond: number;
}

/**
 * A burst of less than half a second of work, and a twentieth of the time after it; half of that for one
 * author. A purse may be overdrawn once, by as many events as there are.
 */
export const REWIND_LIMITS: RewindLimits = {
  authorEventsMax: 5_000,
  authorEventsPerSecond: 500,
  eventsMax: 10_000,
  eventsPerSecond: 1_000,
};

/** What is left to somebody, as of a time; below zero after a rewind that cost more. */
interface Purse {
  left: number;
  atMs: number;
}

const ALL = "";

/** The purses of one topic. */
export class RewindBudget {
  readonly #purses = new Map<string, Purse>();

  constructor(readonly limits: RewindLimits = REWIND_LIMITS) {}

  /** Whether a late event of the author may be taken now. */
  allows(author: Uint8Array, nowMs: number): boolean {
    return this.#purse(ALL, nowMs).left > 0 && this.#purse(textOf(author), nowMs).left > 0;
  }

  /** When {@link allows} will say yes, if nothing else is paid until then. */
  allowedAtMs(author: Uint8Array, nowMs: number): number {
    const wait = (name: string) => {
      const { left } = this.#purse(name, nowMs);
      return left > 0 ? 0 : Math.floor(1000 * -left / this.#rate(name)) + 1;
    };
    return nowMs + Math.max(wait(ALL), wait(textOf(author)));
  }

  /** Takes what a rewind costs: for each author that caused it, events from its first late one on. */
  pay(costs: ReadonlyMap<Uint8Array, number>, nowMs: number): void {
    for (const [author, events] of costs) this.#purse(textOf(author), nowMs).left -= events;
    this.#purse(ALL, nowMs).left -= Math.max(...costs.values());
  }

  #rate(name: string): number {
    const { authorEventsPerSecond, eventsPerSecond } = this.limits;
    return name === ALL ? eventsPerSecond : authorEventsPerSecond;
  }

  #purse(name: string, nowMs: number): Purse {
    const max = name === ALL ? this.limits.eventsMax : this.limits.authorEventsMax;
    let purse = this.#purses.get(name);
    if (purse === undefined) this.#purses.set(name, purse = { left: max, atMs: nowMs });
    const passedMs = Math.max(0, nowMs - purse.atMs);
    purse.left = Math.min(max, purse.left + this.#rate(name) * passedMs / 1000);
    purse.atMs = Math.max(purse.atMs, nowMs);
    return purse;
  }
}
