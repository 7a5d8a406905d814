/**
 * Gets one blob from several peers at once; see `blob_wire.ts` and `chunk_plan.ts`.
 *
 * Each peer has one stream with a few chunks asked for ahead. A chunk is proven when it comes and
 * written in its place, with the state before it behind the blob's end: so what is on the disk
 * proves itself after a crash just as a peer's chunks do. A peer that sends what is not proven, or
 * sends nothing in time, is dropped and told of; its chunks are asked of others.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import type { BlobPieces, Clock, Network, PartialBlob, PeerStream } from "../kernel/ports.ts";
import {
  CHUNK_BYTES,
  chunkCount,
  chunkLength,
  isChunk,
  STATE_BYTES,
} from "../kernel/sha256_chain.ts";
import { StreamReader } from "../kernel/stream_reader.ts";
import {
  ABSENT,
  ANSWER_BYTES,
  BLOBS_PROTOCOL,
  BUSY,
  CHUNK_HEAD_BYTES,
  decodeAnswer,
  encodeAsk,
  PRESENT,
} from "./blob_wire.ts";
import { ChunkPlan } from "./chunk_plan.ts";
import { before } from "./time_limit.ts";

/** How far a blob is. */
export interface BlobProgress {
  readonly digest: string;
  /** Bytes of the whole. */
  readonly size: number;
  /** Proven and written, from earlier tries too. */
  readonly received: number;
  /** Of these, those of the chunk that came now. */
  readonly chunkBytes: number;
  /** Peers that give it now. */
  readonly peers: number;
}

/** What a peer did that it may not. */
export type Fault =
  /** It sent what is not the blob, or not what the protocol says. */
  | "lied"
  /** It sent nothing for too long. */
  | "stalled";

/** What a {@link BlobDownload} is made with. */
export interface BlobDownloadInit {
  readonly digest: string;
  readonly network: Pick<Network, "open">;
  readonly blobs: BlobPieces;
  readonly clock: Clock;
  readonly fault: (peer: string, fault: Fault, reason: string) => void;
  readonly progress: (progress: BlobProgress) => void;
  /** Larger ones are not taken. */
  readonly bytesMax: number;
  /** A peer that owes a chunk, or an answer, and sends none for so long has stalled. */
  readonly stallMs: number;
  /** See {@link ChunkPlan}. */
  readonly hedgeMs: number;
}

/** Peers that are asked at once. */
export const BLOB_PEERS_MAX = 4;
/** Chunks asked of one peer ahead. */
const AHEAD_MAX = 4;
/** Chunks asked for and held at once: 8 MiB. */
const WINDOW_CHUNKS = 32;
/** A peer that is busy is asked again after so long, so many times. */
const BUSY_MS = 500;
const BUSY_MAX = 20;

const IS_BUSY = "is busy";

/** See the module. */
export class BlobDownload {
  readonly #done = Promise.withResolvers<void>();
  readonly #stop = new AbortController();
  /** Peers to ask, and those that were: each is asked once, but for busy ones. */
  readonly #waiting: string[] = [];
  readonly #known = new Set<string>();
  readonly #sessions = new Map<string, PeerStream | undefined>();
  /** By the size that peers claim; one as soon as a chunk is proven. */
  readonly #plans = new Map<number, ChunkPlan>();
  /** What proves the chunk at the front. */
  #next: Uint8Array;
  #partial: PartialBlob | undefined;
  #isProving = false;
  #isReady = false;
  #wake = Promise.withResolvers<void>();
  /** What came of the peers that did not help, and what those did that are not asked again. */
  readonly #outcomes = new Map<string, string>();
  readonly #blamed = new Map<string, string>();

  constructor(readonly init: BlobDownloadInit) {
    this.#next = Uint8Array.fromHex(init.digest);
    this.#done.promise.catch(() => {});
  }

