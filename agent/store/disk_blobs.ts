/**
 * {@link Blobs} in a folder: `ab/cd/abcd…` below it, by the first digits of the digest.
 *
 * A blob is written to `tmp/`, synced, renamed to its name, and the folder is synced: under its
 * name there are all of its bytes or there is no file, whatever happens to the process or the
 * machine. What a disk did to it later is found by `get`, which hashes what it read and moves a
 * blob that does not match to `corrupt/`. One process at a time uses a folder; the agent's store
 * sees to that.
 *
 * What is put together from pieces is `partial/DIGEST-SIZE` until it is whole. It outlives the
 * process, and for a week nobody asking for it.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { RealmError } from "../kernel/error.ts";
import type { BlobPieces, Blobs, PartialBlob } from "../kernel/ports.ts";
import { SHA256_HEX, sha256Hex } from "../kernel/sha256.ts";
import { checkDigest, corruptBlob, missingBlob, wrongBlob } from "./blob_name.ts";
import { syncFolder } from "./sync_folder.ts";

const TEMPORARY = "tmp";
const CORRUPT = "corrupt";
const PARTIAL = "partial";
const PARTIAL_KEPT_MS = 7 * 24 * 3_600_000;
const PIECE_BYTES = 256 * 1024;

export class DiskBlobs implements Blobs, BlobPieces {
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
      await Deno.mkdir(`${folder}/${PARTIAL}`, { recursive: true, mode: 0o700 });
      await removeOld(`${folder}/${PARTIAL}`, Date.now() - PARTIAL_KEPT_MS);
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

  async size(digest: string): Promise<number | undefined> {
    const path = this.#path(checkDigest(digest));
    return await guard(`look up blob ${digest}`, async () => {
      try {
        return (await Deno.stat(path)).size;
      } catch (error) {
        if (error instanceof Deno.errors.NotFound) return undefined;
        throw error;
      }
    });
  }

  async read(digest: string, offset: number, length: number): Promise<Uint8Array> {
    const path = this.#path(checkDigest(digest));
    return await guard(`read blob ${digest}`, async () => {
      try {
        using file = await Deno.open(path, { read: true });
        return await readAt(file, offset, length);
      } catch (error) {
        if (error instanceof Deno.errors.NotFound) throw missingBlob(digest);
        throw error;
      }
    });
  }

  async begun(digest: string): Promise<PartialBlob | undefined> {
    checkDigest(digest);
    for (const name of await names(`${this.#folder}/${PARTIAL}`)) {
      const size = /^[0-9a-f]{64}-(\d{1,15})$/.exec(name)?.[1];
      if (size !== undefined && name.startsWith(digest)) return this.begin(digest, Number(size));
    }
    return undefined;
  }

  async begin(digest: string, size: number): Promise<PartialBlob> {
    const path = `${this.#folder}/${PARTIAL}/${checkDigest(digest)}-${size}`;
    return await guard(`begin blob ${digest}`, async () => {
      const options = { read: true, write: true, create: true, mode: 0o600 };
      return new DiskPartial(
        digest,
        size,
        path,
        await Deno.open(path, options),
        () => this.#take(path, digest),
      );
    });
  }

  #path(digest: string): string {
    return `${this.#folder}/${digest.slice(0, 2)}/${digest.slice(2, 4)}/${digest}`;
  }

  /** Gives a file that is synced its name, durably. */
  async #take(path: string, digest: string): Promise<void> {
    const first = `${this.#folder}/${digest.slice(0, 2)}`;
    const second = `${first}/${digest.slice(2, 4)}`;
    await Deno.mkdir(second, { recursive: true, mode: 0o700 });
    await Deno.rename(path, this.#path(digest));
    // Names are durable when the folder that holds them is: the file's, and the two folders'.
    await syncFolder(second);
    await syncFolder(first);
    await syncFolder(this.#folder);
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
      await this.#take(temporary, digest);
    } finally {
      await remove(temporary);
    }
  }
}

/** A file with holes; see {@link PartialBlob}. */
class DiskPartial implements PartialBlob {
  #closed = false;

  constructor(
    readonly digest: string,
    readonly size: number,
    readonly path: string,
    readonly file: Deno.FsFile,
    /** Gives the file its name as a blob. */
    readonly take: () => Promise<void>,
  ) {}

  async read(offset: number, length: number): Promise<Uint8Array> {
    return await guard(`read blob ${this.digest}`, () => readAt(this.file, offset, length));
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    await guard(`write blob ${this.digest}`, async () => {
      await this.file.seek(offset, Deno.SeekMode.Start);
      for (let at = 0; at < bytes.length;) at += await this.file.write(bytes.subarray(at));
    });
  }

  async finish(): Promise<void> {
    const found = await guard(`finish blob ${this.digest}`, async () => {
      await this.file.truncate(this.size);
      const hash = createHash("sha256");
      for (let at = 0; at < this.size; at += PIECE_BYTES) {
        hash.update(await readAt(this.file, at, Math.min(PIECE_BYTES, this.size - at)));
      }
      const found = hash.digest("hex");
      if (found === this.digest) {
        await this.file.sync();
        this.close();
        await this.take();
      }
      return found;
    });
    if (found === this.digest) return;
    await this.delete();
    throw wrongBlob(this.digest, found);
  }

  close(): void {
    if (!this.#closed) this.file.close();
    this.#closed = true;
  }

  async delete(): Promise<void> {
    this.close();
    await guard(`delete blob ${this.digest}`, () => remove(this.path));
  }
}

/** Up to `length` bytes of a file: fewer at its end. */
async function readAt(file: Deno.FsFile, offset: number, length: number): Promise<Uint8Array> {
  await file.seek(offset, Deno.SeekMode.Start);
  const bytes = new Uint8Array(length);
  let at = 0;
  while (at < length) {
    const count = await file.read(bytes.subarray(at));
    if (count === null) break;
    at += count;
  }
  return bytes.subarray(0, at);
}

/** Removes the files of a folder that nobody wrote to since a time. */
async function removeOld(folder: string, beforeMs: number): Promise<void> {
  for (const name of await names(folder)) {
    const { mtime } = await Deno.stat(`${folder}/${name}`);
    if ((mtime?.getTime() ?? 0) < beforeMs) await remove(`${folder}/${name}`);
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

async function guard<T>(action: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    if (error instanceof RealmError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new RealmError("failed", `Cannot ${action}: ${reason}`, {
      hint: "Run realm doctor, which looks at the data folder and the disk",
      cause: error,
    });
  }
}
