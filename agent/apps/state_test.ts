import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import {
  BeyondBounds,
  SCAN_BYTES_MAX,
  State,
  STATE_ENTRY_BYTES,
  STATE_KEY_BYTES_MAX,
  STATE_VALUE_BYTES_MAX,
} from "./state.ts";

const bytes = (text: string) => Uint8Array.from(Buffer.from(text, "latin1"));
const KEY = fc.uint8Array({ maxLength: 3 }).map((key) => key.map((b) => b % 2 === 0 ? 0 : b));
const STEP = fc.record({
  key: KEY,
  value: fc.option(fc.uint8Array({ maxLength: 4 })),
  end: KEY,
  limit: fc.nat(6),
});

Deno.test("a journal reads what it wrote, and commits all of it or none", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.array(STEP), fc.boolean())), (events) => {
      let state = State.EMPTY;
      let kept = new Map<string, Uint8Array>();
      for (const [steps, isKept] of events) {
        const model = new Map(kept);
        const journal = state.journal();
        for (const { key, value, end, limit } of steps) {
          const text = Buffer.from(key).toString("hex");
          if (value === null) journal.delete(key);
          else journal.put(key, value);
          if (value === null) model.delete(text);
          else model.set(text, value);
          assert.deepEqual(journal.get(key), value ?? undefined);
          // Hex digits are ordered as the bytes are, and so is what begins alike.
          const wanted = [...model].filter(([k]) =>
            k >= text && (end.length === 0 || k < Buffer.from(end).toString("hex"))
          ).sort(([a], [b]) => a < b ? -1 : 1).slice(0, limit);
          assert.deepEqual(
            journal.scan(key, end, limit).map((e) => [Buffer.from(e.key).toString("hex"), e.value]),
            wanted,
          );
        }
        if (!isKept) continue;
        state = journal.commit();
        kept = model;
        const sum = [...kept].reduce(
          (n, [k, v]) => n + STATE_ENTRY_BYTES + k.length / 2 + v.length,
          0,
        );
        assert.equal(state.size, kept.size);
        assert.equal(state.bytes, sum);
      }
      assert.equal(state.scan(bytes(""), bytes(""), 1e9).length, kept.size);
    }),
    { numRuns: 60 },
  );
});

Deno.test("put() refuses keys, values and states beyond their bounds, and changes nothing", () => {
  const journal = State.EMPTY.journal();
  journal.put(new Uint8Array(STATE_KEY_BYTES_MAX), new Uint8Array(STATE_VALUE_BYTES_MAX));
  assert.throws(
    () => journal.put(new Uint8Array(STATE_KEY_BYTES_MAX + 1), bytes("")),
    BeyondBounds,
  );
  assert.throws(
    () => journal.put(bytes("k"), new Uint8Array(STATE_VALUE_BYTES_MAX + 1)),
    BeyondBounds,
  );
  assert.equal(journal.commit().size, 1);
  // One buffer for all values: what counts is what they say they have.
  const value = new Uint8Array(STATE_VALUE_BYTES_MAX);
  const full = State.EMPTY.journal();
  const key = (i: number) => bytes(String(i).padStart(4, "0"));
  let count = 0;
  assert.throws(
    () => {
      for (;; count++) full.put(key(count), value);
    },
    BeyondBounds,
  );
  assert.equal(count, 2045);
  full.put(key(0), bytes("short"));
  full.put(key(count), value.subarray(STATE_ENTRY_BYTES + 100));
  assert.throws(() => full.put(key(count + 1), value), BeyondBounds);
});

Deno.test("scan() gives as many entries as fit, and always one", () => {
  const journal = State.EMPTY.journal();
  for (let i = 0; i < 10; i++) journal.put(bytes(`${i}`), new Uint8Array(STATE_VALUE_BYTES_MAX));
  const fit = Math.floor(SCAN_BYTES_MAX / (STATE_ENTRY_BYTES + 1 + STATE_VALUE_BYTES_MAX));
  assert.equal(journal.scan(bytes(""), bytes(""), 10).length, fit);
  assert.equal(journal.scan(bytes("9"), bytes(""), 10).length, 1);
  assert.deepEqual(journal.scan(bytes(""), bytes(""), 0), []);
});
