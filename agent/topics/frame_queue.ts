/**
 * Frames of one link on their way to whoever takes them, each with what is found out about it first.
 * They are taken in their order, a slice of time at once, and a bounded amount of them waits.
 *
 * @module
 */
import { Slices } from "../net/slices.ts";

/** Bytes of frames that wait; with more than these the link is read no further. */
export const UNVERIFIED_BYTES_MAX = 256 * 1024;

/** See the module. */
export class FrameQueue {
  readonly #waiting: { readonly bytes: number; readonly taken: Promise<void> }[] = [];
  readonly #slices = new Slices();
  #bytes = 0;

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /**
   * Calls `take`, which does not throw, when `found` is known and all before were taken. What it returns
   * is to be waited for before the next one comes; undefined where there is room.
   */
  push<T>(bytes: number, found: Promise<T>, take: (found: T) => void): Promise<void> | undefined {
    const taken = this.#take(bytes, found, this.#waiting.at(-1)?.taken, take);
    this.#waiting.push({ bytes, taken });
    this.#bytes += bytes;
    return this.#bytes > UNVERIFIED_BYTES_MAX ? this.#waiting[0]!.taken : undefined;
  }

  /** Resolves when all that wait now were taken. */
  async emptied(): Promise<void> {
    await this.#waiting.at(-1)?.taken;
  }

  async #take<T>(
    bytes: number,
    found: Promise<T>,
    before: Promise<void> | undefined,
    take: (found: T) => void,
  ): Promise<void> {
    const [value] = await Promise.all([found, before]);
    this.#slices.work(() => take(value));
    // Who pushes returns at once, so that it is not seen there how long this takes.
    await this.#slices.pause();
    this.#waiting.shift();
    this.#bytes -= bytes;
  }
}