  /** One more peer to ask. */
  offer(peer: string): void {
    if (this.#known.has(peer)) return;
    this.#known.add(peer);
    this.#waiting.push(peer);
    if (this.#isReady) this.#fill();
  }

  /**
   * Resolves when the blob is stored. Throws RealmError `not-found` when no peer that was offered
   * has it (any more), `limit-exceeded` when it is too large, and what the disk throws. What came
   * until then is kept for the next time.
   */
  async run(): Promise<void> {
    try {
      await this.#resume();
      this.#isReady = true;
      this.#fill();
      await this.#done.promise;
    } finally {
      this.#stop.abort();
      this.#wake.resolve();
      for (const stream of this.#sessions.values()) stream?.abort();
      this.#partial?.close();
    }
  }

  /** Ends it; `run` throws the reason. */
  cancel(reason: unknown): void {
    this.#done.reject(reason);
  }

  /** Takes over what an earlier try wrote, as far as it proves itself. */
  async #resume(): Promise<void> {
    const { blobs, digest } = this.init;
    const partial = await blobs.begun(digest);
    if (!partial) return;
    this.#partial = partial;
    const { size } = partial;
    const count = chunkCount(size);
    let proven = 0;
    for (let index = count - 1; index >= 0; index--) {
      const state = await partial.read(stateOffset(size, index), STATE_BYTES);
      const bytes = await partial.read(index * CHUNK_BYTES, chunkLength(size, index));
      if (!isChunk({ size, index, state, bytes, next: this.#next })) break;
      this.#next = state;
      proven++;
      if (this.#stop.signal.aborted) return;
    }
    if (proven === 0) { // without a proven chunk its size is anybody's word
      this.#partial = undefined;
      return await partial.delete();
    }
    const plan = this.#plan(size, proven);
    if (plan.isComplete) await this.#finish();
  }

  #plan(size: number, proven: number): ChunkPlan {
    const { hedgeMs } = this.init;
    const plan = new ChunkPlan({ size, windowChunks: WINDOW_CHUNKS, hedgeMs, proven });
    this.#plans.set(size, plan);
    return plan;
  }

  /** Asks as many peers as may be at once; ends when there is none left. */
  #fill(): void {
    if (this.#stop.signal.aborted) return;
    while (this.#sessions.size < BLOB_PEERS_MAX && this.#waiting.length > 0) {
      const peer = this.#waiting.shift()!;
      this.#sessions.set(peer, undefined);
      void this.#session(peer);
    }
    if (this.#sessions.size > 0 || this.#isProving) return;
    const tried = [...this.#outcomes].map(([peer, what]) => `${peer} ${what}`).join(", ");
    this.#done.reject(
      new RealmError(
        "not-found",
        `Cannot fetch blob ${this.init.digest} from peers: ${tried || "none is connected"}`,
        { hint: "Run realm push or realm apply where its bytes are" },
      ),
    );
  }

  async #session(peer: string): Promise<void> {
    const { clock } = this.init;
    let outcome = "";
    try {
      for (let i = 0; i < BUSY_MAX; i++) {
        outcome = await this.#ask(peer);
        if (outcome !== IS_BUSY) break;
        await clock.sleep(BUSY_MS, this.#stop.signal);
      }
    } catch (error) {
      outcome = `left (${error instanceof Error ? error.message : String(error)})`;
    }
    this.#sessions.delete(peer);
    for (const plan of this.#plans.values()) plan.left(peer);
    if (this.#stop.signal.aborted) return;
    // Who is to be blamed is not asked again; anybody else when it has come back.
    if (!this.#blamed.has(peer)) this.#known.delete(peer);
    this.#outcomes.set(peer, this.#blamed.get(peer) ?? outcome);
    this.#wakeAll();
    this.#fill();
  }

  /** Gets chunks of one peer until there is nothing left to get of it; says what came of it. */
  async #ask(peer: string): Promise<string> {
    const { network, clock, digest, bytesMax, stallMs } = this.init;
    const stream = await network.open(peer, BLOBS_PROTOCOL, this.#stop.signal);
    if (this.#stop.signal.aborted) {
      stream.abort();
      return "was not needed";
    }
    this.#sessions.set(peer, stream);
    const reader = new StreamReader(stream);
    let isLate = false;
    const inTime = <T>(act: Promise<T>) =>
      before(clock, stallMs, () => {
        isLate = true;
        stream.abort();
      }, act);
    const blame = (fault: Fault, reason: string) => {
      this.#blame(peer, fault, reason);
      return reason;
    };
    try {
      await inTime(stream.write(Uint8Array.fromHex(digest)));
      const bytes = await inTime(reader.read(ANSWER_BYTES));
      const answer = bytes && decodeAnswer(bytes);
      if (bytes === null) return "ended without an answer";
      if (!answer) return blame("lied", "answered what is no answer");
      if (answer.status === BUSY) return IS_BUSY;
      if (answer.status === ABSENT) return "has not got it";
      const { size } = answer;
      if (size > bytesMax) {
        return `says that it has ${size} bytes, wanted at most ${bytesMax}`;
      }
      if (this.#partial === undefined && !this.#plans.has(size)) this.#plan(size, 0);
      const asked: number[] = [];
      for (;;) {
        const plan = this.#plans.get(size);
        if (!plan) return blame("lied", `claimed ${size} bytes, which it has not`);
        if (plan.isComplete || this.#stop.signal.aborted || this.#blamed.has(peer)) break;
        while (asked.length < AHEAD_MAX) {
          const index = plan.next(peer, clock.monotonicMs());
          if (index === undefined) break;
          asked.push(index);
          await inTime(stream.write(encodeAsk(index)));
        }
        if (asked.length === 0) {
          await this.#change();
          continue;
        }
        const index = asked[0]!;
        const length = chunkLength(size, index);
        const status = await inTime(reader.read(1));
        if (status?.[0] === ABSENT) return "has it no more";
        if (status !== null && status[0] !== PRESENT) return blame("lied", "sent what is no chunk");
        const reply = status && await inTime(reader.read(CHUNK_HEAD_BYTES - 1 + length));
        if (reply === null) return "ended before its chunks";
        asked.shift();
        plan.arrived(index, {
          peer,
          state: reply.subarray(0, STATE_BYTES),
          bytes: reply.subarray(STATE_BYTES),
        });
        await this.#prove();
      }
      return "gave what it has";
    } catch (error) {
      if (isLate) return blame("stalled", `sent nothing for ${stallMs} ms`);
      throw error;
    } finally {
      stream.abort(); // also where the other end has ended: nothing more is wanted of it
    }
  }

  /** Proves and writes what has come, in turn. */
  async #prove(): Promise<void> {
    if (this.#isProving) return;
    this.#isProving = true;
    try {
      for (let plan; (plan = this.#ready()) !== undefined;) {
        const { peer, state, bytes } = plan.arrival!;
        const { size, front: index } = plan;
        if (!isChunk({ size, index, state, bytes, next: this.#next })) {
          plan.refuted();
          this.#blame(peer, "lied", `sent wrong bytes for chunk ${index}`);
          continue;
        }
        await this.#write(size, index, state, bytes);
        this.#next = state;
        plan.proven();
        const received = size - index * CHUNK_BYTES;
        const { digest, progress } = this.init;
        const chunkBytes = bytes.length;
        progress({ digest, size, received, chunkBytes, peers: this.#sessions.size });
        this.#wakeAll();
        if (plan.isComplete) await this.#finish();
      }
    } catch (error) {
      this.#done.reject(error);
    } finally {
      this.#isProving = false;
    }
    this.#fill();
  }

  /** A plan whose next chunk has come. */
  #ready(): ChunkPlan | undefined {
    if (this.#stop.signal.aborted) return undefined;
    return this.#plans.values().find((plan) => plan.arrival !== undefined);
  }

  /** Ends what is had with a peer that broke the rules. */
  #blame(peer: string, fault: Fault, reason: string): void {
    if (this.#blamed.has(peer)) return;
    this.#blamed.set(peer, reason);
    this.init.fault(peer, fault, reason);
    for (const plan of this.#plans.values()) plan.left(peer);
    this.#sessions.get(peer)?.abort();
    this.#wakeAll();
  }

  async #write(size: number, index: number, state: Uint8Array, bytes: Uint8Array): Promise<void> {
    if (this.#partial === undefined) {
      // The last chunk proved the size; what claims another is found out in its session.
      for (const other of this.#plans.keys()) if (other !== size) this.#plans.delete(other);
      this.#partial = await this.init.blobs.begin(this.init.digest, size);
    }
    await this.#partial.write(index * CHUNK_BYTES, bytes);
    await this.#partial.write(stateOffset(size, index), state);
  }

  async #finish(): Promise<void> {
    await this.#partial!.finish();
    this.#done.resolve();
    this.#stop.abort();
  }

  /** Resolves when there may be something to ask for. */
  async #change(): Promise<void> {
    const { clock, hedgeMs } = this.init;
    const over = new AbortController();
    const late = clock.sleep(hedgeMs, over.signal).catch(() => {});
    await Promise.race([this.#wake.promise, late]);
    over.abort();
  }

  #wakeAll(): void {
    this.#wake.resolve();
    this.#wake = Promise.withResolvers<void>();
  }
}

/** Where the state before a chunk is noted: behind the blob, from its last chunk on. */
function stateOffset(size: number, index: number): number {
  return size + (chunkCount(size) - 1 - index) * STATE_BYTES;
}
