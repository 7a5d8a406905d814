/**
 * A realm of several machines: processes of the executable that reach one another on loopback.
 */
import assert from "node:assert/strict";
import * as path from "node:path";
import type { NodeStatus, Status } from "../../agent/control/api.ts";
import { failed, get, sleep, succeeded, until } from "./agent_process.ts";
import { type Running, type Sandbox, withSandbox } from "./executable.ts";

/** A machine: a data folder, and the agent on it while it runs. */
interface Machine {
  readonly name: string;
  readonly data: string;
  readonly key: string;
  readonly proxy: string;
  readonly addresses: readonly string[];
  readonly running: Running;
}

const LISTEN = ["--http", "127.0.0.1:0", "--listen", "/ip4/127.0.0.1/tcp/0"];

async function startMachine(sandbox: Sandbox, name: string, ...args: string[]): Promise<Machine> {
  const data = path.join(sandbox.folder, name);
  await Deno.mkdir(data, { mode: 0o700, recursive: true });
  await sandbox.shareCache(data);
  if (name === "b") await Deno.writeTextFile(path.join(data, "policy.toml"), "exec = true\n");
  const running = sandbox.start(
    "agent",
    "--json",
    "--data",
    data,
    "--name",
    name,
    ...LISTEN,
    ...args,
  );
  const line = await running.line();
  if (line === null) assert.fail(`${name} did not start: ${(await running.ended).stderr}`);
  const { key, proxy, addresses } = JSON.parse(line);
  return { name, data, key, proxy, addresses, running };
}

async function stop({ running }: Machine, signal: Deno.Signal = "SIGTERM"): Promise<void> {
  running.kill(signal);
  await running.ended;
}

/** `a` has the owner's keys, the rest joins with its ticket and is approved. */
async function startRealm(sandbox: Sandbox, names: readonly string[]): Promise<Machine[]> {
  await sandbox.fixtures("http-hello", "http-counter");
  const a = path.join(sandbox.folder, "a");
  const { owner } = succeeded(await sandbox.realm("init", "--data", a, "--name", "shop", "--json"));
  await writeManifest(sandbox, owner, 1);
  const first = await startMachine(sandbox, "a", "--owner", owner);
  succeeded(await sandbox.realm("apply", "realm.toml", "--yes", "--data", a, "--json"));
  const { ticket } = succeeded(await sandbox.realm("invite", "--data", a, "--json"));
  const others: Machine[] = [];
  for (const name of names.slice(1)) {
    const more = name === "b" ? ["--allow-exec"] : [];
    const machine = await startMachine(sandbox, name, "--ticket", ticket, ...more);
    await until(
      `${name} asks to join`,
      async () => (await nodeOf(sandbox, first, name))?.state === "pending",
    );
    succeeded(await sandbox.realm("nodes", "approve", name, "--data", a, "--json"));
    others.push(machine);
  }
  const all = [first, ...others];
  for (const machine of all) await untilAgreed(sandbox, machine, 1, all.length);
  return all;
}

async function writeManifest(sandbox: Sandbox, owner: string, replicas: number, more = "") {
  await Deno.writeTextFile(
    path.join(sandbox.folder, "realm.toml"),
    `[owner]\npubkey = "${owner}"\n[realm]\nname = "shop"\nexec = ["b"]\n[nodes.a]\n[nodes.b]\n[nodes.c]\n[nodes.d]
[components.hello]\nsource = "file:./http-hello.wasm"\nworld = "wasi:http/proxy"
[routing]\na = [{ path = "/hello", component = "hello", replicas = ${replicas} }]\n${more}`,
  );
}

async function statusOf(sandbox: Sandbox, { data }: Machine): Promise<Status> {
  return succeeded(await sandbox.realm("status", "--json", "--data", data));
}

async function nodeOf(
  sandbox: Sandbox,
  machine: Machine,
  name: string,
): Promise<NodeStatus | undefined> {
  return (await statusOf(sandbox, machine)).nodes.find((node) => node.name === name);
}

/** Waits until a machine goes by this version, and sees so many that live and have the same log. */
async function untilAgreed(sandbox: Sandbox, machine: Machine, version: number, nodes: number) {
  await until(`${machine.name} has version ${version} and agrees with ${nodes}`, async () => {
    const { manifest, nodes: seen } = await statusOf(sandbox, machine);
    const agreed = seen.filter(({ live, drift, state, version: of }) =>
      live && !drift && state === "approved" && of === version
    );
    return manifest?.version === version && agreed.length === nodes;
  }, { everyMs: 250, atMostMs: 60_000 });
}

const ownerOf = async (sandbox: Sandbox, { data }: Machine): Promise<string> =>
  succeeded(await sandbox.realm("key", "show", "--json", "--data", data)).owner;

