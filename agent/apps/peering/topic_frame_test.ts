import assert from "node:assert/strict";
import fc from "fast-check";
import { type CborValue, encodeCanonical } from "../../kernel/canonical.ts";
import { RealmError } from "../../kernel/error.ts";
import { FRAME_BYTES_MAX } from "../../kernel/peering/fields.ts";
import {
  decodeTopicFrame,
  encodeTopicFrame,
  type TopicFrame,
  type TopicHello,
} from "./topic_frame.ts";

const numRuns = Deno.env.get("SLOW") ? 20_000 : 300;
const bytes = (length: number, fill = 1) => new Uint8Array(length).fill(fill);

const hello: TopicHello = {
  frame: "hello",
  v: 1,
  tag: bytes(32),
  nonce: bytes(16),
  person: bytes(32, 2),
  proof: bytes(64),
  invite: { key: bytes(32, 3), proof: bytes(64, 3) },
  vouch: [bytes(9)],
};
const complete = {
  frame: "complete",
  count: 3,
  heads: bytes(32),
  digest: bytes(32),
  abi: 1,
} as const;
const node = { key: bytes(32), addresses: ["/ip4/127.0.0.1/tcp/4001"] };
const question = { kind: "slots", prefix: bytes(32), bits: 8 } as const;
const FRAMES: readonly TopicFrame[] = [
  hello,
  { ...hello, invite: null, vouch: [] },
  { frame: "ready" },
  { frame: "again" },
  { frame: "events", events: [bytes(2), bytes(0)] },
  { frame: "sync", message: bytes(9) },
  complete,
  { ...complete, digest: null, abi: 0 },
  { frame: "nodes", nodes: [node, { ...node, addresses: [] }] },
  { frame: "ask", digest: bytes(32), question },
  { frame: "ask", digest: bytes(32), question: { ...question, kind: "entry" } },
  { frame: "answer", answer: bytes(40) },
  { frame: "answer", answer: null },
];

function refusal(input: Uint8Array): string {
  try {
    decodeTopicFrame(input);
  } catch (error) {
    assert.ok(error instanceof RealmError && error.code === "corrupt", String(error));
    return error.message;
  }
  assert.fail("was read");
}

Deno.test("decodeTopicFrame() inverts encodeTopicFrame()", () => {
  for (const frame of FRAMES) assert.deepEqual(decodeTopicFrame(encodeTopicFrame(frame)), frame);
});

Deno.test("decodeTopicFrame() refuses what is out of bounds", () => {
  const cases: [object, RegExp][] = [
    [[], /not a map/],
    [{}, /wanted a text/],
    [{ ...hello, v: 2 }, /version is 2/],
    [{ ...hello, tag: bytes(31) }, /32 bytes/],
    [{ ...hello, nonce: bytes(17) }, /16 bytes/],
    [{ ...hello, proof: bytes(63) }, /64 bytes/],
    [{ ...hello, extra: 1 }, /has the keys/],
    [{ ...hello, invite: bytes(3) }, /wanted a map/],
    [{ ...hello, invite: { key: bytes(32) } }, /has the keys/],
    [{ ...hello, vouch: Array(17).fill(bytes(1)) }, /at most 16/],
    [{ ...hello, vouch: Array(16).fill(bytes(2000)) }, /too long/],
    [{ ...complete, count: -1 }, /whole number/],
    [{ ...complete, digest: bytes(31) }, /32 bytes/],
    [{ ...complete, abi: null }, /whole number/],
    [{ frame: "nodes", nodes: Array(33).fill(node) }, /at most 32/],
    [{ frame: "nodes", nodes: [{ ...node, addresses: Array(9).fill("a") }] }, /at most 8/],
    [{ frame: "nodes", nodes: [{ ...node, addresses: ["a".repeat(257)] }] }, /at most 256/],
    [
      { frame: "ask", digest: bytes(32), question: { ...question, kind: "all" } },
      /wanted a question/,
    ],
    [{ frame: "answer", answer: bytes(16 * 1024 + 1) }, /at most 16384/],
    [{ frame: "answer", answer: "text" }, /wanted bytes/],
    [{ frame: "ready", more: 1 }, /has the keys/],
  ];
  for (const [value, wanted] of cases) {
    assert.match(refusal(encodeCanonical(value as unknown as CborValue)), wanted);
  }
  assert.match(refusal(bytes(FRAME_BYTES_MAX + 1)), /bytes, wanted at most/);
});

Deno.test("decodeTopicFrame() lets a kind pass that it does not know", () => {
  assert.equal(decodeTopicFrame(encodeCanonical({ frame: "later", what: 1 })), undefined);
});

Deno.test("decodeTopicFrame() throws nothing but RealmError corrupt, whatever comes", () => {
  const damaged = fc.tuple(
    fc.constantFrom(...FRAMES.map(encodeTopicFrame)),
    fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }),
  ).map(([good, changes]) => {
    const copy = good.slice();
    for (const [at, value] of changes) copy[at % copy.length] = value;
    return copy;
  });
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 300 }), damaged), (input) => {
      try {
        const frame = decodeTopicFrame(input);
        if (frame !== undefined) assert.deepEqual(encodeTopicFrame(frame), input);
      } catch (error) {
        assert.ok(error instanceof RealmError && error.code === "corrupt", String(error));
      }
    }),
    { numRuns },
  );
});
