/**
 * Events on their way to another thread: encoded, one after another in one piece of memory, with their
 * ids. An array for each event, and its id made anew there, would take longer than all the rest.
 *
 * @module
 */
import { linkAt } from "./cbor.ts";
import { type SignedEvent, signedEventIn } from "./event.ts";
import type { EventKey } from "./topic.ts";

const DIGEST_BYTES = 32;

/** Some events; it can be cloned. */
export interface EventBatch {
  /** What `encodeSigned()` gave of each. */
  readonly bytes: Uint8Array;
  /** Where each ends. */
  readonly ends: readonly number[];
  /** The sha256 in the id of each. */
  readonly digests: Uint8Array;
}

/** Puts a batch together. */
export class EventBatchWriter {
  #parts: Uint8Array[] = [];
  #keys: EventKey[] = [];
  #bytes = 0;

  /** How many events there are, and their bytes. */
  get count(): number {
    return this.#parts.length;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Adds an event, encoded, that has this key. */
  add(key: EventKey, encoded: Uint8Array): void {
    this.#parts.push(encoded);
    this.#keys.push(key);
    this.#bytes += encoded.length;
  }

  /** What was added since it was asked last. */
  take(): EventBatch {
    const bytes = new Uint8Array(this.#bytes);
    const digests = new Uint8Array(DIGEST_BYTES * this.#parts.length);
    const ends: number[] = [];
    let at = 0;
    for (const [i, part] of this.#parts.entries()) {
      bytes.set(part, at);
      ends.push(at += part.length);
      const key = this.#keys[i]!;
      for (let c = 0; c < DIGEST_BYTES; c++) digests[DIGEST_BYTES * i + c] = key.charCodeAt(c);
    }
    this.#parts = [];
    this.#keys = [];
    this.#bytes = 0;
    return { bytes, ends, digests };
  }
}

/**
 * The events of a batch, whose bytes nobody changes any more, under the ids that it says they have: the
 * bytes are not hashed, and may be others where they were damaged since that was done.
 * Throws RealmError `corrupt`.
 */
export function eventsIn({ bytes, ends, digests }: EventBatch): SignedEvent[] {
  let from = 0;
  return ends.map((end, i) => {
    const id = linkAt(digests, DIGEST_BYTES * i);
    const signed = signedEventIn(bytes.subarray(from, end), id);
    from = end;
    return signed;
  });
}
