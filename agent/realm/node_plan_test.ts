import assert from "node:assert/strict";
import { formatPublicKey } from "../kernel/key.ts";
import { NO_OVERRIDES, type Overrides } from "./desired.ts";
import { parseManifest } from "./manifest.ts";
import { formatSteps, planNodes, planWorld } from "./node_plan.ts";
import { planChanges, type Release } from "./plan.ts";

const OWNER = formatPublicKey(new Uint8Array(32));
const [A, B] = ["aa".repeat(32), "bb".repeat(32)];

function release(routing: string, digest = A, more = ""): Release {
  const manifest = parseManifest(
    `[owner]\npubkey = "${OWNER}"\n[nodes.a]\nquota = { instances = 3 }\n[nodes.b]\n` +
      `[components.web]\nsource = "file:w"\nworld = "wasi:http/proxy"\n${more}[routing]\n${routing}`,
  );
  return { manifest, digests: new Map([["web", digest]]) };
}
const on = (node: string, replicas: number, more = "") =>
  `${node} = [{ path = "/", component = "web", replicas = ${replicas}${more} }]\n`;

function plan(
  before: Release | undefined,
  after: Release,
  overrides: Overrides = NO_OVERRIDES,
  live = ["a", "b"],
) {
  const changes = planChanges(before, after, overrides);
  return planNodes({ before, after, overrides, changes, live });
}

const lines = (...of: Parameters<typeof plan>) =>
  formatSteps(plan(...of)).split("\n").map((line) => line.trim());

Deno.test("planNodes() says what each node starts, replaces, stops and moves", () => {
  assert.deepEqual(lines(undefined, release(on("a", 2))), ["on a", "start 2 of web"]);
  assert.deepEqual(lines(release(on("a", 1)), release(on("a", 2), B)), [
    "on a",
    "replace 1 of web, 1 at once, the old one serves until the new one is ready",
    "start 1 of web",
  ]);
  assert.deepEqual(lines(release(on("a", 3)), release(on("a", 1) + on("b", 1))), [
    "on a",
    "stop 1 of web",
    "on b",
    "move 1 of web from a, 1 at once, the old one serves until the new one is ready",
  ]);
  assert.deepEqual(
    lines(
      release(on("a", 2)),
      release(on("a", 2, ", max_surge = 0, max_unavailable = 2"), B),
    ),
    ["on a", "replace 2 of web, 2 at once, the old one stops first"],
  );
  assert.deepEqual(lines(release(on("a", 2)), release(on("a", 2))), [""]);
});

Deno.test("planNodes() says what has no place, and why", () => {
  assert.deepEqual(plan(undefined, release(on("a", 5))).unplaced, [
    { component: "web", replicas: 2, why: "no room in the quota of a (instances)" },
  ]);
  const away = plan(undefined, release(on("b", 1)), NO_OVERRIDES, ["a"]);
  assert.deepEqual(away.unplaced[0]!.why, "b is not live");
});

Deno.test("planNodes() knows that an apply ends the overrides of what it touches", () => {
  const scaled = { ...NO_OVERRIDES, scales: [{ component: "web", replicas: 3 }] };
  assert.deepEqual(lines(release(on("a", 1)), release(on("a", 1)), scaled), [""]);
  assert.deepEqual(lines(release(on("a", 1)), release(on("a", 1), B), scaled), [
    "on a",
    "replace 1 of web, 1 at once, the old one serves until the new one is ready",
    "stop 2 of web",
  ]);
});

Deno.test("planWorld() is another for another manifest in force, digest, override or node", () => {
  const after = release(on("a", 1) + on("b", 1), B);
  const world = (
    inForce: string | undefined,
    digests = after.digests,
    overrides: Overrides = NO_OVERRIDES,
    live = ["a", "b"],
  ) =>
    planWorld(inForce, {
      manifest: { sha256: "m", digests },
      plan: plan(undefined, after, overrides, live),
      overrides,
    });
  const worlds = [
    world(undefined),
    world("event"),
    world(undefined, new Map([["web", A]])),
    world(undefined, after.digests, { ...NO_OVERRIDES, drained: ["b"] }),
    world(undefined, after.digests, NO_OVERRIDES, ["a"]),
  ];
  assert.equal(new Set(worlds).size, worlds.length);
  assert.equal(world("event"), worlds[1]);
});
