/**
 * States of topics of apps from peers: `/realm/snapshot/1.0.0`.
 *
 * One stream for each state (`asked_streams.ts`). The asker sends the topic's CID and the state's
 * digest, 36 and 32 bytes; the other side answers with the record of a snapshot and then its chunks in
 * the order of the index, each after its length in four bytes, big-endian; with a length of 0 when it
 * does not have it or the asker may not. The index and each chunk are compared with the digest when
 * they come, so it does not matter who sent them; what the record says beside is that peer's word.
 *
 * @module
 */
import {
  CHUNK_ENCODED_BYTES_MAX,
  INDEX_BYTES_MAX,
  SnapshotReader,
} from "../apps/state_snapshot.ts";
import type { State } from "../apps/state.ts";
import {
  decodeRecord,
  encodeRecord,
  type SnapshotRecord,
  type SnapshotStore,
  type TopicSnapshot,
} from "../apps/topic/topic_snapshot.ts";
import { CID } from "../kernel/canonical.ts";
import { RealmError } from "../kernel/error.ts";
import { bytesEqual } from "../kernel/key.ts";
import type { Clock, Network } from "../kernel/ports.ts";
import { AskedStreams, type Exchange, readParcel, writeParcel } from "./asked_streams.ts";

/** The protocol. */
export const SNAPSHOT_PROTOCOL = "/realm/snapshot/1.0.0";

/** What {@link PeerSnapshots} are made with. */
export interface PeerSnapshotsInit {
  readonly network: Pick<Network, "open" | "handle">;
  readonly clock: Clock;
  /** The snapshots of a topic that a peer takes part in, other than as a keeper; else undefined. */
  readonly snapshots: (peer: string, topic: string) => SnapshotStore | undefined;
  /** A peer that owes something has so long to send it; 20 s unless given. */
  readonly stallMs?: number;
}

/** A state that was fetched, and what its sender says of it. */
export interface FetchedSnapshot {
  readonly snapshot: TopicSnapshot;
  readonly state: State;
}

const CID_BYTES = 36;
const DIGEST_BYTES = 32;
const RECORD_BYTES_MAX = INDEX_BYTES_MAX + 1024;

/** See the module. */
export class PeerSnapshots {
  readonly #init: PeerSnapshotsInit;
  readonly #streams: AskedStreams;

  constructor(init: PeerSnapshotsInit) {
    const { network, clock, stallMs = 20_000 } = init;
    this.#init = init;
    this.#streams = new AskedStreams({
      network,
      protocol: SNAPSHOT_PROTOCOL,
      clock,
      stallMs,
      serve: (exchange, isBusy) => this.#serve(exchange, isBusy),
    });
  }

  /**
   * A state of a topic, by its digest, from the first of these peers that has it. Throws RealmError
   * `not-found` when none has, and the signal's reason.
   */
  async fetch(
    topic: CID,
    digest: Uint8Array,
    abi: number,
    peers: readonly string[],
    signal?: AbortSignal,
  ): Promise<FetchedSnapshot> {
    const act = (exchange: Exchange) => this.#ask(exchange, topic, digest, abi);
    const got = await this.#streams.first(peers, act, signal);
    if ("answer" in got) return got.answer;
    throw new RealmError(
      "not-found",
      `Cannot fetch a state of topic ${topic}: ${got.why ?? "no peer of it is connected"}`,
    );
  }

  /** Ends every stream and answers no more. */
  close(): void {
    this.#streams.close();
  }

  async #ask(
    exchange: Exchange,
    topic: CID,
    digest: Uint8Array,
    abi: number,
  ): Promise<FetchedSnapshot> {
    const asked = new Uint8Array(CID_BYTES + DIGEST_BYTES);
    asked.set(topic.bytes);
    asked.set(digest, CID_BYTES);
    await exchange.write(asked);
    const { record } = decodeRecord(await readParcel(exchange, RECORD_BYTES_MAX));
    if (!bytesEqual(record.digest, digest) || record.abi !== abi) {
      throw new RealmError("corrupt", `Cannot take a state of ${exchange.peer}: it is another`);
    }
    const reader = new SnapshotReader(record.index, abi, digest);
    const chunks = new Map<string, Uint8Array>();
    for (const _ of reader.missing) {
      const chunk = await readParcel(exchange, CHUNK_ENCODED_BYTES_MAX);
      chunks.set(reader.take(chunk), chunk);
    }
    if (reader.missing.length > 0) {
      throw new RealmError(
        "corrupt",
        `Cannot take a state of ${exchange.peer}: a chunk came twice`,
      );
    }
    return { snapshot: { record, chunks }, state: reader.state() };
  }

  async #serve(exchange: Exchange, isBusy: boolean): Promise<void> {
    const asked = await exchange.read(CID_BYTES + DIGEST_BYTES);
    if (asked === null) throw new RealmError("unreachable", "it asked for nothing");
    const found = isBusy ? undefined : this.#find(exchange.peer, asked);
    await writeParcel(exchange, found && encodeRecord(found.record), isBusy);
    if (found === undefined) return;
    const { index, abi, digest } = found.record;
    for (const name of new SnapshotReader(index, abi, digest).missing) {
      await writeParcel(exchange, found.store.chunk(name));
    }
  }

  #find(
    peer: string,
    asked: Uint8Array,
  ): { readonly store: SnapshotStore; readonly record: SnapshotRecord } | undefined {
    let topic: CID;
    try {
      topic = CID.decode(asked.subarray(0, CID_BYTES));
    } catch {
      return undefined; // it is no CID
    }
    const store = this.#init.snapshots(peer, topic.toString());
    const record = store?.find(asked.subarray(CID_BYTES));
    return record && { store: store!, record };
  }
}
