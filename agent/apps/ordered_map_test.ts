import assert from "node:assert/strict";
import fc from "fast-check";
import { entriesFrom, type OrderedMap, valueOf, withEntry, withoutEntry } from "./ordered_map.ts";

/** Asserts the invariants of the tree and gives its height. */
function heightOf(map: OrderedMap<number>): number {
  if (map === undefined) return 0;
  const left = heightOf(map.left);
  const right = heightOf(map.right);
  assert.ok(Math.abs(left - right) <= 1, "out of balance");
  assert.equal(map.height, 1 + Math.max(left, right));
  return map.height;
}

const STEPS = fc.array(
  fc.record({ key: fc.nat(60).map(String), value: fc.option(fc.nat()) }),
  { maxLength: 200 },
);

Deno.test("an ordered map does what a sorted list would, and leaves what it came from alone", () => {
  fc.assert(
    fc.property(STEPS, fc.nat(70).map(String), (steps, start) => {
      const model = new Map<string, number>();
      let map: OrderedMap<number>;
      const list = (from = "") => [...entriesFrom(map, from)].map(({ key, value }) => [key, value]);
      const sorted = (from = "") =>
        [...model].filter(([key]) => key >= from).sort(([a], [b]) => a < b ? -1 : 1);
      for (const { key, value } of steps) {
        const before = map;
        const was = list();
        if (value === null) model.delete(key);
        else model.set(key, value);
        map = value === null ? withoutEntry(map, key) : withEntry(map, key, value);
        heightOf(map);
        assert.equal(valueOf(map, key), value ?? undefined);
        const now = map;
        map = before;
        assert.deepEqual(list(), was);
        map = now;
      }
      assert.deepEqual(list(), sorted());
      assert.deepEqual(list(start), sorted(start));
    }),
    { numRuns: 40 },
  );
});

Deno.test("an ordered map stays flat when keys come in order", () => {
  let map: OrderedMap<number>;
  for (let i = 0; i < 4096; i++) map = withEntry(map, String(i).padStart(5, "0"), i);
  assert.ok(heightOf(map) <= 17);
});
