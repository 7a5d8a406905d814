/**
 * States along a log that are kept to go back to: close to one another near its end, further apart
 * the longer ago they were. Going back by some number of events leads to a state that is not many
 * more back, and of `n` events about `8 * log2(n / 16)` states are kept.
 *
 * @module
 */
import { State } from "./state.ts";

/** Events between snapshots at the end. */
const DISTANCE_MIN = 16;
/** A snapshot may be this part of its distance from the end away from the next. */
const GROWTH = 0.25;

/** A state and how many events of the log led to it. */
export interface Snapshot {
  readonly length: number;
  readonly state: State;
}

/** The snapshots of one log. */
export class Snapshots {
  /** Ascending; the first is the empty state. */
  readonly #kept: Snapshot[] = [{ length: 0, state: State.EMPTY }];

  /** How many there are. */
  get size(): number {
    return this.#kept.length;
  }

  /** Takes the state after `length` events, the newest so far, if it is time for one. */
  offer(length: number, state: State): void {
    if (length - this.#kept.at(-1)!.length < DISTANCE_MIN) return;
    this.#kept.push({ length, state });
    // From the end on, so that who went decides about who is next.
    for (let i = this.#kept.length - 2; i > 0; i--) {
      const next = this.#kept[i + 1]!.length;
      if (next - this.#kept[i - 1]!.length <= GROWTH * (length - next)) this.#kept.splice(i, 1);
    }
  }

  /** The last one after at most `length` events. */
  before(length: number): Snapshot {
    return this.#kept.findLast((snapshot) => snapshot.length <= length)!;
  }

  /** Forgets those after more than `length` events. */
  rewind(length: number): void {
    while (this.#kept.at(-1)!.length > length) this.#kept.pop();
  }
}
