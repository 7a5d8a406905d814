/**
 * Gives blobs to peers that ask for them; see `blob_wire.ts`. Who may ask the network's gate says.
 *
 * Bounded for each peer: streams, bytes a second, time between requests, time that it lets a chunk
 * wait; and streams over all. One chunk is read at a time for a stream. The states before chunks
 * are made by going through the blob once, one blob at a time, and are kept within a bound.
 *
 * @module
 */
import type { BlobPieces, Clock, Network, PeerStream } from "../kernel/ports.ts";
import {
  ChainBuilder,
  CHUNK_BYTES,
  chunkCount,
  chunkLength,
  STATE_BYTES,
} from "../kernel/sha256_chain.ts";
import { StreamReader } from "../kernel/stream_reader.ts";
import {
  ABSENT,
  ASK_BYTES,
  BLOB_BYTES_MAX,
  BLOBS_PROTOCOL,
  BUSY,
  CHUNK_HEAD_BYTES,
  decodeAsk,
  DIGEST_BYTES,
  encodeAnswer,
  PRESENT,
} from "./blob_wire.ts";
import { before } from "./time_limit.ts";

/** What a {@link BlobServer} is made with. */
export interface BlobServerInit {
  readonly network: Pick<Network, "handle">;
  readonly blobs: BlobPieces;
  readonly clock: Clock;
  /** So many bytes of a blob were given away. */
  readonly sent?: (bytes: number) => void;
  /** What one peer gets at most; {@link PEER_BLOB_BYTES_PER_SECOND} unless given. */
  readonly bytesPerSecond?: number;
  /** Streams of one peer; {@link PEER_BLOB_STREAMS_MAX} unless given. */
  readonly peerStreamsMax?: number;
  /** Streams of all; {@link BLOB_STREAMS_MAX} unless given. */
  readonly streamsMax?: number;
  /** A stream without a request, or that takes nothing, ends after so long; 30 s unless given. */
  readonly idleMs?: number;
}

const PEER_BLOB_BYTES_PER_SECOND = 64 * 1024 * 1024;
const PEER_BLOB_STREAMS_MAX = 4;
const BLOB_STREAMS_MAX = 32;

/** Bytes of states that are kept, those of at least one blob: 32 for each 256 KiB of blobs. */
const CHAIN_BYTES_KEPT = 4 * 1024 * 1024;

/** Requests that are read and dropped once the answer is that there is nothing. */
const ASKED_DROPPED_MAX = 16;

interface PeerUse {
  streams: number;
  /** When all that it got would have gone out at its rate. */
  paidMs: number;
}

interface Chain {
  /** The states before the chunks of a blob; `undefined` when its bytes are not what they were. */
  readonly states: Promise<readonly Uint8Array[] | undefined>;
  /** What they take. */
  readonly bytes: number;
}

/** See the module. */
export class BlobServer {
  readonly #bytesPerSecond: number;
  readonly #peerStreamsMax: number;
  readonly #streamsMax: number;
  readonly #idleMs: number;
  readonly #peers = new Map<string, PeerUse>();
  readonly #streams = new Set<PeerStream>();
  /** The one that was used longest ago is first. */
  readonly #chains = new Map<string, Chain>();
  #chainBytes = 0;
  #building: Promise<unknown> = Promise.resolve();
  readonly #unhandle: () => void;

  constructor(readonly init: BlobServerInit) {
    this.#bytesPerSecond = init.bytesPerSecond ?? PEER_BLOB_BYTES_PER_SECOND;
    this.#peerStreamsMax = init.peerStreamsMax ?? PEER_BLOB_STREAMS_MAX;
    this.#streamsMax = init.streamsMax ?? BLOB_STREAMS_MAX;
    this.#idleMs = init.idleMs ?? 30_000;
    this.#unhandle = init.network.handle(BLOBS_PROTOCOL, (stream) => void this.#answer(stream));
  }

  /** Streams that are open. */
  get streams(): number {
    return this.#streams.size;
  }

