/**
 * The whole agent in this process: real components, real sockets, real files.
 *
 * @module
 */
import assert from "node:assert/strict";
import { type Agent, type AgentOptions, startAgent } from "./agent.ts";
import { connectControl, type ControlClient } from "./control/client.ts";
import { CID } from "./kernel/canonical.ts";
import { RealmError } from "./kernel/error.ts";
import { formatPublicKey } from "./kernel/key.ts";
import { sha256Hex } from "./kernel/sha256.ts";
import type { Signer } from "./kernel/verify.ts";
import { FakeOwner, newSigner } from "./owner_fake.ts";
import { controlContent } from "./realm/control_event.ts";
import { formatManifestSignature, signManifest } from "./realm/manifest_signature.ts";
import { until } from "../tests/until.ts";

const fixture = (name: string) =>
  Deno.readFile(new URL(`../fixtures/${name}.wasm`, import.meta.url));

interface Realm {
  readonly folder: string;
  readonly owner: string;
  readonly hand: FakeOwner;
  start(options?: Partial<AgentOptions>): Promise<{ agent: Agent; control: ControlClient }>;
  /** Signs a manifest whose components are fixtures. */
  sign(
    toml: string,
    version: number,
    signer?: Signer,
  ): Promise<{ manifest: Uint8Array; signature: string }>;
}

async function withRealm(test: (realm: Realm) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  // Artifacts of fixtures are made once for all tests.
  const cache = new URL("../.cache/engine", import.meta.url).pathname;
  await Deno.mkdir(cache, { recursive: true });
  await Deno.symlink(cache, `${folder}/cache`);
  const signer = await newSigner();
  const hand = new FakeOwner(signer);
  const owner = hand.key;
  const running: { close(): unknown }[] = [];
  const realm: Realm = {
    folder,
    owner,
    hand,
    async start(options = {}) {
      const agent = await startAgent({
        dataFolder: folder,
        nodeName: "here",
        http: { hostname: "127.0.0.1", port: 0 },
        program: "test",
        claim: { owner },
        ...options,
      });
      const control = connectControl(agent.controlPath);
      running.push(control, agent);
      return { agent, control };
    },
    async sign(toml, version, by = signer) {
      const manifest = new TextEncoder().encode(toml);
      const digests: [string, string][] = [];
      for (
        const [, name, source] of toml.matchAll(
          /^\[components\.(\S+)\]\nsource = "file:(.*)\.wasm"/gm,
        )
      ) {
        digests.push([name!, await sha256Hex(await fixture(source!))]);
      }
      const signed = await signManifest(manifest, { version, digests, signer: by });
      return { manifest, signature: formatManifestSignature(signed) };
    },
  };
  try {
    await test(realm);
  } finally {
    for (const each of running) await each.close();
    await Deno.remove(folder, { recursive: true });
  }
}

const manifest = (owner: string, rest = "") =>
  `[owner]
pubkey = "${owner}"
[nodes.here]
[components.counter]
source = "file:http-counter.wasm"
world = "wasi:http/proxy"
mounts = [{ volume = "counts", guest = "/data" }]
[components.worker]
source = "file:worker.wasm"
world = "wasi:cli/command"
clock = true
args = ["0", "20"]
[routing]
here = [{ path = "/c/...", component = "counter", replicas = 2, strip_prefix = true }]
${rest}`;

async function upload(control: ControlClient, ...names: string[]): Promise<void> {
  for (const name of names) await control.putBlob(await fixture(name));
}

const allRun = (agent: Agent, count: number) => () => {
  const { replicas } = agent.status();
  return replicas.length === count && replicas.every((r) => r.state === "running");
};

const code = (expected: string) => (error: unknown) =>
  error instanceof RealmError && error.code === expected;

