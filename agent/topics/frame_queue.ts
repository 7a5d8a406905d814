/**
 * Frames of one link on their way to whoever takes them, each with what is found out about it first.
 * They are taken in their order, and a bounded amount of them waits.
 *
 * @module
 */

/** Bytes of frames that wait; with more than these the link is read no further. */
export const UNVERIFIED_BYTES_MAX = 256 * 1024;

/** See the module. */
export class FrameQueue {
  readonly #waiting: { readonly bytes: number; readonly taken: Promise<void> }[] = [];
  #bytes = 0;

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /**
   * Calls `take`, which does not throw, when `found` is known and all before were taken. What it returns
   * is to be waited for before the next one comes; undefined where there is room.
   */
  push<T>(bytes: number, found: Promise<T>, take: (found: T) => void): Promise<void> | undefined {
    const before = this.#waiting.at(-1)?.taken;
    const taken = Promise.all([found, before]).then(([value]) => {
      this.#waiting.shift();
      this.#bytes -= bytes;
      take(value);
    });
    this.#waiting.push({ bytes, taken });
    this.#bytes += bytes;
    return this.#bytes > UNVERIFIED_BYTES_MAX ? this.#waiting[0]!.taken : undefined;
  }

  /** Resolves when all that wait now were taken. */
  async emptied(): Promise<void> {
    await this.#waiting.at(-1)?.taken;
  }
}
