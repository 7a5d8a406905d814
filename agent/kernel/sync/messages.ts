/**
 * What the two sides of a session say, and its bytes.
 *
 * A message is a byte for its kind and then its fields: numbers as LEB128 in the shortest form,
 * halves of tags and sums as four little-endian bytes, the low half first. Decoding throws RealmError
 * `corrupt` for everything that encoding does not make, and takes time in proportion to the bytes.
 *
 * @module
 */
import { RealmError } from "../error.ts";
import { EVENT_BYTES_MAX } from "../event.ts";
import { emptySymbols, type Symbols, SYMBOLS_MAX } from "./riblt.ts";
import { ID_BYTES, SIP_KEY_BYTES } from "./sip_hash.ts";
import type { Tags } from "./tagged_set.ts";

/** Of one message: a signed event of the greatest size, and room for the rest. */
export const MESSAGE_BYTES_MAX = EVENT_BYTES_MAX + 32 * 1024;
/** Events of one side. */
export const COUNT_MAX = 2 ** 24;
/** Of one message. */
export const BATCH_SYMBOLS_MAX = 1024;
export const BATCH_TAGS_MAX = 4096;
export const BATCH_EVENTS_MAX = 1024;
/** Ranges of one `ask`; parts of one range; tags that are listed in one `parts`. */
export const ASKED_MAX = 512;
export const PARTS_MAX = 16;
export const LISTED_MAX = 65_536;

/** A place in the order of events, before the event that has these. */
export interface Bound {
  readonly lamport: number;
  readonly high: number;
  readonly low: number;
}

/** How many events lie before a bound and not before an earlier one, and the sum of their tags. */
export interface Part {
  readonly to: Bound;
  readonly count: number;
  /** Modulo 2^64. */
  readonly low: number;
  readonly high: number;
}

/** A range that is asked for: its tags, or its parts. */
export interface AskedRange {
  readonly from: Bound;
  readonly to: Bound;
  readonly list: boolean;
}

/** The answer for one range. */
export type Answer =
  | { readonly tags: Tags }
  /** In order; the last ends where the range does. */
  | { readonly parts: readonly Part[] };

/** One message. */
export type Message =
  /** First of both sides: half of the key, how many events, and a digest of their heads. */
  | {
    readonly kind: "open";
    readonly secret: Uint8Array;
    readonly count: number;
    readonly digest: Uint8Array;
  }
  | { readonly kind: "symbols"; readonly symbols: Symbols }
  /** Wanted: all symbols before `to`. */
  | { readonly kind: "more"; readonly to: number }
  | { readonly kind: "ask"; readonly ranges: readonly AskedRange[] }
  /** For each range of an `ask`. */
  | { readonly kind: "parts"; readonly answers: readonly Answer[] }
  /** The difference: tags of events wanted, or `all`; more follow unless `last`. */
  | {
    readonly kind: "want";
    /** Of the events that the sender compared, and of those which it will give. */
    readonly count: number;
    readonly give: number;
    readonly all: boolean;
    /** Whether the difference is greater than this. */
    readonly partial: boolean;
    readonly last: boolean;
    readonly tags: Tags;
  }
  /** In the form of `encodeSigned()`, in order; no more follow after `last`. */
  | { readonly kind: "events"; readonly events: readonly Uint8Array[]; readonly last: boolean }
  /** How many `events` messages were taken in. */
  | { readonly kind: "ack"; readonly messages: number }
  /** All that was promised is done: how many events the sender has now, and a digest of their heads. */
  | {
    readonly kind: "synced";
    readonly count: number;
    readonly digest: Uint8Array;
  };

const KINDS = [
  "open",
  "symbols",
  "more",
  "ask",
  "parts",
  "want",
  "events",
  "ack",
  "synced",
] as const satisfies Message["kind"][];

/** Version of all this, in the first message. */
const VERSION = 1;

