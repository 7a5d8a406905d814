/**
 * Frames: what two nodes say on a link, `/realm/link/1.0.0`.
 *
 * A frame is the canonical dag-cbor map `{frame: KIND, …}`. On a stream each one follows its length
 * in bytes, four bytes, big-endian; that is the carrier's to do, which refuses more than
 * {@link FRAME_BYTES_MAX} before it reads them. Decoding throws RealmError `corrupt` for whatever is
 * out of bounds; a kind that is not known is no error, since another node's program may be newer.
 *
 * Before two nodes trust each other, `hello`, `pending` and `vouch` is all they say.
 *
 * @module
 */
import { type CborValue, CID, decodeCanonical, encodeCanonical } from "../../kernel/canonical.ts";
import { RealmError } from "../../kernel/error.ts";
import { EVENT_BYTES_MAX } from "../../kernel/event.ts";
import { KEY_BYTES } from "../../kernel/key.ts";

/** Of one frame: an event of the greatest size, and room for the rest. */
export const FRAME_BYTES_MAX = EVENT_BYTES_MAX + 64 * 1024;
/** Of the first frame, which anybody may send. */
export const HELLO_BYTES_MAX = 4096;
/** Addresses of one node. */
export const ADDRESSES_MAX = 8;
/** Characters of a node's name, of an address, of the name and version of a program. */
export const NAME_LENGTH_MAX = 63;
export const ADDRESS_LENGTH_MAX = 256;
export const PROGRAM_LENGTH_MAX = 64;
/** Signed events or health records in one frame. */
export const FRAME_ITEMS_MAX = 1024;

/** Events of one `vouch`, the approval last. */
export const VOUCH_EVENTS_MAX = 16;

/** Who speaks: the first frame of both sides. */
export interface Hello {
  readonly frame: "hello";
  readonly v: 1;
  /** The node's name, for people; it proves nothing. */
  readonly name: string;
  /** The control log that it follows; null as long as it has none. */
  readonly topic: CID | null;
  /** The 32-byte key of the owner that it obeys, if it knows one. */
  readonly owner: Uint8Array | null;
  /** `realm 0.5.0` */
  readonly program: string;
  /** Multiaddrs at which it may be reached. */
  readonly addresses: readonly string[];
}

/** One thing that is said on a link. */
export type Frame =
  | Hello
  /** The receiver is not approved here; the fingerprint is that of its own key. */
  | { readonly frame: "pending"; readonly fingerprint: string }
  /**
   * To one who said `pending` and is trusted here: the owner's approval of the sender, and the
   * successions that made him owner. The receiver may have been away when it was given.
   */
  | { readonly frame: "vouch"; readonly events: readonly Uint8Array[] }
  /** The receiver is trusted here. Once both have said so the link is open. */
  | { readonly frame: "ready" }
  /** New events, in the form of `encodeSigned()`, parents first. */
  | { readonly frame: "events"; readonly events: readonly Uint8Array[] }
  /** Something is missing: the side whose key is the lesser text is to begin a session. */
  | { readonly frame: "again" }
  /** A message of the session that reconciles the control log: `kernel/sync/`. */
  | { readonly frame: "sync"; readonly message: Uint8Array }
  /** Signed health records: `health_record.ts`. */
  | { readonly frame: "health"; readonly records: readonly Uint8Array[] };

/** The bytes of a frame. */
export function encodeFrame(frame: Frame): Uint8Array<ArrayBuffer> {
  return encodeCanonical(frame as unknown as CborValue);
}

