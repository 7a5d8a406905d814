/**
 * Reconciles the events of two sides: both end with the union of what they had.
 *
 * A session is a state machine without time, chance or I/O. One side is the initiator: it asks and
 * finds the difference; the responder answers. Bytes go in by {@link SyncSession.receive} and come
 * out of {@link SyncSession.send}, which is called whenever the link has room, so that nothing is
 * made before it can go. Messages must arrive whole and in order. A session keeps nothing beyond
 * itself: one that breaks off is simply begun again, and what was accepted stays.
 *
 *     initiator                       responder
 *     open (half of the key)  ->
 *                             <-      synced: the heads are equal, and with them the sets
 *                             <-      open, and the first coded symbols (riblt.ts)
 *     more                    ->
 *                             <-      symbols
 *     ask                     ->                   when they would be too many (ranges.ts)
 *                             <-      parts
 *     want                    ->
 *     events, ack             <->     events, ack  in order, parents first, within a window
 *     synced                  <->     synced
 *
 * Sets are compared as they are when the sides open; what comes later is for gossip, or for the
 * next session. Heads stand for a whole set because no event is there without its parents.
 *
 * What the other side sends is checked against all that is known, and bounded: nothing it does
 * takes more memory than some megabytes beyond our own events, or more time than its bytes are
 * worth. Whatever no honest side would send makes `receive` throw RealmError `corrupt` or
 * `refused`, which ends the session and is misbehaviour of the peer. That it is silent, or opens
 * sessions all the time, is for the caller to bound.
 *
 * @module
 */
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesOf } from "../byte_string.ts";
import type { RealmError } from "../error.ts";
import type { SignedEvent } from "../event.ts";
import { bytesEqual } from "../key.ts";
import {
  type AskedRange,
  BATCH_SYMBOLS_MAX,
  BATCH_TAGS_MAX,
  decodeMessage,
  encodeMessage,
  type Message,
} from "./messages.ts";
import { RangeAsker, RangeResponder } from "./ranges.ts";
import { Decoder, emptySymbols, Encoder, type Symbols, SYMBOLS_MAX } from "./riblt.ts";
import { SIP_KEY_BYTES, type SipKey, sipKey } from "./sip_hash.ts";
import { type SyncItem, TaggedSet, TagTable } from "./tagged_set.ts";
import { EventReceiver, EventSender, refused } from "./transfer.ts";

export type { SyncItem } from "./tagged_set.ts";

/** The events of one side. Nothing is in it without its parents. */
export interface SyncSource {
  /** How many events there are. */
  readonly count: number;
  /** Keys of those that are nobody's parent, in any order. */
  heads(): readonly string[];
  /** Every event, in any order. */
  items(): Iterable<SyncItem>;
  /** The bytes of `encodeSigned()`; `undefined` when the event is no longer there. */
  load(key: string): Uint8Array | undefined;
  /** Verifies and takes in events, parents first; they are durable before `send` is called. */
  accept(events: readonly SignedEvent[]): SyncAccepted;
}

/** What became of events that were received. */
export interface SyncAccepted {
  /**
   * How many were not taken in for a reason that does not make the peer dishonest: its author was
   * revoked, say, which the peer may not know.
   */
  readonly refused: number;
  /** What shows that the peer is dishonest: a signature that is wrong, say. */
  readonly problem?: string;
}

/** How a session found the difference. */
export type SyncMethod = "equal heads" | "empty side" | "table" | "ranges";

/** How a session ended. */
export interface SyncOutcome {
  readonly method: SyncMethod;
  /** What this side had at the end, and what the other one said it had. */
  readonly count: number;
  readonly heads: readonly string[];
  readonly peer: { readonly count: number; readonly headsDigest: Uint8Array };
  /** Whether the heads were equal; else something new came meanwhile, or was refused. */
  readonly inSync: boolean;
  /** Events received, and how many of them were refused. */
  readonly received: number;
  readonly refused: number;
  /** Events that the peer should have sent and did not: it lied, or has removed them since. */
  readonly withheld: number;
  readonly sent: number;
  /** Questions of the initiator that were answered, the opening included. */
  readonly rounds: number;
}

