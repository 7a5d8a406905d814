import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import {
  BeyondBounds,
  type Journal,
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

/** What an event does: what it reads decides what it writes. */
const ACTS = fc.array(
  fc.record({ act: fc.nat(3), key: KEY, value: fc.uint8Array({ maxLength: 4 }) }),
  {
    maxLength: 6,
  },
);
type Acts = typeof ACTS extends fc.Arbitrary<infer A> ? A : never;

function run(acts: Acts, journal: Journal): (Uint8Array | undefined)[] {
  const read: (Uint8Array | undefined)[] = [];
  for (const { act, key, value } of acts) {
    if (act === 0) read.push(journal.get(key));
    else if (act === 1) journal.delete(key);
    else journal.put(key, Uint8Array.of(...value, ...read.at(-1) ?? []));
  }
  return read;
}

Deno.test("what was traced on one state and is repeated on another is what would be done there", () => {
  let repeated = 0;
  let refused = 0;
  const build = (acts: Acts) => {
    const journal = State.EMPTY.journal();
    run(acts, journal);
    return journal.commit();
  };
  fc.assert(
    fc.property(ACTS, ACTS, ACTS, (one, other, event) => {
      const first = build(one).journal();
      const read = run(event, first);
      const trace = first.trace()!;
      const same = build(one);
      for (const state of [same, build(other)]) {
        const wanted = state.journal();
        const isSame = JSON.stringify(run(event, wanted)) === JSON.stringify(read);
        const journal = state.journal();
        if (journal.repeat(trace)) {
          repeated++;
          assert.ok(isSame);
          const [done, should] = [journal.commit(), wanted.commit()];
          assert.deepEqual(done.digest(1), should.digest(1));
          assert.deepEqual([done.size, done.bytes], [should.size, should.bytes]);
          assert.deepEqual(
            done.scan(bytes(""), bytes(""), 99),
            should.scan(bytes(""), bytes(""), 99),
          );
        } else {
          refused++;
          assert.notEqual(state, same);
          assert.deepEqual(journal.commit(), state);
        }
      }
    }),
    { numRuns: 500 },
  );
  assert.ok(repeated > 500 && refused > 20, `${repeated} repeated, ${refused} refused`);
});

Deno.test("a journal traces no scan, nor much, and repeats nothing that could come to a bound", () => {
  const scanned = State.EMPTY.journal();
  scanned.scan(bytes(""), bytes(""), 1);
  assert.equal(scanned.trace(), undefined);
  const much = State.EMPTY.journal();
  for (let i = 0; i < 100; i++) much.get(bytes("a"));
  assert.equal(much.trace(), undefined);

  const value = new Uint8Array(STATE_VALUE_BYTES_MAX);
  const event = State.EMPTY.journal();
  for (let i = 0; i < 3; i++) event.put(bytes("a"), value);
  event.delete(bytes("a"));
  const full = State.EMPTY.journal();
  for (let i = 0; i < 2044; i++) full.put(bytes(`${i}`), value);
  const state = full.commit();
  assert.equal(state.journal().repeat(event.trace()!), false);
  assert.equal(State.EMPTY.journal().repeat(event.trace()!), true);
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
