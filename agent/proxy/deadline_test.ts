import assert from "node:assert/strict";
import { until } from "../../tests/until.ts";
import { Deadlines } from "./deadline.ts";

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

Deno.test("set() calls back once, not early, in order of their times; clear() forgets", async () => {
  const deadlines = new Deadlines();
  const start = performance.now();
  const fired: [string, number][] = [];
  const note = (name: string) => () => fired.push([name, performance.now() - start]);
  deadlines.set(3_600_000, start, note("far"));
  const cleared = deadlines.set(30, start, note("cleared"));
  deadlines.set(40, start, note("early"));
  deadlines.set(120, start, note("late"));
  deadlines.clear(cleared);
  await until("both", () => fired.length >= 2);
  await sleep(50);
  assert.deepEqual(fired.map(([name]) => name), ["early", "late"]);
  assert.ok(fired[0]![1] >= 40 && fired[1]![1] >= 120, JSON.stringify(fired));
  deadlines.close();
});

Deno.test("close() forgets all of them and leaves no timer", async () => {
  const deadlines = new Deadlines();
  deadlines.set(5, performance.now(), () => assert.fail("fired"));
  deadlines.close();
  await sleep(30);
});
