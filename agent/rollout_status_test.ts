import assert from "node:assert/strict";
import type { RolloutStatus } from "./realm/node_rollout.ts";
import { givenUpBy, heardOf, refusingNodes, rolloutStatus } from "./rollout_status.ts";

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

Deno.test("givenUpBy() tells which nodes gave up what of a component", () => {
  const why = "GET /: 503\n  \n its \x1b[31m\u202elast\u2028line\u200b";
  const web = { component: "web", replicas: 2, why };
  const other = { ...web, component: "other" };
  const said = [
    ["b", { version: 4, givenUp: [other, web] }],
    ["a", { version: 4, givenUp: [web] }],
    ["c", { version: 4, givenUp: [] }],
    ["behind", { version: 3, givenUp: [web] }],
  ] as const;
  const told = { replicas: 2, why: "GET /: 503 its [31m last line" };
  const nodes = givenUpBy("web", [4], said);
  assert.deepEqual(givenUpBy("web", [4, 3], said).map(({ node }) => node), ["a", "b", "behind"]);
  assert.deepEqual(nodes, [{ node: "a", ...told }, { node: "b", ...told }]);
  const status = (settled: number) =>
    rolloutStatus(rollout({ settled }), () => undefined, 4, nodes)!.givenUpBy;
  assert.deepEqual(status(2), nodes);
  assert.deepEqual(status(3), [], "all of it runs");
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

Deno.test("heardOf() leaves out what nodes said that are dead", () => {
  const node = (name: string, live: boolean, self = false) => ({ name, live, self });
  const nodes = [node("self", true, true), node("a", true), node("dead", false), node("b", true)];
  const records = new Map(["self", "a", "dead", "gone"].map((name) => [name, name]));
  assert.deepEqual([...heardOf(nodes, records)], [["a", "a"]]);
});
