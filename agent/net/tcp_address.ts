/**
 * Multiaddrs of TCP: `/ip4/127.0.0.1/tcp/4001`, `/dns4/bm-01.example.com/tcp/4001`.
 *
 * @module
 */
import { formatIp, groupsOf, parseIp } from "../kernel/ip_address.ts";

const TCP = /^\/(ip4|ip6|dns|dns4|dns6)\/([^/]+)\/tcp\/(\d{1,5})(?:\/p2p\/[^/]+)?$/;
const HOST_NAME = /^(?=.{1,253}$)(?!.*\.\.)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?$/;

/** Host and port of a multiaddr of TCP, or `undefined` when it is another or none. */
export function parseTcpAddress(address: string): { host: string; port: number } | undefined {
  const [, kind, host, digits] = TCP.exec(address) ?? [];
  if (host === undefined) return undefined;
  const port = Number(digits);
  const ip = parseIp(host);
  const fits = kind === "ip4"
    ? ip?.length === 4
    : kind === "ip6"
    ? ip?.length === 16
    : HOST_NAME.test(host);
  return fits && port < 65536 ? { host, port } : undefined;
}

/** IPv4 that a socket for both kinds names as IPv6, as IPv4; anything else as it is. */
export function mappedIpv4(host: string): string {
  const ip = parseIp(host);
  if (ip?.length !== 16) return host;
  const groups = groupsOf(ip);
  if (groups.slice(0, 5).some((group) => group !== 0) || groups[5] !== 0xffff) return host;
  return Array.from(ip.subarray(12)).join(".");
}

/** What counts as one address: of IPv6 the first 64 bits, since anybody has all of the others. */
export function placeOf(host: string): string {
  const ip = parseIp(host);
  return ip?.length === 16 ? formatIp(ip.map((byte, i) => i < 8 ? byte : 0)) : host;
}
