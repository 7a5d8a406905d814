import assert from "node:assert/strict";
import { formatPublicKey } from "../kernel/key.ts";
import { type DesiredReplica, NO_OVERRIDES, type Overrides, replicaOf } from "./desired.ts";
import { parseManifest } from "./manifest.ts";
import {
  type NodeQuestion,
  type NodeReport,
  nothingBefore,
  planNode,
  type RunningSlot,
} from "./node_rollout.ts";
import { rank } from "./placement.ts";
import { releaseOf, type VersionedRelease } from "./effective_release.ts";
import { SlotTries } from "./slot_tries.ts";

const OWNER = formatPublicKey(new Uint8Array(32).fill(9));

/** A slot that serves, with nothing wrong about it. */
const SERVES = {
  isReady: true,
  isServed: true,
  isAlone: true,
  isBroken: false,
  isInVain: false,
  isLate: false,
};

/** What a node knows that nothing happened to. */
const calm = (): Omit<NodeQuestion, "node" | "inForce" | "live" | "reported" | "own"> => ({
  turns: 0,
  before: () => [],
  failures: [],
  isNew: () => false,
  approved: new Map(["a", "b", "c"].map((name) => [name, 0])),
  complete: new Map(),
  wasComplete: () => false,
  overrides: NO_OVERRIDES,
  givenLately: () => 0,
  isBelieved: () => false,
  tries: new SlotTries(),
  nowMs: 0,
});

/** A manifest of handlers that run so often on the nodes `a` and `b` together. */
function releaseWith(
  version: number,
  components: readonly string[],
  replicas = 1,
): VersionedRelease {
  const specs = components.map((name) =>
    `[components.${name}]\nsource = "file:${name}"\nworld = "wasi:http/proxy"\n`
  );
  const routes = components.map((name) =>
    `{ path = "/${name}", component = "${name}", replicas = ${replicas} }`
  );
  const manifest = parseManifest(`[owner]\npubkey = "${OWNER}"
[nodes.a]\ntags = ["web"]\n[nodes.b]\ntags = ["web"]\n${specs.join("")}
[routing]\n"tag:web" = [${routes.join(", ")}]\n`);
  const digests = new Map(components.map((name) => [name, `${version}`.padStart(64, "0")]));
  return { version, manifest, digests };
}

/** What `a` runs that goes by version 1, refuses version 2 and has these replicas. */
function desiredOf(
  [first, second]: readonly [VersionedRelease, VersionedRelease],
  own: readonly string[],
  realm: Overrides,
): readonly DesiredReplica[] {
  const slots = own.map((component): RunningSlot => ({
    replica: replicaOf(component, { ...first, node: "a" })!,
    ...SERVES,
  }));
  const said: NodeReport = { version: 2, basis: "", turns: 0, slots: new Map(), verdicts: [] };
  return planNode({
    ...calm(),
    node: "a",
    inForce: first,
    refusal: { release: second, overrides: realm },
    turns: 1,
    before: (version) => version > 1 ? [first] : [],
    live: ["a", "b"],
    reported: () => said,
    own: slots,
  }).desired;
}

Deno.test("planNode() lets a node that refuses keep what the realm has no more, until it is drained", () => {
  const releases = [releaseWith(1, ["web", "old"]), releaseWith(2, ["web"])] as const;
  const names = (realm: Overrides) =>
    desiredOf(releases, ["old"], realm).map(({ component }) => component);
  assert.deepEqual(names(NO_OVERRIDES), ["old"]);
  assert.deepEqual(names({ ...NO_OVERRIDES, drained: ["b"] }), ["old"], "another node is");
  assert.deepEqual(names({ ...NO_OVERRIDES, drained: ["a"] }), []);
});

Deno.test("planNode() tells of nothing that a node which refuses has none of and goes by no release of", () => {
  const [first, second, third] = [1, 2, 3].map((version) =>
    releaseWith(version, version === 1 ? ["other"] : ["other", "web"])
  ) as [VersionedRelease, VersionedRelease, VersionedRelease];
  const release = releaseOf("web", third)!;
  const verdict = { component: "web", version: 3, release, node: "b", wasComplete: false };
  const { report, rollouts } = planNode({
    ...calm(),
    node: "a",
    inForce: first,
    refusal: { release: third, overrides: NO_OVERRIDES },
    turns: 1,
    before: () => [second, first],
    wasComplete: () => true, // b told so, and that the third failed
    live: ["a", "b"],
    reported: () => ({ version: 3, basis: "", turns: 0, slots: new Map(), verdicts: [verdict] }),
    own: [],
  });
  assert.deepEqual([...rollouts.keys()], ["other"]);
  assert.ok(!report.has("web"), "it has no digest of it to name");
});

