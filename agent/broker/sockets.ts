/**
 * The sockets of one replica: what `wasi:sockets` in its Worker asks of the agent.
 *
 * A request is `{ op, … }`; what is wrong with it, or refused, is answered by a `NetworkError`. The
 * pipe of a connection carries its bytes, that of a datagram socket its datagrams
 * (`kernel/datagram.ts`). Dropping a call closes what it opened; what was written still goes out,
 * within {@link LINGER_MS}.
 *
 * | op | takes | answers |
 * | --- | --- | --- |
 * | `lookup` | `name` | addresses as text |
 * | `tcp-connect` | `address`, `port`, `keepAlive` | {@link Endpoints} |
 * | `tcp-bind` | `address`, `port` | {@link Endpoints}; `id` names the listener |
 * | `tcp-accept` | `id` of a listener | {@link Endpoints}, once somebody connects |
 * | `keep-alive` | `id` of a connection, `keepAlive` | nothing |
 * | `udp-bind` | `address`, `port` | {@link Endpoints} |
 * | `udp-check` | `address`, `port`, `id` of the socket | nothing: whether it may be sent to |
 *
 * @module
 */
import { packDatagram, unpackDatagram } from "../kernel/datagram.ts";
import { formatIp, type IpAddress, parseIp } from "../kernel/ip_address.ts";
import { normalizeName } from "../kernel/network_grant.ts";
import type { Pipe, Service } from "../kernel/ports.ts";
import { kindOfAddress } from "../kernel/address_policy.ts";
import { connectTcp } from "./dial.ts";
import { NetworkError } from "./network_error.ts";
import type { NetworkPolicy, Refusal } from "./network_policy.ts";
import { ProxiedListener } from "./proxied_listener.ts";
import type { Resolver } from "./resolve.ts";

/** Sockets of a replica that are open on the machine. */
const SOCKETS_MAX = 256;
/** Bytes that were written when a connection was dropped have this long to go out. */
const LINGER_MS = 5_000;
/** Bytes that are read from a connection at once. */
const READ_BYTES = 32 * 1024;
/** Datagrams are read whole. */
const DATAGRAM_BYTES_MAX = 65_535;
/** Where connections of the proxy seem to come from. */
const PROXY_PORT = 65_535;
/** Senders of datagrams that may be answered; the oldest go first. */
const SENDERS_MAX = 1024;

/** An address and port as the messages have them. */
export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

/** What a socket is between. */
export interface Endpoints {
  /** Names the socket in later requests. */
  readonly id: number;
  readonly local: Endpoint;
  readonly remote?: Endpoint;
}

/** What {@link Sockets} needs. */
export interface SocketsInit {
  readonly policy: NetworkPolicy;
  readonly resolver: Resolver;
  /** Told of each refusal. */
  readonly refused?: (refusal: Refusal) => void;
  /** Makes connections in place of Deno. */
  readonly connect?: typeof connectTcp;
  /** Takes the place of a port of the machine when the guest binds to the port of that number. */
  readonly proxied?: ProxiedListener;
}

interface UdpSocket {
  readonly conn: Deno.DatagramConn;
  /** Whether anybody may send to it, or only those to whom the guest may send. */
  readonly isServer: boolean;
  /** Those who have sent to it, as `address port`. */
  readonly senders: Set<string>;
}

/** What a guest is bound to: a port of the machine, or one that the proxy alone reaches. */
interface Listening {
  readonly listener: Deno.TcpListener | ProxiedListener;
  readonly local: Endpoint;
}

/** See the module. */
export class Sockets implements Service {
  readonly #listeners = new Map<number, Listening>();
  readonly #connections = new Map<number, Deno.TcpConn>();
  readonly #datagrams = new Map<number, UdpSocket>();
  /** Connections that still send what was written. */
  readonly #closing = new Set<Promise<void>>();
  #nextId = 1;
  #opening = 0;

  constructor(readonly init: SocketsInit) {}

  async call(request: unknown, pipe: Pipe): Promise<unknown> {
    const { op, ...fields } = (request ?? {}) as Record<string, unknown>;
    try {
      switch (op) {
        case "lookup":
          return await this.#lookup(fields.name, pipe.signal);
        case "tcp-connect":
          return await this.#open(() => this.#connect(endpointOf(fields), fields, pipe));
        case "tcp-bind":
          return await this.#open(() => this.#bind(endpointOf(fields), pipe));
        case "tcp-accept":
          return await this.#open(() => this.#accept(fields.id, pipe));
        case "keep-alive":
          this.#connections.get(fields.id as number)?.setKeepAlive(fields.keepAlive === true);
          return;
        case "udp-bind":
          return await this.#open(() => this.#bindDatagrams(endpointOf(fields), pipe));
        case "udp-check":
          return this.#checkPeer(this.#datagrams.get(fields.id as number), endpointOf(fields));
      }
    } catch (error) {
      throw NetworkError.from(error);
    }
    throw new NetworkError("invalid-argument", `unknown request ${op}`);
  }

