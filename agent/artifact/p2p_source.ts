/**
 * `p2p:` sources: a blob of the realm by its sha256, which nodes have from one another.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import { SHA256_HEX, sha256Hex } from "../kernel/sha256.ts";
import type { SourceContext } from "./source.ts";
import { tooLarge } from "./too_large.ts";

/** Gives a blob that this node has, or gets from others. Throws RealmError `not-found`. */
export type PeerBlob = (digest: string, signal: AbortSignal) => Promise<Uint8Array>;

/**
 * The bytes of `p2p:HEX`.
 *
 * Throws RealmError `invalid-config` for another form, `unsupported` where there is nobody to ask,
 * `digest-mismatch`, `limit-exceeded`, and what `peerBlob` throws.
 */
export async function fetchP2p(
  source: string,
  options: SourceContext,
): Promise<Uint8Array> {
  const { bytesMax, signal, peerBlob } = options;
  const digest = source.slice(source.indexOf(":") + 1);
  if (!SHA256_HEX.test(digest)) {
    throw new RealmError(
      "invalid-config",
      `Cannot fetch "${source}": wanted p2p: and 64 lower-case hex digits, the sha256 of the bytes`,
    );
  }
  if (peerBlob === undefined) {
    throw new RealmError("unsupported", `Cannot fetch "${source}": there is no agent to ask`, {
      hint: "Start one with realm agent",
    });
  }
  const bytes = await peerBlob(digest, signal);
  if (bytes.length > bytesMax) throw tooLarge(source, bytesMax);
  const found = await sha256Hex(bytes);
  if (found === digest) return bytes;
  throw new RealmError("digest-mismatch", `Cannot use "${source}": what came has sha256 ${found}`);
}