Deno.test("the agent runs what its owner signed, and goes on with it after a restart", () =>
  withRealm(async ({ hand, start, sign, owner }) => {
    const first = await start();
    await upload(first.control, "http-counter", "worker");
    const answer = await hand.apply(first.control, await sign(manifest(owner), 1));
    assert.equal(answer.version, 1);
    await until("three replicas", allRun(first.agent, 3));
    assert.equal(await (await fetch(`${first.agent.proxyUrl}/c/`)).text(), "1\n");
    assert.equal(await (await fetch(`${first.agent.proxyUrl}/c/`)).text(), "2\n");
    const lines: string[] = [];
    await until("a line", async () => {
      for await (const event of first.control.logs({ component: "worker" })) {
        if (event.kind === "line") lines.push(event.text);
      }
      return lines.length > 0;
    });
    assert.equal(lines[0], "tick 1");
    const digest = first.agent.status().components[0]!.digest;
    const proof = await first.control.proof(digest);
    assert.deepEqual([proof?.before, proof?.path.length], [null, 1]);
    assert.equal(await first.control.proof("00".repeat(32)), null);
    const [counter] = first.agent.status().replicas;
    assert.equal(counter!.limits!.memoryBytesMax, 128 * 1024 * 1024);
    await first.agent.close();

    const second = await start();
    await until("three replicas again", allRun(second.agent, 3));
    assert.equal(await (await fetch(`${second.agent.proxyUrl}/c/`)).text(), "3\n");
    assert.equal(second.agent.status().manifest?.version, 1);
  }));

Deno.test("the agent refuses what is not its owner's, stale, changed or unsigned, and says which", () =>
  withRealm(async ({ hand, start, sign, owner }) => {
    const { agent, control } = await start();
    await upload(control, "http-counter", "worker");
    const good = await sign(manifest(owner), 5);
    await hand.apply(control, good);
    const stranger = await newSigner();
    const strange = formatPublicKey(stranger.publicKey);
    await assert.rejects(
      hand.apply(control, await sign(manifest(strange), 6, stranger)),
      code("wrong-owner"),
    );
    await assert.rejects(
      hand.apply(control, await sign(manifest(owner), 6, stranger)),
      code("wrong-owner"),
    );
    await assert.rejects(hand.apply(control, good), code("stale"));
    await assert.rejects(hand.apply(control, await sign(manifest(owner), 4)), code("stale"));
    const next = await sign(manifest(owner), 6);
    const changed = new TextEncoder().encode(
      manifest(owner).replace("replicas = 2", "replicas = 9"),
    );
    await assert.rejects(
      hand.apply(control, { ...next, manifest: changed }),
      code("digest-mismatch"),
    );
    const forged = next.signature.replace('"version":6', '"version":7');
    await assert.rejects(
      hand.apply(control, { ...next, signature: forged }),
      code("bad-signature"),
    );
    await assert.rejects(hand.apply(control, { ...next, signature: "" }), code("bad-signature"));
    const { manifest: inForce, refused } = agent.status();
    assert.equal(inForce?.version, 5);
    assert.deepEqual(
      refused.slice(0, 3).map((r) => r.code),
      ["bad-signature", "bad-signature", "digest-mismatch"].slice(0, 3),
    );
  }));

Deno.test("an agent without an owner obeys nothing, and one with an owner takes no other", () =>
  withRealm(async ({ hand, start, sign, owner, folder }) => {
    const unclaimed = await startAgent({
      dataFolder: folder,
      nodeName: "here",
      http: { hostname: "127.0.0.1", port: 0 },
      program: "test",
    });
    const control = connectControl(unclaimed.controlPath);
    await assert.rejects(hand.apply(control, await sign(manifest(owner), 1)), code("unclaimed"));
    await assert.rejects(start(), (e) => e instanceof RealmError, "a second agent on the folder");
    control.close();
    await unclaimed.close();
    const { agent } = await start();
    await agent.close();
    const other = formatPublicKey((await newSigner()).publicKey);
    await assert.rejects(start({ claim: { owner: other } }), code("wrong-owner"));
  }));

