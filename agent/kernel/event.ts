/**
 * Events: signed, content-addressed records that name their parents. A topic is the graph of the
 * events below one genesis event, and the CID of that is the topic's identity.
 *
 * An event is the dag-cbor map `{v, topic, author, seq, prev, parents, lamport, keyEpoch, type,
 * payload}` in canonical form; its id is the CID of those bytes. The signature, over
 * `realm/event/1`, a zero byte and the bytes, travels beside it: {@link encodeSigned} is the array
 * of both. Decoding throws RealmError `corrupt` for anything out of bounds, {@link verifyEvent}
 * RealmError `bad-signature`.
 *
 * What concerns several events is checked where they meet: that parents exist, that `lamport` is
 * one more than the greatest of theirs ({@link nextEvent} makes it so) and that an author has one
 * event for each `seq`.
 *
 * @module
 */
import {
  type CborValue,
  CID,
  cidOf,
  decodeCanonical,
  encodeCanonical,
  isCanonicalCid,
  signedBytes,
} from "./canonical.ts";
import { RealmError } from "./error.ts";
import { readEventForm, readPair, writePair } from "./event_form.ts";
import { formatPublicKey, KEY_BYTES } from "./key.ts";
import {
  SIGNATURE_BYTES,
  type SignatureBackend,
  type Signer,
  type SyncSigner,
  verify,
  type VerifySync,
} from "./verify.ts";

/** Bytes of an unsigned event: a manifest of the greatest size and room for the rest. */
export const EVENT_BYTES_MAX = 1024 * 1024;

/** Parents of one event. */
export const PARENTS_MAX = 32;

/** `control/manifest`: words of a-z, 0-9 and -, with slashes between. */
const TYPE = /^(?=.{1,64}$)[a-z0-9-]+(?:\/[a-z0-9-]+)*$/;

/** Whether an event may have this type. */
export function isEventType(type: string): boolean {
  return TYPE.test(type);
}

/** An event, as its author made it. */
export interface Event {
  /** Version of this form. */
  readonly v: 1;
  /** The CID of the topic's genesis; null in the genesis itself. */
  readonly topic: CID | null;
  /** The author's 32-byte public key. */
  readonly author: Uint8Array;
  /** 0 for the author's first event in the topic, then one more each time. */
  readonly seq: number;
  /** The author's previous event in the topic; null when `seq` is 0. */
  readonly prev: CID | null;
  /** The heads that the author saw: sorted by bytes, none twice; none in the genesis. */
  readonly parents: readonly CID[];
  /** One more than the greatest of the parents; 0 in the genesis. */
  readonly lamport: number;
  /** Which of the topic's keys the payload is encrypted to; 0 when it is not. */
  readonly keyEpoch: number;
  readonly type: string;
  readonly payload: CborValue;
}

/** An event with its bytes, id and signature; not verified by being one. */
export interface SignedEvent {
  readonly id: CID;
  readonly event: Event;
  readonly bytes: Uint8Array;
  /** 64 bytes. */
  readonly signature: Uint8Array;
}

/** What {@link nextEvent} adds to the events that are there. */
export interface EventContent {
  readonly type: string;
  readonly payload: CborValue;
  readonly keyEpoch?: number;
}

/** The canonical bytes of an event. Throws RealmError `corrupt` when it is out of bounds. */
export function encodeEvent(event: Event): Uint8Array<ArrayBuffer> {
  check(event);
  const bytes = encodeCanonical(event as unknown as CborValue);
  if (bytes.length > EVENT_BYTES_MAX) throw tooLarge(bytes.length);
  return bytes;
}

/** The event of canonical bytes; throws RealmError `corrupt`. */
export function decodeEvent(bytes: Uint8Array): Event {
  return eventOf(bytes.slice());
}

/** {@link decodeEvent}, of bytes that nobody changes any more. */
function eventOf(bytes: Uint8Array): Event {
  if (bytes.length > EVENT_BYTES_MAX) throw tooLarge(bytes.length);
  const usual = readEventForm(bytes, isEventType);
  if (usual !== undefined) return usual;
  const value = decodeCanonical(bytes, { sharing: true });
  check(value);
  return value;
}

