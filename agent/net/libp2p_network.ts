/**
 * The {@link Network} over libp2p: TCP, Noise, Yamux, identify; and by way of relays.
 *
 * A connection counts once the other end has proven its key, both gates allow it and the other end
 * has said who it is (identify), so that a peer that is `connected` answers. Of several connections
 * with one peer, all work and the best one is used: a direct one before a relayed one, then the one
 * that the smaller key dialled, which both ends find without asking; the others end when nothing
 * uses them any more.
 *
 * A stream starts with one byte from the end that answers it: libp2p picks a protocol without
 * knowing who asks, so only then does the one that opened it know that it may.
 *
 * @module
 */
import { createLibp2p, type Libp2p } from "libp2p";
import { generateKeyPairFromSeed } from "@libp2p/crypto/keys";
import { type Identify, identify } from "@libp2p/identify";
import type { Connection, ConnectionGater, PeerId, Stream } from "@libp2p/interface";
import { noise } from "@libp2p/noise";
import { ping } from "@libp2p/ping";
import { multiaddr } from "@multiformats/multiaddr";
import { RealmError } from "../kernel/error.ts";
import { formatPublicKey } from "../kernel/key.ts";
import { keyOfPeerId, splitAddress } from "../kernel/peer_id.ts";
import type {
  Network,
  NetworkGate,
  NetworkWatcher,
  PeerConnection,
  PeerStream,
} from "../kernel/ports.ts";
import { boundedYamux } from "./bounded_yamux.ts";
import { NETWORK_BOUNDS, type NetworkBounds } from "./bounds.ts";
import { brokenStream, closedNetwork, deniedDial, notConnected, refusedStream } from "./failure.ts";
import { Libp2pStream } from "./libp2p_stream.ts";
import { NOISE_CRYPTO } from "./noise_crypto.ts";
import { QUIET_LOGGER } from "./quiet_logger.ts";
import { parseTcpAddress } from "./tcp_address.ts";
import { tcpTransport } from "./tcp_transport.ts";

/** What a network is made with. */
export interface Libp2pOptions {
  /** The 32-byte seed of the node's key, which is its peer id too. */
  readonly secretKey: Uint8Array;
  /** Multiaddrs to listen at; none for a node that only dials. */
  readonly listen: readonly string[];
  readonly gate: NetworkGate;
  /** What the agent calls itself to peers: `realm/0.3.0`. */
  readonly program?: string;
  readonly bounds?: Partial<NetworkBounds>;
}

/** A key that may open this is a member; see {@link NetworkGate}. */
export const MEMBERS_PROTOCOL = "/realm/kad/1.0.0";

/** What the end that answers a stream sends first. */
const WELCOME = 1;
/** How often the gate is asked again about what is there. */
const ASK_AGAIN_MS = 1000;

type Services = { identify: Identify };

/** Starts a node. Throws RealmError `failed` when it cannot listen. */
export async function startLibp2p(options: Libp2pOptions): Promise<Network> {
  const bounds = { ...NETWORK_BOUNDS, ...options.bounds };
  const privateKey = await generateKeyPairFromSeed("Ed25519", options.secretKey);
  const self = formatPublicKey(privateKey.publicKey.raw);
  const gate = new Gate(options.gate, bounds);
  let node: Libp2p<Services>;
  try {
    node = await createLibp2p<Services>({
      privateKey,
      addresses: { listen: [...options.listen] },
      logger: QUIET_LOGGER,
      nodeInfo: { name: "realm", version: "1", userAgent: options.program ?? "realm" },
      transports: [
        tcpTransport({
          inboundMax: bounds.connectionsMax,
          inboundPerAddressMax: bounds.connectionsPerAddressMax,
        }),
      ],
      connectionEncrypters: [noise({ crypto: NOISE_CRYPTO })],
      streamMuxers: [boundedYamux(bounds)],
      connectionGater: gate.hooks,
      connectionManager: {
        maxConnections: bounds.connectionsMax,
        maxIncomingPendingConnections: bounds.pendingMax,
        inboundConnectionThreshold: bounds.newPerSecondMax,
        inboundUpgradeTimeout: bounds.handshakeMs,
        inboundStreamProtocolNegotiationTimeout: bounds.handshakeMs,
        outboundStreamProtocolNegotiationTimeout: bounds.handshakeMs,
        dialTimeout: bounds.dialMs,
        addressDialTimeout: bounds.dialMs,
        // No look-ups in DNS of names that are lists of addresses, and no redialling but ours.
        resolvers: {},
        reconnectRetries: 0,
      },
      connectionMonitor: { pingInterval: bounds.pingMs, abortConnectionOnPingFailure: true },
      services: {
        // Asked by this module itself, for each connection.
        identify: identify({ runOnConnectionOpen: false, timeout: bounds.handshakeMs }),
        ping: ping(),
      } as any,
    });
  } catch (cause) {
    throw new RealmError(
      "failed",
      `Cannot start the network: ${options.listen.join(", ")}: ${reason(cause)}`,
      { hint: "Choose other addresses with --listen", cause },
    );
  }
  gate.node = node;
  return new Libp2pNetwork(self, node, options.gate, bounds);
}

