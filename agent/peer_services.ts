/**
 * What nodes of a realm do for one another beside the control log: blobs, and requests to replicas.
 *
 * @module
 */
import type { BlobProgress, Fault } from "./artifact/blob_download.ts";
import { BlobServer } from "./artifact/blob_server.ts";
import { type FetchOptions, PeerBlobs } from "./artifact/peer_blobs.ts";
import { LateNetwork } from "./late_network.ts";
import type { BlobPieces, Blobs, Clock, Network } from "./kernel/ports.ts";
import { PeerRequests } from "./proxy/peer_requests.ts";
import { type PeerReplicas, PeerUpstreams } from "./proxy/peer_upstream.ts";
import type { Elsewhere, Upstream } from "./proxy/upstream.ts";
import type { PeerCore } from "./realm/peering/peer_core.ts";

/** What is known of other nodes. */
export type PeerKnowledge = Pick<PeerCore, "isApproved" | "isLive" | "healthOf">;

/** What a node has of the others; see {@link PeerServices}. */
export interface NodePeers {
  /** See {@link PeerBlobs.fetch}. */
  fetch(digest: string, options?: FetchOptions): Promise<void>;
  /** See {@link PeerBlobs.fetchWhenever}. */
  fetchWhenever(digest: string, options?: FetchOptions): Promise<void>;
  /** The replicas of a component on other nodes. */
  elsewhere(component: string): Elsewhere;
}

/** What {@link PeerServices} are made with. */
export interface PeerServicesInit {
  readonly blobs: Blobs & BlobPieces;
  readonly clock: Clock;
  readonly known: PeerKnowledge;
  /** Who takes requests from other nodes; see {@link PeerRequests}. */
  readonly upstreamOf: (component: string) => Upstream | undefined;
  /** A peer gave wrong bytes, or was too slow. */
  readonly fault?: (peer: string, fault: Fault, reason: string) => void;
  readonly progress?: (progress: BlobProgress) => void;
}

/** Reports of other nodes are looked through again after so long. */
const REPORTS_MS = 250;

/**
 * See the module. Nobody is asked before {@link PeerServices.join}. Who may open streams is for the
 * network's gate.
 */
export class PeerServices implements NodePeers {
  readonly #network = new LateNetwork();
  readonly #blobs: PeerBlobs;
  readonly #blobServer: BlobServer;
  readonly #upstreams: PeerUpstreams;
  readonly #requests: PeerRequests;
  /** Approved peers that are connected, as was last seen. */
  #met: ReadonlySet<string> = new Set();
  #replicas: ReadonlyMap<string, readonly PeerReplicas[]> = new Map();
  #replicasAtMs = -Infinity;

  constructor(readonly init: PeerServicesInit) {
    const { blobs, clock, known, fault, progress, upstreamOf } = init;
    const network = this.#network;
    this.#blobs = new PeerBlobs({
      network,
      blobs,
      clock,
      mayAsk: (peer) => known.isApproved(peer),
      ...(fault ? { fault } : {}),
      ...(progress ? { progress } : {}),
    });
    this.#blobServer = new BlobServer({ network, blobs, clock });
    this.#upstreams = new PeerUpstreams({
      network,
      replicasOf: (component) => this.#reported().get(component) ?? [],
    });
    this.#requests = new PeerRequests({ network, upstreamOf });
  }

  /** Asks and answers the nodes of a network from now on; once. */
  join(network: Network): void {
    this.#network.join(network);
  }

  /** What is known of other nodes changed: who was approved meanwhile may have what is waited for. */
  changed(): void {
    const peers = this.#network.connections().map(({ peer }) => peer);
    const met = new Set(peers.filter((peer) => this.init.known.isApproved(peer)));
    for (const peer of met) if (!this.#met.has(peer)) this.#blobs.offer(peer);
    this.#met = met;
  }

  fetch(digest: string, options?: FetchOptions): Promise<void> {
    return this.#blobs.fetch(digest, options);
  }

  fetchWhenever(digest: string, options?: FetchOptions): Promise<void> {
    return this.#blobs.fetchWhenever(digest, options);
  }

  elsewhere(component: string): Elsewhere {
    return this.#upstreams.of(component);
  }

  /** Ends what is under way. */
  close(): void {
    this.#requests.close();
    this.#upstreams.close();
    this.#blobServer.close();
    this.#blobs.close();
  }

  /** By component, the nodes that are connected and say that they run it. */
  #reported(): ReadonlyMap<string, readonly PeerReplicas[]> {
    const { clock, known } = this.init;
    const nowMs = clock.monotonicMs();
    if (nowMs - this.#replicasAtMs < REPORTS_MS) return this.#replicas;
    const found = new Map<string, PeerReplicas[]>();
    for (const { peer } of this.#network.connections()) {
      if (!known.isApproved(peer) || !known.isLive(peer)) continue;
      for (const { component, running } of known.healthOf(peer)?.record.replicas ?? []) {
        if (running < 1) continue;
        const there = found.get(component);
        if (there) there.push({ peer, running });
        else found.set(component, [{ peer, running }]);
      }
    }
    this.#replicas = found;
    this.#replicasAtMs = nowMs;
    return found;
  }
}
