import assert from "node:assert/strict";
import fc from "fast-check";
import { CpuBudget } from "./cpu_budget.ts";

Deno.test("CpuBudget gives a burst and a part of all time after it, whatever is paid when", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.integer({ min: 1, max: 500 }), fc.nat(300)), { minLength: 200 }),
      (steps) => {
        const budget = new CpuBudget(0, { burstMs: 1_000, share: 0.25 });
        let nowMs = 0;
        let used = 0;
        let largest = 0;
        for (const [cost, pause] of steps) {
          nowMs += pause;
          const waitMs = budget.waitMs(nowMs);
          nowMs += waitMs;
          assert.equal(budget.waitMs(nowMs), 0); // the wait was long enough
          budget.pay(cost, nowMs += cost);
          used += cost;
          largest = Math.max(largest, cost);
          assert.ok(used <= 1_000 + 0.25 * nowMs + largest, `${used} ms used at ${nowMs} ms`);
        }
      },
    ),
    { numRuns: 100 },
  );
});

Deno.test("CpuBudget takes nothing, and gives nothing, for a clock that is set back", () => {
  const budget = new CpuBudget(10_000, { burstMs: 100, share: 0.5 });
  budget.pay(150, 10_000);
  assert.equal(budget.waitMs(10_000), 200);
  assert.equal(budget.waitMs(0), 200);
  assert.equal(budget.waitMs(200), 0);
});
