/**
 * Several agents in this process, over real connections on loopback.
 *
 * @module
 */
import assert from "node:assert/strict";
import { freePort } from "../tests/peers.ts";
import { type Agent, startAgent } from "./agent.ts";
import { connectControl, type ControlClient } from "./control/client.ts";
import { sha256Hex } from "./kernel/sha256.ts";
import { FakeOwner, newSigner } from "./owner_fake.ts";
import { controlContent } from "./realm/control_event.ts";
import type { LanChoice } from "./member/realm_member.ts";
import { formatManifestSignature, signManifest } from "./realm/manifest_signature.ts";
import { until } from "../tests/until.ts";

const LISTEN = ["/ip4/127.0.0.1/tcp/0"];

interface Machine {
  readonly name: string;
  readonly folder: string;
  readonly agent: Agent;
  readonly control: ControlClient;
  stop(): Promise<void>;
}

interface StartOptions {
  readonly join?: readonly string[];
  /** What it calls itself. */
  name?: string;
  readonly owner?: string;
  readonly lan?: LanChoice;
}

interface Cluster {
  readonly owner: FakeOwner;
  /** Starts a machine; again with its folder, after it was stopped. */
  start(name: string, options?: StartOptions): Promise<Machine>;
  apply(machine: Machine, version: number, rest?: string): Promise<void>;
}

async function withCluster(test: (cluster: Cluster) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir({ prefix: "realm-cluster-" });
  const cache = new URL("../.cache/engine", import.meta.url).pathname;
  await Deno.mkdir(cache, { recursive: true });
  const owner = new FakeOwner(await newSigner());
  const running = new Set<Machine>();
  const wasm = await Deno.readFile(new URL("../fixtures/http-hello.wasm", import.meta.url));
  try {
    await test({
      owner,
      async start(name, { join = [], name: nodeName = name, owner: of = owner.key, lan } = {}) {
        const folder = `${root}/${name}`;
        await Deno.mkdir(folder, { recursive: true });
        await Deno.symlink(cache, `${folder}/cache`).catch(() => {}); // there from the last time
        const agent = await startAgent({
          dataFolder: folder,
          nodeName,
          http: { hostname: "127.0.0.1", port: 0 },
          program: "test",
          claim: { owner: of },
          listen: LISTEN,
          join,
          ...(lan === undefined ? {} : { lan }),
        });
        const control = connectControl(agent.controlPath);
        const machine: Machine = {
          name,
          folder,
          agent,
          control,
          async stop() {
            running.delete(machine);
            control.close();
            await agent.close();
          },
        };
        running.add(machine);
        return machine;
      },
      async apply({ control }, version, rest = "") {
        const manifest = new TextEncoder().encode(
          `[owner]\npubkey = "${owner.key}"\n[nodes.a]\n[nodes.b]\n[nodes.c]\n` +
            `[components.hello]\nsource = "file:hello.wasm"\nworld = "wasi:http/proxy"\n` +
            `[routing]\nb = [{ path = "/hello", component = "hello" }]\n${rest}`,
        );
        await control.putBlob(wasm);
        const digests = [["hello", await sha256Hex(wasm)]] as const;
        const signed = await signManifest(manifest, { version, digests, signer: owner.signer });
        await owner.apply(control, { manifest, signature: formatManifestSignature(signed) });
      },
    });
  } finally {
    for (const machine of [...running]) await machine.stop();
    await Deno.remove(root, { recursive: true });
  }
}

const versionOf = ({ agent }: Machine) => agent.status().manifest?.version;
const stateOf = ({ agent }: Machine, name: string) =>
  agent.status().nodes.find((node) => node.name === name)?.state;
const approve = (cluster: Cluster, { control }: Machine, key: string, name: string) =>
  cluster.owner.append(control, [controlContent({ kind: "approve", key, name })]);

/** libp2p uses `AbortSignal.timeout` much, whose timers end by themselves and hold nothing up. */
const options = { sanitizeOps: false, sanitizeResources: false };

Deno.test(
  "a machine that joins waits for approval, then has all that was applied",
  options,
  () =>
    withCluster(async (cluster) => {
      const a = await cluster.start("a");
      await cluster.apply(a, 1);
      const b = await cluster.start("b", { join: a.agent.addresses });
      await until("b asks to join", () => stateOf(a, "b") === "pending");
      assert.equal(b.agent.status().topic, null, "it was told nothing");
      assert.equal(b.agent.status().nodes[0]!.state, "pending");
      await approve(cluster, a, b.agent.status().node.key, "b");
      await until("b has the manifest", () => versionOf(b) === 1);
      await until("a sees it live", () => a.agent.status().nodes.every(({ live }) => live));
      await cluster.apply(a, 2, "# more\n");
      await until("b has the next one", () => versionOf(b) === 2);
      await until("equal heads", () => a.agent.status().nodes.every(({ drift }) => !drift));
    }),
);

Deno.test(
  "bytes come from other nodes to those that run them, and every proxy answers",
  options,
  () =>
    withCluster(async (cluster) => {
      const a = await cluster.start("a");
      await cluster.apply(a, 1); // uploads to a; b alone is to run it
      const join = a.agent.addresses;
      const [b, c] = [await cluster.start("b", { join }), await cluster.start("c", { join })];
      for (const machine of [b, c]) {
        await until("it asks to join", () => stateOf(a, machine.name) === "pending");
        await approve(cluster, a, machine.agent.status().node.key, machine.name);
      }
      const ask = async ({ agent }: Machine) => {
        const response = await fetch(`${agent.proxyUrl}/hello`);
        return `${response.status} ${(await response.text()).trim()}`;
      };
      await until("b answers", async () => (await ask(b)).startsWith("200 "));
      const answer = await ask(b);
      for (const machine of [a, c]) {
        await until(`${machine.name} sends it on`, async () => await ask(machine) === answer);
      }
      const digest = a.agent.status().components[0]!.digest;
      assert.equal(await c.control.hasBlob(digest), false, "c does not run it");
      assert.equal(await sha256Hex(await c.control.getBlob(digest)), digest);
      assert.equal(await c.control.hasBlob(digest), true, "c was asked for it");
      await b.stop();
      await until("nobody is left to answer", async () => (await ask(a)).startsWith("503 "));
    }),
);

