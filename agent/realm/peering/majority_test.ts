import assert from "node:assert/strict";
import type { DesiredReplica } from "../desired.ts";
import type { Step } from "../reconcile.ts";
import { isMajority, stepsOfMinority } from "./majority.ts";

Deno.test("isMajority() wants more than half", () => {
  const cases: [number, number, boolean][] = [
    [1, 1, true],
    [1, 2, false],
    [2, 3, true],
    [2, 4, false],
    [3, 4, true],
    [0, 0, false],
  ];
  for (const [live, approved, wanted] of cases) assert.equal(isMajority(live, approved), wanted);
});

Deno.test("stepsOfMinority() keeps what runs, and starts nothing new", () => {
  const replica = { component: "web", index: 0 } as DesiredReplica;
  const steps: Step[] = [
    { kind: "start", replica },
    { kind: "restart", replica, attempt: 1 },
    { kind: "replace", replica, from: { digest: "", revision: "" } },
    { kind: "stop", component: "old", index: 0 },
  ];
  assert.deepEqual(stepsOfMinority(steps).map(({ kind }) => kind), ["restart", "stop"]);
});
