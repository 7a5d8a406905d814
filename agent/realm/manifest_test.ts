import assert from "node:assert/strict";
import fc from "fast-check";
import { RealmError } from "../kernel/error.ts";
import { formatPublicKey, formatSecretKey } from "../kernel/key.ts";
import { type Manifest, parseManifest } from "./manifest.ts";

const numRuns = Deno.env.get("SLOW") ? 20_000 : 400;
const OWNER = formatPublicKey(new Uint8Array(32).fill(9));
const DIGEST = "0123456789abcdef".repeat(4);

/** Every key of the contract. */
const EVERY_KEY = `
[owner]
pubkey = "${OWNER}"

[realm]
name = "shop"
partition = "continue"
exec = ["bm-01"]
operators = ["${OWNER}"]

[nodes."dev-laptop"]
tags = ["dev", "darwin", "arm64"]
addr_hint = "/dns/dev-laptop.local/udp/443/quic"
key = "${OWNER}"
quota = { memory_mb = 2048, fuel_per_sec = 4_000_000_000, instances = 200 }

[nodes."bm-01"]
tags = ["metal", "linux", "x86_64"]

[components.auth]
source = "registry:ghcr.io/acme/auth@sha256:${DIGEST}"
sha256 = "${DIGEST}"
world = "wasi:cli/command"
allowed_outbound = ["https://idp.example.com", "postgres://db.internal:5432"]
private_outbound = ["10.0.0.0/8", "fd00::/8"]
loopback = [5432]
dns = ["example.com"]
listen = ["tcp://:5000"]
memory_max_mb = 64
fuel_per_sec = 5_000_000
epoch_timeout_ms = 100
env = { RUST_LOG = "info" }
vars = { DB_URL = "postgres://spin@db.internal/shop" }
args = ["--verbose"]
clock = true
random = true
mounts = [{ volume = "auth-data", guest = "/data" }, { host = "/etc/auth", guest = "/etc/auth", mode = "ro" }]
secrets = ["jwt_pub"]
keyvalue = true
isolation = "process"
restart = "on-failure"
max_concurrency = 8
request_timeout_ms = 30_000
health = { http = "/healthz", interval_ms = 2_000, timeout_ms = 500, healthy_after = 2, unhealthy_after = 3 }

[components.worker]
source = "https://example.com/worker.wasm"
world = "wasi:cli/command"
dns = true
placement = { tags = ["metal"], replicas = 3, spread = "node" }

[components."orders@blue"]
source = "file:./build/orders-1.wasm"
world = "wasi:http/proxy"
instance_per_request = true
[components."orders@green"]
source = "file:./build/orders-2.wasm"
world = "wasi:http/proxy"
health = { export = true }

[routing]
"bm-01" = [
  { path = "/auth/...",   component = "auth",        replicas = 2 },
  { path = "/orders/...", component = "orders@blue", replicas = 3, host = "shop.example", max_surge = 1, max_unavailable = 0, strip_prefix = true },
]
"tag:dev" = [
  { path = "/orders/...", component = "orders@green", replicas = 1, weight = 10 },
]

[secrets]
"jwt_pub" = "age-encrypted:AAAA"
`;

const MINIMAL = `
[owner]
pubkey = "${OWNER}"
[nodes.here]
[components.hello]
source = "file:hello.wasm"
world = "wasi:http/proxy"
[routing]
here = [{ path = "/...", component = "hello" }]
`;

/** The lines of the error that a text gives. */
function problemsOf(text: string): string {
  try {
    parseManifest(text);
  } catch (error) {
    assert.ok(error instanceof RealmError && error.code === "invalid-config", String(error));
    return error.message;
  }
  assert.fail("is valid");
}

/** MINIMAL with lines put after the one that starts with `after`. */
function withLines(after: string, ...lines: string[]): string {
  const all = MINIMAL.split("\n");
  const at = all.findIndex((line) => line.startsWith(after));
  assert.ok(at >= 0);
  return [...all.slice(0, at + 1), ...lines, ...all.slice(at + 1)].join("\n");
}

