/**
 * Starts a command in this process again and again and prints how long it took, as
 * {@link StartSamples} in JSON: `start_probe.ts FILE.wasm SAMPLES`.
 *
 * @module
 */
import { type Engine, NO_NETWORK } from "../agent/kernel/ports.ts";
import { createEngine } from "../agent/local_engine.ts";
import { createProcessEngine } from "../agent/local_process_engine.ts";

/** One start, in milliseconds since the one before. */
export interface StartSample {
  readonly prepareMs: number;
  readonly startMs: number;
  readonly exitMs: number;
  readonly totalMs: number;
}

/** By what was there already. */
export interface StartSamples {
  /** A cache on disk. */
  readonly coldWorker: readonly StartSample[];
  /** A cache on disk and a Worker. */
  readonly compileCache: readonly StartSample[];
  /** The component in memory, and started before: the next is made ahead. */
  readonly warmPool: readonly StartSample[];
  /** A cache on disk; a process of its own. */
  readonly process: readonly StartSample[];
}

/** Time for a spare Worker to load its code; nothing tells when it did. */
const WARM_UP_MS = 300;
/** Until one is made ahead, and V8 has seen the way there. */
const WARM_UP_STARTS = 3;

async function start(engine: Engine, bytes: Uint8Array): Promise<StartSample> {
  const from = performance.now();
  const prepared = await engine.prepare(bytes);
  const preparedAt = performance.now();
  const replica = await engine.start(prepared, {
    world: "wasi:cli/command",
    grants: {
      args: ["hello"],
      env: [],
      mounts: [],
      clock: true,
      random: true,
      stdio: true,
      network: NO_NETWORK,
      config: [],
      keyvalue: false,
    },
    limits: { memoryBytesMax: 128 << 20, fuelPerSec: 1e9, epochTimeoutMs: 1000 },
    stdio: {
      terminal: { stdin: false, stdout: false, stderr: false },
      read: () => Promise.resolve(null),
      write: () => {},
    },
    notice: (text) => console.error(text),
  });
  const startedAt = performance.now();
  const exit = await replica.exited;
  const exitedAt = performance.now();
  if (exit.kind !== "exit" || exit.status !== 0) throw new Error(JSON.stringify(exit));
  return {
    prepareMs: preparedAt - from,
    startMs: startedAt - preparedAt,
    exitMs: exitedAt - startedAt,
    totalMs: exitedAt - from,
  };
}

if (import.meta.main) {
  const bytes = await Deno.readFile(Deno.args[0]!);
  const count = Number(Deno.args[1]);
  const folder = await Deno.makeTempDir({ prefix: "realm-bench-" });
  const idle = () => new Promise((resolve) => setTimeout(resolve, WARM_UP_MS));
  const first = createEngine(folder);
  await start(first, bytes); // fills the cache on disk
  await first.close();
  const coldWorker: StartSample[] = [];
  const compileCache: StartSample[] = [];
  const warmPool: StartSample[] = [];
  const inProcess: StartSample[] = [];
  const processes = createProcessEngine(folder);
  for (let i = 0; i < count; i++) {
    // A new engine knows nothing but what is on disk.
    const cold = createEngine(folder);
    coldWorker.push(await start(cold, bytes));
    await cold.close();
    const warm = createEngine(folder, { warmWorkers: 1 });
    await idle();
    compileCache.push(await start(warm, bytes));
    await warm.close();
    inProcess.push(await start(processes, bytes));
  }
  // On its own, as in an agent: the engines above leave behind what still ends.
  const keeper = createEngine(folder, { warmWorkers: 1 });
  for (let i = -WARM_UP_STARTS; i < count; i++) {
    await idle();
    const sample = await start(keeper, bytes);
    if (i >= 0) warmPool.push(sample);
  }
  await keeper.close();
  await processes.close();
  await Deno.remove(folder, { recursive: true });
  const samples: StartSamples = { coldWorker, compileCache, warmPool, process: inProcess };
  console.log(JSON.stringify(samples));
}