/** Inverts {@link encodeFrame}; `undefined` for a kind that is not known. */
export function decodeFrame(bytes: Uint8Array): Frame | undefined {
  if (bytes.length > FRAME_BYTES_MAX) {
    throw corrupt(`${bytes.length} bytes, wanted at most ${FRAME_BYTES_MAX}`);
  }
  const value = decodeCanonical(bytes);
  if (!isMap(value)) throw corrupt("not a map");
  switch (value.frame) {
    case "hello":
      if (bytes.length > HELLO_BYTES_MAX) throw corrupt("a hello that is too long");
      return helloOf(value);
    case "pending":
      keys(value, "fingerprint frame");
      return { frame: "pending", fingerprint: text(value.fingerprint, NAME_LENGTH_MAX) };
    case "ready":
    case "again":
      keys(value, "frame");
      return { frame: value.frame };
    case "vouch":
      keys(value, "events frame");
      return { frame: "vouch", events: list(value.events, VOUCH_EVENTS_MAX, bytesOf) };
    case "events":
      keys(value, "events frame");
      return { frame: "events", events: list(value.events, FRAME_ITEMS_MAX, bytesOf) };
    case "sync":
      keys(value, "frame message");
      return { frame: "sync", message: bytesOf(value.message) };
    case "health":
      keys(value, "frame records");
      return { frame: "health", records: list(value.records, FRAME_ITEMS_MAX, bytesOf) };
    default:
      text(value.frame, NAME_LENGTH_MAX);
      return undefined;
  }
}

function helloOf(value: Record<string, CborValue>): Hello {
  keys(value, "addresses frame name owner program topic v");
  const { v, owner, topic } = value;
  if (v !== 1) throw corrupt(`version is ${JSON.stringify(v)}, wanted 1`);
  return {
    frame: "hello",
    v,
    name: text(value.name, NAME_LENGTH_MAX),
    topic: topic === null ? null : cidOf(topic),
    owner: owner === null ? null : keyOf(owner),
    program: text(value.program, PROGRAM_LENGTH_MAX),
    addresses: list(value.addresses, ADDRESSES_MAX, (item) => text(item, ADDRESS_LENGTH_MAX)),
  };
}

/** A map that has exactly these keys, which are given sorted. */
export function keys(value: Record<string, CborValue>, wanted: string): void {
  const found = Object.keys(value).sort().join(" ");
  if (found !== wanted) throw corrupt(`has the keys ${found.slice(0, 200)}, wanted ${wanted}`);
}

/** Whether a decoded value is a map. */
export function isMap(value: CborValue | undefined): value is Record<string, CborValue> {
  return typeof value === "object" && value !== null && !Array.isArray(value) &&
    !(value instanceof Uint8Array) && CID.asCID(value) === null;
}

/** A text of bounded length. */
export function text(value: CborValue | undefined, lengthMax: number): string {
  if (typeof value !== "string" || value.length > lengthMax) {
    throw corrupt(`wanted a text of at most ${lengthMax} characters`);
  }
  return value;
}

/** A bounded list of things that `item` reads. */
export function list<T>(
  value: CborValue | undefined,
  countMax: number,
  item: (value: CborValue) => T,
): T[] {
  if (!Array.isArray(value) || value.length > countMax) {
    throw corrupt(`wanted a list of at most ${countMax}`);
  }
  return value.map(item);
}

/** A whole number from 0. */
export function count(value: CborValue | undefined): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) {
    throw corrupt("wanted a whole number from 0");
  }
  return value;
}

/** The 32 bytes of a key or a sha256. */
export function keyOf(value: CborValue | undefined): Uint8Array {
  if (!(value instanceof Uint8Array) || value.length !== KEY_BYTES) {
    throw corrupt(`wanted ${KEY_BYTES} bytes`);
  }
  return value;
}

function bytesOf(value: CborValue | undefined): Uint8Array {
  if (!(value instanceof Uint8Array)) throw corrupt("wanted bytes");
  return value;
}

function cidOf(value: CborValue | undefined): CID {
  const cid = CID.asCID(value);
  if (cid === null) throw corrupt("wanted the id of an event");
  return cid;
}

function corrupt(problem: string): RealmError {
  return new RealmError("corrupt", `Cannot read frame: ${problem}`);
}
