/**
 * Memory of a guest that a stream or future is read into or written from.
 *
 * @module
 */
import { type Border, checkRange, type Codec } from "../../wasm/values.ts";

/** The most elements of one read or write. */
const LENGTH_MAX = 2 ** 28 - 1;

/** Elements in the memory of a guest, of which some are done. */
export class GuestBuffer {
  progress = 0;

  /** `codec` is null for elements without a value. Throws what is a trap. */
  constructor(
    readonly border: Border,
    readonly codec: Codec | null,
    readonly at: number,
    readonly length: number,
  ) {
    if (length > LENGTH_MAX) throw new Error(`${length} elements at once are too many`);
    if (codec && length > 0) checkRange(border, at, length * codec.size, codec.align);
  }

  get remaining(): number {
    return this.length - this.progress;
  }

  get #next(): number {
    return this.at + this.progress * (this.codec?.size ?? 0);
  }

  /** Bytes out of it, of elements that are bytes. */
  takeBytes(length: number): Uint8Array {
    const bytes = this.border.bytes.slice(this.#next, this.#next + length);
    this.progress += length;
    return bytes;
  }

  /** One element out of it. */
  take(): unknown {
    const value = this.codec?.load(this.border, this.#next);
    this.progress++;
    return value;
  }

  /** Elements into it: bytes, or values of its type. */
  put(elements: Uint8Array | readonly unknown[]): void {
    if (elements instanceof Uint8Array) {
      this.border.bytes.set(elements, this.#next);
      this.progress += elements.length;
      return;
    }
    for (const element of elements) {
      this.codec?.store(this.border, this.#next, element);
      this.progress++;
    }
  }

  /** Elements of another buffer of the same guest. Throws where they are more than numbers. */
  copyFrom(other: GuestBuffer): void {
    const count = Math.min(this.remaining, other.remaining);
    if (this.codec) {
      if (!this.codec.isPlain) {
        throw new Error("a component reads what it writes itself, and it is more than numbers");
      }
      const from = other.#next;
      this.border.bytes.copyWithin(this.#next, from, from + count * this.codec.size);
    }
    this.progress += count;
    other.progress += count;
  }
}
