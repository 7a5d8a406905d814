/**
 * How much of a processor's time the events of one topic may take: a purse that fills up with time.
 *
 * What members write is applied by everybody, so one who writes what takes long to apply, and much of
 * it, would have the processors of all others. Events beyond the budget wait. It decides when an event is
 * applied, never what becomes of it, so peers that are differently fast agree.
 *
 * @module
 */

/** What a budget is made of. */
export interface CpuLimits {
  /** Milliseconds that there are after a rest. */
  readonly burstMs: number;
  /** Milliseconds that are added in each. */
  readonly share: number;
}

/** Some hundred thousand events of a usual kind at once, and half of a processor after that. */
export const CPU_LIMITS: CpuLimits = { burstMs: 10_000, share: 0.5 };

/** What has to be there again before it goes on. */
const LEAST_MS = 50;

/** The purse of one topic; times are in milliseconds of a clock that may be set. */
export class CpuBudget {
  #leftMs: number;
  #atMs: number;

  constructor(nowMs: number, readonly limits: CpuLimits = CPU_LIMITS) {
    this.#leftMs = limits.burstMs;
    this.#atMs = nowMs;
  }

  /** Takes what something took; no more than a burst is ever owed, as a machine that sleeps works not. */
  pay(ms: number, nowMs: number): void {
    this.#fill(nowMs);
    this.#leftMs = Math.max(-this.limits.burstMs, this.#leftMs - Math.max(0, ms));
  }

  /** How long to wait before anything more is done; 0 for not at all. */
  waitMs(nowMs: number): number {
    this.#fill(nowMs);
    if (this.#leftMs > 0) return 0;
    return Math.ceil((LEAST_MS - this.#leftMs) / this.limits.share);
  }

  #fill(nowMs: number): void {
    const { burstMs, share } = this.limits;
    const passedMs = Math.max(0, nowMs - this.#atMs);
    this.#leftMs = Math.min(burstMs, this.#leftMs + share * passedMs);
    this.#atMs = nowMs;
  }
}
