/**
 * The lock of a folder that several Workers have mounted.
 *
 * @module
 */

/** A mutex in shared memory: path resolution and what follows are one step for all Workers. */
export class MountLock {
  readonly #word: Int32Array;

  constructor(buffer: SharedArrayBuffer) {
    this.#word = new Int32Array(buffer);
  }

  /** Runs `act` while no other Worker holds the lock; waits for it by blocking. */
  hold<T>(act: () => T): T {
    while (Atomics.compareExchange(this.#word, 0, 0, 1) !== 0) Atomics.wait(this.#word, 0, 1, 10);
    try {
      return act();
    } finally {
      Atomics.store(this.#word, 0, 0);
      Atomics.notify(this.#word, 0, 1);
    }
  }
}
