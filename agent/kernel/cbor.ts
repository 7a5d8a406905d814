/**
 * Strict dag-cbor, read and written in one pass.
 *
 * A value has one encoding: lengths and integers in the fewest bytes, keys of maps sorted by length
 * and then by bytes, floats of 64 bits and only for what is no safe integer, links as tag 42. The
 * reader takes nothing else, so it has no need to encode again what it has read. `canonical_test.ts` compares both with `@ipld/dag-cbor`.
 *
 * @see https://ipld.io/specs/codecs/dag-cbor/spec/
 * @module
 */
import { CID } from "multiformats/cid";
import { Digest } from "multiformats/hashes/digest";

export { CID };

/** Multicodec codes of https://github.com/multiformats/multicodec/blob/master/table.csv. */
export const DAG_CBOR = 0x71;
export const SHA2_256 = 0x12;

/** Levels of arrays, maps and tags in one value. Readers and writers recurse: deeper ends their stack. */
export const DEPTH_MAX = 128;

/** A value that dag-cbor can hold. Byte strings are `Uint8Array`, links are `CID`. */
export type CborValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | CID
  | readonly CborValue[]
  | { readonly [key: string]: CborValue };

/** Why bytes are no value, or a value has no bytes. */
export class CborError extends Error {
  override readonly name = "CborError";
}

const MAJOR = { UINT: 0, NEGATIVE: 1, BYTES: 2, TEXT: 3, ARRAY: 4, MAP: 5, TAG: 6 } as const;
const FALSE = 0xf4;
const TRUE = 0xf5;
const NULL = 0xf6;
const FLOAT64 = 0xfb;
const LINK_TAG = 42;
/** What a link in an event is: the start of a CID of version 1, dag-cbor, sha2-256 of 32 bytes. */
export const LINK_HEAD = Uint8Array.of(1, DAG_CBOR, SHA2_256, 32);
const DIGEST_BYTES = 32;

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

/**
 * Links that were met lately, at a place that depends on two bytes of them. Nearly all links are to the
 * topic or to an event a few before: they share one object, and need not be made.
 */
const KNOWN_LINKS = 1024;
const knownLinks: (CID | undefined)[] = Array.from({ length: KNOWN_LINKS });

/** Bytes of a link in an event. */
const LINK_BYTES = LINK_HEAD.length + DIGEST_BYTES;
/** Links are made in pieces of memory that so many share: to ask for one each takes longer than the rest. */
const LINKS_TOGETHER = 64;
let room = new Uint8Array(0);
let roomAt = 0;

/** The CID (version 1, dag-cbor, sha2-256) with this sha256, of 32 bytes. */
export function cidOfDigest(digest: Uint8Array): CID {
  return linkAt(digest, 0);
}

/** The CID (version 1, dag-cbor, sha2-256) whose sha256 begins at a byte. */
export function linkAt(from: Uint8Array, at: number): CID {
  const place = (from[at]! << 8 | from[at + 1]!) % KNOWN_LINKS;
  const known = knownLinks[place];
  if (known !== undefined) {
    const { bytes } = known;
    let i = 0;
    while (i < DIGEST_BYTES && bytes[LINK_HEAD.length + i] === from[at + i]) i++;
    if (i === DIGEST_BYTES) return known;
  }
  if (roomAt === room.length) {
    room = new Uint8Array(LINKS_TOGETHER * LINK_BYTES);
    roomAt = 0;
  }
  const { buffer } = room;
  const start = roomAt;
  const head = LINK_HEAD.length;
  roomAt += LINK_BYTES;
  for (let i = 0; i < head; i++) room[start + i] = LINK_HEAD[i]!;
  for (let i = 0; i < DIGEST_BYTES; i++) room[start + head + i] = from[at + i]!;
  const bytes = new Uint8Array(buffer, start, LINK_BYTES);
  const hash = new Uint8Array(buffer, start + head, DIGEST_BYTES);
  const multihash = new Uint8Array(buffer, start + 2, LINK_BYTES - 2);
  const digest = new Digest(SHA2_256, DIGEST_BYTES, hash, multihash);
  return knownLinks[place] = new CID(1, DAG_CBOR, digest, bytes);
}

/**
 * The value of canonical bytes. Throws {@link CborError}. With `sharing`, byte strings in it are parts
 * of `bytes`, which nobody may change any more: memory for each of its own takes a microsecond.
 */
export function readCbor(bytes: Uint8Array, { sharing = false } = {}): CborValue {
  const reader = new Reader(bytes, sharing);
  const value = reader.value(0);
  if (reader.at !== bytes.length) throw new CborError("there are bytes after the value");
  return value;
}

