/**
 * A long mixed load: requests of every kind while components are restarted, scaled and trap.
 * Nothing that was accepted is lost; memory and file descriptors of the agent stay what they are.
 *
 * `SOAK_MINUTES` says how long: half a minute when it is not set, 5 in continuous integration, 60
 * at full size. Memory is judged from 5 minutes on, strictly from 15 on.
 */
import assert from "node:assert/strict";
import * as path from "node:path";
import { connectControl } from "../../agent/control/client.ts";
import { Author } from "../../cli/author.ts";
import { Load } from "../../cli/demo/load.ts";
import { readKeyFile } from "../../cli/key_file.ts";
import { restartComponent, scaleComponent } from "../../cli/override.ts";
import { type AgentProcess, initRealm, NODE, sleep, startAgent, until } from "./agent_process.ts";
import { withSandbox } from "./executable.ts";

const MIB = 1024 * 1024;
const MINUTES = Number(Deno.env.get("SOAK_MINUTES") ?? 0.5);
/** From one restart to the next. */
const STEP_MS = 500;
/** A round: each step once. What is used is looked at between rounds. */
const STEPS_PER_ROUND = 15;
/**
 * By so much memory may be more in the last quarter of the time than in the second: over a quarter
 * of an hour and longer it is flat; before, heaps still fill up to where they are collected. What is
 * resident swings by a fifth from one collection to the next, and a leak lifts the least of it.
 */
const GROWTH_MAX = MINUTES < 15 ? 0.1 : 0.05;
const JUDGED_FROM_MINUTES = 5;
/** Connections come and go: so many descriptors more are no leak. */
const DESCRIPTORS_MAX = 8;
/**
 * Deno keeps two descriptors of each Worker that ended, so Workers are used again: of those that a
 * round starts, no more than so many end, and in all no more than so many: those that a peak needed
 * end after ten minutes.
 */
const STARTS_PER_ROUND = 16;
const ENDED_WORKERS_MAX = 0.05;
const ENDED_WORKERS_IN_ALL_MAX = 24;

const MANIFEST = `
[components.web]
source = "file:./http-hello.wasm"
world = "wasi:http/proxy"
[components.counter]
source = "file:./http-counter.wasm"
world = "wasi:http/proxy"
mounts = [{ volume = "counter", guest = "/data" }]
env = { SOAK = "1" }
[components.fresh]
source = "file:./http-counter.wasm"
world = "wasi:http/proxy"
instance_per_request = true
[components.tick]
source = "file:./worker.wasm"
world = "wasi:cli/command"
clock = true
args = ["0", "20"]
[components.spin]
source = "file:./spin.wasm"
world = "wasi:cli/command"
memory_max_mb = 16
epoch_timeout_ms = 50
[components.grow]
source = "file:./grow.wasm"
world = "wasi:cli/command"
memory_max_mb = 16
args = ["trap"]
[routing]
"${NODE}" = [
  { path = "/counter/...", component = "counter", strip_prefix = true },
  { path = "/fresh/...", component = "fresh", strip_prefix = true },
  { path = "/", component = "web", replicas = 2 },
]
`;

