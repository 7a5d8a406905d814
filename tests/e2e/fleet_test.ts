/**
 * Eight machines (`FLEET` says how many): an apply reaches all; some are cut off while one is
 * applied, one is killed while another is; a newcomer comes with an empty disk. In the end all are
 * equal. `FLEET_REPORT=1` prints how long each took; nothing is judged by time.
 */
import assert from "node:assert/strict";
import * as path from "node:path";
import { connectControl, type ControlClient } from "../../agent/control/client.ts";
import { get, succeeded, until } from "./agent_process.ts";
import { type Running, type Sandbox, withSandbox } from "./executable.ts";

const SIZE = Number(Deno.env.get("FLEET") ?? 8);
/** How many are on the smaller side. */
const CUT = Math.floor((SIZE - 1) / 2);

interface Machine {
  readonly name: string;
  readonly data: string;
  readonly proxy: string;
  readonly control: ControlClient;
  readonly running: Running;
}

const patience = { everyMs: 20, atMostMs: 120_000 };

async function start(sandbox: Sandbox, name: string, ...words: string[]): Promise<Machine> {
  const data = path.join(sandbox.folder, name);
  await Deno.mkdir(data, { mode: 0o700, recursive: true });
  await sandbox.shareCache(data);
  const running = sandbox.start(
    // deno-fmt-ignore
    "agent",
    "--json",
    "--data",
    data,
    "--name",
    name,
    "--http",
    "127.0.0.1:0",
    "--listen",
    "/ip4/127.0.0.1/tcp/0",
    ...words,
  );
  const line = await running.line();
  if (line === null) assert.fail(`${name} did not start: ${(await running.ended).stderr}`);
  const { proxy } = JSON.parse(line);
  return { name, data, proxy, running, control: connectControl(path.join(data, "control.sock")) };
}

/** Whether these machines go by this version and have one log. */
async function agree(machines: readonly Machine[], version: number): Promise<boolean> {
  const seen = await Promise.all(machines.map(async ({ control }) => {
    const { manifest, nodes } = await control.status();
    return `${manifest?.version} ${nodes[0]!.state} ${nodes[0]!.heads}`;
  }));
  return seen[0]!.startsWith(`${version} approved `) && seen.every((each) => each === seen[0]);
}

function report(what: string, times: readonly number[]): void {
  if (Deno.env.get("FLEET_REPORT") === undefined) return;
  const sorted = times.toSorted((a, b) => a - b).map(Math.round);
  console.log(`${what}: median ${sorted[sorted.length >> 1]} ms of ${sorted.join(", ")}`);
}

Deno.test(`${SIZE} machines: applies, a cut, a kill and a newcomer end in equal logs`, async (t) => {
  await withSandbox(async (sandbox) => {
    await sandbox.fixtures("http-hello");
    const home = path.join(sandbox.folder, "m0");
    const { owner } = succeeded(await sandbox.realm("init", "--data", home, "--json"));
    const names = Array.from({ length: SIZE + 1 }, (_, i) => `m${i}`);
    let version = 0;
    const write = () =>
      Deno.writeTextFile(
        path.join(sandbox.folder, "realm.toml"),
        `# ${version + 1}\n[owner]\npubkey = "${owner}"\n` +
          names.map((name) => `[nodes.${name}]\ntags = ["all"]\n`).join("") +
          `[components.hello]\nsource = "file:./http-hello.wasm"\nworld = "wasi:http/proxy"\n` +
          `[routing]\n"tag:all" = [{ path = "/hello", component = "hello", replicas = 3 }]\n`,
      );
    /** Applies on the first machine; milliseconds from the event's being there to all of these. */
    const apply = async (machines: readonly Machine[]): Promise<number> => {
      await write();
      const words = ["apply", "realm.toml", "--yes", "--json", "--data", home];
      const applied = sandbox.realm(...words);
      const { control } = machines[0]!;
      version++;
      const has = async () => (await control.status()).manifest?.version === version;
      await until("the first has it", has, patience);
      const began = performance.now();
      await until("all have it", () => agree(machines, version), patience);
      const took = performance.now() - began;
      succeeded(await applied);
      return took;
    };

    const all = [await start(sandbox, "m0", "--owner", owner)];
    try {
      await t.step("all join and agree", async () => {
        await apply(all);
        const { ticket } = succeeded(await sandbox.realm("invite", "--data", home, "--json"));
        for (const name of names.slice(1, SIZE)) {
          all.push(await start(sandbox, name, "--ticket", ticket));
        }
        await until(
          "all ask",
          async () =>
            (await all[0]!.control.nodes()).filter(({ state }) => state === "pending").length ===
              SIZE - 1,
          patience,
        );
        const words = ["nodes", "approve", ...names.slice(1, SIZE), "--data", home];
        assert.equal((await sandbox.realm(...words)).status, 0);
        await until("all agree", () => agree(all, version), patience);
      });

      await t.step("applies reach all", async () => {
        const times: number[] = [];
        for (let i = 0; i < 5; i++) times.push(await apply(all));
        report("apply reached all", times);
        for (const { proxy } of all) assert.equal(await get(`${proxy}/hello`), "200 hello");
      });

      await t.step(
        `${CUT} are cut off while one is applied, and have it when they are back`,
        async () => {
          const away = all.slice(-CUT);
          for (const { running } of away) running.kill("SIGSTOP");
          try {
            await apply(all.slice(0, -CUT));
          } finally {
            for (const { running } of away) running.kill("SIGCONT");
          }
          const began = performance.now();
          await until("all agree", () => agree(all, version), patience);
          report("equal after the cut", [performance.now() - began]);
        },
      );

      await t.step("one is killed while one is applied, and has it when it is back", async () => {
        const victim = all.pop()!;
        const applied = apply(all);
        victim.running.kill("SIGKILL");
        victim.control.close();
        await victim.running.ended;
        await applied;
        all.push(await start(sandbox, victim.name));
        const began = performance.now();
        await until("all agree", () => agree(all, version), patience);
        report("equal after the kill", [performance.now() - began]);
      });

      await t.step("a newcomer with an empty disk is complete", async () => {
        const { ticket } = succeeded(await sandbox.realm("invite", "--data", home, "--json"));
        const name = names[SIZE]!;
        all.push(await start(sandbox, name, "--ticket", ticket));
        const asks = async () => (await all[0]!.control.nodes()).some((node) => node.name === name);
        await until("it asks", asks, patience);
        const began = performance.now();
        const words = ["nodes", "approve", name, "--data", home];
        assert.equal((await sandbox.realm(...words)).status, 0);
        await until("all agree", () => agree(all, version), patience);
        report("newcomer complete", [performance.now() - began]);
      });
    } finally {
      for (const { control } of all) control.close();
    }
  });
});
