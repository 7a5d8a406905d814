/**
 * Reads a {@link PeerStream} by numbers of bytes; its chunks have borders that mean nothing.
 *
 * @module
 */
import { RealmError } from "./error.ts";
import type { PeerStream } from "./ports.ts";

const NOTHING = new Uint8Array();

/** Keeps what came and was not asked for yet: less than one chunk of the stream. */
export class StreamReader {
  #rest: Uint8Array = NOTHING;

  constructor(readonly stream: Pick<PeerStream, "read" | "peer" | "protocol">) {}

  /**
   * The next `length` bytes, `null` when the stream has ended before them. They may share memory
   * with others that were read, and are the caller's.
   *
   * Throws RealmError `corrupt` when it ends in between, and what the stream throws.
   */
  async read(length: number): Promise<Uint8Array | null> {
    if (this.#rest.length >= length) return this.#cut(length);
    const first = this.#rest.length > 0 ? this.#rest : await this.#next();
    if (first === null) return null;
    if (first.length >= length) {
      this.#rest = first;
      return this.#cut(length);
    }
    this.#rest = NOTHING;
    const bytes = new Uint8Array(length);
    bytes.set(first);
    for (let at = first.length; at < length;) {
      const chunk = await this.#next();
      if (chunk === null) {
        const { protocol, peer } = this.stream;
        throw new RealmError(
          "corrupt",
          `Cannot read ${protocol} from ${peer}: it ended after ${at} of ${length} bytes`,
        );
      }
      const part = chunk.subarray(0, length - at);
      bytes.set(part, at);
      at += part.length;
      this.#rest = chunk.subarray(part.length);
    }
    return bytes;
  }

  #cut(length: number): Uint8Array {
    const bytes = this.#rest.subarray(0, length);
    this.#rest = this.#rest.subarray(length);
    return bytes;
  }

  /** The next chunk that is not empty. */
  async #next(): Promise<Uint8Array | null> {
    for (;;) {
      const chunk = await this.stream.read();
      if (chunk === null || chunk.length > 0) return chunk;
    }
  }
}
