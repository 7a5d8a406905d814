/**
 * {@link Blobs} in a folder: `ab/cd/abcd…` below it, by the first digits of the digest.
 *
 * A blob is written to `tmp/`, synced, renamed to its name, and the folder is synced: under its
 * name there are all of its bytes or there is no file, whatever happens to the process or the
 * machine. What a disk did to it later is found by `get`, which hashes what it read and moves a
 * blob that does not match to `corrupt/`. One process at a time uses a folder; the agent's store
 * sees to that.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import type { Blobs } from "../kernel/ports.ts";
import { SHA256_HEX, sha256Hex } from "../kernel/sha256.ts";
import { checkDigest, corruptBlob } from "./blob_name.ts";

const TEMPORARY = "tmp";
const CORRUPT = "corrupt";

export class DiskBlobs implements Blobs {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /**
   * Opens the folder, creates it (mode 0700) where it is missing, and removes what writes that
   * were interrupted have left. Throws RealmError `failed` when it cannot.
   */
  static async open(folder: string): Promise<DiskBlobs> {
    return await guard(`open blob folder "${folder}"`, async () => {
      await Deno.mkdir(folder, { recursive: true, mode: 0o700 });
      await Deno.mkdir(`${folder}/${CORRUPT}`, { recursive: true, mode: 0o700 });
      await remove(`${folder}/${TEMPORARY}`);
      await Deno.mkdir(`${folder}/${TEMPORARY}`, { mode: 0o700 });
      await syncFolder(folder);
      return new DiskBlobs(folder);
    });
  }

  /** Also mends: a damaged file under the same name is replaced. */
  async put(bytes: Uint8Array): Promise<string> {
    const digest = await sha256Hex(bytes);
    await guard(`write blob ${digest}`, async () => {
      const present = await readFile(this.#path(digest));
      if (present !== undefined && await sha256Hex(present) === digest) return;
      await this.#write(digest, bytes);
    });
    return digest;
  }

  async get(digest: string): Promise<Uint8Array | undefined> {
    const path = this.#path(checkDigest(digest));
    const bytes = await guard(`read blob ${digest}`, () => readFile(path));
    if (bytes === undefined) return undefined;
    const found = await sha256Hex(bytes);
    if (found === digest) return bytes;
    // Set aside, not deleted: somebody may want to know what happened to it.
    await guard(
      `set aside blob ${digest}`,
      () => Deno.rename(path, `${this.#folder}/${CORRUPT}/${digest}`),
    );
    throw corruptBlob(digest, found);
  }

  async has(digest: string): Promise<boolean> {
    const path = this.#path(checkDigest(digest));
    return await guard(`look up blob ${digest}`, async () => {
      try {
        return (await Deno.lstat(path)).isFile;
      } catch (error) {
        if (error instanceof Deno.errors.NotFound) return false;
        throw error;
      }
    });
  }

  /** Not synced: after a power cut the blob may be back, which does no harm. */
  async delete(digest: string): Promise<void> {
    const path = this.#path(checkDigest(digest));
    await guard(`delete blob ${digest}`, () => remove(path));
  }

  async *list(): AsyncIterable<string> {
    for (const first of await folders(this.#folder)) {
      for (const second of await folders(`${this.#folder}/${first}`)) {
        const folder = `${this.#folder}/${first}/${second}`;
        for (const name of await names(folder)) {
          if (SHA256_HEX.test(name) && name.startsWith(first + second)) yield name;
        }
      }
    }
  }

  #path(digest: string): string {
    return `${this.#folder}/${digest.slice(0, 2)}/${digest.slice(2, 4)}/${digest}`;
  }

  async #write(digest: string, bytes: Uint8Array): Promise<void> {
    const temporary = `${this.#folder}/${TEMPORARY}/${crypto.randomUUID()}`;
    try {
      const file = await Deno.open(temporary, { write: true, createNew: true, mode: 0o600 });
      try {
        for (let offset = 0; offset < bytes.length;) {
          offset += await file.write(bytes.subarray(offset));
        }
        await file.sync();
      } finally {
        file.close();
      }
      const first = `${this.#folder}/${digest.slice(0, 2)}`;
      const second = `${first}/${digest.slice(2, 4)}`;
      await Deno.mkdir(second, { recursive: true, mode: 0o700 });
      await Deno.rename(temporary, this.#path(digest));
      // Names are durable when the folder that holds them is: the file's, and the two folders'.
      await syncFolder(second);
      await syncFolder(first);
      await syncFolder(this.#folder);
    } finally {
      await remove(temporary);
    }
  }
}

/** Names of a folder, sorted; none where it is gone. */
async function names(folder: string): Promise<string[]> {
  try {
    return (await Array.fromAsync(Deno.readDir(folder), (entry) => entry.name)).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** The fan-out folders in a folder. */
async function folders(folder: string): Promise<string[]> {
  return (await names(folder)).filter((name) => /^[0-9a-f]{2}$/.test(name));
}

async function readFile(path: string): Promise<Uint8Array | undefined> {
  try {
    return await Deno.readFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

async function remove(path: string): Promise<void> {
  try {
    await Deno.remove(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

async function syncFolder(path: string): Promise<void> {
  if (Deno.build.os === "windows") return; // A folder cannot be opened as a file there.
  const folder = await Deno.open(path, { read: true });
  try {
    await folder.sync();
  } finally {
    folder.close();
  }
}

async function guard<T>(action: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new RealmError("failed", `Cannot ${action}: ${reason}`, { cause: error });
  }
}
