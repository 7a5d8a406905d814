/**
 * Bytes that can be made again, kept in a folder: each entry is a file named by the sha256 of its
 * key that begins with the sha256 of its content. What was harmed is as good as not there.
 *
 * @module
 */
import { dirname, join } from "node:path";

const DIGEST_BYTES = 32;

async function sha256(bytes: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes as BufferSource));
}

const hex = (bytes: Uint8Array) => [...bytes].map((b) => b.toString(16).padStart(2, "0")).join("");

/** A cache in `folder`, which is made when something is first put. Many processes may share it. */
export class DiskCache {
  constructor(readonly folder: string) {}

  async #path(key: string): Promise<string> {
    const name = hex(await sha256(new TextEncoder().encode(key)));
    return join(this.folder, name.slice(0, 2), name);
  }

  /** What was last put under `key`; undefined when that is missing or harmed. */
  async get(key: string): Promise<Uint8Array | undefined> {
    let file: Uint8Array;
    try {
      file = await Deno.readFile(await this.#path(key));
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
    const content = file.subarray(DIGEST_BYTES);
    const digest = await sha256(content);
    return file.length >= DIGEST_BYTES && digest.every((b, i) => file[i] === b)
      ? content
      : undefined;
  }

  async put(key: string, bytes: Uint8Array): Promise<void> {
    const path = await this.#path(key);
    await Deno.mkdir(dirname(path), { recursive: true, mode: 0o700 });
    const file = new Uint8Array(DIGEST_BYTES + bytes.length);
    file.set(await sha256(bytes));
    file.set(bytes, DIGEST_BYTES);
    const temporary = `${path}.${crypto.randomUUID()}`;
    try {
      await Deno.writeFile(temporary, file, { mode: 0o600 });
      await Deno.rename(temporary, path);
    } catch (error) {
      await Deno.remove(temporary).catch(() => {});
      throw error;
    }
  }
}
