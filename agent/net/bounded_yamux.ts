/**
 * Yamux with bounds that `@libp2p/yamux` does not have.
 *
 * Its decoder waits for a frame of any length that a header claims (up to 4 GiB), tiny frames cost a
 * hundred times their length to keep, and frames that only cost time are not counted. Here a guard
 * reads the headers (https://github.com/hashicorp/yamux/blob/master/spec.md) before the muxer does,
 * and breaks the connection where they say what an honest end never says.
 *
 * @module
 */
import type { MessageStream, StreamMuxer, StreamMuxerFactory } from "@libp2p/interface";
import { yamux } from "@libp2p/yamux";
import type { Uint8ArrayList } from "uint8arraylist";
import type { NetworkBounds } from "./bounds.ts";

const HEADER_BYTES = 12;
const DATA = 0;
/** What a small piece costs to keep beyond its bytes, about. */
const PIECE_BYTES = 200;
/** After how much that arrived what is unread is counted again. */
const COUNT_BYTES = 1024 * 1024;
const COUNT_FRAMES = 4096;
const SMALL_FRAME_BYTES = 1024;

/** What is unread of all connections of a node together. */
export class UnreadBudget {
  readonly #ofGuards = new Map<FrameGuard, number>();

  constructor(readonly bytesMax: number) {}

  /** Takes note of what one connection has; the one to break, when all have too much together. */
  note(guard: FrameGuard, bytes: number): FrameGuard | undefined {
    this.#ofGuards.set(guard, bytes);
    let sum = 0;
    let largest: [FrameGuard, number] = [guard, bytes];
    for (const entry of this.#ofGuards) {
      sum += entry[1];
      if (entry[1] > largest[1]) largest = entry;
    }
    return sum > this.bytesMax ? largest[0] : undefined;
  }

  forget(guard: FrameGuard): void {
    this.#ofGuards.delete(guard);
  }
}

/** Reads the headers of the frames of one connection as they arrive. */
export class FrameGuard {
  readonly #header = new Uint8Array(HEADER_BYTES);
  #inHeader = 0;
  #inData = 0;
  #bytes = 0;
  #frames = 0;
  #small = 0;
  #smallSinceMs: number;
  /** Frames with data by stream, since it was last found to be read to the end. */
  #pieces = new Map<number, number>();

  constructor(
    readonly bounds: Pick<NetworkBounds, "windowBytesMax" | "smallFramesPerSecondMax">,
    readonly nowMs: () => number,
    /** Called when enough has arrived for what is unread to be counted again. */
    readonly count: () => void,
    readonly abort: (error: Error) => void,
  ) {
    this.#smallSinceMs = nowMs();
  }

  /** Throws when a frame is not to be waited for, or there are too many. */
  take(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length) {
      if (this.#inData > 0) {
        const skipped = Math.min(this.#inData, bytes.length - at);
        this.#inData -= skipped;
        at += skipped;
        continue;
      }
      this.#header[this.#inHeader++] = bytes[at++]!;
      if (this.#inHeader < HEADER_BYTES) continue;
      this.#inHeader = 0;
      this.#takeHeader();
    }
    this.#bytes += bytes.length;
    if (this.#bytes >= COUNT_BYTES || this.#frames >= COUNT_FRAMES) {
      this.#bytes = 0;
      this.#frames = 0;
      this.count();
    }
  }

  /** What it costs to keep what is unread of streams, by their ids. */
  cost(unread: ReadonlyMap<number, number>): number {
    let sum = 0;
    const pieces = new Map<number, number>();
    for (const [id, bytes] of unread) {
      if (bytes === 0) continue;
      const ofStream = Math.min(this.#pieces.get(id) ?? 0, bytes);
      pieces.set(id, ofStream);
      sum += bytes + ofStream * PIECE_BYTES;
    }
    this.#pieces = pieces;
    return sum;
  }

  #takeHeader(): void {
    const view = new DataView(this.#header.buffer);
    const isData = view.getUint8(1) === DATA;
    const stream = view.getUint32(4);
    const length = view.getUint32(8);
    this.#frames++;
    if (isData) {
      if (length > this.bounds.windowBytesMax) {
        throw new Error(`A frame of ${length} bytes is larger than any window`);
      }
      this.#inData = length;
      this.#pieces.set(stream, (this.#pieces.get(stream) ?? 0) + 1);
    }
    if (!isData || length < SMALL_FRAME_BYTES) this.#takeSmall();
  }

  #takeSmall(): void {
    if (++this.#small < this.bounds.smallFramesPerSecondMax) return;
    const now = this.nowMs();
    if (now - this.#smallSinceMs < 1000) throw new Error("Too many small frames in a second");
    this.#small = 0;
    this.#smallSinceMs = now;
  }
}

/** Makes a muxer for `createLibp2p({ streamMuxers })`. */
export function boundedYamux(bounds: NetworkBounds): () => StreamMuxerFactory {
  const budget = new UnreadBudget(bounds.unreadBytesMax);
  const make = yamux({
    maxInboundStreams: bounds.streamsMax,
    maxOutboundStreams: 2 * bounds.streamsMax,
    streamOptions: {
      maxStreamWindowSize: bounds.windowBytesMax,
      // More than a window is never unread; a stream that nobody has taken yet is none.
      maxReadBufferLength: bounds.windowBytesMax,
      maxWriteBufferLength: bounds.unsentBytesMax,
    },
  });
  return () => {
    const stock = make();
    return {
      protocol: stock.protocol,
      [Symbol.toStringTag]: "realm/yamux",
      createStreamMuxer: (connection) => guarded(connection, stock, bounds, budget),
    } as StreamMuxerFactory;
  };
}

function guarded(
  connection: MessageStream,
  stock: StreamMuxerFactory,
  bounds: NetworkBounds,
  budget: UnreadBudget,
): StreamMuxer {
  const guard = new FrameGuard(
    bounds,
    () => performance.now(),
    () => {
      const unread = new Map(muxer.streams.map((s) => [Number(s.id), s.readBufferLength]));
      budget.note(guard, guard.cost(unread))
        ?.abort(new Error("Too much was sent that nobody has read"));
    },
    (error) => connection.abort(error),
  );
  connection.maxWriteBufferLength = bounds.unsentBytesMax;
  // Before the muxer is made, so that it is asked before the muxer.
  connection.addEventListener("message", (event) => {
    try {
      for (const piece of pieces(event.data)) guard.take(piece);
    } catch (error) {
      event.stopImmediatePropagation();
      connection.abort(error as Error);
    }
  });
  connection.addEventListener("close", () => budget.forget(guard));
  const muxer = stock.createStreamMuxer(connection);
  return muxer;
}

function pieces(data: Uint8Array | Uint8ArrayList): Iterable<Uint8Array> {
  return data instanceof Uint8Array ? [data] : data;
}