Deno.test("parseManifest() reads every key of the contract", () => {
  const m = parseManifest(EVERY_KEY);
  assert.equal(m.owner, OWNER);
  assert.deepEqual(m.realm, {
    name: "shop",
    partition: "continue",
    exec: ["bm-01"],
    operators: [OWNER],
  });
  assert.deepEqual(m.nodes.get("dev-laptop"), {
    tags: ["dev", "darwin", "arm64"],
    addrHint: "/dns/dev-laptop.local/udp/443/quic",
    key: OWNER,
    quota: { memoryMb: 2048, fuelPerSec: 4e9, instances: 200 },
  });
  assert.deepEqual(m.components.get("auth"), {
    source: `registry:ghcr.io/acme/auth@sha256:${DIGEST}`,
    sha256: DIGEST,
    world: "wasi:cli/command",
    allowedOutbound: ["https://idp.example.com", "postgres://db.internal:5432"],
    privateOutbound: ["10.0.0.0/8", "fd00::/8"],
    loopback: [5432],
    dns: ["example.com"],
    listen: ["tcp://:5000"],
    memoryMaxMb: 64,
    fuelPerSec: 5_000_000,
    epochTimeoutMs: 100,
    env: new Map([["RUST_LOG", "info"]]),
    vars: new Map([["DB_URL", "postgres://spin@db.internal/shop"]]),
    args: ["--verbose"],
    clock: true,
    random: true,
    mounts: [
      { volume: "auth-data", host: undefined, guest: "/data", mode: "rw" },
      { volume: undefined, host: "/etc/auth", guest: "/etc/auth", mode: "ro" },
    ],
    secrets: ["jwt_pub"],
    keyvalue: true,
    isolation: "process",
    restart: "on-failure",
    maxConcurrency: 8,
    instancePerRequest: false,
    requestTimeoutMs: 30_000,
    health: {
      http: "/healthz",
      export: false,
      intervalMs: 2_000,
      timeoutMs: 500,
      healthyAfter: 2,
      unhealthyAfter: 3,
      graceMs: 10_000,
    },
    placement: undefined,
  });
  assert.deepEqual(m.components.get("worker")!.placement, {
    tags: ["metal"],
    replicas: 3,
    spread: "node",
  });
  assert.equal(m.components.get("worker")!.dns, true);
  assert.equal(m.components.get("orders@green")!.health!.export, true);
  assert.deepEqual(m.routes[1], {
    target: { kind: "node", name: "bm-01" },
    key: "routing.bm-01[1]",
    path: "/orders/...",
    component: "orders@blue",
    replicas: 3,
    host: "shop.example",
    weight: undefined,
    maxSurge: 1,
    maxUnavailable: 0,
    stripPrefix: true,
  });
  assert.deepEqual(m.routes[2]!.target, { kind: "tag", name: "dev" });
  assert.deepEqual([...m.secrets], [["jwt_pub", "age-encrypted:AAAA"]]);
  assert.deepEqual(m.warnings.map(({ path, line }) => [path, line]), [
    ["nodes.dev-laptop.addr_hint", 13],
  ]);
});

Deno.test("parseManifest() fills in the defaults", () => {
  const m = parseManifest(MINIMAL);
  const hello = m.components.get("hello")!;
  assert.deepEqual(
    [hello.fuelPerSec, hello.memoryMaxMb, hello.epochTimeoutMs],
    [1_000_000_000, 128, 1_000],
  );
  assert.deepEqual([hello.clock, hello.random, hello.keyvalue], [false, false, false]);
  assert.deepEqual([hello.restart, hello.isolation], ["always", "worker"]);
  assert.deepEqual(m.realm, { name: undefined, partition: "majority", exec: [], operators: [] });
  assert.deepEqual([m.routes[0]!.replicas, m.routes[0]!.stripPrefix], [1, false]);
  assert.deepEqual(m.warnings, []);
});