  /** Ends every stream and answers no more. */
  close(): void {
    this.#unhandle();
    for (const stream of this.#streams) stream.abort();
  }

  async #answer(stream: PeerStream): Promise<void> {
    const use = this.#use(stream.peer);
    // As many again are told that it is too much; what goes beyond gets no answer.
    if (use.streams >= 2 * this.#peerStreamsMax) return stream.abort();
    const isBusy = use.streams >= this.#peerStreamsMax || this.#streams.size >= this.#streamsMax;
    use.streams++;
    this.#streams.add(stream);
    try {
      await this.#serve(stream, use, isBusy);
    } catch { // the peer left, was too slow, or the blob is damaged: nothing that it is owed
      stream.abort();
    } finally {
      this.#streams.delete(stream);
      use.streams--;
    }
  }

  async #serve(stream: PeerStream, use: PeerUse, isBusy: boolean): Promise<void> {
    const reader = new StreamReader(stream);
    const name = await this.#timed(stream, reader.read(DIGEST_BYTES));
    if (name === null) return stream.abort();
    const digest = name.toHex();
    const size = isBusy ? undefined : await this.init.blobs.size(digest);
    const isHere = size !== undefined && size <= BLOB_BYTES_MAX;
    const status = isBusy ? BUSY : isHere ? PRESENT : ABSENT;
    await this.#timed(stream, stream.write(encodeAnswer(status, isHere ? size : 0)));
    if (!isHere) return await this.#end(stream);
    for (;;) {
      const ask = await this.#timed(stream, reader.read(ASK_BYTES));
      if (ask === null) return await this.#end(stream);
      const index = decodeAsk(ask);
      if (index >= chunkCount(size)) return stream.abort();
      const state = (await this.#chain(digest, size))?.[index];
      const length = chunkLength(size, index);
      const reply = new Uint8Array(CHUNK_HEAD_BYTES + length);
      const bytes = state && await this.init.blobs.read(digest, index * CHUNK_BYTES, length);
      if (bytes?.length !== length) {
        await this.#timed(stream, stream.write(new Uint8Array([ABSENT])));
        return await this.#end(stream);
      }
      reply[0] = PRESENT;
      reply.set(state!, 1);
      reply.set(bytes, 1 + STATE_BYTES);
      await this.#pay(use, reply.length);
      await this.#timed(stream, stream.write(reply));
      this.init.sent?.(length);
    }
  }

  /** Ends the stream, and lets the peer take what was sent; what it asked for beyond is dropped. */
  async #end(stream: PeerStream): Promise<void> {
    await stream.end();
    for (let i = 0; i < ASKED_DROPPED_MAX; i++) {
      if (await this.#timed(stream, stream.read()) === null) return;
    }
    stream.abort();
  }

  /** Breaks the stream when the peer does not do its part in time. */
  #timed<T>(stream: PeerStream, act: Promise<T>): Promise<T> {
    return before(this.init.clock, this.#idleMs, () => stream.abort(), act);
  }

  #use(peer: string): PeerUse {
    const nowMs = this.init.clock.monotonicMs();
    for (const [other, { streams, paidMs }] of this.#peers) {
      if (streams === 0 && paidMs <= nowMs) this.#peers.delete(other);
    }
    let use = this.#peers.get(peer);
    if (!use) this.#peers.set(peer, use = { streams: 0, paidMs: nowMs });
    return use;
  }

  /** Waits while the peer is ahead of its rate by more than a second. */
  async #pay(use: PeerUse, bytes: number): Promise<void> {
    const { clock } = this.init;
    const nowMs = clock.monotonicMs();
    use.paidMs = Math.max(use.paidMs, nowMs) + bytes / this.#bytesPerSecond * 1000;
    const aheadMs = use.paidMs - nowMs - 1000;
    if (aheadMs > 0) await clock.sleep(aheadMs);
  }

  /** The states before the chunks of a blob; `undefined` when its bytes are not what they were. */
  #chain(digest: string, size: number): Chain["states"] {
    let chain = this.#chains.get(digest);
    if (!chain) {
      const states = this.#building.then(() => this.#build(digest, size));
      this.#building = states;
      chain = { states, bytes: chunkCount(size) * STATE_BYTES };
    } else this.#forget(digest);
    this.#chains.set(digest, chain);
    this.#chainBytes += chain.bytes;
    for (const oldest of this.#chains.keys()) {
      if (this.#chainBytes <= CHAIN_BYTES_KEPT || this.#chains.size === 1) break;
      this.#forget(oldest);
    }
    return chain.states;
  }

  #forget(digest: string): void {
    this.#chainBytes -= this.#chains.get(digest)?.bytes ?? 0;
    this.#chains.delete(digest);
  }

  /** Never rejects: a blob that cannot be read is one that is not here. */
  async #build(digest: string, size: number): Promise<readonly Uint8Array[] | undefined> {
    try {
      const builder = new ChainBuilder();
      for (let index = 0; index < chunkCount(size); index++) {
        const length = chunkLength(size, index);
        builder.add(await this.init.blobs.read(digest, index * CHUNK_BYTES, length));
      }
      const { states, digest: found } = builder.finish();
      if (found.toHex() === digest) return states;
    } catch { /* it was deleted meanwhile */ }
    this.#forget(digest);
    return undefined;
  }
}
