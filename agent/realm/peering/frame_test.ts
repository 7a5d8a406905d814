import assert from "node:assert/strict";
import fc from "fast-check";
import { cidOf, encodeCanonical } from "../../kernel/canonical.ts";
import { RealmError } from "../../kernel/error.ts";
import { FRAME_BYTES_MAX, FRAME_ITEMS_MAX } from "../../kernel/peering/fields.ts";
import { decodeFrame, encodeFrame, type Frame } from "./frame.ts";

const numRuns = Deno.env.get("SLOW") ? 20_000 : 300;

const hello: Frame = {
  frame: "hello",
  v: 1,
  name: "bm-01",
  topic: cidOf(new Uint8Array([1])),
  owner: new Uint8Array(32).fill(1),
  program: "realm 0.5.0",
  addresses: ["/ip4/127.0.0.1/tcp/4001"],
};
const FRAMES: readonly Frame[] = [
  hello,
  { ...hello, topic: null, owner: null, addresses: [] },
  { frame: "pending", fingerprint: "3f2a-91bc-04de-77a1-5b60" },
  { frame: "vouch", events: [new Uint8Array(3)] },
  { frame: "ready" },
  { frame: "again" },
  { frame: "events", events: [new Uint8Array(2), new Uint8Array(0)] },
  { frame: "sync", message: new Uint8Array(9) },
  { frame: "health", records: [new Uint8Array(5)] },
];

function refusal(bytes: Uint8Array): string {
  try {
    decodeFrame(bytes);
  } catch (error) {
    assert.ok(error instanceof RealmError && error.code === "corrupt", String(error));
    return error.message;
  }
  assert.fail("was read");
}

Deno.test("decodeFrame() inverts encodeFrame()", () => {
  for (const frame of FRAMES) assert.deepEqual(decodeFrame(encodeFrame(frame)), frame);
});

Deno.test("decodeFrame() refuses what is out of bounds", () => {
  const encoded = (value: object) => encodeCanonical(value as never);
  const cases: [Uint8Array, RegExp][] = [
    [new Uint8Array(FRAME_BYTES_MAX + 1), /bytes, wanted at most/],
    [encodeCanonical([]), /not a map/],
    [encodeCanonical({}), /wanted a text/],
    [encoded({ ...hello, v: 2 }), /version is 2/],
    [encoded({ ...hello, name: "n".repeat(64) }), /at most 63/],
    [encoded({ ...hello, addresses: Array(9).fill("/ip4") }), /at most 8/],
    [encoded({ ...hello, addresses: Array(8).fill("a".repeat(257)) }), /at most 256/],
    [encoded({ ...hello, owner: new Uint8Array(31) }), /32 bytes/],
    [encoded({ ...hello, topic: "x" }), /id of an event/],
    [encoded({ ...hello, extra: 1 }), /has the keys/],
    [encoded({ frame: "ready", more: 1 }), /has the keys/],
    [encoded({ frame: "sync", message: "text" }), /wanted bytes/],
    [encoded({ frame: "vouch", events: Array(17).fill(new Uint8Array()) }), /at most 16/],
    [
      encoded({ frame: "events", events: Array(FRAME_ITEMS_MAX + 1).fill(new Uint8Array()) }),
      /at most 1024/,
    ],
  ];
  for (const [bytes, wanted] of cases) assert.match(refusal(bytes), wanted);
});

Deno.test("decodeFrame() lets a kind pass that it does not know", () => {
  assert.equal(decodeFrame(encodeCanonical({ frame: "later", what: 1 })), undefined);
});

Deno.test("decodeFrame() throws nothing but RealmError corrupt, whatever comes", () => {
  const damaged = fc.tuple(
    fc.constantFrom(...FRAMES.map(encodeFrame)),
    fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }),
    fc.nat(),
  ).map(([bytes, changes, length]) => {
    const copy = bytes.slice(0, length % 3 === 0 ? length % (bytes.length + 1) : bytes.length);
    for (const [at, value] of changes) if (copy.length > 0) copy[at % copy.length] = value;
    return copy;
  });
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 300 }), damaged), (bytes) => {
      try {
        decodeFrame(bytes);
      } catch (error) {
        assert.ok(error instanceof RealmError && error.code === "corrupt", String(error));
      }
    }),
    { numRuns },
  );
});