async function apply(sandbox: Sandbox, machine: Machine, replicas: number): Promise<number> {
  await writeManifest(sandbox, await ownerOf(sandbox, machine), replicas);
  const words = ["apply", "realm.toml", "--yes", "--json", "--data", machine.data];
  return succeeded(await sandbox.realm(...words)).version;
}

Deno.test("three machines: invite, pending, approve, apply on one reaches all, revoke cuts", async (t) => {
  await withSandbox(async (sandbox) => {
    const [a, b, c] = await startRealm(sandbox, ["a", "b", "c"]) as [Machine, Machine, Machine];
    const realm = (...words: string[]) => sandbox.realm(...words, "--data", a.data);

    await t.step("status of any shows all of them", async () => {
      const { nodes, majority, components } = await statusOf(sandbox, b);
      assert.deepEqual(nodes.map(({ name }) => name).sort(), ["a", "b", "c"]);
      assert.equal(nodes[0]!.name, "b");
      assert.ok(majority);
      const [placed] = components[0]!.placed;
      assert.deepEqual([placed!.node, placed!.replicas], ["a", 1]);
      await until(
        "a's replica is seen from b",
        async () => (await nodeOf(sandbox, b, "a"))?.health?.running === 1,
      );
      const fromB = await statusOf(sandbox, b);
      assert.equal(fromB.components[0]!.placed[0]!.running, 1);
      await until(
        "c says to b that it hears a",
        async () =>
          (await nodeOf(sandbox, b, "c"))?.links.some(({ key }) =>
            key === fromB.nodes
              .find(({ name }) => name === "a")!.key
          ),
      );
      await until("c shows a", async () => {
        const { stdout } = await sandbox.realm("status", "--data", c.data);
        return /^a +live +1 +1\/1/m.test(stdout);
      });
    });

    await t.step("the dashboard looks from any of them", async () => {
      const typed = "links b\nlook b\ncomponent hello\nlook a\nquit\n";
      // On a busy machine a node may seem silent for a moment.
      const stdout = await until("all are live", async () => {
        const { status, stdout, stderr } = await sandbox
          .realmWith(typed, "tui", "--plain", "--data", a.data);
        assert.equal(status, 0, stderr);
        return /^realm shop, seen from a: manifest version 1\n3 nodes, all live\n/.test(stdout) &&
          stdout;
      });
      assert.match(stdout, /\nb is asked from now on\nrealm shop, seen from b: /);
      assert.match(stdout, /\nhello: 1 of 1 replica run\non a: 1 of 1 run\n/);
      assert.match(stdout, /\na is asked from now on\nrealm shop, seen from a: /);
      const fromC = await sandbox
        .realmWith("quit\n", "tui", "--plain", "--data", a.data, "--node", "c");
      assert.match(fromC.stdout, /^realm shop, seen from c: /, fromC.stderr);
    });

    await t.step("apply on one reaches all", async () => {
      assert.equal(await apply(sandbox, a, 2), 2);
      for (const each of [a, b, c]) await untilAgreed(sandbox, each, 2, 3);
      const history = succeeded(await sandbox.realm("history", "--json", "--data", c.data));
      assert.deepEqual(
        history.map((h: { version: number; state: string }) => [h.version, h.state]),
        [
          [2, "in-force"],
          [1, "applied"],
        ],
      );
    });

    await t.step("restart, scale and drain reach the node that they are about", async () => {
      succeeded(await realm("scale", "hello", "3", "--json"));
      await until(
        "three replicas on a",
        async () => (await nodeOf(sandbox, c, "a"))?.health?.running === 3,
      );
      assert.equal(
        succeeded(await realm("restart", "hello", "--nodes", "a", "--json")).restarted,
        3,
      );
      await until(
        "restarted",
        async () => (await statusOf(sandbox, a)).replicas.every(({ restarts }) => restarts > 0),
      );
      succeeded(await realm("nodes", "drain", "a", "--json"));
      await until("a runs nothing", async () => (await statusOf(sandbox, a)).replicas.length === 0);
      assert.equal((await nodeOf(sandbox, c, "a"))!.drained, true);
      succeeded(await realm("nodes", "undrain", "a", "--json"));
      await until("a runs again", async () => (await statusOf(sandbox, a)).replicas.length === 3);
      assert.equal(await get(`${a.proxy}/hello`), "200 hello");
    });

    await t.step("--node asks another machine, with the owner's key only", async () => {
      const there = succeeded(await realm("status", "--json", "--node", "b"));
      assert.equal(there.node.key, b.key);
      const byAddress = await sandbox.realm(
        "status",
        "--json",
        "--data",
        a.data,
        "--node",
        b.addresses[0]!,
      );
      assert.equal(succeeded(byAddress).node.name, "b");
      const other = path.join(sandbox.folder, "other");
      succeeded(await sandbox.realm("init", "--data", other, "--name", "other", "--json"));
      const stranger = ["--key", path.join(other, "owner.key")];
      assert.deepEqual(
        failed(await realm("status", "--json", "--node", "b", ...stranger)),
        [3, "refused"],
      );
    });

    await t.step("exec runs a program where everybody allows it, and nowhere else", async () => {
      const script = "echo $HOME-$#; exit 4";
      const ran = await sandbox.realm("exec", "--data", a.data, "b", "--", "sh", "-c", script);
      assert.deepEqual([ran.stdout, ran.status], ["-0\n", 4], ran.stderr);
      const refused = await sandbox.realm("exec", "--json", "--data", a.data, "c", "--", "id");
      assert.deepEqual(failed(refused), [3, "refused"]);
    });

    await t.step("a machine that was killed catches up by itself", async () => {
      await stop(b, "SIGKILL");
      await until("b is silent", async () => (await nodeOf(sandbox, a, "b"))?.live === false);
      const version = await apply(sandbox, a, 1);
      await untilAgreed(sandbox, c, version, 2);
      const again = await startMachine(sandbox, "b");
      assert.equal(again.key, b.key);
      for (const each of [a, again, c]) await untilAgreed(sandbox, each, version, 3);
    });

    await t.step("who is revoked is told nothing more, by anybody", async () => {
      succeeded(await realm("nodes", "revoke", "c", "--json"));
      const version = await apply(sandbox, a, 2);
      await until("a and b agree without c", async () => {
        const { nodes } = await statusOf(sandbox, a);
        return nodes.some(({ name, drift, version: of }) =>
          name === "b" && !drift && of === version
        );
      });
      await until(
        "c hears of nobody",
        async () => (await statusOf(sandbox, c)).nodes.every(({ self, live }) => self || !live),
      );
      assert.notEqual((await statusOf(sandbox, c)).manifest!.version, version);
      const peers = succeeded(await sandbox.realm("peer", "ls", "--json", "--data", c.data));
      assert.ok(peers.every(({ connected }: { connected: boolean }) => !connected));
    });
  });
});

