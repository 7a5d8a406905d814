/**
 * How many replicas to keep ready to run, by what was started of late. Pure.
 *
 * @module
 */

/** Starts that are older say nothing any more; what is ready for longer without use is given up. */
export const RECENT_MS = 60_000;
/** One start says nothing yet: most components are started once. */
const STARTS_MIN = 2;
/** Starts within this time may come at once. */
const BURST_MS = 1_000;
/** Kept ready of one kind at most. */
const READY_OF_ONE_MAX = 4;
/** Kinds that are remembered; past it the one that was started longest ago is forgotten. */
const KINDS_MAX = 64;
/** Starts of one kind that are remembered. */
const STARTS_MAX = 8;

/** Remembers starts by kind: one component with the same grants and limits. */
export class RecentStarts {
  /** Times of starts in milliseconds, by kind; the kind that was started last is the last. */
  readonly #starts = new Map<string, number[]>();

  note(kind: string, nowMs: number): void {
    const times = this.#starts.get(kind) ?? [];
    this.#starts.delete(kind);
    this.#starts.set(kind, [...times, nowMs].slice(-STARTS_MAX));
    if (this.#starts.size > KINDS_MAX) this.#starts.delete(this.#starts.keys().next().value!);
  }

  /** How many to keep ready of each kind, `total` in all; what was started last comes first. */
  wanted(nowMs: number, total: number): Map<string, number> {
    const wanted = new Map<string, number>();
    for (const [kind, times] of [...this.#starts].reverse()) {
      const recent = times.filter((at) => nowMs - at < RECENT_MS);
      if (recent.length < STARTS_MIN || total === 0) continue;
      const burst = recent.filter((at) => recent.at(-1)! - at < BURST_MS).length;
      const count = Math.min(Math.ceil(burst / 2), READY_OF_ONE_MAX, total);
      wanted.set(kind, count);
      total -= count;
    }
    return wanted;
  }
}