Deno.test("parseManifest() lists all problems with line, column, path, found and wanted", () => {
  const text = withLines("world", "memory_max_mb = 0", "fuel_per_sek = 1", 'clock = "yes"')
    .replace("hello.wasm", "")
    .replace("[nodes.here]", "[nodes.here]\ntags = [1]");
  assert.equal(
    problemsOf(text),
    `Cannot read manifest "realm.toml":
  5:9: nodes.here.tags[0] is 1, wanted a string
  7:10: components.hello.source is "file:", wanted file:PATH
  9:17: components.hello.memory_max_mb is 0, wanted 1 to 65536
  10:1: components.hello.fuel_per_sek is not a known key, nearest is fuel_per_sec
  11:9: components.hello.clock is "yes", wanted true or false`,
  );
});

Deno.test("parseManifest() shows where TOML itself is wrong", () => {
  assert.match(problemsOf("[owner]\npubkey = =\n"), /^Cannot read manifest "realm.toml": 2:\d+: /);
  assert.match(problemsOf("a = 1\na = 2"), /: 2:1: /);
  assert.match(problemsOf("a = " + "[".repeat(100_000)), /nested too deeply|Unterminated|\d+:\d+/);
  assert.match(problemsOf("#".repeat(600_000)), /600000 bytes, wanted at most/);
});

