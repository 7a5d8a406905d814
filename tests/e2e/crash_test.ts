/**
 * `kill -9` of the agent at any moment: what it said was done stays done, and nothing is corrupt.
 */
import assert from "node:assert/strict";
import * as path from "node:path";
import { DatabaseSync } from "node:sqlite";
import {
  get,
  initRealm,
  NODE,
  sleep,
  startAgent,
  statusOf,
  succeeded,
  until,
} from "./agent_process.ts";
import { run, type Sandbox, withSandbox } from "./executable.ts";

const ROUNDS = Deno.env.get("SLOW") ? 40 : 5;
/** An apply takes a few hundred milliseconds; the agent is killed before, during or after some. */
const KILL_MS_MAX = 1_500;

/** The manifest with a counter; `generation` makes each a new one, whose counter starts anew. */
const manifest = (generation: number) => `
[components.counter]
source = "file:./http-counter.wasm"
world = "wasi:http/proxy"
mounts = [{ volume = "counter", guest = "/data" }]
env = { GENERATION = "${generation}" }
[routing]
"${NODE}" = [{ path = "/...", component = "counter" }]
`;

Deno.test("an agent killed at any moment goes on with what it had", async () => {
  await withSandbox(async (sandbox) => {
    const { folder, data } = sandbox;
    await sandbox.fixtures("http-counter");
    const owner = await initRealm(sandbox, "");
    const head = await Deno.readTextFile(path.join(folder, "realm.toml"));
    const said = { version: 0, generation: 0, count: 0 };
    let generation = 0;
    let applied = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const killMs = Math.random() * KILL_MS_MAX;
      const about = `round ${round}, killed after ${killMs.toFixed(0)} ms`;
      const agent = await startAgent(sandbox, "--owner", owner);
      // The first one is killed when there is something to lose, however slow the machine.
      const loss = async () => {
        await until("there is something to lose", () => applied > 0 && said.count > 0, {
          atMostMs: 300_000,
        });
      };
      const dead = (round === 0 ? loss() : Promise.resolve()).then(() => sleep(killMs)).then(() => {
        agent.kill("SIGKILL");
        return agent.ended;
      });
      let isDead = false;
      dead.catch(() => {}).then(() => isDead = true);
      const ask = async () => {
        while (!isDead) {
          const answer = await get(`${agent.proxy}/`).catch(() => "gone");
          const count = /^200 (\d+)$/.exec(answer)?.[1];
          if (count !== undefined) {
            assert.ok(Number(count) > said.count, `${about}: ${count} after ${said.count}`);
            said.count = Number(count);
          } else await sleep(10);
        }
      };
      const apply = async () => {
        while (!isDead) {
          generation++;
          const version = await applyGeneration(sandbox, head, generation);
          if (version === undefined) continue;
          Object.assign(said, { version, generation });
          applied++;
        }
      };
      await Promise.all([ask(), apply(), dead]);

      // What is on the disk, before anything can mend it.
      const copy = path.join(folder, "copy.sqlite");
      for (const suffix of ["", "-wal"]) {
        await Deno.copyFile(path.join(data, `state.sqlite${suffix}`), `${copy}${suffix}`)
          .catch((error) => assert.ok(error instanceof Deno.errors.NotFound, about));
      }
      const store = new DatabaseSync(copy);
      assert.deepEqual({ ...store.prepare("PRAGMA integrity_check").get() }, {
        integrity_check: "ok",
      }, about);
      store.close();
      for (const suffix of ["", "-wal", "-shm"]) {
        await Deno.remove(`${copy}${suffix}`).catch(() => {});
      }

      const again = await startAgent(sandbox);
      assert.equal(again.owner, owner, about);
      const version = (await statusOf(sandbox)).manifest?.version ?? 0;
      // The last apply may have been done without anybody having heard of it.
      assert.ok(
        version === said.version || version === said.version + 1,
        `${about}: version ${version} is in force, ${said.version} was said`,
      );
      if (version > said.version) Object.assign(said, { version, generation });
      if (version > 0) {
        const env = await until("the counter answers", async () => {
          const answer = await get(`${again.proxy}/env`);
          return answer.startsWith("200 ") && answer;
        });
        assert.match(env, new RegExp(`GENERATION=${said.generation}$`, "m"), about);
        const count = Number((await get(`${again.proxy}/count`)).split(" ")[1]);
        // One request may have been counted whose answer was lost with the agent.
        assert.ok(count === said.count || count === said.count + 1, `${about}: ${count}`);
        said.count = count;
      }
      again.kill("SIGKILL");
      await again.ended;
      assert.deepEqual([...Deno.readDirSync(path.join(data, "blobs", "corrupt"))], [], about);
    }
    const agent = await startAgent(sandbox);
    const last = await applyGeneration(sandbox, head, generation + 1);
    assert.equal(last, said.version + 1, "it takes the next manifest");
    assert.ok(applied > 0 && said.count > 0, "something was applied and asked before the kills");
    agent.kill("SIGTERM");
    assert.equal((await agent.ended).status, 0);
  });
});

