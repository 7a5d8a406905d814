import assert from "node:assert/strict";
import fc from "fast-check";
import { nodeBackend } from "../node/crypto_node.ts";
import { digestIn, digestText } from "./canonical.ts";
import { RealmError } from "./error.ts";
import { encodeSigned, genesisEvent, nextEvent, signEvent } from "./event.ts";
import { EventBatchWriter, eventsIn } from "./event_batch.ts";
import { keyOf } from "./topic.ts";
import { keyPairOf, signerOf } from "./verify.ts";

const backend = nodeBackend();
const signer = signerOf(await keyPairOf(new Uint8Array(32).fill(1), backend), backend);

Deno.test("eventsIn() gives what was put into a batch, also after it was cloned", async () => {
  let last = await signEvent(genesisEvent(signer.publicKey, { type: "a", payload: null }), signer);
  const all = [last];
  for (const payload of [1, new Uint8Array(300), { a: "b" }]) {
    last = await signEvent(
      nextEvent(signer.publicKey, [last], last, { type: "b", payload }),
      signer,
    );
    all.push(last);
  }
  const writer = new EventBatchWriter();
  for (const signed of all) writer.add(keyOf(signed.id), encodeSigned(signed));
  assert.equal(writer.count, 4);
  assert.equal(writer.bytes, all.reduce((sum, each) => sum + encodeSigned(each).length, 0));
  const batch = structuredClone(writer.take());
  assert.deepEqual(eventsIn(batch), all);
  assert.deepEqual([writer.count, writer.bytes], [0, 0]);
  assert.deepEqual(eventsIn(writer.take()), []);
  batch.bytes[0]! ^= 1;
  assert.throws(
    () => eventsIn(batch),
    (error) => error instanceof RealmError && error.code === "corrupt",
  );
});

Deno.test("digestIn() inverts digestText()", () => {
  const digest = fc.uint8Array({ minLength: 32, maxLength: 32 })
    .map((bytes) => String.fromCharCode(...bytes));
  fc.assert(fc.property(digest, (each) => assert.equal(digestIn(digestText(each)), each)));
  // What is no id spoils none that comes after it.
  digestIn("é".repeat(200));
  assert.equal(digestIn(digestText("x".repeat(32))), "x".repeat(32));
});
