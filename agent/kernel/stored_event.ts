/**
 * Events in a store: `PREFIX` `event/LAMPORT/CID`, so that a scan gives them in their order, with
 * the event, its signature and the time at which it was stored.
 *
 * @module
 */
import {
  type CborValue,
  decodeCanonical,
  digestIn,
  digestText,
  encodeCanonical,
  idText,
} from "./canonical.ts";
import { RealmError } from "./error.ts";
import { encodeSigned, type SignedEvent, signedEventIn } from "./event.ts";
import { readTimed } from "./event_form.ts";
import type { Store, StoreOp } from "./ports.ts";
import type { EventKey, TopicEvent } from "./topic.ts";

/** Hex digits of the greatest lamport. */
const LAMPORT_DIGITS = 14;

/**
 * Events that are read at once, of which each may have a megabyte: a topic may be larger than what
 * there is of memory.
 */
const PAGE_EVENTS = 64;

/** An event, and when it was stored: milliseconds since 1970. */
export interface StoredEvent {
  readonly signed: SignedEvent;
  readonly atMs: number;
}

/** One that was read, and what `encodeSigned()` gave of it. */
export interface ReadEvent extends StoredEvent {
  readonly encoded: Uint8Array;
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

  /**
   * Every event, in order. Throws RealmError `corrupt`, also for one that is not the one named. What is
   * stored before the end may be among them.
   */
  *all(): Generator<ReadEvent, void> {
    for (const [key, value] of this.#pairs()) {
      const stored = decode(value);
      const { event: { lamport }, id } = stored.signed;
      if (key !== this.#key(lamport, idText(id))) throw corrupt("it is not the one of its name");
      yield stored;
    }
  }

  /**
   * What `encodeSigned()` gave of every event, in order and under its key, as it is there: not looked at.
   * What is stored before the end may be among them; those whose keys are in `but` are not. The key is that
   * of the name: {@link all} saw that the bytes are of it, or who stored them did, and what was damaged since
   * is not noticed.
   */
  *encoded(but: ReadonlySet<EventKey>): Generator<readonly [EventKey, Uint8Array], void> {
    for (const [name, value] of this.#pairs()) {
      const key = digestIn(name.slice(name.lastIndexOf("/") + 1));
      if (!but.has(key)) yield [key, partsOf(value).encoded];
    }
  }

  *#pairs(): Generator<readonly [string, Uint8Array], void> {
    const start = `${this.prefix}event/`;
    let after: string | undefined;
    do {
      const page = [...this.store.scan(start, { after, limit: PAGE_EVENTS })];
      for (const pair of page) yield pair;
      after = page.length < PAGE_EVENTS ? undefined : page.at(-1)![0];
    } while (after !== undefined);
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
function decode(value: Uint8Array): ReadEvent {
  const { encoded, atMs } = partsOf(value);
  return { signed: signedEventIn(encoded), atMs, encoded };
}

function partsOf(value: Uint8Array): { readonly encoded: Uint8Array; readonly atMs: number } {
  const usual = readTimed(value);
  if (usual !== undefined) return { encoded: usual[0], atMs: usual[1] };
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
