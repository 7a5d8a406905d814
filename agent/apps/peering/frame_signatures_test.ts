import assert from "node:assert/strict";
import fc from "fast-check";
import { signedBytes } from "../../kernel/canonical.ts";
import { decodeSigned, encodeSigned } from "../../kernel/event.ts";
import { encodeMessage } from "../../kernel/sync/messages.ts";
import { ann, createTopic, something, verify } from "../topic/topic_fake.ts";
import { packed, unpacked, verifiedIn } from "./frame_signatures.ts";
import { encodeTopicFrame } from "./topic_frame.ts";

const log = createTopic();
const signed = Array.from({ length: 5 }, () => log.append(something(), ann));
const events = signed.map(encodeSigned);
const all = signed.map(({ event, bytes, signature }) => ({
  publicKey: event.author,
  message: signedBytes("realm/event/1", bytes),
  signature,
}));
/** The events as they are handed on, and as a session brings them. */
const frames = (events: readonly Uint8Array[]) => [
  encodeTopicFrame({ frame: "events", events }),
  encodeTopicFrame({
    frame: "sync",
    message: encodeMessage({ kind: "events", events, last: true }),
  }),
];

Deno.test("verifiedIn finds the signatures of a frame, and leaves out what is badly signed or no event", () => {
  const bad = decodeSigned(events[2]!);
  bad.signature[40]! ^= 1;
  for (const frame of frames(events)) {
    assert.deepEqual(unpacked(verifiedIn(frame, verify)), all);
    assert.equal(verifiedIn(frame, () => false).length, 0);
  }
  const mixed = [events[0]!, encodeSigned(bad), Uint8Array.of(1, 2, 3), events[4]!];
  for (const frame of frames(mixed)) {
    assert.deepEqual(unpacked(verifiedIn(frame, verify)), [all[0], all[4]]);
  }
  assert.equal(verifiedIn(encodeTopicFrame({ frame: "ready" }), verify).length, 0);
});

Deno.test("verifiedIn gives nothing for bytes that are no frame", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
    assert.equal(verifiedIn(bytes, verify).length, 0);
  }));
});

Deno.test("unpacked inverts packed", () => {
  const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
  const message = fc.uint8Array({ maxLength: 300 });
  const parts = { publicKey: bytes(32), message, signature: bytes(64) };
  const each = fc.record(parts, { noNullPrototype: true });
  fc.assert(fc.property(fc.array(each), (all) => assert.deepEqual(unpacked(packed(all)), all)));
});