Deno.test(
  "members that both came up elsewhere find each other on the same network",
  options,
  () =>
    withCluster(async (cluster) => {
      const lan = { loopback: true, port: freePort() };
      const isWhole = ({ agent }: Machine) =>
        agent.status().nodes.length === 2 && agent.status().nodes.every(({ live }) => live);
      const [a, b] = [await cluster.start("a", { lan }), await cluster.start("b", { lan })];
      await cluster.apply(a, 1);
      await b.control.addPeer(a.agent.addresses[0]!);
      await until("b asks to join", () => stateOf(a, "b") === "pending");
      await approve(cluster, a, b.agent.status().node.key, "b");
      await until("both see both", () => isWhole(a) && isWhole(b));
      // Their ports are others afterwards, and what each knows of the other is out of date.
      await a.stop();
      await b.stop();
      const again = [await cluster.start("a", { lan }), await cluster.start("b", { lan })];
      await until("both see both again", () => again.every(isWhole));
    }),
);

Deno.test(
  "two laptops that apply at once: both keep what they took until the next apply",
  options,
  () =>
    withCluster(async (cluster) => {
      const a = await cluster.start("a");
      await cluster.apply(a, 1);
      const b = await cluster.start("b", { join: a.agent.addresses });
      await until("b asks to join", () => stateOf(a, "b") === "pending");
      await approve(cluster, a, b.agent.status().node.key, "b");
      await until("b has the manifest", () => versionOf(b) === 1);
      await b.stop();
      await cluster.apply(a, 2, "# of a\n");
      await a.stop();
      const lonely = await cluster.start("b");
      await cluster.apply(lonely, 3, "# of b\n");
      assert.equal(versionOf(lonely), 3);
      const back = await cluster.start("a", { join: lonely.agent.addresses });
      const isAlarmed = ({ agent }: Machine) =>
        agent.status().alarms.some((alarm) => alarm.code === "conflict");
      await until("both see it", () => isAlarmed(back) && isAlarmed(lonely));
      assert.deepEqual([versionOf(back), versionOf(lonely)], [2, 3]);
      assert.equal((await back.control.place(cluster.owner.key))!.forked, true);
      const outcomes = back.agent.status().topic === null ? [] : await back.control.history();
      assert.deepEqual(outcomes.map(({ state }) => state).slice(0, 2).sort(), [
        "conflict",
        "in-force",
      ]);

      await cluster.apply(back, 4, "# of both\n");
      await until("both have it", () => versionOf(back) === 4 && versionOf(lonely) === 4);
      assert.ok(!isAlarmed(back) && !isAlarmed(lonely));
    }),
);

Deno.test(
  "what a node has to complain of is an alarm on every node",
  options,
  () =>
    withCluster(async (cluster) => {
      const a = await cluster.start("a");
      await cluster.apply(a, 1);
      const b = await cluster.start("b", { join: a.agent.addresses });
      await Deno.writeTextFile(`${b.folder}/policy.toml`, "[limits]\nmemory_max_mb = 1\n");
      await until("b asks to join", () => stateOf(a, "b") === "pending");
      await approve(cluster, a, b.agent.status().node.key, "b");
      const alarmOf = (code: string) =>
        a.agent.status().alarms.find((alarm) => alarm.code === code && alarm.node === "b");
      let alarm: ReturnType<typeof alarmOf>;
      await until("a tells of it", () => (alarm = alarmOf("refused")) !== undefined);
      const { severity, value, message, hint, sinceAtMs } = alarm!;
      assert.equal(severity, "critical");
      assert.match(value!, /^version 1: policy: Cannot run the manifest on b: .*memory_max_mb/);
      assert.match(message, /^b refused manifest version 1: policy/);
      assert.equal(hint, "Change the manifest, or policy.toml on b");
      assert.ok(sinceAtMs <= Date.now());

      const metric = async (name: string) => {
        const lines = (await a.control.metrics()).split("\n");
        return Number(lines.find((line) => line.startsWith(`${name} `))?.slice(name.length + 1));
      };
      // On a busy machine a node may seem silent for a moment.
      await until("a counts it", async () =>
        await metric('realm_alarm{name="refused"}') === 1 &&
        await metric('realm_alarm{name="silent"}') === 0 &&
        await metric('realm_nodes{state="live"}') === 2);
      for (const direction of ["in", "out"]) {
        assert.ok(await metric(`realm_gossip_bytes_total{direction="${direction}"}`) > 1_000);
      }
      assert.ok(await metric('realm_gossip_age_seconds{node="b"}') >= 0);
      await cluster.apply(a, 2, "# more\n");
      await until("b caught up", async () => await metric("realm_sync_lag_seconds_count") >= 1);
      await until("equal heads", async () => await metric("realm_sync_behind_nodes") === 0);

      await b.stop();
      await until("b is silent", () => alarmOf("silent") !== undefined);
      assert.equal(alarmOf("refused"), undefined, "what it said is of before");
    }),
);
