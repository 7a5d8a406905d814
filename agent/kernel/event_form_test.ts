import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import { type CID, cidOf, encodeCanonical } from "./canonical.ts";
import { byBytes, encodeEvent, type Event, isEventType } from "./event.ts";
import { readEventForm, readPair, readTimed, writePair } from "./event_form.ts";

const id = fc.nat(50).map((n) => cidOf(encodeCanonical(n)));
const author = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((key) => new Uint8Array(key));
/** Small ones, and those about where a number takes a byte more. */
const count = fc.oneof(
  fc.nat(30),
  fc.constantFrom(255, 256, 65_535, 65_536, 2 ** 32 - 1),
  fc.nat(2 ** 31),
);
const payload = fc.oneof(fc.uint8Array(), fc.uint8Array({ minLength: 250, maxLength: 260 }))
  .map((bytes) => new Uint8Array(bytes));
const distinct = (
  ids: readonly CID[],
) => [...new Map(ids.map((each) => [`${each}`, each])).values()];

/** Events of the usual form. */
const usual: fc.Arbitrary<Event> = fc.record({
  v: fc.constant(1 as const),
  topic: id,
  author: fc.oneof(fc.constant(new Uint8Array(32).fill(7)), author),
  seq: count,
  prev: id,
  parents: fc.array(id, { minLength: 1, maxLength: 23 }).map((ids) => distinct(ids).sort(byBytes)),
  lamport: count,
  keyEpoch: count,
  type: fc.oneof(fc.constantFrom("note", "chat/text"), fc.stringMatching(/^[a-z0-9-]{1,64}$/)),
  payload,
}).map((event) => ({
  ...event,
  prev: event.seq === 0 ? null : event.prev,
  lamport: Math.max(1, event.seq, event.lamport),
}));

Deno.test("readEventForm() reads every event of the usual form", () => {
  fc.assert(fc.property(usual, (event) => {
    assert.deepEqual(readEventForm(encodeEvent(event), isEventType), event);
  }));
});

Deno.test("readEventForm() takes no bytes but those of an event", () => {
  const change = fc.record({
    at: fc.nat(),
    /** Bytes that go, and those that come in their place. */
    removed: fc.nat(3),
    added: fc.uint8Array({ maxLength: 3 }),
  });
  let taken = 0;
  fc.assert(
    fc.property(usual, fc.array(change, { minLength: 1, maxLength: 3 }), (event, changes) => {
      let bytes: Uint8Array = encodeEvent(event);
      for (const { at, removed, added } of changes) {
        const from = at % bytes.length;
        bytes = Uint8Array.of(
          ...bytes.subarray(0, from),
          ...added,
          ...bytes.subarray(from + removed),
        );
      }
      const read = readEventForm(bytes, isEventType);
      if (read === undefined) return;
      taken++;
      assert.deepEqual(encodeEvent(read), bytes);
    }),
    { numRuns: Deno.env.get("SLOW") ? 200_000 : 3000 },
  );
  assert.ok(taken > 0, "no change left an event");
});

Deno.test("readEventForm() leaves every other form to others", () => {
  const event: Event = {
    v: 1,
    topic: cidOf(encodeCanonical(1)),
    author: new Uint8Array(32),
    seq: 3,
    prev: cidOf(encodeCanonical(2)),
    parents: [cidOf(encodeCanonical(2))],
    lamport: 3,
    keyEpoch: 0,
    type: "note",
    payload: new Uint8Array(5),
  };
  assert.ok(readEventForm(encodeEvent(event), isEventType));
  const { topic, ...rest } = event;
  const others: readonly (Omit<Event, "v" | "topic"> & { v: number; topic: CID | null })[] = [
    { ...event, payload: { a: 1 } },
    { ...event, payload: null },
    { ...event, v: 2 },
    { ...event, seq: 4 },
    { ...event, seq: 0 },
    { ...event, prev: null },
    { ...event, parents: [] },
    { ...event, parents: [topic!, topic!] },
    {
      ...event,
      parents: [1, 2, 3, 4].map((n) => cidOf(encodeCanonical(n))).sort(byBytes).reverse(),
    },
    { ...event, type: "Note" },
    { ...event, type: "a".repeat(65) },
    { ...event, lamport: 2 ** 33 },
    { ...rest, topic: null },
  ];
  for (const [i, other] of others.entries()) {
    const bytes = encodeCanonical(other as never);
    assert.equal(readEventForm(bytes, isEventType), undefined, `case ${i}`);
  }
  const bytes = encodeEvent(event);
  for (let length = 0; length < bytes.length; length++) {
    assert.equal(readEventForm(bytes.slice(0, length), isEventType), undefined);
  }
  assert.equal(readEventForm(Buffer.from(bytes), isEventType), undefined);
});

Deno.test("readTimed() reads an array of a byte string and a time, and nothing else", () => {
  const timeMs = fc.oneof(
    count,
    fc.constantFrom(2 ** 32, 1_764_000_000_000, Number.MAX_SAFE_INTEGER),
    fc.maxSafeNat(),
  );
  fc.assert(fc.property(payload, timeMs, (bytes, atMs) => {
    const encoded = encodeCanonical([bytes, atMs]);
    assert.deepEqual(readTimed(encoded), [bytes, atMs]);
    assert.equal(readTimed(encoded.slice(0, -1)), undefined);
    assert.equal(readTimed(Uint8Array.of(...encoded, 0)), undefined);
    assert.equal(readTimed(Buffer.from(encoded)), undefined);
  }));
  const wide = (...eight: number[]) => Uint8Array.of(0x82, 0x41, 7, 0x1b, ...eight);
  assert.deepEqual(readTimed(wide(0, 0, 0, 1, 0, 0, 0, 0)), [Uint8Array.of(7), 2 ** 32]);
  assert.equal(readTimed(wide(0, 0, 0, 0, 0, 0, 0, 1)), undefined);
  assert.equal(readTimed(wide(0, 0x20, 0, 0, 0, 0, 0, 0)), undefined);
  assert.equal(readTimed(encodeCanonical([Uint8Array.of(7), -1])), undefined);
  assert.equal(readTimed(encodeCanonical([Uint8Array.of(7), 1.5])), undefined);
});

Deno.test("readPair() inverts writePair(), and reads nothing else", () => {
  fc.assert(fc.property(payload, payload, (bytes, signature) => {
    const encoded = encodeCanonical([bytes, signature]);
    assert.deepEqual(writePair(bytes, signature), encoded);
    assert.deepEqual(readPair(encoded), [bytes, signature]);
    assert.equal(readPair(encoded.slice(0, -1)), undefined);
    assert.equal(readPair(Uint8Array.of(...encoded, 0)), undefined);
    assert.equal(readPair(Buffer.from(encoded)), undefined);
  }));
  for (const length of [23, 24, 255, 256, 65_535, 65_536, 1_000_000]) {
    const parts = [new Uint8Array(length).fill(1), new Uint8Array(64).fill(2)] as const;
    assert.deepEqual(writePair(...parts), encodeCanonical([...parts]));
    assert.deepEqual(readPair(writePair(...parts)), parts);
  }
  assert.equal(readPair(encodeCanonical([new Uint8Array(1), 1])), undefined);
  assert.equal(readPair(encodeCanonical([new Uint8Array(1)])), undefined);
  // The length of the first in more bytes than it takes.
  assert.equal(readPair(Uint8Array.of(0x82, 0x58, 1, 0, 0x40)), undefined);
});