Deno.test("parseManifest() refuses each value that is wrong, alone", () => {
  const hello = (line: string) => withLines("world", line);
  const here = (line: string) => withLines("[nodes.here]", line);
  const route = (entry: string) => MINIMAL.replace('{ path = "/...", component = "hello" }', entry);
  const cases: [string, RegExp][] = [
    [MINIMAL.replace(OWNER, "ed25519:abc"), /3:10: owner.pubkey is wrong: .*wanted 32/],
    [MINIMAL.replace(/\[owner\]\n.*\n/, ""), /1:1: owner is missing/],
    [MINIMAL.replace('world = "wasi:http/proxy"', ""), /components.hello.world is missing/],
    [MINIMAL.replace("wasi:http/proxy", "wasi:http"), /wanted "wasi:cli\/command" or/],
    [MINIMAL.replace("components.hello", "components.Hello"), /is named "Hello", wanted 1 to 63/],
    [MINIMAL.replace("components.hello", 'components."a@b@c"'), /is named "a@b@c"/],
    [MINIMAL.replace("nodes.here", "nodes.-here"), /is named "-here"/],
    [MINIMAL.replace("file:hello.wasm", "ftp://x"), /wanted one of registry: file: s3:/],
    [MINIMAL.replace("file:hello.wasm", "https://u:p@x/y"), /a URL without credentials/],
    [hello(`sha256 = "${DIGEST.toUpperCase()}"`), /64 digits of lower-case hex/],
    [hello('allowed_outbound = ["https://a.example/path"]'), /wanted SCHEME:\/\/HOST/],
    [hello('allowed_outbound = ["https://a.example:99999"]'), /wanted SCHEME:\/\/HOST/],
    [hello('allowed_outbound = ["tcp://a.example"]'), /wanted SCHEME:\/\/HOST:PORT/],
    [hello('allowed_outbound = ["tcp://127.1:80"]'), /wanted SCHEME:\/\/HOST:PORT/],
    [hello('private_outbound = ["10.0.0.0/33"]'), /wanted a network/],
    [hello('private_outbound = ["10.0.0.0"]'), /wanted a network/],
    [hello("loopback = [0]"), /wanted 1 to 65535/],
    [hello("loopback = [1.5]"), /is 1.5, wanted a whole number, 1 to 65535/],
    [hello('dns = "example.com"'), /wanted an array of names, or true/],
    [hello('listen = ["tcp://:80"]'), /hello.listen is for wasi:cli\/command/],
    [hello('restart = "never"'), /which is for wasi:cli\/command/],
    [hello("epoch_timeout_ms = 99999999999999999999"), /wanted 1 to 3600000|\d+:\d+/],
    [hello('env = { "A=B" = "x" }'), /is named "A=B"/],
    [hello('env = { A = "\\u0000" }'), /no NUL character/],
    [hello("env = { A = 1 }"), /env.A is 1, wanted a string/],
    [hello("vars = 1979-05-27"), /vars is the date 1979-05-27, wanted a table/],
    [hello('mounts = [{ guest = "/a" }]'), /mounts\[0\] wanted exactly one of volume and host/],
    [hello('mounts = [{ volume = "v", host = "/h", guest = "/a" }]'), /exactly one of volume/],
    [hello('mounts = [{ volume = "v", guest = "a" }]'), /an absolute path/],
    [hello('mounts = [{ host = "/a/../b", guest = "/a" }]'), /an absolute path/],
    [
      hello('mounts = [{ volume = "v", guest = "/a" }, { volume = "w", guest = "/a" }]'),
      /mounts\[1\].guest is "\/a", which is mounted already/,
    ],
    [hello('secrets = ["nope"]'), /is "nope", wanted a name of \[secrets\]/],
    [hello("health = { interval_ms = 100 }"), /wanted exactly one of http and export/],
    [
      hello("") +
      '\n[components.job]\nsource = "file:j"\nworld = "wasi:cli/command"\nhealth = { http = "/x" }\n',
      /health is for what takes requests, wanted a route/,
    ],
    [
      MINIMAL +
      '\n[components.job]\nsource = "file:j"\nworld = "wasi:cli/command"\nlisten = ["tcp://:5000"]\nhealth = { export = true }\n',
      /health.export is for wasi:http\/proxy, wanted http: /,
    ],
    [hello("health = { export = false }"), /health.export is false, wanted true/],
    [hello('health = { http = "/x", export = true }'), /wanted exactly one of http and export/],
    [hello('isolation = "vm"'), /wanted "worker" or "process"/],
    [here('tags = ["a", "a"]'), /tags\[1\] is "a", which is there already/],
    [here('addr_hint = "10.0.0.1:80"'), /wanted a multiaddr/],
    [here("quota = { memory = 1 }"), /quota.memory is not a known key, nearest is memory_mb/],
    [MINIMAL + '\n[realm]\nexec = ["there"]', /exec\[0\] is "there", wanted a node: here/],
    [MINIMAL + '\n[realm]\npartition = "x"', /wanted "majority" or "continue"/],
    [MINIMAL.replace("here = [", '"there" = ['), /is "there", wanted a node: here, or tag:NAME/],
    [MINIMAL.replace("here = [", '"tag:x" = ['), /is "tag:x", wanted a tag that a node has/],
    [route('{ path = "/...", component = "helo" }'), /is "helo", wanted a component: hello/],
    [route('{ path = "x", component = "hello" }'), /wanted \/PATH or \/PATH/],
    [route('{ path = "/a/../b", component = "hello" }'), /wanted \/PATH or \/PATH/],
    [route('{ path = "/.../b", component = "hello" }'), /wanted \/PATH or \/PATH/],
    [route('{ path = "/a?b", component = "hello" }'), /wanted \/PATH or \/PATH/],
    [route('{ path = "/", component = "hello", replicas = 0 }'), /is 0, wanted 1 to 1000/],
    [route('{ path = "/", component = "hello", host = "A.example" }'), /in lower case/],
    [route('{ path = "/", component = "hello", weight = 101 }'), /is 101, wanted 0 to 100/],
    [
      route('{ path = "/", component = "hello", max_surge = 0, max_unavailable = 0 }'),
      /wanted one of them above 0/,
    ],
    [
      route('{ path = "/", component = "hello" }, { path = "/", component = "hello" }'),
      /routing.here\[1\] routes \/ to "hello" a second time/,
    ],
    [MINIMAL.replace("http/proxy", "cli/command"), /with a route needs listen/],
    ["owners = 1\n" + MINIMAL, /1:1: owners is not a known key, nearest is owner/],
    ["zzzzzzzz = 1\n" + MINIMAL, /is not a known key, known are owner, realm/],
    ["nodes = 1", /nodes is 1, wanted a table/],
    [MINIMAL + '\n[[secrets]]\nx = "y"', /secrets is an array, wanted a table/],
  ];
  for (const [text, message] of cases) {
    const found = problemsOf(text);
    assert.match(found, message);
    // Said once: no problem brings another one along.
    const only = ["owners", "zzzz", "nodes = 1", "nodes.-here", "components.Hello", "a@b@c"];
    if (!only.some((start) => text.includes(start))) assert.ok(!found.includes("\n"), found);
  }
});

