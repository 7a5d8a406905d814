/**
 * The keys of a simulation, by name, and signatures that cost little: each one is made and verified
 * for real, once in a process. No signature is pretended: a forged one is found out.
 *
 * @module
 */
import { createHash, createPrivateKey, sign } from "node:crypto";
import { nodeBackend } from "../../agent/node/crypto_node.ts";
import { formatPublicKey } from "../../agent/kernel/key.ts";
import { type SyncSigner, verifierOf, type VerifySync } from "../../agent/kernel/verify.ts";

/** Somebody with a key. */
export interface Player extends SyncSigner {
  readonly name: string;
  /** The public key in text form. */
  readonly key: string;
}

/** DER around a seed (RFC 8410, section 7). */
const PKCS8_PREFIX = Uint8Array.fromHex("302e020100300506032b657004220420");
const backend = nodeBackend();
const strict = verifierOf(backend);
/** Verdicts and signatures that are remembered, each. */
const MEMO_MAX = 20_000;
const verdicts = new Map<string, boolean>();
const players = new Map<string, Player>();

/** The player of that name: the same key whatever the seed. */
export function player(name: string): Player {
  const known = players.get(name);
  if (known !== undefined) return known;
  const secret = new Uint8Array(createHash("sha256").update(`simulated ${name}`).digest());
  const publicKey = backend.publicKey(secret);
  const pkcs8 = new Uint8Array([...PKCS8_PREFIX, ...secret]) as never;
  const privateKey = createPrivateKey({ key: pkcs8, format: "der", type: "pkcs8" });
  const made: Player = {
    name,
    key: formatPublicKey(publicKey),
    publicKey,
    sign(message) {
      const signature = new Uint8Array(sign(null, message, privateKey));
      remember(memoKey(publicKey, message, signature), true); // that is what signing is
      return signature;
    },
  };
  players.set(name, made);
  return made;
}

/** `verifySync` of node:crypto, which remembers what it said. */
export const verify: VerifySync = (publicKey, message, signature) => {
  const memo = memoKey(publicKey, message, signature);
  const known = verdicts.get(memo);
  if (known !== undefined) return known;
  const verdict = strict(publicKey, message, signature);
  remember(memo, verdict);
  return verdict;
};

function remember(memo: string, verdict: boolean): void {
  if (verdicts.size >= MEMO_MAX) verdicts.clear();
  verdicts.set(memo, verdict);
}

function memoKey(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): string {
  return createHash("sha256").update(publicKey).update(signature).update(message)
    .digest("base64");
}
