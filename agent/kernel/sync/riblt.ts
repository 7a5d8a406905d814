/**
 * A rateless invertible Bloom lookup table over 64-bit tags: a stream of coded symbols of one
 * set, from which whoever has another set reads the difference after about 1.4 symbols for each
 * tag in it, whatever the size of the sets (Yang, Gilad, Alizadeh: "Practical Rateless Set
 * Reconciliation", SIGCOMM 2024, https://arxiv.org/abs/2402.02668).
 *
 * A tag is in symbol 0 and in symbol `i` with probability 1 / (1 + i/2). A symbol has the xor of
 * its tags, the xor of a check of each, and their number. The difference of two symbols with one
 * index has only tags that one set lacks; where a single one is left it is taken out of all other
 * symbols, and so on until all are zero.
 *
 * **Chosen ids.** Xor is linear: with sums over ids that their authors choose, anyone can find ids
 * that cancel others out (https://github.com/yangl1996/riblt/issues/3). Tags are hashes under a
 * key of the session (`tagged_set.ts`), so that only the two at its ends know them. What one of
 * those does to the other is bounded: a tag comes out of a {@link Decoder} at most once, never
 * more of them than there are symbols.
 *
 * **Same everywhere.** Only integers, and divisions that IEEE 754 rounds in one way, decide where
 * a tag goes; `Math.sqrt`, which engines may approximate, only guesses.
 *
 * @module
 */
import { RealmError } from "../error.ts";

/** Symbols of one stream. */
export const SYMBOLS_MAX = 65_536;

/** No index of a symbol: the tag is in none that could still come. */
const NEVER = 0xffffffff;

/** Symbols `from` to `from + length` of a stream; of the difference of two sets, too. */
export interface Symbols {
  readonly from: number;
  readonly length: number;
  readonly low: Uint32Array;
  readonly high: Uint32Array;
  readonly checkLow: Uint32Array;
  readonly checkHigh: Uint32Array;
  readonly counts: Int32Array;
}

/** `length` symbols of the empty set. */
export function emptySymbols(from: number, length: number): Symbols {
  const words = () => new Uint32Array(length);
  return {
    from,
    length,
    low: words(),
    high: words(),
    checkLow: words(),
    checkHigh: words(),
    counts: new Int32Array(length),
  };
}

/** A bijection of 32 bits without any linearity: the finaliser of MurmurHash3. */
function mix(x: number): number {
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}

/** Tags are uniform and secret: the check has only to be anything but linear in them. */
function checkLowOf(low: number, high: number): number {
  return mix(low ^ mix(high ^ 0x52494231));
}

function checkHighOf(low: number, high: number): number {
  return mix(high ^ mix(low ^ 0x52494232));
}

/**
 * The next symbol after `index` that has the tag whose draw is `random` (a uniform 32-bit word).
 *
 * It is beyond j with probability (index+1)(index+2) / ((j+1)(j+2)), the product of 1 - 1/(1+k/2)
 * over what lies between; the least j is wanted at which that is below (random+1) / 2^32.
 */
export function nextIndex(index: number, random: number): number {
  // Rounded once, by the division: the product is below 2^33, and a power of two scales exactly.
  const bound = ((index + 1) * (index + 2) * 4294967296) / (random + 1);
  if (bound > (SYMBOLS_MAX + 1) * (SYMBOLS_MAX + 1)) return NEVER;
  let j = Math.floor(Math.sqrt(bound));
  // The products are below 2^53 and so exact: whatever the guess was, this ends at one answer.
  while ((j + 1) * (j + 2) <= bound) j++;
  while (j > index + 1 && j * (j + 1) > bound) j--;
  return Math.max(j, index + 1);
}

/**
 * The stream of a set. To make one for 100,000 tags takes some milliseconds; each call of
 * {@link add} passes once over the tags.
 */
export class Encoder {
  #low: Uint32Array;
  #high: Uint32Array;
  /** Where each tag is in next, and the state of its draws. */
  #next: Uint32Array;
  #state: Uint32Array;
  #size: number;
  #at = 0;

