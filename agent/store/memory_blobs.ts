/**
 * {@link Blobs} in memory: the twin of the ones on disk for tests and simulation.
 *
 * @module
 */
import type { Blobs } from "../kernel/ports.ts";
import { sha256Hex } from "../kernel/sha256.ts";
import { checkDigest, corruptBlob } from "./blob_name.ts";

/** Keeps every blob in a map. {@link damage} lets a test see what corruption does. */
export class MemoryBlobs implements Blobs {
  readonly #blobs = new Map<string, Uint8Array>();

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

  /** Changes the bytes kept under a digest, as a failing disk would. */
  damage(digest: string, bytes: Uint8Array): void {
    this.#blobs.set(checkDigest(digest), bytes.slice());
  }
}
