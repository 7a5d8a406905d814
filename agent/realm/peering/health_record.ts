/**
 * Health records: what each node says of itself every second or two, signed by its key, handed on
 * by every other node.
 *
 * The bytes are the dag-cbor array `[record, signature]`, where `record` is the canonical bytes of
 * the map and the signature is over `realm/health/1`, a zero byte and these bytes. Of two records of
 * one node the one with the greater `epoch`, then `counter`, is the newer; a node counts its starts
 * as epochs. What is said is the word of that node and of no one else. Keys of the map that are not
 * known are passed over: a newer program may say more.
 *
 * A record that is full to every bound has no more than {@link RECORD_BYTES_MAX} bytes once the
 * evidence of failures, what it gave up and older verdicts are left out, so that a node with many components is heard like any other. Of
 * more than {@link COMPONENTS_MAX} components it tells of the first, and raises the alarm `unreported`.
 *
 * @module
 */
import {
  type CborValue,
  decodeCanonical,
  encodeCanonical,
  signedBytes,
} from "../../kernel/canonical.ts";
import { RealmError } from "../../kernel/error.ts";
import { parsePublicKey, publicKeyProblem } from "../../kernel/key.ts";
import {
  ADDRESS_LENGTH_MAX,
  ADDRESSES_MAX,
  bytesOf,
  count,
  isMap,
  keyOf,
  list,
  NAME_LENGTH_MAX,
  text,
} from "../../kernel/peering/fields.ts";
import { PROGRAM_LENGTH_MAX } from "./frame.ts";
import { SUBJECT_LENGTH_MAX, TOLD_MAX, type ToldAlarm, VALUE_LENGTH_MAX } from "../alarms.ts";
import { EVIDENCE_LENGTH_MAX, type Failure } from "../effective_release.ts";
import type { SlotReport } from "../rollout.ts";
import { type HeardVerdict, VERDICTS_MAX } from "../verdicts.ts";

/** Bytes of a record with its signature. */
export const RECORD_BYTES_MAX = 132 * 1024;
/** Components of one node, peers that are heard, nodes that wait for approval, in one record. */
export const COMPONENTS_MAX = 512;
export const HEARD_MAX = 64;
export const PENDING_MAX = 8;
/** Failed releases in one record. */
export const FAILURES_MAX = 8;
/** UTF-16 units of why a node refuses a manifest. */
export const REFUSAL_LENGTH_MAX = 500;
/** Components in one record of which a node gave replicas up, and UTF-16 units of why. */
export const GIVEN_UP_MAX = 8;
export const GIVEN_UP_LENGTH_MAX = 300;
/** Verdicts that are told of in a record that is full to every other bound. */
export const VERDICTS_SURE = 12;
/** A signature, and what the encoding of both parts adds. */
const AROUND_BYTES = 80;
const REVISION_BYTES = 8;
/** Starts of a node. */
const EPOCH_MAX = 2 ** 40;

/** The replicas of a component on one node; see `rollout.ts` for what it says of its slots. */
export interface ComponentHealth extends Omit<SlotReport, "ready"> {
  readonly component: string;
  /** sha256 of the bytes of those that run, in hex. */
  readonly digest: string;
  readonly wanted: number;
  /** Those that are ready: what takes requests takes them. */
  readonly running: number;
}

/** A key that asked to join and is not approved. */
export interface PendingPeer {
  /** Text form of the key. */
  readonly key: string;
  /** The name that it gives itself. */
  readonly name: string;
}

/** That a node does not go by a manifest. */
export interface Refusal {
  readonly version: number;
  /** In words, at most {@link REFUSAL_LENGTH_MAX}. */
  readonly why: string;
}

/** Replicas of a component that a node is to run, gave up, and tries again from time to time. */
export interface GivenUp {
  readonly component: string;
  readonly replicas: number;
  /** In words, at most {@link GIVEN_UP_LENGTH_MAX}. */
  readonly why: string;
}

