/**
 * The Worker that verifies signatures ahead (`signatures_ahead.ts`): a frame comes, and what of it was
 * found to be well signed goes back, in the same order. It has no permission.
 *
 * @module
 */
import { verifiedIn } from "../apps/peering/frame_signatures.ts";
import type { Port } from "../apps/arbiter/rpc.ts";
import { verifyOnce } from "../kernel/verified_lately.ts";
import { verifierOf } from "../kernel/verify.ts";
import { nodeBackend } from "../node/crypto_node.ts";

/** Bytes of what was verified lately that are remembered: other peers send the same at about that time. */
const LATELY_VERIFIED_BYTES_MAX = 2 * 1024 * 1024;

const port = globalThis as unknown as Port;
const verify = verifyOnce(verifierOf(nodeBackend()), LATELY_VERIFIED_BYTES_MAX);

port.onmessage = ({ data }: MessageEvent<Uint8Array>) => {
  const verified = verifiedIn(data, verify);
  port.postMessage(verified, [verified.buffer]);
};
port.postMessage("ready");
