/**
 * Bundles of apps from peers: `/realm/bundle/1.0.0`.
 *
 * One stream for each bundle (`asked_streams.ts`). The asker sends its CID, 36 bytes; the other side
 * answers with the length of the packed bundle, four bytes, big-endian, and then that; with 0 when it
 * does not have it or the asker may not. What came is worth nothing before its CID and signature were
 * compared, so it does not matter who sent it.
 *
 * @module
 */
import { BUNDLE_BYTES_MAX, type PackedBundle, unpackBundle, verifyBundle } from "../apps/bundle.ts";
import { CID, isCanonicalCid } from "../kernel/canonical.ts";
import { RealmError } from "../kernel/error.ts";
import type { Clock, Network } from "../kernel/ports.ts";
import type { SignatureBackend } from "../kernel/verify.ts";
import { AskedStreams, type Exchange, readParcel, writeParcel } from "./asked_streams.ts";

/** The protocol. */
export const BUNDLE_PROTOCOL = "/realm/bundle/1.0.0";

/** What a {@link PeerBundles} is made with. */
export interface PeerBundlesInit {
  readonly network: Pick<Network, "open" | "handle">;
  readonly clock: Clock;
  readonly backend: SignatureBackend;
  /** The packed bytes of a bundle that is here. Throws RealmError `not-found`. */
  readonly bytes: (id: string) => Promise<Uint8Array>;
  /** Whether a peer may have a bundle: it takes part in a topic that uses it. */
  readonly mayHave: (peer: string, id: string) => boolean;
  /** A peer that owes something has so long to send it; 20 s unless given. */
  readonly stallMs?: number;
}

/** A bundle that was fetched: verified, with its packed bytes. */
export interface FetchedBundle {
  readonly packed: PackedBundle;
  readonly bytes: Uint8Array;
}

const CID_BYTES = 36;

/** See the module. */
export class PeerBundles {
  readonly #init: PeerBundlesInit;
  readonly #streams: AskedStreams;

  constructor(init: PeerBundlesInit) {
    const { network, clock, stallMs = 20_000 } = init;
    this.#init = init;
    this.#streams = new AskedStreams({
      network,
      protocol: BUNDLE_PROTOCOL,
      clock,
      stallMs,
      serve: async (exchange, isBusy) => {
        const asked = await exchange.read(CID_BYTES);
        if (asked === null) throw new RealmError("unreachable", "it asked for nothing");
        const bytes = isBusy ? undefined : await this.#bytes(exchange.peer, asked);
        await writeParcel(exchange, bytes, isBusy);
      },
    });
  }

  /**
   * A bundle from the first of these peers that has it. Throws RealmError `not-found` when none has,
   * and the signal's reason.
   */
  async fetch(
    id: string,
    peers: readonly string[],
    signal?: AbortSignal,
  ): Promise<FetchedBundle> {
    const got = await this.#streams.first(peers, (exchange) => this.#ask(exchange, id), signal);
    if ("answer" in got) return got.answer;
    throw new RealmError(
      "not-found",
      `Cannot fetch bundle ${id}: ${got.why ?? "no peer that uses it is connected"}`,
      { hint: `Install it from a file, or run realm app install ${id} when other peers are there` },
    );
  }

  /** Ends every stream and answers no more. */
  close(): void {
    this.#streams.close();
  }

  async #ask(exchange: Exchange, id: string): Promise<FetchedBundle> {
    await exchange.write(CID.parse(id).bytes);
    const bytes = await readParcel(exchange, BUNDLE_BYTES_MAX);
    let packed: PackedBundle;
    try {
      packed = unpackBundle(bytes);
      if (packed.id.toString() !== id) throw new RealmError("corrupt", `it sent ${packed.id}`);
      await verifyBundle(packed, this.#init.backend);
    } catch (error) {
      if (!(error instanceof RealmError)) throw error;
      const { peer } = exchange;
      // Of a later version it may be a good one.
      const code = error.code === "unsupported" ? "unsupported" : "corrupt";
      throw new RealmError(code, `Cannot take bundle ${id} of ${peer}: ${error.message}`);
    }
    return { packed, bytes };
  }

  async #bytes(peer: string, asked: Uint8Array): Promise<Uint8Array | undefined> {
    try {
      const cid = CID.decode(asked);
      if (!isCanonicalCid(cid) || !this.#init.mayHave(peer, cid.toString())) return undefined;
      return await this.#init.bytes(cid.toString());
    } catch {
      return undefined; // it is no CID, or not here
    }
  }
}
