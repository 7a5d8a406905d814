/**
 * The signatures of the events in a frame of a topic, to be verified before the frame is taken: where
 * frames come faster than one thread takes them, another one does this meanwhile.
 *
 * What cannot be read is passed over. Whoever takes the frame finds the same, and says what is wrong.
 *
 * @module
 */
import { cidOf, signedBytes } from "../../kernel/canonical.ts";
import { RealmError } from "../../kernel/error.ts";
import { signedEventIn } from "../../kernel/event.ts";
import { KEY_BYTES } from "../../kernel/key.ts";
import { decodeMessage } from "../../kernel/sync/messages.ts";
import type { SignedMessage } from "../../kernel/verified_ahead.ts";
import { SIGNATURE_BYTES, type VerifySync } from "../../kernel/verify.ts";
import { decodeTopicFrame } from "./topic_frame.ts";

/** Nobody asks for the ids of the events: to find them takes as long as all else but to verify. */
const NO_ID = cidOf(new Uint8Array());
const LENGTH_BYTES = 4;
const HEAD_BYTES = LENGTH_BYTES + KEY_BYTES + SIGNATURE_BYTES;

/** The signatures of the events in a frame to which `verify` says yes, in the form of {@link packed}. */
export function verifiedIn(frame: Uint8Array, verify: VerifySync): Uint8Array<ArrayBuffer> {
  const verified: SignedMessage[] = [];
  for (const encoded of encodedIn(frame)) {
    const found = attempt(() => signedEventIn(encoded, NO_ID));
    if (found === undefined) continue;
    const { event: { author: publicKey }, bytes, signature } = found;
    const message = signedBytes("realm/event/1", bytes);
    if (verify(publicKey, message, signature)) verified.push({ publicKey, message, signature });
  }
  return packed(verified);
}

function encodedIn(bytes: Uint8Array): readonly Uint8Array[] {
  const frame = attempt(() => decodeTopicFrame(bytes));
  if (frame?.frame === "events") return frame.events;
  if (frame?.frame !== "sync") return [];
  const message = attempt(() => decodeMessage(frame.message));
  return message?.kind === "events" ? message.events : [];
}

function attempt<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch (error) {
    if (error instanceof RealmError) return undefined;
    throw error;
  }
}

/**
 * Signatures in one piece of memory, one after another: the bytes of the message as four, big-endian,
 * the key, the signature, the message. To clone an array for each takes longer than the rest.
 */
export function packed(all: readonly SignedMessage[]): Uint8Array<ArrayBuffer> {
  const length = all.reduce((sum, { message }) => sum + HEAD_BYTES + message.length, 0);
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const { publicKey, signature, message } of all) {
    view.setUint32(at, message.length);
    bytes.set(publicKey, at + LENGTH_BYTES);
    bytes.set(signature, at + LENGTH_BYTES + KEY_BYTES);
    bytes.set(message, at + HEAD_BYTES);
    at += HEAD_BYTES + message.length;
  }
  return bytes;
}

/** Inverse of {@link packed}, of what it gave: parts of it. */
export function unpacked(bytes: Uint8Array): SignedMessage[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const all: SignedMessage[] = [];
  for (let at = 0; at < bytes.length;) {
    const end = at + HEAD_BYTES + view.getUint32(at);
    const keyAt = at + LENGTH_BYTES;
    all.push({
      publicKey: bytes.subarray(keyAt, keyAt + KEY_BYTES),
      signature: bytes.subarray(keyAt + KEY_BYTES, at + HEAD_BYTES),
      message: bytes.subarray(at + HEAD_BYTES, end),
    });
    at = end;
  }
  return all;
}
