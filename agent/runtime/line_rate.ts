/**
 * How many lines a replica may write in a second that cost its guest nothing: those of
 * `wasi:logging`, and those that realm says about it.
 *
 * What is more is dropped where it is made, so that a flood costs neither the agent nor the guest.
 * Its beginning is told once.
 *
 * @module
 */

const SECOND_MS = 1000;

/** See the module. */
export class LineRate {
  #secondStartMs = -Infinity;
  #lines = 0;
  /** Whether lines were dropped in the second before, and were told of. */
  #flooding = false;

  /** `dropped` is called for each line that is too many, `flooded` when a flood begins. */
  constructor(
    readonly linesPerSecMax: number,
    readonly now: () => number,
    readonly dropped: () => void,
    readonly flooded: (linesPerSecMax: number) => void,
  ) {}

  /** Whether one more line may be written now. */
  admit(): boolean {
    const now = this.now();
    const passedMs = now - this.#secondStartMs;
    if (passedMs >= SECOND_MS) {
      this.#flooding &&= this.#lines > this.linesPerSecMax && passedMs < 2 * SECOND_MS;
      this.#secondStartMs = now;
      this.#lines = 0;
    }
    if (++this.#lines <= this.linesPerSecMax) return true;
    this.dropped();
    if (!this.#flooding) this.flooded(this.linesPerSecMax);
    this.#flooding = true;
    return false;
  }
}
