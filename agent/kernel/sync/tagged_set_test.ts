import assert from "node:assert/strict";
import fc from "fast-check";
import { ForeignTags, type SyncItem, TaggedSet } from "./tagged_set.ts";

const KEY = [1, 2, 3, 4] as const;

Deno.test("ForeignTags: has exactly its tags, also where many have equal halves", () => {
  const half = fc.oneof(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 0xffffffff }));
  const tag = fc.tuple(half, half);
  fc.assert(fc.property(fc.array(tag), fc.array(tag), (tags, others) => {
    const wanted = new Set(tags.map(String));
    const foreign = new ForeignTags({ low: tags.map(([l]) => l), high: tags.map(([, h]) => h) });
    for (const [low, high] of [...tags, ...others]) {
      assert.equal(foreign.has(low, high), wanted.has(String([low, high])));
    }
  }));
});

Deno.test("ForeignTags: tags that would all share a slot are as fast as others", () => {
  // In a hash table these would take some ten thousand million steps.
  const size = 131_072, low = new Uint32Array(size), high = Uint32Array.from(low, (_, i) => 2 * i);
  const foreign = new ForeignTags({ low, high });
  for (let i = 0; i < size; i++) {
    if (!foreign.has(0, 2 * i) || foreign.has(0, 2 * i + 1)) assert.fail(`tag ${i}`);
  }
});

const byLamport = (a: SyncItem, b: SyncItem) => a.lamport - b.lamport;

Deno.test("TaggedSet: finds its events by tag, and orders them by lamport and then tag", () => {
  const items = Array.from({ length: 500 }, (_, i) => ({
    key: String.fromCharCode(i & 255, i >> 8).padEnd(32, "\0"),
    lamport: (i * 7919) % 50,
  }));
  const set = new TaggedSet(items, KEY), other = new TaggedSet(items.toReversed(), KEY);
  for (let i = 0; i < set.size; i++) {
    assert.equal(set.find(set.low[i]!, set.high[i]!), i);
    assert.equal(set.find(set.low[i]! ^ 1, set.high[i]!), -1);
  }
  const keys = ({ order, keys }: TaggedSet) => Array.from(order, (i) => keys[i]);
  assert.deepEqual(keys(set), keys(other));
  const lamports = Array.from(set.order, (i) => set.lamports[i]!);
  assert.deepEqual(lamports, lamports.toSorted((a, b) => a - b));
  for (const each of [set, other, new TaggedSet(items.toSorted(byLamport), KEY)]) {
    const { all } = each;
    assert.deepEqual([all.length, [...Iterator.from(all.values())]], [500, [...each.order]]);
  }
});
