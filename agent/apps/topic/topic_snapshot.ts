/**
 * What a replay of a topic had come to, in a store: so that a start does not apply everything again, a
 * newcomer may begin with the state that its ticket names, and a fork with that of its origin.
 *
 * Chunks of states (`state_snapshot.ts`) are stored once, by their names. The newest snapshot and the
 * one before are kept to go on from; those that are *pinned*, for tickets, until there are more than
 * {@link PINNED_MAX}; the *base* that a fork begins with always. In the topic's own part of the store:
 *
 *     snapshot/newest/LENGTH, snapshot/pinned/DIGEST, snapshot/base/DIGEST   a record
 *     snapshot/chunk/NAME                                                    a chunk
 *
 * A record is no secret of this peer's, but nobody has to believe it: a state is compared with the
 * digest, and what it is the state of by {@link Replay.recall} or `pastState()`.
 *
 * @module
 */
import { type CborValue, decodeCanonical, encodeCanonical } from "../../kernel/canonical.ts";
import { RealmError } from "../../kernel/error.ts";
import type { Store, StoreOp } from "../../kernel/ports.ts";
import { headsDigest } from "../../kernel/sync/session.ts";
import { keyOf, type Topic } from "../../kernel/topic.ts";
import type { Guest, Replay, Resume } from "../replay.ts";
import { orderDigest } from "../replay_order.ts";
import type { State } from "../state.ts";
import { type ChunkName, snapshotForm, SnapshotReader } from "../state_snapshot.ts";
import type { ForkOrigin } from "./app_event.ts";
import type { TicketState } from "./app_ticket.ts";

/** What a snapshot is kept for: see the module. */
export type SnapshotKind = "newest" | "pinned" | "base";

/** Pinned snapshots, of which the oldest go first. */
export const PINNED_MAX = 16;
const NEWEST_MAX = 2;

/** What a snapshot is of. */
export interface SnapshotRecord {
  readonly abi: number;
  /** The bundle in force, its CID in text. */
  readonly bundle: string;
  /** Events that were applied, and their `orderDigest()`. */
  readonly length: number;
  readonly order: Uint8Array;
  /** `headsDigest()` of the topic, and how many events it had. */
  readonly heads: Uint8Array;
  readonly count: number;
  /** Of the state. */
  readonly digest: Uint8Array;
  /** Of the state's form. */
  readonly index: Uint8Array;
}

/** A snapshot as it is stored and sent; it can be cloned. */
export interface TopicSnapshot {
  readonly record: SnapshotRecord;
  /** Those that the taker did not have. */
  readonly chunks: ReadonlyMap<ChunkName, Uint8Array>;
}

/** The state that a fork begins with, to be kept as its base. */
export function baseSnapshot(
  { state, bundle }: { readonly state: State; readonly bundle: string },
  { event, digest }: ForkOrigin,
  abi: number,
): TopicSnapshot {
  const { index, chunks } = snapshotForm(state, abi);
  const order = orderDigest([]);
  const heads = headsDigest([keyOf(event)]);
  const record = { abi, bundle, length: 0, order, heads, count: 1, digest, index };
  return { record, chunks: new Map([...chunks].map(([name, chunk]) => [name, chunk()])) };
}

/** What a replay has come to, which has to be settled; without the chunks that are `known`. */
export function takeSnapshot(
  topic: Topic,
  replay: Replay,
  abi: number,
  known: ReadonlySet<ChunkName> = new Set(),
): TopicSnapshot {
  if (!replay.isSettled) throw new Error("the replay is not settled");
  const { log, state, bundle } = replay;
  const { index, chunks } = snapshotForm(state, abi);
  const record: SnapshotRecord = {
    abi,
    bundle,
    length: log.length,
    order: orderDigest(log),
    heads: headsDigest(topic.heads.map(({ key }) => key)),
    count: topic.size,
    digest: state.digest(abi),
    index,
  };
  const fresh = [...chunks].filter(([name]) => !known.has(name));
  return { record, chunks: new Map(fresh.map(([name, chunk]) => [name, chunk()])) };
}

