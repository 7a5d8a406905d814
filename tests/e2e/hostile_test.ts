/**
 * Hostile components beside a neighbour that serves: each is stopped by its own limit, the
 * neighbour loses no request, and the agent is afterwards what it was before.
 */
import assert from "node:assert/strict";
import * as path from "node:path";
import { Load } from "../../cli/demo/load.ts";
import {
  type AgentProcess,
  initRealm,
  NODE,
  sleep,
  startAgent,
  statusOf,
  succeeded,
  until,
  untilRunning,
} from "./agent_process.ts";
import { withSandbox } from "./executable.ts";

const MIB = 1024 * 1024;
/** So often hostile instances are started, all taken together. */
const STARTS = 30;
/** What the agent may keep of them: the engine's own caches, and memory that nobody gave back. */
const KEPT_BYTES_MAX = 64 * MIB;

/** A hostile fixture: its arguments, more of its manifest, and the ends that are right. */
interface Hostile {
  readonly args?: string;
  readonly more?: string;
  readonly ends: RegExp;
}

const HOSTILE: Readonly<Record<string, Hostile>> = {
  spin: { ends: /^epoch-timeout$/ },
  "catch-all": { ends: /^epoch-timeout$/ },
  bulk: { more: "memory_max_mb = 256", ends: /^epoch-timeout$/ },
  grow: { args: "trap", ends: /^memory-limit$/ },
  "table-grow": { ends: /^memory-limit$/ },
  recurse: { args: "frames", ends: /^trap$/ },
  "fork-handles": { args: "streams", ends: /^(trap|exit \d+|epoch-timeout)$/ },
  "open-all": { ends: /^exit 0$/ },
  escape: { more: 'mounts = [{ volume = "escape", guest = "/data" }]', ends: /^exit 0$/ },
};

const NEIGHBOUR = `
[components.neighbour]
source = "file:./http-hello.wasm"
world = "wasi:http/proxy"
[routing]
"${NODE}" = [{ path = "/", component = "neighbour" }]
`;

/**
 * A slice is wall time, which passes for who is kept from the processor, too: it is short only for
 * those that it ends.
 */
const hostile = ([name, { args, more = "memory_max_mb = 16", ends }]: [string, Hostile]) => `
[components.${name}]
source = "file:./${name}.wasm"
world = "wasi:cli/command"
${more}
epoch_timeout_ms = ${ends.test("epoch-timeout") ? 100 : 30_000}
args = ${JSON.stringify(args === undefined ? [] : [args])}
`;

/** Never ends by itself, and is not killed for what it writes: it is only slow. */
const FLOOD = `
[components.flood]
source = "file:./flood.wasm"
world = "wasi:cli/command"
fuel_per_sec = 20_000_000
`;

Deno.test("hostile components harm neither their neighbour nor the agent", async () => {
  await withSandbox(async (sandbox) => {
    const { realm, folder } = sandbox;
    await sandbox.fixtures("http-hello", "flood", ...Object.keys(HOSTILE));
    const owner = await initRealm(sandbox, NEIGHBOUR);
    const toml = path.join(folder, "realm.toml");
    const peaceful = await Deno.readTextFile(toml);
    const apply = async (text: string) => {
      await Deno.writeTextFile(toml, text);
      succeeded(await realm("apply", toml, "--yes", "--json"));
    };
    const all = peaceful + Object.entries(HOSTILE).map(hostile).join("") + FLOOD;

    // One agent compiles everything; the next finds it in the cache and has no use for a compiler.
    const first = await startAgent(sandbox, "--owner", owner);
    await apply(all);
    first.kill("SIGTERM");
    await first.ended;

    const agent = await startAgent(sandbox);
    await untilRunning(sandbox, "neighbour");
    const load = new Load([1, 2].map((lane) => ({
      name: `lane ${lane}`,
      url: `${agent.proxy}/`,
      check: (body) => body === "hello\n" ? undefined : `body ${JSON.stringify(body)}`,
    })));
    await ends(1); // What the engine keeps of a component stays: it is no leak.
    await apply(peaceful);
    const before = await settled(agent);

    await apply(all);
    const replicas = await ends(Math.ceil(STARTS / Object.keys(HOSTILE).length));
    for (const [name, { ends }] of Object.entries(HOSTILE)) {
      const { exit } = replicas.find((r) => r.component === name)!.lastExit!;
      const end = exit.kind === "trap"
        ? exit.code
        : exit.kind === "exit"
        ? `exit ${exit.status}`
        : "";
      assert.match(end, ends, `${name} ended with ${end}`);
    }
    const flood = replicas.find((r) => r.component === "flood")!;
    assert.equal(flood.state, "running");
    await apply(peaceful);
    // The collector takes its time on a busy machine; a Worker that stayed would stay for good.
    const after = await until(
      `${mib(KEPT_BYTES_MAX)} MiB or less are kept of ${mib(before)}`,
      () => {
        const bytes = memoryOf(agent);
        return bytes - before < KEPT_BYTES_MAX && bytes;
      },
    );
    await load.stop();
    console.log(
      `${load.answered} requests; agent ${mib(before)} MiB before, ${mib(after)} MiB after`,
    );
    assert.deepEqual(load.lost, []);
    agent.kill("SIGTERM");
    assert.equal((await agent.ended).status, 0);

    /** Waits until each was started so often; the replicas then. */
    async function ends(starts: number) {
      return await until(`each was started ${starts} times`, async () => {
        const { replicas } = await statusOf(sandbox);
        const done = Object.keys(HOSTILE).every((name) => {
          const replica = replicas.find((r) => r.component === name);
          return (replica?.restarts ?? 0) >= starts - 1 && replica!.lastExit !== null;
        });
        return done && replicas;
      }, { atMostMs: 60_000 });
    }
  });
});

