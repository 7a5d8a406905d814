import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { orHungUp } from "./hang_up.ts";

Deno.test("orHungUp() is aborted by SIGHUP, which ends nothing", {
  ignore: Deno.build.os === "windows",
}, async () => {
  using hangUp = orHungUp(new AbortController().signal);
  Deno.kill(Deno.pid, "SIGHUP");
  for (let i = 0; i < 3_000 && !hangUp.signal.aborted; i++) await delay(10);
  assert.match(String(hangUp.signal.reason), /SIGHUP/);
});

Deno.test("orHungUp() is aborted by what interrupts", () => {
  const interrupted = new AbortController();
  using hangUp = orHungUp(interrupted.signal);
  assert.equal(hangUp.signal.aborted, false);
  interrupted.abort();
  assert.equal(hangUp.signal.aborted, true);
});