/**
 * What a replay goes on from. Undefined where the bundle in force there is not here. Throws RealmError
 * `corrupt` when the snapshot is damaged.
 */
export function resumeFrom(
  snapshot: TopicSnapshot,
  guestOf: (bundle: string) => Guest | undefined,
): Resume | undefined {
  const { bundle, length, order } = snapshot.record;
  const guest = guestOf(bundle);
  return guest && { length, order, bundle, guest, state: stateOf(snapshot) };
}

/** The state of a snapshot with all of its chunks. Throws RealmError `corrupt`. */
export function stateOf({ record: { index, abi, digest }, chunks }: TopicSnapshot): State {
  const reader = new SnapshotReader(index, abi, digest);
  for (const chunk of chunks.values()) reader.take(chunk);
  const [missing] = reader.missing;
  if (missing !== undefined) throw corrupt(`chunk ${missing} is not there`);
  return reader.state();
}

/** What goes into a ticket; the snapshot has to be pinned. */
export function ticketStateOf({ heads, count, digest }: SnapshotRecord): TicketState {
  return { heads, count, digest };
}

/** The snapshots of one topic. */
export class SnapshotStore {
  /** `store` is the topic's own part. */
  constructor(readonly store: Store) {}

  /** Names of all chunks that are here. */
  known(): Set<ChunkName> {
    return new Set([...this.store.keys(CHUNK)].map((key) => key.slice(CHUNK.length)));
  }

  /** Keeps a snapshot, and drops what is not needed any more. */
  save({ record, chunks }: TopicSnapshot, kind: SnapshotKind, wallMs: number): void {
    const key = kind === "newest"
      ? `${NEWEST}${record.length.toString(16).padStart(14, "0")}`
      : (kind === "base" ? BASE : PINNED) + record.digest.toHex();
    const kept = this.#records().filter((each) => each.key !== key);
    const all = [{ key, record, atMs: wallMs }, ...kept];
    const newest = all.filter((each) => each.key.startsWith(NEWEST));
    const pinned = all.filter((each) => each.key.startsWith(PINNED));
    const left = new Set([
      ...all.filter((each) => each.key.startsWith(BASE)),
      ...newest.sort(byTime).slice(0, NEWEST_MAX),
      ...pinned.sort(byTime).slice(0, PINNED_MAX),
    ]);
    const wanted = new Set([...left].flatMap((each) => chunkNames(each.record)));
    const known = this.known();
    const ops: StoreOp[] = [{ put: key, value: encodeRecord(record, wallMs) }];
    for (const each of kept) if (!left.has(each)) ops.push({ delete: each.key });
    for (const name of known) if (!wanted.has(name)) ops.push({ delete: CHUNK + name });
    for (const [name, value] of chunks) {
      if (wanted.has(name) && !known.has(name)) ops.push({ put: CHUNK + name, value });
      known.add(name);
    }
    if (chunkNames(record).some((name) => !known.has(name))) throw new Error("a chunk is missing");
    this.store.write(ops);
  }

  /** Records to go on from, the newest first. */
  newest(): readonly SnapshotRecord[] {
    return this.#records().filter(({ key }) => key.startsWith(NEWEST))
      .sort(byTime).map(({ record }) => record);
  }

  /** The record of a state that was kept, by its digest. */
  find(digest: Uint8Array): SnapshotRecord | undefined {
    const hex = digest.toHex();
    return this.#records().find(({ record }) => record.digest.toHex() === hex)?.record;
  }

  chunk(name: ChunkName): Uint8Array | undefined {
    return /^[0-9a-f]{64}$/.test(name) ? this.store.get(CHUNK + name) : undefined;
  }

