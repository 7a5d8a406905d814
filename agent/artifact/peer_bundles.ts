/**
 * Bundles of apps from peers: `/realm/bundle/1.0.0`.
 *
 * One stream for each bundle. The asker sends its CID, 36 bytes; the other side answers with the
 * length of the packed bundle, four bytes, big-endian, and then that; with 0 when it does not have it
 * or the asker may not, and with {@link BUSY} when it serves too many already. What came is worth
 * nothing before its CID and signature were compared, so it does not matter who sent it.
 *
 * @module
 */
import { BUNDLE_BYTES_MAX, type PackedBundle, unpackBundle, verifyBundle } from "../apps/bundle.ts";
import { CID, isCanonicalCid } from "../kernel/canonical.ts";
import { RealmError } from "../kernel/error.ts";
import type { Clock, Network, PeerStream } from "../kernel/ports.ts";
import { StreamReader } from "../kernel/stream_reader.ts";
import type { SignatureBackend } from "../kernel/verify.ts";
import { before } from "./time_limit.ts";

/** The protocol. */
export const BUNDLE_PROTOCOL = "/realm/bundle/1.0.0";

/** What a {@link PeerBundles} is made with. */
export interface PeerBundlesInit {
  readonly network: Pick<Network, "open" | "handle">;
  readonly clock: Clock;
  readonly backend: SignatureBackend;
  /** The packed bytes of a bundle that is here. Throws RealmError `not-found`. */
  readonly bytes: (id: string) => Promise<Uint8Array>;
  /** Whether a peer may have a bundle: it takes part in a topic that uses it. */
  readonly mayHave: (peer: string, id: string) => boolean;
  /** A peer that owes something has so long to send it; 20 s unless given. */
  readonly stallMs?: number;
}

/** A bundle that was fetched: verified, with its packed bytes. */
export interface FetchedBundle {
  readonly packed: PackedBundle;
  readonly bytes: Uint8Array;
}

const CID_BYTES = 36;
const LENGTH_BYTES = 4;
/** In place of a length. */
const BUSY = 0xffff_ffff;
/** Bytes that are written or read at once: what a peer claims is not believed before it comes. */
const PART_BYTES = 256 * 1024;
/** Bundles that are served at once: of one peer, and of all; each may be in memory as a whole. */
const PEER_SERVED_MAX = 1;
const SERVED_MAX = 4;
/** Bundles that one peer may ask for at once, and then in each minute. */
const ASKED_BURST = 32;
const ASKED_PER_MIN = 8;
/** Peers whose requests are counted, and that are left alone because they lied. */
const PEERS_MAX = 1024;
/** For so long. */
const LIED_MS = 600_000;

/** See the module. */
export class PeerBundles {
  readonly #init: PeerBundlesInit;
  readonly #stallMs: number;
  readonly #serving = new Map<PeerStream, string>();
  readonly #asked = new Map<string, { left: number; atMs: number }>();
  /** Until when, by peer. */
  readonly #liars = new Map<string, number>();
  readonly #unhandle: () => void;

  constructor(init: PeerBundlesInit) {
    this.#init = init;
    this.#stallMs = init.stallMs ?? 20_000;
    this.#unhandle = init.network.handle(BUNDLE_PROTOCOL, (stream) => void this.#answer(stream));
  }

