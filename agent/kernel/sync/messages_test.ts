import assert from "node:assert/strict";
import fc from "fast-check";
import { RealmError } from "../error.ts";
import {
  type Answer,
  COUNT_MAX,
  decodeMessage,
  encodeMessage,
  type Message,
  MESSAGE_BYTES_MAX,
} from "./messages.ts";
import { emptySymbols, type Symbols } from "./riblt.ts";

const word = fc.integer({ min: 0, max: 0xffffffff });
const count = fc.oneof(fc.nat(300), fc.integer({ min: 0, max: COUNT_MAX }));
const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const bound = fc.record({ lamport: fc.maxSafeNat(), low: word, high: word });
const tags = fc.array(fc.tuple(word, word), { maxLength: 20 }).map((list) => ({
  low: Uint32Array.from(list, ([low]) => low),
  high: Uint32Array.from(list, ([, high]) => high),
}));
const symbols = fc.tuple(
  fc.nat(60_000),
  fc.array(fc.tuple(word, word, word, word, count), {
    maxLength: 20,
  }),
).map(([from, list]): Symbols => {
  const all = emptySymbols(from, list.length);
  for (const [i, [low, high, checkLow, checkHigh, n]] of list.entries()) {
    all.low[i] = low;
    all.high[i] = high;
    all.checkLow[i] = checkLow;
    all.checkHigh[i] = checkHigh;
    all.counts[i] = n;
  }
  return all;
});
const answer: fc.Arbitrary<Answer> = fc.oneof(
  fc.record({ tags }),
  fc.record({
    parts: fc.array(fc.record({ to: bound, count, low: word, high: word }), { maxLength: 16 }),
  }),
);
const kind = <K extends string>(name: K) => fc.constant(name);
const message: fc.Arbitrary<Message> = fc.oneof(
  fc.record({ kind: kind("open"), secret: bytes(16), count, digest: bytes(32) }),
  fc.record({ kind: kind("symbols"), symbols }),
  fc.record({ kind: kind("more"), to: fc.nat(65_536) }),
  fc.record({
    kind: kind("ask"),
    ranges: fc.array(fc.record({ from: bound, to: bound, list: fc.boolean() }), { maxLength: 20 }),
  }),
  fc.record({ kind: kind("parts"), answers: fc.array(answer, { maxLength: 10 }) }),
  fc.record({
    kind: kind("want"),
    count,
    give: count,
    all: fc.boolean(),
    partial: fc.boolean(),
    last: fc.boolean(),
    tags,
  }),
  fc.record({
    kind: kind("events"),
    events: fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 8 }),
    last: fc.boolean(),
  }),
  fc.record({ kind: kind("ack"), messages: fc.maxSafeNat() }),
  fc.record({ kind: kind("synced"), count, digest: bytes(32) }),
);

/** The message of bytes; `undefined` when they are refused as they should be. */
function decodeOrRefuse(input: Uint8Array): Message | undefined {
  try {
    return decodeMessage(input);
  } catch (error) {
    assert.ok(error instanceof RealmError && error.code === "corrupt", `${error}`);
    return undefined;
  }
}

Deno.test("decodeMessage() inverts encodeMessage()", () => {
  fc.assert(
    fc.property(message, (value) => {
      // Cloned, since objects of fast-check have no prototype.
      assert.deepEqual(decodeMessage(encodeMessage(value)), structuredClone(value));
    }),
    { numRuns: 300 },
  );
});

Deno.test("decodeMessage() takes random bytes only where they are what it would be encoded as", () => {
  const start = fc.integer({ min: 0, max: 10 });
  fc.assert(
    fc.property(start, fc.uint8Array({ maxLength: 200 }), (first, rest) => {
      const input = Uint8Array.of(first, ...rest), decoded = decodeOrRefuse(input);
      if (decoded !== undefined) assert.deepEqual(encodeMessage(decoded), input);
    }),
    { numRuns: 3000 },
  );
});

