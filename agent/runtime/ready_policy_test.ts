import assert from "node:assert/strict";
import fc from "fast-check";
import { RECENT_MS, RecentStarts } from "./ready_policy.ts";

Deno.test("RecentStarts wants nothing of what was started once, or long ago", () => {
  const starts = new RecentStarts();
  starts.note("once", 0);
  starts.note("twice", 0);
  starts.note("twice", 10);
  assert.deepEqual([...starts.wanted(10, 4)], [["twice", 1]]);
  assert.deepEqual([...starts.wanted(10 + RECENT_MS, 4)], []);
});

Deno.test("RecentStarts wants more of what was started many times at once", () => {
  const starts = new RecentStarts();
  for (let i = 0; i < 6; i++) starts.note("burst", i);
  for (let i = 0; i < 6; i++) starts.note("slow", i * 5_000);
  assert.deepEqual([...starts.wanted(30_000, 9)], [["slow", 1], ["burst", 3]]);
  assert.deepEqual([...starts.wanted(30_000, 2)], [["slow", 1], ["burst", 1]]);
});

Deno.test("RecentStarts never wants more than it may have", () => {
  const noted = fc.array(fc.tuple(fc.integer({ min: 0, max: 100 }), fc.nat(100)));
  fc.assert(fc.property(noted, fc.nat(8), (list, total) => {
    const starts = new RecentStarts();
    let now = 0;
    for (const [kind, pause] of list) starts.note(String(kind), now += pause);
    const counts = [...starts.wanted(now, total).values()];
    assert(counts.reduce((sum, count) => sum + count, 0) <= total);
    assert(counts.every((count) => count > 0));
  }));
});
