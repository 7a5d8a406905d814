/**
 * A process that fetches a blob and may be killed at any time:
 *
 *     blob_taker.ts FOLDER ADDRESS DIGEST
 *
 * Prints how many bytes it has after each chunk.
 *
 * @module
 */
import { PeerBlobs } from "../agent/artifact/peer_blobs.ts";
import { startLibp2p } from "../agent/net/libp2p_network.ts";
import { DiskBlobs } from "../agent/store/disk_blobs.ts";
import { systemClock } from "../agent/node/system_clock.ts";

const [folder, address, digest] = Deno.args as [string, string, string];
const network = await startLibp2p({
  secretKey: crypto.getRandomValues(new Uint8Array(32)),
  listen: [],
  gate: { mayConnect: () => true, mayOpen: () => true },
});
await network.dial(address);
const peers = new PeerBlobs({
  network,
  blobs: await DiskBlobs.open(folder),
  clock: systemClock,
  mayAsk: () => true,
  progress: ({ received }) => console.log(received),
});
await peers.fetch(digest);
Deno.exit(0);
