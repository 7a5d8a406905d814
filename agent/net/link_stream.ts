/**
 * Frames over a stream of bytes: each follows its length, four bytes, big-endian.
 *
 * What is sent waits in a bounded queue; what comes is handed over one frame at a time, and a
 * length that is out of bounds ends the stream before anything of it is kept.
 *
 * @module
 */
import type { PeerStream } from "../kernel/ports.ts";
import { FRAME_BYTES_MAX, HELLO_BYTES_MAX } from "../kernel/peering/fields.ts";
import { Slices } from "./slices.ts";

/** Bytes that wait to be sent; with more than these there is no room. */
const LINK_QUEUE_BYTES = 1024 * 1024;
/** What {@link LinkStream.finish} waits for at most. */
const LINK_FINISH_MS = 2_000;
const LENGTH_BYTES = 4;

/** What a {@link LinkStream} tells. */
export interface LinkEvents {
  /** The next one is told when what this returns has resolved, where it returns anything. */
  frame(bytes: Uint8Array): Promise<void> | void;
  /** There is room to send again. */
  room(): void;
  /** The stream is over, and nothing more is told. Not told after {@link LinkStream.close}. */
  closed(reason: string): void;
}

/** See the module. */
export class LinkStream {
  readonly #stream: PeerStream;
  readonly #events: LinkEvents;
  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #isFull = false;
  #isWriting = false;
  #isClosed = false;
  /** Nothing more is sent or told; what was sent before goes out. */
  #finish: number | undefined;

  constructor(
    stream: PeerStream,
    events: LinkEvents,
    readonly firstBytesMax: number = HELLO_BYTES_MAX,
  ) {
    this.#stream = stream;
    this.#events = events;
    this.#read().then(
      () => "it ended",
      (error) => error instanceof Error ? error.message : "it broke",
    )
      .then((reason) => this.#end(reason));
  }

  /** Sends a frame; false when the next one has to wait for room. */
  send(frame: Uint8Array): boolean {
    if (this.#isClosed || this.#finish !== undefined) return true; // it is told, or was asked for
    const length = new Uint8Array(LENGTH_BYTES);
    new DataView(length.buffer).setUint32(0, frame.length);
    this.#queue.push(length, frame);
    this.#queuedBytes += LENGTH_BYTES + frame.length;
    if (!this.#isWriting) void this.#write();
    this.#isFull ||= this.#queuedBytes > LINK_QUEUE_BYTES;
    return !this.#isFull;
  }

  /** Breaks the stream; a frame that was sent just before may be lost. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#queue = [];
    clearTimeout(this.#finish);
    this.#stream.abort();
  }

  /**
   * Sends what waits, and ends the stream when the other side has, or does not for a while. Nothing is
   * told any more.
   */
  finish(): void {
    if (this.#isClosed || this.#finish !== undefined) return;
    this.#finish = setTimeout(() => this.close(), LINK_FINISH_MS);
    if (!this.#isWriting) void this.#write();
  }

  #end(reason: string): void {
    if (this.#isClosed) return;
    this.close();
    if (this.#finish === undefined) this.#events.closed(reason);
  }

  async #write(): Promise<void> {
    this.#isWriting = true;
    try {
      while (this.#queue.length > 0) {
        const batch = join(this.#queue);
        this.#queue = [];
        await this.#stream.write(batch);
        this.#queuedBytes -= batch.length;
        if (this.#isFull && this.#queuedBytes <= LINK_QUEUE_BYTES / 2) {
          this.#isFull = false;
          if (!this.#isClosed && this.#finish === undefined) this.#events.room();
        }
      }
      if (this.#finish !== undefined) await this.#stream.end();
    } catch (error) {
      this.#end(error instanceof Error ? error.message : "it broke");
    } finally {
      this.#isWriting = false;
    }
  }

  async #read(): Promise<void> {
    const parser = new FrameParser(this.firstBytesMax);
    const slices = new Slices();
    while (!this.#isClosed) {
      const chunk = await this.#stream.read();
      if (chunk === null) return;
      for (const frame of parser.take(chunk)) {
        if (this.#isClosed) return;
        if (this.#finish !== undefined) continue;
        const room = slices.work(() => this.#events.frame(frame));
        if (room !== undefined) await room;
        const pause = slices.pause();
        if (pause !== undefined) await pause;
      }
    }
  }
}

/** Cuts a stream of bytes into frames. The first one may be no longer than `firstBytesMax`. */
export class FrameParser {
  readonly #head = new Uint8Array(LENGTH_BYTES);
  #headLength = 0;
  #body: Uint8Array | undefined;
  #bodyLength = 0;
  #bytesMax: number;

  constructor(firstBytesMax: number = HELLO_BYTES_MAX) {
    this.#bytesMax = firstBytesMax;
  }

  /** The frames that end in this chunk. Throws Error for a length that is out of bounds. */
  *take(chunk: Uint8Array): Generator<Uint8Array, void, undefined> {
    let at = 0;
    while (at < chunk.length) {
      if (this.#body === undefined) {
        this.#head[this.#headLength++] = chunk[at++]!;
        if (this.#headLength < LENGTH_BYTES) continue;
        this.#begin(new DataView(this.#head.buffer).getUint32(0));
      }
      const body = this.#body!;
      const part = chunk.subarray(at, at + body.length - this.#bodyLength);
      body.set(part, this.#bodyLength);
      this.#bodyLength += part.length;
      at += part.length;
      if (this.#bodyLength < body.length) return;
      this.#body = undefined;
      yield body;
    }
  }

  #begin(length: number): void {
    if (length === 0 || length > this.#bytesMax) {
      throw new RangeError(`a frame of ${length} bytes, wanted 1 to ${this.#bytesMax}`);
    }
    this.#bytesMax = FRAME_BYTES_MAX;
    this.#headLength = 0;
    this.#bodyLength = 0;
    this.#body = new Uint8Array(length);
  }
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