Deno.test("parseManifest() names components that are there, wrong ones too", () => {
  const found = problemsOf(
    MINIMAL.replace("wasi:http/proxy", "wasi:http").replace('t = "hello"', 't = "helo"'),
  );
  assert.match(found, /world is "wasi:http", wanted/);
  assert.match(found, /is "helo", wanted a component: hello$/);
});

Deno.test("parseManifest() refuses two components on one route and weights above 100", () => {
  const more = MINIMAL + `, { path = "/...", component = "other" }]`;
  const other =
    `\n[components.other]\nsource = "file:o.wasm"\nworld = "wasi:http/proxy"\n[routing]`;
  const two = more.replace("}]\n,", "},").replace("\n[routing]", other);
  assert.match(problemsOf(two), /wanted labels of one component/);
  const labels = (blue: number, green: number) => `
[owner]
pubkey = "${OWNER}"
[nodes.here]
[components."o@blue"]
source = "file:a"
world = "wasi:http/proxy"
[components."o@green"]
source = "file:b"
world = "wasi:http/proxy"
[routing]
here = [
  { path = "/", component = "o@blue", weight = ${blue}, host = "a.example" },
  { path = "/", component = "o@green", weight = ${green} },
]`;
  assert.match(problemsOf(labels(60, 41)), /makes 101 per cent for \/, wanted at most 100/);
  assert.equal(parseManifest(labels(60, 40)).routes.length, 2);
});

Deno.test("parseManifest() takes one route on two nodes, if it says the same", () => {
  const text = (extra: string) =>
    withLines("[nodes.here]", "[nodes.there]") +
    `there = [{ path = "/...", component = "hello"${extra} }]`;
  assert.equal(parseManifest(text("")).routes.length, 2);
  assert.match(problemsOf(text(", strip_prefix = true")), /another weight or strip_prefix/);
});

Deno.test("parseManifest() never repeats a secret", () => {
  const secret = formatSecretKey(new Uint8Array(32).fill(3));
  const found = problemsOf(MINIMAL.replace(OWNER, secret) + '\n[secrets]\npw = "hunter2"');
  assert.match(found, /owner.pubkey is wrong: it is a secret key/);
  assert.match(found, /secrets.pw is wrong: wanted age-encrypted:/);
  assert.ok(!found.includes("hunter2") && !found.includes(secret.slice(-12)), found);
});

Deno.test("parseManifest() does not mind how TOML is written", () => {
  const dotted = `
nodes.here = {}
components.hello.source = 'file:hello.wasm'
components."hello".world = """wasi:http/proxy"""
owner = { pubkey = "${OWNER}" }
[[routing.here]]
path = "/..."
component = "hello"
`;
  assert.deepEqual(comparable(parseManifest(dotted)), comparable(parseManifest(MINIMAL)));
});

Deno.test("parseManifest() takes names that objects have already", () => {
  const text = MINIMAL.replaceAll("hello", "constructor").replaceAll("here", "valueof");
  assert.deepEqual([...parseManifest(text).components.keys()], ["constructor"]);
  for (const name of ["__proto__", "constructor", "toString"]) {
    assert.match(problemsOf(`${name} = 1\n${MINIMAL}`), /is not a known key/);
    assert.match(problemsOf(withLines("world", `${name} = 1`)), /is not a known key/);
  }
});

function comparable({ positions: _positions, ...rest }: Manifest) {
  return { ...rest, routes: rest.routes.map(({ key: _key, ...route }) => route) };
}

