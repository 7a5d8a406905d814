/**
 * Keeps a number of instances idle in this process and prints what they take, as
 * {@link MemorySample} in JSON:
 * `memory_probe.ts CACHE FILE.wasm commands|replicas|instances|idle N [SECONDS]`, where the seconds
 * are how long they are idle before it is measured once more.
 *
 * @module
 */
import { createEngine } from "../agent/local_engine.ts";
import { NO_NETWORK, type Replica, type StartOptions, type World } from "../agent/kernel/ports.ts";

/**
 * What is there N times: commands or replicas in a Worker each, or instances that share one: with a
 * request that sleeps, or idle after it.
 */
export type Kind = "commands" | "replicas" | "instances" | "idle";

/** Memory of the process in MiB, before and with the instances. */
export interface MemorySample {
  /** Resident. */
  readonly beforeMib: number;
  readonly withMib: number;
  /** After the instances were idle for as long as was asked. */
  readonly idleMib?: number;
  /** Of that what no other mapping of the same page is counted for, where Linux says so. */
  readonly beforeProportionalMib?: number;
  readonly idleProportionalMib?: number;
}

/** Room for a thousand instances, of which each declares more than a MiB. */
const LIMITS = { memoryBytesMax: 4 * 2 ** 30, fuelPerSec: 1e9, epochTimeoutMs: 1000 };
/** Until what starting left behind is settled. */
const SETTLE_MS = 1_000;
/** Long enough to be measured in. */
const SLEEP = "/slow?ms=20000";
/** Long enough that every request has an instance of its own. */
const NAP = "/slow?ms=5000";

function options(world: World, maxConcurrency: number): StartOptions {
  return {
    world,
    grants: {
      args: [],
      env: [],
      mounts: [],
      clock: true,
      random: true,
      stdio: true,
      network: NO_NETWORK,
      config: [],
      keyvalue: false,
    },
    limits: LIMITS,
    maxConcurrency,
    stdio: {
      terminal: { stdin: false, stdout: false, stderr: false },
      read: () => new Promise(() => {}),
      write: () => {},
    },
    notice: (text) => console.error(text),
  };
}

/** One that nobody gives up. */
function request(replica: Replica, path: string) {
  return replica.handle({
    method: "GET",
    url: `http://bench.invalid${path}`,
    headers: [],
    body: null,
    signal: new AbortController().signal,
  });
}

async function settled(ms = SETTLE_MS): Promise<number> {
  await new Promise((resolve) => setTimeout(resolve, ms));
  return Deno.memoryUsage().rss / 2 ** 20;
}

/** What is mapped several times, as V8 does with its own code for every Worker, counts once. */
function proportionalMib(): number | undefined {
  try {
    const [, kib] = /^Pss: +(\d+) kB$/m.exec(Deno.readTextFileSync("/proc/self/smaps_rollup"))!;
    return Number(kib) / 1024;
  } catch {
    return undefined;
  }
}

if (import.meta.main) {
  const [cache, file, kind, number, seconds] = Deno.args as [string, string, Kind, string, string?];
  const count = Number(number);
  // As an agent does: a thread that spawns, one Worker ready, another in its place once it is taken.
  const engine = createEngine(cache, { spawner: true, warmWorkers: 1 });
  const prepared = await engine.prepare(await Deno.readFile(file));
  const world = kind === "commands" ? "wasi:cli/command" : "wasi:http/proxy";
  const start = () => engine.start(prepared, options(world, count));
  let beforeMib: number, before: number | undefined;
  if (kind === "instances" || kind === "idle") {
    const replica = await start();
    await request(replica, "/healthz");
    beforeMib = await settled();
    before = proportionalMib();
    const path = kind === "idle" ? NAP : SLEEP;
    const answers = Array.from({ length: count }, () => request(replica, path));
    if (kind === "idle") {
      for (const { status } of await Promise.all(answers)) {
        if (status !== 200) throw new Error(`A request was answered with ${status}`);
      }
    } else for (const answer of answers) answer.catch(() => {});
  } else {
    beforeMib = await settled();
    before = proportionalMib();
    for (let i = 0; i < count; i++) await start();
  }
  const withMib = await settled();
  const sample: MemorySample = { beforeMib, withMib };
  if (seconds === undefined) console.log(JSON.stringify(sample));
  else {
    const idleMib = await settled(Number(seconds) * 1000);
    const idle = proportionalMib();
    console.log(JSON.stringify(
      {
        ...sample,
        idleMib,
        ...before !== undefined && idle !== undefined &&
          { beforeProportionalMib: before, idleProportionalMib: idle },
      } satisfies MemorySample,
    ));
  }
  Deno.exit(0); // what sleeps need not be woken
}