/** The gate in the form that libp2p asks it. */
class Gate {
  node: Libp2p | undefined;

  constructor(readonly gate: NetworkGate, readonly bounds: NetworkBounds) {}

  readonly hooks: ConnectionGater = {
    denyDialPeer: (peer) => !this.#allows(peer),
    denyOutboundEncryptedConnection: (peer) => !this.#allows(peer),
    denyInboundEncryptedConnection: (peer) => !this.#allows(peer) || this.#isOneTooMany(peer),
    denyInboundRelayedConnection: (_, peer) => !this.#allows(peer),
  };

  #allows(peer: PeerId): boolean {
    const key = keyOf(peer);
    return key !== undefined && this.gate.mayConnect(key);
  }

  /** Strangers do not take the places of members. */
  #isOneTooMany(peer: PeerId): boolean {
    const isStranger = (id: PeerId) => !this.gate.mayOpen(keyOf(id)!, MEMBERS_PROTOCOL);
    if (!isStranger(peer)) return false;
    const inbound = this.node?.getConnections().filter((c) =>
      c.direction === "inbound" && isStranger(c.remotePeer)
    );
    return (inbound?.length ?? 0) >= this.bounds.strangersMax;
  }
}

/** Connections with one peer. */
interface Peer {
  readonly id: PeerId;
  /** Those whose other end has said who it is, in the order in which they did. */
  readonly ready: Set<Connection>;
}

class Libp2pNetwork implements Network {
  readonly #peers = new Map<string, Peer>();
  /** Connections, each with the promise that its other end says who it is. */
  readonly #arriving = new Map<Connection, Promise<void>>();
  /** Streams that others opened here. */
  readonly #answered = new Set<Libp2pStream>();
  readonly #watchers = new Set<NetworkWatcher>();
  readonly #timer: ReturnType<typeof setInterval>;
  #closing: Promise<void> | undefined;