/** Signs an event as its author, which must be the signer. */
export async function signEvent(event: Event, signer: Signer): Promise<SignedEvent> {
  const bytes = encodeEvent(event);
  const signature = await signer.sign(signedBytes("realm/event/1", bytes));
  return { id: cidOf(bytes), event, bytes, signature };
}

/** {@link signEvent}, at once. */
export function signEventSync(event: Event, signer: SyncSigner): SignedEvent {
  const bytes = encodeEvent(event);
  const signature = signer.sign(signedBytes("realm/event/1", bytes));
  return { id: cidOf(bytes), event, bytes, signature };
}

/** Throws RealmError `bad-signature` unless the author signed these very bytes. */
export async function verifyEvent(signed: SignedEvent, backend: SignatureBackend): Promise<void> {
  const { event, bytes, signature } = signed;
  const message = signedBytes("realm/event/1", bytes);
  if (!await verify(event.author, message, signature, backend)) throw forged(signed);
}

/** {@link verifyEvent}, at once. */
export function verifyEventSync(signed: SignedEvent, verify: VerifySync): void {
  const { event, bytes, signature } = signed;
  if (!verify(event.author, signedBytes("realm/event/1", bytes), signature)) throw forged(signed);
}

/** The bytes that are stored and sent: dag-cbor of `[bytes, signature]`. */
export function encodeSigned({ bytes, signature }: SignedEvent): Uint8Array<ArrayBuffer> {
  return writePair(bytes, signature);
}

/** Inverts {@link encodeSigned}; throws RealmError `corrupt`. Does not check the signature. */
export function decodeSigned(encoded: Uint8Array): SignedEvent {
  return signedEventIn(encoded.slice());
}

/**
 * {@link decodeSigned}, of bytes that nobody changes any more: the event is made of parts of them. With
 * an id it is the event of that, which was found before.
 */
export function signedEventIn(encoded: Uint8Array, id?: CID): SignedEvent {
  if (encoded.length > EVENT_BYTES_MAX + 2 * SIGNATURE_BYTES) throw tooLarge(encoded.length);
  const value = readPair(encoded) ?? decodeCanonical(encoded, { sharing: true });
  if (!Array.isArray(value) || value.length !== 2) throw corrupt("not an event and its signature");
  const [bytes, signature] = value as readonly CborValue[];
  if (!(bytes instanceof Uint8Array)) throw corrupt("the event is not bytes");
  if (!isBytes(signature, SIGNATURE_BYTES)) throw corrupt("the signature is not 64 bytes");
  return { id: id ?? cidOf(bytes), event: eventOf(bytes), bytes, signature };
}

/** The first event of a topic. A payload that is not unique gives a topic that is not. */
export function genesisEvent(author: Uint8Array, content: EventContent): Event {
  return {
    v: 1,
    topic: null,
    author,
    seq: 0,
    prev: null,
    parents: [],
    lamport: 0,
    keyEpoch: content.keyEpoch ?? 0,
    type: content.type,
    payload: content.payload,
  };
}

/** The topic that an event belongs to: its own id for a genesis. */
export function topicOf({ id, event }: Pick<SignedEvent, "id" | "event">): CID {
  return event.topic ?? id;
}

/** Where the next event of an author goes in a topic. */
export interface EventPlace {
  readonly topic: CID;
  /** Events that are nobody's parents yet; not empty. */
  readonly heads: readonly { readonly id: CID; readonly lamport: number }[];
  /** The author's own newest event in the topic, if there is one. */
  readonly previous: { readonly id: CID; readonly seq: number } | undefined;
}

/** The event of an author at a place; {@link signEvent} takes it. */
export function eventAt(author: Uint8Array, place: EventPlace, content: EventContent): Event {
  const { topic, heads, previous } = place;
  return {
    v: 1,
    topic,
    author,
    seq: previous === undefined ? 0 : previous.seq + 1,
    prev: previous?.id ?? null,
    parents: heads.map(({ id }) => id).sort(byBytes),
    lamport: Math.max(...heads.map(({ lamport }) => lamport)) + 1,
    keyEpoch: content.keyEpoch ?? 0,
    type: content.type,
    payload: content.payload,
  };
}