/** The bytes of a message that is within the bounds. */
export function encodeMessage(message: Message): Uint8Array<ArrayBuffer> {
  const w = new Writer();
  w.byte(KINDS.indexOf(message.kind));
  switch (message.kind) {
    case "open":
      w.byte(VERSION);
      w.bytes(message.secret);
      w.number(message.count);
      w.bytes(message.digest);
      break;
    case "symbols": {
      const { from, length, low, high, checkLow, checkHigh, counts } = message.symbols;
      w.number(from);
      w.number(length);
      for (let i = 0; i < length; i++) {
        w.word(low[i]!);
        w.word(high[i]!);
        w.word(checkLow[i]!);
        w.word(checkHigh[i]!);
        w.number(counts[i]!);
      }
      break;
    }
    case "more":
      w.number(message.to);
      break;
    case "ask":
      w.number(message.ranges.length);
      for (const { from, to, list } of message.ranges) {
        w.bound(from);
        w.bound(to);
        w.byte(list ? 1 : 0);
      }
      break;
    case "parts":
      w.number(message.answers.length);
      for (const answer of message.answers) {
        if ("tags" in answer) {
          w.byte(1);
          w.tags(answer.tags);
          continue;
        }
        w.byte(0);
        w.number(answer.parts.length);
        for (const { to, count, low, high } of answer.parts) {
          w.bound(to);
          w.number(count);
          w.word(low);
          w.word(high);
        }
      }
      break;
    case "want":
      w.number(message.count);
      w.number(message.give);
      w.byte((message.all ? 1 : 0) | (message.partial ? 2 : 0) | (message.last ? 4 : 0));
      w.tags(message.tags);
      break;
    case "events":
      w.byte(message.last ? 1 : 0);
      w.number(message.events.length);
      for (const event of message.events) {
        w.number(event.length);
        w.bytes(event);
      }
      break;
    case "ack":
      w.number(message.messages);
      break;
    case "synced":
      w.number(message.count);
      w.bytes(message.digest);
  }
  return w.end();
}

/** The message of bytes; throws RealmError `corrupt`. Byte strings in it are views of `bytes`. */
export function decodeMessage(bytes: Uint8Array): Message {
  if (bytes.length > MESSAGE_BYTES_MAX) {
    throw corrupt(`${bytes.length} bytes, wanted at most ${MESSAGE_BYTES_MAX}`);
  }
  const r = new Reader(bytes);
  const kind = KINDS[r.byte()];
  if (kind === undefined) throw corrupt("a kind that is not known");
  const message = read(kind, r);
  r.end();
  return message;
}

function read(kind: Message["kind"], r: Reader): Message {
  switch (kind) {
    case "open":
      if (r.byte() !== VERSION) throw corrupt(`another version, wanted ${VERSION}`);
      return {
        kind,
        secret: r.bytes(SIP_KEY_BYTES),
        count: r.number(COUNT_MAX),
        digest: r.bytes(ID_BYTES),
      };
    case "symbols": {
      const from = r.number(SYMBOLS_MAX), length = r.count(BATCH_SYMBOLS_MAX, 17);
      if (from + length > SYMBOLS_MAX) throw corrupt("too many symbols");
      const symbols = emptySymbols(from, length);
      for (let i = 0; i < length; i++) {
        symbols.low[i] = r.word();
        symbols.high[i] = r.word();
        symbols.checkLow[i] = r.word();
        symbols.checkHigh[i] = r.word();
        symbols.counts[i] = r.number(COUNT_MAX);
      }
      return { kind, symbols };
    }
    case "more":
      return { kind, to: r.number(SYMBOLS_MAX) };
    case "ask": {
      const ranges = r.list(ASKED_MAX, 19, () => ({
        from: r.bound(),
        to: r.bound(),
        list: r.flags(1) === 1,
      }));
      return { kind, ranges };
    }
    case "parts": {
      let listed = 0;
      const answers = r.list(ASKED_MAX, 2, (): Answer => {
        if (r.flags(1) === 0) {
          return {
            parts: r.list(PARTS_MAX, 18, () => ({
              to: r.bound(),
              count: r.number(COUNT_MAX),
              low: r.word(),
              high: r.word(),
            })),
          };
        }
        const tags = r.tags(LISTED_MAX - listed);
        listed += tags.low.length;
        return { tags };
      });
      return { kind, answers };
    }
    case "want": {
      const count = r.number(COUNT_MAX), give = r.number(COUNT_MAX), flags = r.flags(3);
      const all = (flags & 1) !== 0, partial = (flags & 2) !== 0, last = (flags & 4) !== 0;
      return { kind, count, give, all, partial, last, tags: r.tags(BATCH_TAGS_MAX) };
    }
    case "events": {
      const last = r.flags(1) === 1;
      const events = r.list(BATCH_EVENTS_MAX, 1, () => r.bytes(r.number(MESSAGE_BYTES_MAX)));
      return { kind, events, last };
    }
    case "ack":
      return { kind, messages: r.number(Number.MAX_SAFE_INTEGER) };
    case "synced":
      return { kind, count: r.number(COUNT_MAX), digest: r.bytes(ID_BYTES) };
  }
}