  /** The arrays are not changed; they must not be by others. */
  constructor(low: Uint32Array = new Uint32Array(0), high: Uint32Array = new Uint32Array(0)) {
    this.#low = low;
    this.#high = high;
    this.#next = new Uint32Array(low.length);
    this.#state = low.slice();
    this.#size = low.length;
  }

  get size(): number {
    return this.#size;
  }

  /** Index of the symbol that comes next. */
  get at(): number {
    return this.#at;
  }

  /**
   * Takes the set into the next symbols, each tag with `sign`, which must start {@link at} where
   * the last ones ended.
   */
  add(symbols: Symbols, sign: 1 | -1): void {
    const { from, length } = symbols;
    if (from !== this.#at) throw new Error(`symbols start at ${from}, wanted ${this.#at}`);
    const to = from + length, next = this.#next, size = this.#size;
    this.#at = to;
    for (let i = 0; i < size; i++) if (next[i]! < to) this.#step(i, symbols, sign);
  }

  /**
   * Adds a tag to the set, and with `sign` to all symbols before {@link at}, which `symbols` are.
   * Returns which of them have it.
   */
  insert(low: number, high: number, symbols: Symbols, sign: 1 | -1): number[] {
    if (this.#size === this.#low.length) this.#grow();
    const i = this.#size++;
    this.#low[i] = low;
    this.#high[i] = high;
    this.#state[i] = low;
    this.#next[i] = 0;
    const touched: number[] = [];
    this.#step(i, symbols, sign, touched);
    return touched;
  }

  #step(i: number, symbols: Symbols, sign: 1 | -1, touched?: number[]): void {
    const { from, low, high, checkLow, checkHigh, counts } = symbols;
    const to = from + symbols.length;
    let index = this.#next[i]!;
    if (index >= to) return;
    const tagLow = this.#low[i]!, tagHigh = this.#high[i]!;
    const tagCheckLow = checkLowOf(tagLow, tagHigh), tagCheckHigh = checkHighOf(tagLow, tagHigh);
    // The draws are a Weyl sequence of the tag, mixed.
    let state = this.#state[i]!;
    do {
      const at = index - from;
      low[at]! ^= tagLow;
      high[at]! ^= tagHigh;
      checkLow[at]! ^= tagCheckLow;
      checkHigh[at]! ^= tagCheckHigh;
      counts[at]! += sign;
      touched?.push(index);
      state = (state + (tagHigh | 1)) | 0;
      index = nextIndex(index, mix(state));
    } while (index < to);
    this.#next[i] = index;
    this.#state[i] = state;
  }

  #grow(): void {
    const larger = (old: Uint32Array) => {
      const next = new Uint32Array(Math.max(64, 2 * old.length));
      next.set(old);
      return next;
    };
    this.#low = larger(this.#low);
    this.#high = larger(this.#high);
    this.#next = larger(this.#next);
    this.#state = larger(this.#state);
  }
}

/** Tags as two arrays of halves. */
interface Tags {
  readonly low: number[];
  readonly high: number[];
}

/** Reads the difference between the set of a stream ("theirs") and a set of ours ("ours"). */
export class Decoder {
  readonly theirs: Tags = { low: [], high: [] };
  readonly ours: Tags = { low: [], high: [] };
  readonly #own: Encoder;
  /** What is left of the difference of the symbols that came, and which of it is not zero. */
  #rest = emptySymbols(0, 64);
  #open = new Uint8Array(64);
  #openCount = 0;
  /** Tags that were taken out of the rest, to be taken out of what comes, too. */
  readonly #found = { theirs: new Encoder(), ours: new Encoder() };
  readonly #seen = new Set<string>();
  #at = 0;
  /** By how many tags their set is the larger one, as symbol 0 has it. */
  #surplus = 0;
  #squares = 0;

  /** `own` is at its start, and this decoder's alone. */
  constructor(own: Encoder) {
    this.#own = own;
  }

