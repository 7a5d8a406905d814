/**
 * The bytes of components: of this node, else of other nodes, which have them from one another.
 *
 * A node fetches what it is to run, and what it is asked for; nothing else. What was damaged on the
 * disk is fetched anew.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import type { Blobs } from "../kernel/ports.ts";
import type { NodePeers } from "./peer_services.ts";

/** See the module. */
export class ComponentBytes {
  constructor(readonly blobs: Pick<Blobs, "get">, readonly peers: NodePeers | undefined) {}

  /** Throws RealmError `not-found` when neither this node nor one that is connected has them. */
  async get(digest: string, signal?: AbortSignal): Promise<Uint8Array> {
    const here = await this.#here(digest);
    if (here) return here;
    await this.peers?.fetch(digest, signal ? { signal } : {});
    const fetched = await this.blobs.get(digest);
    if (fetched) return fetched;
    throw new RealmError("not-found", `Cannot find bytes: sha256:${digest} is not on this node`, {
      hint: "Run realm apply, which sends what is missing",
    });
  }

  /**
   * As {@link get}, but waits until a node has them; `notice` is told why, `waits` each time that
   * none had them. Throws the signal's reason.
   */
  async whenever(
    digest: string,
    signal: AbortSignal,
    { notice, waits }: {
      readonly notice: (text: string) => void;
      readonly waits?: () => void;
    },
  ): Promise<Uint8Array> {
    const here = await this.#here(digest);
    if (here || !this.peers) return here ?? await this.get(digest);
    let said: string | undefined;
    await this.peers.fetchWhenever(digest, {
      signal,
      waiting: ({ message }) => {
        if (message !== said) notice(`waits for its bytes: ${message}`);
        said = message;
        waits?.();
      },
    });
    return await this.get(digest, signal);
  }

  async #here(digest: string): Promise<Uint8Array | undefined> {
    try {
      return await this.blobs.get(digest);
    } catch (error) {
      // The store has set it aside: it can be had anew.
      if (this.peers && error instanceof RealmError && error.code === "corrupt") return undefined;
      throw error;
    }
  }
}
