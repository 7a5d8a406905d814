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
import type { Connection, PeerId, Stream } from "@libp2p/interface";
import { peerIdFromString } from "@libp2p/peer-id";
import { multiaddr } from "@multiformats/multiaddr";
import { RealmError } from "../kernel/error.ts";
import { keyOfPeerId, peerIdOfKey, splitAddress } from "../kernel/peer_id.ts";
import type {
  Network,
  NetworkGate,
  NetworkWatcher,
  PeerConnection,
  PeerStream,
} from "../kernel/ports.ts";
import { NETWORK_BOUNDS, type NetworkBounds } from "./bounds.ts";
import { brokenStream, closedNetwork, deniedDial, notConnected, refusedStream } from "./failure.ts";
import {
  errorsIn,
  isQuic,
  keyOf,
  type Libp2pOptions,
  MEMBERS_PROTOCOL,
  type Node,
  reason,
  startNode,
} from "./libp2p_node.ts";
import { Libp2pStream } from "./libp2p_stream.ts";
import { parseTcpAddress, placeOf } from "./tcp_address.ts";

export type { Libp2pOptions } from "./libp2p_node.ts";

/** A network whose members know of one another. */
export interface PeerNetwork extends Network {
  /** Asks other members where a key is; multiaddrs with its peer id, none when nobody knows. */
  find(peer: string, signal?: AbortSignal): Promise<readonly string[]>;
}

/** What the end that answers a stream sends first. */
const WELCOME = 1;
/** How often the gate is asked again about what is there. */
const ASK_AGAIN_MS = 1000;
/** Of how many times one is for seeking a relay, where one is wanted. */
const RELAY_ASKS = 5;
/** How long a question where a key is may take. */
const FIND_MS = 10_000;

/** Starts a node. Throws RealmError `failed` when it cannot listen. */
export async function startLibp2p(options: Libp2pOptions): Promise<PeerNetwork> {
  const { node, asked } = await startNode(options);
  return new Libp2pNetwork(node, asked, options, { ...NETWORK_BOUNDS, ...options.bounds });
}

/** Connections with one peer. */
interface Peer {
  readonly id: PeerId;
  /** Those whose other end has said who it is, in the order in which they did. */
  readonly ready: Set<Connection>;
  /** Whether it was a member when it was last asked. */
  isMember: boolean;
}

class Libp2pNetwork implements PeerNetwork {
  readonly self: string;
  readonly #node: Node;
  readonly #asked: Set<string>;
  readonly #gate: NetworkGate;
  readonly #knownProtocols: readonly string[];
  readonly #learnt: NonNullable<Libp2pOptions["learnt"]>;
  readonly #bounds: NetworkBounds;
  readonly #peers = new Map<string, Peer>();
  /** Connections, each with the promise that its other end says who it is. */
  readonly #arriving = new Map<Connection, Promise<void>>();
  /** Streams that others opened here. */
  readonly #answered = new Set<Libp2pStream>();
  readonly #watchers = new Set<NetworkWatcher>();
  readonly #timer: ReturnType<typeof setInterval>;
  /** Whether it listens by way of a relay, which has to be found among the members. */
  readonly #wantsRelay: boolean;
  #asks = 0;
  #closing: Promise<void> | undefined;

