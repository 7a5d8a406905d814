import assert from "node:assert/strict";
import { formatPublicKey } from "../kernel/key.ts";
import { type DesiredReplica, NO_OVERRIDES, type Overrides, replicaOf } from "./desired.ts";
import { parseManifest } from "./manifest.ts";
import { type NodeReport, planNode, type RunningSlot } from "./node_rollout.ts";
import type { VersionedRelease } from "./rollout.ts";
import { SlotTries } from "./slot_tries.ts";

const OWNER = formatPublicKey(new Uint8Array(32).fill(9));

/** A manifest of handlers that run once on the nodes `a` and `b` together. */
function releaseWith(version: number, components: readonly string[]): VersionedRelease {
  const specs = components.map((name) =>
    `[components.${name}]\nsource = "file:${name}"\nworld = "wasi:http/proxy"\n`
  );
  const routes = components.map((name) =>
    `{ path = "/${name}", component = "${name}", replicas = 1 }`
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
    isReady: true,
    isServed: true,
    isAlone: true,
    isBroken: false,
    isInVain: false,
    isLate: false,
  }));
  const said: NodeReport = { version: 2, basis: "", slots: new Map() };
  return planNode({
    node: "a",
    inForce: first,
    refusal: { release: second, overrides: realm },
    before: (version) => version > 1 ? [first] : [],
    failures: [],
    complete: new Map(),
    wasComplete: () => false,
    overrides: NO_OVERRIDES,
    live: ["a", "b"],
    reported: () => said,
    own: slots,
    givenLately: () => 0,
    tries: new SlotTries(),
    nowMs: 0,
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

Deno.test("planNode() starts nothing in the place of what another node may be starting that goes by earlier drains", () => {
  const release = releaseWith(1, ["web"]);
  const started = (basis: string, given: number) => {
    const none = { slots: 0, ready: 0, settled: 0, doubled: 0, isComplete: false, isHeld: false };
    const slots = new Map([["web", { ...none, revision: "", tries: 0 }]]);
    return planNode({
      node: "a",
      inForce: release,
      before: () => [],
      failures: [],
      complete: new Map(),
      wasComplete: () => false,
      overrides: { ...NO_OVERRIDES, drained: ["b"], basis: "2" },
      live: ["a", "b"],
      reported: () => ({ version: 1, basis, slots }),
      own: [],
      givenLately: () => given,
      tries: new SlotTries(),
      nowMs: 0,
    }).desired.map(({ component }) => component);
  };
  assert.deepEqual(started("1", 1), []);
  assert.deepEqual(started("2", 1), ["web"], "it goes by the same");
  assert.deepEqual(started("1", 0), ["web"], "it was not given any");
});