/** Has a core for itself for as long as it likes: nothing but the scheduler of the system limits it. */
const SPINNER = `
[components.spinner]
source = "file:./spin.wasm"
world = "wasi:cli/command"
epoch_timeout_ms = 600_000
`;

/** Requests of {@link offered}, for each second of it. */
const OFFERED_PER_SEC = 100;
const WINDOW_MS = 2_000;

Deno.test("a neighbour answers every request while each hostile component has its turn", async () => {
  await withSandbox(async (sandbox) => {
    const { realm, folder } = sandbox;
    await sandbox.fixtures("http-hello", "flood", ...Object.keys(HOSTILE));
    const owner = await initRealm(sandbox, NEIGHBOUR);
    const toml = path.join(folder, "realm.toml");
    const peaceful = await Deno.readTextFile(toml);
    const apply = async (text: string) => {
      await Deno.writeTextFile(toml, text);
      succeeded(await realm("apply", toml, "--yes", "--json"));
    };
    const all: [name: string, text: string][] = [
      ...Object.entries(HOSTILE).map((entry): [string, string] => [entry[0], hostile(entry)]),
      ["flood", FLOOD],
      ["spinner", SPINNER],
    ];
    const everything = all.map(([, text]) => text).join("");
    const agent = await startAgent(sandbox, "--owner", owner);
    // Everything is compiled once, so that what is measured is what they do.
    await apply(peaceful + everything);
    await untilStarted(...all.map(([name]) => name));
    await apply(peaceful);
    await untilRunning(sandbox, "neighbour");
    await offered(agent.proxy);
    for (const [name, text] of [...all, ["all at once", everything]] as const) {
      const before = await offered(agent.proxy);
      await apply(peaceful + text);
      if (text !== everything) await untilStarted(name);
      const during = await offered(agent.proxy);
      const replicas = (await statusOf(sandbox)).replicas;
      const restarts = replicas.reduce((sum, { restarts }) => sum + restarts, 0);
      await apply(peaceful);
      const ratio = (during.perSec / before.perSec).toFixed(3);
      console.log(
        `${name.padEnd(12)} ${ratio} of the throughput (${during.perSec.toFixed(1)}/s), median ` +
          `${before.medianMs.toFixed(1)} -> ${during.medianMs.toFixed(1)} ms, ` +
          `99 % ${before.lateMs.toFixed(0)} -> ${during.lateMs.toFixed(0)} ms, ` +
          `${restarts} restarts`,
      );
    }
    agent.kill("SIGTERM");
    assert.equal((await agent.ended).status, 0);

    async function untilStarted(...names: string[]) {
      await until(`${names} were started`, async () => {
        const { replicas } = await statusOf(sandbox);
        return names.every((name) => {
          const replica = replicas.find((r) => r.component === name);
          return replica?.lastExit != null || replica?.state === "running";
        });
      }, { atMostMs: 60_000 });
    }
  });
});

/**
 * Offers requests at a steady rate, whether or not those before were answered, and waits for every
 * answer: so many were answered each second, and took so long.
 */
async function offered(proxy: string) {
  const times: number[] = [];
  const asked: Promise<void>[] = [];
  const from = performance.now();
  const count = OFFERED_PER_SEC * WINDOW_MS / 1000;
  for (let i = 0; i < count; i++) {
    const late = from + i * 1000 / OFFERED_PER_SEC - performance.now();
    if (late > 0) await sleep(late);
    asked.push((async () => {
      const askedMs = performance.now();
      const response = await fetch(`${proxy}/`, { signal: AbortSignal.timeout(60_000) });
      assert.equal(await response.text(), "hello\n");
      times.push(performance.now() - askedMs);
    })());
  }
  await Promise.all(asked);
  const perSec = times.length / (performance.now() - from) * 1000;
  times.sort((a, b) => a - b);
  return { perSec, medianMs: times[count >> 1]!, lateMs: times[Math.floor(count * 0.99)]! };
}

const mib = (bytes: number) => Math.round(bytes / MIB);

/** Resident memory of the agent, in bytes. */
function memoryOf({ pid }: AgentProcess): number {
  const status = Deno.readTextFileSync(`/proc/${pid}/status`);
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)![1]) * 1024;
}

/** Memory of the agent, once it does not get less any more. */
async function settled(agent: AgentProcess): Promise<number> {
  let least = Infinity;
  for (let same = 0; same < 4;) {
    await sleep(500);
    const bytes = memoryOf(agent);
    if (bytes < least - MIB) same = 0;
    else same++;
    least = Math.min(least, bytes);
  }
  return least;
}
