/**
 * Blobs from other nodes: by digest, from all peers that have them.
 *
 * A blob that is asked for twice is fetched once. Few are fetched at a time. Peers that lied or
 * stalled are told of, and left alone for a while.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import type { BlobPieces, Blobs, Clock, Network } from "../kernel/ports.ts";
import { BlobDownload, type BlobProgress, type Fault } from "./blob_download.ts";
import { BLOB_BYTES_MAX } from "./blob_wire.ts";

/** What a {@link PeerBlobs} is made with. */
export interface PeerBlobsInit {
  readonly network: Pick<Network, "open" | "connections" | "watch">;
  readonly blobs: Pick<Blobs, "has"> & BlobPieces;
  readonly clock: Clock;
  /** Whether a peer may learn what this node wants: whether it is approved. */
  readonly mayAsk: (peer: string) => boolean;
  /** A peer broke the rules of the protocol, or was too slow. */
  readonly fault?: (peer: string, fault: Fault, reason: string) => void;
  readonly progress?: (progress: BlobProgress) => void;
  /** A download is over, for which it took so long since its turn came. */
  readonly fetched?: (outcome: FetchOutcome, ms: number) => void;
  /** {@link BLOB_BYTES_MAX} unless given. */
  readonly bytesMax?: number;
  /** A peer that owes something has so long to send it; 20 s unless given. */
  readonly stallMs?: number;
  /** A chunk is asked of a second peer after so long; 2 s unless given. */
  readonly hedgeMs?: number;
}

/** How a download ended: `not-found` where nobody has the blob. */
export type FetchOutcome = "ok" | "not-found" | "failed";

/** How {@link PeerBlobs.fetch} goes about it. */
export interface FetchOptions {
  /** Rejects with its reason; the download ends when nobody wants it any more. */
  readonly signal?: AbortSignal;
  /** Called now and then while it waits for the next try, with why the last one failed. */
  readonly waiting?: (error: RealmError) => void;
}

/** Downloads at once; more wait. */
const DOWNLOADS_MAX = 2;
const RETRY_MS_MIN = 1_000;
const RETRY_MS_MAX = 60_000;
/** Peers that come together are asked together. */
const GATHER_MS = 100;
/** Peers at fault are not asked for so long: doubled with each fault, up to an hour. */
const AVOIDED_MS: Readonly<Record<Fault, number>> = { lied: 600_000, stalled: 10_000 };
const AVOIDED_MS_MAX = 3_600_000;
const AVOIDED_PEERS_MAX = 1_000;

interface Job {
  readonly done: Promise<void>;
  readonly stop: AbortController;
  wanted: number;
}

/** See the module. */
export class PeerBlobs {
  readonly #jobs = new Map<string, Job>();
  readonly #downloads = new Set<BlobDownload>();
  /** Those who wait for one of the {@link DOWNLOADS_MAX}. */
  readonly #queue = new Set<() => void>();
  #running = 0;
  readonly #avoided = new Map<string, { readonly untilMs: number; readonly ms: number }>();
  readonly #unwatch: () => void;
  /** Resolved when a peer came, for who waits to try again. */
  #came = Promise.withResolvers<void>();
  readonly #closed = new AbortController();

