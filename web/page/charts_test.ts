import assert from "node:assert/strict";
import * as fc from "fast-check";
import { chart, CHARTS, inWords, linePath, niceMax, pointsOf } from "./charts.ts";
import { findAll, textOf } from "./vnode.ts";

const NOW_MS = 10_000_000;
const SAMPLES = {
  atMs: [NOW_MS - 3_600_001, NOW_MS - 20_000, NOW_MS - 15_000, NOW_MS - 10_000, NOW_MS],
  values: { cpu: [99, 10, null, 50, 20], requests: [1, 2, 3, 4, 5], errors: [0, 0, 0, 1, 0] },
};
const [CPU, , , REQUESTS] = CHARTS;

Deno.test("pointsOf() has what was measured within the hour", () => {
  assert.deepEqual(pointsOf(SAMPLES, "cpu", NOW_MS).map(({ value }) => value), [10, 50, 20]);
  assert.deepEqual(pointsOf(SAMPLES, "nothing", NOW_MS), []);
});

Deno.test("linePath() leaves a gap where the agent was not there", () => {
  const points = [0, 5_000, 10_000, 60_000, 65_000].map((atMs) => ({ atMs, value: 1 }));
  const path = linePath(points, (ms) => ms / 1_000, (value) => value);
  assert.equal(path, "M0.0 1.0L5.0 1.0L10.0 1.0M60.0 1.0L65.0 1.0");
});

Deno.test("niceMax() is 1, 2 or 5 times a power of ten, and never below", () => {
  assert.deepEqual([0.3, 1, 3, 7, 10, 11, 4_999].map(niceMax), [0.5, 1, 5, 10, 10, 20, 5_000]);
  fc.assert(fc.property(fc.double({ min: 1e-3, max: 1e12, noNaN: true }), (value) => {
    const top = niceMax(value);
    assert.ok(top >= value * 0.999999 && top <= value * 10, `${value} ${top}`);
  }));
});

Deno.test("a chart says in words what it shows", () => {
  const series = [pointsOf(SAMPLES, "cpu", NOW_MS)];
  assert.equal(inWords(CPU!, series), "CPU in the last hour: in use 20 % now, at most 50 %");
  assert.match(inWords(CPU!, [[]]), /nothing was measured/);
});

Deno.test("a chart shows the newest values, those under the cursor, and moves it by keys", () => {
  const told: (number | undefined)[] = [];
  const drawn = (cursor: number | undefined) =>
    chart(REQUESTS!, SAMPLES, NOW_MS, cursor, (at) => told.push(at));
  assert.match(textOf(drawn(undefined)), /^Requestsall 5\/sfailed 0\/s/);
  assert.match(textOf(drawn(NOW_MS - 11_000)), /all 4\/sfailed 1\/s/);
  const [svg] = findAll(drawn(NOW_MS - 10_000), ({ tag }) => tag === "svg");
  const key = (name: string) => svg!.on.keydown!({ key: name, preventDefault() {} });
  key("ArrowLeft");
  key("ArrowRight");
  key("PageUp");
  key("x");
  svg!.on.pointermove!({ offsetX: 200, currentTarget: { clientWidth: 400 } });
  svg!.on.blur!({});
  assert.deepEqual(told, [
    NOW_MS - 15_000,
    NOW_MS,
    NOW_MS - 20_000,
    NOW_MS - 1_800_000,
    undefined,
  ]);
  assert.match(textOf(chart(CPU!, undefined, NOW_MS, undefined, () => {})), /in use –/);
});
