import assert from "node:assert/strict";
import { LineRate } from "./line_rate.ts";

Deno.test("LineRate admits so many lines a second and tells of a flood once", () => {
  let nowMs = 10;
  let dropped = 0;
  let floods = 0;
  const rate = new LineRate(3, () => nowMs, () => dropped++, () => floods++);
  const second = (lines: number) => {
    nowMs += 1000;
    return Array.from({ length: lines }, () => rate.admit()).filter(Boolean).length;
  };
  assert.equal(second(3), 3);
  assert.equal(floods, 0);
  assert.equal(second(10), 3);
  assert.equal(second(5), 3);
  assert.deepEqual([floods, dropped], [1, 9]);
  assert.equal(second(2), 2, "the flood is over");
  assert.equal(second(4), 3);
  assert.equal(floods, 2);
  nowMs += 10_000;
  assert.equal(second(4), 3);
  assert.equal(floods, 3, "another flood");
});