Deno.test("an operator of the manifest may restart and scale, and do nothing else", () =>
  withRealm(async ({ hand, start, sign, owner }) => {
    const { agent, control } = await start();
    await upload(control, "http-counter", "worker");
    const operator = new FakeOwner(await newSigner());
    const toml = manifest(owner, `[realm]\noperators = ["${operator.key}"]\n`);
    await hand.apply(control, await sign(manifest(owner), 1));
    await assert.rejects(operator.restart(control, "worker"), code("refused"));
    await hand.apply(control, await sign(toml, 2));
    await operator.scale(control, "worker", 3);
    const scaled = () => agent.status().components.find(({ name }) => name === "worker")!.replicas;
    assert.equal(scaled(), 3);
    await operator.restart(control, "worker");
    const own = await sign(toml, 3);
    await assert.rejects(operator.apply(control, own), code("refused"));
    const theirs = await sign(toml, 3, operator.signer);
    await assert.rejects(operator.apply(control, theirs), code("wrong-owner"));
    const key = formatPublicKey((await newSigner()).publicKey);
    assert.deepEqual(agent.status().refused, [], "what is not the owner's is no news of the realm");
    const approval = controlContent({ kind: "approve", key, name: "mine" });
    await assert.rejects(operator.append(control, [approval]), code("refused"));
    assert.equal(agent.status().manifest?.version, 2);
    await hand.apply(control, await sign(manifest(owner), 3));
    await assert.rejects(operator.restart(control, "worker"), code("refused"));
  }));

Deno.test("the recovery key names another owner, who is obeyed from then on", () =>
  withRealm(async ({ hand, start, sign, owner }) => {
    const { agent, control } = await start();
    await upload(control, "http-counter", "worker");
    await hand.apply(control, await sign(manifest(owner), 1));
    const next = new FakeOwner(await newSigner());
    const succession = controlContent({ kind: "succession", owner: next.key, last: null });
    await assert.rejects(hand.append(control, [succession]), code("refused"));
    const last = CID.parse((await control.place(owner))!.previous!.id);
    const recovery = new FakeOwner(await hand.recovery());
    await recovery.append(control, [{
      ...succession,
      payload: { ...succession.payload as object, last },
    }]);
    assert.equal(agent.status().node.owner, next.key);
    assert.equal(agent.status().manifest?.version, 1, "what counts goes on");
    const stolen = await sign(manifest(owner), 2);
    await assert.rejects(hand.apply(control, stolen), code("wrong-owner"));
    const bySuccessor = await sign(manifest(next.key), 2, next.signer);
    assert.equal((await next.apply(control, bySuccessor)).version, 2);
    await agent.close();
    const again = await start();
    assert.equal(again.agent.status().manifest?.version, 2);
    await again.agent.close();
    await (await start({ claim: { owner: next.key } })).agent.close();
  }));

Deno.test("the policy of the machine bounds what a manifest may ask", () =>
  withRealm(async ({ hand, start, sign, owner, folder }) => {
    const { control } = await start();
    await upload(control, "http-counter", "worker");
    const outside = await Deno.makeTempDir();
    try {
      const mounting = manifest(owner).replace(
        'volume = "counts"',
        `host = "${outside}"`,
      );
      await assert.rejects(hand.apply(control, await sign(mounting, 1)), code("policy"));
      await Deno.writeTextFile(
        `${folder}/policy.toml`,
        `[mounts]\nallow = [{ host = "${outside}", mode = "rw" }]\n`,
      );
      assert.equal((await hand.apply(control, await sign(mounting, 1))).version, 1);
      await Deno.writeTextFile(`${folder}/policy.toml`, "[limits]\nmemory_max_mb = 64\n");
      await assert.rejects(hand.apply(control, await sign(manifest(owner), 2)), code("policy"));
    } finally {
      await Deno.remove(outside, { recursive: true });
    }
  }));

