/**
 * `wasi:sockets/network`: addresses, error codes, and what TCP and UDP sockets have in common.
 *
 * @see https://github.com/WebAssembly/wasi-sockets/tree/v0.2.12/wit/network.wit
 * @module
 */
import { formatIp, groupsOf, type IpAddress, parseIp } from "../../kernel/ip_address.ts";
import { type AgentCall, CallFailed } from "../agent_calls.ts";
import type { WasiInstance } from "./context.ts";
import type { GrantName } from "./grants.ts";
import type { IoError } from "./io.ts";
import { guardResource, Resource } from "./resource.ts";

/** `error-code` of the interface; a function throws it as it is. */
export type ErrorCode =
  | "unknown"
  | "access-denied"
  | "not-supported"
  | "invalid-argument"
  | "out-of-memory"
  | "timeout"
  | "concurrency-conflict"
  | "not-in-progress"
  | "would-block"
  | "invalid-state"
  | "new-socket-limit"
  | "address-not-bindable"
  | "address-in-use"
  | "remote-unreachable"
  | "connection-refused"
  | "connection-reset"
  | "connection-aborted"
  | "datagram-too-large"
  | "name-unresolvable"
  | "temporary-resolver-failure"
  | "permanent-resolver-failure";

/** What the agent's words are here, where they are not the same. */
const CODES: Readonly<Record<string, ErrorCode>> = {
  "address-prohibited": "access-denied",
  "no-service": "access-denied",
  "limit-exceeded": "new-socket-limit",
  "access-denied": "access-denied",
  "invalid-argument": "invalid-argument",
  "name-unresolvable": "name-unresolvable",
  "temporary-resolver-failure": "temporary-resolver-failure",
  "permanent-resolver-failure": "permanent-resolver-failure",
  "timeout": "timeout",
  "connection-refused": "connection-refused",
  "connection-reset": "connection-reset",
  "connection-aborted": "connection-aborted",
  "remote-unreachable": "remote-unreachable",
  "address-in-use": "address-in-use",
  "address-not-bindable": "address-not-bindable",
  "new-socket-limit": "new-socket-limit",
  "datagram-too-large": "datagram-too-large",
};

/** The error code of a call that failed; anything else is a fault of the host, thrown on. */
export function codeOf(error: unknown): ErrorCode {
  if (!(error instanceof CallFailed)) throw error;
  const { reason } = error;
  return typeof reason === "string" && Object.hasOwn(CODES, reason) ? CODES[reason]! : "unknown";
}

/** Throws an error of the interface. */
export function fail(code: ErrorCode): never {
  throw code;
}

/** `ip-address-family` */
export type Family = "ipv4" | "ipv6";

/** `ip-address` in the form of the glue. */
export interface WitIpAddress {
  readonly tag: Family;
  readonly val: ArrayLike<number>;
}

/** `ip-socket-address` in the form of the glue. */
export type WitSocketAddress =
  | {
    readonly tag: "ipv4";
    readonly val: { readonly port: number; readonly address: ArrayLike<number> };
  }
  | {
    readonly tag: "ipv6";
    readonly val: {
      readonly port: number;
      readonly flowInfo: number;
      readonly address: ArrayLike<number>;
      readonly scopeId: number;
    };
  };

/** An address and port. */
export interface SocketAddress {
  readonly ip: IpAddress;
  readonly port: number;
}

/** Reads an `ip-socket-address`; flow and scope do not matter. */
export function fromWit({ tag, val: { port, address } }: WitSocketAddress): SocketAddress {
  if (tag === "ipv4") return { ip: Uint8Array.from(address), port };
  const ip = new Uint8Array(16);
  for (let i = 0; i < 8; i++) {
    ip[2 * i] = address[i]! >> 8;
    ip[2 * i + 1] = address[i]! & 0xff;
  }
  return { ip, port };
}

/** The `ip-address` of an address. */
export function toWitAddress(ip: IpAddress): WitIpAddress {
  return ip.length === 4 ? { tag: "ipv4", val: [...ip] } : { tag: "ipv6", val: groupsOf(ip) };
}

/** The `ip-socket-address` of an address and port. */
export function toWit({ ip, port }: SocketAddress): WitSocketAddress {
  const { tag, val: address } = toWitAddress(ip);
  return tag === "ipv4"
    ? { tag, val: { port, address } }
    : { tag, val: { port, flowInfo: 0, address, scopeId: 0 } };
}

/** The address and port of the agent's messages. */
export function fromMessage({ address, port }: { address: string; port: number }): SocketAddress {
  return { ip: parseIp(address)!, port };
}