Deno.test("a newcomer with an empty disk is complete; a second owner gets nowhere", async (t) => {
  await withSandbox(async (sandbox) => {
    const [a] = await startRealm(sandbox, ["a"]) as [Machine];
    for (let replicas = 1; replicas <= 3; replicas++) await apply(sandbox, a, replicas);
    const { version } = (await statusOf(sandbox, a)).manifest!;

    await t.step("the newcomer has all of the past once it is approved", async () => {
      const { ticket } = succeeded(await sandbox.realm("invite", "--json", "--data", a.data));
      const d = await startMachine(sandbox, "d", "--ticket", ticket);
      const { alarms, manifest } = await statusOf(sandbox, d);
      assert.deepEqual([alarms[0]?.code, manifest], ["not-approved", null]);
      await until(
        "d asks to join",
        async () => (await nodeOf(sandbox, a, "d"))?.state === "pending",
      );
      succeeded(await sandbox.realm("nodes", "approve", d.key, "--json", "--data", a.data));
      await untilAgreed(sandbox, d, version, 2);
      const history = succeeded(await sandbox.realm("history", "--json", "--data", d.data));
      assert.equal(history.length, version);
    });

    await t.step("a second owner gets nowhere", async () => {
      const thief = path.join(sandbox.folder, "thief");
      const made = await sandbox.realm("init", "--data", thief, "--name", "theft", "--json");
      const { owner: other } = succeeded(made);
      // On the machine itself: its owner was decided when it began.
      const claim = ["agent", "--json", "--data", path.join(sandbox.folder, "d"), "--owner", other];
      const d = path.join(sandbox.folder, "d", "control.sock");
      assert.ok((await Deno.lstat(d)).isSocket);
      assert.equal((await sandbox.realm(...claim, "--http", "127.0.0.1:0")).status, 1, "it runs");
      // By its agent, with a realm of its own, that joins this one's.
      const mine = await startMachine(
        sandbox,
        "thief",
        "--owner",
        other,
        "--join",
        a.addresses[0]!,
      );
      await writeManifest(sandbox, other, 9);
      const words = ["apply", "realm.toml", "--yes", "--json", "--data", mine.data];
      succeeded(await sandbox.realm(...words));
      // With a manifest of its own, handed to the node of the other.
      await Deno.copyFile(path.join(thief, "owner.key"), path.join(sandbox.folder, "stolen.key"));
      assert.deepEqual(
        failed(
          await sandbox.realm(
            "restart",
            "hello",
            "--json",
            "--data",
            a.data,
            "--key",
            "stolen.key",
          ),
        ),
        [3, "refused"],
      );
      await sleep(1_000);
      const status = await statusOf(sandbox, a);
      assert.equal(status.manifest!.version, version);
      assert.equal(status.node.owner, await ownerOf(sandbox, a));
      assert.deepEqual((await statusOf(sandbox, mine)).nodes.map(({ name }) => name), ["thief"]);
    });
  });
});