/** What a session is made from. */
export interface SyncOptions {
  readonly role: "initiator" | "responder";
  readonly source: SyncSource;
  /** 16 random bytes, new for each session. */
  readonly secret: Uint8Array;
}

/** Symbols that come with the responder's opening. */
const SYMBOLS_FIRST = 64;
/** Symbols are asked for in steps of a quarter of those that came, or more. */
const GROWTH = 1.25;
/** For each tag of the estimated difference. */
const SYMBOLS_PER_TAG = 1.6;

/** The difference was not found yet, or is being transferred. */
type State =
  /** The initiator said this in its `open`. */
  | { readonly at: "opening"; readonly digest: Uint8Array; readonly count: number }
  /** The initiator reads the difference from symbols, of which it asked for those before `to`. */
  | { readonly at: "table"; readonly decoder: Decoder; to: number }
  | { readonly at: "ranges"; readonly asker: RangeAsker }
  /** The responder waits for `open`. */
  | { readonly at: "idle" }
  | { readonly at: "answering"; readonly encoder: Encoder; to: number }
  | { readonly at: "answering ranges"; readonly ranges: RangeResponder }
  /** Tags that were wanted so far. */
  | { readonly at: "wanted"; readonly wanted: number[]; readonly isWanted: Uint8Array }
  | { readonly at: "transfer" }
  | { readonly at: "done" };

type Synced = Extract<Message, { kind: "synced" }>;

/** See the module. */
export class SyncSession {
  readonly #source: SyncSource;
  readonly #secret: Uint8Array;
  #state: State;
  /** What goes next. Large messages are made only when they go. */
  readonly #outbox: (() => Message)[] = [];
  #key: SipKey = [0, 0, 0, 0];
  #set = new TaggedSet([], this.#key);
  #theirCount = 0;
  #method: SyncMethod = "equal heads";
  #rounds = 0;
  #refused = 0;
  #sender: EventSender | undefined;
  #receiver: EventReceiver | undefined;
  /** What each side has at the end. */
  #said: Synced | undefined;
  #heard: Synced | undefined;
  #outcome: SyncOutcome | undefined;

  constructor({ role, source, secret }: SyncOptions) {
    if (secret.length !== SIP_KEY_BYTES) throw new Error(`secret is not ${SIP_KEY_BYTES} bytes`);
    this.#source = source;
    this.#secret = secret.slice();
    this.#state = { at: "idle" };
    if (role === "responder") return;
    const open = this.#opening(source.count);
    this.#state = { at: "opening", digest: open.digest, count: open.count };
    this.#outbox.push(() => open);
  }

  /** How it ended, once both sides have said what they have. */
  get outcome(): SyncOutcome | undefined {
    return this.#outcome;
  }

  /** Takes a message of the other side; throws RealmError `corrupt` or `refused`: see the module. */
  receive(bytes: Uint8Array): void {
    try {
      this.#receive(decodeMessage(bytes));
    } catch (error) {
      this.#state = { at: "done" };
      this.#outbox.length = 0;
      this.#sender = this.#receiver = undefined;
      throw error;
    }
  }

  /** The next message for the other side; `undefined` when there is none for now. */
  send(): Uint8Array<ArrayBuffer> | undefined {
    const message = this.#next();
    return message === undefined ? undefined : encodeMessage(message);
  }

