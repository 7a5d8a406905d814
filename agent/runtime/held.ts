/**
 * Lets a guest run that was made ready in a Worker and is held there: two words of shared memory,
 * since to wake the other side takes a third of the time that a message takes, each way.
 *
 * The waiting is `Atomics.waitAsync`, beside everything else that either side does.
 *
 * @module
 */

/** Words: whether the guest may run, whether it does. */
const GO = 0;
const RUNS = 1;

/** Both sides make one over the same buffer. */
export class Held {
  readonly #words: Int32Array;

  constructor(readonly buffer: SharedArrayBuffer = new SharedArrayBuffer(8)) {
    this.#words = new Int32Array(buffer);
  }

  /** The agent lets the guest run. */
  go(): void {
    this.#set(GO);
  }

  /** In the Worker: resolves when the guest may run. */
  gone(): Promise<void> {
    return this.#isSet(GO);
  }

  /** In the Worker: the guest runs, or it is over. */
  runs(): void {
    this.#set(RUNS);
  }

  /** For the agent: resolves when the guest runs. */
  running(): Promise<void> {
    return this.#isSet(RUNS);
  }

  #set(word: number): void {
    Atomics.store(this.#words, word, 1);
    Atomics.notify(this.#words, word);
  }

  async #isSet(word: number): Promise<void> {
    const { async, value } = Atomics.waitAsync(this.#words, word, 0);
    if (async) await value;
  }
}