/** Bytes that grow. */
class Writer {
  #buffer = new Uint8Array(256);
  #at = 0;

  #room(length: number): void {
    if (this.#at + length <= this.#buffer.length) return;
    const larger = new Uint8Array(Math.max(2 * this.#buffer.length, this.#at + length));
    larger.set(this.#buffer.subarray(0, this.#at));
    this.#buffer = larger;
  }

  byte(value: number): void {
    this.#room(1);
    this.#buffer[this.#at++] = value;
  }

  /** A whole number from 0. */
  number(value: number): void {
    for (; value >= 128; value = Math.floor(value / 128)) this.byte((value % 128) | 128);
    this.byte(value);
  }

  word(value: number): void {
    this.#room(4);
    for (let i = 0; i < 4; i++) this.#buffer[this.#at++] = value >>> (8 * i);
  }

  bytes(value: Uint8Array): void {
    this.#room(value.length);
    this.#buffer.set(value, this.#at);
    this.#at += value.length;
  }

  bound({ lamport, high, low }: Bound): void {
    this.number(lamport);
    this.word(low);
    this.word(high);
  }

  tags({ low, high }: Tags): void {
    this.number(low.length);
    for (let i = 0; i < low.length; i++) {
      this.word(low[i]!);
      this.word(high[i]!);
    }
  }

  end(): Uint8Array<ArrayBuffer> {
    return this.#buffer.slice(0, this.#at);
  }
}

/** Reads what {@link Writer} wrote, and nothing else. */
class Reader {
  #at = 0;

  constructor(readonly buffer: Uint8Array) {}

  byte(): number {
    const value = this.buffer[this.#at++];
    if (value === undefined) throw corrupt("ends early");
    return value;
  }

  number(max: number): number {
    let value = 0;
    for (let scale = 1;; scale *= 128) {
      const byte = this.byte();
      value += (byte & 127) * scale;
      if (value > max || scale > Number.MAX_SAFE_INTEGER) throw corrupt(`a number above ${max}`);
      if (byte < 128) {
        if (byte === 0 && scale > 1) throw corrupt("a number that is not in its shortest form");
        return value;
      }
    }
  }

  /** A number of things that take at least `size` bytes each. */
  count(max: number, size: number): number {
    const count = this.number(max);
    if (count * size > this.buffer.length - this.#at) throw corrupt("ends early");
    return count;
  }

  word(): number {
    const b = this.bytes(4);
    return (b[0]! | b[1]! << 8 | b[2]! << 16 | b[3]! << 24) >>> 0;
  }

  bytes(length: number): Uint8Array {
    if (length > this.buffer.length - this.#at) throw corrupt("ends early");
    return this.buffer.subarray(this.#at, this.#at += length);
  }

  /** `bits` flags in a byte. */
  flags(bits: number): number {
    const value = this.byte();
    if (value >= 1 << bits) throw corrupt("flags that are not known");
    return value;
  }

  bound(): Bound {
    const lamport = this.number(Number.MAX_SAFE_INTEGER), low = this.word(), high = this.word();
    return { lamport, low, high };
  }

  tags(max: number): Tags {
    const count = this.count(max, 8);
    const low = new Uint32Array(count), high = new Uint32Array(count);
    for (let i = 0; i < count; i++) {
      low[i] = this.word();
      high[i] = this.word();
    }
    return { low, high };
  }

  list<T>(max: number, size: number, item: () => T): T[] {
    return Array.from({ length: this.count(max, size) }, item);
  }

  end(): void {
    if (this.#at !== this.buffer.length) throw corrupt("bytes after its end");
  }
}

function corrupt(problem: string): RealmError {
  return new RealmError("corrupt", `Cannot read sync message: ${problem}`);
}
