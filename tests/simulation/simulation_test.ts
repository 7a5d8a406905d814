/**
 * A few seeds of the simulation, and that a seed is one history. Continuous integration runs 1,000
 * (`./dev sim`).
 *
 * @module
 */
import assert from "node:assert/strict";
import { simulate } from "./simulation.ts";
import { RULES } from "./judge.ts";

/** The suite runs beside all others: what is many is for `./dev sim`. */
const SEEDS = Deno.env.get("SLOW") ? 400 : 16;

Deno.test("a realm keeps the rules in trouble, and comes to one state after it", () => {
  const looks = new Map<string, number>();
  for (let i = 0; i < SEEDS; i++) {
    const outcome = simulate({ seed: `test ${i}` });
    assert.equal(outcome.violation, undefined, `SEED=test ${i} ${outcome.violation?.message}`);
    for (const [rule, count] of outcome.looks) looks.set(rule, (looks.get(rule) ?? 0) + count);
  }
  // What was never looked at cannot be seen to break.
  const notCounted = ["bounds", "converge"];
  for (const rule of Object.keys(RULES).filter((rule) => !notCounted.includes(rule))) {
    assert.ok((looks.get(rule) ?? 0) > 0, `no seed came to look at "${rule}"`);
  }
});

Deno.test("a seed is one history, and another seed another", () => {
  const [one, again, other] = ["replay", "replay", "replayed"].map((seed) => simulate({ seed }));
  assert.equal(one!.history, again!.history);
  assert.equal(one!.steps, again!.steps);
  assert.notEqual(one!.history, other!.history);
});