Deno.test("scale, restart and a new manifest change what runs without losing a request", () =>
  withRealm(async ({ hand, start, sign, owner }) => {
    const { agent, control } = await start();
    await upload(control, "http-counter", "worker", "http-hello");
    await hand.apply(control, await sign(manifest(owner), 1));
    await until("three replicas", allRun(agent, 3));
    let lost = 0;
    let answered = 0;
    let loading = true;
    const load = (async () => {
      while (loading) {
        const response = await fetch(`${agent.proxyUrl}/c/healthz`);
        if (response.status === 200) answered++;
        else lost++;
        await response.body?.cancel();
      }
    })();
    await hand.scale(control, "counter", 3);
    const scaled = agent.status().components.find(({ name }) => name === "counter")!;
    assert.deepEqual([scaled.replicas, scaled.scaledTo], [3, 3]);
    assert.deepEqual(scaled.placed.map(({ node, replicas }) => [node, replicas]), [["here", 3]]);
    await until("four replicas", allRun(agent, 4));
    await hand.restart(control, "counter");
    await until(
      "restarts",
      () => agent.status().replicas.filter((r) => r.restarts === 1).length === 3,
    );
    await until("four replicas", allRun(agent, 4));
    await hand.apply(
      control,
      await sign(manifest(owner).replace("replicas = 2", "replicas = 1"), 2),
    );
    await hand.scale(control, "counter", null);
    await until("two replicas", allRun(agent, 2));
    loading = false;
    await load;
    assert.equal(lost, 0);
    assert.ok(answered > 10);
    assert.match(
      await control.metrics(),
      /wasm_restarts_total\{component="counter",replica="0"\} 1/,
    );
  }));

Deno.test("what is told of a release that failed has no line of the release before", () =>
  withRealm(async ({ hand, start, sign, owner }) => {
    const { agent, control } = await start();
    await upload(control, "greeter", "hostile-http");
    const release = (source: string, health: string) =>
      `[owner]\npubkey = "${owner}"\n[nodes.here]\n[components.web]\n` +
      `source = "file:${source}.wasm"\nworld = "wasi:http/proxy"\n${health}\n` +
      `[routing]\nhere = [{ path = "/...", component = "web" }]\n`;
    await hand.apply(control, await sign(release("greeter", ""), 1));
    await until("it runs", allRun(agent, 1));
    await (await fetch(`${agent.proxyUrl}/tea`)).text();
    const isLogged = async () => {
      for await (const event of control.logs({ component: "web" })) {
        if (event.kind === "line" && event.text === "asked for /tea") return true;
      }
      return false;
    };
    await until("its line", isLogged);
    const health =
      'health = { http = "/none", interval_ms = 100, timeout_ms = 2000, grace_ms = 0 }';
    await hand.apply(control, await sign(release("hostile-http", health), 2));
    const failure = () => agent.status().components[0]!.rollout?.failure;
    await until("it failed, while the one before takes requests", async () => {
      await (await fetch(`${agent.proxyUrl}/tea`)).text();
      return failure() !== undefined && failure() !== null;
    });
    assert.match(failure()!.evidence, /^GET \/none: 404/);
    assert.doesNotMatch(failure()!.evidence, /asked for/);
  }));

Deno.test("a component's key-value store is its own, shared by its replicas, and outlives the agent", () =>
  withRealm(async ({ hand, start, sign, owner, folder }) => {
    const component = (name: string, granted: boolean) =>
      `[components.${name}]
source = "file:keyvalue.wasm"
world = "wasi:cli/command"
restart = "never"
keyvalue = ${granted}
args = ["open|default", "increment|n|1"]
`;
    const toml = `[owner]\npubkey = "${owner}"\n[nodes.here]\n` +
      component("mine", true) + component("other", true) + component("denied", false);
    const seen = async (control: ControlClient, name: string) => {
      const lines: string[] = [];
      for await (const event of control.logs({ component: name })) {
        if (event.kind === "line" && event.stream === "stdout") lines.push(event.text);
      }
      return lines.sort();
    };
    const stopped = (agent: Agent, count: number) => () =>
      agent.status().replicas.filter((r) => r.state === "stopped").length === count;

    const first = await start();
    await upload(first.control, "keyvalue");
    await hand.apply(first.control, await sign(toml, 1));
    await until("three ends", stopped(first.agent, 3));
    await hand.scale(first.control, "mine", 2);
    await until("four ends", stopped(first.agent, 4));
    assert.deepEqual(await seen(first.control, "mine"), ["1", "2", "opened", "opened"]);
    assert.deepEqual(await seen(first.control, "other"), ["1", "opened"]);
    assert.deepEqual(await seen(first.control, "denied"), ["access-denied", "nothing open"]);
    await first.agent.close();

    const second = await start();
    await until("four ends again", stopped(second.agent, 4));
    assert.deepEqual(await seen(second.control, "mine"), ["3", "4", "opened", "opened"]);
    const files = [...Deno.readDirSync(`${folder}/keyvalue`)].map((entry) => entry.name);
    assert.deepEqual(files.filter((name) => name.endsWith(".sqlite")).sort(), [
      "mine.sqlite",
      "other.sqlite",
    ]);
  }));

