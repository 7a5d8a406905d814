/**
 * A stream of libp2p as a {@link PeerStream}: pulled by its reader, pushed no faster than it drains.
 *
 * @module
 */
import type { Stream } from "@libp2p/interface";
import type { PeerStream } from "../kernel/ports.ts";
import { brokenStream } from "./failure.ts";

/** Bytes that are taken off the stream before somebody reads them, with what each piece costs. */
const AHEAD_BYTES = 64 * 1024;
/** What a piece costs to keep beyond its bytes, about. */
const PIECE_BYTES = 200;
/** Bytes that are handed to the stream at once. */
const WRITE_BYTES = 64 * 1024;

/** One end of a stream. */
export class Libp2pStream implements PeerStream {
  readonly #stream: Stream;
  readonly #chunks: Uint8Array[] = [];
  #bytes = 0;
  #remoteEnded = false;
  #ended = false;
  #finished = false;
  #broken: unknown;
  #changed: PromiseWithResolvers<void> | undefined;

  constructor(stream: Stream, readonly peer: string, readonly protocol: string) {
    this.#stream = stream;
    stream.addEventListener("message", ({ data }) => {
      const chunk = owned(data.subarray());
      this.#chunks.push(chunk);
      this.#bytes += chunk.length + PIECE_BYTES;
      if (this.#bytes >= AHEAD_BYTES && stream.readStatus === "readable") stream.pause();
      this.#change();
    });
    stream.addEventListener("remoteCloseWrite", () => void (this.#remoteEnded = true));
    stream.addEventListener("end", () => this.#over());
    stream.addEventListener("close", ({ error }) => {
      // What the other end had sent before its end can still be read; then comes "end".
      if (error === undefined && this.#remoteEnded) return;
      this.#broken ??= error ?? new Error("The connection was closed");
      this.#change();
    });
    for (const event of ["drain", "idle"] as const) {
      stream.addEventListener(event, () => this.#change());
    }
    this.#remoteEnded = stream.remoteWriteStatus === "closed";
    if (stream.readableEnded) this.#over();
  }

  /** Resolves when nothing can be read or written any more. */
  get done(): Promise<void> {
    if (this.#stream.status !== "open") return Promise.resolve();
    return new Promise((resolve) =>
      this.#stream.addEventListener("close", () => resolve(), { once: true })
    );
  }

  async read(): Promise<Uint8Array | null> {
    for (;;) {
      if (this.#broken !== undefined) throw brokenStream(this.#broken);
      const chunk = this.#chunks.shift();
      if (chunk !== undefined) {
        this.#bytes -= chunk.length + PIECE_BYTES;
        return chunk;
      }
      if (this.#ended) return null;
      // Gives what has come meanwhile at once, and tells the other end that there is room.
      if (this.#stream.readStatus === "paused") this.#stream.resume();
      if (this.#chunks.length === 0 && !this.#ended && this.#broken === undefined) {
        await this.#wait();
      }
    }
  }

  /** Waits for the first byte, which the end that answers sends; rejects when it is another. */
  async welcome(wanted: number): Promise<void> {
    const first = await this.read();
    if (first === null || first[0] !== wanted) throw brokenStream();
    if (first.length === 1) return;
    this.#chunks.unshift(first.subarray(1));
    this.#bytes += first.length - 1 + PIECE_BYTES;
  }

  async write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; at += WRITE_BYTES) {
      this.#checkWritable();
      try {
        this.#stream.send(bytes.slice(at, at + WRITE_BYTES));
      } catch (error) {
        throw brokenStream(error);
      }
      while (this.#stream.writableNeedsDrain && this.#stream.status === "open") {
        await this.#wait();
      }
    }
    this.#checkWritable();
  }

  async end(): Promise<void> {
    if (this.#broken !== undefined) throw brokenStream(this.#broken);
    this.#finished = true;
    try {
      await this.#stream.close();
    } catch (error) {
      throw brokenStream(error);
    }
  }

  abort(): void {
    this.#broken ??= new Error("It was aborted here");
    this.#chunks.length = 0;
    this.#stream.abort(new Error("aborted"));
    this.#change();
  }

  #checkWritable(): void {
    if (this.#broken !== undefined) throw brokenStream(this.#broken);
    if (this.#finished) throw brokenStream(new Error("It was ended here"));
    if (this.#stream.writeStatus !== "writable") throw brokenStream();
  }

  /** Everything that came was taken, and nothing more comes: its end, or it broke. */
  #over(): void {
    const { status } = this.#stream;
    if (this.#remoteEnded && status !== "aborted" && status !== "reset") this.#ended = true;
    else this.#broken ??= new Error(`The stream was ${status}`);
    this.#change();
  }

  #change(): void {
    this.#changed?.resolve();
    this.#changed = undefined;
  }

  #wait(): Promise<void> {
    this.#changed ??= Promise.withResolvers();
    return this.#changed.promise;
  }
}

/**
 * The bytes without the larger buffer that a few of them may lie in; never as a `Buffer`, whose
 * `slice()` is no copy.
 */
function owned({ buffer, byteOffset, byteLength }: Uint8Array): Uint8Array {
  const chunk = new Uint8Array(buffer, byteOffset, byteLength);
  return byteLength * 4 < buffer.byteLength ? chunk.slice() : chunk;
}