/** Keys that were read lately, at a place that depends on their length and ends. */
const KNOWN_KEYS = 256;
const knownKeys: (string | undefined)[] = Array.from({ length: KNOWN_KEYS });
const KNOWN_KEY_BYTES_MAX = 32;

class Reader {
  at = 0;
  readonly #bytes: Uint8Array;
  readonly #isSharing: boolean;

  constructor(bytes: Uint8Array, isSharing: boolean) {
    // A `Buffer` has another `slice()`, and what is cut from it would be one.
    this.#bytes = bytes.constructor === Uint8Array
      ? bytes
      : new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#isSharing = isSharing;
  }

  value(depth: number): CborValue {
    const head = this.#bytes[this.at];
    if (head === undefined) throw new CborError("ends early");
    switch (head) {
      case FALSE:
      case TRUE:
      case NULL:
        this.at++;
        return head === NULL ? null : head === TRUE;
      case FLOAT64:
        return this.#float();
    }
    const major = head >> 5;
    if (major === MAJOR.UINT || major === MAJOR.NEGATIVE) return this.#integer(major);
    if (major === MAJOR.BYTES) return this.#byteString(this.#length());
    if (major === MAJOR.TEXT) return this.#text(this.#length());
    if (major > MAJOR.TAG) throw new CborError(`has 0x${head.toString(16)}, which is no value`);
    if (depth >= DEPTH_MAX) throw new CborError(`nested deeper than ${DEPTH_MAX}`);
    if (major === MAJOR.ARRAY) return this.#array(depth);
    return major === MAJOR.MAP ? this.#map(depth) : this.#link();
  }

  /** The number beside a head, at most 2^53 - 1 unless it takes eight bytes and is a bigint. */
  #argument(): number | bigint {
    const size = this.#bytes[this.at++]! & 31;
    if (size < 24) return size;
    if (size > 27) throw new CborError("has a length that is not allowed");
    const width = 1 << (size - 24);
    const from = this.at;
    this.at += width;
    if (this.at > this.#bytes.length) throw new CborError("ends early");
    if (width < 8) {
      let n = 0;
      for (let i = from; i < this.at; i++) n = n * 256 + this.#bytes[i]!;
      if (n < (width === 1 ? 24 : 256 ** (width / 2))) throw tooWide();
      return n;
    }
    const wide = this.#wide(from).getBigUint64(0);
    if (wide <= 0xffff_ffffn) throw tooWide();
    return wide <= Number.MAX_SAFE_INTEGER ? Number(wide) : wide;
  }

  /** Eight bytes. */
  #wide(at: number): DataView {
    return new DataView(this.#bytes.buffer, this.#bytes.byteOffset + at, 8);
  }

