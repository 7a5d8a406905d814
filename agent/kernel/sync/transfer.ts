/**
 * How events go from one side of a session to the other: in order by lamport and tag, and so
 * parents first, in messages of bounded size, of which a bounded amount is not yet acknowledged.
 *
 * Since the order is strict an event cannot come twice, which is the whole defence against
 * repetition: there is nothing to remember.
 *
 * @module
 */
import { RealmError } from "../error.ts";
import { decodeSigned, type SignedEvent } from "../event.ts";
import { textOf } from "../byte_string.ts";
import { BATCH_EVENTS_MAX, type Message, MESSAGE_BYTES_MAX } from "./messages.ts";
import { sipHash, type SipKey } from "./sip_hash.ts";
import type { Indexes, TaggedSet } from "./tagged_set.ts";

/** Bytes that may be on their way without having been acknowledged, beside one message. */
export const WINDOW_BYTES = 1024 * 1024;
/** Of what came so much is acknowledged at once: the other side never has to wait for it. */
const GATHER_BYTES = WINDOW_BYTES / 4;
/** Events are put together up to this; a larger one goes alone. */
const BATCH_BYTES = 16 * 1024;

type EventsMessage = Extract<Message, { kind: "events" }>;

/** Sends events of a set. */
export class EventSender {
  readonly #keys: Iterator<string>;
  readonly #load: (key: string) => Uint8Array | undefined;
  /** The event that did not fit into the last message. */
  #waiting: Uint8Array | undefined;
  /** Sizes of messages that were not acknowledged. */
  readonly #unacknowledged: number[] = [];
  #bytes = 0;
  #finished = false;
  #sent = 0;

  /** `order` is of indexes of `set`, in its order. */
  constructor(set: TaggedSet, order: Indexes, load: (key: string) => Uint8Array | undefined) {
    this.#keys = Iterator.from(order.values()).map((i) => set.keys[i]!);
    this.#load = load;
  }

  /** How many events went. */
  get sent(): number {
    return this.#sent;
  }

  /** Whether the last message went. */
  get finished(): boolean {
    return this.#finished;
  }

  /** The next message; `undefined` when there is none, or none until some are acknowledged. */
  next(): EventsMessage | undefined {
    if (this.#finished || this.#bytes >= WINDOW_BYTES) return undefined;
    const events: Uint8Array[] = [];
    let bytes = 0;
    while (events.length < BATCH_EVENTS_MAX) {
      const event = this.#waiting ??= this.#loadNext();
      if (event === undefined) {
        this.#finished = true;
        break;
      }
      if (bytes > 0 && bytes + event.length > BATCH_BYTES) break;
      events.push(event);
      bytes += event.length;
      this.#waiting = undefined;
    }
    this.#sent += events.length;
    this.#unacknowledged.push(bytes);
    this.#bytes += bytes;
    return { kind: "events", events, last: this.#finished };
  }

  /** Throws RealmError `refused` when so many did not go. */
  acknowledge(messages: number): void {
    if (messages === 0 || messages > this.#unacknowledged.length) {
      throw refused("acknowledges what was not sent");
    }
    for (const bytes of this.#unacknowledged.splice(0, messages)) this.#bytes -= bytes;
  }

  #loadNext(): Uint8Array | undefined {
    for (let { value, done } = this.#keys.next(); !done; { value, done } = this.#keys.next()) {
      const event = this.#load(value!);
      if (event !== undefined) return event;
    }
    return undefined;
  }
}

/** Receives events of which so much is known that everything else can be refused. */
export class EventReceiver {
  readonly #key: SipKey;
  readonly #countMax: number;
  readonly #isExpected: (low: number, high: number) => boolean;
  readonly #low = new Uint32Array(2);
  readonly #high = new Uint32Array(2);
  #lamport = -1;
  #messages = 0;
  #bytes = 0;
  #finished = false;
  #received = 0;

  constructor(
    key: SipKey,
    countMax: number,
    isExpected: (low: number, high: number) => boolean,
  ) {
    this.#key = key;
    this.#countMax = countMax;
    this.#isExpected = isExpected;
  }

  /** How many events came. */
  get received(): number {
    return this.#received;
  }

  /** How many did not come that should have. */
  get withheld(): number {
    return this.#countMax - this.#received;
  }

  /** Whether the last message came. */
  get finished(): boolean {
    return this.#finished;
  }

  /** Whether more is to come before what came has to be acknowledged, and so has to be durable. */
  get isGathering(): boolean {
    return !this.#finished && this.#messages > 0 && this.#bytes < GATHER_BYTES;
  }

  /** The events of a message. Throws RealmError `corrupt` or `refused` for others than expected. */
  take({ events, last }: EventsMessage): SignedEvent[] {
    if (this.#finished) throw refused("sends events after the last");
    if (events.length === 0 && !last) throw refused("sends nothing");
    const signed = events.map((bytes) => this.#check(bytes));
    this.#messages++;
    this.#bytes += events.reduce((sum, { length }) => sum + length, 0);
    if (this.#bytes > WINDOW_BYTES + MESSAGE_BYTES_MAX) {
      throw refused("does not wait for acknowledgements");
    }
    this.#finished = last;
    return signed;
  }

  /** How many messages are to be acknowledged, which they are by this; 0 for none. */
  acknowledge(): number {
    const messages = this.#messages;
    this.#messages = 0;
    this.#bytes = 0;
    return messages;
  }

  #check(bytes: Uint8Array): SignedEvent {
    if (++this.#received > this.#countMax) throw refused("sends more events than it said");
    const signed = decodeSigned(bytes);
    const low = this.#low, high = this.#high, { lamport } = signed.event;
    sipHash(this.#key, textOf(signed.id.multihash.digest), low, high, 1);
    const order = lamport - this.#lamport || high[1]! - high[0]! || low[1]! - low[0]!;
    if (order <= 0) throw refused("sends events out of order");
    if (!this.#isExpected(low[1]!, high[1]!)) throw refused("sends an event that nobody asked for");
    this.#lamport = lamport;
    low[0] = low[1]!;
    high[0] = high[1]!;
    return signed;
  }
}

/** What no honest side does. */
export function refused(problem: string): RealmError {
  return new RealmError("refused", `Cannot synchronise: the other side ${problem}`);
}