/** What the shell knows of its own node, for its record. */
export interface OwnHealth {
  /** Version of the manifest that is applied; 0 for none. */
  readonly version: number;
  /** What its replicas go by besides the manifest: see `NodeAnswer.basis`. */
  readonly basis: string;
  /** The version that it does not go by although its log says so; `null` for none. */
  readonly refusal: Refusal | null;
  /** How often that changed: only grows, over restarts too. */
  readonly turns: number;
  /** In thousandths of all cores. */
  readonly cpuPermille: number;
  /** Resident memory of the agent. */
  readonly memoryBytes: number;
  readonly addresses: readonly string[];
  readonly replicas: readonly ComponentHealth[];
  /** Releases that this node itself found to have failed, the newest last; of others it tells in `verdicts`. */
  readonly failures: readonly Failure[];
  /** What it tells of these and of verdicts that it heard, at most {@link VERDICTS_MAX}. */
  readonly verdicts: readonly HeardVerdict[];
  /** What it gave up, at most {@link GIVEN_UP_MAX}: see `slot_tries.ts`. Only people act on it. */
  readonly givenUp: readonly GivenUp[];
  /** What it has to complain of itself, the worst first. */
  readonly alarms: readonly ToldAlarm[];
  /** Round trip to a linked peer in milliseconds, where it was measured. */
  latencyMs(peer: string): number | undefined;
}

/** One record. */
export interface HealthRecord extends Omit<OwnHealth, "latencyMs"> {
  /** Text form of the node's key. */
  readonly key: string;
  readonly epoch: number;
  readonly counter: number;
  readonly name: string;
  readonly program: string;
  /** The time by its clock, in milliseconds since 1970. */
  readonly saidAtMs: number;
  /** sha256 over the ids of the heads of its control log, sorted, in hex. */
  readonly heads: string;
  /** Digest of the view of its control log: equal heads, equal view. */
  readonly viewDigest: string;
  /** Events of its control log. */
  readonly count: number;
  /**
   * Peers that it hears directly, by the text of their key, with the round trip in milliseconds,
   * -1 where it is not known. Nobody has to hand their records on to it.
   */
  readonly heard: readonly (readonly [peer: string, ms: number])[];
  /** Nodes that asked this one to join, the newest last. */
  readonly pending: readonly PendingPeer[];
}

/** A record with the bytes that are handed on. */
export interface SignedHealth {
  readonly record: HealthRecord;
  readonly bytes: Uint8Array;
}

/**
 * Signs the record of the own node. What would make it too long for others to take is evidence of
 * failures, of which the oldest is left out then, what it gave up, and last what it tells of verdicts
 * beside the newest {@link VERDICTS_SURE}: those of its own stay.
 */
export function signHealth(
  record: HealthRecord,
  sign: (message: Uint8Array) => Uint8Array,
): SignedHealth {
  let bytes = encodeRecord(record);
  const isTooLong = () => bytes.length + AROUND_BYTES > RECORD_BYTES_MAX;
  for (let i = 0; isTooLong() && i < record.failures.length; i++) {
    const failures = record.failures.with(i, { ...record.failures[i]!, evidence: "" });
    record = { ...record, failures };
    bytes = encodeRecord(record);
  }
  if (isTooLong()) {
    record = { ...record, givenUp: [] };
    bytes = encodeRecord(record);
  }
  if (isTooLong()) {
    record = { ...record, verdicts: record.verdicts.slice(-VERDICTS_SURE) };
    bytes = encodeRecord(record);
  }
  const signature = sign(signedBytes("realm/health/1", bytes));
  return { record, bytes: encodeCanonical([bytes, signature]) };
}