  constructor(node: Node, asked: Set<string>, options: Libp2pOptions, bounds: NetworkBounds) {
    this.self = keyOfPeerId(node.peerId.toString());
    this.#node = node;
    this.#asked = asked;
    this.#gate = options.gate;
    this.#knownProtocols = [MEMBERS_PROTOCOL, ...options.knownProtocols ?? []];
    this.#learnt = options.learnt ?? (() => {});
    this.#bounds = bounds;
    this.#wantsRelay = options.listen.some((address) => address.includes("/p2p-circuit"));
    node.addEventListener("connection:open", ({ detail }) => {
      if (this.#isOneTooMany(detail)) return detail.abort(new Error("Too many strangers"));
      this.#meet(detail).catch(() => {}); // it is aborted then, which is told of
    });
    node.addEventListener("connection:close", ({ detail }) => this.#part(detail));
    this.#timer = setInterval(() => this.#askAgain(), ASK_AGAIN_MS);
  }

  addresses(): readonly string[] {
    return this.#closing ? [] : this.#node.getMultiaddrs().map(String);
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
    if (key !== undefined && !this.#gate.mayConnect(key)) throw deniedDial(address, key);
    let connection: Connection;
    // That of the relay too, which is dialled first.
    const written = [target.toString(), target.toString().split("/p2p-circuit")[0]!];
    for (const one of written) this.#asked.add(one);
    try {
      connection = await this.#node.dial(target, {
        signal: timeLimit(this.#bounds.dialMs, signal),
        // Else a connection by way of a relay would do.
        force: !address.includes("/p2p-circuit") && this.#isRelayedOnly(key),
      });
    } catch (cause) {
      signal?.throwIfAborted();
      if (this.#closing) throw closedNetwork();
      if (isDenial(cause)) throw deniedDial(address, key ?? "the key that answered");
      throw unreachable(address, reason(cause), cause);
    } finally {
      for (const one of written) this.#asked.delete(one);
    }
    try {
      await this.#meet(connection);
    } catch (cause) {
      throw unreachable(address, "the other end ended the connection at once", cause);
    }
    return keyOf(connection.remotePeer)!;
  }

  #isRelayedOnly(key: string | undefined): boolean {
    const peer = key === undefined ? undefined : this.#peers.get(key);
    return peer !== undefined && isRelayed(this.#best(key!, peer));
  }

  disconnect(peer: string): void {
    for (const connection of this.#node.getConnections()) {
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
    const limit = timeLimit(this.#bounds.handshakeMs, signal);
    let raw: Stream;
    try {
      raw = await this.#best(peer, known).newStream([protocol], {
        signal: limit,
        runOnLimitedConnection: true,
        maxOutboundStreams: this.#bounds.streamsMax,
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
      if (key === undefined || !this.#gate.mayOpen(key, protocol)) {
        raw.abort(new Error("Not allowed"));
        return;
      }
      const stream = new Libp2pStream(raw, key, protocol);
      this.#answered.add(stream);
      void stream.done.then(() => this.#answered.delete(stream));
      await stream.write(Uint8Array.of(WELCOME));
      answer(stream);
    };
    if (this.#node.getProtocols().includes(protocol)) {
      throw new Error(`${protocol} is answered already`);
    }
    // The handler is there when this returns; the promises are of what is written down about it.
    void this.#node.handle(protocol, handler, {
      maxInboundStreams: this.#bounds.streamsPerProtocolMax,
      maxOutboundStreams: this.#bounds.streamsMax,
      runOnLimitedConnection: true,
    }).catch(() => {});
    return () => void this.#node.unhandle(protocol).catch(() => {});
  }

  async find(peer: string, signal?: AbortSignal): Promise<readonly string[]> {
    if (this.#closing) throw closedNetwork();
    try {
      const { multiaddrs } = await this.#node.peerRouting.findPeer(
        peerIdFromString(peerIdOfKey(peer)),
        { signal: timeLimit(FIND_MS, signal) },
      );
      return withKey(multiaddrs.map(String), peer);
    } catch {
      signal?.throwIfAborted();
      return [];
    }
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
    await this.#node.stop();
    for (const connection of this.#node.getConnections()) connection.abort(new Error("Closed"));
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
    const { listenAddrs } = await this.#node.services.identify.identify(connection);
    if (connection.status !== "open") throw new Error("It was closed");
    const isMember = this.#isMember(key);
    if (isMember) this.#learnt(key, withKey(listenAddrs.map(String), key));
    const peer = this.#peers.get(key);
    if (peer !== undefined) {
      peer.ready.add(connection);
      this.#tidy(key, peer);
      return;
    }
    const met: Peer = { id: connection.remotePeer, ready: new Set([connection]), isMember };
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
    void this.#node.peerStore.delete(peer.id).catch(() => {});
  }

  /** Ends what the gate no longer allows, and connections that nothing uses beside the best. */
  #askAgain(): void {
    const seeksRelay = this.#wantsRelay && this.#asks++ % RELAY_ASKS === 0 &&
      !this.addresses().some((address) => address.includes("/p2p-circuit"));
    for (const [key, peer] of [...this.#peers]) {
      if (!this.#gate.mayConnect(key)) {
        this.disconnect(key);
        continue;
      }
      this.#tidy(key, peer);
      const wasMember = peer.isMember;
      peer.isMember = this.#isMember(key);
      // Its services for members hear of it as of one that has just come.
      if (peer.isMember && (!wasMember || seeksRelay)) void this.#admit(key, this.#best(key, peer));
    }
    for (const stream of [...this.#answered]) {
      if (!this.#gate.mayOpen(stream.peer, stream.protocol)) stream.abort();
    }
  }

  async #admit(key: string, connection: Connection): Promise<void> {
    try {
      const { listenAddrs } = await this.#node.services.identify.identify(connection);
      this.#learnt(key, withKey(listenAddrs.map(String), key));
    } catch {
      // It is gone, or will be asked when it comes back.
    }
  }

  /** Strangers do not take the places of members, nor those of one address all places of strangers. */
  #isOneTooMany({ direction, remotePeer, remoteAddr }: Connection): boolean {
    const isStranger = (peer: PeerId) =>
      !this.#knownProtocols.some((protocol) => this.#gate.mayOpen(keyOf(peer) ?? "", protocol));
    if (direction === "outbound" || !isStranger(remotePeer)) return false;
    const strangers = this.#node.getConnections()
      .filter((other) => other.direction === "inbound" && isStranger(other.remotePeer));
    const neighbours = strangers.filter((other) => isNear(other.remoteAddr, remoteAddr));
    return strangers.length > this.#bounds.strangersMax ||
      neighbours.length > this.#bounds.strangersPerAddressMax;
  }

  #isMember(key: string): boolean {
    return this.#gate.mayOpen(key, MEMBERS_PROTOCOL);
  }

  #tidy(key: string, peer: Peer): void {
    if (peer.ready.size < 2) return;
    const best = this.#best(key, peer);
    for (const connection of [...peer.ready]) {
      const isIdle = connection.streams.every(({ protocol }) => IN_PASSING.has(protocol));
      // Only the end that dialled closes, and not before the other end has seen the better one.
      const isOld = Date.now() - connection.timeline.open > this.#bounds.handshakeMs;
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

/** Whether two connections came from one address: see `placeOf()`; those of a relay are its own. */
function isNear(a: { toString(): string }, b: { toString(): string }): boolean {
  const [one, other] = [a, b].map((address) => /^\/ip[46]\/([^/]+)/.exec(address.toString())?.[1]);
  return one !== undefined && other !== undefined && placeOf(one) === placeOf(other);
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
  const [first, ...circuit] = splitAddress(address).transport.split("/p2p-circuit");
  if (isQuic(first!)) {
    throw wrong("QUIC cannot be had in this program, wanted a multiaddr of TCP");
  }
  if (parseTcpAddress(first!) === undefined || circuit.length > 1) {
    throw wrong("wanted a multiaddr of TCP");
  }
  try {
    return multiaddr(address);
  } catch {
    throw wrong("it is no multiaddr");
  }
}

/** Addresses that end in the peer id of `key`. */
function withKey(addresses: readonly string[], key: string): string[] {
  const peerId = `/p2p/${peerIdOfKey(key)}`;
  return addresses.map((address) => address.endsWith(peerId) ? address : address + peerId);
}

function unreachable(address: string, why: string, cause?: unknown): RealmError {
  return new RealmError("unreachable", `Cannot connect to ${address}: ${why}`, { cause });
}

function timeLimit(ms: number, signal?: AbortSignal): AbortSignal {
  const limit = AbortSignal.timeout(ms);
  return signal === undefined ? limit : AbortSignal.any([limit, signal]);
}

function isDenial(error: unknown): boolean {
  return [...errorsIn(error)].some(({ name }) =>
    name === "ConnectionInterceptedError" || name === "DialDeniedError"
  );
}

function isReset(error: unknown): boolean {
  return [...errorsIn(error)].some(({ name }) => name === "StreamResetError");
}
