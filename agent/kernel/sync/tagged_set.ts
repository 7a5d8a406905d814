/**
 * The events of one side as a session sees them: a snapshot in which each has a tag, the 64-bit
 * hash of its id under the session's key.
 *
 * Reconciliation speaks of tags only: they are a quarter as long as ids, and nobody outside the
 * session can choose an event by what it will do there. Two of a million events have one tag with
 * a probability of 3e-8; then one of them stays behind, the heads differ at the end, and the next
 * session has another key.
 *
 * @module
 */
import { sipHash, type SipKey } from "./sip_hash.ts";

/** An event by what orders it. */
export interface SyncItem {
  /** The sha256 in the event's id, a character for each byte. */
  readonly key: string;
  /** Above that of every parent. */
  readonly lamport: number;
}

/** Tags, as the halves of each. */
export interface Tags {
  readonly low: ArrayLike<number>;
  readonly high: ArrayLike<number>;
}

/**
 * Tags that the other side made, to be found again. They are sorted: with a hash table it could
 * choose tags of which each search passes all others.
 */
export class ForeignTags {
  readonly #tags: Tags;
  readonly #order: Uint32Array;

  constructor(tags: Tags) {
    this.#tags = tags;
    this.#order = Uint32Array.from({ length: tags.low.length }, (_, i) => i);
    this.#order.sort((a, b) => this.#compare(a, tags.low[b]!, tags.high[b]!));
  }

  has(low: number, high: number): boolean {
    let from = 0, to = this.#order.length;
    while (from < to) {
      const middle = (from + to) >>> 1;
      if (this.#compare(this.#order[middle]!, low, high) < 0) from = middle + 1;
      else to = middle;
    }
    return from < this.#order.length && this.#compare(this.#order[from]!, low, high) === 0;
  }

  #compare(i: number, low: number, high: number): number {
    return this.#tags.high[i]! - high || this.#tags.low[i]! - low;
  }
}

/** Finds tags of a set of ours, which nobody chose, by hashing: they are hashes already. */
class TagTable {
  readonly #tags: Tags;
  readonly #mask: number;
  /** One more than an index of `tags`; 0 is free. */
  readonly #slots: Int32Array;

  constructor(tags: Tags) {
    this.#tags = tags;
    const size = tags.low.length;
    this.#mask = 2 ** Math.ceil(Math.log2(2 * size + 2)) - 1;
    this.#slots = new Int32Array(this.#mask + 1);
    for (let i = 0; i < size; i++) {
      let at = tags.low[i]! & this.#mask;
      while (this.#slots[at] !== 0) at = (at + 1) & this.#mask;
      this.#slots[at] = i + 1;
    }
  }

  /** Index of a tag; -1 when it is not there. */
  find(low: number, high: number): number {
    for (let at = low & this.#mask;; at = (at + 1) & this.#mask) {
      const i = this.#slots[at]! - 1;
      if (i < 0) return -1;
      if (this.#tags.low[i] === low && this.#tags.high[i] === high) return i;
    }
  }
}

/** Indexes of events of a {@link TaggedSet}, which may be made one by one. */
export interface Indexes {
  readonly length: number;
  values(): Iterator<number>;
}

/** See the module. Events are named by their index in it. Tags are made when they are asked for. */
export class TaggedSet {
  readonly size: number;
  readonly keys: readonly string[];
  readonly lamports: Float64Array;
  readonly #key: SipKey;
  #tags: { readonly low: Uint32Array; readonly high: Uint32Array } | undefined;
  #table: TagTable | undefined;
  #order: Uint32Array | undefined;

  constructor(items: Iterable<SyncItem>, key: SipKey) {
    const keys: string[] = [], lamports: number[] = [];
    for (const item of items) {
      keys.push(item.key);
      lamports.push(item.lamport);
    }
    this.keys = keys;
    this.size = keys.length;
    this.lamports = Float64Array.from(lamports);
    this.#key = key;
  }

  /** The tag of each event, as its halves. */
  get low(): Uint32Array {
    return this.#allTags().low;
  }

  get high(): Uint32Array {
    return this.#allTags().high;
  }

  #allTags(): { readonly low: Uint32Array; readonly high: Uint32Array } {
    if (this.#tags !== undefined) return this.#tags;
    const low = new Uint32Array(this.size), high = new Uint32Array(this.size);
    for (let i = 0; i < this.size; i++) sipHash(this.#key, this.keys[i]!, low, high, i);
    return this.#tags = { low, high };
  }

  /** Index of the event with a tag; -1 when there is none. */
  find(low: number, high: number): number {
    return (this.#table ??= new TagTable(this.#allTags())).find(low, high);
  }

  /** All indexes, by lamport and then by tag: parents before their children. */
  get order(): Uint32Array {
    return this.#order ??= this.sort(Uint32Array.from({ length: this.size }, (_, i) => i));
  }

  /**
   * The same as {@link order} for who wants all, made as it goes: the first event need not wait for the
   * tags of all, of which only those are needed that order events of one lamport.
   */
  get all(): Indexes {
    const { size: length } = this;
    return { length, values: () => this.#inOrder() };
  }

  *#inOrder(): Generator<number, void, undefined> {
    const { lamports, size } = this;
    const byLamport = new Uint32Array(size);
    let isSorted = true; // as a log's mostly are
    for (let i = 0; i < size; i++) {
      byLamport[i] = i;
      if (i > 0 && lamports[i - 1]! > lamports[i]!) isSorted = false;
    }
    if (!isSorted) byLamport.sort((a, b) => lamports[a]! - lamports[b]!);
    for (let from = 0, to = 0; from < size; from = to) {
      const lamport = lamports[byLamport[from]!];
      while (to < size && lamports[byLamport[to]!] === lamport) to++;
      yield* to - from === 1 ? [byLamport[from]!] : this.#byTag(byLamport.subarray(from, to));
    }
  }

  /** Sorts indexes of events of one lamport. */
  #byTag(indexes: Uint32Array): Uint32Array {
    const low = new Uint32Array(indexes.length), high = new Uint32Array(indexes.length);
    indexes.forEach((index, i) => sipHash(this.#key, this.keys[index]!, low, high, i));
    const places = Uint32Array.from(indexes, (_, i) => i);
    places.sort((a, b) => high[a]! - high[b]! || low[a]! - low[b]!);
    return places.map((place) => indexes[place]!);
  }

  /** Sorts indexes as {@link order} is. */
  sort(indexes: Uint32Array): Uint32Array {
    const { lamports, low, high } = this;
    return indexes.sort((a, b) =>
      lamports[a]! - lamports[b]! || high[a]! - high[b]! || low[a]! - low[b]!
    );
  }
}
