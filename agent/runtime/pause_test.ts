import assert from "node:assert/strict";
import { jspi, refuelFunction } from "./pause.ts";

Deno.test("refuelFunction() goes on, traps, pauses, and makes debt where it cannot pause", async () => {
  let next = 0;
  const calls: string[] = [];
  const refuel = refuelFunction({
    tick: () => next,
    pause: () => {
      calls.push("pause");
      return new Promise((resolve) => setTimeout(() => resolve(7), 1));
    },
    debt: () => {
      calls.push("debt");
      return 5;
    },
  });
  assert.equal(refuel(), 0);
  next = 1;
  assert.equal(refuel(), 1);
  assert.deepEqual(calls, []);
  next = 2;
  assert.equal(await jspi.promising(refuel)(), 7);
  assert.deepEqual(calls.splice(0), ["pause"]);
  assert.equal(refuel(), 5);
  assert.equal(calls.at(-1), "debt");
});