Deno.test("status reads back what is enforced and used, log lines have their level", () =>
  withRealm(async ({ hand, start, sign, owner }) => {
    const { agent, control } = await start();
    await upload(control, "http-counter", "logging");
    const toml = `[owner]
pubkey = "${owner}"
[nodes.here]
[components.counter]
source = "file:http-counter.wasm"
world = "wasi:http/proxy"
max_concurrency = 7
memory_max_mb = 32
fuel_per_sec = 500_000_000
epoch_timeout_ms = 700
[components.logging]
source = "file:logging.wasm"
world = "wasi:cli/command"
restart = "never"
[routing]
here = [{ path = "/c/...", component = "counter", strip_prefix = true }]
`;
    await hand.apply(control, await sign(toml, 1));
    const counter = async () =>
      (await control.status()).replicas.find((r) => r.component === "counter")!;
    await until("the counter", async () => (await counter()).state === "running");
    assert.deepEqual((await counter()).limits, {
      memoryBytesMax: 32 * 1024 * 1024,
      fuelPerSec: 500_000_000,
      epochTimeoutMs: 700,
      concurrencyMax: 7,
      handlesMax: 1024,
      openFilesMax: 1024,
      socketsMax: 256,
      logLinesPerSecMax: 1000,
    });
    const slow = await fetch(`${agent.proxyUrl}/c/stream?n=2&ms=600000`);
    await until("a request", async () => (await counter()).usage?.requests === 1);
    await slow.body?.cancel();
    const trap = await fetch(`${agent.proxyUrl}/c/trap`);
    await trap.body?.cancel();
    assert.equal((await counter()).usage?.traps, 1);
    await until("no request", async () => (await counter()).usage?.requests === 0);
    await until("a backtrace with names", async () => {
      for await (const event of control.logs({ component: "counter" })) {
        if (event.kind === "line" && /\bat .*!function\[\d+\]/.test(event.text)) return true;
      }
      return false;
    });
    const levels: string[] = [];
    await until("the lines", async () => {
      levels.length = 0;
      for await (const event of control.logs({ component: "logging" })) {
        if (event.kind === "line" && event.level) levels.push(`${event.level} ${event.text}`);
      }
      return levels.length === 6;
    });
    assert.equal(levels[3], "warn db: slow");
    const { components } = await control.status();
    assert.equal(components.find((c) => c.name === "logging")?.droppedLogLines, 0);
  }));

/** A manifest with one command; `keys` are more of it. */
const command = (owner: string, keys: string, rest = "") =>
  `[owner]
pubkey = "${owner}"
[nodes.here]
[components.std]
source = "file:sockets-std.wasm"
world = "wasi:cli/command"
${keys}
${rest}`;

Deno.test("requests are routed to commands that listen, each replica behind a port of its own", () =>
  withRealm(async ({ hand, start, sign, owner }) => {
    const { agent, control } = await start();
    await upload(control, "sockets-std");
    const routed = (keys: string) =>
      command(
        owner,
        `listen = ["tcp://:5000"]\nargs = ["http", "0.0.0.0:5000"]\n${keys}`,
        '[routing]\nhere = [{ path = "/std/...", component = "std", replicas = 2, strip_prefix = true }]',
      );
    await hand.apply(control, await sign(routed(""), 1));
    // No port of the machine is taken, so that both replicas have it and the policy allows none.
    const at = `${agent.proxyUrl}/std`;
    const get = async (path: string, init?: RequestInit) => {
      const response = await fetch(`${at}${path}`, init);
      return `${response.status} ${await response.text()}`;
    };
    assert.equal(await get("/hello?x=1"), "200 path /hello?x=1, 0 bytes\n");
    await until("two replicas", allRun(agent, 2));
    const body = new Uint8Array(300_000);
    assert.equal(await get("/post", { method: "POST", body }), "200 path /post, 300000 bytes\n");
    const many = await Promise.all(Array.from({ length: 20 }, (_, i) => get(`/${i}`)));
    assert.deepEqual(many, Array.from({ length: 20 }, (_, i) => `200 path /${i}, 0 bytes\n`));
    // One that ends in the middle of a request is a 502, and the other one goes on.
    assert.match(await get("/exit"), /^502 /);
    assert.equal(await get("/again"), "200 path /again, 0 bytes\n");
    // A change is rolled out without a request that fails.
    const change = (async () => hand.apply(control, await sign(routed("clock = true"), 2)))();
    for (let i = 0; i < 20; i++) assert.match(await get(`/${i}`), /^200 /);
    await change;
    await until("two replicas", allRun(agent, 2));
    assert.match(await get("/last"), /^200 /);
  }));

