/**
 * Which node `--node` means, and where it is.
 *
 * @module
 */
import { RealmError } from "../agent/kernel/error.ts";
import { joinAddress, splitAddress } from "../agent/kernel/peer_id.ts";
import type { RemoteNode } from "../agent/member/remote_agent.ts";
import { nodeOf, type NodeStatus } from "./nodes.ts";

/**
 * The node of this name, key or fingerprint, or whoever is at a multiaddr that ends in its peer id.
 *
 * Throws RealmError `not-found` for a node that is not known, `unreachable` for one without an
 * address.
 */
export async function remoteNode(
  wanted: string,
  nodes: () => Promise<readonly NodeStatus[]>,
): Promise<RemoteNode> {
  if (wanted.startsWith("/")) return atAddress(wanted);
  const { name, key, addresses } = nodeOf(await nodes(), wanted, "ask");
  if (addresses.length === 0) {
    throw new RealmError(
      "unreachable",
      `Cannot ask node ${name}: no address of it is known here`,
      {
        hint: "Start its agent with --listen, or give the command an address with --node MULTIADDR",
      },
    );
  }
  const full = addresses.map((each) =>
    splitAddress(each).key === undefined ? joinAddress(each, key) : each
  );
  return { name, key, addresses: full, find: () => remoteNode(key, nodes) };
}

function atAddress(address: string): RemoteNode {
  const { key } = splitAddress(address);
  if (key !== undefined) return { name: address, key, addresses: [address] };
  throw new RealmError(
    "usage",
    `Cannot ask ${address}: it does not say whose it is, wanted /p2p/PEERID at its end`,
    { hint: "Copy the address that realm agent printed on that machine" },
  );
}
