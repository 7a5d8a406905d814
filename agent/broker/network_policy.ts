/**
 * What an instance's network grants allow: which hosts, which addresses, which names, which ports.
 *
 * Pure. {@link NetworkPolicy} remembers what granted names were looked up as, since a socket
 * connects to an address and a grant names a host.
 *
 * @module
 */
import { formatIp, type IpAddress, parseIp, parseNetwork } from "../kernel/ip_address.ts";
import type { NetworkGrants, OutboundGrant } from "../kernel/ports.ts";
import {
  type AddressGrants,
  isLoopbackName,
  kindOfAddress,
  refusalOfAddress,
} from "../kernel/address_policy.ts";

/** A peer as a guest names it. */
export interface Target {
  /** `http` or `https` for requests; `tcp` for any stream, `udp` for datagrams. */
  readonly scheme: "http" | "https" | "tcp" | "udp";
  /** A name in the form of `normalizeName`, or the text form of an address. */
  readonly host: string;
  readonly port: number;
}

/** Why something is refused. */
export interface Refusal {
  /** `not-granted`: no grant names it; `prohibited`: it leads where no grant may lead. */
  readonly code: "not-granted" | "prohibited";
  /** For the operator: what was refused, and the grant that would allow it. */
  readonly message: string;
}

/** Addresses that are remembered for the names they were looked up as; the oldest go first. */
const LOOKED_UP_MAX = 1024;

/** See the module. */
export class NetworkPolicy {
  readonly #addresses: AddressGrants;
  /** By address in its text form: the granted names that led to it. */
  readonly #lookedUp = new Map<string, Set<string>>();

