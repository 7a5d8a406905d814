import assert from "node:assert/strict";
import fc from "fast-check";
import { formatPublicKey } from "../kernel/key.ts";
import type { DesiredReplica } from "./desired.ts";
import { parseManifest } from "./manifest.ts";
import {
  backoffMs,
  dueAt,
  keyOf,
  type ObservedReplica,
  reconcile,
  type ReplicaState,
  type Step,
} from "./reconcile.ts";

const numRuns = Deno.env.get("SLOW") ? 20_000 : 500;
const SPEC = parseManifest(`
owner.pubkey = "${formatPublicKey(new Uint8Array(32))}"
[components.c]
source = "file:c"
world = "wasi:cli/command"
`).components.get("c")!;

type Restart = "always" | "on-failure" | "never";

function want(key: string, over: Partial<DesiredReplica> & { restart?: Restart } = {}) {
  const [component, index] = key.split("#");
  const { restart = "always", ...rest } = over;
  const replica: DesiredReplica = {
    component: component!,
    index: Number(index),
    digest: "d1",
    revision: "r1",
    world: "wasi:cli/command",
    spec: { ...SPEC, restart, world: over.world ?? "wasi:cli/command" },
    ...rest,
  };
  return replica;
}

function have(key: string, state: ReplicaState, over: Partial<ObservedReplica> = {}) {
  const [component, index] = key.split("#");
  const replica: ObservedReplica = {
    component: component!,
    index: Number(index),
    digest: "d1",
    revision: "r1",
    attempt: 0,
    state,
    ...over,
  };
  return replica;
}

const running: ReplicaState = { kind: "running" };
const exited = (success: boolean, ranMs = 0, atMs = 0): ReplicaState => ({
  kind: "exited",
  success,
  ranMs,
  atMs,
});

/** `start a#0`, `restart a#0 2`: steps as short text. */
const brief = (steps: Step[]) =>
  steps.map((step) =>
    step.kind === "stop"
      ? `stop ${keyOf(step)}`
      : `${step.kind} ${keyOf(step.replica)}${step.kind === "restart" ? ` ${step.attempt}` : ""}`
  );

Deno.test("reconcile() starts what is missing", () => {
  assert.deepEqual(brief(reconcile([want("b#0"), want("a#1"), want("a#0")], [], 0)), [
    "start a#0",
    "start a#1",
    "start b#0",
  ]);
});

Deno.test("reconcile() stops what is no longer desired, running or not, once", () => {
  const observed = [
    have("a#0", running),
    have("a#1", running),
    have("b#0", exited(true)),
    have("c#0", { kind: "starting" }),
    have("d#0", { kind: "stopping" }),
  ];
  assert.deepEqual(brief(reconcile([want("a#0")], observed, 0)), [
    "stop a#1",
    "stop b#0",
    "stop c#0",
  ]);
});

Deno.test("reconcile() replaces another digest or revision, and says from which", () => {
  const states: ReplicaState[] = [running, { kind: "starting" }, exited(true), exited(false)];
  for (const state of states) {
    for (const change of [{ digest: "d2" }, { revision: "r2" }]) {
      const steps = reconcile([want("a#0", { restart: "never", ...change })], [
        have("a#0", state, { attempt: 5 }),
      ], 0);
      assert.deepEqual(brief(steps), ["replace a#0"]);
      assert.deepEqual((steps[0] as Extract<Step, { kind: "replace" }>).from, {
        digest: "d1",
        revision: "r1",
      });
    }
  }
});

Deno.test("reconcile() leaves alone what runs as desired or is on its way", () => {
  for (const kind of ["running", "starting", "stopping"] as const) {
    assert.deepEqual(reconcile([want("a#0")], [have("a#0", { kind })], 1e9), []);
  }
  const stopping = [have("a#0", { kind: "stopping" })];
  assert.deepEqual(reconcile([want("a#0", { digest: "d2" })], stopping, 0), []);
});

Deno.test("reconcile() restarts by policy", () => {
  const cases: [Restart, boolean, boolean][] = [
    ["always", true, true],
    ["always", false, true],
    ["on-failure", true, false],
    ["on-failure", false, true],
    ["never", true, false],
    ["never", false, false],
  ];
  for (const [restart, success, isBack] of cases) {
    const steps = reconcile([want("a#0", { restart })], [have("a#0", exited(success))], 1_000);
    assert.deepEqual(brief(steps), isBack ? ["restart a#0 1"] : [], `${restart} ${success}`);
    const due = dueAt([want("a#0", { restart })], [have("a#0", exited(success))]);
    assert.equal(due, isBack ? 1_000 : undefined);
  }
  const handler = want("a#0", { restart: "never", world: "wasi:http/proxy" });
  assert.deepEqual(brief(reconcile([handler], [have("a#0", exited(true))], 1_000)), [
    "restart a#0 1",
  ]);
});

