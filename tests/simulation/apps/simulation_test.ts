/**
 * A few seeds of the simulation of topics, and that a seed is one history. Continuous integration runs
 * 500 (`./dev sim --apps --seeds 500`).
 *
 * @module
 */
import assert from "node:assert/strict";
import { APP_RULES } from "./judge.ts";
import { simulateApp } from "./simulation.ts";

/** The suite runs beside all others: what is many is for `./dev sim --apps`. */
const SEEDS = Deno.env.get("SLOW") ? 500 : 10;

Deno.test("peers of a topic keep the rules in trouble, and come to one state after it", () => {
  const looks = new Map<string, number>();
  for (let i = 0; i < SEEDS; i++) {
    const outcome = simulateApp({ seed: `test ${i}` });
    assert.equal(outcome.violation, undefined, `SEED=test ${i} ${outcome.violation?.message}`);
    for (const [rule, count] of outcome.looks) looks.set(rule, (looks.get(rule) ?? 0) + count);
  }
  // What was never looked at cannot be seen to break.
  const notCounted = ["drift", "converge"];
  for (const rule of Object.keys(APP_RULES).filter((rule) => !notCounted.includes(rule))) {
    assert.ok((looks.get(rule) ?? 0) > 0, `no seed came to look at "${rule}"`);
  }
});

Deno.test("who floods a topic is revoked on every peer, and all come to one state", () => {
  // Whether a traitor comes to it depends on all that happens before.
  for (let i = 0, flooded = 0; flooded < 2; i++) {
    assert.ok(i < 40, "nobody floods");
    const seed = `flood ${i}`;
    let floods = 0;
    const { violation } = simulateApp({
      seed,
      kinds: ["write", "burst", "flood", "newcomer", "break"],
      troubleMs: 6_000,
      trace: (line) => floods += line.includes(" floods ") ? 1 : 0,
    });
    assert.equal(violation, undefined, `SEED=${seed} ${violation?.message}`);
    if (floods > 1) flooded++;
  }
});

Deno.test("a seed of a topic is one history, and another seed another", () => {
  const [one, again, other] = ["replay", "replay", "replayed"].map((seed) => simulateApp({ seed }));
  assert.equal(one!.history, again!.history);
  assert.equal(one!.steps, again!.steps);
  assert.notEqual(one!.history, other!.history);
});
