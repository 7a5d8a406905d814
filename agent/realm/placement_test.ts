import assert from "node:assert/strict";
import fc from "fast-check";
import { formatPublicKey } from "../kernel/key.ts";
import { NO_OVERRIDES, type Overrides } from "./desired.ts";
import { parseManifest } from "./manifest.ts";
import { type Held, place } from "./placement.ts";

const OWNER = formatPublicKey(new Uint8Array(32).fill(9));
const NODES = ["a", "b", "c"];

const manifest = (components: string, routing: string, quotas: Record<string, string> = {}) =>
  parseManifest(
    `[owner]\npubkey = "${OWNER}"\n` +
      NODES.map((node) => `[nodes.${node}]\ntags = ["t"]\n${quotas[node] ?? ""}\n`).join("") +
      `${components}\n[routing]\n${routing}`,
  );
const handler = (name: string, more = "") =>
  `[components.${name}]\nsource = "file:x.wasm"\nworld = "wasi:http/proxy"\n${more}\n`;
const over = (component: string, replicas: number) =>
  `"tag:t" = [{ path = "/${component}", component = "${component}", replicas = ${replicas} }]`;

function placed(
  of: ReturnType<typeof manifest>,
  live = NODES,
  overrides: Partial<Overrides> = {},
  held?: Held,
) {
  const { replicas, unplaced } = place({
    manifest: of,
    live,
    overrides: { ...NO_OVERRIDES, ...overrides },
    ...(held ? { held } : {}),
  });
  const counts = Object.fromEntries(
    [...replicas].map(([name, nodes]) => [name, Object.fromEntries([...nodes].sort())]),
  );
  return { counts, unplaced };
}

Deno.test("place() keeps within the quotas of nodes, and says what found no room", () => {
  const quotas = { a: "quota = { memory_mb = 100 }", b: "quota = { instances = 1 }" };
  const web = handler("web", "memory_max_mb = 50");
  const small = placed(manifest(web, over("web", 9), quotas));
  assert.deepEqual(small, { counts: { web: { a: 2, b: 1, c: 6 } }, unplaced: [] });
  const few = placed(manifest(web, over("web", 9), quotas), ["a", "b"]);
  assert.deepEqual(few, {
    counts: { web: { a: 2, b: 1 } },
    unplaced: [{
      component: "web",
      replicas: 6,
      why: "no room in the quota of a (memory_mb), b (instances)",
    }],
  });
});

Deno.test("place() gives the quota to components in the order of their names", () => {
  const both = handler("one", "memory_max_mb = 60") + handler("two", "memory_max_mb = 60");
  const routes = `a = [{ path = "/1", component = "one" }, { path = "/2", component = "two" }]`;
  assert.deepEqual(placed(manifest(both, routes, { a: "quota = { memory_mb = 100 }" })), {
    counts: { one: { a: 1 }, two: {} },
    unplaced: [{ component: "two", replicas: 1, why: "no room in the quota of a (memory_mb)" }],
  });
});

Deno.test("place() never moves what has a volume, nor doubles it", () => {
  const store = handler("store", `mounts = [{ volume = "data", guest = "/data" }]`);
  const of = manifest(store, over("store", 1));
  const [home] = Object.keys(placed(of).counts.store!);
  const others = NODES.filter((node) => node !== home);
  assert.deepEqual(placed(of, others), {
    counts: { store: {} },
    unplaced: [{ component: "store", replicas: 1, why: `${home} is not live` }],
  });
  assert.deepEqual(placed(of, NODES, { drained: [home!] }).unplaced[0]!.why, `${home} is drained`);
  const stateless = manifest(handler("store"), over("store", 1));
  assert.equal(Object.keys(placed(stateless, others).counts.store!).length, 1);
});

Deno.test("place() says who is away where there is nobody", () => {
  const of = manifest(handler("web"), over("web", 2));
  assert.equal(
    placed(of, [], {}).unplaced[0]!.why,
    "a is not live, b is not live, c is not live",
  );
});

Deno.test("place() places or explains every replica of a total, and no more", () => {
  const quota = fc.option(fc.integer({ min: 1, max: 6 }));
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 20 }),
      fc.tuple(quota, quota, quota),
      fc.subarray(NODES),
      fc.subarray(NODES),
      (replicas, rooms, live, drained) => {
        const quotas = Object.fromEntries(
          NODES.map((
            node,
            i,
          ) => [node, rooms[i] === null ? "" : `quota = { instances = ${rooms[i]} }`]),
        );
        const { counts, unplaced } = placed(
          manifest(handler("web"), over("web", replicas), quotas),
          live,
          { drained },
        );
        const there = Object.entries(counts.web!);
        for (const [node, count] of there) {
          assert.ok(live.includes(node) && !drained.includes(node));
          assert.ok(count <= (rooms[NODES.indexOf(node)] ?? Infinity));
        }
        const sum = there.reduce((total, [, count]) => total + count, 0);
        const without = unplaced.reduce((total, { replicas }) => total + replicas, 0);
        assert.equal(sum + without, replicas);
      },
    ),
    { numRuns: 200 },
  );
});

Deno.test("place() leaves a node that refuses the manifest what it has, and gives it nothing", () => {
  const web = handler("web");
  const has = (a: number): Held => new Map([["a", new Map([["web", a]])]]);
  const over6 = manifest(web, over("web", 6));
  assert.deepEqual(placed(over6, NODES, {}, has(1)).counts, { web: { a: 1, b: 2, c: 3 } });
  assert.deepEqual(placed(over6, NODES, {}, has(0)).counts, { web: { b: 3, c: 3 } });
  const on = manifest(web, `a = [{ path = "/", component = "web", replicas = 3 }]`);
  assert.deepEqual(placed(on, NODES, {}, has(1)), {
    counts: { web: { a: 1 } },
    unplaced: [{ component: "web", replicas: 2, why: "a refuses the manifest" }],
  });
  assert.deepEqual(placed(over6, ["a"], {}, has(2)), {
    counts: { web: { a: 2 } },
    unplaced: [{
      component: "web",
      replicas: 4,
      why: "a refuses the manifest, b is not live, c is not live",
    }],
  });
  const scales = [{ component: "web", node: "a", replicas: 2 }];
  const scaled = placed(over6, NODES, { scales }, has(1));
  assert.deepEqual(scaled.unplaced, [
    { component: "web", replicas: 1, why: "a refuses the manifest" },
  ]);
  assert.deepEqual(
    { ...scaled.counts.web, a: 0 },
    { ...placed(over6, NODES, { scales }).counts.web, a: 0 },
    "a number of its own is no part of the total",
  );
});
