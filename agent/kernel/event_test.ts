import assert from "node:assert/strict";
import fc from "fast-check";
import { nodeBackend } from "../node/crypto_node.ts";
import { type CborValue, cidOf, encodeCanonical, signedBytes } from "./canonical.ts";
import { RealmError } from "./error.ts";
import {
  byBytes,
  decodeEvent,
  decodeSigned,
  encodeEvent,
  encodeSigned,
  type Event,
  EVENT_BYTES_MAX,
  genesisEvent,
  nextEvent,
  PARENTS_MAX,
  signEvent,
  topicOf,
  verifyEvent,
} from "./event.ts";
import { keyPairOf, signerOf } from "./verify.ts";

const backend = nodeBackend();
const signer = signerOf(await keyPairOf(new Uint8Array(32).fill(1), backend), backend);
const genesis = await signEvent(
  genesisEvent(signer.publicKey, { type: "test/genesis", payload: { name: "x" } }),
  signer,
);
const second = await signEvent(
  nextEvent(signer.publicKey, [genesis], genesis, { type: "test/next", payload: 1 }),
  signer,
);
const idOf = (n: number) => cidOf(encodeCanonical(n));
const corrupt = (error: unknown) => error instanceof RealmError && error.code === "corrupt";

Deno.test("nextEvent() continues the author's chain and the topic's clock", async () => {
  assert.deepEqual(second.event, {
    v: 1,
    topic: genesis.id,
    author: signer.publicKey,
    seq: 1,
    prev: genesis.id,
    parents: [genesis.id],
    lamport: 1,
    keyEpoch: 0,
    type: "test/next",
    payload: 1,
  });
  assert.deepEqual(topicOf(genesis), genesis.id);
  assert.deepEqual(topicOf(second), genesis.id);
  // Two heads of another author: parents sorted, the lamport above both, an own chain from 0.
  const other = signerOf(await keyPairOf(new Uint8Array(32).fill(2), backend), backend);
  const third = nextEvent(other.publicKey, [second, genesis], undefined, {
    type: "test/next",
    payload: null,
  });
  assert.deepEqual([third.seq, third.prev, third.lamport], [0, null, 2]);
  assert.deepEqual(third.parents, [second.id, genesis.id].sort(byBytes));
  assert.doesNotThrow(() => encodeEvent(third));
});

Deno.test("decodeSigned() inverts encodeSigned()", () => {
  for (const signed of [genesis, second]) {
    assert.deepEqual(decodeSigned(encodeSigned(signed)), signed);
    assert.deepEqual(decodeEvent(encodeEvent(signed.event)), signed.event);
  }
});

Deno.test("decodeEvent() inverts encodeEvent() for any payload", () => {
  const payload = fc.oneof(
    fc.maxSafeInteger(),
    fc.uint8Array().map((bytes) => new Uint8Array(bytes)),
    fc.array(fc.boolean()),
    fc.dictionary(fc.stringMatching(/^[a-z]*$/), fc.constant(null), { noNullPrototype: true }),
  );
  fc.assert(fc.property(payload, fc.nat(), (value, keyEpoch) => {
    const event: Event = { ...second.event, payload: value, keyEpoch };
    assert.deepEqual(decodeEvent(encodeEvent(event)), event);
  }));
});

Deno.test("decodeEvent() refuses what is out of bounds", () => {
  const parents = Array.from({ length: PARENTS_MAX + 1 }, (_, i) => idOf(i)).sort(byBytes);
  assert.doesNotThrow(() => encodeEvent({ ...second.event, parents: parents.slice(1) }));
  const { payload: _payload, ...noPayload } = second.event;
  const cases: Record<string, unknown>[] = [
    { ...second.event, v: 2 },
    { ...second.event, more: 1 },
    noPayload,
    { ...second.event, topic: "x" },
    { ...second.event, topic: null },
    { ...second.event, author: new Uint8Array(31) },
    { ...second.event, author: "key" },
    { ...second.event, seq: -1 },
    { ...second.event, seq: 1.5 },
    { ...second.event, seq: 2n ** 60n },
    { ...second.event, seq: 2 },
    { ...second.event, seq: 0 },
    { ...second.event, prev: null },
    { ...second.event, prev: 1 },
    { ...second.event, parents: [] },
    { ...second.event, parents },
    { ...second.event, parents: [genesis.id, genesis.id] },
    { ...second.event, parents: [genesis.id, second.id].sort(byBytes).reverse() },
    { ...second.event, parents: [1] },
    { ...second.event, lamport: 0 },
    { ...second.event, keyEpoch: -1 },
    { ...second.event, type: "" },
    { ...second.event, type: "A" },
    { ...second.event, type: "a//b" },
    { ...second.event, type: "a".repeat(65) },
    { ...genesis.event, lamport: 1 },
    { ...genesis.event, parents: [second.id] },
    { ...genesis.event, prev: second.id, seq: 1 },
    { ...second.event, payload: new Uint8Array(EVENT_BYTES_MAX) },
  ];
  for (const [i, value] of cases.entries()) {
    const bytes = encodeCanonical(value as { [key: string]: CborValue });
    assert.throws(() => decodeEvent(bytes), corrupt, `case ${i}`);
    assert.throws(() => encodeEvent(value as unknown as Event), corrupt, `case ${i}`);
  }
  for (const value of [null, [], 1, "x", [1, 2, 3]]) {
    assert.throws(() => decodeEvent(encodeCanonical(value)), corrupt);
    assert.throws(() => decodeSigned(encodeCanonical(value)), corrupt);
  }
  const short = { ...second, signature: new Uint8Array(63) };
  assert.throws(() => decodeSigned(encodeSigned(short)), corrupt);
});

Deno.test("verifyEvent() accepts the author's signature in the event domain only", async () => {
  await verifyEvent(second, backend);
  const bad = (error: unknown) => error instanceof RealmError && error.code === "bad-signature";
  await assert.rejects(verifyEvent({ ...second, signature: genesis.signature }, backend), bad);
  for (const message of [second.bytes, signedBytes("realm/manifest/1", second.bytes)]) {
    const signature = await signer.sign(message);
    await assert.rejects(verifyEvent({ ...second, signature }, backend), bad);
  }
});

Deno.test("a stored event with any byte changed is refused", async () => {
  const encoded = encodeSigned(second);
  await fc.assert(
    fc.asyncProperty(fc.nat(encoded.length - 1), fc.nat(254), async (at, change) => {
      const copy = encoded.slice();
      copy[at]! ^= change + 1;
      await assert.rejects(
        async () => await verifyEvent(decodeSigned(copy), backend),
        (error) => error instanceof RealmError && ["corrupt", "bad-signature"].includes(error.code),
      );
    }),
    { numRuns: Deno.env.get("SLOW") ? 5_000 : 200 },
  );
});
