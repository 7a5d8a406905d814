/**
 * The responder's part of finding the difference: answers what is asked about its set, as much as
 * an honest initiator ever asks.
 *
 * @module
 */
import { SYMBOLS_FIRST, SYMBOLS_GROWTH, symbolsMax, type SyncMethod } from "./difference_finder.ts";
import { type AskedRange, BATCH_SYMBOLS_MAX, type Message } from "./messages.ts";
import { RangeResponder } from "./ranges.ts";
import { emptySymbols, Encoder } from "./riblt.ts";
import type { Indexes, TaggedSet } from "./tagged_set.ts";
import { refused } from "./transfer.ts";

/** A message that is made when it goes. */
export type Later = () => Message;

/** See the module. */
export class DifferenceAnswerer {
  readonly #set: TaggedSet;
  #encoder: Encoder | undefined;
  /** Symbols before this one were asked for. */
  #to = 0;
  #ranges: RangeResponder | undefined;
  #method: SyncMethod;
  /** Indexes of events that are wanted, and a mark for each event. */
  #wanted: { readonly indexes: number[]; readonly marks: Uint8Array } | undefined;

  /** The other side has `theirCount` events. */
  constructor(set: TaggedSet, theirCount: number) {
    this.#set = set;
    this.#method = theirCount === 0 || set.size === 0 ? "empty side" : "table";
  }

  get method(): SyncMethod {
    return this.#method;
  }

  /** The symbols that go unasked, unless one side has nothing. */
  first(): Later[] {
    return this.#method === "table" ? this.#symbols(SYMBOLS_FIRST) : [];
  }

  /** All symbols before `to` that did not go yet. */
  more(to: number): Later[] {
    const max = symbolsMax(this.#set.size);
    const least = Math.min(max, Math.ceil(this.#to * SYMBOLS_GROWTH));
    // Each answer passes over the whole set: so they grow, and are few.
    const isFit = this.#method === "table" && this.#wanted === undefined &&
      to > this.#to && to >= least && to <= max;
    if (!isFit) throw refused(`asks for symbols up to ${to} after ${this.#to}`);
    return this.#symbols(to);
  }

  /** What is asked about ranges. */
  answer(ranges: readonly AskedRange[]): Later {
    if (this.#method === "empty side" || this.#wanted !== undefined) {
      throw refused("asks for ranges out of turn");
    }
    this.#method = "ranges";
    const answers = (this.#ranges ??= new RangeResponder(this.#set)).answer(ranges);
    return () => ({ kind: "parts", answers });
  }

  /** Takes what is wanted. Returns the indexes of it, in order, once that is all. */
  want(message: Extract<Message, { kind: "want" }>): Indexes | undefined {
    const set = this.#set, { tags: { low, high }, count, give, all, partial, last } = message;
    if (low.length === 0 && !last) throw refused("wants nothing, and more of it");
    const { indexes, marks } = this.#wanted ??= { indexes: [], marks: new Uint8Array(set.size) };
    for (let i = 0; i < low.length; i++) {
      const index = set.find(low[i]!, high[i]!);
      if (index < 0) throw refused("wants an event that was not offered");
      if (marks[index] === 1) throw refused("wants an event twice");
      marks[index] = 1;
      indexes.push(index);
    }
    if (!last) return undefined;
    if (all && indexes.length > 0) throw refused("wants events twice");
    const order = all ? set.all : set.sort(Uint32Array.from(indexes));
    // What both have is the same number from both sides.
    const isWhole = count - give === set.size - order.length;
    if (give > count || !(partial || isWhole)) throw refused("wants what cannot be the difference");
    return order;
  }

  #symbols(to: number): Later[] {
    const later: Later[] = [];
    for (let at = this.#to; at < to; at += BATCH_SYMBOLS_MAX) {
      later.push(() => {
        const symbols = emptySymbols(at, Math.min(BATCH_SYMBOLS_MAX, to - at));
        this.#encoder ??= new Encoder(this.#set.low, this.#set.high);
        this.#encoder.add(symbols, 1);
        return { kind: "symbols", symbols };
      });
    }
    this.#to = to;
    return later;
  }
}
