/**
 * Reconciliation over ranges of the order (lamport, tag), for differences that are too large for
 * a table: one side asks, the other answers with fingerprints of a range's parts or with its tags,
 * and ranges with equal fingerprints are done. After Aljoscha Meyer, "Range-Based Set
 * Reconciliation" (https://arxiv.org/abs/2212.13567).
 *
 * A fingerprint is the number of events and the sum of their tags modulo 2^64, so that sums of all
 * prefixes give that of every range at once. Sums are no trouble here, unlike in protocols that
 * add up hashes which everyone can compute: who does not know the key of the session cannot aim at
 * a sum. What comes is checked against the counts and sums that it must add up to, so that a
 * liar cannot name more events than it said it has.
 *
 * @module
 */
import {
  type Answer,
  ASKED_MAX,
  type AskedRange,
  type Bound,
  LISTED_MAX,
  type Part,
  PARTS_MAX,
} from "./messages.ts";
import type { TaggedSet, Tags } from "./tagged_set.ts";
import { refused } from "./transfer.ts";

/** Before and after every event. */
const START: Bound = { lamport: 0, high: 0, low: 0 };
const END: Bound = { lamport: Number.MAX_SAFE_INTEGER, high: 0xffffffff, low: 0xffffffff };

/** A range of at most so many events is listed and not split further. */
const LEAF = 32;
/** Ranges that are looked at separately. */
const PENDING_MAX = 4096;
/** Wanted tags after which no more ranges are looked at: the next session goes on. */
export const WANTED_MAX = 131_072;

/** Number of events and sum of their tags. */
type Fingerprint = Pick<Part, "count" | "low" | "high">;

/** A set in order, with what it takes to know the fingerprint of any range. */
class RangeIndex {
  /** Sums of the first tags. */
  readonly #low: Uint32Array;
  readonly #high: Uint32Array;
  readonly order: Uint32Array;

  constructor(readonly set: TaggedSet) {
    this.order = set.order;
    this.#low = new Uint32Array(set.size + 1);
    this.#high = new Uint32Array(set.size + 1);
    for (let i = 0; i < set.size; i++) {
      const event = this.order[i]!;
      const low = this.#low[i]! + set.low[event]!;
      this.#low[i + 1] = low;
      this.#high[i + 1] = this.#high[i]! + set.high[event]! + (low > 0xffffffff ? 1 : 0);
    }
  }

  /** How many events lie before a bound. */
  position(bound: Bound): number {
    let from = 0, to = this.set.size;
    while (from < to) {
      const middle = (from + to) >>> 1;
      if (compare(this.bound(middle), bound) < 0) from = middle + 1;
      else to = middle;
    }
    return from;
  }

  /** The bound before the event at a position. */
  bound(position: number): Bound {
    const i = this.order[position]!, { lamports, high, low } = this.set;
    return { lamport: lamports[i]!, high: high[i]!, low: low[i]! };
  }

  fingerprint(from: number, to: number): Fingerprint {
    const low = this.#low[to]! - this.#low[from]!;
    const high = this.#high[to]! - this.#high[from]! - (low < 0 ? 1 : 0);
    return { count: to - from, low: low >>> 0, high: high >>> 0 };
  }
}

/** Answers for a set what another side asks about it, within bounds. */
export class RangeResponder {
  readonly #index: RangeIndex;
  #asked = 0;
  #listed = 0;

  constructor(set: TaggedSet) {
    this.#index = new RangeIndex(set);
  }

