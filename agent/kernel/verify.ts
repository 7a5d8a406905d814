/**
 * Ed25519 signatures with one answer everywhere.
 *
 * Libraries disagree on small-order keys, on encodings that are not canonical and on points with
 * a torsion part ("Taming the many EdDSAs", https://eprint.iacr.org/2020/1244). {@link verify}
 * refuses the first two before any backend runs and asks of backends the cofactorless equation
 * of RFC 8032, section 5.1.7 (`S·B = R + k·A`) for the rest; `verify_test.ts` proves that every
 * backend agrees on the edge vectors.
 *
 * @module
 */
import { KEY_BYTES, type KeyPair } from "./key.ts";

/** Bytes of a signature: R, then S. */
export const SIGNATURE_BYTES = 64;

/** A value now or later: backends may be synchronous. */
export type Awaitable<T> = T | Promise<T>;

/**
 * An implementation of Ed25519 (RFC 8032, no prehash, no context).
 *
 * `verify` is only called by {@link verify}, with lengths checked and the refusals above made.
 * It answers false for a key that is not a point and throws only when the backend is broken: an
 * ill host is not a verdict.
 */
export interface SignatureBackend {
  /** For messages of tests and `realm doctor`. */
  readonly name: string;
  /** Whether `S·B = R + k·A` holds, with no cofactor. */
  verify(
    publicKey: Uint8Array,
    message: Uint8Array,
    signature: Uint8Array,
  ): Awaitable<boolean>;
  /** The 64-byte signature by a 32-byte seed. */
  sign(secretKey: Uint8Array, message: Uint8Array): Awaitable<Uint8Array>;
  /** The public key of a 32-byte seed. */
  publicKey(secretKey: Uint8Array): Awaitable<Uint8Array>;
}

/** A backend that answers at once. */
export interface SyncSignatureBackend extends SignatureBackend {
  verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean;
  sign(secretKey: Uint8Array, message: Uint8Array): Uint8Array;
  publicKey(secretKey: Uint8Array): Uint8Array;
}

/** A key that can sign, wherever its secret is. */
export interface Signer {
  readonly publicKey: Uint8Array;
  sign(message: Uint8Array): Awaitable<Uint8Array>;
}

/** A {@link Signer} that answers at once. */
export interface SyncSigner extends Signer {
  sign(message: Uint8Array): Uint8Array;
}

/** {@link verifySync} with its backend: what code that must not wait is given. */
export type VerifySync = (
  publicKey: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
) => boolean;

/** A signer that holds its secret key in memory. */
export function signerOf(keys: KeyPair, backend: SyncSignatureBackend): SyncSigner;
export function signerOf(keys: KeyPair, backend: SignatureBackend): Signer;
export function signerOf(keys: KeyPair, backend: SignatureBackend): Signer {
  return {
    publicKey: keys.publicKey,
    sign: (message) => backend.sign(keys.secretKey, message),
  };
}

/** The key pair of a 32-byte seed, which must come from a cryptographic random source. */
export async function keyPairOf(seed: Uint8Array, backend: SignatureBackend): Promise<KeyPair> {
  return { publicKey: await backend.publicKey(seed), secretKey: seed };
}

/**
 * Whether `signature` is one by `publicKey` over `message`.
 *
 * Any input of wrong length, small-order or non-canonical `publicKey` or R, or S not below the
 * group order is false without asking the backend. Callers sign and verify domain-separated
 * bytes (`signedBytes()` in `canonical.ts`), never bare ones.
 */
export async function verify(
  publicKey: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
  backend: SignatureBackend,
): Promise<boolean> {
  return isAcceptable(publicKey, signature) && await backend.verify(publicKey, message, signature);
}

/** {@link verify}, at once: the same answer for every input. */
export function verifySync(
  publicKey: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
  backend: SyncSignatureBackend,
): boolean {
  return isAcceptable(publicKey, signature) && backend.verify(publicKey, message, signature);
}

/** {@link verifySync} on one backend. */
export function verifierOf(backend: SyncSignatureBackend): VerifySync {
  return (publicKey, message, signature) => verifySync(publicKey, message, signature, backend);
}

/** What holds before any backend runs, whichever it is. */
function isAcceptable(publicKey: Uint8Array, signature: Uint8Array): boolean {
  return publicKey.length === KEY_BYTES && signature.length === SIGNATURE_BYTES &&
    acceptablePoint(publicKey) && acceptablePoint(signature) &&
    isBelow(signature, 32, 0xff, ORDER);
}

/** Little-endian bytes of a 32-byte number. */
function littleEndian(n: bigint): Uint8Array {
  return Uint8Array.from({ length: 32 }, (_, i) => Number((n >> BigInt(8 * i)) & 0xffn));
}

const P = 2n ** 255n - 19n;
const PRIME = littleEndian(P);
/** L, the order of the prime-order subgroup. */
const ORDER = littleEndian(2n ** 252n + 27742317777372353535851937790883648493n);
/** A y coordinate of a point of order 8; the other is its negative. */
const Y_ORDER_8 = 0x5fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n;

/**
 * The y coordinates of the eight points whose order divides 8. Both signs of x are of small
 * order, so the sign bit does not matter, which covers the encodings of `x = 0` with the sign bit
 * set as well (RFC 8032, section 5.1.3, step 4).
 */
const SMALL_ORDER_Y = [0n, 1n, P - 1n, Y_ORDER_8, P - Y_ORDER_8].map(littleEndian);

/** The bits of the last byte of a point that are of y; the one above is the sign of x. */
const Y_MASK = 0x7f;

/**
 * Whether the encoding that bytes begin with is canonical (y < p) and not of small order. Not: that it
 * is a point.
 */
function acceptablePoint(encoding: Uint8Array): boolean {
  if (!isBelow(encoding, 0, Y_MASK, PRIME)) return false;
  for (const small of SMALL_ORDER_Y) {
    let i = 0;
    while (i < 31 && encoding[i] === small[i]) i++;
    if (i === 31 && (encoding[31]! & Y_MASK) === small[31]) return false;
  }
  return true;
}

/**
 * Whether the 32 bytes of `a` from `at` on, the last of them under a mask, are below `b`: little-endian.
 * Public values: timing does not matter.
 */
function isBelow(a: Uint8Array, at: number, mask: number, b: Uint8Array): boolean {
  for (let i = 31; i >= 0; i--) {
    const byte = i === 31 ? a[at + i]! & mask : a[at + i]!;
    if (byte !== b[i]!) return byte < b[i]!;
  }
  return false;
}
