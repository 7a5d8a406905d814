import assert from "node:assert/strict";
import type { RolloutStatus } from "./realm/node_rollout.ts";
import { refusingNodes, rolloutStatus } from "./rollout_status.ts";

const rollout = (but: Partial<RolloutStatus> = {}) =>
  ({
    version: 4,
    wanted: 3,
    settled: 3,
    refused: 0,
    refusedBy: [],
    waitsFor: [],
    failure: undefined,
    ...but,
  }) as unknown as RolloutStatus;

Deno.test("rolloutStatus() never tells of a refusal without who refuses", () => {
  const refusal = { version: 5, why: "64 MiB are too much" };
  const told = (but: Partial<RolloutStatus>) =>
    rolloutStatus(rollout(but), (node) => node === "bm-01" ? refusal : undefined, 5)!;
  assert.deepEqual(told({ refusedBy: ["bm-01"] }).refusedBy, [{ node: "bm-01", ...refusal }]);
  // Its record is gone, or says by now that it does not refuse.
  for (const refusalOf of [() => undefined, () => null]) {
    const { state, refusedBy } = rolloutStatus(rollout({ refusedBy: ["bm-02"] }), refusalOf, 5)!;
    assert.equal(state, "refused");
    assert.deepEqual(refusedBy, [{ node: "bm-02", version: 5, why: "why is not heard yet" }]);
  }
  assert.equal(told({ refusedBy: ["bm-01"], settled: 1, refused: 1 }).state, "rolling");
  assert.equal(told({ refusedBy: ["bm-01"], settled: 2, refused: 1 }).state, "refused");
});

Deno.test("rolloutStatus() tells how far a rollout is, and where it goes", () => {
  const failure = { version: 5, node: "bm-01", evidence: "503", at: 1 };
  const told = (but: object) => rolloutStatus(rollout(but), () => undefined, 5)!;
  assert.equal(rolloutStatus(undefined, () => undefined, 5), null);
  assert.deepEqual([told({}).state, told({ settled: 2 }).state], ["complete", "rolling"]);
  assert.deepEqual(
    [told({ failure }).state, told({ failure, settled: 2 }).state],
    ["returned", "returning"],
  );
  assert.deepEqual(told({ failure }).failure, { version: 5, node: "bm-01", evidence: "503" });
  assert.equal(told({}).version, 4, "that of the release");
});

Deno.test("refusingNodes() tells which other nodes of a manifest refuse one now", () => {
  const refusal = { version: 5, why: "64 MiB are too much" };
  const records = new Map([
    ["b", { refusal }],
    ["a", { refusal: { ...refusal, version: 4 } }],
    ["fine", { refusal: null }],
    ["self", { refusal }],
    ["gone", { refusal }],
  ]);
  assert.deepEqual(refusingNodes(["self", "unheard", "b", "fine", "a"], "self", records), [
    { node: "a", ...refusal, version: 4 },
    { node: "b", ...refusal },
  ]);
});