  /** The length of what follows a head, of which each part takes a byte at least. */
  #length(): number {
    const length = this.#argument();
    if (typeof length === "bigint" || length > this.#bytes.length - this.at) {
      throw new CborError("ends early");
    }
    return length;
  }

  #integer(major: number): number | bigint {
    const n = this.#argument();
    if (major === MAJOR.UINT) return n;
    if (typeof n === "number" && n < Number.MAX_SAFE_INTEGER) return -1 - n;
    return -1n - BigInt(n);
  }

  #float(): number {
    if (this.at + 9 > this.#bytes.length) throw new CborError("ends early");
    const value = this.#wide(this.at + 1).getFloat64(0);
    this.at += 9;
    if (!Number.isFinite(value) || Number.isSafeInteger(value)) {
      throw new CborError("a float is not finite, or has no fraction");
    }
    return value;
  }

  #byteString(length: number): Uint8Array {
    const from = this.at;
    this.at += length;
    return this.#isSharing ? this.#bytes.subarray(from, this.at) : this.#bytes.slice(from, this.at);
  }

  #text(length: number): string {
    const from = this.at;
    this.at += length;
    const bytes = this.#bytes;
    if (length <= KNOWN_KEY_BYTES_MAX) {
      let text = "";
      let i = from;
      for (; i < this.at && bytes[i]! < 0x80; i++) text += String.fromCharCode(bytes[i]!);
      if (i === this.at) return text;
    }
    try {
      return utf8.decode(bytes.subarray(from, this.at));
    } catch {
      throw new CborError("a text is not UTF-8");
    }
  }

  /** A text that is likely to have been read before. */
  #key(length: number): string {
    if (length === 0 || length > KNOWN_KEY_BYTES_MAX) return this.#text(length);
    const { at } = this;
    const bytes = this.#bytes;
    const place = (length * 31 + bytes[at]! * 7 + bytes[at + length - 1]!) % KNOWN_KEYS;
    const known = knownKeys[place];
    if (known?.length === length) {
      let i = 0;
      // No byte above 0x7f is a character of these, which are ASCII.
      while (i < length && known.charCodeAt(i) === bytes[at + i]) i++;
      if (i === length) {
        this.at += length;
        return known;
      }
    }
    const text = this.#text(length);
    if (text.length === length) knownKeys[place] = text;
    return text;
  }

  #array(depth: number): CborValue[] {
    const length = this.#length();
    const items: CborValue[] = [];
    for (let i = 0; i < length; i++) items.push(this.value(depth + 1));
    return items;
  }

  #map(depth: number): { [key: string]: CborValue } {
    const size = this.#length();
    const map: { [key: string]: CborValue } = {};
    let before = 0;
    let beforeLength = -1;
    for (let i = 0; i < size; i++) {
      const head = this.#bytes[this.at];
      if (head === undefined) throw new CborError("ends early");
      if (head >> 5 !== MAJOR.TEXT) throw new CborError("a key of a map is not text");
      const length = this.#length();
      const { at } = this;
      if (length < beforeLength || length === beforeLength && !this.#isAfter(before, at, length)) {
        throw new CborError("keys of a map are not sorted, or one is there twice");
      }
      before = at;
      beforeLength = length;
      const key = this.#key(length);
      const value = this.value(depth + 1);
      if (key !== "__proto__") map[key] = value;
      else {
        const own = { value, configurable: true, enumerable: true, writable: true };
        Object.defineProperty(map, key, own);
      }
    }
    if (poses(map)) throw new CborError("a map poses as a link");
    return map;
  }

  #isAfter(a: number, b: number, length: number): boolean {
    const bytes = this.#bytes;
    for (let i = 0; i < length; i++) {
      if (bytes[a + i] !== bytes[b + i]) return bytes[a + i]! < bytes[b + i]!;
    }
    return false;
  }

  #link(): CID {
    if (this.#argument() !== LINK_TAG) throw new CborError("has a tag other than 42");
    const head = this.#bytes[this.at];
    if (head === undefined) throw new CborError("ends early");
    if (head >> 5 !== MAJOR.BYTES) throw new CborError("a link is not bytes");
    const length = this.#length();
    const from = this.at;
    const bytes = this.#bytes;
    if (length === 0 || bytes[from] !== 0) throw new CborError("a link begins with no zero byte");
    this.at += length;
    if (length === 1 + LINK_HEAD.length + DIGEST_BYTES) {
      let i = 0;
      while (i < LINK_HEAD.length && bytes[from + 1 + i] === LINK_HEAD[i]) i++;
      if (i === LINK_HEAD.length) return linkAt(bytes, from + 1 + i);
    }
    return otherLink(bytes.slice(from + 1, this.at));
  }
}

/** Whether libraries take a map for a link. */
function poses(map: { readonly [key: string]: CborValue }): boolean {
  const mark = map["/"] ?? undefined;
  return mark !== undefined && mark === map.bytes;
}

function tooWide(): CborError {
  return new CborError("a number is in more bytes than it needs");
}

/** A CID that no event has. */
function otherLink(bytes: Uint8Array): CID {
  let cid: CID;
  try {
    cid = CID.decode(bytes);
  } catch (error) {
    throw new CborError(`a link is no CID: ${(error as Error).message}`);
  }
  const same = cid.bytes.length === bytes.length && cid.bytes.every((byte, i) => byte === bytes[i]);
  if (!same) throw new CborError("a link is in more bytes than it needs");
  return cid;
}

/** The canonical bytes of a value. Throws {@link CborError} for what has no encoding. */
export function writeCbor(value: CborValue): Uint8Array<ArrayBuffer> {
  const writer = new Writer();
  writer.value(value, 0);
  return writer.done();
}

/** Written by one writer after another: writing is synchronous, and what is done is copied. */
let shared = new Uint8Array(4096);
/** More than this is not kept for the next. */
const SHARED_BYTES_MAX = 256 * 1024;

class Writer {
  #bytes = shared;
  #at = 0;

  done(): Uint8Array<ArrayBuffer> {
    if (this.#bytes.length <= SHARED_BYTES_MAX) shared = this.#bytes;
    return this.#bytes.slice(0, this.#at);
  }

  value(value: CborValue, depth: number): void {
    switch (typeof value) {
      case "number":
        return this.#number(value);
      case "string":
        return this.#text(value);
      case "boolean":
        return this.#byte(value ? TRUE : FALSE);
      case "bigint":
        return value < 0n ? this.#wide(MAJOR.NEGATIVE, -1n - value) : this.#wide(MAJOR.UINT, value);
      case "object":
        if (value === null) return this.#byte(NULL);
        if (value instanceof Uint8Array) return this.#byteString(value);
        if (depth >= DEPTH_MAX) throw new CborError(`nested deeper than ${DEPTH_MAX}`);
        if (Array.isArray(value)) return this.#array(value, depth);
        return this.#object(value as { [key: string]: CborValue }, depth);
    }
    throw new CborError(`there is a value of type ${typeof value}`);
  }

  /** Room for so many bytes more: where they go. */
  #room(size: number): number {
    const at = this.#at;
    this.#at += size;
    if (this.#at > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#at, 2 * this.#bytes.length));
      larger.set(this.#bytes.subarray(0, at));
      this.#bytes = larger;
    }
    return at;
  }

  #byte(byte: number): void {
    const at = this.#room(1);
    this.#bytes[at] = byte;
  }

