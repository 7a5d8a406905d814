/**
 * A node of libp2p as realm uses it: which transports and services, under which bounds and gate.
 *
 * TCP (`tcp_transport.ts`), Noise, Yamux, identify and ping are for everybody who may connect. What
 * is for members of the realm only: Kademlia with a protocol of our own, so that no public network
 * is ever met, relays (circuit relay v2) and hole punching (DCUtR). Nothing connects by itself:
 * there are no bootstrap nodes, and libp2p's own redialling is off.
 *
 * @module
 */
import "./local_locks.ts";
import { createLibp2p, type Libp2p } from "libp2p";
import { circuitRelayServer, circuitRelayTransport } from "@libp2p/circuit-relay-v2";
import { dcutr } from "@libp2p/dcutr";
import { generateKeyPairFromSeed } from "@libp2p/crypto/keys";
import { type Identify, identify } from "@libp2p/identify";
import type { ConnectionGater, PeerId } from "@libp2p/interface";
import { kadDHT, passthroughMapper } from "@libp2p/kad-dht";
import { noise } from "@libp2p/noise";
import { ping } from "@libp2p/ping";
import { RealmError } from "../kernel/error.ts";
import { keyOfPeerId } from "../kernel/peer_id.ts";
import type { NetworkGate } from "../kernel/ports.ts";
import { boundedYamux } from "./bounded_yamux.ts";
import { NETWORK_BOUNDS, type NetworkBounds } from "./bounds.ts";
import { isDialable, listensOnLoopback } from "./dialable.ts";
import { membersOnly } from "./members_only.ts";
import { NOISE_CRYPTO } from "./noise_crypto.ts";
import { QUIET_LOGGER } from "./quiet_logger.ts";
import { type Sockets, tcpTransport } from "./tcp_transport.ts";

/** What a network is made with. */
export interface Libp2pOptions {
  /** The 32-byte seed of the node's key, which is its peer id too. */
  readonly secretKey: Uint8Array;
  /**
   * Multiaddrs to listen at, none for a node that only dials. `/p2p-circuit`: by way of any member
   * that relays, for a node behind NAT.
   */
  readonly listen: readonly string[];
  readonly gate: NetworkGate;
  /** Keys that may open one of these are no strangers either, though no members. */
  readonly knownProtocols?: readonly string[];
  /** What the agent calls itself to peers: `realm/0.3.0`. */
  readonly program?: string;
  /** Whether this node relays between members, and answers their questions where others are. */
  readonly serveMembers?: boolean;
  /** Told once of what cannot be done and is done without. */
  readonly notice?: (text: string) => void;
  /** Told what a member that is connected says of where it is reached. */
  readonly learnt?: (peer: string, addresses: readonly string[]) => void;
  readonly bounds?: Partial<NetworkBounds>;
  /** How sockets are made, for tests. */
  readonly sockets?: Sockets;
}

/** The protocol of Kademlia; a key that may open it is a member, see {@link NetworkGate}. */
export const MEMBERS_PROTOCOL = "/realm/kad/1.0.0";

/** Members that may wait at this node for others to reach them. */
const RESERVATIONS_MAX = 64;

/** A node of libp2p with what realm asks of it. */
export type Node = Libp2p<{ identify: Identify }>;

