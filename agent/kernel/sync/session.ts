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
import { DifferenceAnswerer } from "./difference_answerer.ts";
import {
  type Difference,
  DifferenceFinder,
  type Question,
  type SyncMethod,
} from "./difference_finder.ts";
import { BATCH_TAGS_MAX, decodeMessage, encodeMessage, type Message } from "./messages.ts";
import { SIP_KEY_BYTES, type SipKey, sipKey } from "./sip_hash.ts";
import { ForeignTags, type Indexes, type SyncItem, TaggedSet } from "./tagged_set.ts";
import { EventReceiver, EventSender, refused } from "./transfer.ts";

export type { SyncMethod } from "./difference_finder.ts";
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

/** The difference was not found yet, or is being transferred. */
type State =
  /** The initiator said this in its `open`. */
  | { readonly at: "opening"; readonly digest: Uint8Array; readonly count: number }
  | { readonly at: "finding"; readonly finder: DifferenceFinder }
  /** The responder waits for `open`. */
  | { readonly at: "idle" }
  | { readonly at: "answering"; readonly answerer: DifferenceAnswerer }
  | { readonly at: "transfer" }
  | { readonly at: "done" };

type Open = Extract<Message, { kind: "open" }>;
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

  /** Whether the next message may make it look at what there is; later it does only at its end. */
  get isOpening(): boolean {
    return this.#state.at === "idle" || this.#state.at === "opening";
  }

  /**
   * Whether {@link send} should wait for more events, which then are made durable together: they are
   * on their way. It may be called all the same, once what came is durable.
   */
  get isGathering(): boolean {
    return this.#outbox.length === 0 && (this.#receiver?.isGathering ?? false);
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
        if (state.at !== "finding") break;
        return this.#follow(state.finder.readSymbols(message.symbols), state.finder);
      case "parts":
        if (state.at !== "finding") break;
        return this.#follow(state.finder.readAnswers(message), state.finder);
      case "more":
      case "ask":
      case "want":
        if (state.at === "answering") return this.#answer(message, state.answerer);
        break;
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

  #opening(count: number): Open {
    return { kind: "open", secret: this.#secret, count, digest: headsDigest(this.#source.heads()) };
  }

  /** Both halves of the key are known: takes the set as it is now. */
  #begin(initiator: Uint8Array, responder: Uint8Array): TaggedSet {
    this.#key = sessionKey(initiator, responder);
    this.#rounds = 1;
    return this.#set = new TaggedSet(this.#source.items(), this.#key);
  }

  #answerOpen({ secret, count, digest }: Open): void {
    const said = this.#synced();
    if (bytesEqual(digest, said.digest)) {
      this.#outbox.push(() => said);
      this.#said = this.#heard = said;
      this.#rounds = 1;
      return this.#end();
    }
    const set = this.#begin(secret, this.#secret), open = this.#opening(set.size);
    const answerer = new DifferenceAnswerer(set, count);
    this.#state = { at: "answering", answerer };
    this.#outbox.push(() => open, ...answerer.first());
    this.#method = answerer.method;
  }

  #opened({ secret, count }: Open, ours: number): void {
    const finder = new DifferenceFinder(this.#begin(this.#secret, secret), count);
    this.#theirCount = count;
    this.#state = { at: "finding", finder };
    this.#follow(finder.atOnce(ours), finder);
  }

  // The difference.

  #follow(next: Question | Difference | undefined, finder: DifferenceFinder): void {
    this.#method = finder.method;
    if (next === undefined) return;
    if (!("kind" in next)) return this.#want(next);
    this.#rounds++;
    this.#outbox.push(() => next);
  }

  #answer(
    message: Extract<Message, { kind: "more" | "ask" | "want" }>,
    answerer: DifferenceAnswerer,
  ): void {
    if (this.#outbox.length > 0) throw refused("does not wait for answers");
    if (message.kind === "want") {
      const give = answerer.want(message), set = this.#set;
      if (give === undefined) return;
      return this.#transfer(give, message.give, (low, high) => set.find(low, high) < 0);
    }
    this.#rounds++;
    if (message.kind === "more") this.#outbox.push(...answerer.more(message.to));
    else this.#outbox.push(answerer.answer(message.ranges));
    this.#method = answerer.method;
  }

  #want({ tags: { low, high }, all, give, partial }: Difference): void {
    const count = all ? 0 : this.#set.size;
    for (let at = 0; at === 0 || at < low.length; at += BATCH_TAGS_MAX) {
      const end = Math.min(low.length, at + BATCH_TAGS_MAX);
      this.#outbox.push(() => ({
        kind: "want",
        count,
        give: give.length,
        all,
        partial,
        last: end === low.length,
        tags: { low: low.slice(at, end), high: high.slice(at, end) },
      }));
    }
    if (all) return this.#transfer(give, this.#theirCount, () => true);
    const wanted = new ForeignTags({ low, high });
    this.#transfer(give, low.length, (low, high) => wanted.has(low, high));
  }

  // The events.

  #transfer(
    give: Indexes,
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

function unexpected({ kind }: Message): RealmError {
  return refused(`says "${kind}" where nobody waits for it`);
}
