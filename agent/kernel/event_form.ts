/**
 * Events in the form that nearly all have, read in one pass: with parents, and a payload of bytes.
 *
 * The canonical form of an event has its keys in one order, so it can be compared where it is, and
 * nothing is made that an event does not keep. Whatever is of another form, good or bad, is left to the
 * reader of any value: this one never says why.
 *
 * @module
 */
import { textOf } from "./byte_string.ts";
import { type CID, LINK_HEAD, linkAt } from "./cbor.ts";
import type { Event } from "./event.ts";

/** What is read: an event that is not a genesis. Byte strings are parts of what was read. */
export type EventForm = Omit<Event, "topic" | "payload"> & {
  readonly topic: CID;
  readonly payload: Uint8Array;
};

/** Heads of what is empty, or of 0. */
const UINT = 0;
/** A number of eight bytes. */
const WIDE = 27;
const BYTES = 0x40;
const TEXT = 0x60;
const ARRAY = 0x80;
const MAP = 0xa0;
const NULL = 0xf6;
const KEY_BYTES = 32;
const DIGEST_BYTES = 32;
const TYPE_BYTES_MAX = 64;
/** As many as the head of an array says by itself. */
const PARENTS_MAX = 23;

/** A text as it is in a map. */
const text = (name: string) => [TEXT | name.length, ...new TextEncoder().encode(name)];
const bytesOf = (...parts: readonly (number | number[])[]) => Uint8Array.from(parts.flat());
const START = bytesOf(MAP | 10, text("v"), 1, text("seq"));
const PREV = bytesOf(text("prev"));
const TYPE = bytesOf(text("type"));
const TOPIC = bytesOf(text("topic"));
const AUTHOR = bytesOf(text("author"), BYTES | 24, KEY_BYTES);
const LAMPORT = bytesOf(text("lamport"));
const PARENTS = bytesOf(text("parents"));
const PAYLOAD = bytesOf(text("payload"));
const KEY_EPOCH = bytesOf(text("keyEpoch"));
/** A link: tag 42, bytes, a zero byte and the CID, of which the digest is not here. */
const LINK = bytesOf(0xd8, 42, BYTES | 24, 1 + LINK_HEAD.length + DIGEST_BYTES, 0, [...LINK_HEAD]);
const LINK_BYTES = LINK.length + DIGEST_BYTES;

/** Types and authors that were read last: of few there are many events. */
let lastType = "";
let lastAuthor: Uint8Array = new Uint8Array(KEY_BYTES);

/** Where a number ended that was read last. */
let end = 0;

/**
 * The event of canonical bytes, which nobody changes any more; undefined where they are no event, or one
 * of another form. `isType`: whether an event may have a type.
 */
export function readEventForm(
  bytes: Uint8Array,
  isType: (type: string) => boolean,
): EventForm | undefined {
  // What is cut from a `Buffer` would be one.
  if (bytes.constructor !== Uint8Array || !isAt(bytes, 0, START)) return undefined;
  const seq = numberAt(bytes, START.length, UINT);
  let at = end;
  if (seq < 0 || !isAt(bytes, at, PREV)) return undefined;
  at += PREV.length;
  let prev: CID | null = null;
  if (bytes[at] === NULL) at++;
  else {
    if (!isLinkAt(bytes, at)) return undefined;
    prev = linkAt(bytes, at + LINK.length);
    at += LINK_BYTES;
  }
  if ((prev === null) !== (seq === 0) || !isAt(bytes, at, TYPE)) return undefined;
  const typeLength = numberAt(bytes, at + TYPE.length, TEXT);
  const type = typeLength > 0 ? typeAt(bytes, end, typeLength, isType) : undefined;
  at = end + typeLength;
  if (type === undefined || !isAt(bytes, at, TOPIC) || !isLinkAt(bytes, at + TOPIC.length)) {
    return undefined;
  }
  const topic = linkAt(bytes, at + TOPIC.length + LINK.length);
  at += TOPIC.length + LINK_BYTES;
  if (!isAt(bytes, at, AUTHOR) || at + AUTHOR.length + KEY_BYTES > bytes.length) return undefined;
  const author = authorAt(bytes, at + AUTHOR.length);
  at += AUTHOR.length + KEY_BYTES;
  if (!isAt(bytes, at, LAMPORT)) return undefined;
  const lamport = numberAt(bytes, at + LAMPORT.length, UINT);
  at = end;
  if (lamport < 1 || lamport < seq || !isAt(bytes, at, PARENTS)) return undefined;
  const parents = linksAt(bytes, at + PARENTS.length);
  if (parents === undefined) return undefined;
  at += PARENTS.length + 1 + parents.length * LINK_BYTES;
  if (!isAt(bytes, at, PAYLOAD)) return undefined;
  const length = numberAt(bytes, at + PAYLOAD.length, BYTES);
  const from = end;
  at = from + length;
  if (length < 0 || !isAt(bytes, at, KEY_EPOCH)) return undefined;
  const keyEpoch = numberAt(bytes, at + KEY_EPOCH.length, UINT);
  if (keyEpoch < 0 || end !== bytes.length) return undefined;
  const payload = bytes.subarray(from, at);
  return { v: 1, topic, author, seq, prev, parents, lamport, keyEpoch, type, payload };
}

