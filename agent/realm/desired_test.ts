import assert from "node:assert/strict";
import fc from "fast-check";
import { formatPublicKey } from "../kernel/key.ts";
import {
  desiredReplicas,
  NO_OVERRIDES,
  type Overrides,
  proxiedPortOf,
  revisionOf,
} from "./desired.ts";
import { type Manifest, parseManifest } from "./manifest.ts";
import { divide } from "./placement.ts";

const numRuns = Deno.env.get("SLOW") ? 10_000 : 300;
const OWNER = formatPublicKey(new Uint8Array(32).fill(9));
const NODES = ["a", "b", "c"];

const manifest = parseManifest(`
[owner]
pubkey = "${OWNER}"
[nodes.a]
tags = ["metal", "big"]
[nodes.b]
tags = ["metal"]
[nodes.c]
[components.web]
source = "file:web.wasm"
world = "wasi:http/proxy"
[components.api]
source = "file:api.wasm"
world = "wasi:http/proxy"
[components.worker]
source = "file:worker.wasm"
world = "wasi:cli/command"
[components.placed]
source = "file:placed.wasm"
world = "wasi:cli/command"
placement = { tags = ["metal"], replicas = 5 }
[components.idle]
source = "file:idle.wasm"
world = "wasi:http/proxy"
[routing]
a = [
  { path = "/web/...", component = "web", replicas = 2 },
  { path = "/more/...", component = "web", replicas = 3 },
]
"tag:metal" = [
  { path = "/api/...", component = "api", replicas = 3 },
  { path = "/web/...", component = "web", replicas = 4 },
]
`);
const digests = new Map([...manifest.components.keys()].map((name) => [name, name.repeat(4)]));

function counts(
  node: string,
  over: { live?: string[]; overrides?: Partial<Overrides>; manifest?: Manifest } = {},
): Record<string, number> {
  const replicas = desiredReplicas({
    manifest: over.manifest ?? manifest,
    digests,
    node,
    live: over.live ?? NODES,
    overrides: { ...NO_OVERRIDES, ...over.overrides },
  });
  const result: Record<string, number> = {};
  for (const { component } of replicas) result[component] = (result[component] ?? 0) + 1;
  return result;
}

/** The sum over nodes that each compute their own part. */
function total(component: string, live: string[]): number {
  return live.reduce((sum, node) => sum + (counts(node, { live })[component] ?? 0), 0);
}

Deno.test("desiredReplicas() gives a node the greatest number that a route wants there", () => {
  assert.equal(counts("a").web, 3);
  assert.equal(counts("b").web, 2);
  assert.equal(counts("c").web, undefined);
  // With b gone the tag's four are all on a.
  assert.equal(counts("a", { live: ["a", "c"] }).web, 4);
});

Deno.test("desiredReplicas() divides totals over live nodes with the tags", () => {
  for (const live of [NODES, ["a", "b"], ["a"], ["b", "c"]]) {
    assert.equal(total("api", live), 3, live.join());
    assert.equal(total("placed", live), 5, live.join());
    assert.equal(total("worker", live), 1, live.join());
  }
  assert.equal(total("placed", ["c"]), 0);
  for (const node of NODES) assert.equal(counts(node).idle, undefined);
});

Deno.test("desiredReplicas() gives sorted replicas with digest, world and indexes from 0", () => {
  const replicas = desiredReplicas({ manifest, digests, node: "a", live: NODES });
  const keys = replicas.map(({ component, index }) => `${component}#${index}`);
  assert.deepEqual(keys, keys.toSorted());
  assert.ok(keys.includes("web#0") && keys.includes("web#2"));
  for (const { component, digest, spec, world } of replicas) {
    assert.equal(digest, component.repeat(4));
    assert.equal(spec, manifest.components.get(component));
    assert.equal(world, spec.world);
  }
});

Deno.test("desiredReplicas() gives nothing to unknown, dead and drained nodes", () => {
  assert.deepEqual(counts("nobody", { live: ["nobody"] }), {});
  assert.deepEqual(counts("a", { live: ["b"] }), {});
  const overrides = { drained: ["a"] };
  assert.deepEqual(counts("a", { overrides }), {});
  assert.equal(counts("b", { overrides }).api, 3);
});

Deno.test("desiredReplicas() obeys scales, for a node before for all", () => {
  const everywhere = { component: "web", replicas: 7 };
  assert.equal(counts("a", { overrides: { scales: [everywhere] } }).web, 7);
  const here = { component: "web", node: "a", replicas: 0 };
  const both = { scales: [here, everywhere] };
  assert.equal(counts("a", { overrides: both }).web, undefined);
  assert.ok(counts("b", { overrides: both }).web! >= 3);
  const twice = { scales: [everywhere, { ...everywhere, replicas: 1 }] };
  assert.equal(counts("a", { overrides: twice }).web, 1);
});