/** {@link eventAt} after events that are there: `heads`, all of one topic, and the author's last. */
export function nextEvent(
  author: Uint8Array,
  heads: readonly SignedEvent[],
  previous: SignedEvent | undefined,
  content: EventContent,
): Event {
  return eventAt(author, {
    topic: topicOf(heads[0]!),
    heads: heads.map(({ id, event }) => ({ id, lamport: event.lamport })),
    previous: previous && { id: previous.id, seq: previous.event.seq },
  }, content);
}

/** Orders CIDs by their bytes. */
export function byBytes(a: CID, b: CID): number {
  const length = Math.min(a.bytes.length, b.bytes.length);
  for (let i = 0; i < length; i++) {
    if (a.bytes[i]! !== b.bytes[i]!) return a.bytes[i]! - b.bytes[i]!;
  }
  return a.bytes.length - b.bytes.length;
}

const KEYS = new Set(
  "author keyEpoch lamport parents payload prev seq topic type v".split(" "),
);

function check(value: unknown): asserts value is Event {
  const isMap = typeof value === "object" && value !== null && !Array.isArray(value);
  const keys = isMap ? Object.keys(value) : [];
  if (keys.length !== KEYS.size || !keys.every((key) => KEYS.has(key))) {
    throw corrupt(`wanted a map with the keys ${[...KEYS].join(" ")}`);
  }
  const { v, topic, author, seq, prev, parents, lamport, keyEpoch, type } = value as Record<
    string,
    unknown
  >;
  if (v !== 1) throw corrupt(`version is ${v}, wanted 1`);
  if (!isBytes(author, KEY_BYTES)) throw corrupt(`author is not a key of ${KEY_BYTES} bytes`);
  if (!isCount(seq)) throw corrupt("seq is not a whole number from 0");
  if (!isCount(lamport)) throw corrupt("lamport is not a whole number from 0");
  if (!isCount(keyEpoch)) throw corrupt("keyEpoch is not a whole number from 0");
  if (typeof type !== "string" || !isEventType(type)) {
    throw corrupt("type is not 1 to 64 characters of a-z, 0-9, - and /");
  }
  if (prev !== null && !isId(prev)) throw corrupt("prev is neither the id of an event nor null");
  if ((prev === null) !== (seq === 0)) throw corrupt("wanted prev exactly when seq is above 0");
  if (!Array.isArray(parents) || parents.length > PARENTS_MAX || !parents.every(isId)) {
    throw corrupt(`parents is not an array of at most ${PARENTS_MAX} ids of events`);
  }
  if (parents.some((id, i) => i > 0 && byBytes(parents[i - 1]!, id) >= 0)) {
    throw corrupt("parents are not sorted or one is there twice");
  }
  if (topic === null) {
    if (seq !== 0 || parents.length > 0 || lamport !== 0) {
      throw corrupt("a genesis has seq 0, lamport 0 and no parents");
    }
    return;
  }
  if (!isId(topic)) throw corrupt("topic is neither the id of an event nor null");
  if (parents.length === 0 || lamport === 0) throw corrupt("only a genesis has no parents");
  // Its author's events are among its ancestors, and each is at least one above the one before.
  if (lamport < seq) throw corrupt("lamport is below seq");
}

function isId(value: unknown): value is CID {
  const cid = CID.asCID(value);
  return cid !== null && isCanonicalCid(cid);
}

function isBytes(value: unknown, length: number): value is Uint8Array {
  return value instanceof Uint8Array && value.length === length;
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function forged({ id, event }: SignedEvent): RealmError {
  return new RealmError(
    "bad-signature",
    `Cannot accept event ${id}: wanted a signature by ${formatPublicKey(event.author)}`,
  );
}

function tooLarge(size: number): RealmError {
  return corrupt(`${size} bytes, wanted at most ${EVENT_BYTES_MAX}`);
}

function corrupt(problem: string): RealmError {
  return new RealmError("corrupt", `Cannot read event: ${problem}`);
}
