/**
 * A protocol by which peers ask one another for something: one stream for each thing that is asked for.
 *
 * The asker writes what it wants and reads the answer. Who serves is asked by whoever may open such
 * streams, so what that costs is bounded: streams at once, of one peer and of all, and for each peer
 * requests in a minute. What came is the asker's to check; a peer whose answer was not what was asked
 * for is left alone for a while. One that ends early, is too slow, or has what only another version can
 * read, did nothing wrong.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import type { Clock, Network, PeerStream } from "../kernel/ports.ts";
import { StreamReader } from "../kernel/stream_reader.ts";
import { before } from "./time_limit.ts";

/** What {@link AskedStreams} are made with. */
export interface AskedStreamsInit {
  readonly network: Pick<Network, "open" | "handle">;
  readonly protocol: string;
  readonly clock: Clock;
  /** A peer that owes something has so long to send it. */
  readonly stallMs: number;
  /** Answers a request; `isBusy` where others are served already, and it may only say so. */
  readonly serve: (asked: Exchange, isBusy: boolean) => Promise<void>;
}

/** One stream, at either end. Everything ends with it where the other side is too slow. */
export interface Exchange {
  readonly peer: string;
  /** Exactly so many bytes; null where the stream ends. Throws RealmError `unreachable` if it breaks. */
  read(length: number): Promise<Uint8Array | null>;
  write(bytes: Uint8Array): Promise<void>;
}

/** Bytes that are written or read at once: what a peer claims is not believed before it comes. */
const PART_BYTES = 256 * 1024;
/** What is served at once: to one peer, and to all; each may be in memory as a whole. */
const PEER_SERVED_MAX = 1;
const SERVED_MAX = 4;
/** What one peer may ask for at once, and then in each minute. */
const ASKED_BURST = 32;
const ASKED_PER_MIN = 8;
/** Peers whose requests are counted, and that are left alone because they lied. */
const PEERS_MAX = 1024;
/** For so long. */
const LIED_MS = 600_000;
/** Peers of which it is told why each did not give something. */
const TOLD_MAX = 3;
/** Answers that honest peers give. */
const HONEST = new Set(["not-found", "unreachable", "refused", "unsupported"]);

/** See the module. */
export class AskedStreams {
  readonly #init: AskedStreamsInit;
  readonly #serving = new Map<PeerStream, string>();
  readonly #asked = new Map<string, { left: number; atMs: number }>();
  /** Until when, by peer. */
  readonly #liars = new Map<string, number>();
  readonly #unhandle: () => void;

  constructor(init: AskedStreamsInit) {
    this.#init = init;
    this.#unhandle = init.network.handle(init.protocol, (stream) => void this.#answer(stream));
  }

