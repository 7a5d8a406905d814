/**
 * Which addresses are dialled that others say, and not the operator.
 *
 * A peer can say that it is reached anywhere. What it says never leads to the machine itself (unless
 * all of the realm is on it), its link, or where cloud providers tell credentials; names are not
 * looked up for it.
 *
 * @module
 */
import { isInNetwork, type Network, parseIp, parseNetwork } from "../kernel/ip_address.ts";
import { splitAddress } from "../kernel/peer_id.ts";
import { parseTcpAddress } from "./tcp_address.ts";

const LOOPBACK = networks("127.0.0.0/8", "::1");
const NEVER = networks(
  "0.0.0.0/8",
  "169.254.0.0/16",
  "100.100.100.200",
  "192.0.0.192",
  "168.63.129.16",
  "224.0.0.0/3",
  "::",
  "fe80::/10",
  "fd00:ec2::254",
  "fd20:ce::254",
  "ff00::/8",
  // IPv4 in IPv6 clothes.
  "::ffff:0:0/96",
  "64:ff9b::/96",
  "2002::/16",
);
/** Longer ones are no addresses of anybody. */
const LENGTH_MAX = 300;

/** Whether a multiaddr that another node said is dialled; `loopback` when this machine is the realm. */
export function isDialable(address: string, loopback: boolean): boolean {
  if (address.length > LENGTH_MAX) return false;
  // By way of a relay it is the relay that is dialled.
  const [first, ...more] = address.split("/p2p-circuit");
  if (more.length > 1) return false;
  let transport;
  try {
    ({ transport } = splitAddress(first!));
  } catch {
    return false;
  }
  const ip = parseIp(parseTcpAddress(transport)?.host ?? "");
  if (ip === undefined) return false;
  if (LOOPBACK.some((network) => isInNetwork(ip, network))) return loopback;
  return !NEVER.some((network) => isInNetwork(ip, network));
}

/** Whether a node that listens at these addresses is for its own machine only. */
export function listensOnLoopback(addresses: readonly string[]): boolean {
  return addresses.length > 0 && addresses.every((address) => {
    const ip = parseIp(parseTcpAddress(address)?.host ?? "");
    return ip !== undefined && LOOPBACK.some((network) => isInNetwork(ip, network));
  });
}

function networks(...texts: string[]): Network[] {
  return texts.map((text) => parseNetwork(text)!);
}