  constructor(readonly init: PeerBlobsInit) {
    this.#unwatch = init.network.watch({
      connected: ({ peer }) => this.offer(peer),
      disconnected: () => {},
    });
  }

  /** A peer may have something now: it is connected and was approved, or has it by now. */
  offer(peer: string): void {
    if (!this.#isCandidate(peer)) return;
    for (const download of this.#downloads) download.offer(peer);
    this.#came.resolve();
    this.#came = Promise.withResolvers();
  }

  /**
   * Asks every peer once. Resolves when the blob is stored here; at once when it is. Throws
   * RealmError `not-found` when no peer has it, and what {@link BlobDownload.run} throws.
   */
  async fetch(digest: string, { signal }: FetchOptions = {}): Promise<void> {
    signal?.throwIfAborted();
    if (await this.init.blobs.has(digest)) return;
    let job = this.#jobs.get(digest);
    if (!job) {
      const stop = new AbortController();
      const over = AbortSignal.any([stop.signal, this.#closed.signal]);
      job = { done: this.#download(digest, over), stop, wanted: 0 };
      this.#jobs.set(digest, job);
      job.done.catch(() => {}).finally(() => this.#jobs.delete(digest));
    }
    job.wanted++;
    const { promise: aborted, reject } = Promise.withResolvers<never>();
    const leave = () => reject(signal!.reason);
    signal?.addEventListener("abort", leave, { once: true });
    try {
      await Promise.race([job.done, aborted]);
    } finally {
      signal?.removeEventListener("abort", leave);
      if (--job.wanted === 0) job.stop.abort(new DOMException("Nobody wants it", "AbortError"));
    }
  }

  /**
   * As {@link fetch}, again and again until the blob is here: after 1 s, then up to a minute later,
   * and when a peer comes. Throws the signal's reason only.
   */
  async fetchWhenever(digest: string, options: FetchOptions = {}): Promise<void> {
    const signal = options.signal
      ? AbortSignal.any([options.signal, this.#closed.signal])
      : this.#closed.signal;
    for (let waitMs = RETRY_MS_MIN;; waitMs = Math.min(2 * waitMs, RETRY_MS_MAX)) {
      try {
        return await this.fetch(digest, { signal });
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof RealmError)) throw error;
        options.waiting?.(error);
      }
      const over = new AbortController();
      const sleep = this.init.clock.sleep(waitMs, AbortSignal.any([signal, over.signal]));
      try {
        await Promise.race([sleep, this.#came.promise]);
      } finally {
        sleep.catch(() => {});
        over.abort();
      }
      await this.init.clock.sleep(GATHER_MS, signal);
    }
  }

  /** Ends every download; what came so far is kept. Resolves when nothing is written any more. */
  async close(): Promise<void> {
    this.#unwatch();
    this.#closed.abort(new DOMException("The node closes", "AbortError"));
    await Promise.allSettled([...this.#jobs.values()].map(({ done }) => done));
  }

  async #download(digest: string, signal: AbortSignal): Promise<void> {
    const { network, blobs, clock, progress = () => {} } = this.init;
    await this.#turn(signal);
    try {
      const download = new BlobDownload({
        digest,
        network,
        blobs,
        clock,
        progress,
        fault: (peer, fault, reason) => this.#fault(peer, fault, reason),
        bytesMax: this.init.bytesMax ?? BLOB_BYTES_MAX,
        stallMs: this.init.stallMs ?? 20_000,
        hedgeMs: this.init.hedgeMs ?? 2_000,
      });
      const peers = network.connections().map(({ peer }) => peer);
      // In any order: so that not all nodes ask the same one first.
      for (let i = peers.length - 1; i > 0; i--) {
        const j = Math.floor(Math.random() * (i + 1));
        [peers[i], peers[j]] = [peers[j]!, peers[i]!];
      }
      for (const peer of peers) if (this.#isCandidate(peer)) download.offer(peer);
      const cancel = () => download.cancel(signal.reason);
      this.#downloads.add(download);
      signal.addEventListener("abort", cancel, { once: true });
      const startMs = clock.monotonicMs();
      let outcome: FetchOutcome = "failed";
      try {
        await download.run();
        outcome = "ok";
      } catch (error) {
        if (error instanceof RealmError && error.code === "not-found") outcome = "not-found";
        throw error;
      } finally {
        this.init.fetched?.(outcome, clock.monotonicMs() - startMs);
        signal.removeEventListener("abort", cancel);
        this.#downloads.delete(download);
      }
    } finally {
      this.#running--;
      this.#nextTurn();
    }
  }

  /** Waits until one more download may run. */
  async #turn(signal: AbortSignal): Promise<void> {
    while (this.#running >= DOWNLOADS_MAX) {
      await new Promise<void>((resolve) => {
        const go = () => {
          this.#queue.delete(go);
          signal.removeEventListener("abort", go);
          resolve();
        };
        this.#queue.add(go);
        signal.addEventListener("abort", go, { once: true });
      });
      if (signal.aborted) {
        this.#nextTurn(); // this one's, perhaps
        throw signal.reason;
      }
    }
    this.#running++;
  }

  #nextTurn(): void {
    if (this.#running < DOWNLOADS_MAX) this.#queue.values().next().value?.();
  }

  #isCandidate(peer: string): boolean {
    if (!this.init.mayAsk(peer)) return false;
    const avoided = this.#avoided.get(peer);
    return avoided === undefined || avoided.untilMs <= this.init.clock.monotonicMs();
  }

  #fault(peer: string, fault: Fault, reason: string): void {
    const before = this.#avoided.get(peer)?.ms ?? 0;
    const ms = Math.min(AVOIDED_MS_MAX, Math.max(AVOIDED_MS[fault], 2 * before));
    this.#avoided.delete(peer);
    this.#avoided.set(peer, { untilMs: this.init.clock.monotonicMs() + ms, ms });
    if (this.#avoided.size > AVOIDED_PEERS_MAX) {
      this.#avoided.delete(this.#avoided.keys().next().value!);
    }
    this.init.fault?.(peer, fault, reason);
  }
}