  #head(major: number, n: number): void {
    const top = major << 5;
    if (n < 24) return this.#byte(top | n);
    if (n > 0xffff_ffff) return this.#wide(major, BigInt(n));
    const width = n < 0x100 ? 1 : n < 0x10000 ? 2 : 4;
    const at = this.#room(1 + width);
    this.#bytes[at] = top | (width === 1 ? 24 : width === 2 ? 25 : 26);
    for (let i = width, rest = n; i > 0; i--, rest = rest >>> 8) this.#bytes[at + i] = rest;
  }

  #wide(major: number, n: bigint): void {
    if (n <= 0xffff_ffffn) return this.#head(major, Number(n));
    if (n > 0xffff_ffff_ffff_ffffn) throw new CborError("an integer has more than 64 bits");
    const at = this.#room(9);
    this.#bytes[at] = major << 5 | 27;
    new DataView(this.#bytes.buffer).setBigUint64(at + 1, n);
  }

  #number(n: number): void {
    if (Number.isSafeInteger(n)) {
      return n >= 0 ? this.#head(MAJOR.UINT, n) : this.#head(MAJOR.NEGATIVE, -1 - n);
    }
    if (!Number.isFinite(n)) throw new CborError(`${n} is no number`);
    const at = this.#room(9);
    this.#bytes[at] = FLOAT64;
    new DataView(this.#bytes.buffer).setFloat64(at + 1, n);
  }

  #byteString(bytes: Uint8Array): void {
    this.#head(MAJOR.BYTES, bytes.length);
    const at = this.#room(bytes.length);
    this.#bytes.set(bytes, at);
  }

  #text(text: string): void {
    const length = textBytes(text);
    this.#head(MAJOR.TEXT, length);
    const at = this.#room(length);
    if (length > text.length) encoder.encodeInto(text, this.#bytes.subarray(at));
    else for (let i = 0; i < length; i++) this.#bytes[at + i] = text.charCodeAt(i);
  }

  #array(items: readonly CborValue[], depth: number): void {
    this.#head(MAJOR.ARRAY, items.length);
    for (let i = 0; i < items.length; i++) this.value(items[i]!, depth + 1);
  }

  #object(value: { [key: string]: CborValue }, depth: number): void {
    if (value instanceof CID) {
      const { bytes } = value as CID;
      this.#head(MAJOR.TAG, LINK_TAG);
      this.#head(MAJOR.BYTES, 1 + bytes.length);
      const at = this.#room(1 + bytes.length);
      this.#bytes[at] = 0;
      this.#bytes.set(bytes, at + 1);
      return;
    }
    if (value instanceof Map || value instanceof ArrayBuffer || ArrayBuffer.isView(value)) {
      throw new CborError("there is an object that is neither array, map, bytes nor link");
    }
    if (poses(value)) throw new CborError("a map poses as a link");
    const keys = Object.keys(value).sort(byKeyOrder);
    this.#head(MAJOR.MAP, keys.length);
    for (const key of keys) {
      this.#text(key);
      this.value(value[key]!, depth + 1);
    }
  }
}

/** Bytes of a text in UTF-8. Throws {@link CborError} for an unpaired surrogate. */
function textBytes(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) continue;
    bytes += unit < 0x800 ? 1 : 2;
    if (unit < 0xd800 || unit > 0xdfff) continue;
    const next = text.charCodeAt(i + 1);
    if (unit > 0xdbff || !(next >= 0xdc00 && next <= 0xdfff)) {
      throw new CborError("a text has an unpaired surrogate");
    }
    // Four bytes for both.
    i++;
  }
  return bytes;
}

/** The order of keys: shorter first, then by bytes, which is the order of code points. */
function byKeyOrder(a: string, b: string): number {
  const shorter = textBytes(a) - textBytes(b);
  if (shorter !== 0) return shorter;
  for (let i = 0; i < a.length; i++) {
    const difference = rank(a.charCodeAt(i)) - rank(b.charCodeAt(i));
    if (difference !== 0) return difference;
  }
  return 0;
}

/** A unit of UTF-16 among the others as its code point is: surrogates are of the greatest ones. */
function rank(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
}