  /** How many symbols came. */
  get at(): number {
    return this.#at;
  }

  /** Whether {@link theirs} and {@link ours} are the whole difference. */
  get decoded(): boolean {
    return this.#at > 0 && this.#openCount === 0;
  }

  /**
   * How many tags the difference has, by a guess whose error is some sqrt(2 / {@link at}) of it:
   * the number in symbol `i` has the variance `size * p * (1 - p)` about `surplus * p`.
   */
  get estimate(): number {
    if (this.#at < 2) return Math.abs(this.#surplus);
    return Math.max(Math.abs(this.#surplus), Math.round(this.#squares / (this.#at - 1)));
  }

  /** Takes the next symbols, and changes them. Throws RealmError `corrupt` when no set has them. */
  add(symbols: Symbols): void {
    const { from, length } = symbols;
    if (from !== this.#at || from + length > SYMBOLS_MAX) {
      throw corrupt(`symbols ${from} to ${from + length}, wanted ${this.#at} and on`);
    }
    if (length === 0) return;
    this.#own.add(symbols, -1);
    if (from === 0) this.#surplus = symbols.counts[0]!;
    for (let i = from === 0 ? 1 : 0; i < length; i++) {
      const p = 2 / (2 + from + i);
      this.#squares += (symbols.counts[i]! - this.#surplus * p) ** 2 / (p * (1 - p));
    }
    this.#found.theirs.add(symbols, -1);
    this.#found.ours.add(symbols, 1);
    this.#append(symbols);
    const queue: number[] = [];
    for (let i = from; i < this.#at; i++) {
      this.#update(i);
      queue.push(i);
    }
    this.#peel(queue);
  }

  #peel(queue: number[]): void {
    const rest = { ...this.#rest, length: this.#at };
    for (let i = queue.pop(); i !== undefined; i = queue.pop()) {
      const count = rest.counts[i]!;
      if (count !== 1 && count !== -1) continue;
      const low = rest.low[i]!, high = rest.high[i]!;
      if (rest.checkLow[i] !== checkLowOf(low, high)) continue;
      if (rest.checkHigh[i] !== checkHighOf(low, high)) continue;
      const side = count === 1 ? "theirs" : "ours";
      const name = `${low} ${high}`;
      if (this.#seen.has(name)) throw corrupt("a tag came out twice");
      if (this.#seen.size >= this.#at) throw corrupt("more tags came out than there are symbols");
      this.#seen.add(name);
      this[side].low.push(low);
      this[side].high.push(high);
      const touched = this.#found[side].insert(low, high, rest, count === 1 ? -1 : 1);
      for (const at of touched) {
        this.#update(at);
        queue.push(at);
      }
    }
  }

  /** Counts symbol `i` among the open ones, or no more. */
  #update(i: number): void {
    const { low, high, checkLow, checkHigh, counts } = this.#rest;
    const any = low[i]! | high[i]! | checkLow[i]! | checkHigh[i]! | counts[i]!;
    const open = any === 0 ? 0 : 1;
    this.#openCount += open - this.#open[i]!;
    this.#open[i] = open;
  }

  #append(symbols: Symbols): void {
    const from = this.#at;
    this.#at += symbols.length;
    if (this.#at > this.#rest.length) {
      const old = this.#rest, length = Math.max(this.#at, 2 * old.length);
      this.#rest = emptySymbols(0, length);
      copy(old, this.#rest, 0);
      const open = new Uint8Array(length);
      open.set(this.#open);
      this.#open = open;
    }
    copy(symbols, this.#rest, from);
  }
}

function copy(from: Symbols, to: Symbols, at: number): void {
  to.low.set(from.low, at);
  to.high.set(from.high, at);
  to.checkLow.set(from.checkLow, at);
  to.checkHigh.set(from.checkHigh, at);
  to.counts.set(from.counts, at);
}

function corrupt(problem: string): RealmError {
  return new RealmError("corrupt", `Cannot read coded symbols: ${problem}`);
}
