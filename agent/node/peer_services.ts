/**
 * What nodes of a realm do for one another beside the control log: blobs, and requests to replicas.
 *
 * @module
 */
import type { BlobProgress, Fault } from "../artifact/blob_download.ts";
import { BlobServer } from "../artifact/blob_server.ts";
import { type FetchOptions, type FetchOutcome, PeerBlobs } from "../artifact/peer_blobs.ts";
import { LateNetwork } from "../net/late_network.ts";
import type { BlobPieces, Blobs, Clock, Network } from "../kernel/ports.ts";
import { PeerRequests } from "../proxy/peer_requests.ts";
import { PeerUpstreams } from "../proxy/peer_upstream.ts";
import type { Elsewhere, Upstream } from "../proxy/upstream.ts";
import type { PeerCore } from "../realm/peering/peer_core.ts";
import { ReportedReplicas, type ReportedReplicasInit } from "./reported_replicas.ts";

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
  /** What the placement gives a node; see {@link ReportedReplicas}. */
  readonly given: ReportedReplicasInit["given"];
  /** Who takes requests from other nodes; see {@link PeerRequests}. */
  readonly upstreamOf: (component: string) => Upstream | undefined;
  /** A peer gave wrong bytes, or was too slow. */
  readonly fault?: (peer: string, fault: Fault, reason: string) => void;
  readonly progress?: (progress: BlobProgress) => void;
  /** See {@link PeerBlobs} and {@link BlobServer}. */
  readonly fetched?: (outcome: FetchOutcome, ms: number) => void;
  readonly sent?: (bytes: number) => void;
}

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
  readonly #reported: ReportedReplicas;

  constructor(readonly init: PeerServicesInit) {
    const { blobs, clock, known, given, fault, progress, fetched, sent, upstreamOf } = init;
    const network = this.#network;
    this.#blobs = new PeerBlobs({
      network,
      blobs,
      clock,
      mayAsk: (peer) => known.isApproved(peer),
      ...(fault ? { fault } : {}),
      ...(progress ? { progress } : {}),
      ...(fetched ? { fetched } : {}),
    });
    this.#blobServer = new BlobServer({ network, blobs, clock, ...(sent ? { sent } : {}) });
    this.#reported = new ReportedReplicas({
      clock,
      given,
      peers: () =>
        network.connections().map(({ peer }) => peer)
          .filter((peer) => known.isApproved(peer) && known.isLive(peer)),
      reportsOf: (peer) => known.healthOf(peer)?.record.replicas ?? [],
    });
    this.#upstreams = new PeerUpstreams({
      network,
      replicasOf: (component) => this.#reported.of(component),
      isExpected: (component) => this.#reported.expects(component),
    });
    this.#requests = new PeerRequests({ network, upstreamOf });
  }

  /** Asks and answers the nodes of a network from now on; once. */
  join(network: Network): void {
    this.#network.join(network);
  }

  /**
   * What is known of other nodes changed, and what they are given may change next: who was approved
   * meanwhile may have what is waited for.
   */
  changed(): void {
    this.#reported.look();
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

  /** Takes no more requests of other nodes; those under way have so long to end. */
  finish(graceMs: number): Promise<void> {
    return this.#requests.close(graceMs);
  }

  /** Ends what is under way. */
  async close(): Promise<void> {
    await this.#requests.close();
    this.#upstreams.close();
    this.#blobServer.close();
    await this.#blobs.close();
  }
}
