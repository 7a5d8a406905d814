/**
 * Artifacts of components: from the cache, else transpiled and kept there.
 *
 * @module
 */
import { TOOLCHAIN } from "./artifact.ts";
import { Transpiler } from "./transpiler.ts";

/**
 * Where artifacts are kept between runs; `get` answers only what was put, unharmed. An artifact may
 * go at any time: what runs needs none.
 */
export interface ArtifactCache {
  get(key: string): Promise<Uint8Array | undefined>;
  put(key: string, bytes: Uint8Array): Promise<void>;
}

/**
 * Gives the bytes of a component again, which name the frames of its backtraces; undefined where
 * they are gone.
 */
export type Sources = (digest: string) => Promise<Uint8Array | undefined>;

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
    // A folder that cannot be read costs time only.
    const kept = await this.cache.get(key).catch(() => undefined);
    if (kept) return kept;
    const made = await this.#transpiler.transpile(digest, bytes);
    // A full disk costs the next start its time, not this one its component.
    await this.cache.put(key, made).catch(() => {});
    return made;
  }

  close(): void {
    this.#transpiler.close();
  }
}
