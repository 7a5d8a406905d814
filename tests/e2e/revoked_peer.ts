/**
 * A node that does not care that it was revoked: with its key it dials each address, directly and by
 * way of the others, and asks for everything there is. `revoked_peer.ts KEYFILE ADDRESS…`; prints
 * `{ tries, answering, connected, opened }`: of so many tries at how many somebody listens, and what it
 * got where.
 *
 * @module
 */
import { BLOBS_PROTOCOL } from "../../agent/artifact/blob_wire.ts";
import { splitAddress } from "../../agent/kernel/peer_id.ts";
import { parseSecretKey } from "../../agent/kernel/key.ts";
import { MEMBERS_PROTOCOL } from "../../agent/net/libp2p_node.ts";
import { startLibp2p } from "../../agent/net/libp2p_network.ts";
import { HTTP_PROTOCOL } from "../../agent/proxy/peer_wire.ts";
import { LINK_PROTOCOL } from "../../agent/member/realm_peer.ts";
import { CONTROL_PROTOCOL } from "../../agent/member/remote_control.ts";

const PROTOCOLS = [
  LINK_PROTOCOL,
  BLOBS_PROTOCOL,
  HTTP_PROTOCOL,
  CONTROL_PROTOCOL,
  MEMBERS_PROTOCOL,
];
/** How long it listens on a stream that it has. */
const LISTEN_MS = 1_000;

const [keyFile, ...addresses] = Deno.args as [string, ...string[]];
const network = await startLibp2p({
  secretKey: parseSecretKey((await Deno.readTextFile(keyFile)).trim()),
  listen: [],
  gate: { mayConnect: () => true, mayOpen: () => true },
});
const ways = addresses.flatMap((address, index) => {
  const through = addresses[(index + 1) % addresses.length]!;
  return [address, `${through}/p2p-circuit/p2p/${address.split("/p2p/")[1]}`];
});
const connected: string[] = [];
const opened: string[] = [];
let answering = 0;
for (const way of ways) {
  const [, , hostname, , port] = way.split("/");
  (await Deno.connect({ hostname: hostname!, port: Number(port) })).close();
  answering++;
  try {
    const peer = await network.dial(way);
    connected.push(way);
    for (const protocol of PROTOCOLS) {
      try {
        const stream = await network.open(peer, protocol, AbortSignal.timeout(LISTEN_MS));
        opened.push(`${protocol} of ${splitAddress(way).key}`);
        stream.abort();
      } catch { /* as it should be */ }
    }
    network.disconnect(peer);
  } catch { /* as it should be */ }
}
console.log(JSON.stringify({ tries: ways.length, answering, connected, opened }));
Deno.exit(); // connections that were refused keep it for a while
