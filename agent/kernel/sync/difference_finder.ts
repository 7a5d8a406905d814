/**
 * The initiator's part of finding the difference: what to ask next, until it is known.
 *
 * @module
 */
import type { Message } from "./messages.ts";
import { RangeAsker } from "./ranges.ts";
import { Decoder, Encoder, type Symbols, SYMBOLS_MAX } from "./riblt.ts";
import type { Indexes, TaggedSet } from "./tagged_set.ts";
import { refused } from "./transfer.ts";

/** Symbols that come with the responder's opening. */
export const SYMBOLS_FIRST = 64;
/** Each time, symbols are asked for up to this many times those that came, or more. */
export const SYMBOLS_GROWTH = 1.25;
/** For each tag of the estimated difference. */
const SYMBOLS_PER_TAG = 1.6;

/** How a session found the difference. */
export type SyncMethod = "equal heads" | "empty side" | "table" | "ranges";

/** What the sides do not have in common. */
export interface Difference {
  /** Tags of events that only the other side has; `all` stands for every event of its. */
  readonly tags: { readonly low: number[]; readonly high: number[] };
  readonly all: boolean;
  /** Indexes of events that only our side has, in order. */
  readonly give: Indexes;
  /** Whether there is more of it. */
  readonly partial: boolean;
}

/** What the initiator asks. */
export type Question = Extract<Message, { kind: "more" | "ask" }>;

/**
 * Symbols of a set of so many events after which ranges are better: as a symbol takes some 18
 * bytes and a tag 8, that many cost what a list of the whole set does.
 */
export function symbolsMax(count: number): number {
  return Math.min(SYMBOLS_MAX, 128 + Math.floor(count / 2));
}

/** See the module. */
export class DifferenceFinder {
  readonly #set: TaggedSet;
  readonly #theirCount: number;
  #decoder: Decoder | undefined;
  /** Symbols before this one were asked for. */
  #to = SYMBOLS_FIRST;
  #ranges: RangeAsker | undefined;
  #method: SyncMethod = "table";

  /** The other side has `theirCount` events. */
  constructor(set: TaggedSet, theirCount: number) {
    this.#set = set;
    this.#theirCount = theirCount;
  }

  get method(): SyncMethod {
    return this.#method;
  }

  /** The difference, where one side said that it has nothing; `ours` is what our side said. */
  atOnce(ours: number): Difference | undefined {
    if (ours > 0 && this.#theirCount > 0) return undefined;
    this.#method = "empty side";
    // What came to a set after it was said to be empty is not given.
    const all = ours === 0, give = all ? new Uint32Array(0) : this.#set.all;
    return { tags: { low: [], high: [] }, all, give, partial: false };
  }

  /** What follows from symbols; nothing as long as more of them are on their way. */
  readSymbols(symbols: Symbols): Question | Difference | undefined {
    const { low, high } = this.#set;
    const decoder = this.#decoder ??= new Decoder(new Encoder(low, high));
    if (
      this.#method !== "table" || symbols.length === 0 || decoder.at + symbols.length > this.#to
    ) throw refused("sends symbols that nobody asked for");
    decoder.add(symbols);
    if (decoder.at < this.#to) return undefined;
    if (decoder.decoded) return this.#decoded(decoder);
    this.#to = Math.ceil(
      Math.max(decoder.at * SYMBOLS_GROWTH, decoder.estimate * SYMBOLS_PER_TAG),
    );
    if (this.#to <= symbolsMax(this.#theirCount)) return { kind: "more", to: this.#to };
    this.#method = "ranges";
    this.#ranges = new RangeAsker(this.#set, this.#theirCount);
    return this.#askRanges(this.#ranges);
  }

  /** What follows from the answers about ranges. */
  readAnswers({ answers }: Extract<Message, { kind: "parts" }>): Question | Difference {
    if (this.#ranges === undefined) throw refused("answers what nobody asked");
    this.#ranges.take(answers);
    return this.#askRanges(this.#ranges);
  }

  #decoded({ theirs, ours }: Decoder): Difference {
    const set = this.#set;
    const give = Uint32Array.from(ours.low, (low, i) => set.find(low, ours.high[i]!) >>> 0);
    const isOurs = give.every((i) => i < set.size);
    const isTheirs = theirs.low.every((low, i) => set.find(low, theirs.high[i]!) < 0);
    // What both have is the same number from both sides.
    const shared = set.size - give.length;
    if (!isOurs || !isTheirs || shared !== this.#theirCount - theirs.low.length) {
      throw refused("sends symbols that are not those of its set");
    }
    return { tags: theirs, all: false, give: set.sort(give), partial: false };
  }

  #askRanges(asker: RangeAsker): Question | Difference {
    const ranges = asker.next();
    if (ranges !== undefined) return { kind: "ask", ranges };
    const give = this.#set.sort(Uint32Array.from(asker.ours));
    return { tags: asker.theirs, all: false, give, partial: asker.partial };
  }
}