  /** Throws RealmError `refused` when that asks for more than an honest side ever does. */
  answer(ranges: readonly AskedRange[]): Answer[] {
    const size = this.#index.set.size;
    this.#asked += ranges.length;
    if (ranges.length === 0 || this.#asked > size + 64) throw refused("asks for too many ranges");
    let listed = 0;
    return ranges.map(({ from, to, list }) => {
      const start = this.#index.position(from), end = this.#index.position(to);
      if (end < start) throw refused("asks for a range that ends before it starts");
      if (!list) return { parts: this.#split(start, end, to) };
      listed += end - start;
      this.#listed += end - start;
      if (listed > LISTED_MAX || this.#listed > size) throw refused("asks for events repeatedly");
      const events = this.#index.order.subarray(start, end), { low, high } = this.#index.set;
      return { tags: { low: events.map((i) => low[i]!), high: events.map((i) => high[i]!) } };
    });
  }

  #split(start: number, end: number, to: Bound): Part[] {
    const parts: Part[] = [];
    const number = Math.max(1, Math.min(PARTS_MAX, end - start));
    for (let k = 0, at = start; k < number; k++) {
      const next = start + Math.floor((end - start) * (k + 1) / number);
      const bound = k === number - 1 ? to : this.#index.bound(next);
      parts.push({ to: bound, ...this.#index.fingerprint(at, next) });
      at = next;
    }
    return parts;
  }
}

/** A range whose fingerprints differ. */
interface Pending extends AskedRange {
  readonly theirs: Fingerprint | undefined;
  readonly count: number;
}

/** Finds the difference between a set and that of a side which answers. */
export class RangeAsker {
  readonly #index: RangeIndex;
  /** In order. Splits come first, and then lists from the front: what is known is closed downward. */
  #pending: Pending[];
  /** How many of them are asked: those at `#askedAt`. */
  #asked: readonly number[] = [];
  readonly theirs: { low: number[]; high: number[] } = { low: [], high: [] };
  /** Indexes of events that only our set has. */
  readonly ours: number[] = [];

  /** `count` is how many events the other side has. */
  constructor(set: TaggedSet, count: number) {
    this.#index = new RangeIndex(set);
    const list = count <= LEAF;
    this.#pending = [{ from: START, to: END, list, theirs: undefined, count }];
  }

  /** Whether there is more of a difference than was looked for. */
  get partial(): boolean {
    return this.#pending.length > 0;
  }

  /** What to ask next; `undefined` when the difference is known, or enough of it. */
  next(): AskedRange[] | undefined {
    if (this.#pending.length === 0 || this.theirs.low.length >= WANTED_MAX) return undefined;
    const splits: number[] = [], lists: number[] = [];
    let listed = 0;
    for (const [i, { list, count }] of this.#pending.entries()) {
      if (!list) splits.push(i);
      else if (listed + count <= LISTED_MAX && lists.length === i) {
        listed += count;
        lists.push(i);
      }
    }
    this.#asked = (splits.length > 0 ? splits : lists).slice(0, ASKED_MAX);
    return this.#asked.map((i) => {
      const { from, to, list } = this.#pending[i]!;
      return { from, to, list };
    });
  }

  /** Takes the answers to what {@link next} returned. Throws RealmError `refused` for a lie. */
  take(answers: readonly Answer[]): void {
    if (this.#asked.length === 0 || answers.length !== this.#asked.length) {
      throw refused("does not answer what was asked");
    }
    const pending: Pending[] = [];
    let k = 0;
    for (const [i, range] of this.#pending.entries()) {
      if (this.#asked[k] !== i) {
        pending.push(range);
        continue;
      }
      const answer = answers[k++]!;
      if ("tags" in answer !== range.list) throw refused("does not answer what was asked");
      if ("tags" in answer) this.#list(range, answer.tags);
      else for (const part of this.#split(range, answer.parts)) pending.push(part);
    }
    this.#asked = [];
    this.#pending = pending;
  }

  #list(range: Pending, tags: Tags): void {
    const { low, high } = tags, { set, order } = this.#index;
    const sum = { count: low.length, low: 0, high: 0 };
    for (let i = 0; i < low.length; i++) add(sum, low[i]!, high[i]!);
    this.#check(range, sum);
    const from = this.#index.position(range.from), to = this.#index.position(range.to);
    const ours = new Set(order.subarray(from, to));
    for (let i = 0; i < low.length; i++) {
      const event = set.find(low[i]!, high[i]!);
      if (event >= 0) ours.delete(event);
      else {
        this.theirs.low.push(low[i]!);
        this.theirs.high.push(high[i]!);
      }
    }
    for (const event of ours) this.ours.push(event);
  }

  #split(range: Pending, parts: readonly Part[]): Pending[] {
    const sum = { count: 0, low: 0, high: 0 };
    for (const part of parts) {
      sum.count += part.count;
      add(sum, part.low, part.high);
    }
    this.#check(range, sum);
    if (parts.length === 0 || compare(parts.at(-1)!.to, range.to) !== 0) {
      throw refused("names parts that do not cover their range");
    }
    const differing: Pending[] = [];
    let from = range.from, start = this.#index.position(from);
    for (const { to, ...theirs } of parts) {
      if (compare(to, from) <= 0) throw refused("names parts of a range that are not in order");
      // Else a range could be split for ever.
      if (theirs.count > Math.ceil(range.count / PARTS_MAX)) throw refused("splits unevenly");
      const end = this.#index.position(to);
      if (!equal(theirs, this.#index.fingerprint(start, end))) {
        differing.push({ from, to, list: false, theirs, count: theirs.count });
      }
      from = to;
      start = end;
    }
    // Where nearly all parts differ, smaller ones would, too.
    const isDense = differing.length >= PARTS_MAX - 2 || this.#pending.length > PENDING_MAX;
    return differing.map((part) => ({
      ...part,
      list: part.count <= LEAF || (part.count <= LISTED_MAX / 2 && isDense),
    }));
  }

  #check({ theirs, count }: Pending, sum: Fingerprint): void {
    if (sum.count !== count || (theirs !== undefined && !equal(theirs, sum))) {
      throw refused("names other events than it said it has");
    }
  }
}

function compare(a: Bound, b: Bound): number {
  return a.lamport - b.lamport || a.high - b.high || a.low - b.low;
}

function equal(a: Fingerprint, b: Fingerprint): boolean {
  return a.count === b.count && a.low === b.low && a.high === b.high;
}

function add(sum: { low: number; high: number }, low: number, high: number): void {
  sum.low += low;
  sum.high = (sum.high + high + (sum.low > 0xffffffff ? 1 : 0)) >>> 0;
  sum.low >>>= 0;
}