Deno.test("decodeMessage() of a message that was damaged, cut or lengthened", () => {
  const damage = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 3 });
  fc.assert(
    fc.property(message, damage, fc.integer({ min: -3, max: 3 }), (value, changes, by) => {
      const good = encodeMessage(value), input = new Uint8Array(Math.max(0, good.length + by));
      input.set(good.subarray(0, input.length));
      for (const [at, byte] of changes) if (input.length > 0) input[at % input.length] = byte;
      const decoded = decodeOrRefuse(input);
      if (decoded !== undefined) assert.deepEqual(encodeMessage(decoded), input);
    }),
    { numRuns: 1000 },
  );
});

Deno.test("decodeMessage() refuses what is out of bounds", () => {
  const cases: Record<string, Uint8Array> = {
    "nothing": new Uint8Array(0),
    "an unknown kind": Uint8Array.of(9),
    "more than the greatest message": new Uint8Array(MESSAGE_BYTES_MAX + 1),
    "another version": Uint8Array.of(0, 2, ...new Uint8Array(49)),
    "a number that is not in its shortest form": Uint8Array.of(2, 0x80, 0x00),
    "a number without end": new Uint8Array(400).fill(0x80).fill(2, 0, 1).fill(1, 399),
    "more symbols than there are bytes": Uint8Array.of(1, 0, 0xff, 0x07),
    "symbols beyond the last": Uint8Array.of(1, 0x80, 0x80, 0x04, 1, ...new Uint8Array(17)),
    "more tags than there are bytes": Uint8Array.of(5, 0, 0, 4, 0x80, 0x20),
    "unknown flags": Uint8Array.of(5, 0, 0, 8, 0),
    "an event longer than the message": Uint8Array.of(6, 1, 1, 5, 1, 2, 3, 4),
    "bytes after the end": Uint8Array.of(7, 1, 0),
  };
  for (const [name, input] of Object.entries(cases)) {
    assert.equal(decodeOrRefuse(input), undefined, name);
  }
});

Deno.test("encodeMessage() makes the bytes that it always made", () => {
  const low = Uint32Array.of(0x04030201), high = Uint32Array.of(0x08070605);
  const one = emptySymbols(300, 1);
  one.low.set(low);
  one.high.set(high);
  one.checkLow[0] = 0xffffffff;
  one.counts[0] = 128;
  const from = { lamport: 1, low: 2, high: 3 }, to = { lamport: 300, low: 0, high: 0 };
  const digest = new Uint8Array(32).fill(0xdd);
  const vectors: [Message, string][] = [
    [
      { kind: "open", secret: new Uint8Array(16).fill(0xaa), count: 5, digest },
      `0001${"aa".repeat(16)}05${"dd".repeat(32)}`,
    ],
    [{ kind: "symbols", symbols: one }, "01ac02010102030405060708ffffffff000000008001"],
    [{ kind: "more", to: 80 }, "0250"],
    [
      { kind: "ask", ranges: [{ from, to, list: true }] },
      "0301010200000003000000ac02000000000000000001",
    ],
    [
      {
        kind: "parts",
        answers: [{ tags: { low, high } }, { parts: [{ to, count: 7, low: 1, high: 2 }] }],
      },
      "040201010102030405060708" + "0001ac020000000000000000070100000002000000",
    ],
    [
      {
        kind: "want",
        count: 9,
        give: 3,
        all: false,
        partial: true,
        last: true,
        tags: { low, high },
      },
      "05090306010102030405060708",
    ],
    [
      { kind: "events", events: [Uint8Array.of(1, 2), Uint8Array.of()], last: true },
      "06010202010200",
    ],
    [{ kind: "ack", messages: 3 }, "0703"],
    [{ kind: "synced", count: 5, digest }, `0805${"dd".repeat(32)}`],
  ];
  for (const [value, hex] of vectors) {
    assert.equal(encodeMessage(value).toHex(), hex);
    assert.deepEqual(decodeMessage(Uint8Array.fromHex(hex)), value);
  }
});