Deno.test("planNode() starts nothing in the place of what another node may be starting that goes by earlier drains, or an earlier manifest", () => {
  const release = releaseWith(2, ["web"]);
  const started = (basis: string, given: number, version = 2) => {
    const none = { slots: 0, ready: 0, settled: 0, doubled: 0, isComplete: false, isHeld: false };
    const slots = new Map([["web", { ...none, revision: "", tries: 0 }]]);
    return planNode({
      ...calm(),
      node: "a",
      inForce: release,
      overrides: { ...NO_OVERRIDES, drained: ["b"], basis: "2" },
      live: ["a", "b"],
      reported: () => ({ version, basis, turns: 0, slots, verdicts: [] }),
      own: [],
      givenLately: () => given,
    }).desired.map(({ component }) => component);
  };
  assert.deepEqual(started("1", 1), []);
  assert.deepEqual(started("2", 1, 1), []);
  assert.deepEqual(started("2", 1), ["web"], "it goes by the same");
  assert.deepEqual(started("1", 0), ["web"], "it was not given any");
});

Deno.test("planNode() gives nothing away before all go by the same manifest and release", () => {
  const releases = [releaseWith(1, ["web"]), releaseWith(2, ["web"])];
  const replicaBy = (version: number, node: string) =>
    replicaOf("web", { ...releases[version - 1]!, node })!;
  const kept = (said: Pick<NodeReport, "version" | "refuses">, goal: number) => {
    const ready = { slots: 1, ready: 1, settled: 1, doubled: 0, isComplete: false, tries: 0 };
    const isHeld = said.refuses !== undefined;
    const { revision } = replicaBy(goal, "b");
    const slots = new Map([["web", { ...ready, revision, isHeld }]]);
    return planNode({
      ...calm(),
      node: "a",
      inForce: releases[1]!,
      before: () => [releases[0]!],
      overrides: { ...NO_OVERRIDES, drained: ["a"], basis: "1" },
      live: ["a", "b"],
      reported: () => ({ basis: "1", turns: 0, slots, verdicts: [], ...said }),
      own: [{ replica: replicaBy(1, "a"), ...SERVES }],
    }).desired.map(({ component }) => component);
  };
  assert.deepEqual(kept({ version: 1 }, 1), ["web"], "b may be giving its own away by that");
  assert.deepEqual(kept({ version: 1, refuses: 3 }, 1), ["web"]);
  assert.deepEqual(kept({ version: 2 }, 1), ["web"], "it knows of a verdict");
  assert.deepEqual(kept({ version: 2 }, 2), []);
});

/** Lets nodes decide in turn that refuse version 3, where starts are at once ready. */
function playRefusing(
  goesBy: Readonly<Record<string, number>>,
  begun: Readonly<Record<string, number>>,
  drained: string,
) {
  const releases = [1, 2, 3].map((version) => releaseWith(version, ["web"], 2));
  const release = releases[2]!;
  const own = new Map(
    Object.entries(begun).map(([node, slots]) => [
      node,
      Array.from({ length: slots }, (_, index): RunningSlot => ({
        replica: {
          ...replicaOf("web", { ...releases[goesBy[node]! - 1]!, node })!,
          index,
        },
        ...SERVES,
      })),
    ]),
  );
  const overrides = { ...NO_OVERRIDES, drained: [drained], basis: "1" };
  const reports = new Map<string, NodeReport>();
  const waitsFor = new Set<string>();
  let most = 0;
  for (let round = 0; round < 20; round++) {
    for (const node of own.keys()) {
      const version = goesBy[node]!;
      const answer = planNode({
        ...calm(),
        node,
        inForce: releases[version - 1]!,
        refusal: { release, overrides },
        turns: 1,
        before: (version) => releases.slice(0, version - 1).reverse(),
        live: [...own.keys()],
        reported: (name) => reports.get(name),
        own: own.get(node)!,
      });
      const { basis, report: slots, desired } = answer;
      reports.set(node, { version, basis, refuses: 3, turns: 1, slots, verdicts: [] });
      own.set(node, desired.map((replica) => ({ replica, ...SERVES })));
      most = Math.max(most, [...own.values()].reduce((sum, { length }) => sum + length, 0));
      if (round === 19) answer.rollouts.get("web")!.waitsFor.forEach((name) => waitsFor.add(name));
    }
  }
  return { runs: [...own].map(([, { length }]) => length), most, waitsFor: [...waitsFor] };
}

