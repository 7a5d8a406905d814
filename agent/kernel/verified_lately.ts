/**
 * Signatures that were verified a moment ago: where several peers send the same events, each of them is
 * verified once.
 *
 * @module
 */
import { textOf } from "./byte_string.ts";
import { bytesEqual } from "./key.ts";
import { Recent } from "./recent.ts";
import type { VerifySync } from "./verify.ts";

/**
 * Answers as `verify` for every input, without asking it where it said yes to these very bytes lately:
 * so much is remembered as has `bytesMax` bytes. Of everything else, and so of every bad signature, it
 * is asked.
 */
export function verifyOnce(verify: VerifySync, bytesMax: number): VerifySync {
  /** By their signatures. */
  const known = new Recent<string, { publicKey: Uint8Array; message: Uint8Array }>(bytesMax);
  return (publicKey, message, signature) => {
    const name = textOf(signature);
    const found = known.get(name);
    const isKnown = found !== undefined && bytesEqual(found.publicKey, publicKey) &&
      bytesEqual(found.message, message);
    if (isKnown) return true;
    if (!verify(publicKey, message, signature)) return false;
    // Copies: they may be parts of something larger, or be written to.
    known.put(
      name,
      { publicKey: publicKey.slice(), message: message.slice() },
      name.length + publicKey.length + message.length,
    );
    return true;
  };
}
