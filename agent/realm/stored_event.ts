/**
 * Events in a store: `control/event/LAMPORT/CID`, so that a scan gives them in their order, with
 * the event, its signature and the time at which it was stored.
 *
 * @module
 */
import { type CborValue, type CID, decodeCanonical, encodeCanonical } from "../kernel/canonical.ts";
import { RealmError } from "../kernel/error.ts";
import { decodeSigned, encodeSigned, type SignedEvent } from "../kernel/event.ts";
import type { Store, StoreOp } from "../kernel/ports.ts";
import type { TopicEvent } from "../kernel/topic.ts";

const PREFIX = "control/event/";
/** Hex digits of the greatest lamport. */
const LAMPORT_DIGITS = 14;

/** An event, and when it was stored: milliseconds since 1970. */
export interface StoredEvent {
  readonly signed: SignedEvent;
  readonly atMs: number;
}

/** What stores an event. */
export function storeOp({ signed, atMs }: StoredEvent): StoreOp {
  return {
    put: storeKey(signed.event.lamport, signed.id),
    value: encodeCanonical([encodeSigned(signed), Math.trunc(atMs)]),
  };
}

/** Every event, in order. Throws RealmError `corrupt`. */
export function loadEvents(store: Store): StoredEvent[] {
  return [...store.scan(PREFIX)].map(([, value]) => decode(value));
}

/** One event. Throws RealmError `corrupt`. */
export function loadEvent(store: Store, { lamport, id }: TopicEvent): StoredEvent | undefined {
  const value = store.get(storeKey(lamport, id));
  return value && decode(value);
}

function storeKey(lamport: number, id: CID): string {
  return `${PREFIX}${lamport.toString(16).padStart(LAMPORT_DIGITS, "0")}/${id}`;
}

function decode(value: Uint8Array): StoredEvent {
  const pair = decodeCanonical(value);
  const [encoded, atMs] = Array.isArray(pair) ? pair as CborValue[] : [];
  if (!(encoded instanceof Uint8Array) || typeof atMs !== "number") {
    throw new RealmError("corrupt", "Cannot read stored event: not an event and its time");
  }
  return { signed: decodeSigned(encoded), atMs };
}
