import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { formatPublicKey } from "../kernel/key.ts";
import { parseManifest } from "./manifest.ts";
import { formatPlan, planChanges, type Release } from "./plan.ts";

const OWNER = formatPublicKey(new Uint8Array(32));
const A = "aa".repeat(32);
const B = "bb".repeat(32);

function release(body: string, digests: Record<string, string>): Release {
  const manifest = parseManifest(`owner.pubkey = "${OWNER}"\n${body}`);
  return { manifest, digests: new Map(Object.entries(digests)) };
}

const short = (text: string) =>
  `sha256:${createHash("sha256").update(text).digest("hex").slice(0, 12)}…`;

const first = release(
  `
[nodes.bm-01]
tags = ["metal"]
[components.auth]
source = "file:auth.wasm"
world = "wasi:http/proxy"
[components.old]
source = "file:old.wasm"
world = "wasi:cli/command"
[routing]
bm-01 = [{ path = "/auth/...", component = "auth", replicas = 2 }]
[secrets]
pw = "age-encrypted:AAAA"
`,
  { auth: A, old: A },
);

const second = release(
  `
[realm]
name = "shop"
[nodes.bm-01]
tags = ["metal"]
[nodes.bm-02]
tags = []
[components.worker]
source = "file:worker.wasm"
world = "wasi:cli/command"
[components.auth]
source = "file:auth-2.wasm"
world = "wasi:http/proxy"
memory_max_mb = 64
env = { LOG = "info" }
sha256 = "${B}"
[routing]
bm-01 = [
  { path = "/auth/...", component = "auth", replicas = 3, weight = 50 },
  { path = "/", host = "shop.example", component = "auth" },
]
[secrets]
pw = "age-encrypted:BBBB"
`,
  { auth: B, worker: A },
);

Deno.test("planChanges() of equal releases is empty", () => {
  for (const same of [first, second]) {
    assert.deepEqual(planChanges(same, same), []);
    const again = { ...same, manifest: { ...same.manifest } };
    assert.deepEqual(planChanges(same, again), []);
  }
  assert.equal(formatPlan([]), "No changes");
});

Deno.test("planChanges() does not depend on the order of the file", () => {
  const reordered = {
    ...second,
    manifest: {
      ...second.manifest,
      nodes: new Map([...second.manifest.nodes].reverse()),
      components: new Map([...second.manifest.components].reverse()),
      routes: second.manifest.routes.toReversed(),
    },
  };
  assert.deepEqual(planChanges(second, reordered), []);
  for (const before of [undefined, first]) {
    assert.deepEqual(planChanges(before, reordered), planChanges(before, second));
  }
});

Deno.test("planChanges() of a pin that names the same bytes is empty", () => {
  const pinned = new Map(first.manifest.components);
  pinned.set("auth", { ...first.manifest.components.get("auth")!, sha256: A });
  const manifest = { ...first.manifest, components: pinned };
  assert.deepEqual(planChanges(first, { ...first, manifest }), []);
});

Deno.test("formatPlan() shows what was added, changed and removed, key by key", () => {
  const overrides = {
    restarts: [],
    drained: [],
    scales: [{ component: "auth", node: "bm-01", replicas: 9 }, { component: "x", replicas: 1 }],
  };
  assert.equal(
    formatPlan(planChanges(first, second, overrides)),
    `~ realm shop
    name  (none) -> shop
+ node bm-02
    tags  []
~ component auth
    digest         sha256:aaaaaaaaaaaa… -> sha256:bbbbbbbbbbbb…
    source         file:auth.wasm -> file:auth-2.wasm
    memory_max_mb  128 -> 64
    env            {} -> {"LOG":"info"}
- component old
+ component worker
    digest            sha256:aaaaaaaaaaaa…
    world             wasi:cli/command
    memory_max_mb     128
    fuel_per_sec      1000000000
    epoch_timeout_ms  1000
~ route bm-01 /auth/... -> auth
    replicas  2 -> 3
    weight    (none) -> 50
+ route bm-01 shop.example/ -> auth
    replicas  1
~ secret pw
    value  ${short("age-encrypted:AAAA")} -> ${short("age-encrypted:BBBB")}
! override auth on bm-01
    replicas  9, set by realm scale

3 to add, 4 to change, 1 to remove`,
  );
});

Deno.test("planChanges() of a first manifest adds everything, with whole digests", () => {
  const changes = planChanges(undefined, first);
  assert.deepEqual(changes.map(({ change, subject, name }) => `${change} ${subject} ${name}`), [
    "added realm ",
    "added node bm-01",
    "added component auth",
    "added component old",
    "added route bm-01 /auth/... -> auth",
    "added secret pw",
  ]);
  const auth = changes.find(({ name }) => name === "auth")!;
  assert.deepEqual(auth.details[0], { key: "digest", to: `sha256:${A}` });
  assert.ok(!JSON.stringify(changes).includes("AAAA"));
});

Deno.test("planChanges() shows every door of a component that is added, and none that is shut", () => {
  const grants = {
    allowed_outbound: `["https://a.example"]`,
    private_outbound: `["10.0.0.0/8"]`,
    loopback: "[5432]",
    dns: "true",
    listen: `["tcp://:5000"]`,
    clock: "true",
    random: "true",
    mounts: `[{ volume = "v", guest = "/data" }]`,
    secrets: `["pw"]`,
    keyvalue: "true",
  };
  const added = (lines: string) =>
    planChanges(
      undefined,
      release(
        `[components.a]\nsource = "file:a.wasm"\nworld = "wasi:cli/command"\n${lines}
[secrets]\npw = "age-encrypted:AAAA"`,
        { a: A },
      ),
    ).find(({ subject }) => subject === "component")!.details.map(({ key }) => key);
  const always = added("");
  assert.ok(always.includes("memory_max_mb"));
  for (const [key, value] of Object.entries(grants)) {
    assert.deepEqual(added(`${key} = ${value}`), [...always, key].sort(byPlace), key);
  }
  function byPlace(a: string, b: string) {
    const all = added(Object.entries(grants).map(([k, v]) => `${k} = ${v}`).join("\n"));
    return all.indexOf(a) - all.indexOf(b);
  }
});