  #receive(message: Message): void {
    const state = this.#state;
    switch (message.kind) {
      case "open":
        if (state.at === "opening") return this.#opened(message, state.count);
        if (state.at === "idle") return this.#answerOpen(message);
        break;
      case "symbols":
        if (state.at === "table") return this.#readSymbols(message.symbols, state);
        break;
      case "parts":
        if (state.at === "ranges") {
          state.asker.take(message.answers);
          return this.#askRanges(state.asker);
        }
        break;
      case "more":
        if (state.at === "answering") return this.#answerMore(message.to, state);
        break;
      case "ask":
        if (state.at === "answering" || state.at === "answering ranges") {
          return this.#answerRanges(message.ranges, state);
        }
        break;
      case "want":
        return this.#takeWant(message);
      case "events":
        if (this.#receiver !== undefined) return this.#takeEvents(message, this.#receiver);
        break;
      case "ack":
        if (this.#sender !== undefined) return this.#sender.acknowledge(message.messages);
        break;
      case "synced":
        return this.#takeSynced(message);
    }
    throw unexpected(message);
  }

  #next(): Message | undefined {
    const message = this.#outbox.shift();
    if (message !== undefined) return message();
    const messages = this.#receiver?.acknowledge() ?? 0;
    if (messages > 0) return { kind: "ack", messages };
    const events = this.#sender?.next();
    if (events !== undefined) return events;
    const isDone = this.#state.at === "transfer" && (this.#sender?.finished ?? true) &&
      (this.#receiver?.finished ?? true);
    if (!isDone || this.#said !== undefined) return undefined;
    this.#said = this.#synced();
    this.#end();
    return this.#said;
  }

  // Opening.

  #opening(count: number): Extract<Message, { kind: "open" }> {
    return { kind: "open", secret: this.#secret, count, digest: headsDigest(this.#source.heads()) };
  }

  /** Both halves are known: takes the set as it is now. */
  #begin(initiator: Uint8Array, responder: Uint8Array, theirCount: number): void {
    this.#key = sessionKey(initiator, responder);
    this.#set = new TaggedSet(this.#source.items(), this.#key);
    this.#theirCount = theirCount;
    this.#rounds = 1;
  }

  #answerOpen({ secret, count, digest }: Extract<Message, { kind: "open" }>): void {
    const said = this.#synced();
    if (bytesEqual(digest, said.digest)) {
      this.#outbox.push(() => said);
      this.#said = this.#heard = said;
      this.#rounds = 1;
      return this.#end();
    }
    this.#begin(secret, this.#secret, count);
    const open = this.#opening(this.#set.size);
    this.#outbox.push(() => open);
    const encoder = new Encoder(this.#set.low, this.#set.high);
    const state: State = { at: "answering", encoder, to: 0 };
    this.#state = state;
    this.#method = count === 0 || this.#set.size === 0 ? "empty side" : "table";
    if (this.#method === "table") this.#pushSymbols(SYMBOLS_FIRST, state);
  }

  #opened({ secret, count }: Extract<Message, { kind: "open" }>, ourCount: number): void {
    this.#begin(this.#secret, secret, count);
    if (count === 0 || ourCount === 0) {
      this.#method = "empty side";
      // Of a set that was empty when it was said to be, nothing is given.
      const give = ourCount === 0 ? new Uint32Array(0) : this.#set.order;
      return this.#want({ low: [], high: [] }, give, { all: ourCount === 0, partial: false });
    }
    this.#method = "table";
    const decoder = new Decoder(new Encoder(this.#set.low, this.#set.high));
    this.#state = { at: "table", decoder, to: SYMBOLS_FIRST };
  }

  // The difference, by symbols.

  #answerMore(to: number, state: Extract<State, { at: "answering" }>): void {
    const max = symbolsMax(this.#set.size);
    const isStep = to >= Math.min(max, Math.ceil(state.to * GROWTH)) && to > state.to;
    if (this.#outbox.length > 0 || state.to === 0 || !isStep || to > max) {
      throw refused(`asks for symbols up to ${to} after ${state.to}`);
    }
    this.#rounds++;
    this.#pushSymbols(to, state);
  }

  #pushSymbols(to: number, state: Extract<State, { at: "answering" }>): void {
    for (let at = state.to; at < to; at += BATCH_SYMBOLS_MAX) {
      this.#outbox.push(() => {
        const symbols = emptySymbols(at, Math.min(BATCH_SYMBOLS_MAX, to - at));
        state.encoder.add(symbols, 1);
        return { kind: "symbols", symbols };
      });
    }
    state.to = to;
  }

