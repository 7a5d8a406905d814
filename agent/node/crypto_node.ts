/**
 * Ed25519 of node:crypto, for the agent: synchronous, and the fastest there is.
 *
 * Outside `kernel/`, which uses no `node:` API; `kernel/verify_test.ts` proves that it agrees with
 * the other backends.
 *
 * @module
 */
import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import { Buffer } from "node:buffer";
import { textOf } from "../kernel/byte_string.ts";
import { isHostFailure } from "../kernel/signature_backends.ts";
import type { SyncSignatureBackend } from "../kernel/verify.ts";

/** DER around the 32 bytes of a key (RFC 8410, sections 4 and 7). */
const SPKI_PREFIX = Buffer.from("302a300506032b6570032100", "hex");
const PKCS8_PREFIX = Buffer.from("302e020100300506032b657004220420", "hex");

/** Reading a key takes as long as using it, and few keys make nearly all signatures. */
const PUBLIC_KEYS_MAX = 1024;
const publicKeys = new Map<string, KeyObject>();
/** By the array of the seed, which nobody changes: what is forgotten elsewhere is forgotten here. */
const secretKeys = new WeakMap<Uint8Array, KeyObject>();

/** Ed25519 of node:crypto. */
export function nodeBackend(): SyncSignatureBackend {
  return {
    name: "node:crypto",
    verify(publicKey, message, signature) {
      const key = publicKeyObject(publicKey);
      // Not a point: the frame around the key is ours.
      if (key === undefined) return false;
      return verify(null, message, key, signature);
    },
    sign: (secretKey, message) => new Uint8Array(sign(null, message, secretKeyObject(secretKey))),
    publicKey(secretKey) {
      const der = createPublicKey(secretKeyObject(secretKey)).export({
        format: "der",
        type: "spki",
      });
      return new Uint8Array(der.subarray(SPKI_PREFIX.length));
    },
  };
}

function publicKeyObject(publicKey: Uint8Array): KeyObject | undefined {
  const name = textOf(publicKey);
  let key = publicKeys.get(name);
  if (key !== undefined) return key;
  try {
    const der = Buffer.concat([SPKI_PREFIX, publicKey]);
    key = createPublicKey({ key: der, format: "der", type: "spki" });
  } catch (error) {
    if (isHostFailure(error)) throw error;
    return undefined;
  }
  if (publicKeys.size >= PUBLIC_KEYS_MAX) publicKeys.clear();
  publicKeys.set(name, key);
  return key;
}

function secretKeyObject(seed: Uint8Array): KeyObject {
  let key = secretKeys.get(seed);
  if (key === undefined) {
    const der = Buffer.concat([PKCS8_PREFIX, seed]);
    key = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
    secretKeys.set(seed, key);
  }
  return key;
}