Deno.test("reconcile() doubles the back-off from 1 s to 60 s, and begins anew after a minute", () => {
  const delays = [1, 2, 3, 4, 5, 6, 7, 8, 2_000].map(backoffMs);
  assert.deepEqual(
    delays,
    [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000],
  );
  const at = (attempt: number, ranMs: number, nowMs: number) =>
    brief(reconcile([want("a#0")], [have("a#0", exited(false, ranMs, 500), { attempt })], nowMs));
  assert.deepEqual(at(0, 10, 1_499), []);
  assert.deepEqual(at(0, 10, 1_500), ["restart a#0 1"]);
  assert.deepEqual(at(3, 10, 8_499), []);
  assert.deepEqual(at(3, 10, 8_500), ["restart a#0 4"]);
  assert.deepEqual(at(3, 59_999, 1_500), []);
  assert.deepEqual(at(3, 60_000, 1_500), ["restart a#0 1"]);
});

Deno.test("dueAt() is the end of the nearest back-off of what is desired", () => {
  const observed = [
    have("a#0", exited(false, 0, 5_000)),
    have("b#0", exited(false, 0, 1_000), { attempt: 2 }),
    have("gone#0", exited(false, 0, 0)),
    have("c#0", running),
  ];
  assert.equal(dueAt([want("a#0"), want("b#0"), want("c#0")], observed), 5_000);
  assert.equal(dueAt([want("c#0")], observed), undefined);
  assert.equal(dueAt([want("a#0", { digest: "d2" })], observed), undefined);
});

const key = fc.tuple(fc.constantFrom("a", "b", "c@x"), fc.nat(3)).map(([c, i]) => `${c}#${i}`);
const version = fc.record({
  digest: fc.constantFrom("d1", "d2"),
  revision: fc.constantFrom("r1", "r2"),
});
const desiredSet = fc.uniqueArray(
  fc.tuple(key, version, fc.constantFrom<Restart>("always", "on-failure", "never"))
    .map(([k, v, restart]) => want(k, { ...v, restart })),
  { selector: keyOf },
);
const state: fc.Arbitrary<ReplicaState> = fc.oneof(
  fc.constantFrom<ReplicaState>(running, { kind: "starting" }, { kind: "stopping" }),
  fc.record({
    kind: fc.constant("exited" as const),
    success: fc.boolean(),
    atMs: fc.nat(100_000),
    ranMs: fc.nat(100_000),
  }),
);
const observedSet = fc.uniqueArray(
  fc.tuple(key, version, state, fc.nat(20)).map(([k, v, s, attempt]) =>
    have(k, s, { ...v, attempt })
  ),
  { selector: keyOf },
);

/** What is there after the steps were done. */
function apply(observed: readonly ObservedReplica[], steps: Step[]): ObservedReplica[] {
  const there = new Map(observed.map((replica) => [keyOf(replica), replica]));
  for (const step of steps) {
    if (step.kind === "stop") {
      assert.ok(there.delete(keyOf(step)), "stopped what is not there");
      continue;
    }
    const id = keyOf(step.replica);
    assert.equal(there.has(id), step.kind !== "start");
    const { digest, revision } = step.replica;
    const attempt = step.kind === "restart" ? step.attempt : 0;
    there.set(id, have(id, running, { digest, revision, attempt }));
  }
  return [...there.values()];
}

Deno.test("reconcile() then apply reaches what is desired and plans nothing more", () => {
  fc.assert(
    fc.property(desiredSet, observedSet, fc.nat(200_000), (desired, observed, nowMs) => {
      const after = apply(observed, reconcile(desired, observed, nowMs));
      assert.deepEqual(reconcile(desired, after, nowMs), []);
      const gone = after.filter(({ state }) => state.kind !== "stopping");
      // Once the stopping ones are gone and every back-off is over, only finished ones are still.
      const settled = apply(gone, reconcile(desired, gone, 1e9));
      assert.deepEqual(settled.map(keyOf).toSorted(), desired.map(keyOf).toSorted());
      for (const replica of settled) {
        const wanted = desired.find((d) => keyOf(d) === keyOf(replica))!;
        assert.deepEqual([replica.digest, replica.revision], [wanted.digest, wanted.revision]);
        if (replica.state.kind === "exited") assert.notEqual(wanted.spec.restart, "always");
      }
      assert.equal(dueAt(desired, settled), undefined);
    }),
    { numRuns },
  );
});

Deno.test("reconcile() does not depend on the order of its input", () => {
  fc.assert(
    fc.property(desiredSet, observedSet, fc.nat(200_000), (desired, observed, nowMs) => {
      assert.deepEqual(
        reconcile(desired.toReversed(), observed.toReversed(), nowMs),
        reconcile(desired, observed, nowMs),
      );
    }),
    { numRuns },
  );
});

Deno.test("reconcile() has nothing to do before dueAt() says so, and something then", () => {
  fc.assert(
    fc.property(desiredSet, observedSet, (desired, observed) => {
      const now = apply(observed, reconcile(desired, observed, -1e9));
      const due = dueAt(desired, now);
      if (due === undefined) return assert.deepEqual(reconcile(desired, now, 1e9), []);
      assert.deepEqual(reconcile(desired, now, due - 1), []);
      assert.notDeepEqual(reconcile(desired, now, due), []);
    }),
    { numRuns },
  );
});
