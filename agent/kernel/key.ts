/**
 * The text forms of Ed25519 keys.
 *
 * A public key is `ed25519:BASE58`, a secret key `ed25519-secret:BASE58`: base58btc of the 32
 * bytes (for a secret key the seed of RFC 8032), with no multibase or multicodec prefix inside.
 * Parsing throws RealmError `invalid-config`; no message ever repeats a secret.
 *
 * @module
 */
import { sha256 } from "@noble/hashes/sha2.js";
import { base58btc } from "multiformats/bases/base58";
import { textOf } from "./byte_string.ts";
import { RealmError } from "./error.ts";

/** Bytes of a public key, and of the seed that is a secret key. */
export const KEY_BYTES = 32;

const PUBLIC = "ed25519:";
const SECRET = "ed25519-secret:";
/** base58 of 32 bytes has 32 to 44 characters; longer text is not decoded (it costs n²). */
const BASE58_LENGTH_MAX = 44;

/** A key pair; `secretKey` is the 32-byte seed. */
export interface KeyPair {
  readonly publicKey: Uint8Array;
  readonly secretKey: Uint8Array;
}

/**
 * Text forms of public keys that were met lately: base58 costs n², and a node meets the same few keys
 * in every event and record.
 */
const formatted = new Map<string, string>();
const FORMATTED_MAX = 1024;

/** The text form of a 32-byte public key. */
export function formatPublicKey(key: Uint8Array): string {
  const bytes = textOf(key);
  let text = formatted.get(bytes);
  if (text === undefined) {
    text = PUBLIC + base58(key);
    if (formatted.size >= FORMATTED_MAX) formatted.clear();
    formatted.set(bytes, text);
  }
  return text;
}

/** The text form of a 32-byte seed. Keep it out of logs, arguments and error messages. */
export function formatSecretKey(seed: Uint8Array): string {
  return SECRET + base58(seed);
}

/** The 32 bytes of a public key in text form. */
export function parsePublicKey(text: string): Uint8Array {
  const problem = publicKeyProblem(text);
  if (problem !== undefined) {
    throw new RealmError("invalid-config", `Cannot read public key: ${problem}`, {
      hint: "Run realm key show",
    });
  }
  return base58btc.baseDecode(text.slice(PUBLIC.length));
}

/** What keeps `text` from being a public key, or `undefined`; never repeats a secret key. */
export function publicKeyProblem(text: string): string | undefined {
  if (text.startsWith(SECRET)) return "it is a secret key, wanted ed25519:BASE58";
  if (!text.startsWith(PUBLIC)) return `${quoted(text)}, wanted ed25519:BASE58`;
  const bytes = decoded(text.slice(PUBLIC.length));
  if (typeof bytes === "string") return `${quoted(text)} ${bytes}`;
  return undefined;
}

/** The 32-byte seed of a secret key in text form. */
export function parseSecretKey(text: string): Uint8Array {
  const bytes = text.startsWith(SECRET)
    ? decoded(text.slice(SECRET.length))
    : `does not start with ${SECRET}`;
  if (typeof bytes === "string") {
    throw new RealmError("invalid-config", `Cannot read secret key: it ${bytes}`);
  }
  return bytes;
}

/**
 * Ten bytes of the sha256 of a public key, in five groups, for people to compare aloud:
 * `3f2a-91bc-04de-77a1-5b60`.
 */
export function fingerprint(key: Uint8Array): string {
  const hex = Array.from(sha256(key).subarray(0, 10), (b) => b.toString(16).padStart(2, "0"));
  return Array.from({ length: 5 }, (_, i) => hex[2 * i]! + hex[2 * i + 1]!).join("-");
}

/** Whether two byte strings are equal. Not in constant time: for public values. */
export function bytesEqual(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

function base58(bytes: Uint8Array): string {
  if (bytes.length !== KEY_BYTES) {
    throw new RangeError(`A key has ${KEY_BYTES} bytes, not ${bytes.length}`);
  }
  return base58btc.baseEncode(bytes);
}

/** The 32 bytes, or what is wrong with the text. */
function decoded(text: string): Uint8Array | string {
  if (text.length > BASE58_LENGTH_MAX) {
    return `has ${text.length} characters of base58, wanted at most ${BASE58_LENGTH_MAX}`;
  }
  let bytes: Uint8Array;
  try {
    bytes = base58btc.baseDecode(text);
  } catch {
    return "has characters that are not base58, which leaves out 0, O, I and l";
  }
  return bytes.length === KEY_BYTES ? bytes : `has ${bytes.length} bytes, wanted ${KEY_BYTES}`;
}

function quoted(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 77)}...` : text);
}
