/**
 * Frames: what two nodes say on a link, `/realm/link/1.0.0`.
 *
 * A frame is the canonical dag-cbor map `{frame: KIND, …}`. On a stream each one follows its length
 * in bytes, four bytes, big-endian; that is the carrier's to do, which refuses more than
 * `FRAME_BYTES_MAX` before it reads them. Decoding throws RealmError `corrupt` for whatever is
 * out of bounds; a kind that is not known is no error, since another node's program may be newer.
 *
 * Before two nodes trust each other, `hello`, `pending` and `vouch` is all they say.
 *
 * @module
 */
import type { CID } from "../../kernel/canonical.ts";
import { type ExchangeFrame, exchangeFrameOf } from "../../kernel/peering/exchange_frame.ts";
import {
  ADDRESS_LENGTH_MAX,
  ADDRESSES_MAX,
  bytesOf,
  cidOf,
  corrupt,
  type Fields,
  FRAME_ITEMS_MAX,
  frameBytes,
  frameFields,
  HELLO_BYTES_MAX,
  keyOf,
  keys,
  list,
  NAME_LENGTH_MAX,
  text,
} from "../../kernel/peering/fields.ts";

/** Characters of the name and version of a program. */
export const PROGRAM_LENGTH_MAX = 64;

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
  /** Of the control log. */
  | ExchangeFrame
  /** Signed health records: `health_record.ts`. */
  | { readonly frame: "health"; readonly records: readonly Uint8Array[] };

/** The bytes of a frame. */
export const encodeFrame: (frame: Frame) => Uint8Array<ArrayBuffer> = frameBytes;

/** Inverts {@link encodeFrame}; `undefined` for a kind that is not known. */
export function decodeFrame(bytes: Uint8Array): Frame | undefined {
  const value = frameFields(bytes);
  switch (value.frame) {
    case "hello":
      if (bytes.length > HELLO_BYTES_MAX) throw corrupt("a hello that is too long");
      return helloOf(value);
    case "pending":
      keys(value, "fingerprint frame");
      return { frame: "pending", fingerprint: text(value.fingerprint, NAME_LENGTH_MAX) };
    case "ready":
      keys(value, "frame");
      return { frame: "ready" };
    case "vouch":
      keys(value, "events frame");
      return {
        frame: "vouch",
        events: list(value.events, VOUCH_EVENTS_MAX, (item) => bytesOf(item)),
      };
    case "health":
      keys(value, "frame records");
      return {
        frame: "health",
        records: list(value.records, FRAME_ITEMS_MAX, (item) => bytesOf(item)),
      };
    default:
      return exchangeFrameOf(value);
  }
}

function helloOf(value: Fields): Hello {
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