Deno.test("a manifest grants the network to a component, within the policy of the machine", () =>
  withRealm(async ({ hand, start, sign, owner, folder }) => {
    const { control } = await start();
    await upload(control, "sockets-std");
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    const serving = (async () => {
      const connection = await listener.accept();
      await new Response(connection.readable).text();
    })();
    const toml = command(
      owner,
      `args = ["leave", "127.0.0.1:${port}", "x"]\nrestart = "never"\nloopback = [${port}]`,
    );
    await assert.rejects(hand.apply(control, await sign(toml, 1)), code("policy"));
    await Deno.writeTextFile(`${folder}/policy.toml`, `[loopback]\nports = [${port}]\n`);
    await hand.apply(control, await sign(toml, 1));
    await serving;
    const outbound = command(
      owner,
      'args = ["lookup", "a.invalid"]\nrestart = "never"\nallowed_outbound = ["tcp://b.invalid:1"]',
    );
    await hand.apply(control, await sign(outbound, 2));
    await until("the refusal in the log", async () => {
      for await (const event of control.logs({ component: "std" })) {
        const text = event.kind === "line" ? event.text : "";
        if (text.includes('looking up a.invalid needs dns = ["a.invalid"]')) return true;
      }
      return false;
    });
  }));

/** A handler in a process, and one in a Worker. */
const pair = (owner: string) =>
  `[owner]
pubkey = "${owner}"
[nodes.here]
[components.alone]
source = "file:http-counter.wasm"
world = "wasi:http/proxy"
isolation = "process"
[components.shared]
source = "file:http-counter.wasm"
world = "wasi:http/proxy"
[routing]
here = [
  { path = "/alone/...", component = "alone", strip_prefix = true },
  { path = "/shared/...", component = "shared", strip_prefix = true },
]
`;

/**
 * Lets one of the {@link pair} crash while the other is asked all the time: the crash is one line
 * in its status and its log, it comes back after a while, and its neighbour loses no request.
 */