  constructor(readonly grants: NetworkGrants) {
    this.#addresses = {
      privateNetworks: grants.privateNetworks.flatMap((text) => parseNetwork(text) ?? []),
      loopback: new Set(grants.loopback),
    };
  }

  /** Whether anything may be connected to, or datagrams be sent, at all. */
  reaches(transport: "tcp" | "udp"): boolean {
    const { outbound, loopback } = this.grants;
    return loopback.length > 0 ||
      outbound.some(({ scheme }) => (scheme === "udp") === (transport === "udp"));
  }

  /** Why a name may not be looked up. */
  refusalOfLookup(name: string): Refusal | undefined {
    const { dns, outbound } = this.grants;
    const granted = dns === true || dns.includes(name) || this.#isLoopback(name) ||
      outbound.some(({ host }) => matchesHost(host, name));
    return granted ? undefined : {
      code: "not-granted",
      message: `looking up ${name} needs dns = ["${name}"] (--dns ${name})`,
    };
  }

  #isLoopback(host: string): boolean {
    if (this.#addresses.loopback.size === 0) return false;
    const ip = parseIp(host);
    return ip ? kindOfAddress(ip) === "loopback" : isLoopbackName(host);
  }

  /** Why a host may not be connected to, whatever it leads to. */
  refusalOfHost(target: Target): Refusal | undefined {
    const { host, port } = target;
    const granted = this.grants.outbound.some((grant) => matches(grant, target)) ||
      (this.#isLoopback(host) && this.#addresses.loopback.has(port));
    if (granted) return undefined;
    const { scheme } = target;
    const at = `${scheme}://${host.includes(":") ? `[${host}]` : host}:${port}`;
    return {
      code: "not-granted",
      message: `connecting to ${at} needs allowed_outbound = ["${at}"] (--net ${at})`,
    };
  }

  /** Why an address that a granted host led to may not be dialled. */
  refusalOfAddress(ip: IpAddress, { host, port }: Target): Refusal | undefined {
    const isLiteral = parseIp(host) !== undefined;
    const kind = refusalOfAddress(ip, port, isLiteral ? undefined : host, this.#addresses);
    if (kind === undefined) return undefined;
    const help = kind === "loopback" && (isLiteral || isLoopbackName(host))
      ? `, which needs loopback = [${port}] (--net-loopback ${port})`
      : kind === "private"
      ? `, which needs private_outbound = ["${formatIp(ip)}"] (--net-private ${formatIp(ip)})`
      : kind === "metadata"
      ? ", which no grant allows"
      : ", which no name may lead to";
    const from = isLiteral ? host : `${host} leads to ${formatIp(ip)}`;
    return { code: "prohibited", message: `${from}: a ${kind} address${help}` };
  }

  /**
   * What of the addresses that a name led to a guest is told, and may connect to afterwards where
   * the name is granted: never one that is prohibited on every port.
   */
  lookedUp(name: string, found: readonly IpAddress[]): IpAddress[] {
    const ports = this.#isLoopback(name)
      ? this.grants.loopback
      : this.grants.outbound.filter(({ host }) => matchesHost(host, name)).map(({ port }) => port);
    if (ports.length === 0) return [...found]; // a bare lookup, which opens nothing
    const allowed = found.filter((ip) =>
      ports.some((port) => refusalOfAddress(ip, port, name, this.#addresses) === undefined)
    );
    for (const ip of allowed) this.#remember(formatIp(ip), name);
    return allowed;
  }

  #remember(address: string, name: string): void {
    const names = this.#lookedUp.get(address) ?? new Set();
    names.add(name);
    this.#lookedUp.delete(address); // to the end
    this.#lookedUp.set(address, names);
    if (this.#lookedUp.size > LOOKED_UP_MAX) {
      this.#lookedUp.delete(this.#lookedUp.keys().next().value!);
    }
  }

  /**
   * Why a socket may not reach this very address: neither the address is granted, nor a name that
   * it was looked up as, nor, for loopback, the port.
   */
  refusalOfSocket(transport: "tcp" | "udp", ip: IpAddress, port: number): Refusal | undefined {
    const address = formatIp(ip);
    const literal: Target = { scheme: transport, host: address, port };
    const refusal = this.refusalOfHost(literal) ?? this.refusalOfAddress(ip, literal);
    if (refusal === undefined) return undefined;
    let prohibited: Refusal | undefined;
    for (const host of this.#lookedUp.get(address) ?? []) {
      const target: Target = { scheme: transport, host, port };
      if (this.refusalOfHost(target)) continue;
      prohibited = this.refusalOfAddress(ip, target);
      if (prohibited === undefined) return undefined;
    }
    if (kindOfAddress(ip) === "loopback") {
      return {
        code: refusal.code,
        message: `${address}:${port} needs loopback = [${port}] (--net-loopback ${port})`,
      };
    }
    return prohibited ?? refusal;
  }

  /** The grant under which a socket may be bound to an address and port, where there is one. */
  listenGrant(transport: "tcp" | "udp", ip: IpAddress, port: number) {
    return this.grants.listen.find((grant) =>
      grant.transport === transport && (grant.port === port || grant.port === 0) &&
      coversAddress(parseIp(grant.host)!, ip)
    );
  }

  /** Why a socket may not be bound to an address and port. */
  refusalOfListen(transport: "tcp" | "udp", ip: IpAddress, port: number): Refusal | undefined {
    if (this.listenGrant(transport, ip, port)) return undefined;
    const host = ip.length === 16 ? `[${formatIp(ip)}]` : formatIp(ip);
    const at = `${host}:${port}`;
    return {
      code: "not-granted",
      message: `listening on ${at} needs listen = ["${transport}://${at}"] (--listen ${at})`,
    };
  }
}

/** A grant for every address of the machine covers each of them, of both families. */
function coversAddress(granted: IpAddress, ip: IpAddress): boolean {
  const isAny = granted.every((byte) => byte === 0);
  return isAny || formatIp(granted) === formatIp(ip);
}

function matchesHost(granted: string, host: string): boolean {
  return granted === host || (granted.startsWith("*.") && host.endsWith(granted.slice(1)));
}

/** A request's scheme is the granted one; a stream may be anything that is not datagrams. */
function matches(grant: OutboundGrant, { scheme, host, port }: Target): boolean {
  const fits = scheme === "tcp" ? grant.scheme !== "udp" : grant.scheme === scheme;
  return fits && grant.port === port && matchesHost(grant.host, host);
}
