/**
 * Whose turn it is among the guests of a Worker that compute without end: one runs on, then what
 * else the Worker has to do is done, then the next runs on. However many there are, a request that
 * comes waits for one turn and not for all of theirs.
 *
 * @module
 */

/** A line of guests that let others run. */
export class Turns {
  readonly #line: (() => void)[] = [];

  /** How many are in line. */
  get waiting(): number {
    return this.#line.length;
  }

  /** Resolves when it is this guest's turn. */
  next(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#line.push(resolve) === 1) this.#schedule();
    });
  }

  /** A timer of each turn's own: between two of them the Worker takes its messages. */
  #schedule(): void {
    setTimeout(() => {
      this.#line.shift()!();
      if (this.#line.length > 0) this.#schedule();
    }, 0);
  }
}