  #readSymbols(symbols: Symbols, state: Extract<State, { at: "table" }>): void {
    const { decoder } = state;
    if (symbols.length === 0 || decoder.at + symbols.length > state.to) {
      throw refused("sends symbols that nobody asked for");
    }
    decoder.add(symbols);
    if (decoder.at < state.to) return;
    if (decoder.decoded) return this.#decoded(decoder);
    const to = Math.ceil(Math.max(decoder.at * GROWTH, decoder.estimate * SYMBOLS_PER_TAG));
    if (to <= symbolsMax(this.#theirCount)) {
      this.#rounds++;
      state.to = to;
      this.#outbox.push(() => ({ kind: "more", to }));
      return;
    }
    this.#method = "ranges";
    const asker = new RangeAsker(this.#set, this.#theirCount);
    this.#state = { at: "ranges", asker };
    this.#askRanges(asker);
  }

  #decoded({ theirs, ours }: Decoder): void {
    const set = this.#set;
    const give = Uint32Array.from(ours.low, (low, i) => set.find(low, ours.high[i]!) >>> 0);
    const isOurs = give.every((i) => i < set.size);
    const isTheirs = theirs.low.every((low, i) => set.find(low, theirs.high[i]!) < 0);
    const shared = set.size - give.length;
    if (!isOurs || !isTheirs || shared !== this.#theirCount - theirs.low.length) {
      throw refused("sends symbols that are not those of its set");
    }
    this.#want(theirs, set.sort(give), { all: false, partial: false });
  }

  // The difference, by ranges.

  #answerRanges(asked: readonly AskedRange[], state: State): void {
    if (this.#outbox.length > 0) throw refused("does not wait for answers");
    this.#method = "ranges";
    this.#rounds++;
    const ranges = state.at === "answering ranges" ? state.ranges : new RangeResponder(this.#set);
    this.#state = { at: "answering ranges", ranges };
    const answers = ranges.answer(asked);
    this.#outbox.push(() => ({ kind: "parts", answers }));
  }

  #askRanges(asker: RangeAsker): void {
    const ranges = asker.next();
    if (ranges !== undefined) {
      this.#rounds++;
      this.#outbox.push(() => ({ kind: "ask", ranges }));
      return;
    }
    const give = this.#set.sort(Uint32Array.from(asker.ours));
    this.#want(asker.theirs, give, { all: false, partial: asker.partial });
  }

  // What is wanted.