function encodeRecord(record: HealthRecord): Uint8Array {
  return encodeCanonical({
    v: 1,
    key: record.key,
    epoch: record.epoch,
    counter: record.counter,
    name: record.name,
    program: record.program,
    at: wholeMs(record.saidAtMs),
    heads: record.heads,
    view: record.viewDigest,
    count: record.count,
    version: record.version,
    basis: record.basis,
    refusal: record.refusal && [record.refusal.version, record.refusal.why],
    turns: record.turns,
    cpu: record.cpuPermille,
    memory: record.memoryBytes,
    addresses: record.addresses.slice(0, ADDRESSES_MAX),
    replicas: record.replicas.slice(0, COMPONENTS_MAX).map((r) => [
      r.component,
      Uint8Array.fromHex(r.digest),
      r.wanted,
      r.running,
      Uint8Array.fromHex(r.revision),
      r.slots,
      r.settled,
      r.doubled,
      r.isComplete ? 1 : 0,
      r.isHeld ? 1 : 0,
      r.tries,
    ]),
    failures: record.failures.slice(-FAILURES_MAX)
      .map((f) => [f.component, f.version, f.release, f.node, f.evidence]),
    verdicts: record.verdicts.slice(-VERDICTS_MAX).map((v) => [
      v.component,
      v.version,
      Uint8Array.fromHex(v.release),
      v.node,
      v.wasComplete ? 1 : 0,
    ]),
    "given-up": record.givenUp.slice(0, GIVEN_UP_MAX)
      .map((each) => [each.component, each.replicas, each.why]),
    alarms: record.alarms.slice(0, TOLD_MAX)
      .map((a) => [a.code, a.subject, a.value, wholeMs(a.sinceAtMs)]),
    heard: record.heard.slice(0, HEARD_MAX)
      .map(([peer, ms]) => [peer, Math.round(ms) + 1]),
    pending: record.pending.slice(-PENDING_MAX)
      .map(({ key, name }) => [key, name]),
  });
}

/** Clocks may say parts of a millisecond, and what is before 1970 is no time. */
function wholeMs(atMs: number): number {
  return Math.max(0, Math.round(atMs));
}

/**
 * Reads a record that is news, `undefined` for any other: most records arrive several times, and to
 * verify a signature costs more than all the rest. Throws RealmError `corrupt` for what is out of
 * bounds and `bad-signature`.
 */
export function readHealth(
  bytes: Uint8Array,
  isNews: (record: HealthRecord) => boolean,
  verify: (key: Uint8Array, message: Uint8Array, signature: Uint8Array) => boolean,
): SignedHealth | undefined {
  const [inner, signature] = parts(bytes);
  const record = recordOf(inner);
  if (!isNews(record)) return undefined;
  for (const { key } of [record, ...record.pending]) {
    if (publicKeyProblem(key) !== undefined) throw corrupt("a key is not one");
  }
  if (verify(parsePublicKey(record.key), signedBytes("realm/health/1", inner), signature)) {
    return { record, bytes };
  }
  throw new RealmError(
    "bad-signature",
    `Cannot accept health record: wanted a signature by ${record.key}`,
  );
}

function parts(bytes: Uint8Array): [Uint8Array, Uint8Array] {
  if (bytes.length > RECORD_BYTES_MAX) throw corrupt(`has ${bytes.length} bytes`);
  const value = decodeCanonical(bytes);
  if (!Array.isArray(value) || value.length !== 2) throw corrupt("wanted a record and a signature");
  const [inner, signature] = value as readonly CborValue[];
  if (!(inner instanceof Uint8Array) || !(signature instanceof Uint8Array)) {
    throw corrupt("wanted bytes");
  }
  return [inner, signature];
}

