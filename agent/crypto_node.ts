/**
 * Ed25519 of node:crypto, for the agent: synchronous, and the fastest there is.
 *
 * Outside `kernel/`, which uses no `node:` API; `kernel/verify_test.ts` proves that it agrees with
 * the other backends.
 *
 * @module
 */
import { createPrivateKey, createPublicKey, sign, verify } from "node:crypto";
import { Buffer } from "node:buffer";
import type { SyncSignatureBackend } from "./kernel/verify.ts";

/** DER around the 32 bytes of a key (RFC 8410, sections 4 and 7). */
const SPKI_PREFIX = Buffer.from("302a300506032b6570032100", "hex");
const PKCS8_PREFIX = Buffer.from("302e020100300506032b657004220420", "hex");

/** Ed25519 of node:crypto. */
export function nodeBackend(): SyncSignatureBackend {
  return {
    name: "node:crypto",
    verify(publicKey, message, signature) {
      let key;
      try {
        key = createPublicKey({
          key: Buffer.concat([SPKI_PREFIX, publicKey]),
          format: "der",
          type: "spki",
        });
      } catch {
        return false; // not a point: the frame around the key is ours
      }
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

function secretKeyObject(seed: Uint8Array) {
  return createPrivateKey({
    key: Buffer.concat([PKCS8_PREFIX, seed]),
    format: "der",
    type: "pkcs8",
  });
}
