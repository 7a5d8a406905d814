/**
 * States along a log that are kept to go back to: close to one another near its end, further apart
 * the longer ago they were. Going back by some number of events leads to a state that is not many
 * more back, and of `n` events about `8 * log2(n / 16)` states are kept.
 *
 * @module
 */
/** Events between snapshots at the end. */
const DISTANCE_MIN = 16;
/** A snapshot may be this part of its distance from the end away from the next. */
const GROWTH = 0.25;

/** What there was, and how many events of the log led to it. */
export interface Snapshot<Stage> {
  readonly length: number;
  readonly stage: Stage;
}

/** The snapshots of one log. */
export class Snapshots<Stage> {
  /** Ascending; the first is of no events. */
  readonly #kept: Snapshot<Stage>[];

  constructor(first: Stage) {
    this.#kept = [{ length: 0, stage: first }];
  }

  /** How many there are. */
  get size(): number {
    return this.#kept.length;
  }

  /** Takes what there is after `length` events, the newest so far, if it is time for one. */
  offer(length: number, stage: Stage): void {
    if (length - this.#kept.at(-1)!.length < DISTANCE_MIN) return;
    this.#kept.push({ length, stage });
    // From the end on, so that who went decides about who is next.
    for (let i = this.#kept.length - 2; i > 0; i--) {
      const next = this.#kept[i + 1]!.length;
      if (next - this.#kept[i - 1]!.length <= GROWTH * (length - next)) this.#kept.splice(i, 1);
    }
  }

  /** The last one after at most `length` events. */
  before(length: number): Snapshot<Stage> {
    return this.#kept.findLast((snapshot) => snapshot.length <= length)!;
  }

  /** Forgets those after more than `length` events. */
  rewind(length: number): void {
    while (this.#kept.at(-1)!.length > length) this.#kept.pop();
  }
}
