/**
 * Reads the fields of frames, whoever sent them: each function throws RealmError `corrupt` for what
 * is out of bounds. A frame is the canonical dag-cbor map `{frame: KIND, …}`.
 *
 * @module
 */
import { type CborValue, CID, decodeCanonical, encodeCanonical } from "../canonical.ts";
import { RealmError } from "../error.ts";
import { EVENT_BYTES_MAX } from "../event.ts";
import { KEY_BYTES } from "../key.ts";

/** Of one frame: an event of the greatest size, and room for the rest. */
export const FRAME_BYTES_MAX = EVENT_BYTES_MAX + 64 * 1024;
/** Of the first frame, which anybody may send. */
export const HELLO_BYTES_MAX = 4096;
/** Signed events or records in one frame. */
export const FRAME_ITEMS_MAX = 1024;
/** Addresses of one node, and characters of an address. */
export const ADDRESSES_MAX = 8;
export const ADDRESS_LENGTH_MAX = 256;
/** Characters of a name. */
export const NAME_LENGTH_MAX = 63;

/** A decoded map. */
export type Fields = Record<string, CborValue>;

/** Anything that is a frame. */
export interface AnyFrame {
  readonly frame: string;
}

/** The bytes of a frame. */
export function frameBytes(frame: AnyFrame): Uint8Array<ArrayBuffer> {
  return encodeCanonical(frame as unknown as CborValue);
}

/** The map of a frame, whose fields are still to be read; `frame` is a text. */
export function frameFields(bytes: Uint8Array): Fields & AnyFrame {
  if (bytes.length > FRAME_BYTES_MAX) {
    throw corrupt(`${bytes.length} bytes, wanted at most ${FRAME_BYTES_MAX}`);
  }
  const value = decodeCanonical(bytes);
  if (!isMap(value)) throw corrupt("not a map");
  text(value.frame, NAME_LENGTH_MAX);
  return value as Fields & AnyFrame;
}

/** A map that has exactly these keys, which are given sorted. */
export function keys(value: Fields, wanted: string): void {
  const found = Object.keys(value).sort().join(" ");
  if (found !== wanted) throw corrupt(`has the keys ${found.slice(0, 200)}, wanted ${wanted}`);
}

/** Whether a decoded value is a map. */
export function isMap(value: CborValue | undefined): value is Fields {
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
  return bytesOf(value, KEY_BYTES);
}

/** Bytes, of a length where that is given. */
export function bytesOf(value: CborValue | undefined, length?: number): Uint8Array {
  if (!(value instanceof Uint8Array)) throw corrupt("wanted bytes");
  if (length !== undefined && value.length !== length) throw corrupt(`wanted ${length} bytes`);
  return value;
}

/** The id of an event. */
export function cidOf(value: CborValue | undefined): CID {
  const cid = CID.asCID(value);
  if (cid === null) throw corrupt("wanted the id of an event");
  return cid;
}

/** What is wrong with what a peer sent. Anything else is a bug of ours, or the machine. */
export function messageOf(error: unknown): string {
  if (error instanceof RealmError) return error.message;
  throw error;
}

/** What is wrong with a frame. */
export function corrupt(problem: string): RealmError {
  return new RealmError("corrupt", `Cannot read frame: ${problem}`);
}