  constructor(
    readonly self: string,
    readonly node: Libp2p<Services>,
    readonly gate: NetworkGate,
    readonly bounds: NetworkBounds,
  ) {
    node.addEventListener("connection:open", ({ detail }) => this.#meet(detail));
    node.addEventListener("connection:close", ({ detail }) => this.#part(detail));
    this.#timer = setInterval(() => this.#askAgain(), ASK_AGAIN_MS);
  }

  addresses(): readonly string[] {
    return this.#closing ? [] : this.node.getMultiaddrs().map(String);
  }

  connections(): readonly PeerConnection[] {
    return Array.from(this.#peers, ([key, peer]) => this.#describe(key, peer));
  }

  async dial(address: string, signal?: AbortSignal): Promise<string> {
    if (this.#closing) throw closedNetwork();
    const target = readAddress(address);
    signal?.throwIfAborted();
    const { key } = splitAddress(address);
    if (key === this.self) throw unreachable(address, "that is this node itself");
    if (key !== undefined && !this.gate.mayConnect(key)) throw deniedDial(address, key);
    let connection: Connection;
    try {
      connection = await this.node.dial(target, {
        signal: timeLimit(this.bounds.dialMs, signal),
      });
    } catch (cause) {
      signal?.throwIfAborted();
      if (this.#closing) throw closedNetwork();
      if (isDenial(cause)) throw deniedDial(address, key ?? "the key that answered");
      throw unreachable(address, reason(cause), cause);
    }
    try {
      await this.#meet(connection);
    } catch (cause) {
      throw unreachable(address, "the other end ended the connection at once", cause);
    }
    return keyOf(connection.remotePeer)!;
  }

  disconnect(peer: string): void {
    for (const connection of this.node.getConnections()) {
      if (keyOf(connection.remotePeer) === peer) {
        connection.abort(new Error("Disconnected by this node"));
        this.#part(connection);
      }
    }
  }

  async open(peer: string, protocol: string, signal?: AbortSignal): Promise<PeerStream> {
    signal?.throwIfAborted();
    const known = this.#peers.get(peer);
    if (known === undefined) throw notConnected(peer);
    const limit = timeLimit(this.bounds.handshakeMs, signal);
    let raw: Stream;
    try {
      raw = await this.#best(peer, known).newStream([protocol], {
        signal: limit,
        runOnLimitedConnection: true,
        maxOutboundStreams: this.bounds.streamsMax,
      });
    } catch (cause) {
      signal?.throwIfAborted();
      if ((cause as Error)?.name === "UnsupportedProtocolError") {
        throw refusedStream(peer, protocol, cause);
      }
      throw this.#peers.has(peer) && isReset(cause)
        ? refusedStream(peer, protocol, cause)
        : brokenStream(cause);
    }
    const stream = new Libp2pStream(raw, peer, protocol);
    const abandon = () => stream.abort();
    limit.addEventListener("abort", abandon);
    try {
      await stream.welcome(WELCOME);
    } catch (cause) {
      signal?.throwIfAborted();
      throw this.#peers.has(peer) && !limit.aborted
        ? refusedStream(peer, protocol, cause)
        : brokenStream(cause);
    } finally {
      limit.removeEventListener("abort", abandon);
    }
    return stream;
  }

  handle(protocol: string, answer: (stream: PeerStream) => void): () => void {
    const handler = async (raw: Stream, connection: Connection) => {
      const key = keyOf(connection.remotePeer);
      if (key === undefined || !this.gate.mayOpen(key, protocol)) {
        raw.abort(new Error("Not allowed"));
        return;
      }
      const stream = new Libp2pStream(raw, key, protocol);
      this.#answered.add(stream);
      void stream.done.then(() => this.#answered.delete(stream));
      await stream.write(Uint8Array.of(WELCOME));
      answer(stream);
    };
    // The handler is there when this returns; the promises are of what is written down about it.
    void this.node.handle(protocol, handler, {
      maxInboundStreams: this.bounds.streamsPerProtocolMax,
      maxOutboundStreams: this.bounds.streamsMax,
      runOnLimitedConnection: true,
    });
    return () => void this.node.unhandle(protocol);
  }

  watch(watcher: NetworkWatcher): () => void {
    this.#watchers.add(watcher);
    return () => void this.#watchers.delete(watcher);
  }

  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  async #close(): Promise<void> {
    clearInterval(this.#timer);
    await this.node.stop();
    for (const connection of this.node.getConnections()) connection.abort(new Error("Closed"));
  }

  /** Waits until the other end of a connection has said who it is; then it counts. */
  #meet(connection: Connection): Promise<void> {
    let met = this.#arriving.get(connection);
    if (met === undefined) {
      met = this.#introduce(connection);
      this.#arriving.set(connection, met);
      met.catch((error) => connection.abort(error));
    }
    return met;
  }

  async #introduce(connection: Connection): Promise<void> {
    const key = keyOf(connection.remotePeer);
    if (key === undefined) throw new Error("Its key is of another kind than Ed25519");
    await this.node.services.identify.identify(connection);
    if (connection.status !== "open") throw new Error("It was closed");
    const peer = this.#peers.get(key);
    if (peer !== undefined) {
      peer.ready.add(connection);
      this.#tidy(key, peer);
      return;
    }
    const met: Peer = { id: connection.remotePeer, ready: new Set([connection]) };
    this.#peers.set(key, met);
    const described = this.#describe(key, met);
    for (const watcher of [...this.#watchers]) watcher.connected(described);
  }

  #part(connection: Connection): void {
    this.#arriving.delete(connection);
    const key = keyOf(connection.remotePeer);
    const peer = key === undefined ? undefined : this.#peers.get(key);
    if (key === undefined || peer === undefined || !peer.ready.delete(connection)) return;
    if (peer.ready.size > 0) return;
    this.#peers.delete(key);
    for (const watcher of [...this.#watchers]) watcher.disconnected(key);
    // What libp2p remembers of peers is kept in memory for ever; what is worth it is kept elsewhere.
    void this.node.peerStore.delete(peer.id).catch(() => {});
  }

  /** Ends what the gate no longer allows, and connections that nothing uses beside the best. */
  #askAgain(): void {
    for (const [key, peer] of [...this.#peers]) {
      if (!this.gate.mayConnect(key)) this.disconnect(key);
      else this.#tidy(key, peer);
    }
    for (const stream of [...this.#answered]) {
      if (!this.gate.mayOpen(stream.peer, stream.protocol)) stream.abort();
    }
  }

  #tidy(key: string, peer: Peer): void {
    if (peer.ready.size < 2) return;
    const best = this.#best(key, peer);
    for (const connection of [...peer.ready]) {
      const isIdle = connection.streams.every(({ protocol }) => IN_PASSING.has(protocol));
      // Only the end that dialled closes, and not before the other end has seen the better one.
      const isOld = Date.now() - connection.timeline.open > this.bounds.handshakeMs;
      if (connection !== best && isIdle && isOld && connection.direction === "outbound") {
        void connection.close().catch((error) => connection.abort(error));
      }
    }
  }

  #best(key: string, peer: Peer): Connection {
    const rank = (connection: Connection) => {
      const dialledBySmaller = (connection.direction === "outbound") === (this.self < key);
      return (connection.status === "open" ? 0 : 4) + (isRelayed(connection) ? 2 : 0) +
        (dialledBySmaller ? 0 : 1);
    };
    // Sorting keeps the order of equals: the oldest.
    return [...peer.ready].sort((a, b) => rank(a) - rank(b))[0]!;
  }

  #describe(key: string, peer: Peer): PeerConnection {
    const best = this.#best(key, peer);
    return {
      peer: key,
      address: best.remoteAddr.toString(),
      direction: best.direction,
      relayed: isRelayed(best),
      ...(best.rtt === undefined ? {} : { latencyMs: best.rtt }),
    };
  }
}

/** Protocols whose streams come and go by themselves. */
const IN_PASSING = new Set(["", "/ipfs/ping/1.0.0", "/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0"]);

/** The key of a peer id, `undefined` for other kinds of keys than Ed25519. */
function keyOf(peer: PeerId): string | undefined {
  return peer.type === "Ed25519" ? keyOfPeerId(peer.toString()) : undefined;
}

function isRelayed(connection: Connection): boolean {
  return connection.remoteAddr.toString().includes("/p2p-circuit");
}

/** A multiaddr of a transport that there is. Throws RealmError `usage`. */
function readAddress(address: string) {
  const wrong = (why: string) =>
    new RealmError("usage", `Cannot connect to ${JSON.stringify(address.slice(0, 200))}: ${why}`, {
      hint: "Write it as /ip4/192.0.2.1/tcp/4001/p2p/12D3KooW…",
    });
  const { transport } = splitAddress(address);
  if (parseTcpAddress(transport) === undefined) throw wrong("wanted a multiaddr of TCP");
  try {
    return multiaddr(address);
  } catch {
    throw wrong("it is no multiaddr");
  }
}

function unreachable(address: string, why: string, cause?: unknown): RealmError {
  return new RealmError("unreachable", `Cannot connect to ${address}: ${why}`, { cause });
}

function timeLimit(ms: number, signal?: AbortSignal): AbortSignal {
  const limit = AbortSignal.timeout(ms);
  return signal === undefined ? limit : AbortSignal.any([limit, signal]);
}

/** The errors in an error, which libp2p wraps when it has tried several addresses. */
function* errorsIn(error: unknown): Iterable<Error> {
  if (error instanceof AggregateError) { for (const one of error.errors) yield* errorsIn(one); }
  else if (error instanceof Error) {
    yield error;
    if (error.cause !== undefined) yield* errorsIn(error.cause);
  }
}

function isDenial(error: unknown): boolean {
  return [...errorsIn(error)].some(({ name }) =>
    name === "ConnectionInterceptedError" || name === "DialDeniedError"
  );
}

function isReset(error: unknown): boolean {
  return [...errorsIn(error)].some(({ name }) => name === "StreamResetError");
}

function reason(error: unknown): string {
  return [...errorsIn(error)].at(-1)?.message ?? String(error);
}