/** Applies one more manifest; its version, when the agent said that it is in force. */
async function applyGeneration(
  { folder, realm }: Sandbox,
  head: string,
  generation: number,
): Promise<number | undefined> {
  const file = path.join(folder, "realm.toml");
  await Deno.writeTextFile(file, head + manifest(generation));
  const { status, stdout, stderr } = await realm("apply", file, "--yes", "--json");
  if (status === 0) return JSON.parse(stdout).version;
  // Killed before, or in the middle.
  assert.equal(JSON.parse(stderr).error.code, "unreachable", stderr);
}

Deno.test("bytes of a component that the disk lost come with the next apply, though nothing changes", async () => {
  await withSandbox(async (sandbox) => {
    await sandbox.fixtures("http-counter");
    const owner = await initRealm(sandbox, manifest(1));
    const apply = () =>
      sandbox.realm("apply", "realm.toml", "--yes", "--wait", "--timeout", "60s", "--json");
    const agent = await startAgent(sandbox, "--owner", owner);
    assert.equal(succeeded(await apply()).applied, true);
    agent.kill("SIGKILL");
    await agent.ended;

    const { stdout } = await run("find", [path.join(sandbox.data, "blobs"), "-type", "f"]);
    const [blob] = stdout.trim().split("\n") as [string];
    const bytes = await Deno.readFile(blob);
    bytes[bytes.length >> 1]! ^= 1;
    await Deno.writeFile(blob, bytes);
    const again = await startAgent(sandbox);
    await until("the damage is found", () => Deno.lstat(blob).then(() => false, () => true));
    const { applied, version } = succeeded(await apply());
    assert.deepEqual([applied, version], [false, 1]);
    assert.equal(await get(`${again.proxy}/`), "200 1");
  });
});

Deno.test("an agent whose data folder is taken away says so and goes on with what runs", async () => {
  await withSandbox(async (sandbox) => {
    await sandbox.fixtures("http-hello");
    const component = `[components.hello]\nsource = "file:./http-hello.wasm"\n` +
      `world = "wasi:http/proxy"\n[routing]\n"${NODE}" = [{ path = "/...", component = "hello" }]\n`;
    const owner = await initRealm(sandbox, component);
    const agent = await startAgent(sandbox, "--owner", owner);
    succeeded(await sandbox.realm("apply", "realm.toml", "--yes", "--wait", "--json"));
    await Deno.rename(sandbox.data, `${sandbox.data}.away`);
    assert.match((await agent.errorLine())!, /^The data folder is gone, .*no such file/i);
    assert.equal(await get(`${agent.proxy}/`), "200 hello");
    await Deno.rename(`${sandbox.data}.away`, sandbox.data);
    assert.equal(await agent.errorLine(), "There is a data folder again");
    assert.equal((await statusOf(sandbox)).manifest?.version, 1);
    agent.kill("SIGTERM");
    const { status, stderr } = await agent.ended;
    assert.deepEqual([status, stderr], [0, "stopping\n"]);
  });
});
