import assert from "node:assert/strict";
import { systemClock } from "./system_clock.ts";

Deno.test("systemClock sleeps as long as it is told", async () => {
  const startMs = systemClock.monotonicMs();
  await systemClock.sleep(20);
  // Timers are in whole milliseconds.
  assert.ok(systemClock.monotonicMs() - startMs >= 19);
});

Deno.test("systemClock wakes at once when it is aborted, and leaves no timer", async () => {
  const controller = new AbortController();
  const sleeping = systemClock.sleep(60_000, controller.signal);
  controller.abort(new Error("enough"));
  await assert.rejects(sleeping, /enough/);
  await assert.rejects(systemClock.sleep(60_000, controller.signal), /enough/);
});