/** Makes a node and starts it. Throws RealmError `failed` when it cannot listen. */
export async function startNode(
  options: Libp2pOptions,
): Promise<{ node: Node; asked: Set<string> }> {
  const bounds = { ...NETWORK_BOUNDS, ...options.bounds };
  const { gate } = options;
  const listen = options.listen.filter((address) => !isQuic(address));
  if (listen.length < options.listen.length) {
    options.notice?.("QUIC cannot be had in this program: listening on TCP only");
  }
  const isMember = (peer: PeerId) => {
    const key = keyOf(peer);
    return key !== undefined && gate.mayConnect(key) && gate.mayOpen(key, MEMBERS_PROTOCOL);
  };
  /** Addresses that this agent itself dials; the others are what somebody said. */
  const asked = new Set<string>();
  const serves = options.serveMembers === true;
  try {
    const node = await createLibp2p<{ identify: Identify }>({
      privateKey: await generateKeyPairFromSeed("Ed25519", options.secretKey),
      addresses: { listen: [...listen] },
      logger: QUIET_LOGGER,
      nodeInfo: { name: "realm", version: "1", userAgent: options.program ?? "realm" },
      transports: [
        tcpTransport({
          inboundMax: bounds.connectionsMax,
          inboundPerAddressMax: bounds.connectionsPerAddressMax,
          pendingPerAddressMax: bounds.pendingPerAddressMax,
          ...(options.sockets === undefined ? {} : { sockets: options.sockets }),
        }),
        membersOnly(circuitRelayTransport(), isMember),
      ],
      connectionEncrypters: [noise({ crypto: NOISE_CRYPTO })],
      streamMuxers: [boundedYamux(bounds)],
      connectionGater: gateHooks(
        gate,
        isMember,
        (address) => asked.has(address) || isDialable(address, listensOnLoopback(listen)),
      ),
      connectionManager: {
        maxConnections: bounds.connectionsMax,
        maxIncomingPendingConnections: bounds.pendingMax,
        inboundConnectionThreshold: bounds.newPerSecondMax,
        inboundUpgradeTimeout: bounds.handshakeMs,
        inboundStreamProtocolNegotiationTimeout: bounds.handshakeMs,
        outboundStreamProtocolNegotiationTimeout: bounds.handshakeMs,
        dialTimeout: bounds.dialMs,
        addressDialTimeout: bounds.dialMs,
        // No lists of addresses from DNS, and no redialling but ours.
        resolvers: {},
        reconnectRetries: 0,
      },
      connectionMonitor: { pingInterval: bounds.pingMs, abortConnectionOnPingFailure: true },
      services: {
        // The network asks it for each connection itself.
        identify: identify({ runOnConnectionOpen: false, timeout: bounds.handshakeMs }),
        ping: ping(),
        kad: membersOnly(
          kadDHT({
            protocol: MEMBERS_PROTOCOL,
            clientMode: !serves,
            peerInfoMapper: passthroughMapper,
            allowQueryWithZeroPeers: true,
          }),
          isMember,
        ),
        dcutr: membersOnly(dcutr(), isMember),
        ...(serves
          ? {
            relay: membersOnly(
              circuitRelayServer({
                reservations: { maxReservations: RESERVATIONS_MAX, applyDefaultLimit: false },
              }),
              isMember,
            ),
          }
          : {}),
      } as any,
    });
    return { node, asked };
  } catch (cause) {
    const refused = refusedAddresses(cause);
    throw new RealmError(
      "failed",
      refused.length > 0
        ? `Cannot listen for peers on ${refused.join("; ")}`
        : `Cannot start the network at ${listen.join(", ") || "no address"}: ${reason(cause)}`,
      { hint: "Choose other addresses with --listen; port 0 is any that is free", cause },
    );
  }
}

/** The gate in the form in which libp2p asks. */
function gateHooks(
  gate: NetworkGate,
  isMember: (peer: PeerId) => boolean,
  mayDial: (address: string) => boolean,
): ConnectionGater {
  const denies = (peer: PeerId) => {
    const key = keyOf(peer);
    return key === undefined || !gate.mayConnect(key);
  };
  return {
    denyDialPeer: denies,
    denyDialMultiaddr: (address) => !mayDial(address.toString()),
    denyOutboundEncryptedConnection: denies,
    denyInboundEncryptedConnection: denies,
    denyInboundRelayReservation: (peer) => !isMember(peer),
    denyOutboundRelayedConnection: (from, to) => !isMember(from) || !isMember(to),
    denyInboundRelayedConnection: (_, peer) => denies(peer),
  };
}

/** Whether a multiaddr is of QUIC, whose implementation is an addon that Deno cannot load. */
export function isQuic(address: string): boolean {
  return /\/(?:quic|quic-v1|webtransport)(?:\/|$)/.test(address);
}

/** The key of a peer id, `undefined` for other kinds of keys than Ed25519. */
export function keyOf(peer: PeerId): string | undefined {
  return peer.type === "Ed25519" ? keyOfPeerId(peer.toString()) : undefined;
}

/** The errors in an error, which libp2p wraps when it has tried several addresses. */
export function* errorsIn(error: unknown): Iterable<Error> {
  if (error instanceof AggregateError) { for (const one of error.errors) yield* errorsIn(one); }
  else if (error instanceof Error) {
    yield error;
    if (error.cause !== undefined) yield* errorsIn(error.cause);
  }
}

/**
 * `ADDRESS: WHY` of each address that cannot be listened on. libp2p has it in its message alone,
 * between lines of advice to programmers and of stack traces.
 */
function refusedAddresses(error: unknown): string[] {
  if (!(error instanceof Error) || error.name !== "UnsupportedListenAddressesError") return [];
  return [...error.message.matchAll(/^ {2}(\/\S+): (?:[A-Z]\w*: )?(.*)$/gm)]
    .map(([, address, why]) =>
      `${address}: ${
        /^No transport/.test(why!) ? "not supported, wanted /ip4/ADDRESS/tcp/PORT or the like" : why
      }`
    );
}

/** The innermost message. */
export function reason(error: unknown): string {
  return [...errorsIn(error)].at(-1)?.message ?? String(error);
}
