/**
 * Ed25519 backends that run anywhere: WebCrypto, and noble where there is no WebCrypto.
 *
 * The third one, node:crypto, lives outside the kernel in `agent/node/crypto_node.ts`. WebCrypto's
 * Ed25519 is defined in https://www.w3.org/TR/webcrypto-2/#ed25519.
 *
 * @module
 */
import * as ed25519 from "@noble/ed25519";
import { sha512 } from "@noble/hashes/sha2.js";
import { bytesEqual } from "./key.ts";
import type { SignatureBackend } from "./verify.ts";

/** noble's synchronous functions need a hash; setting it again sets the same one. */
ed25519.hashes.sha512 = sha512;

/** PKCS #8 around a seed (RFC 8410, section 7): WebCrypto imports secret keys in no shorter form. */
const PKCS8_PREFIX = Uint8Array.of(
  ...[0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06],
  ...[0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20],
);

/** Ed25519 of the platform's `crypto.subtle`. */
export function webCryptoBackend(subtle: SubtleCrypto = crypto.subtle): SignatureBackend {
  const importSecret = (seed: Uint8Array) => {
    const pkcs8 = new Uint8Array(PKCS8_PREFIX.length + seed.length);
    pkcs8.set(PKCS8_PREFIX);
    pkcs8.set(seed, PKCS8_PREFIX.length);
    return subtle.importKey("pkcs8", pkcs8, "Ed25519", true, ["sign"]);
  };
  return {
    name: "webcrypto",
    async verify(publicKey, message, signature) {
      let key: CryptoKey;
      try {
        key = await subtle.importKey("raw", own(publicKey), "Ed25519", false, ["verify"]);
      } catch (error) {
        // The specification lets an implementation refuse bytes that are not a point here.
        if (error instanceof DOMException && error.name === "DataError") return false;
        throw error;
      }
      return await subtle.verify("Ed25519", key, own(signature), own(message));
    },
    async sign(secretKey, message) {
      const key = await importSecret(secretKey);
      return new Uint8Array(await subtle.sign("Ed25519", key, own(message)));
    },
    async publicKey(secretKey) {
      // Only the JWK form gives the public half of a secret key back.
      const { x } = await subtle.exportKey("jwk", await importSecret(secretKey));
      return Uint8Array.from(
        atob(x!.replaceAll("-", "+").replaceAll("_", "/")),
        (c) => c.charCodeAt(0),
      );
    },
  };
}

/** Ed25519 in JavaScript: about twenty times slower than the platform's. */
export function nobleBackend(): SignatureBackend {
  return {
    name: "noble",
    verify: nobleVerify,
    sign: (secretKey, message) => ed25519.sign(message, secretKey),
    publicKey: (secretKey) => ed25519.getPublicKey(secretKey),
  };
}

/**
 * `S·B - k·A` encodes to R.
 *
 * Not noble's own `verify`: it multiplies by the cofactor even with `zip215: false` and so accepts
 * signatures with a torsion part that OpenSSL, ring and dalek refuse.
 */
function nobleVerify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  let a: ed25519.Point;
  try {
    a = ed25519.Point.fromBytes(publicKey, false);
  } catch (error) {
    if (isHostFailure(error)) throw error;
    return false; // not a point
  }
  const r = signature.subarray(0, 32);
  const k = scalar(sha512(ed25519.etc.concatBytes(r, publicKey, message)));
  const s = scalar(signature.subarray(32));
  const rExpected = ed25519.Point.BASE.multiply(s, false).subtract(a.multiply(k, false));
  return bytesEqual(rExpected.toBytes(), r);
}

/** Whether an engine gave up, which is no verdict on what it was at: its stack is used up. */
export function isHostFailure(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return error instanceof RangeError && error.message.includes("call stack") ||
    error.name === "InternalError"; // Firefox
}

/** Little-endian bytes as a number modulo the group order. */
function scalar(bytes: Uint8Array): bigint {
  let n = 0n;
  for (const byte of bytes.toReversed()) n = (n << 8n) | BigInt(byte);
  return n % ed25519.Point.CURVE().n;
}

/** The same bytes, typed as WebCrypto wants them: never over shared memory. */
function own(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes.buffer instanceof ArrayBuffer
    ? bytes as Uint8Array<ArrayBuffer>
    : new Uint8Array(bytes);
}
