/**
 * A queue of byte records in shared memory, from one thread to one other.
 *
 * A `postMessage` costs some ten microseconds on each side; a record here costs what its bytes do,
 * and wakes the reader only if it waits. The waiting is `Atomics.waitAsync`, beside everything else
 * that the reader's thread does.
 *
 *     word 0   bytes ever written    word 1   bytes ever read    word 2   whether the reader yields
 *     word 3…  records: length, then as many bytes, then up to a multiple of four
 *
 * A record is never split: where the rest of the ring is too short, {@link SKIP} stands for it.
 *
 * @module
 */

const WRITTEN = 0;
const READ = 1;
const YIELDED = 2;
const HEADER_BYTES = 16;
const SKIP = -1;
/** Times that a reader goes on at once before it lets other tasks of its thread run. */
const ROUNDS_MAX = 8;

/** Memory for a ring of `capacity` bytes, a power of two. */
export function ringMemory(capacity: number): SharedArrayBuffer {
  return new SharedArrayBuffer(HEADER_BYTES + capacity);
}

const padded = (length: number) => (length + 3) & ~3;

/** The two ends see the same words. */
class Ring {
  protected readonly state: Int32Array;
  protected readonly capacity: number;
  /** The records as words. */
  readonly words: Int32Array;
  /** The records as bytes. */
  readonly bytes: Uint8Array;

  constructor(memory: SharedArrayBuffer) {
    this.state = new Int32Array(memory, 0, HEADER_BYTES / 4);
    this.words = new Int32Array(memory, HEADER_BYTES);
    this.bytes = new Uint8Array(memory, HEADER_BYTES);
    this.capacity = this.bytes.length;
  }
}

/** The end that writes. */
export class RingWriter extends Ring {
  /** Bytes ever written, sent or not. */
  #written = 0;
  #at = 0;
  /** Records that were committed and not sent. */
  #unsent = 0;

  /** So many records are sent at once, though the turn goes on; all at its end unless given. */
  constructor(memory: SharedArrayBuffer, readonly unsentMax = Infinity) {
    super(memory);
  }

  /**
   * Where in {@link bytes} a record of `length` bytes may be written, a multiple of four; -1 when
   * there is no room, or it would take more than a quarter of the ring.
   */
  reserve(length: number): number {
    const { capacity, words } = this;
    const size = 4 + padded(length);
    if (size > capacity / 4) return -1;
    let at = this.#written & (capacity - 1);
    let room = capacity - ((this.#written - Atomics.load(this.state, READ)) | 0);
    const rest = capacity - at;
    if (size > rest) {
      room -= rest;
      if (size > room) return -1;
      words[at >> 2] = SKIP;
      this.#written = (this.#written + rest) | 0;
      at = 0;
    } else if (size > room) return -1;
    this.#at = at;
    return at + 4;
  }

  /**
   * The record that was reserved is complete, with so many bytes. It is sent at the end of this
   * turn at the latest: what comes together wakes the reader once.
   */
  commit(length: number): void {
    this.words[this.#at >> 2] = length;
    this.#written = (this.#written + 4 + padded(length)) | 0;
    this.#unsent++;
    if (this.#unsent >= this.unsentMax) this.flush();
    else if (this.#unsent === 1) queueMicrotask(() => this.flush());
  }

  /** Sends at once what was committed. */
  flush(): void {
    if (this.#unsent === 0) return;
    this.#unsent = 0;
    Atomics.store(this.state, WRITTEN, this.#written);
    Atomics.notify(this.state, WRITTEN);
  }
}

/** The end that reads. */
export class RingReader extends Ring {
  #closed = false;

  /**
   * Gives every record there is to `take`, as a place in {@link bytes} and a length, until it
   * answers `false`: then that one stays. Throws when the other side wrote what is no record.
   */
  drain(take: (at: number, length: number) => boolean): void {
    const { capacity, words, state } = this;
    let read = state[READ]!;
    for (let written = Atomics.load(state, WRITTEN); read !== written;) {
      const at = read & (capacity - 1);
      const length = words[at >> 2]!;
      let size = 4 + padded(length);
      if (length === SKIP) size = capacity - at;
      else if (length < 0 || size > capacity - at || size > ((written - read) | 0)) {
        throw new Error("Cannot read shared memory: a record is longer than it can be");
      } else if (!take(at + 4, length)) return;
      read = (read + size) | 0;
      Atomics.store(state, READ, read);
      if (read === written) written = Atomics.load(state, WRITTEN);
    }
  }

  /** Calls `arrived` whenever something was written, until {@link close}. */
  async listen(arrived: () => void): Promise<void> {
    const { state } = this;
    for (let rounds = 0; !this.#closed;) {
      const seen = Atomics.load(state, WRITTEN);
      arrived();
      const { async, value } = Atomics.waitAsync(state, WRITTEN, seen);
      if (async) {
        rounds = 0;
        await value;
      } else if (++rounds < ROUNDS_MAX) await null;
      else {
        rounds = 0;
        const turn = Atomics.waitAsync(state, YIELDED, 0);
        Atomics.notify(state, YIELDED);
        await turn.value;
      }
    }
  }

  /** Ends {@link listen}. */
  close(): void {
    this.#closed = true;
    Atomics.notify(this.state, WRITTEN);
  }
}