  /**
   * What the first of these peers answers that has it: `act` writes and reads, and throws a RealmError
   * where the peer does not give it. An error of `corrupt` or the like says that it lied. Returns the
   * reasons where nobody gave it, in one text; throws the signal's.
   */
  async first<T>(
    peers: readonly string[],
    act: (exchange: Exchange) => Promise<T>,
    signal?: AbortSignal,
  ): Promise<{ readonly answer: T } | { readonly why: string | undefined }> {
    const failures: RealmError[] = [];
    for (const peer of peers) {
      signal?.throwIfAborted();
      if ((this.#liars.get(peer) ?? 0) > this.#init.clock.monotonicMs()) {
        failures.push(
          new RealmError("refused", `${peer} is not asked: it sent something else before`),
        );
        continue;
      }
      try {
        return { answer: await this.#ask(peer, act, signal) };
      } catch (error) {
        signal?.throwIfAborted();
        if (!(error instanceof RealmError)) throw error;
        if (!HONEST.has(error.code)) {
          put(this.#liars, peer, this.#init.clock.monotonicMs() + LIED_MS);
        }
        failures.push(error);
      }
    }
    return { why: whyNobody(failures) };
  }

  /** Ends every stream that is served, and answers no more. */
  close(): void {
    this.#unhandle();
    for (const stream of this.#serving.keys()) stream.abort();
  }

  async #ask<T>(
    peer: string,
    act: (exchange: Exchange) => Promise<T>,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    const stream = await this.#init.network.open(peer, this.#init.protocol, signal);
    const abort = () => stream.abort();
    signal?.addEventListener("abort", abort, { once: true });
    try {
      return await act(this.#exchange(stream));
    } finally {
      signal?.removeEventListener("abort", abort);
      stream.abort();
    }
  }

  async #answer(stream: PeerStream): Promise<void> {
    const { peer } = stream;
    const ofPeer = [...this.#serving.values()].filter((each) => each === peer).length;
    if (ofPeer > PEER_SERVED_MAX || !this.#mayAsk(peer)) return stream.abort();
    const isBusy = ofPeer === PEER_SERVED_MAX || this.#serving.size >= SERVED_MAX;
    this.#serving.set(stream, peer);
    try {
      await this.#init.serve(this.#exchange(stream), isBusy);
      await this.#timed(stream, stream.end());
    } catch {
      stream.abort(); // the peer left, or was too slow
    } finally {
      this.#serving.delete(stream);
    }
  }

  #exchange(stream: PeerStream): Exchange {
    const reader = new StreamReader(stream);
    return {
      peer: stream.peer,
      read: async (length) => {
        const parts: Uint8Array[] = [];
        for (let at = 0; at < length;) {
          const wanted = Math.min(PART_BYTES, length - at);
          const part = await this.#timed(stream, reader.read(wanted));
          if (part === null) return null;
          if (wanted === length) return part;
          parts.push(part);
          at += part.length;
        }
        return joined(parts, length);
      },
      write: async (bytes) => {
        for (let at = 0; at < bytes.length; at += PART_BYTES) {
          await this.#timed(stream, stream.write(bytes.subarray(at, at + PART_BYTES)));
        }
      },
    };
  }

  /** Networks fail in their own ways, and a stream that ends in the middle of something is no lie. */
  async #timed<T>(stream: PeerStream, act: Promise<T>): Promise<T> {
    const { clock, stallMs } = this.#init;
    let isLate = false;
    const expired = () => {
      isLate = true;
      stream.abort();
    };
    try {
      return await before(clock, stallMs, expired, act);
    } catch (cause) {
      if (isLate) throw away(stream.peer, `nothing came for ${stallMs / 1000} s`);
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new RealmError(
        "unreachable",
        `Cannot go on with the stream of ${stream.peer}: ${why}`,
        { cause },
      );
    }
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

/** Why nobody gave something: of many peers those that do not have it are counted. */
function whyNobody(failures: readonly RealmError[]): string | undefined {
  const lacking = failures.filter(({ code }) => code === "not-found");
  const others = failures.filter(({ code }) => code !== "not-found").map(({ message }) => message);
  const more = others.length - TOLD_MAX;
  const parts = [
    ...lacking.length > 1 ? [`${lacking.length} peers do not have it`] : [],
    ...lacking.length === 1 ? [lacking[0]!.message] : [],
    ...others.slice(0, TOLD_MAX),
    ...more > 0 ? [`and ${more} more do not give it`] : [],
  ];
  return parts.length === 0 ? undefined : parts.join("; ");
}

function away(peer: string, why: string): RealmError {
  return new RealmError("unreachable", `Cannot have what ${peer} was asked for: ${why}`);
}

function joined(parts: readonly Uint8Array[], length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Notes something of a peer; of too many the oldest is forgotten. */
function put<T>(peers: Map<string, T>, peer: string, value: T): void {
  peers.delete(peer);
  peers.set(peer, value);
  if (peers.size > PEERS_MAX) peers.delete(peers.keys().next().value!);
}

const LENGTH_BYTES = 4;
/** In place of a length: it serves too many already. */
const BUSY = 0xffff_ffff;

/** Writes the length of what comes, and that; of nothing a length of 0. */
export async function writeParcel(
  exchange: Exchange,
  bytes: Uint8Array | undefined,
  isBusy = false,
): Promise<void> {
  const head = new Uint8Array(LENGTH_BYTES);
  new DataView(head.buffer).setUint32(0, isBusy ? BUSY : bytes?.length ?? 0);
  // In one piece where it is small: each that is written is encrypted, framed and read by itself.
  const body = isBusy || bytes === undefined ? new Uint8Array() : bytes;
  const first = body.subarray(0, PART_BYTES - LENGTH_BYTES);
  await exchange.write(joined([head, first], LENGTH_BYTES + first.length));
  await exchange.write(body.subarray(first.length));
}

/**
 * Inverse of {@link writeParcel}. Throws RealmError `not-found` for nothing, `unreachable` where the
 * peer is busy or ends early, `corrupt` for more than `lengthMax`.
 */
export async function readParcel(exchange: Exchange, lengthMax: number): Promise<Uint8Array> {
  const { peer } = exchange;
  const head = await exchange.read(LENGTH_BYTES);
  if (head === null) throw away(peer, "it ended the stream");
  const length = new DataView(head.buffer, head.byteOffset).getUint32(0);
  if (length === 0) throw new RealmError("not-found", `${peer} does not have it`);
  if (length === BUSY) throw away(peer, "it is busy");
  if (length > lengthMax) {
    throw new RealmError(
      "corrupt",
      `Cannot take what ${peer} sends: ${length} bytes, wanted at most ${lengthMax}`,
    );
  }
  const bytes = await exchange.read(length);
  if (bytes === null) throw away(peer, `it ended before ${length} bytes`);
  return bytes;
}
