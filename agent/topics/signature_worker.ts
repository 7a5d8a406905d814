/**
 * The Worker that verifies signatures ahead (`signatures_ahead.ts`): a frame comes, and what of it was
 * found to be well signed goes back, in the same order. It has no permission.
 *
 * @module
 */
import { verifiedIn } from "../apps/peering/frame_signatures.ts";
import type { Port } from "../apps/arbiter/rpc.ts";
import { verifierOf } from "../kernel/verify.ts";
import { nodeBackend } from "../node/crypto_node.ts";

const port = globalThis as unknown as Port;
const verify = verifierOf(nodeBackend());

port.onmessage = ({ data }: MessageEvent<Uint8Array>) => {
  const verified = verifiedIn(data, verify);
  port.postMessage(verified, [verified.buffer]);
};
port.postMessage("ready");