const isZero = (bytes: Uint8Array) => bytes.every((byte) => byte === 0);

/** An address of the socket's family; IPv4 in IPv6 clothes is of neither. */
export function fitsFamily({ ip }: SocketAddress, family: Family): boolean {
  if (ip.length === 4) return family === "ipv4";
  if (family === "ipv4") return false;
  const isMapped = isZero(ip.subarray(0, 10)) && ip[10] === 0xff && ip[11] === 0xff;
  // `::` and `::1` look compatible and are not.
  const isCompatible = isZero(ip.subarray(0, 12)) && !(isZero(ip.subarray(12, 15)) && ip[15]! < 2);
  return !isMapped && !isCompatible;
}

/** Neither multicast nor broadcast. */
export function isUnicast({ ip }: SocketAddress): boolean {
  return ip.length === 4
    ? ip[0]! >> 4 !== 0xe && !ip.every((byte) => byte === 0xff)
    : ip[0] !== 0xff;
}

/** Something to connect or send to: neither port 0 nor the unspecified address. */
export function isRemote({ ip, port }: SocketAddress): boolean {
  return port !== 0 && !isZero(ip);
}

/** What Linux lets a buffer be, in the bytes that were asked for. */
const BUFFER_BYTES = { min: 2304, max: 212_992 };

function bufferSize(value: bigint): bigint {
  if (value === 0n) fail("invalid-argument");
  const bytes = Number(value < 0x7fff_ffffn ? value : 0x7fff_ffffn);
  return BigInt(Math.min(Math.max(bytes, BUFFER_BYTES.min), BUFFER_BYTES.max));
}

/**
 * Options of a socket: kept and read back within the bounds of Linux. The platform has no way to
 * set them on its sockets.
 */
export class SocketOptions {
  hopLimit = 64;

  constructor(public receiveBufferSize: bigint, public sendBufferSize: bigint) {}

  setHopLimit(value: number): void {
    if (value === 0) fail("invalid-argument");
    this.hopLimit = value;
  }

  setReceiveBufferSize(value: bigint): void {
    this.receiveBufferSize = bufferSize(value);
  }

  setSendBufferSize(value: bigint): void {
    this.sendBufferSize = bufferSize(value);
  }
}

/** Resource `network`: there is one, and what it opens is the instance's own. */
export class Network extends Resource {
  constructor(host: WasiInstance) {
    super(host, "network");
  }
}
guardResource("wasi:sockets/network", "network", Network);

/** `network-error-code`: what went wrong on a stream of a connection. */
export function networkErrorCode(error: IoError): string | undefined {
  return error.init.socket;
}

/** A socket that counts among those of its replica. Throws `new-socket-limit`. */
export abstract class Socket extends Resource {
  constructor(host: WasiInstance, kind: string) {
    if (!host.memory.hasRoom("sockets")) fail("new-socket-limit");
    super(host, kind);
  }
}

/** Asks the agent's network. Throws `access-denied` where the instance has none. */
export function callNetwork(
  host: WasiInstance,
  call: string,
  grant: GrantName,
  request: { readonly op: string } & Record<string, unknown>,
): AgentCall {
  requireNetwork(host, call, grant);
  return host.ctx.agent!.call("network", request);
}

/** A socket that the agent bound. */
export interface BoundSocket {
  readonly call: AgentCall;
  readonly id: number;
  readonly local: SocketAddress;
}

/** Asks the agent for a socket at an address; throws, or rejects with, an `error-code`. */
export function bindSocket(
  host: WasiInstance,
  transport: "tcp" | "udp",
  { ip, port }: SocketAddress,
): Promise<BoundSocket> {
  const name = `wasi:sockets/${transport}#[method]${transport}-socket.start-bind`;
  const request = { op: `${transport}-bind`, address: formatIp(ip), port };
  const call = callNetwork(host, name, "listen", request);
  return call.answering().then((answer) => {
    const { id, local } = answer as { id: number; local: { address: string; port: number } };
    return { call, id, local: fromMessage(local) };
  }).catch((error) => {
    call.drop();
    fail(codeOf(error));
  });
}

/** Throws `access-denied` where nothing of the network is granted to which this belongs. */
export function requireNetwork(host: WasiInstance, call: string, grant: GrantName): void {
  const { outbound, loopback, dns, listen } = host.ctx.grants.network;
  const some = outbound.length > 0 || loopback.length > 0;
  const isGranted = grant === "dns"
    ? some || dns === true || dns.length > 0
    : some || listen.length > 0;
  if (isGranted && host.ctx.agent) return;
  host.deny(call, grant);
  fail("access-denied");
}