const crashes = (victim: "alone" | "shared", why: string, crash: (agent: Agent) => void) =>
  withRealm(async ({ hand, start, sign, owner }) => {
    const { agent, control } = await start();
    await upload(control, "http-counter");
    await hand.apply(control, await sign(pair(owner), 1));
    await until("both", allRun(agent, 2));
    const of = (name: string) => agent.status().replicas.find((r) => r.component === name)!;
    const url = (name: string) => `${agent.proxyUrl}/${name}/healthz`;
    const neighbour = victim === "alone" ? "shared" : "alone";
    let isOver = false;
    const asked = (async () => {
      const answers: number[] = [];
      while (!isOver || answers.length <= 10) {
        const response = await fetch(url(neighbour));
        await response.body?.cancel();
        answers.push(response.status);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      return answers;
    })();
    try {
      const before = of(victim);
      crash(agent);
      await until("the crash", () => of(victim).lastExit !== null);
      const { exit, atMs } = of(victim).lastExit!;
      assert.ok(exit.kind === "trap" && exit.code === "failed");
      assert.equal(exit.message, why);
      await until("it run again", () => of(victim).state === "running");
      const after = of(victim);
      assert.equal(after.restarts, before.restarts + 1);
      assert.ok(after.startedAtMs! - atMs >= 500, "it comes back after a while");
      const again = await fetch(url(victim));
      await again.body?.cancel();
      assert.equal(again.status, 200);
    } finally {
      isOver = true;
      await asked;
    }
    const answers = await asked;
    assert.ok(answers.every((status) => status === 200), answers.join());
    assert.deepEqual([of(neighbour).restarts, of(neighbour).lastExit], [0, null]);
    const lines: string[] = [];
    for await (const event of control.logs({ component: victim })) {
      if (event.kind === "line") lines.push(event.text);
    }
    assert.deepEqual(lines, [`failed: ${why}`]);
  });

Deno.test("a process that is killed is one line in status, and the neighbour loses no request", () =>
  crashes("alone", "its process was ended by SIGKILL", (agent) => {
    const { process } = agent.status().replicas.find((r) => r.component === "alone")!;
    Deno.kill(process!.pid, "SIGKILL");
  }));

Deno.test("a Worker that fails is one line in status, and the neighbour loses no request", async () => {
  const { Worker } = globalThis;
  const workers: Worker[] = [];
  globalThis.Worker = class extends Worker {
    constructor(...args: ConstructorParameters<typeof Worker>) {
      super(...args);
      if (String(args[0]).includes("spawner_worker")) workers.push(this);
    }
  };
  try {
    const why = "its Worker failed: what spawns Workers failed: out of luck";
    // No guest can make a Worker of ours fail: this is what Deno says when one does.
    await crashes("shared", why, () => {
      const [spawner] = workers;
      spawner!.dispatchEvent(new ErrorEvent("error", { message: "out of luck", cancelable: true }));
    });
  } finally {
    globalThis.Worker = Worker;
  }
});

/** A handler that says by its export how it is, and remembers that in its one instance. */
const checked = (owner: string, isolation: string) =>
  `[owner]
pubkey = "${owner}"
[nodes.here]
[components.web]
source = "file:health.wasm"
world = "wasi:http/proxy"
isolation = "${isolation}"
max_concurrency = 1
health = { export = true, interval_ms = 100, timeout_ms = 10_000, healthy_after = 1, unhealthy_after = 20, grace_ms = 0 }
[routing]
here = [{ path = "/...", component = "web" }]
`;

const becomesUnwell = (isolation: string) =>
  withRealm(async ({ hand, start, sign, owner }) => {
    const { agent, control } = await start();
    await upload(control, "health");
    await hand.apply(control, await sign(checked(owner, isolation), 1));
    await until("it well", allRun(agent, 1));
    const ask = async (path: string) => {
      const response = await fetch(agent.proxyUrl + path);
      return [response.status, await response.text()];
    };
    assert.deepEqual(await ask("/"), [200, "hello\n"]);
    assert.deepEqual(await ask("/be?rude"), [200, "it is so\n"]);
    const web = () => agent.status().replicas[0]!;
    let shown = await control.status();
    const alarmOf = ({ alarms }: typeof shown) =>
      alarms.find(({ code }) => code === "replica-unhealthy");
    // It is soon restarted: all that is looked at is of one moment.
    await until("it unhealthy and out of the route", async () => {
      shown = await control.status();
      if (shown.replicas[0]!.state !== "unhealthy" || !alarmOf(shown)) return false;
      return (await ask("/"))[0] === 503;
    });
    const { health, restarts } = shown.replicas[0]!;
    assert.equal(restarts, 0);
    assert.match(health!, /^realm:health\/check@0\.1\.0: "\[31mred and long long /);
    const alarm = alarmOf(shown)!;
    assert.equal(alarm.subject, "web/0");
    for (const said of [health!, alarm.value!, alarm.message]) {
      assert.doesNotMatch(said, /\p{C}/u);
      assert.ok(said.length < 400);
    }
    await until("it run again", () => web().restarts === 1 && web().state === "running");
    const { lastExit, health: now } = web();
    assert.match(JSON.stringify(lastExit), /web#0 is unhealthy: realm:health.*red and long/);
    assert.equal(now, undefined);
    assert.deepEqual(await ask("/"), [200, "hello\n"]);
  });

Deno.test("a component that says it is not well leaves the route, then is restarted", () =>
  becomesUnwell("worker"));

Deno.test("a component in a process that says it is not well is restarted there", () =>
  becomesUnwell("process"));
