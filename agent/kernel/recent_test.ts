import assert from "node:assert/strict";
import { Recent } from "./recent.ts";

Deno.test("Recent keeps what came last: at most its bytes, and at least half of them", () => {
  const recent = new Recent<number, string>(100);
  const there = (to: number) => {
    const kept: number[] = [];
    for (let i = 0; i < to; i++) if (recent.get(i) !== undefined) kept.push(i);
    return kept;
  };
  for (let i = 0; i < 1_000; i++) {
    recent.put(i, `${i}`, 5);
    const kept = there(i + 1);
    assert.ok(kept.length <= 21 && kept.length >= Math.min(i + 1, 10), `${kept.length} at ${i}`);
    assert.equal(kept.at(-1), i);
    assert.equal(kept.at(-1)! - kept[0]! + 1, kept.length); // the last ones, without a gap
    assert.equal(recent.get(i), `${i}`);
  }
  // What is there already takes no more room.
  for (let i = 0; i < 1_000; i++) recent.put(999, "again", 5);
  assert.equal(recent.get(999), "again");
  assert.ok(there(1_000).length > 10);
  // Unless there is more of it than before.
  recent.put(999, "much more", 51);
  assert.equal(recent.get(999), "much more");
  for (let i = 1_000; i < 1_011; i++) recent.put(i, `${i}`, 5);
  assert.equal(recent.get(999), undefined);
});