  async close(): Promise<void> {
    for (const { conn } of this.#datagrams.values()) closeQuietly(conn);
    await Promise.all(this.#closing);
  }

  /** Within the bound on open sockets. */
  async #open<T>(act: () => Promise<T>): Promise<T> {
    const open = this.#listeners.size + this.#connections.size + this.#datagrams.size;
    if (open + this.#opening >= SOCKETS_MAX) {
      throw new NetworkError("new-socket-limit", `${SOCKETS_MAX} sockets are open`);
    }
    this.#opening++;
    try {
      return await act();
    } finally {
      this.#opening--;
    }
  }

  #require(refusal: Refusal | undefined): void {
    if (!refusal) return;
    this.init.refused?.(refusal);
    throw new NetworkError("access-denied", refusal.message);
  }

  async #lookup(text: unknown, signal: AbortSignal): Promise<string[]> {
    const { policy, resolver } = this.init;
    const name = typeof text === "string" ? normalizeName(text) : undefined;
    if (name === undefined) throw new NetworkError("invalid-argument");
    this.#require(policy.refusalOfLookup(name));
    const found = await resolver(name, signal);
    const allowed = policy.lookedUp(name, found);
    if (allowed.length > 0) return allowed.map(formatIp);
    const [first] = found;
    const message = `${name} leads to ${formatIp(first!)}, a ${
      kindOfAddress(first!)
    } address that it may not`;
    this.#require({ code: "prohibited", message });
    throw new NetworkError("access-denied");
  }

  // ---- TCP ----

  async #connect(
    { ip, port }: { ip: IpAddress; port: number },
    { keepAlive }: Record<string, unknown>,
    pipe: Pipe,
  ): Promise<Endpoints> {
    this.#require(this.init.policy.refusalOfSocket("tcp", ip, port));
    const own = new AbortController();
    const abort = () => own.abort(new NetworkError("aborted"));
    pipe.signal.addEventListener("abort", abort, { once: true });
    if (pipe.signal.aborted) abort();
    try {
      const hostname = formatIp(ip);
      const conn = await (this.init.connect ?? connectTcp)(hostname, port, own.signal);
      return this.#carry(conn, pipe, keepAlive === true);
    } finally {
      pipe.signal.removeEventListener("abort", abort);
    }
  }

  async #bind({ ip, port }: { ip: IpAddress; port: number }, pipe: Pipe): Promise<Endpoints> {
    const { policy, proxied } = this.init;
    this.#require(policy.refusalOfListen("tcp", ip, port));
    const id = this.#nextId++;
    if (proxied?.port === port) {
      const isTaken = [...this.#listeners.values()].some(({ listener }) => listener === proxied);
      if (isTaken) throw new NetworkError("address-in-use");
      const local = { address: formatIp(ip), port };
      this.#listeners.set(id, { listener: proxied, local });
      whenAborted(pipe.signal, () => this.#listeners.delete(id));
      return { id, local };
    }
    const listener = Deno.listen({ hostname: formatIp(ip), port });
    const local = endpoint(listener.addr);
    this.#listeners.set(id, { listener, local });
    whenAborted(pipe.signal, () => {
      this.#listeners.delete(id);
      closeQuietly(listener);
    });
    return { id, local };
  }

  /** One accept is under way at a time: nothing is taken from the system that nobody asked for. */
  async #accept(id: unknown, pipe: Pipe): Promise<Endpoints> {
    const bound = this.#listeners.get(id as number);
    if (!bound) throw new NetworkError("invalid-argument");
    const { listener } = bound;
    if (listener instanceof ProxiedListener) {
      await listener.accept(pipe);
      const id = this.#nextId++;
      return { id, local: bound.local, remote: { ...bound.local, port: PROXY_PORT } };
    }
    for (;;) {
      const conn = await listener.accept();
      if (pipe.signal.aborted) {
        conn.close();
        throw new NetworkError("aborted");
      }
      // A socket of the guest is of one family, as in WASI; Deno's of IPv6 takes both.
      if (/^::ffff:.*\./i.test(conn.remoteAddr.hostname)) conn.close();
      else return { ...this.#carry(conn, pipe, false), local: withPort(conn, bound.local) };
    }
  }

  /** Lets bytes flow between a connection and its pipe, until both ways are done or it is dropped. */
  #carry(conn: Deno.TcpConn, pipe: Pipe, keepAlive: boolean): Endpoints {
    const id = this.#nextId++;
    conn.setNoDelay(true); // the guest's writes come joined
    if (keepAlive) conn.setKeepAlive(true);
    const endpoints = { id, local: endpoint(conn.localAddr), remote: endpoint(conn.remoteAddr) };
    this.#connections.set(id, conn);
    const dropped = Promise.withResolvers<void>();
    whenAborted(pipe.signal, dropped.resolve);
    const sent = send(conn, pipe);
    receive(conn, pipe);
    const closing = dropped.promise.then(async () => {
      let timer: number | undefined;
      const late = new Promise<void>((resolve) => timer = setTimeout(resolve, LINGER_MS));
      await Promise.race([sent, late]);
      clearTimeout(timer);
      this.#connections.delete(id);
      closeQuietly(conn);
    });
    this.#closing.add(closing);
    closing.then(() => this.#closing.delete(closing));
    return endpoints;
  }

  // ---- UDP ----

  async #bindDatagrams(
    { ip, port }: { ip: IpAddress; port: number },
    pipe: Pipe,
  ): Promise<Endpoints> {
    const { policy } = this.init;
    const refusal = policy.refusalOfListen("udp", ip, port);
    const isServer = refusal === undefined;
    // Whoever only sends is bound to some port, too.
    if (!(port === 0 && policy.reaches("udp"))) this.#require(refusal);
    const conn = Deno.listenDatagram({ transport: "udp", hostname: formatIp(ip), port });
    const id = this.#nextId++;
    const socket: UdpSocket = { conn, isServer, senders: new Set() };
    this.#datagrams.set(id, socket);
    // Ends when it is dropped and everything that was written is out.
    this.#sendDatagrams(socket, pipe).then(() => {
      this.#datagrams.delete(id);
      closeQuietly(conn);
    });
    this.#receiveDatagrams(socket, pipe);
    return { id, local: endpoint(conn.addr as Deno.NetAddr) };
  }

  #checkPeer(socket: UdpSocket | undefined, { ip, port }: { ip: IpAddress; port: number }): void {
    if (socket?.senders.has(`${formatIp(ip)} ${port}`)) return;
    this.#require(this.init.policy.refusalOfSocket("udp", ip, port));
  }

  async #sendDatagrams({ conn, senders }: UdpSocket, pipe: Pipe): Promise<void> {
    for (let chunk = await pipe.read(); chunk; chunk = await pipe.read()) {
      const datagram = unpackDatagram(chunk);
      if (!datagram) continue;
      const { address, port, payload } = datagram;
      const hostname = formatIp(address);
      const allowed = senders.has(`${hostname} ${port}`) ||
        !this.init.policy.refusalOfSocket("udp", address, port);
      if (!allowed) continue;
      try {
        await conn.send(payload, { transport: "udp", hostname, port });
      } catch {
        // Lost, as datagrams may be.
      }
    }
  }

  async #receiveDatagrams({ conn, isServer, senders }: UdpSocket, pipe: Pipe): Promise<void> {
    const buffer = new Uint8Array(DATAGRAM_BYTES_MAX);
    let failures = 0;
    while (!pipe.signal.aborted && failures < 16) {
      try {
        const [payload, from] = await conn.receive(buffer);
        const { hostname, port } = from as Deno.NetAddr;
        const address = parseIp(hostname);
        if (!address || isMapped(address)) continue;
        if (isServer) remember(senders, `${formatIp(address)} ${port}`);
        else if (this.init.policy.refusalOfSocket("udp", address, port)) continue;
        if (!await pipe.write(packDatagram({ address, port, payload }))) return;
        failures = 0;
      } catch {
        failures++; // what a peer answered to an earlier datagram, or the end
      }
    }
  }
}

