import assert from "node:assert/strict";
import fc from "fast-check";
import type { Failure } from "./effective_release.ts";
import { EVIDENCE_KEPT_MAX, inTurns, keepVerdicts, VERDICTS_KEPT_MAX } from "./kept_verdicts.ts";

const failure = (node: string, version: number, component = "web", evidence = "much"): Failure => //
({ component, version, release: "r", node, evidence });

const nodesOf = (failures: readonly Failure[]) => failures.map(({ node }) => node);

Deno.test("keepVerdicts() drops none of the node's own for those of others", () => {
  const others = Array.from({ length: VERDICTS_KEPT_MAX }, (_, i) => failure("b", i + 2));
  const kept = keepVerdicts("a", [...others, failure("a", 1)]);
  assert.equal(kept.length, VERDICTS_KEPT_MAX);
  assert.deepEqual(nodesOf(kept.slice(0, 2)), ["a", "b"]);
  assert.equal(kept.at(-1)!.version, VERDICTS_KEPT_MAX + 1);
  const own = Array.from({ length: VERDICTS_KEPT_MAX }, (_, i) => failure("a", i + 2));
  const both = nodesOf(keepVerdicts("a", [...own, ...others]));
  assert.equal(
    both.filter((node) => node === "b").length,
    VERDICTS_KEPT_MAX / 2,
    "room for others",
  );
});

Deno.test("keepVerdicts() keeps the evidence of the newest", () => {
  const all = Array.from({ length: EVIDENCE_KEPT_MAX + 2 }, (_, i) => failure("b", i + 1));
  const kept = keepVerdicts("a", all).map(({ evidence }) => evidence);
  assert.deepEqual(kept.slice(0, 3), ["", "", "much"]);
});

Deno.test("keepVerdicts() leaves out again what it left out, in whatever order it is heard", () => {
  const failures = fc.uniqueArray(
    fc.tuple(fc.constantFrom("a", "b", "c"), fc.integer({ min: 1, max: 9 }), fc.nat(60)),
    { maxLength: 600, minLength: 200, selector: String },
  ).map((all) => all.map(([node, version, i]) => failure(node, version, `w${i}`)));
  fc.assert(
    fc.property(failures, (all) => {
      const kept = keepVerdicts("a", all);
      assert.deepEqual(keepVerdicts("a", all.toReversed()), kept);
      assert.ok(keepVerdicts("a", kept).every((each, i) => each === kept[i]));
      const left = all.filter(({ node, version, component }) =>
        kept.every((k) => k.node !== node || k.version !== version || k.component !== component)
      );
      const some = left.filter((_, i) => i % 3 > 0);
      assert.ok(keepVerdicts("a", [...kept, ...some]).every((each, i) => each === kept[i]));
    }),
    { numRuns: 30 },
  );
});

Deno.test("inTurns() leaves out the first of who has most", () => {
  const all = ["b", "c", "b", "b", "c", "b"].map((node, i) => failure(node, i + 1));
  const left = (max: number) => inTurns(all, max).map(({ node, version }) => `${node}${version}`);
  assert.deepEqual(left(6), ["b1", "c2", "b3", "b4", "c5", "b6"]);
  assert.deepEqual(left(5), ["c2", "b3", "b4", "c5", "b6"]);
  assert.deepEqual(left(4), ["c2", "b4", "c5", "b6"]);
  assert.deepEqual(left(3), ["b4", "c5", "b6"]);
  assert.deepEqual(left(0), []);
});
