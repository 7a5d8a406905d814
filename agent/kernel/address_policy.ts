/**
 * Which addresses a connection may lead to.
 *
 * A name is whatever its DNS answers, so it never leads to the machine itself, its link, its cloud
 * provider's metadata, or an IPv4 address wrapped in an IPv6 one; and to a private network only
 * where the name is private by nature or a grant says so. Ranges are those of the IANA registries
 * of special-purpose addresses (RFC 6890); what is not known to be public is not.
 *
 * @see https://www.iana.org/assignments/iana-ipv4-special-registry
 * @see https://www.iana.org/assignments/iana-ipv6-special-registry
 * @module
 */
import { type IpAddress, isInNetwork, type Network, parseNetwork } from "./ip_address.ts";

/** What an address is for. */
export type AddressKind =
  | "public"
  /** RFC 1918, unique local (RFC 4193) and shared (RFC 6598) addresses. */
  | "private"
  | "loopback"
  | "link-local"
  /** Where a cloud provider tells a machine its credentials. */
  | "metadata"
  | "unspecified"
  | "multicast"
  | "broadcast"
  /** An IPv4 address in IPv6 clothes: mapped, compatible, NAT64, 6to4, Teredo. */
  | "embedded"
  /** Documentation, benchmarks, relays, never assigned. */
  | "reserved";

/** The first network that an address is in decides; IPv6 that is in none is reserved. */
const KINDS: readonly (readonly [Network, AddressKind])[] = ([
  ["169.254.169.254", "metadata"],
  ["169.254.170.2", "metadata"],
  ["169.254.170.23", "metadata"],
  ["100.100.100.200", "metadata"],
  ["192.0.0.192", "metadata"],
  ["168.63.129.16", "metadata"],
  ["0.0.0.0/8", "unspecified"],
  ["10.0.0.0/8", "private"],
  ["100.64.0.0/10", "private"],
  ["127.0.0.0/8", "loopback"],
  ["169.254.0.0/16", "link-local"],
  ["172.16.0.0/12", "private"],
  ["192.0.0.0/24", "reserved"],
  ["192.0.2.0/24", "reserved"],
  ["192.88.99.0/24", "reserved"],
  ["192.168.0.0/16", "private"],
  ["198.18.0.0/15", "reserved"],
  ["198.51.100.0/24", "reserved"],
  ["203.0.113.0/24", "reserved"],
  ["224.0.0.0/4", "multicast"],
  ["255.255.255.255", "broadcast"],
  ["240.0.0.0/4", "reserved"],
  ["0.0.0.0/0", "public"],
  ["::", "unspecified"],
  ["::1", "loopback"],
  ["::ffff:0:0/96", "embedded"],
  ["::/96", "embedded"],
  ["::ffff:0:0:0/96", "embedded"],
  ["64:ff9b::/96", "embedded"],
  ["64:ff9b:1::/48", "embedded"],
  ["2001::/32", "embedded"],
  ["2002::/16", "embedded"],
  ["fd00:ec2::254", "metadata"],
  ["fd00:ec2::23", "metadata"],
  ["fd20:ce::254", "metadata"],
  ["fd00:42::42", "metadata"],
  ["fc00::/7", "private"],
  ["fe80::/10", "link-local"],
  ["fec0::/10", "private"],
  ["ff00::/8", "multicast"],
  ["2001::/23", "reserved"],
  ["2001:db8::/32", "reserved"],
  ["3fff::/20", "reserved"],
  ["2000::/3", "public"],
  ["::/0", "reserved"],
] as const).map(([network, kind]) => [parseNetwork(network)!, kind]);

/** What an address is for. */
export function kindOfAddress(ip: IpAddress): AddressKind {
  return KINDS.find(([network]) => isInNetwork(ip, network))![1];
}

/** Names that are for private networks: one label, or below a domain that the DNS leaves to them. */
export function isPrivateName(name: string): boolean {
  return !name.includes(".") || /\.(?:internal|local|lan|home\.arpa)$/.test(name);
}

/** Names of the machine itself (RFC 6761): they are not asked of the DNS. */
export function isLoopbackName(name: string): boolean {
  return name === "localhost" || name.endsWith(".localhost");
}

/** What of the grants matters here. */
export interface AddressGrants {
  readonly privateNetworks: readonly Network[];
  /** Ports of the machine itself. */
  readonly loopback: ReadonlySet<number>;
}

/**
 * Why a connection to this address and port may not be made, `undefined` when it may.
 *
 * `name` is what it was looked up as; without it the address itself was granted, which is as good
 * as saying that it is wanted, except for loopback, which is given by port alone, and for metadata,
 * which nothing gives.
 */
export function refusalOfAddress(
  ip: IpAddress,
  port: number,
  name: string | undefined,
  grants: AddressGrants,
): AddressKind | undefined {
  const kind = kindOfAddress(ip);
  switch (kind) {
    case "public":
      return undefined;
    case "loopback": {
      const mayBe = name === undefined || isLoopbackName(name);
      return mayBe && grants.loopback.has(port) ? undefined : kind;
    }
    case "private": {
      const mayBe = name === undefined || isPrivateName(name) ||
        grants.privateNetworks.some((network) => isInNetwork(ip, network));
      return mayBe ? undefined : kind;
    }
    case "link-local":
    case "reserved":
      return name === undefined ? undefined : kind;
    case "metadata": // its answers are the machine's credentials: no grant is meant for that
    case "unspecified":
    case "multicast":
    case "broadcast":
    case "embedded":
      return kind;
  }
}