  /**
   * A bundle from the first of these peers that has it. Throws RealmError `not-found` when none has,
   * and the signal's reason.
   */
  async fetch(
    id: string,
    peers: readonly string[],
    signal?: AbortSignal,
  ): Promise<FetchedBundle> {
    const reasons: string[] = [];
    for (const peer of peers) {
      signal?.throwIfAborted();
      if ((this.#liars.get(peer) ?? 0) > this.#init.clock.monotonicMs()) continue;
      try {
        return await this.#from(peer, id, signal);
      } catch (error) {
        signal?.throwIfAborted();
        if (!(error instanceof RealmError)) throw error;
        reasons.push(error.message);
      }
    }
    throw new RealmError(
      "not-found",
      `Cannot fetch bundle ${id}: ${reasons.at(-1) ?? "no peer of its topic is connected"}`,
      { hint: "Install it from a file: realm app install FILE.bundle" },
    );
  }

  /** Ends every stream and answers no more. */
  close(): void {
    this.#unhandle();
    for (const stream of this.#serving.keys()) stream.abort();
  }

  async #from(peer: string, id: string, signal: AbortSignal | undefined): Promise<FetchedBundle> {
    const stream = await this.#init.network.open(peer, BUNDLE_PROTOCOL, signal);
    const abort = () => stream.abort();
    signal?.addEventListener("abort", abort, { once: true });
    let bytes: Uint8Array;
    try {
      bytes = await this.#read(stream, id);
    } finally {
      signal?.removeEventListener("abort", abort);
      stream.abort();
    }
    try {
      const packed = unpackBundle(bytes);
      if (packed.id.toString() !== id) throw wrong(peer, id, `it sent ${packed.id}`);
      await verifyBundle(packed, this.#init.backend);
      return { packed, bytes };
    } catch (error) {
      put(this.#liars, peer, this.#init.clock.monotonicMs() + LIED_MS);
      throw error;
    }
  }

  async #read(stream: PeerStream, id: string): Promise<Uint8Array> {
    const reader = new StreamReader(stream);
    const timed = <T>(act: Promise<T>) => this.#timed(stream, act);
    await timed(stream.write(CID.parse(id).bytes));
    const head = await timed(reader.read(LENGTH_BYTES));
    if (head === null) throw away(stream.peer, "it ended the stream");
    const length = new DataView(head.buffer, head.byteOffset).getUint32(0);
    if (length === 0) throw new RealmError("not-found", `${stream.peer} does not have it`);
    if (length === BUSY) throw away(stream.peer, "it is busy");
    if (length > BUNDLE_BYTES_MAX) {
      throw wrong(stream.peer, id, `it has ${length} bytes, wanted at most ${BUNDLE_BYTES_MAX}`);
    }
    const parts: Uint8Array[] = [];
    for (let at = 0; at < length;) {
      const part = await timed(reader.read(Math.min(PART_BYTES, length - at)));
      if (part === null) throw away(stream.peer, `it ended after ${at} of ${length} bytes`);
      parts.push(part);
      at += part.length;
    }
    const bytes = new Uint8Array(length);
    let at = 0;
    for (const part of parts) {
      bytes.set(part, at);
      at += part.length;
    }
    return bytes;
  }

  async #answer(stream: PeerStream): Promise<void> {
    const { peer } = stream;
    const ofPeer = [...this.#serving.values()].filter((each) => each === peer).length;
    if (ofPeer > PEER_SERVED_MAX || !this.#mayAsk(peer)) return stream.abort();
    const isBusy = ofPeer === PEER_SERVED_MAX || this.#serving.size >= SERVED_MAX;
    this.#serving.set(stream, peer);
    try {
      await this.#serve(stream, isBusy);
    } catch {
      stream.abort(); // the peer left, or was too slow
    } finally {
      this.#serving.delete(stream);
    }
  }

  async #serve(stream: PeerStream, isBusy: boolean): Promise<void> {
    const timed = <T>(act: Promise<T>) => this.#timed(stream, act);
    const asked = await timed(new StreamReader(stream).read(CID_BYTES));
    if (asked === null) return stream.abort();
    const bytes = isBusy ? undefined : await this.#bytes(stream.peer, asked);
    const head = new Uint8Array(LENGTH_BYTES);
    new DataView(head.buffer).setUint32(0, isBusy ? BUSY : bytes?.length ?? 0);
    await timed(stream.write(head));
    for (let at = 0; bytes !== undefined && at < bytes.length; at += PART_BYTES) {
      await timed(stream.write(bytes.subarray(at, at + PART_BYTES)));
    }
    await timed(stream.end());
  }

  async #bytes(peer: string, asked: Uint8Array): Promise<Uint8Array | undefined> {
    try {
      const cid = CID.decode(asked);
      if (!isCanonicalCid(cid) || !this.#init.mayHave(peer, cid.toString())) return undefined;
      return await this.#init.bytes(cid.toString());
    } catch {
      return undefined; // it is no CID, or not here
    }
  }

  #timed<T>(stream: PeerStream, act: Promise<T>): Promise<T> {
    return before(this.#init.clock, this.#stallMs, () => stream.abort(), act);
  }

  /** Counts a request of a peer; false when there were too many. */
  #mayAsk(peer: string): boolean {
    const nowMs = this.#init.clock.monotonicMs();
    const { left, atMs } = this.#asked.get(peer) ?? { left: ASKED_BURST, atMs: nowMs };
    const now = Math.min(ASKED_BURST, left + (nowMs - atMs) / 60_000 * ASKED_PER_MIN) - 1;
    put(this.#asked, peer, { left: Math.max(0, now), atMs: nowMs });
    return now >= 0;
  }
}

/** Notes something of a peer; of too many the oldest is forgotten. */
function put<T>(peers: Map<string, T>, peer: string, value: T): void {
  peers.delete(peer);
  peers.set(peer, value);
  if (peers.size > PEERS_MAX) peers.delete(peers.keys().next().value!);
}

function away(peer: string, why: string): RealmError {
  return new RealmError("unreachable", `Cannot have a bundle of ${peer}: ${why}`);
}

function wrong(peer: string, id: string, why: string): RealmError {
  return new RealmError("corrupt", `Cannot take bundle ${id} of ${peer}: ${why}`);
}
