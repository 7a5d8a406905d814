/**
 * {@link Blobs} in memory: the twin of the ones on disk for tests and simulation.
 *
 * @module
 */
import type { BlobPieces, Blobs, PartialBlob } from "../kernel/ports.ts";
import { sha256Hex } from "../kernel/sha256.ts";
import { checkDigest, corruptBlob, missingBlob, wrongBlob } from "./blob_name.ts";

/** Keeps every blob in a map. {@link damage} lets a test see what corruption does. */
export class MemoryBlobs implements Blobs, BlobPieces {
  readonly #blobs = new Map<string, Uint8Array>();
  readonly #partial = new Map<string, { readonly size: number; bytes: Uint8Array }>();

  async put(bytes: Uint8Array): Promise<string> {
    const copy = bytes.slice();
    const digest = await sha256Hex(copy);
    this.#blobs.set(digest, copy);
    return digest;
  }

  async get(digest: string): Promise<Uint8Array | undefined> {
    const copy = this.#blobs.get(checkDigest(digest))?.slice();
    if (copy === undefined) return undefined;
    const found = await sha256Hex(copy);
    if (found === digest) return copy;
    this.#blobs.delete(digest);
    throw corruptBlob(digest, found);
  }

  async has(digest: string): Promise<boolean> {
    return this.#blobs.has(checkDigest(digest));
  }

  async delete(digest: string): Promise<void> {
    this.#blobs.delete(checkDigest(digest));
  }

  async *list(): AsyncIterable<string> {
    yield* [...this.#blobs.keys()].sort();
  }

  async size(digest: string): Promise<number | undefined> {
    return this.#blobs.get(checkDigest(digest))?.length;
  }

  async read(digest: string, offset: number, length: number): Promise<Uint8Array> {
    const bytes = this.#blobs.get(checkDigest(digest));
    if (bytes === undefined) throw missingBlob(digest);
    return bytes.slice(offset, offset + length);
  }

  async begun(digest: string): Promise<PartialBlob | undefined> {
    const partial = this.#partial.get(checkDigest(digest));
    return partial && this.begin(digest, partial.size);
  }

  async begin(digest: string, size: number): Promise<PartialBlob> {
    const there = this.#partial.get(checkDigest(digest));
    const partial = there?.size === size ? there : { size, bytes: new Uint8Array() };
    this.#partial.set(digest, partial);
    const remove = async () => void this.#partial.delete(digest);
    return {
      digest,
      size,
      read: async (offset, length) => partial.bytes.slice(offset, offset + length),
      write: async (offset, bytes) => {
        const end = offset + bytes.length;
        if (end > partial.bytes.length) {
          const grown = new Uint8Array(end);
          grown.set(partial.bytes);
          partial.bytes = grown;
        }
        partial.bytes.set(bytes, offset);
      },
      finish: async () => {
        const whole = partial.bytes.slice(0, size);
        await remove();
        const found = await sha256Hex(whole);
        if (found !== digest) throw wrongBlob(digest, found);
        this.#blobs.set(digest, whole);
      },
      close: () => {},
      delete: remove,
    };
  }

  /** Changes the bytes kept under a digest, as a failing disk would. */
  damage(digest: string, bytes: Uint8Array): void {
    this.#blobs.set(checkDigest(digest), bytes.slice());
  }
}
