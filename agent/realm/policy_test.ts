import assert from "node:assert/strict";
import { RealmError } from "../kernel/error.ts";
import { formatPublicKey } from "../kernel/key.ts";
import { parseManifest } from "./manifest.ts";
import { allowsMount, checkPolicy, DEFAULT_POLICY, parsePolicy } from "./policy.ts";

const manifest = (component: string, more = "") =>
  parseManifest(`
[owner]
pubkey = "${formatPublicKey(new Uint8Array(32))}"
[realm]
exec = ["a"]
[nodes.a]
tags = ["t"]
quota = { memory_mb = 300, instances = 4 }
[nodes.b]
tags = ["t"]
[components.web]
source = "file:web.wasm"
world = "wasi:http/proxy"
${component}
[routing]
a = [{ path = "/a/...", component = "web", replicas = 2 }]
"tag:t" = [{ path = "/b/...", component = "web", replicas = 2 }]
${more}`);

const messages = (component: string, policy: string, node = "a") =>
  checkPolicy(manifest(component), node, parsePolicy(`exec = true\n${policy}`))
    .map(({ path, message }) => `${path} ${message}`);

Deno.test("parsePolicy() reads every key and has safe defaults", () => {
  assert.deepEqual(parsePolicy(""), DEFAULT_POLICY);
  assert.deepEqual(
    parsePolicy(`
exec = true
[mounts]
allow = [{ host = "/srv/shop", mode = "rw" }, { host = "/etc/shop" }]
[limits]
memory_max_mb = 1024
fuel_per_sec = 2_000_000_000
epoch_timeout_ms = 5_000
instances = 100
[isolation]
process = false
[listen]
ports = [5000, 8080]
[loopback]
ports = [5432]
`),
    {
      exec: true,
      mounts: { allow: [{ host: "/srv/shop", mode: "rw" }, { host: "/etc/shop", mode: "ro" }] },
      limits: {
        memoryMaxMb: 1024,
        fuelPerSec: 2e9,
        epochTimeoutMs: 5_000,
        instances: 100,
      },
      isolation: { process: false },
      listen: { ports: [5000, 8080] },
      loopback: { ports: [5432] },
    },
  );
});

Deno.test("parsePolicy() refuses what it does not know: a typo must not open a node", () => {
  for (const text of ["[limit]", "mounts = []", '[mounts]\nallow = [{ host = "../x" }]']) {
    assert.throws(
      () => parsePolicy(text),
      (error) => error instanceof RealmError && error.code === "invalid-config",
      text,
    );
  }
});

Deno.test("allowsMount() allows a folder and all below it, in its mode", () => {
  const policy = parsePolicy(`
[mounts]
allow = [{ host = "/srv", mode = "ro" }, { host = "/srv/data", mode = "rw" }]`);
  const cases: [string, "ro" | "rw", boolean][] = [
    ["/srv", "ro", true],
    ["/srv/x", "ro", true],
    ["/srv/x", "rw", false],
    ["/srv/data/x", "rw", true],
    ["/srv/database", "rw", false],
    ["/srvx", "ro", false],
    ["/", "ro", false],
  ];
  for (const [path, mode, allowed] of cases) {
    assert.equal(allowsMount(policy, path, mode), allowed, `${path} ${mode}`);
  }
  const all = parsePolicy('[mounts]\nallow = [{ host = "/" }]');
  assert.equal(allowsMount(all, "/etc", "ro"), true);
  assert.equal(allowsMount(DEFAULT_POLICY, "/srv", "ro"), false);
});

Deno.test("checkPolicy() allows a manifest that asks for nothing special", () => {
  assert.deepEqual(messages("memory_max_mb = 64", ""), []);
});

Deno.test("checkPolicy() bounds folders, limits, ports, replicas and exec", () => {
  const path = "components.web";
  assert.deepEqual(messages('mounts = [{ host = "/etc", guest = "/e", mode = "ro" }]', ""), [
    `${path}.mounts[0].host is "/etc" (ro), policy does not allow it`,
  ]);
  assert.deepEqual(messages('mounts = [{ volume = "v", guest = "/e" }]', ""), []);
  assert.deepEqual(messages('isolation = "process"', ""), []);
  assert.deepEqual(messages('isolation = "process"', "[isolation]\nprocess = false"), [
    `${path}.isolation is process, policy does not allow processes`,
  ]);
  assert.deepEqual(
    messages(
      "memory_max_mb = 100\nfuel_per_sec = 11\nepoch_timeout_ms = 12",
      "[limits]\nmemory_max_mb = 99\nfuel_per_sec = 10\nepoch_timeout_ms = 11",
    ),
    [
      `${path}.memory_max_mb is 100, policy allows at most 99`,
      `${path}.fuel_per_sec is 11, policy allows at most 10`,
      `${path}.epoch_timeout_ms is 12, policy allows at most 11`,
    ],
  );
  // A default that was not written counts as well.
  assert.deepEqual(messages("", "[limits]\nmemory_max_mb = 64"), [
    `${path}.memory_max_mb is 128, policy allows at most 64`,
  ]);
  assert.deepEqual(messages("memory_max_mb = 1", "[limits]\ninstances = 1"), [
    "routing puts 2 replicas on a, policy allows 1",
  ]);
  assert.deepEqual(
    checkPolicy(manifest("memory_max_mb = 1"), "a", DEFAULT_POLICY).map(({ path }) => path),
    ["realm.exec"],
  );
  assert.deepEqual(checkPolicy(manifest("memory_max_mb = 1"), "b", DEFAULT_POLICY), []);
});

Deno.test("checkPolicy() bounds the ports of commands", () => {
  const worker = `
[components.worker]
source = "file:w.wasm"
world = "wasi:cli/command"
listen = ["tcp://:5000", "tcp://:6000"]`;
  assert.deepEqual(messages(`memory_max_mb = 1\n${worker}`, "[listen]\nports = [5000]"), [
    'components.worker.listen[1] is "tcp://:6000", policy does not allow port 6000',
  ]);
});

Deno.test("checkPolicy() needs no port for a routed command, and bounds those of the host", () => {
  const routed = manifest(
    "memory_max_mb = 1",
    `b = [{ path = "/w", component = "worker" }]
[components.worker]
source = "file:w.wasm"
world = "wasi:cli/command"
loopback = [5432, 6379]
listen = ["tcp://:5000", "udp://:5000"]`,
  );
  const policy = parsePolicy("exec = true\n[loopback]\nports = [5432]");
  assert.deepEqual(
    checkPolicy(routed, "b", policy).map(({ path, message }) => `${path} ${message}`),
    [
      "components.worker.loopback[1] is 6379, policy does not allow it",
      'components.worker.listen[1] is "udp://:5000", policy does not allow port 5000',
    ],
  );
});

Deno.test("checkPolicy() holds a manifest to its own quotas", () => {
  assert.deepEqual(messages("memory_max_mb = 151", ""), [
    "nodes.a.quota.memory_mb is 300, the replicas there need 302",
  ]);
  assert.deepEqual(messages("memory_max_mb = 151", "", "b"), []);
});

Deno.test("checkPolicy() gives the line of the key that asks", () => {
  const [violation] = checkPolicy(
    manifest("memory_max_mb = 100"),
    "b",
    parsePolicy("[limits]\nmemory_max_mb = 99"),
  );
  assert.equal(violation!.line, 14);
});
