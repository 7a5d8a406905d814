/**
 * Events in a store: `PREFIX` `event/LAMPORT/CID`, so that a scan gives them in their order, with
 * the event, its signature and the time at which it was stored.
 *
 * @module
 */
import {
  type CborValue,
  decodeCanonical,
  digestText,
  encodeCanonical,
  idText,
} from "./canonical.ts";
import { RealmError } from "./error.ts";
import { encodeSigned, type SignedEvent, signedEventIn } from "./event.ts";
import type { Store, StoreOp } from "./ports.ts";
import type { TopicEvent } from "./topic.ts";

/** Hex digits of the greatest lamport. */
const LAMPORT_DIGITS = 14;

/** An event, and when it was stored: milliseconds since 1970. */
export interface StoredEvent {
  readonly signed: SignedEvent;
  readonly atMs: number;
}

/** The events of one topic: where in a store they are. */
export class StoredEvents {
  /** `prefix` is empty or ends in a slash, and nothing else of the store's begins with it and `event/`. */
  constructor(readonly store: Store, readonly prefix: string) {}

  /** What stores an event. */
  storeOp({ signed, atMs }: StoredEvent): StoreOp {
    return {
      put: this.#key(signed.event.lamport, idText(signed.id)),
      value: encodeCanonical([encodeSigned(signed), Math.trunc(atMs)]),
    };
  }

  /** Every event, in order. Throws RealmError `corrupt`, also for one that is not the one named. */
  *all(): Generator<StoredEvent, void> {
    for (const [key, value] of this.store.scan(`${this.prefix}event/`)) {
      const stored = decode(value);
      const { event: { lamport }, id } = stored.signed;
      if (key !== this.#key(lamport, idText(id))) throw corrupt("it is not the one of its name");
      yield stored;
    }
  }

  /** What `encodeSigned()` gave of every event, in order, as it is there: not looked at. */
  *encoded(): Generator<Uint8Array, void> {
    for (const [, value] of this.store.scan(`${this.prefix}event/`)) yield partsOf(value).encoded;
  }

  /** One event. Throws RealmError `corrupt`. */
  load(event: Pick<TopicEvent, "lamport" | "key">): StoredEvent | undefined {
    const value = this.#value(event);
    return value && decode(value);
  }

  /** What `encodeSigned()` gave of one event, as it is there: not looked at. */
  loadEncoded(event: Pick<TopicEvent, "lamport" | "key">): Uint8Array | undefined {
    const value = this.#value(event);
    return value && partsOf(value).encoded;
  }

  #value({ lamport, key }: Pick<TopicEvent, "lamport" | "key">): Uint8Array | undefined {
    return this.store.get(this.#key(lamport, digestText(key)));
  }

  #key(lamport: number, id: string): string {
    return `${this.prefix}event/${lamport.toString(16).padStart(LAMPORT_DIGITS, "0")}/${id}`;
  }
}

/** `value` is nobody else's: a store gives out bytes that it does not change. */
function decode(value: Uint8Array): StoredEvent {
  const { encoded, atMs } = partsOf(value);
  return { signed: signedEventIn(encoded), atMs };
}

function partsOf(value: Uint8Array): { readonly encoded: Uint8Array; readonly atMs: number } {
  const pair = decodeCanonical(value, { sharing: true });
  const [encoded, atMs] = Array.isArray(pair) ? pair as CborValue[] : [];
  if (!(encoded instanceof Uint8Array) || typeof atMs !== "number") {
    throw corrupt("not an event and its time");
  }
  return { encoded, atMs };
}

function corrupt(problem: string): RealmError {
  return new RealmError("corrupt", `Cannot read stored event: ${problem}`);
}