const name = fc.stringMatching(/^[a-z0-9](?:[a-z0-9-]{0,8}[a-z0-9])?$/);
const anyText = fc.string({ unit: "binary" }).map((s) => s.toWellFormed().replaceAll("\0", ""));
const variables = fc.dictionary(
  fc.string({ minLength: 1 }).filter((k) => !/[=\0]/.test(k)),
  anyText,
);
const component = fc.record({
  sha256: fc.option(fc.constant(DIGEST), { nil: undefined }),
  memory_max_mb: fc.integer({ min: 1, max: 65_536 }),
  fuel_per_sec: fc.integer({ min: 1, max: 1e9 }),
  env: variables,
  vars: variables,
  args: fc.array(anyText),
  clock: fc.boolean(),
  loopback: fc.uniqueArray(fc.integer({ min: 1, max: 65_535 })),
  dns: fc.oneof(fc.constant(true), fc.uniqueArray(name)),
});

/** A value as TOML; JSON strings are TOML strings once DEL is escaped. */
function toml(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(toml).join(", ")}]`;
  if (typeof value !== "object" || value === null) {
    return JSON.stringify(value).replaceAll("\x7f", "\\u007f");
  }
  const entries = Object.entries(value).filter(([, v]) => v !== undefined);
  return `{ ${entries.map(([k, v]) => `${toml(k)} = ${toml(v)}`).join(", ")} }`;
}

Deno.test("parseManifest() gives back what was written", () => {
  fc.assert(
    fc.property(fc.dictionary(name, component, { noNullPrototype: true }), (components) => {
      const text = `[owner]\npubkey = "${OWNER}"\n` +
        Object.entries(components).map(([key, c]) =>
          `[components.${toml(key)}]\nsource = "file:a"\nworld = "wasi:cli/command"\n` +
          Object.entries(c).filter(([, v]) => v !== undefined)
            .map(([k, v]) => `${k} = ${toml(v)}\n`).join("")
        ).join("");
      const parsed = parseManifest(text);
      assert.deepEqual([...parsed.components.keys()], Object.keys(components));
      for (const [key, c] of Object.entries(components)) {
        const p = parsed.components.get(key)!;
        assert.deepEqual(
          [p.sha256, p.memoryMaxMb, p.fuelPerSec, p.args, p.clock, p.loopback, p.dns],
          [c.sha256, c.memory_max_mb, c.fuel_per_sec, c.args, c.clock, c.loopback, c.dns],
        );
        assert.deepEqual([...p.env], Object.entries(c.env));
        assert.deepEqual([...p.vars], Object.entries(c.vars));
      }
    }),
    { numRuns: numRuns / 4 },
  );
});

function manifestOrRealmError(text: string): void {
  try {
    parseManifest(text);
  } catch (error) {
    assert.ok(error instanceof RealmError && error.code === "invalid-config", String(error));
  }
}

Deno.test("parseManifest() answers any text with a manifest or RealmError", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), manifestOrRealmError), { numRuns });
  const scraps = EVERY_KEY.split(/(\s+|[[\]{}=,."])/).filter((s) => s !== "");
  const soup = fc.array(fc.constantFrom(...scraps, "1979-05-27T07:32:00Z", "inf", "-0", "0x1f"));
  fc.assert(fc.property(soup.map((words) => words.join("")), manifestOrRealmError), { numRuns });
});

Deno.test("parseManifest() answers a changed manifest with a manifest or RealmError", () => {
  const lines = EVERY_KEY.split("\n");
  const values = ["1", "-1", "1.5", "nan", '"x"', "[]", "{}", "true", "07:32:00", "[[1]]", "{a=1}"];
  fc.assert(
    fc.property(fc.nat(lines.length - 1), fc.constantFrom(...values), (i, value) => {
      const changed = lines.with(i, lines[i]!.replace(/= .*$/, `= ${value}`));
      manifestOrRealmError(changed.join("\n"));
    }),
    { numRuns },
  );
  fc.assert(
    fc.property(fc.nat(EVERY_KEY.length), fc.nat(20), fc.string(), (at, length, put) => {
      manifestOrRealmError(EVERY_KEY.slice(0, at) + put + EVERY_KEY.slice(at + length));
    }),
    { numRuns },
  );
});