Deno.test("planNode() lets a drain end where all refuse, by whatever manifests they go", () => {
  for (const goesBy of [{ a: 2, b: 2 }, { a: 1, b: 2 }, { a: 2, b: 1 }]) {
    const ended = { most: 3, waitsFor: [] };
    assert.deepEqual(playRefusing(goesBy, { a: 1, b: 1 }, "a"), { ...ended, runs: [0, 2] });
    assert.deepEqual(playRefusing(goesBy, { a: 1, b: 1 }, "b"), { ...ended, runs: [2, 0] });
  }
});

Deno.test("planNode() starts nothing in the place of what one that refused its first manifest may be starting", () => {
  const release = releaseWith(1, ["web"]);
  const [first, second] = rank("web", ["a", "b"]) as [string, string];
  /** What a node does when the other tells of this basis, of which one refuses. */
  const planOf = (node: string, basis: string, isRefusing: boolean) =>
    planNode({
      ...calm(),
      node,
      inForce: isRefusing ? nothingBefore(release) : release,
      refusal: isRefusing ? { release, overrides: NO_OVERRIDES } : undefined,
      turns: isRefusing ? 1 : 0,
      live: ["a", "b"],
      reported: () =>
        isRefusing
          ? { version: 1, basis, turns: 0, slots: new Map(), verdicts: [] }
          : { version: 0, refuses: 1, basis, turns: 1, slots: new Map(), verdicts: [] },
      own: [],
    });
  const { basis, desired } = planOf(second, "", false);
  assert.deepEqual(desired, [], "the one replica is the other's, should that take the manifest");
  const refusing = planOf(first, basis, true);
  assert.deepEqual(refusing.desired, []);
  const agreed = planOf(second, refusing.basis, false);
  assert.deepEqual(agreed.desired.map(({ component }) => component), ["web"]);
});

Deno.test("planNode() agrees with others on what a node that refuses keeps, though it runs in vain there", () => {
  const release = (version: number): VersionedRelease => {
    const manifest = parseManifest(`[owner]\npubkey = "${OWNER}"
[nodes.a]\ntags = ["web", "all"]\n[nodes.b]\ntags = ["web"]\n[nodes.c]\ntags = ["all"]
[components.web]\nsource = "file:web"\nworld = "wasi:http/proxy"
[components.other]\nsource = "file:other"\nworld = "wasi:http/proxy"
[routing]\n"tag:web" = [{ path = "/web", component = "web", replicas = 2 }]
"tag:all" = [{ path = "/other", component = "other", replicas = 2 }]\n`);
    const digests = new Map(
      ["web", "other"].map((name) => [name, `${version}`.padStart(64, "0")]),
    );
    return { version, manifest, digests };
  };
  const [first, second] = [release(1), release(2)];
  const slot = (component: string, node: string, more: Partial<RunningSlot> = {}): RunningSlot => ({
    replica: replicaOf(component, { ...first, node })!,
    ...SERVES,
    ...more,
  });
  const vain = { isReady: false, isServed: false, isBroken: true, isInVain: true };
  const own: ReadonlyMap<string, readonly RunningSlot[]> = new Map([
    ["a", [slot("web", "a", vain), slot("other", "a")]],
    ["b", [slot("web", "b")]],
    ["c", [slot("other", "c")]],
  ]);
  const reports = new Map<string, NodeReport>();
  const plan = (node: string) => {
    const isRefusing = node !== "c";
    const turns = isRefusing ? 1 : 0;
    const answer = planNode({
      ...calm(),
      node,
      inForce: isRefusing ? first : second,
      refusal: isRefusing ? { release: second, overrides: NO_OVERRIDES } : undefined,
      turns,
      before: (version) => version > 1 ? [first] : [],
      live: [...own.keys()],
      reported: (name) => reports.get(name),
      own: own.get(node)!,
    });
    const { basis, report: slots } = answer;
    const refuses = isRefusing ? 2 : undefined;
    reports.set(node, { version: isRefusing ? 1 : 2, basis, refuses, turns, slots, verdicts: [] });
    return answer;
  };
  for (let round = 0; round < 3; round++) for (const node of own.keys()) plan(node);
  const [a, b, c] = [plan("a"), plan("b"), plan("c")];
  assert.deepEqual([a.basis, b.basis], [c.basis, c.basis]);
  const { component, digest } = c.desired[0]!;
  assert.deepEqual([component, Number(digest)], ["other", 2], "what c takes goes on");
});
