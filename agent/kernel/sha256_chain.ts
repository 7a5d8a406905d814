/**
 * Chunks of a blob, each provable by the sha256 of the whole, from the last one to the first.
 *
 * SHA-256 folds its input into a state of 32 bytes, 64 bytes at a time. Whoever has the blob knows
 * the state before each chunk, and sends it along. The state before the last chunk, with that chunk
 * and the length of the whole as padding, gives the sha256 itself: another pair that does is a
 * preimage of SHA-256's compression function with a free start, for which nothing much better than
 * 2^256 trials is known. So the last chunk proves itself, its length, and the state before it; the
 * chunk before proves itself by that state; and so on, down to the first chunk, whose state is the
 * constant that SHA-256 begins with. Then the whole has that sha256 by its very definition.
 *
 * So a wrong chunk is known for one when it comes, and who sent it for a liar, without any list
 * that somebody would have to vouch for.
 *
 * @see https://csrc.nist.gov/pubs/fips/180-4/upd1/final
 * @module
 */
import { _SHA256 } from "@noble/hashes/sha2.js";
import { bytesEqual } from "./key.ts";

/** Bytes of every chunk but the last; a multiple of the 64 that SHA-256 takes at a time. */
export const CHUNK_BYTES = 256 * 1024;

/** Bytes of a state, and of a digest. */
export const STATE_BYTES = 32;

/** How many chunks a blob of `size` bytes has: at least one, which is empty for the empty blob. */
export function chunkCount(size: number): number {
  return Math.max(1, Math.ceil(size / CHUNK_BYTES));
}

/** How many bytes chunk `index` of a blob of `size` bytes has. */
export function chunkLength(size: number, index: number): number {
  return Math.min(CHUNK_BYTES, size - index * CHUNK_BYTES);
}

/** A hash that can begin and be looked at in the middle. */
class OpenSha256 extends _SHA256 {
  /** The state after what was hashed so far, which is whole blocks. */
  state(): Uint8Array {
    const state = new Uint8Array(STATE_BYTES);
    const view = new DataView(state.buffer);
    this.get().forEach((word, i) => view.setUint32(4 * i, word));
    return state;
  }

  /** As if `length` bytes had been hashed, with this state as the result. */
  static after(state: Uint8Array, length: number): OpenSha256 {
    const hash = new OpenSha256();
    const view = new DataView(state.buffer, state.byteOffset);
    const word = (i: number) => view.getInt32(4 * i);
    hash.set(word(0), word(1), word(2), word(3), word(4), word(5), word(6), word(7));
    hash.length = length;
    return hash;
  }
}

const START = new OpenSha256().state();

/** The states before each chunk of one blob, made by going through it once. */
export class ChainBuilder {
  readonly #hash = new OpenSha256();
  readonly #states: Uint8Array[] = [];

  /** Takes the chunks in order; all but the last have {@link CHUNK_BYTES}. */
  add(chunk: Uint8Array): void {
    this.#states.push(this.#hash.state());
    this.#hash.update(chunk);
  }

  /** The states, and the sha256 of everything that was added. Ends the builder. */
  finish(): { readonly states: readonly Uint8Array[]; readonly digest: Uint8Array } {
    return { states: this.#states, digest: this.#hash.digest() };
  }
}

/** A chunk, the state before it, and what is known of the blob. */
export interface ChunkProof {
  /** Bytes of the whole blob. */
  readonly size: number;
  readonly index: number;
  /** 32 bytes, claimed by whoever sent the chunk. */
  readonly state: Uint8Array;
  readonly bytes: Uint8Array;
  /** The proven state before the next chunk; the sha256 of the blob for the last chunk. */
  readonly next: Uint8Array;
}

/** Whether chunk and state are those of the blob; `state` is proven by it, too. */
export function isChunk({ size, index, state, bytes, next }: ChunkProof): boolean {
  if (bytes.length !== chunkLength(size, index) || state.length !== STATE_BYTES) return false;
  if (index === 0 && !bytesEqual(state, START)) return false;
  const hash = OpenSha256.after(state, index * CHUNK_BYTES).update(bytes) as OpenSha256;
  return bytesEqual(index === chunkCount(size) - 1 ? hash.digest() : hash.state(), next);
}