/** The two byte strings of an array of two, of bytes that nobody changes any more. */
export function readPair(bytes: Uint8Array): readonly [Uint8Array, Uint8Array] | undefined {
  if (bytes[0] !== (ARRAY | 2) || bytes.constructor !== Uint8Array) return undefined;
  const first = numberAt(bytes, 1, BYTES);
  const from = end;
  const second = first < 0 ? first : numberAt(bytes, from + first, BYTES);
  if (second < 0 || end + second !== bytes.length) return undefined;
  return [bytes.subarray(from, from + first), bytes.subarray(end)];
}

/** A byte string and a whole number below 2^53, of an array of these two. */
export function readTimed(bytes: Uint8Array): readonly [Uint8Array, number] | undefined {
  if (bytes[0] !== (ARRAY | 2) || bytes.constructor !== Uint8Array) return undefined;
  const length = numberAt(bytes, 1, BYTES);
  const from = end;
  const at = from + length;
  if (length < 0 || at >= bytes.length) return undefined;
  let number = numberAt(bytes, at, UINT);
  if (bytes[at] === WIDE && at + 9 === bytes.length) {
    const high = numberOf(bytes, at + 1, 4);
    number = high > 0 && high < 2 ** 21 ? high * 2 ** 32 + numberOf(bytes, at + 5, 4) : -1;
    end = at + 9;
  }
  if (number < 0 || end !== bytes.length) return undefined;
  return [bytes.subarray(from, at), number];
}

/** Inverse of {@link readPair}. */
export function writePair(first: Uint8Array, second: Uint8Array): Uint8Array<ArrayBuffer> {
  const head = headBytes(first.length);
  const between = 1 + head + first.length;
  const bytes = new Uint8Array(between + headBytes(second.length) + second.length);
  bytes[0] = ARRAY | 2;
  writeHead(bytes, 1, first.length);
  bytes.set(first, 1 + head);
  writeHead(bytes, between, second.length);
  bytes.set(second, bytes.length - second.length);
  return bytes;
}

/** Bytes of the head of a byte string. */
function headBytes(length: number): number {
  return length < 24 ? 1 : length < 0x100 ? 2 : length < 0x1_0000 ? 3 : 5;
}

function writeHead(bytes: Uint8Array, at: number, length: number): void {
  const size = headBytes(length);
  if (size === 1) return void (bytes[at] = BYTES | length);
  bytes[at] = BYTES | (size === 2 ? 24 : size === 3 ? 25 : 26);
  for (let i = at + size - 1, rest = length; i > at; i--, rest = rest >>> 8) bytes[i] = rest;
}

function isAt(bytes: Uint8Array, at: number, wanted: Uint8Array): boolean {
  for (let i = 0; i < wanted.length; i++) if (bytes[at + i] !== wanted[i]) return false;
  return true;
}

/**
 * The number beside a head that begins with `major`, of at most 32 bits and in the fewest bytes; -1 where
 * there is none.
 */
function numberAt(bytes: Uint8Array, at: number, major: number): number {
  end = at + 1;
  const size = bytes[at]! - major;
  if (!(size >= 0 && size < 27)) return -1;
  if (size < 24) return size;
  const width = 1 << (size - 24);
  end += width;
  if (end > bytes.length) return -1;
  const n = numberOf(bytes, at + 1, width);
  return n < (width === 1 ? 24 : width === 2 ? 256 : 65_536) ? -1 : n;
}

function numberOf(bytes: Uint8Array, at: number, width: number): number {
  let n = 0;
  for (let i = 0; i < width; i++) n = n * 256 + bytes[at + i]!;
  return n;
}

function isLinkAt(bytes: Uint8Array, at: number): boolean {
  return at + LINK_BYTES <= bytes.length && isAt(bytes, at, LINK);
}

/** An array of links that ascend, none twice. */
function linksAt(bytes: Uint8Array, at: number): CID[] | undefined {
  const length = bytes[at]! - ARRAY;
  if (!(length > 0 && length <= PARENTS_MAX)) return undefined;
  const found: CID[] = [];
  for (let i = 0, from = at + 1; i < length; i++, from += LINK_BYTES) {
    if (!isLinkAt(bytes, from) || i > 0 && !isAfterTheOneBefore(bytes, from)) return undefined;
    found.push(linkAt(bytes, from + LINK.length));
  }
  return found;
}

function isAfterTheOneBefore(bytes: Uint8Array, at: number): boolean {
  let i = at + LINK.length;
  while (i < at + LINK_BYTES - 1 && bytes[i] === bytes[i - LINK_BYTES]) i++;
  return bytes[i]! > bytes[i - LINK_BYTES]!;
}

function typeAt(
  bytes: Uint8Array,
  at: number,
  length: number,
  isType: (type: string) => boolean,
): string | undefined {
  let i = 0;
  if (length === lastType.length) {
    while (i < length && lastType.charCodeAt(i) === bytes[at + i]) i++;
    if (i === length) return lastType;
  }
  // Types are ASCII, and no byte above is a character of one.
  const type = length > TYPE_BYTES_MAX ? "" : textOf(bytes.subarray(at, at + length));
  return type.length === length && isType(type) ? lastType = type : undefined;
}

function authorAt(bytes: Uint8Array, at: number): Uint8Array {
  let i = 0;
  while (i < KEY_BYTES && lastAuthor[i] === bytes[at + i]) i++;
  // Of its own: a part would keep all of the event that it is from.
  return i === KEY_BYTES ? lastAuthor : lastAuthor = bytes.slice(at, at + KEY_BYTES);
}