Deno.test("desiredReplicas() gives another revision after a restart, on the nodes it names", () => {
  const revision = (node: string, overrides: Overrides) =>
    desiredReplicas({ manifest, digests, node, live: NODES, overrides })
      .find(({ component }) => component === "web")!.revision;
  const one = { ...NO_OVERRIDES, restarts: [{ component: "web", node: "a", count: 1 }] };
  assert.notEqual(revision("a", one), revision("a", NO_OVERRIDES));
  assert.equal(revision("b", one), revision("b", NO_OVERRIDES));
  const other = { ...NO_OVERRIDES, restarts: [{ component: "api", count: 1 }] };
  assert.equal(revision("a", other), revision("a", NO_OVERRIDES));
});

Deno.test("revisionOf() changes with what needs a new start, and with nothing else", () => {
  const spec = manifest.components.get("worker")!;
  const revision = revisionOf(spec, "d", 0);
  const needed = [
    { env: new Map([["A", "1"]]) },
    { args: ["x"] },
    { clock: true },
    { memoryMaxMb: 1 },
    { fuelPerSec: 1 },
    { mounts: [{ volume: "v", host: undefined, guest: "/v", mode: "rw" as const }] },
    { maxConcurrency: 1 },
  ];
  for (const change of needed) {
    assert.notEqual(revisionOf({ ...spec, ...change }, "d", 0), revision);
  }
  assert.notEqual(revisionOf(spec, "e", 0), revision);
  assert.notEqual(revisionOf(spec, "d", 1), revision);
  const free = { source: "file:elsewhere", restart: "never" as const, requestTimeoutMs: 1 };
  assert.equal(revisionOf({ ...spec, ...free }, "d", 0), revision);
});

const names = fc.uniqueArray(fc.stringMatching(/^[a-z]{1,6}$/), { minLength: 1, maxLength: 12 });

Deno.test("divide() gives the total, evenly, whatever the order of nodes", () => {
  fc.assert(
    fc.property(names, fc.nat(100), fc.string(), (nodes, total, component) => {
      const shares = divide(total, component, nodes);
      const values = [...shares.values()];
      assert.equal(values.reduce((a, b) => a + b, 0), total);
      assert.ok(Math.max(...values) - Math.min(...values) <= 1);
      const again = divide(total, component, nodes.toReversed());
      for (const node of nodes) assert.equal(again.get(node), shares.get(node));
    }),
    { numRuns },
  );
});

Deno.test("divide() takes nothing from other nodes when one goes", () => {
  fc.assert(
    fc.property(names, fc.nat(100), fc.nat(), (nodes, total, i) => {
      const gone = nodes[i % nodes.length]!;
      const before = divide(total, "c", nodes);
      const after = divide(total, "c", nodes.filter((node) => node !== gone));
      for (const [node, share] of after) assert.ok(share >= before.get(node)!);
    }),
    { numRuns },
  );
});

Deno.test("divide() does not favour the same nodes for every component", () => {
  const nodes = ["n1", "n2", "n3", "n4"];
  const hits = new Map(nodes.map((node) => [node, 0]));
  for (let i = 0; i < 400; i++) {
    for (const [node, n] of divide(1, `c${i}`, nodes)) hits.set(node, hits.get(node)! + n);
  }
  for (const [node, n] of hits) assert.ok(n > 50 && n < 150, `${node}: ${n} of 400`);
});

Deno.test("a routed command has its first tcp port behind the proxy", () => {
  const { components } = manifest;
  const port = (listen: string[], routed: boolean) =>
    proxiedPortOf("worker", {
      ...manifest,
      components: new Map([...components, ["worker", { ...components.get("worker")!, listen }]]),
      routes: routed ? [{ ...manifest.routes[0]!, component: "worker" }] : [],
    });
  assert.equal(port(["udp://:53", "tcp://:5000", "tcp://:5001"], true), 5000);
  assert.equal(port(["udp://:53"], true), undefined);
  assert.equal(port(["tcp://:5000"], false), undefined);
  assert.equal(proxiedPortOf("web", manifest), undefined, "a handler has no port");
  const spec = components.get("worker")!;
  assert.notEqual(revisionOf(spec, "d", 0, 5000), revisionOf(spec, "d", 0));
});
