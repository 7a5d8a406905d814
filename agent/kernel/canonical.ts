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
import {
  CborError,
  type CborValue,
  CID,
  cidOfDigest,
  DAG_CBOR,
  DEPTH_MAX,
  readCbor,
  SHA2_256,
  writeCbor,
} from "./cbor.ts";
import { textOf } from "./byte_string.ts";
import { RealmError } from "./error.ts";
import { passingSha256, sha256 } from "./sha256_sync.ts";

export { type CborValue, CID, cidOfDigest, DEPTH_MAX };

const encoder = new TextEncoder();
/** Domains that were met, each with the zero byte after it. */
const names = new Map<Domain, Uint8Array>();

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
  | "realm/revocation/1"
  | "realm/succession/1"
  | "realm/join/1"
  | "realm/acts-for/1"
  | "realm/topic-hello/1"
  | "realm/topic-tag/1"
  | "realm/release/1";

/**
 * The canonical bytes of a value.
 *
 * Throws TypeError for what has no encoding (`undefined`, NaN, an unpaired surrogate, a value
 * nested too deeply): our values are built by us, so that is a bug.
 */
export function encodeCanonical(value: CborValue): Uint8Array<ArrayBuffer> {
  try {
    return writeCbor(value);
  } catch (error) {
    if (!(error instanceof CborError)) throw error;
    throw new TypeError(`Cannot encode value: ${error.message}`, { cause: error });
  }
}

/**
 * The value of canonical bytes; throws RealmError `corrupt` for any other bytes. With `sharing`, byte
 * strings in it are parts of `bytes`, which nobody may change any more.
 */
export function decodeCanonical(bytes: Uint8Array, options: { sharing?: boolean } = {}): CborValue {
  try {
    return readCbor(bytes, options);
  } catch (error) {
    if (!(error instanceof CborError)) throw error;
    throw new RealmError("corrupt", `Cannot decode dag-cbor: ${error.message}`, { cause: error });
  }
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
  return cidOfDigest(passingSha256(bytes));
}

/** https://www.rfc-editor.org/rfc/rfc4648#section-6, in lower case. */
const BASE32 = "abcdefghijklmnopqrstuvwxyz234567";
const DIGITS = encoder.encode(BASE32);
/** What says that a text is of these digits. */
const MULTIBASE = "b".charCodeAt(0);
/** Where a text is written: one after another. */
let written = new Uint8Array(128);

/** The text of a CID of version 1: what its `toString()` gives, several times faster. */
export function idText({ bytes }: Pick<CID, "bytes">): string {
  const length = 1 + Math.ceil(bytes.length * 8 / 5);
  if (written.length < length) written = new Uint8Array(2 * length);
  written[0] = MULTIBASE;
  let at = 1;
  let bits = 0;
  let rest = 0;
  for (let i = 0; i < bytes.length; i++) {
    rest = rest << 8 | bytes[i]!;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      written[at++] = DIGITS[rest >> bits & 31]!;
    }
    rest &= 31;
  }
  if (bits > 0) written[at] = DIGITS[rest << 5 - bits & 31]!;
  return textOf(written.subarray(0, length));
}

/** A CID of {@link cidOf} of which the digest is filled in. */
const someId = { bytes: cidOfDigest(new Uint8Array(32)).bytes.slice() };

/** {@link idText} of the CID with a sha256 that is a byte string: without making the CID. */
export function digestText(digest: string): string {
  const { bytes } = someId;
  for (let i = 0, at = bytes.length - 32; i < 32; i++) bytes[at + i] = digest.charCodeAt(i);
  return idText(someId);
}

/** The value of each digit, by its character. */
const BASE32_VALUES = Uint8Array.from(
  { length: 128 },
  (_, char) => BASE32.indexOf(String.fromCharCode(char)),
);
const readId = someId.bytes.slice();

/** Inverse of {@link digestText}. Of any other text something else. */
export function digestIn(text: string): string {
  const bytes = readId;
  let bits = 0;
  let rest = 0;
  for (let i = 1, at = 0; i < text.length; i++) {
    rest = rest << 5 | BASE32_VALUES[text.charCodeAt(i)]!;
    bits += 5;
    if (bits < 8) continue;
    bits -= 8;
    bytes[at++] = rest >> bits;
    rest &= 0xff >> 8 - bits;
  }
  return textOf(bytes.subarray(bytes.length - 32));
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
  let name = names.get(domain);
  if (name === undefined) names.set(domain, name = encoder.encode(`${domain}\0`));
  const out = new Uint8Array(name.length + bytes.length);
  out.set(name);
  out.set(bytes, name.length);
  return out;
}
