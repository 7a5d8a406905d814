/**
 * Frames: what two peers say on a link about one topic of an app, `/realm/topic/1.0.0`.
 *
 * A frame is the canonical dag-cbor map `{frame: KIND, …}`. On a stream each one follows its length
 * in bytes, four bytes, big-endian. Decoding throws RealmError `corrupt` for whatever is out of
 * bounds; a kind that is not known is no error, since another peer's program may be newer.
 *
 * Who opened the stream says `hello` first. The other side answers nothing, not even that it has
 * such a topic, before it knows that the one who asks may know.
 *
 * @module
 */
import { type ExchangeFrame, exchangeFrameOf } from "../../kernel/peering/exchange_frame.ts";
import {
  ADDRESS_LENGTH_MAX,
  ADDRESSES_MAX,
  bytesOf,
  corrupt,
  count,
  type Fields,
  frameBytes,
  frameFields,
  isMap,
  keyOf,
  keys,
  list,
  text,
} from "../../kernel/peering/fields.ts";
import { SIGNATURE_BYTES } from "../../kernel/verify.ts";
import type { DriftQuestion } from "../state_digest.ts";

/** Of a hello, which anybody may send. */
export const TOPIC_HELLO_BYTES_MAX = 16 * 1024;
/** Events that show how somebody was admitted. */
export const VOUCH_EVENTS_MAX = 16;
/** Bytes that make each hello another one. */
export const NONCE_BYTES = 16;
/** Nodes that are told of at once. */
export const NODES_MAX = 32;
/** Bytes of an answer about a state: slots, or a digest and a key. */
export const ANSWER_BYTES_MAX = 16 * 1024;

/** Who speaks, and about which topic: the first frame of both sides. See `topic_hello.ts`. */
export interface TopicHello {
  readonly frame: "hello";
  readonly v: 1;
  /** Names the topic for whoever knows it, and for nobody else. */
  readonly tag: Uint8Array;
  readonly nonce: Uint8Array;
  /** The 32-byte key of the person for whom this node speaks. */
  readonly person: Uint8Array;
  /** The person's signature. */
  readonly proof: Uint8Array;
  /** Of one who was invited: the invite's key, and its signature that it is this person's. */
  readonly invite: { readonly key: Uint8Array; readonly proof: Uint8Array } | null;
  /** How the person was admitted, for one who has missed it; in the form of `encodeSigned()`. */
  readonly vouch: readonly Uint8Array[];
}

/**
 * How far somebody is: what everybody has that has as many events with these heads. The finish line
 * of a session, and again when it is another one.
 */
export interface Complete {
  readonly frame: "complete";
  /** Kept events. */
  readonly count: number;
  /** The digest of the heads that `headsDigest()` makes. */
  readonly heads: Uint8Array;
  /** The digest of the state after them; null where it was not made: not yet, or by a keeper. */
  readonly digest: Uint8Array | null;
  /** What the state is made by; 0 where there is none. */
  readonly abi: number;
}

/** A node that takes part in the topic, and where it may be reached: a hint. */
export interface NodeHint {
  /** Its key, 32 bytes. */
  readonly key: Uint8Array;
  /** Multiaddrs. */
  readonly addresses: readonly string[];
}

/** One thing that is said on a link. */
export type TopicFrame =
  | TopicHello
  /** The receiver is trusted here. Once both have said so the link is open. */
  | { readonly frame: "ready" }
  | ExchangeFrame
  | Complete
  /** The others that the sender is linked with. */
  | { readonly frame: "nodes"; readonly nodes: readonly NodeHint[] }
  /** About the receiver's state of a digest that it told of. */
  | { readonly frame: "ask"; readonly digest: Uint8Array; readonly question: DriftQuestion }
  /** The answer to what was asked last; null when the state is not there any more. */
  | { readonly frame: "answer"; readonly answer: Uint8Array | null };

/** The bytes of a frame. */
export const encodeTopicFrame: (frame: TopicFrame) => Uint8Array<ArrayBuffer> = frameBytes;

/** Inverts {@link encodeTopicFrame}; `undefined` for a kind that is not known. */
export function decodeTopicFrame(bytes: Uint8Array): TopicFrame | undefined {
  const value = frameFields(bytes);
  switch (value.frame) {
    case "hello":
      if (bytes.length > TOPIC_HELLO_BYTES_MAX) throw corrupt("a hello that is too long");
      return helloOf(value);
    case "ready":
      keys(value, "frame");
      return { frame: "ready" };
    case "complete":
      keys(value, "abi count digest frame heads");
      return {
        frame: "complete",
        count: count(value.count),
        heads: keyOf(value.heads),
        digest: value.digest === null ? null : keyOf(value.digest),
        abi: count(value.abi),
      };
    case "nodes":
      keys(value, "frame nodes");
      return { frame: "nodes", nodes: list(value.nodes, NODES_MAX, nodeOf) };
    case "ask":
      keys(value, "digest frame question");
      return { frame: "ask", digest: keyOf(value.digest), question: questionOf(value.question) };
    case "answer":
      keys(value, "answer frame");
      return { frame: "answer", answer: value.answer === null ? null : answerOf(value.answer) };
    default:
      return exchangeFrameOf(value);
  }
}

function helloOf(value: Fields): TopicHello {
  keys(value, "frame invite nonce person proof tag v vouch");
  const { v, invite } = value;
  if (v !== 1) throw corrupt(`version is ${JSON.stringify(v)}, wanted 1`);
  return {
    frame: "hello",
    v,
    tag: keyOf(value.tag),
    nonce: bytesOf(value.nonce, NONCE_BYTES),
    person: keyOf(value.person),
    proof: bytesOf(value.proof, SIGNATURE_BYTES),
    invite: invite === null ? null : inviteOf(fieldsOf(invite)),
    vouch: list(value.vouch, VOUCH_EVENTS_MAX, (item) => bytesOf(item)),
  };
}

function inviteOf(value: Fields): NonNullable<TopicHello["invite"]> {
  keys(value, "key proof");
  return { key: keyOf(value.key), proof: bytesOf(value.proof, SIGNATURE_BYTES) };
}

function nodeOf(item: Fields[string]): NodeHint {
  const value = fieldsOf(item);
  keys(value, "addresses key");
  return {
    key: keyOf(value.key),
    addresses: list(value.addresses, ADDRESSES_MAX, (each) => text(each, ADDRESS_LENGTH_MAX)),
  };
}

function questionOf(item: Fields[string] | undefined): DriftQuestion {
  const value = fieldsOf(item);
  keys(value, "bits kind prefix");
  const { kind } = value;
  if (kind !== "slots" && kind !== "entry") throw corrupt("wanted a question of slots or an entry");
  return { kind, prefix: keyOf(value.prefix), bits: count(value.bits) };
}

function answerOf(value: Fields[string] | undefined): Uint8Array {
  const bytes = bytesOf(value);
  if (bytes.length > ANSWER_BYTES_MAX) throw corrupt(`wanted at most ${ANSWER_BYTES_MAX} bytes`);
  return bytes;
}

function fieldsOf(value: Fields[string] | undefined): Fields {
  if (!isMap(value)) throw corrupt("wanted a map");
  return value;
}
