/**
 * Bytes that can be made again, kept in a folder: each entry is a file named by the sha256 of its
 * key that begins with the sha256 of its content. What was harmed is as good as not there.
 *
 * Many processes may share a folder, and none waits for another. Who puts something also looks at
 * what there is: past `bytesMax` the entries that were not used for longest go. The time of an
 * entry's file says when it was used, to a day: what is read often is not written often. An entry
 * may go while others read it or put it anew: they read to the end, or make it again.
 *
 * @module
 */
import { dirname, join } from "node:path";

const DIGEST_BYTES = 32;
/** Of a data folder; small machines have 8 GB for everything. */
const CACHE_BYTES_MAX = 512 * 1024 * 1024;
/** What is left when entries have to go: not each put is to look for the next. */
const LEFT = 0.8;
/** Later use of an entry is told so often; a file that is being written is taken for lost then. */
const DAY_MS = 24 * 3_600_000;

const FOLDER = /^[0-9a-f]{2}$/;
const ENTRY = /^[0-9a-f]{64}$/;
/** What a process that was killed leaves behind. */
const TEMPORARY = /^[0-9a-f]{64}\.[0-9a-f-]{36}$/;

async function sha256(bytes: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes as BufferSource));
}

const hex = (bytes: Uint8Array) => [...bytes].map((b) => b.toString(16).padStart(2, "0")).join("");

/** What {@link DiskCache} may be told; tests do. */
export interface DiskCacheInit {
  /** Of all files together; a larger one is kept alone. */
  readonly bytesMax?: number;
  /** Milliseconds since 1970, as the times of files. */
  readonly now?: () => number;
}

/** A file of the cache. */
interface Entry {
  readonly path: string;
  readonly bytes: number;
  /** Since it was used, to a day. */
  readonly ageMs: number;
}

/** A cache in `folder`, which is made when something is first put. */
export class DiskCache {
  readonly #bytesMax: number;
  readonly #now: () => number;

  constructor(readonly folder: string, init: DiskCacheInit = {}) {
    this.#bytesMax = init.bytesMax ?? CACHE_BYTES_MAX;
    this.#now = init.now ?? Date.now;
  }

  async #path(key: string): Promise<string> {
    const name = hex(await sha256(new TextEncoder().encode(key)));
    return join(this.folder, name.slice(0, 2), name);
  }

  /** What was last put under `key`; undefined when that is missing or harmed. */
  async get(key: string): Promise<Uint8Array | undefined> {
    const path = await this.#path(key);
    let file: Uint8Array;
    try {
      file = await Deno.readFile(path);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
    const content = file.subarray(DIGEST_BYTES);
    const [digest] = await Promise.all([sha256(content), this.#used(path)]);
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
    // What cannot be looked at or removed costs room, and not who put something.
    await this.#makeRoom(path).catch(() => {});
  }

  /** A clock that was set back leaves times ahead of it, which are as far away as others. */
  #ageMs({ mtime }: Deno.FileInfo): number {
    return Math.abs(this.#now() - (mtime?.getTime() ?? 0));
  }

  /** In a folder that cannot be written nothing goes either. */
  async #used(path: string): Promise<void> {
    try {
      if (this.#ageMs(await Deno.stat(path)) <= DAY_MS) return;
      const now = new Date(this.#now());
      await Deno.utime(path, now, now);
    } catch {
      // Another process removed it, or it is not ours to write.
    }
  }

  /** Removes what is too much, but for the entry that was just put, and what was never finished. */
  async #makeRoom(justPut: string): Promise<void> {
    const entries = await this.#entries();
    let bytes = entries.reduce((sum, entry) => sum + entry.bytes, 0);
    if (bytes <= this.#bytesMax) return;
    for (const entry of entries.sort((a, b) => b.ageMs - a.ageMs)) {
      if (bytes <= this.#bytesMax * LEFT) return;
      if (entry.path !== justPut && await removed(entry.path)) bytes -= entry.bytes;
    }
  }

  /** The entries that there are. Files of other names are not ours, and stay. */
  async #entries(): Promise<Entry[]> {
    const entries: Entry[] = [];
    for (const outer of await Array.fromAsync(Deno.readDir(this.folder))) {
      if (!FOLDER.test(outer.name)) continue;
      const folder = join(this.folder, outer.name);
      const inner = await Array.fromAsync(Deno.readDir(folder));
      await Promise.all(inner.map(async ({ name }) => {
        const path = join(folder, name);
        const info = await Deno.lstat(path).catch(() => undefined);
        if (!info?.isFile) return;
        const ageMs = this.#ageMs(info);
        if (ENTRY.test(name)) entries.push({ path, bytes: info.size, ageMs });
        else if (TEMPORARY.test(name) && ageMs > DAY_MS) await removed(path);
      }));
    }
    return entries;
  }
}

/**
 * Removes a file; whether it is gone, also by another process. Windows removes nothing that is open:
 * the next put tries again.
 */
async function removed(path: string): Promise<boolean> {
  try {
    await Deno.remove(path);
    return true;
  } catch (error) {
    return error instanceof Deno.errors.NotFound;
  }
}
