/**
 * Artifacts of components: from the cache, else transpiled and kept there.
 *
 * @module
 */
import { TOOLCHAIN } from "./artifact.ts";
import { Transpiler } from "./transpiler.ts";

/** Where artifacts are kept between runs; `get` answers only what was put, unharmed. */
export interface ArtifactCache {
  get(key: string): Promise<Uint8Array | undefined>;
  put(key: string, bytes: Uint8Array): Promise<void>;
}

const sourceKey = (digest: string) => `${digest} source`;

/** What an engine starts from. */
export class Artifacts {
  readonly #transpiler = new Transpiler();

  constructor(readonly cache: ArtifactCache) {}

  /**
   * The encoded artifact of a component and its sha256. Throws RealmError `invalid-module`,
   * `unsupported` or `unknown-import`.
   */
  async of(digest: string, bytes: Uint8Array): Promise<Uint8Array> {
    const key = `${digest} ${TOOLCHAIN}`;
    const kept = await this.#kept(key);
    if (kept) return kept;
    const made = await this.#transpiler.transpile(digest, bytes);
    // A full disk costs the next start its time, not this one its component.
    await this.cache.put(key, made).catch(() => {});
    await this.cache.put(sourceKey(digest), bytes).catch(() => {});
    return made;
  }

  /** The bytes of a component, which name the frames of its backtraces; undefined if not kept. */
  source(digest: string): Promise<Uint8Array | undefined> {
    return this.#kept(sourceKey(digest));
  }

  /** A folder that cannot be read, too, costs time only. */
  #kept(key: string): Promise<Uint8Array | undefined> {
    return this.cache.get(key).catch(() => undefined);
  }

  close(): void {
    this.#transpiler.close();
  }
}
