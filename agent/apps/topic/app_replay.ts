/**
 * How the events of a topic are read for a {@link Replay}: those of the app decrypted, those of the
 * kernel without effect on the state but for upgrades.
 *
 * @module
 */
import { bytesOf } from "../../kernel/byte_string.ts";
import { CID } from "../../kernel/canonical.ts";
import { RealmError } from "../../kernel/error.ts";
import { Recent } from "../../kernel/recent.ts";
import type { TopicEvent } from "../../kernel/topic.ts";
import type { AppliedEvent } from "../guest/host_imports.ts";
import { CHECKPOINT_TYPE, type Guest, type Replay, type ReplayParts } from "../replay.ts";
import type { State } from "../state.ts";
import { isKernelType } from "./app_event.ts";
import type { AppLog } from "./app_log.ts";
import { decryptPayload } from "./payload_keys.ts";

/** What {@link replayParts} is told beside the log, which has its genesis. */
export interface AppReplayInit {
  /** What applies the events of a bundle, by its CID in text; undefined where it is not here yet. */
  readonly guestOf: (bundle: string) => Guest | undefined;
  /** The state that a fork begins with. */
  readonly state?: State;
}

/**
 * The parts of a replay of a topic; the follower of the log is the replay itself (`log.follow`).
 * Undefined while the bundle that the topic starts with is not here.
 */
export function replayParts(log: AppLog, init: AppReplayInit): ReplayParts | undefined {
  const { topic, view } = log;
  const guest = init.guestOf(view!.bundle);
  if (guest === undefined) return undefined;
  if (view!.fork !== undefined && init.state === undefined) {
    throw new RealmError(
      "not-found",
      "Cannot start the topic: the state that it forks is not here",
    );
  }
  return {
    topic: topic!,
    guest,
    bundle: view!.bundle,
    ...init.state && { state: init.state },
    read: remembering((event) => readEvent(log, event, init.guestOf)),
    // Of who may not write one it does not count.
    isCheckpoint: ({ type }) => type === CHECKPOINT_TYPE,
  };
}

/** Bytes of events that were read and may be applied again, with what it costs to keep each. */
const READ_BYTES_MAX = 16 * 1024 * 1024;
const READ_OVERHEAD_BYTES = 512;

type Read = ReplayParts["read"];

/** Keeps what was read last: who makes events be applied again shall not make them be read too. */
function remembering(read: Read): Read {
  const known = new Recent<TopicEvent, AppliedEvent>(READ_BYTES_MAX);
  return (event) => {
    const there = known.get(event);
    if (there !== undefined) return there;
    const found = read(event);
    if (found === undefined || !("payload" in found)) return found;
    known.put(event, found, found.payload.length + READ_OVERHEAD_BYTES);
    return found;
  };
}

/** What an event is to a replay. */
function readEvent(
  log: AppLog,
  event: TopicEvent,
  guestOf: AppReplayInit["guestOf"],
): ReturnType<ReplayParts["read"]> {
  const said = log.membership!.said(event);
  if (said?.kind !== "upgrade") {
    return isKernelType(event.type) ? undefined : appliedEvent(log, event);
  }
  const bundle = said.bundle.toString();
  const guest = guestOf(bundle);
  return guest === undefined
    ? { needed: { kind: "bundle", name: bundle } }
    : { bundle, guest, upgrade: contextOf(event) };
}

/**
 * An event as the app sees it. Undefined for one that nobody can read, `needed` for one of which the
 * payload key is not here.
 */
export function appliedEvent(
  log: AppLog,
  event: TopicEvent,
): AppliedEvent | { readonly needed: { readonly kind: "key"; readonly name: string } } | undefined {
  const signed = log.read(event).event;
  if (signed.keyEpoch === 0) return new ReadEvent(event, signed.payload as Uint8Array);
  const read = decryptPayload(log.keys, log.topicId, signed);
  if (read.kind === "locked") return { needed: { kind: "key", name: `${signed.keyEpoch}` } };
  return read.kind === "plain" ? new ReadEvent(event, read.payload) : undefined;
}

/**
 * What is wrong with the newest checkpoint that states a digest: its author had come to another state.
 * Undefined where it is right, or cannot be compared: because something in its past was revoked since,
 * or it was written beside another one.
 */
export function checkpointProblem(log: AppLog, replay: Replay, abi: number): string | undefined {
  const topic = log.topic!;
  const newest = log.view!.checkpoints.findLast(({ digest }) => digest !== null);
  const event = newest && topic.get(CID.parse(newest.event));
  const at = event === undefined ? -1 : replay.log.indexOf(event);
  if (at < 0) return undefined;
  const isPast = (other: TopicEvent) => topic.isAncestor(other, event!);
  const isComparable = topic.order().filter(isPast).length === at + 1 && // the genesis, too
    replay.log.slice(0, at).every(isPast);
  if (!isComparable || replay.stateAfter(at).digest(abi).toHex() === newest!.digest) {
    return undefined;
  }
  return `checkpoint ${newest!.event} of ${newest!.by} is of another state than the one here`;
}

const utf8 = new TextEncoder();
/** Types are few, and met again with each event. */
const kinds = new Map<string, Uint8Array>();
const KINDS_MAX = 256;

function kindOf(type: string): Uint8Array {
  let kind = kinds.get(type);
  if (kind === undefined) {
    kind = utf8.encode(type);
    if (kinds.size >= KINDS_MAX) kinds.clear();
    kinds.set(type, kind);
  }
  return kind;
}

/** Thousands of these are kept, and few guests ask for the id. */
class ReadEvent implements AppliedEvent {
  readonly #event: TopicEvent;

  constructor(event: TopicEvent, readonly payload: Uint8Array) {
    this.#event = event;
  }

  get id(): Uint8Array {
    return bytesOf(this.#event.key);
  }

  get author(): Uint8Array {
    return this.#event.author;
  }

  get seq(): number {
    return this.#event.seq;
  }

  get lamport(): number {
    return this.#event.lamport;
  }

  get kind(): Uint8Array {
    return kindOf(this.#event.type);
  }
}

function contextOf({ key, author, seq, lamport, type }: TopicEvent): Omit<AppliedEvent, "payload"> {
  return { id: bytesOf(key), author, seq, lamport, kind: kindOf(type) };
}