  /** A record with all of its chunks. Throws RealmError `corrupt` when one is gone. */
  load(record: SnapshotRecord): TopicSnapshot {
    const chunks = chunkNames(record).map((name) => {
      const chunk = this.chunk(name);
      if (chunk === undefined) throw corrupt(`chunk ${name} is gone`);
      return [name, chunk] as const;
    });
    return { record, chunks: new Map(chunks) };
  }

  /** The state of a record that is here. Throws RealmError `corrupt` when it is damaged. */
  state(record: SnapshotRecord): State {
    return stateOf(this.load(record));
  }

  /** Forgets a record that is damaged, and the chunks that are: what comes anew is whole. */
  drop(record: SnapshotRecord): void {
    const { index, abi, digest } = record;
    const hex = digest.toHex();
    const ops: StoreOp[] = this.#records().filter((kept) => kept.record.digest.toHex() === hex)
      .map(({ key }) => ({ delete: key }));
    const reader = readable(() => new SnapshotReader(index, abi, digest));
    for (const name of reader?.missing ?? []) {
      const chunk = this.chunk(name);
      const isWhole = chunk !== undefined && readable(() => reader!.take(chunk)) === name;
      if (!isWhole) ops.push({ delete: CHUNK + name });
    }
    this.store.write(ops);
  }

  #records(): Kept[] {
    return [NEWEST, PINNED, BASE].flatMap((prefix) => [...this.store.scan(prefix)])
      .flatMap(([key, value]) => {
        const kept = readable(() => decodeRecord(value));
        return kept === undefined ? [] : [{ key, ...kept }];
      });
  }
}

/** What `read` gives; undefined where what it reads is damaged: then it is as if it was not there. */
function readable<Value>(read: () => Value): Value | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof RealmError) return undefined;
    throw error;
  }
}

const NEWEST = "snapshot/newest/";
const PINNED = "snapshot/pinned/";
const BASE = "snapshot/base/";
const CHUNK = "snapshot/chunk/";

interface Kept {
  readonly key: string;
  readonly record: SnapshotRecord;
  readonly atMs: number;
}

/** The newest first; of one time that of more events. */
function byTime(a: Kept, b: Kept): number {
  return b.atMs - a.atMs || b.record.length - a.record.length;
}

function chunkNames({ index, abi, digest }: SnapshotRecord): readonly ChunkName[] {
  return new SnapshotReader(index, abi, digest).missing;
}

/** The bytes of a record, which peers send one another too. */
export function encodeRecord(record: SnapshotRecord, atMs = 0): Uint8Array {
  return encodeCanonical({ v: 1, ...record, atMs: Math.trunc(atMs) });
}

/** Inverse of {@link encodeRecord}. Throws RealmError `corrupt`. */
export function decodeRecord(bytes: Uint8Array): { record: SnapshotRecord; atMs: number } {
  const value = decodeCanonical(bytes);
  const keys = "abi atMs bundle count digest heads index length order v";
  const isMap = typeof value === "object" && value !== null && !Array.isArray(value) &&
    Object.keys(value).sort().join(" ") === keys;
  if (!isMap) throw corrupt(`its record is no map with the keys ${keys}`);
  const { v, abi, bundle, length, order, heads, count, digest, index, atMs } = value as Record<
    string,
    CborValue
  >;
  if (v !== 1) throw corrupt(`its version is ${v}, wanted 1`);
  const numbers = [abi, length, count, atMs];
  const digests = [order, heads, digest];
  if (
    !numbers.every((n) => typeof n === "number" && Number.isSafeInteger(n) && n >= 0) ||
    !digests.every((bytes) => bytes instanceof Uint8Array && bytes.length === 32) ||
    typeof bundle !== "string" || bundle.length > 128 || !(index instanceof Uint8Array)
  ) throw corrupt("its record has other contents");
  const record = { abi, bundle, length, order, heads, count, digest, index };
  return { record: record as unknown as SnapshotRecord, atMs: atMs as number };
}

function corrupt(problem: string): RealmError {
  return new RealmError("corrupt", `Cannot read snapshot: ${problem}`);
}