  /** The initiator knows the difference. */
  #want(
    { low, high }: { low: number[]; high: number[] },
    give: Uint32Array,
    flags: { all: boolean; partial: boolean },
  ): void {
    const count = flags.all ? 0 : this.#set.size;
    for (let at = 0; at === 0 || at < low.length; at += BATCH_TAGS_MAX) {
      const end = Math.min(low.length, at + BATCH_TAGS_MAX);
      this.#outbox.push(() => ({
        kind: "want",
        ...flags,
        count,
        give: give.length,
        last: end === low.length,
        tags: { low: low.slice(at, end), high: high.slice(at, end) },
      }));
    }
    if (flags.all) {
      this.#transfer(give, this.#theirCount, () => true);
      return;
    }
    const table = new TagTable({ low, high });
    this.#transfer(give, low.length, (low, high) => table.find(low, high) >= 0);
  }
  #takeWant(message: Extract<Message, { kind: "want" }>): void {
    const set = this.#set, { low, high } = message.tags;
    if (this.#state.at === "answering" || this.#state.at === "answering ranges") {
      if (this.#outbox.length > 0) throw refused("does not wait for answers");
      this.#state = { at: "wanted", wanted: [], isWanted: new Uint8Array(set.size) };
    }
    if (this.#state.at !== "wanted") throw unexpected(message);
    const { wanted, isWanted } = this.#state;
    if (low.length === 0 && !message.last) throw refused("wants nothing, and more of it");
    for (let i = 0; i < low.length; i++) {
      const index = set.find(low[i]!, high[i]!);
      if (index < 0) throw refused("wants an event that was not offered");
      if (isWanted[index] === 1) throw refused("wants an event twice");
      isWanted[index] = 1;
      wanted.push(index);
    }
    if (!message.last) return;
    const { count, give, all, partial } = message;
    if (all && wanted.length > 0) throw refused("wants events twice");
    const order = all ? set.order : set.sort(Uint32Array.from(wanted));
    // What both have is the same number from both sides.
    const isWhole = count - give === set.size - order.length;
    if (give > count || !(partial || isWhole)) throw refused("wants what cannot be the difference");
    this.#transfer(order, give, (low, high) => set.find(low, high) < 0);
  }

  // The events.

  #transfer(
    give: Uint32Array,
    take: number,
    isExpected: (low: number, high: number) => boolean,
  ): void {
    this.#state = { at: "transfer" };
    if (give.length > 0) {
      this.#sender = new EventSender(this.#set, give, (key) => this.#source.load(key));
    }
    if (take > 0) this.#receiver = new EventReceiver(this.#key, take, isExpected);
  }

  #takeEvents(message: Extract<Message, { kind: "events" }>, receiver: EventReceiver): void {
    const events = receiver.take(message);
    if (events.length === 0) return;
    const { refused: count, problem } = this.#source.accept(events);
    if (problem !== undefined) throw refused(`sends events that are not valid: ${problem}`);
    this.#refused += count;
  }

  #takeSynced(message: Synced): void {
    const state = this.#state;
    if (state.at === "opening") {
      if (!bytesEqual(message.digest, state.digest)) throw refused("takes unequal heads for equal");
      this.#said = this.#synced();
      this.#rounds = 1;
    } else if (
      state.at !== "transfer" || this.#heard !== undefined ||
      !(this.#sender?.finished ?? true) || !(this.#receiver?.finished ?? true)
    ) throw unexpected(message);
    this.#heard = message;
    this.#end();
  }

  // The end.

  #synced(): Synced {
    const digest = headsDigest(this.#source.heads());
    return { kind: "synced", count: this.#source.count, digest };
  }

  #end(): void {
    const said = this.#said, heard = this.#heard;
    if (said === undefined || heard === undefined) return;
    this.#outcome = {
      method: this.#method,
      count: said.count,
      heads: this.#source.heads().toSorted(),
      peer: { count: heard.count, headsDigest: heard.digest },
      inSync: bytesEqual(said.digest, heard.digest),
      received: this.#receiver?.received ?? 0,
      refused: this.#refused,
      withheld: this.#receiver?.withheld ?? 0,
      sent: this.#sender?.sent ?? 0,
      rounds: this.#rounds,
    };
    this.#state = { at: "done" };
    this.#set = new TaggedSet([], this.#key);
    this.#sender = this.#receiver = undefined;
  }
}

/** A digest of heads, in whatever order; equal for equal sets of events, since each has its past. */
export function headsDigest(heads: readonly string[]): Uint8Array {
  return sha256(bytesOf(heads.toSorted().join("")));
}

/** Both sides have a part in the key, so that neither can have the one that it wants. */
function sessionKey(initiator: Uint8Array, responder: Uint8Array): SipKey {
  const domain = bytesOf("realm/sync/1\0");
  return sipKey(sha256(Uint8Array.of(...domain, ...initiator, ...responder)));
}

/**
 * Symbols of a set of so many events after which ranges are better: as a symbol takes some 18
 * bytes and a tag 8, that many cost what a list of the whole set does.
 */
function symbolsMax(count: number): number {
  return Math.min(SYMBOLS_MAX, 128 + Math.floor(count / 2));
}

function unexpected({ kind }: Message): RealmError {
  return refused(`says "${kind}" where nobody waits for it`);
}