function recordOf(bytes: Uint8Array): HealthRecord {
  const value = decodeCanonical(bytes);
  if (!isMap(value)) throw corrupt("not a map");
  if (value.v !== 1) throw corrupt("wanted version 1");
  return {
    key: publicKey(value.key),
    epoch: epoch(value.epoch),
    counter: count(value.counter),
    name: text(value.name, NAME_LENGTH_MAX),
    program: text(value.program, PROGRAM_LENGTH_MAX),
    saidAtMs: count(value.at),
    heads: hex(value.heads),
    viewDigest: hex(value.view),
    count: count(value.count),
    version: count(value.version),
    basis: value.basis === "" ? "" : revisionText(value.basis),
    refusal: refusalOf(value.refusal),
    turns: count(value.turns ?? 0),
    cpuPermille: count(value.cpu),
    memoryBytes: count(value.memory),
    addresses: list(value.addresses, ADDRESSES_MAX, (item) => text(item, ADDRESS_LENGTH_MAX)),
    replicas: list(value.replicas, COMPONENTS_MAX, (item) => {
      const [component, digest, wanted, running, revision, ...slots] = tuple(item, 11);
      return {
        component: text(component, NAME_LENGTH_MAX * 2),
        digest: keyOf(digest).toHex(),
        wanted: count(wanted),
        running: count(running),
        revision: bytesOf(revision, REVISION_BYTES).toHex(),
        slots: count(slots[0]),
        settled: count(slots[1]),
        doubled: count(slots[2]),
        isComplete: count(slots[3]) > 0,
        isHeld: count(slots[4]) > 0,
        tries: count(slots[5]),
      };
    }),
    failures: list(value.failures, FAILURES_MAX, (item) => {
      const [component, version, release, node, evidence] = tuple(item, 5);
      return {
        component: text(component, NAME_LENGTH_MAX * 2),
        version: count(version),
        release: revisionText(release),
        node: text(node, NAME_LENGTH_MAX),
        evidence: text(evidence, EVIDENCE_LENGTH_MAX),
      };
    }),
    verdicts: list(value.verdicts ?? [], VERDICTS_MAX, (item) => {
      const [component, version, release, node, wasComplete] = tuple(item, 5);
      return {
        component: text(component, NAME_LENGTH_MAX * 2),
        version: count(version),
        release: bytesOf(release, REVISION_BYTES).toHex(),
        node: text(node, NAME_LENGTH_MAX),
        wasComplete: count(wasComplete) > 0,
      };
    }),
    givenUp: list(value["given-up"] ?? [], GIVEN_UP_MAX, (item) => {
      const [component, replicas, why] = tuple(item, 3);
      return {
        component: text(component, NAME_LENGTH_MAX * 2),
        replicas: count(replicas),
        why: text(why, GIVEN_UP_LENGTH_MAX),
      };
    }),
    alarms: list(value.alarms, TOLD_MAX, (item) => {
      const [code, subject, value, sinceAtMs] = tuple(item, 4);
      return {
        code: text(code, NAME_LENGTH_MAX),
        subject: subject === null ? null : text(subject, SUBJECT_LENGTH_MAX),
        value: value === null ? null : text(value, VALUE_LENGTH_MAX),
        sinceAtMs: count(sinceAtMs),
      };
    }),
    heard: list(value.heard, HEARD_MAX, (item) => {
      const [peer, ms] = tuple(item, 2);
      return [publicKey(peer), count(ms) - 1] as const;
    }),
    pending: list(value.pending, PENDING_MAX, (item) => {
      const [key, name] = tuple(item, 2);
      return { key: publicKey(key), name: text(name, NAME_LENGTH_MAX) };
    }),
  };
}

function refusalOf(value: CborValue | undefined): Refusal | null {
  if (value === null) return null;
  const [version, why] = tuple(value ?? null, 2);
  return { version: count(version), why: text(why, REFUSAL_LENGTH_MAX) };
}

/** Bounded, so that there is always a greater one. */
function epoch(value: CborValue | undefined): number {
  const number = count(value);
  if (number > EPOCH_MAX) throw corrupt(`epoch is ${number}, wanted at most ${EPOCH_MAX}`);
  return number;
}

function tuple(value: CborValue, length: number): readonly CborValue[] {
  if (!Array.isArray(value) || value.length !== length) throw corrupt(`wanted a list of ${length}`);
  return value;
}

/** The text form: shorter to handle than bytes, and only the author's has to be a point. */
function publicKey(value: CborValue | undefined): string {
  const key = text(value, 52);
  if (!/^ed25519:[1-9A-HJ-NP-Za-km-z]{32,44}$/.test(key)) throw corrupt("wanted a public key");
  return key;
}

function hex(value: CborValue | undefined): string {
  const digits = text(value, 64);
  if (!/^[0-9a-f]{64}$/.test(digits)) throw corrupt("wanted a sha256 in hex");
  return digits;
}

/** See `revisionOf`. */
function revisionText(value: CborValue | undefined): string {
  const digits = text(value, 16);
  if (!/^[0-9a-f]{16}$/.test(digits)) throw corrupt("wanted a revision");
  return digits;
}

function corrupt(problem: string): RealmError {
  return new RealmError("corrupt", `Cannot read health record: ${problem}`);
}
