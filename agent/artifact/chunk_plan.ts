/**
 * Which chunk of a blob to ask of whom: pure, with time as an argument.
 *
 * Chunks are proven from the last to the first (`kernel/sha256_chain.ts`), so only those of a
 * window before the one that is next to be proven are asked for: that is all that is ever held
 * unproven. Until one is proven the size of the blob is a claim, and the window is that one chunk.
 * Each is asked of one peer. Whoever has nothing left to do is asked for what another is slow to
 * send, so that one slow peer does not hold up the rest.
 *
 * @module
 */
import { chunkCount } from "../kernel/sha256_chain.ts";

/** A chunk that came and is not proven. */
export interface Arrival {
  readonly peer: string;
  readonly state: Uint8Array;
  readonly bytes: Uint8Array;
}

/** What a {@link ChunkPlan} is made with. */
export interface ChunkPlanOptions {
  /** Bytes of the blob. */
  readonly size: number;
  /** Chunks that may be asked for and held at once. */
  readonly windowChunks: number;
  /** So long after a chunk was asked for it is asked of a second peer. */
  readonly hedgeMs: number;
  /** How many chunks, from the last, are proven already. */
  readonly proven?: number;
}

/** At most so many are asked for one chunk at once. */
const ASKED_MAX = 2;

/** The chunks of one blob, of one claimed size. */
export class ChunkPlan {
  readonly size: number;
  readonly #windowChunks: number;
  readonly #hedgeMs: number;
  #front: number;
  /** Who was asked for a chunk, and when. */
  readonly #asked = new Map<number, Map<string, number>>();
  readonly #arrived = new Map<number, Arrival>();

  constructor({ size, windowChunks, hedgeMs, proven = 0 }: ChunkPlanOptions) {
    this.size = size;
    this.#windowChunks = windowChunks;
    this.#hedgeMs = hedgeMs;
    this.#front = chunkCount(size) - 1 - proven;
  }

  /** The chunk that is next to be proven; -1 when all are. */
  get front(): number {
    return this.#front;
  }

  get isComplete(): boolean {
    return this.#front < 0;
  }

  /** That chunk, if it came. */
  get arrival(): Arrival | undefined {
    return this.#arrived.get(this.#front);
  }

  /** Chunks that are held. */
  get held(): number {
    return this.#arrived.size;
  }

  /** The chunk to ask of a peer, which is noted; `undefined` when there is none for it now. */
  next(peer: string, nowMs: number): number | undefined {
    const isTrusted = this.#front < chunkCount(this.size) - 1;
    const end = isTrusted ? Math.max(0, this.#front - this.#windowChunks + 1) : this.#front;
    let second: number | undefined;
    for (let index = this.#front; index >= Math.max(0, end); index--) {
      if (this.#arrived.has(index)) continue;
      const asked = this.#asked.get(index);
      if (asked === undefined) {
        this.#asked.set(index, new Map([[peer, nowMs]]));
        return index;
      }
      const isLate = nowMs - Math.max(...asked.values()) >= this.#hedgeMs;
      if (isLate && asked.size < ASKED_MAX && !asked.has(peer)) second ??= index;
    }
    if (second !== undefined) this.#asked.get(second)!.set(peer, nowMs);
    return second;
  }

  /** A chunk came from a peer that was asked for it; of two the first is kept. */
  arrived(index: number, arrival: Arrival): void {
    this.#forget(index, arrival.peer);
    if (index <= this.#front && !this.#arrived.has(index)) this.#arrived.set(index, arrival);
  }

  /** What was asked of a peer is asked of others. */
  left(peer: string): void {
    for (const index of this.#asked.keys()) this.#forget(index, peer);
  }

  /** The chunk at the front is proven. */
  proven(): void {
    this.#arrived.delete(this.#front);
    this.#asked.delete(this.#front);
    this.#front--;
  }

  /** The chunk at the front is not what it was said to be. */
  refuted(): void {
    this.#arrived.delete(this.#front);
  }

  #forget(index: number, peer: string): void {
    const asked = this.#asked.get(index);
    if (asked?.delete(peer) && asked.size === 0) this.#asked.delete(index);
  }
}