function remember(senders: Set<string>, sender: string): void {
  senders.delete(sender); // to the end
  senders.add(sender);
  if (senders.size > SENDERS_MAX) senders.delete(senders.values().next().value!);
}

function isMapped(ip: IpAddress): boolean {
  return ip.length === 16 && ip[10] === 0xff && ip[11] === 0xff &&
    ip.subarray(0, 10).every((byte) => byte === 0);
}

function endpoint({ hostname, port }: Deno.NetAddr): Endpoint {
  const ip = parseIp(hostname);
  return { address: ip ? formatIp(ip) : hostname, port };
}

/** Where a connection came in, with the port that the guest knows. */
function withPort(conn: Deno.TcpConn, bound: Endpoint): Endpoint {
  return { ...endpoint(conn.localAddr), port: bound.port };
}

/** Throws `invalid-argument` for what is no address and port. */
function endpointOf({ address, port }: Record<string, unknown>) {
  const ip = typeof address === "string" ? parseIp(address) : undefined;
  if (!ip || typeof port !== "number" || !Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new NetworkError("invalid-argument");
  }
  return { ip, port };
}

function whenAborted(signal: AbortSignal, act: () => void): void {
  if (signal.aborted) act();
  else signal.addEventListener("abort", act, { once: true });
}

function closeQuietly(what: { close(): void }): void {
  try {
    what.close();
  } catch { /* it is closed */ }
}

/** From the guest to the peer; resolves when everything that was written is out, or cannot be. */
async function send(conn: Deno.TcpConn, pipe: Pipe): Promise<void> {
  try {
    for (let chunk = await pipe.read(); chunk; chunk = await pipe.read()) {
      for (let at = 0; at < chunk.length;) at += await conn.write(chunk.subarray(at));
    }
    await conn.closeWrite();
  } catch {
    pipe.stopReading();
  }
}

/** From the peer to the guest. */
async function receive(conn: Deno.TcpConn, pipe: Pipe): Promise<void> {
  const buffer = new Uint8Array(READ_BYTES);
  try {
    for (;;) {
      const length = await conn.read(buffer);
      if (length === null) return pipe.end();
      if (!await pipe.write(buffer.slice(0, length))) return;
    }
  } catch (error) {
    pipe.fail(NetworkError.from(error).reason);
  }
}
