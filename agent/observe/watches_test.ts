import assert from "node:assert/strict";
import { RolloutWatch } from "./rollout_watch.ts";
import { SyncLag } from "./sync_lag.ts";

Deno.test("SyncLag tells for how long the log of a node was another", () => {
  const told: number[] = [];
  const lag = new SyncLag((ms) => told.push(ms));
  const look = (own: string, others: Record<string, string>, nowMs: number) =>
    lag.look(own, new Map(Object.entries(others)), nowMs);
  look("x", { a: "x", b: "x" }, 0);
  look("y", { a: "x", b: "x" }, 100);
  assert.equal(lag.behind, 2);
  look("y", { a: "y", b: "x" }, 350);
  assert.deepEqual(told, [250]);
  look("z", { a: "y", b: "y" }, 400);
  look("z", { a: "z" }, 500);
  assert.deepEqual(told, [250, 100], "of one that fell silent nothing is told");
  look("z", { a: "w" }, 600); // it has something that is not here yet
  look("w", { a: "w", b: "w" }, 700);
  assert.deepEqual([told.at(-1), lag.behind], [100, 0]);
});

Deno.test("RolloutWatch tells how long a rollout took, and how it ended", () => {
  const told: string[] = [];
  const watch = new RolloutWatch((outcome, ms) => told.push(`${outcome} ${ms}`));
  const failed = {
    component: "a",
    version: 2,
    release: "two",
    node: "n",
    evidence: "",
  };
  const look = (
    nowMs: number,
    release: string,
    isComplete: boolean,
    failure: typeof failed | undefined = undefined,
  ) => watch.look(new Map([["a", { release, isComplete, failure }]]), nowMs);
  look(0, "one", true);
  assert.deepEqual(told, [], "it was there before");
  look(1_000, "two", false);
  look(2_000, "two", false);
  look(3_500, "one", false, failed);
  look(4_000, "one", true, failed);
  assert.deepEqual(told, ["failed 2500"], "to go back is no rollout of its own");
  look(5_000, "three", false);
  look(9_000, "three", true);
  look(9_500, "three", true);
  assert.deepEqual(told, ["failed 2500", "complete 4000"]);
  look(10_000, "four", false);
  look(11_000, "five", false);
  look(13_000, "five", true);
  assert.deepEqual(told.slice(2), ["complete 2000"], "one that was overtaken has no end");
  // What failed and has nothing to go back to fails once.
  const stuck = { ...failed, release: "six" };
  look(14_000, "six", false);
  for (const nowMs of [15_000, 16_000]) look(nowMs, "six", false, stuck);
  assert.deepEqual(told.slice(3), ["failed 1000"]);
  watch.look(new Map(), 17_000);
});
