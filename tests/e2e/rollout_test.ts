/**
 * Rollouts over three machines under load: a new release comes, a bad one goes back by itself, blue
 * becomes green, a machine is drained and another dies, and no request fails. With `SLOW` set `wrk` asks as fast as it
 * can besides.
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

/** A label of the shop: `release` is in its environment, `code` what its health check gets. */
interface Label {
  readonly release: string;
  readonly code?: number;
  readonly weight?: number;
}

async function writeManifest(
  sandbox: Sandbox,
  owner: string,
  labels: Readonly<Record<string, Label>>,
): Promise<void> {
  const components = Object.entries(labels).map(([label, { release, code = 200 }]) =>
    `[components."shop@${label}"]\nsource = "file:./http-counter.wasm"\n` +
    `world = "wasi:http/proxy"\nenv = { RELEASE = "${release}" }\n` +
    `health = { http = "/status?code=${code}", interval_ms = 200, timeout_ms = 5_000, ` +
    `grace_ms = 1_000 }\n`
  );
  const routes = Object.entries(labels).map(([label, { weight = 100 }]) =>
    `{ path = "/...", component = "shop@${label}", replicas = ${REPLICAS}, max_surge = 1, ` +
    `max_unavailable = 0, weight = ${weight} }`
  );
  await Deno.writeTextFile(
    path.join(sandbox.folder, "realm.toml"),
    `[owner]\npubkey = "${owner}"\n[realm]\nname = "shop"\n` +
      ["a", "b", "c"].map((name) => `[nodes.${name}]\ntags = ["t"]\n`).join("") +
      `${components.join("")}[routing]\n"tag:t" = [${routes.join(", ")}]\n`,
  );
}

/** All that `wrk` can ask for, until it is stopped; what it found wrong. */
function wrk(url: string): () => Promise<string> {
  const child = new Deno.Command("wrk", {
    args: ["-t1", "-c4", "-d3600s", "--timeout", "60s", url],
    stdout: "piped",
  }).spawn();
  return async () => {
    child.kill("SIGINT");
    const { stdout } = await child.output();
    const text = new TextDecoder().decode(stdout);
    console.log(text);
    return /^.*(?:Non-2xx|Socket errors).*$/m.exec(text)?.[0] ?? "";
  };
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
        const rollouts = components.map(({ rollout }) => rollout);
        said.set(machine.name, { rollouts, replicas: replicas.map(({ state }) => state) });
        if (!rollouts.every((rollout) => rollout !== null && holds(rollout))) return false;
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

Deno.test("three machines under load: releases roll out, a bad one goes back, blue becomes green, a machine drains", async (t) => {
  await withSandbox(async (sandbox) => {
    await sandbox.fixtures("http-counter");
    const home = path.join(sandbox.folder, "a");
    const init = await sandbox.realm("init", "--data", home, "--name", "shop", "--json");
    const { owner } = succeeded(init);
    const realm = (...words: string[]) => sandbox.realm(...words, "--json", "--data", home);
    const a = await startMachine(sandbox, "a", "--owner", owner);
    await writeManifest(sandbox, owner, { blue: { release: "one" } });
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
    // As much as there is at once is not for every machine.
    const stopWrk = Deno.env.get("SLOW") === undefined ? undefined : wrk(`${a.proxy}/healthz`);
    const untilAsked = (what: string) =>
      until(what, () => loads.every(({ answered }) => answered > 50));

    await t.step("a new release comes to every machine", async () => {
      await untilAsked("there is load");
      await writeManifest(sandbox, owner, { blue: { release: "two" } });
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
      await writeManifest(sandbox, owner, { blue: { release: "bad", code: 503 } });
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

    await t.step("blue is followed by green", async () => {
      const apply = async (labels: Readonly<Record<string, Label>>) => {
        await writeManifest(sandbox, owner, labels);
        const { version } = succeeded(await realm("apply", "realm.toml", "--yes", "--wait"));
        await untilAll(
          sandbox,
          machines,
          `version ${version} is complete`,
          (r) => r.version === version && r.state === "complete" && r.settled === REPLICAS,
        );
      };
      const blue = { release: "two" };
      const green = { release: "three" };
      await apply({ blue: { ...blue, weight: 90 }, green: { ...green, weight: 10 } });
      await apply({ blue: { ...blue, weight: 0 }, green: { ...green, weight: 100 } });
      assert.deepEqual(await releasesOf(machines), new Set(["three"]));
      await apply({ green });
      assert.deepEqual(await releasesOf(machines), new Set(["three"]));
    });

    await t.step("a version of before comes again", async () => {
      const { failed } = succeeded(await realm("rollback", "2", "--yes", "--wait"));
      assert.deepEqual(failed, []);
      await untilAll(
        sandbox,
        machines,
        "the second release is there again",
        ({ state, settled }) => state === "complete" && settled === REPLICAS,
      );
      assert.deepEqual(await releasesOf(machines), new Set(["two"]));
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

    await t.step("a machine that dies is replaced by those that are left", async () => {
      succeeded(await realm("nodes", "undrain", "c"));
      await until("a replica is on each again", async () => await spread() === "1,1,1");
      await untilAll(
        sandbox,
        machines,
        "all of it runs again",
        ({ state, settled }) => state === "complete" && settled === REPLICAS,
      );
      await loads[1]!.stop(); // it asks the machine that dies
      machines[1]!.running.kill("SIGKILL");
      await machines[1]!.running.ended;
      const left = [machines[0]!, machines[2]!];
      await until("the placement is without it", async () => await spread() === "1,2");
      await untilAll(
        sandbox,
        left,
        "those that are left run all of it",
        ({ settled, wanted }) => wanted === REPLICAS && settled === REPLICAS,
      );
    });

    await t.step("no request failed", async () => {
      for (const load of loads) await load.stop();
      assert.equal(await stopWrk?.() ?? "", "");
      const sums = loads.map(({ answered, lost }) => ({ answered, lost }));
      assert.ok(
        sums.every(({ answered, lost }) => answered > 100 && lost.length === 0),
        JSON.stringify(sums),
      );
    });
  });
});