Deno.test("an agent under a long mixed load loses no request, and stays as large as it is", async () => {
  await withSandbox(async (sandbox) => {
    await sandbox.fixtures("http-hello", "http-counter", "worker", "spin", "grow");
    const owner = await initRealm(sandbox, MANIFEST);
    const agent = await startAgent(sandbox, "--owner", owner);
    const toml = path.join(sandbox.folder, "realm.toml");
    const applied = await sandbox.realm("apply", toml, "--yes");
    assert.equal(applied.status, 0, applied.stderr);
    const control = connectControl(path.join(sandbox.data, "control.sock"));
    const keyFile = path.join(sandbox.data, "owner.key");
    const author = new Author(await readKeyFile(keyFile), keyFile);
    const running = (component: string, replicas: number) =>
      until(`${replicas} of ${component} run`, async () => {
        const all = (await control.status()).replicas.filter((r) => r.component === component);
        return all.length === replicas && all.every(({ state }) => state === "running");
      });
    const allRun = () =>
      Promise.all([
        running("web", 2),
        running("counter", 1),
        running("fresh", 1),
        running("tick", 1),
      ]);
    await allRun();

    const { proxy } = agent;
    const text = "x".repeat(20_000);
    const equals = (wanted: string) => (body: string) =>
      body === wanted ? undefined : `${body.length} bytes: ${JSON.stringify(body.slice(0, 60))}`;
    let counted = 0;
    const load = new Load([
      { name: "hello 1", url: `${proxy}/`, check: equals("hello\n") },
      { name: "hello 2", url: `${proxy}/`, check: equals("hello\n") },
      {
        name: "count",
        url: `${proxy}/counter/`,
        check: (body) => {
          const [last, now] = [counted, Number(body)];
          counted = now;
          return now > last ? undefined : `counted ${now} after ${last}`;
        },
      },
      { name: "slow", url: `${proxy}/counter/slow?ms=40`, check: equals("slept 40\n") },
      {
        name: "events",
        url: `${proxy}/counter/stream?n=4&ms=20`,
        check: equals("data: 1\n\ndata: 2\n\ndata: 3\n\ndata: 4\n\n"),
      },
      {
        name: "big",
        url: `${proxy}/counter/big?bytes=200000`,
        check: (b) => equals("x".repeat(200_000))(b),
      },
      {
        name: "echo",
        url: `${proxy}/counter/echo`,
        request: { method: "POST", body: text },
        check: equals(text),
      },
      { name: "fresh", url: `${proxy}/fresh/env`, check: equals("") },
      { name: "fresh slow", url: `${proxy}/fresh/slow?ms=40`, check: equals("slept 40\n") },
      {
        name: "fresh echo",
        url: `${proxy}/fresh/echo`,
        request: { method: "POST", body: text },
        check: equals(text),
      },
    ]);
    const steps: (() => Promise<unknown>)[] = [
      () => restartComponent(control, author, "web"),
      () => restartComponent(control, author, "tick"),
      () => scaleComponent(control, author, "web", 3),
      () => restartComponent(control, author, "spin"),
      () => fetch(`${proxy}/counter/trap`).then((answer) => answer.body?.cancel()),
      () => restartComponent(control, author, "grow"),
      () => scaleComponent(control, author, "web", 1),
      () => restartComponent(control, author, "web"),
      () => leave(`${proxy}/counter/stream?n=1000&ms=10`),
      () => restartComponent(control, author, "counter"),
      () => restartComponent(control, author, "spin"),
      () => scaleComponent(control, author, "web", null),
      () => fetch(`${proxy}/fresh/trap`).then((answer) => answer.body?.cancel()),
      () => leave(`${proxy}/fresh/stream?n=1000&ms=10`),
      () => restartComponent(control, author, "fresh"),
    ];
    assert.equal(steps.length, STEPS_PER_ROUND);

    const used: { bytes: number; descriptors: number }[] = [];
    const end = performance.now() + MINUTES * 60_000;
    while (performance.now() < end || used.length < 3) {
      for (const step of steps) {
        await step();
        await sleep(STEP_MS);
      }
      await allRun();
      used.push(usedBy(agent));
    }
    await load.stop();
    if (load.lost.length > 0) {
      for (const name of ["web", "counter", "fresh"]) {
        console.log((await sandbox.realm("logs", name)).stdout);
      }
    }
    const { lost, answered } = load;
    const quarter = Math.floor(used.length / 4);
    const early = used.slice(quarter, 2 * quarter || 1);
    const late = used.slice(-quarter || -1);
    const bytes = (some: typeof used) => Math.min(...some.map((u) => u.bytes));
    const descriptors = (some: typeof used) => median(some.map((u) => u.descriptors));
    const growth = bytes(late) / bytes(early) - 1;
    console.log(
      `${answered} requests, ${used.length} rounds of ${STEPS_PER_ROUND} steps; memory ` +
        `${mib(bytes(early))} MiB, then ${mib(bytes(late))} MiB (${
          (growth * 100).toFixed(1)
        } %); ` +
        `descriptors ${descriptors(early)}, then ${descriptors(late)}`,
    );
    console.log(`MiB after each round: ${used.map((u) => mib(u.bytes)).join(" ")}`);
    assert.deepEqual(lost, []);
    const kept = 2 * Math.min(
      ENDED_WORKERS_MAX * STARTS_PER_ROUND * used.length,
      ENDED_WORKERS_IN_ALL_MAX,
    );
    const more = descriptors(late) - descriptors(early);
    assert.ok(more <= DESCRIPTORS_MAX + kept, "descriptors leak");
    if (MINUTES >= JUDGED_FROM_MINUTES) assert.ok(growth <= GROWTH_MAX, "memory grows");
    control.close();
    agent.kill("SIGTERM");
    assert.equal((await agent.ended).status, 0);
  });
});

/** Begins to read an answer, and goes away. */
async function leave(url: string): Promise<void> {
  const gone = new AbortController();
  const response = await fetch(url, { signal: gone.signal });
  await response.body!.getReader().read();
  gone.abort();
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1]!;
}

const mib = (bytes: number) => Math.round(bytes / MIB);

/** Resident memory of the agent in bytes, and its open file descriptors. */
function usedBy({ pid }: AgentProcess): { bytes: number; descriptors: number } {
  const status = Deno.readTextFileSync(`/proc/${pid}/status`);
  return {
    bytes: Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)![1]) * 1024,
    descriptors: [...Deno.readDirSync(`/proc/${pid}/fd`)].length,
  };
}
