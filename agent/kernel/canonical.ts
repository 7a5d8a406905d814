/**
 * Canonical bytes: strict dag-cbor, its CID, and the bytes that are signed.
 *
 * Follows https://ipld.io/specs/codecs/dag-cbor/spec/ with three narrowings that make one value
 * have one encoding in JavaScript: numbers without a fraction are integers, `-0` does not exist,
 * and nesting is at most {@link DEPTH_MAX}. Decoding accepts exactly what encoding makes and
 * throws RealmError `corrupt` for anything else.
 *
 * @module
 */
import * as dagCbor from "@ipld/dag-cbor";
import { sha256 } from "@noble/hashes/sha2.js";
import { CID } from "multiformats/cid";
import { create as createDigest } from "multiformats/hashes/digest";
import { RealmError } from "./error.ts";
import { bytesEqual } from "./key.ts";

export { CID };

/** Multicodec codes of https://github.com/multiformats/multicodec/blob/master/table.csv. */
const DAG_CBOR = 0x71;
const SHA2_256 = 0x12;

/** Levels of arrays, maps and tags in one value. The decoder recurses: deeper ends its stack. */
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

/**
 * What is signed where. The name goes before the bytes, so that a signature made for one purpose
 * is worth nothing for another.
 */
export type Domain =
  | "realm/event/1"
  | "realm/manifest/1"
  | "realm/bundle/1"
  | "realm/exec/1"
  | "realm/health/1"
  | "realm/succession/1";

/**
 * The canonical bytes of a value.
 *
 * Throws TypeError for what has no encoding (`undefined`, NaN, an unpaired surrogate, a value
 * nested too deeply): our values are built by us, so that is a bug.
 */
export function encodeCanonical(value: CborValue): Uint8Array<ArrayBuffer> {
  let bytes: Uint8Array;
  try {
    assertEncodable(value, 0);
    bytes = dagCbor.encode(value);
  } catch (error) {
    throw new TypeError(`Cannot encode value: ${(error as Error).message}`, { cause: error });
  }
  return new Uint8Array(bytes);
}

/** The value of canonical bytes; throws RealmError `corrupt` for any other bytes. */
export function decodeCanonical(bytes: Uint8Array): CborValue {
  const problem = depthProblem(bytes);
  if (problem !== undefined) throw malformed(problem);
  let value: CborValue;
  let again: Uint8Array;
  try {
    value = dagCbor.decode<CborValue>(bytes);
    // The decoder takes unsorted maps, short floats and broken UTF-8; the encoder makes none.
    again = dagCbor.encode(value);
  } catch (error) {
    throw malformed((error as Error).message, error);
  }
  if (!bytesEqual(bytes, again)) throw malformed("not in canonical form");
  return value;
}

/** Whether bytes are one value in canonical form. */
export function isCanonical(bytes: Uint8Array): boolean {
  try {
    decodeCanonical(bytes);
    return true;
  } catch (error) {
    if (error instanceof RealmError) return false;
    throw error;
  }
}

/** The CID (version 1, dag-cbor, sha2-256) of canonical bytes. */
export function cidOf(bytes: Uint8Array): CID {
  return cidOfDigest(sha256(bytes));
}

/** The CID of canonical bytes with this sha256, of 32 bytes: `cid.multihash.digest` gives it back. */
export function cidOfDigest(digest: Uint8Array): CID {
  return CID.createV1(DAG_CBOR, createDigest(SHA2_256, digest));
}

/** Whether a CID is one that {@link cidOf} makes. */
export function isCanonicalCid(cid: CID): boolean {
  return cid.version === 1 && cid.code === DAG_CBOR && cid.multihash.code === SHA2_256 &&
    cid.multihash.digest.length === 32;
}

/**
 * The sha256 of bytes, in lower-case hex, at once. For small inputs of pure code: `sha256.ts` is
 * many times faster for components and other blobs.
 */
export function sha256HexSync(bytes: Uint8Array): string {
  return Array.from(sha256(bytes), (b) => b.toString(16).padStart(2, "0")).join("");
}

/** What a signature is made over: the domain, a zero byte, the bytes. */
export function signedBytes(domain: Domain, bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const name = new TextEncoder().encode(domain);
  const out = new Uint8Array(name.length + 1 + bytes.length);
  out.set(name);
  out.set(bytes, name.length + 1);
  return out;
}

/** Refuses what the encoder would change silently. */
function assertEncodable(value: CborValue, depth: number): void {
  if (typeof value === "string") {
    if (!value.isWellFormed()) throw new TypeError("a string has an unpaired surrogate");
    return;
  }
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return;
  if (depth >= DEPTH_MAX) throw new TypeError(`nested deeper than ${DEPTH_MAX}`);
  if (CID.asCID(value) !== null) return;
  if (Array.isArray(value)) {
    for (const item of value) assertEncodable(item, depth + 1);
    return;
  }
  for (const [key, item] of Object.entries(value)) {
    assertEncodable(key, depth);
    assertEncodable(item, depth + 1);
  }
}

/**
 * Walks the heads of the items (RFC 8949, section 3) without recursion, to bound the nesting
 * before the recursive decoder runs. Everything else is the decoder's to refuse.
 */
function depthProblem(bytes: Uint8Array): string | undefined {
  /** How many items are still open at each level. */
  const open: number[] = [];
  let at = 0;
  do {
    const head = bytes[at++];
    if (head === undefined) return "ends early";
    const major = head >> 5;
    const short = head & 31;
    let argument = short;
    if (short >= 24) {
      if (short > 27) return "has a length that is not allowed";
      const size = 1 << (short - 24);
      argument = 0;
      for (let i = 0; i < size; i++) argument = argument * 256 + (bytes[at++] ?? 0);
    }
    if (major === 2 || major === 3) at += argument;
    const children = major === 4 ? argument : major === 5 ? 2 * argument : major === 6 ? 1 : 0;
    if (at > bytes.length) return "ends early";
    if (open.length > 0) open[open.length - 1]! -= 1;
    if (children > 0) {
      open.push(children);
      if (open.length > DEPTH_MAX) return `nested deeper than ${DEPTH_MAX}`;
    }
    while (open.at(-1) === 0) open.pop();
  } while (open.length > 0);
  return undefined;
}

function malformed(problem: string, cause?: unknown): RealmError {
  return new RealmError("corrupt", `Cannot decode dag-cbor: ${problem}`, { cause });
}
