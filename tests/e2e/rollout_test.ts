/**
 * Rollouts over three machines under load: a new release comes, a bad one goes back by itself, a
 * machine is drained, and no request fails.
 */
import assert from "node:assert/strict";
import * as path from "node:path";
import type { Status } from "../../agent/control/api.ts";
import { Load } from "../../cli/demo/load.ts";
import { get, succeeded, until } from "./agent_process.ts";
import { type Running, type Sandbox, withSandbox } from "./executable.ts";

interface Machine {
  readonly name: string;
  readonly data: string;
  readonly proxy: string;
  readonly running: Running;
}

const REPLICAS = 3;

async function startMachine(sandbox: Sandbox, name: string, ...args: string[]): Promise<Machine> {
  const data = path.join(sandbox.folder, name);
  await Deno.mkdir(data, { mode: 0o700, recursive: true });
  await sandbox.shareCache(data);
  const at = ["--http", "127.0.0.1:0", "--listen", "/ip4/127.0.0.1/tcp/0"];
  const running = sandbox.start("agent", "--json", "--data", data, "--name", name, ...at, ...args);
  const line = await running.line();
  if (line === null) assert.fail(`${name} did not start: ${(await running.ended).stderr}`);
  return { name, data, proxy: JSON.parse(line).proxy, running };
}

/** A release of the shop: `env` makes it another one, `code` is what its health check gets. */
async function writeManifest(sandbox: Sandbox, owner: string, release: string, code = 200) {
  await Deno.writeTextFile(
    path.join(sandbox.folder, "realm.toml"),
    `[owner]\npubkey = "${owner}"\n[realm]\nname = "shop"\n` +
      ["a", "b", "c"].map((name) => `[nodes.${name}]\ntags = ["t"]\n`).join("") +
      `[components.shop]\nsource = "file:./http-counter.wasm"\nworld = "wasi:http/proxy"\n` +
      `env = { RELEASE = "${release}" }\n` +
      `health = { http = "/status?code=${code}", interval_ms = 200, timeout_ms = 5_000, ` +
      `grace_ms = 1_000 }\n` +
      `[routing]\n"tag:t" = [{ path = "/...", component = "shop", replicas = ${REPLICAS}, ` +
      `max_surge = 1, max_unavailable = 0 }]\n`,
  );
}

const statusOf = async (sandbox: Sandbox, { data }: Machine): Promise<Status> =>
  succeeded(await sandbox.realm("status", "--json", "--data", data));

/** Waits until every machine says so of the rollout; the last says what they said. */
async function untilAll(
  sandbox: Sandbox,
  machines: readonly Machine[],
  what: string,
  holds: (rollout: NonNullable<Status["components"][number]["rollout"]>) => boolean,
) {
  const said = new Map<string, unknown>();
  try {
    await until(what, async () => {
      for (const machine of machines) {
        const { components, replicas } = await statusOf(sandbox, machine);
        const rollout = components[0]?.rollout;
        said.set(machine.name, { rollout, replicas: replicas.map(({ state }) => state) });
        if (!rollout || !holds(rollout)) return false;
      }
      return true;
    }, { everyMs: 300, atMostMs: 120_000 });
  } catch (error) {
    assert.fail(`${(error as Error).message}: ${JSON.stringify([...said], null, 1)}`);
  }
}

async function releasesOf(machines: readonly Machine[]): Promise<Set<string>> {
  const seen = new Set<string>();
  for (const { proxy } of machines) {
    for (let i = 0; i < 8; i++) {
      seen.add(/RELEASE=(\w+)/.exec(await get(`${proxy}/env`))?.[1] ?? "none");
    }
  }
  return seen;
}

Deno.test("three machines under load: a release rolls out, a bad one goes back, a machine drains", async (t) => {
  await withSandbox(async (sandbox) => {
    await sandbox.fixtures("http-counter");
    const home = path.join(sandbox.folder, "a");
    const init = await sandbox.realm("init", "--data", home, "--name", "shop", "--json");
    const { owner } = succeeded(init);
    const realm = (...words: string[]) => sandbox.realm(...words, "--json", "--data", home);
    const a = await startMachine(sandbox, "a", "--owner", owner);
    await writeManifest(sandbox, owner, "one");
    succeeded(await realm("apply", "realm.toml", "--yes"));
    const { ticket } = succeeded(await realm("invite"));
    const machines = [a];
    for (const name of ["b", "c"]) {
      machines.push(await startMachine(sandbox, name, "--ticket", ticket));
      await until(
        `${name} asks to join`,
        async () =>
          (await statusOf(sandbox, a)).nodes.some((n) => n.name === name && n.state === "pending"),
      );
      succeeded(await realm("nodes", "approve", name));
    }
    const spread = async () => {
      const { components } = await statusOf(sandbox, a);
      return components[0]!.placed.map(({ replicas }) => replicas).sort().join();
    };
    await until("a replica is placed on each", async () => await spread() === "1,1,1");
    await untilAll(
      sandbox,
      machines,
      "the first release is complete",
      ({ state, settled }) => state === "complete" && settled === REPLICAS,
    );

    const check = (body: string) => body.trim() === "ok" ? undefined : `body ${body}`;
    const loads = machines.map(({ name, proxy }) =>
      new Load([{ name, url: `${proxy}/healthz`, check: (body) => check(body) }])
    );
    const untilAsked = (what: string) =>
      until(what, () => loads.every(({ answered }) => answered > 50));

    await t.step("a new release comes to every machine", async () => {
      await untilAsked("there is load");
      await writeManifest(sandbox, owner, "two");
      const { version } = succeeded(await realm("apply", "realm.toml", "--yes"));
      await untilAll(
        sandbox,
        machines,
        "the second release is complete",
        (r) => r.version === version && r.state === "complete" && r.settled === REPLICAS,
      );
      assert.deepEqual(await releasesOf(machines), new Set(["two"]));
    });

    await t.step("a bad release goes back by itself, and says why", async () => {
      await writeManifest(sandbox, owner, "bad", 503);
      const { version } = succeeded(await realm("apply", "realm.toml", "--yes"));
      await untilAll(
        sandbox,
        machines,
        "all are back at the second release",
        ({ state, failure, settled }) =>
          state === "returned" && failure?.version === version && settled === REPLICAS,
      );
      assert.deepEqual(await releasesOf(machines), new Set(["two"]));
      const { evidence } = (await statusOf(sandbox, a)).components[0]!.rollout!.failure!;
      assert.match(evidence, /^GET \/status\?code=503: 503/);
    });

    await t.step("a machine that is drained gives its replica away first", async () => {
      succeeded(await realm("nodes", "drain", "c"));
      await until(
        "c runs nothing",
        async () => (await statusOf(sandbox, machines[2]!)).replicas.length === 0,
        { atMostMs: 60_000 },
      );
      await untilAll(
        sandbox,
        machines,
        "the others run all of it",
        ({ settled }) => settled === REPLICAS,
      );
    });

    await t.step("no request failed", async () => {
      for (const load of loads) await load.stop();
      const sums = loads.map(({ answered, lost }) => ({ answered, lost }));
      assert.ok(
        sums.every(({ answered, lost }) => answered > 100 && lost.length === 0),
        JSON.stringify(sums),
      );
    });
  });
});
