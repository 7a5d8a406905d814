/**
 * Memory of idle instances.
 *
 * @module
 */
import * as esbuild from "esbuild";
import { V8_FLAGS_ARGUMENT } from "../scripts/v8_flags.ts";
import type { BenchContext, Benchmark } from "./bench.ts";
import type { Kind, MemorySample } from "./memory_probe.ts";
import {
  fixture,
  freePort,
  ROOT,
  runProcess,
  startProcess,
  startServer,
  withFolder,
} from "./programs.ts";
import { type Figure, figure, goal, type Table } from "./report.ts";

const COUNTS = [1, 8, 32];
/** How long instances are idle until V8 has given back what it needed to start them. */
const IDLE_SECONDS = 60;
const SETTLE_MS = 1_000;
const settle = () => new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
const CLI = ["-S", "cli"];

/**
 * The probe as a program of three files, as the executable has it: from source each Worker keeps 2 MiB
 * more for its modules.
 */
async function bundleProbe(folder: string): Promise<void> {
  await esbuild.build({
    absWorkingDir: ROOT,
    entryPoints: [
      "bench/memory_probe.ts",
      "agent/runtime/worker.ts",
      "agent/runtime/spawner_worker.ts",
    ],
    outdir: folder,
    entryNames: "[name]",
    bundle: true,
    format: "esm",
    platform: "node",
    target: "esnext",
    tsconfigRaw: {},
    minifySyntax: true,
    minifyWhitespace: true,
    logLevel: "warning",
  });
  await esbuild.stop();
}

/** What each instance adds, in MiB. */
interface Added {
  readonly resident: number;
  /** After {@link IDLE_SECONDS}, where it was asked for. */
  readonly idle: number;
  readonly idleProportional: number;
}

/** `program` is the folder of {@link bundleProbe}, or that of the source. */
async function probe(
  program: string,
  cache: string,
  component: string,
  kind: Kind,
  count: number,
  isIdle = false,
): Promise<Added> {
  const { stdout } = await runProcess([
    Deno.execPath(),
    "run",
    "-A",
    V8_FLAGS_ARGUMENT,
    `--config=${ROOT}/deno.json`,
    program === ROOT ? `${ROOT}/bench/memory_probe.ts` : `${program}/memory_probe.js`,
    cache,
    fixture(component),
    kind,
    String(count),
    ...isIdle ? [String(IDLE_SECONDS)] : [],
  ]);
  const sample: MemorySample = JSON.parse(stdout);
  const added = (before = NaN, after = NaN) => (after - before) / count;
  return {
    resident: added(sample.beforeMib, sample.withMib),
    idle: added(sample.beforeMib, sample.idleMib),
    idleProportional: added(sample.beforeProportionalMib, sample.idleProportionalMib),
  };
}

/** Resident and proportional memory of processes, for each. */
async function processes(argv: readonly string[], count: number) {
  const running = Array.from({ length: count }, () => startProcess(argv, { stdin: "piped" }));
  try {
    await settle();
    const memory = await Promise.all(running.map((each) => each.memory()));
    const mean = (key: "rssMib" | "pssMib") =>
      memory.reduce((sum, m) => sum + (m?.[key] ?? NaN), 0) / count;
    return { rssMib: mean("rssMib"), pssMib: mean("pssMib") };
  } finally {
    await Promise.all(running.map((each) => each.stop()));
  }
}

/** What `count` requests that sleep add to `wasmtime serve`, for each. */
async function sleepers(wasmtime: string, count: number): Promise<number> {
  const port = freePort();
  const address = `127.0.0.1:${port}`;
  const server = await startServer(
    [wasmtime, "serve", ...CLI, `--addr=${address}`, fixture("http-counter")],
    `http://${address}/healthz`,
  );
  const leave = new AbortController();
  try {
    await settle();
    const before = await server.memory();
    const asked = Array.from(
      { length: count },
      () =>
        fetch(`http://${address}/slow?ms=20000`, { signal: leave.signal }).then(
          (response) => response.body?.cancel(),
          () => {},
        ),
    );
    await settle();
    const after = await server.memory();
    leave.abort();
    await Promise.all(asked);
    return ((after?.rssMib ?? NaN) - (before?.rssMib ?? NaN)) / count;
  } finally {
    await server.stop();
  }
}

async function perInstance(context: BenchContext, folder: string): Promise<Table> {
  const { programs: { wasmtime }, quick, note } = context;
  const rounds = quick ? 1 : 3;
  const sampled = async <T>(measure: () => Promise<T>): Promise<T[]> => {
    const samples: T[] = [];
    for (let i = 0; i < rounds; i++) samples.push(await measure());
    return samples;
  };
  const mib = (samples: readonly number[]): Figure | undefined =>
    figure(samples.filter((value) => !Number.isNaN(value)), "MiB");
  const ours = async (name: string, component: string, kind: Kind) => {
    note(`memory: ${name}`);
    const cells: (Figure | undefined)[] = [];
    let last: Added[] = [];
    for (const count of COUNTS) {
      const isLast = count === COUNTS.at(-1);
      last = await sampled(() =>
        probe(folder, `${folder}/cache`, component, kind, count, isLast && kind !== "instances")
      );
      cells.push(mib(last.map(({ resident }) => resident)));
    }
    const idle = mib(last.map(({ idle }) => idle));
    const proportional = mib(last.map(({ idleProportional }) => idleProportional));
    return [
      name,
      ...cells,
      idle,
      proportional,
      goal(proportional ?? idle ?? cells.at(-1), "at most", 16),
    ] as const;
  };
  const peers = async (name: string, measure: (count: number) => Promise<number>) => {
    note(`memory: ${name}`);
    const cells: (Figure | undefined)[] = [];
    for (const count of COUNTS) cells.push(mib(await sampled(() => measure(count))));
    return [name, ...cells, undefined, undefined, undefined] as const;
  };
  const rows: Table["rows"][number][] = [
    await ours("command, a Worker each", "cat", "commands"),
    await ours("handler, a Worker each", "http-hello", "replicas"),
    await ours("handler, instances in one Worker", "http-counter", "instances"),
  ];
  if (wasmtime !== undefined) {
    rows.push(
      await peers(
        "wasmtime run, a process each",
        async (n) => (await processes([wasmtime, "run", fixture("cat")], n)).pssMib,
      ),
      await peers("wasmtime serve, instances", (n) => sleepers(wasmtime, n)),
    );
  }
  const most = COUNTS.at(-1);
  return {
    title: "Memory that an idle instance adds",
    columns: [
      "",
      ...COUNTS.map((count) => `of ${count}`),
      `of ${most}, a minute later`,
      "of these proportional",
      "goal",
    ],
    rows,
    notes: [
      "command: cat.wasm that waits for its input; handler: http-hello.wasm, ready",
      `instances: http-counter.wasm, requests that sleep (wasmtime serve ${CLI.join(" ")})`,
      "resident memory of the process with the instances minus without, divided by their number; of processes their proportional share",
      "a minute later: an idle V8 collects garbage, and gives memory back, after half a minute",
      "proportional: pages that are mapped several times count once, as the machine has them once; V8 maps its own code, 2 MiB of the executable, for each Worker, and resident memory counts it each time; the goal is for what the machine has to have",
    ],
  };
}

/** Handlers that answered and wait for the next request, as many as the issue wants. */
async function idleHandlers({ quick, note }: BenchContext, folder: string): Promise<Table> {
  const count = quick ? 250 : 1_000;
  note(`memory: ${count} idle handlers in one Worker`);
  const samples: number[] = [];
  for (let i = 0; i < (quick ? 1 : 3); i++) {
    samples.push(
      (await probe(folder, `${folder}/cache`, "http-counter", "idle", count, true)).idle,
    );
  }
  const each = figure(samples, "MiB");
  return {
    title: "Memory of live idle handlers that share a Worker",
    columns: ["", `of ${count}`, "goal"],
    rows: [["http-counter, each", each, goal(each, "at most", 0.1)]],
    notes: [
      `${count} requests at once, each in an instance of its own, all answered ${IDLE_SECONDS} s before it is measured`,
      "resident memory of the process, V8 with the flags of the executable; a guest declares 1.1 MB of memory and touches little of it",
    ],
  };
}

async function wholeProcess({ programs, quick }: BenchContext, folder: string): Promise<Table> {
  const { realm, wasmtime } = programs;
  const cat = fixture("cat");
  const row = async (name: string, argv: readonly string[]) => {
    await runProcess(argv); // fills the caches
    const samples = [];
    for (let i = 0; i < (quick ? 1 : 3); i++) samples.push(await processes(argv, 1));
    return [
      name,
      figure(samples.map((s) => s.rssMib).filter((v) => !Number.isNaN(v)), "MiB"),
      figure(samples.map((s) => s.pssMib).filter((v) => !Number.isNaN(v)), "MiB"),
    ] as const;
  };
  return {
    title: "Memory of a whole process with one idle command (cat)",
    columns: ["", "resident", "proportional"],
    rows: [
      await row("realm run", [...realm, `--data=${folder}/run`, "run", cat]),
      ...(wasmtime ? [await row("wasmtime run", [wasmtime, "run", cat])] : []),
    ],
    notes: ["realm brings V8 and Deno; what it adds for each instance is in the table above"],
  };
}

export const memory: Benchmark = (context) =>
  withFolder(async (folder) => {
    // Once before, so that no probe holds a transpiler, nor needs one.
    for (const component of ["cat", "http-hello", "http-counter"]) {
      const kind = component === "cat" ? "commands" : "replicas";
      await probe(ROOT, `${folder}/cache`, component, kind, 1);
    }
    await bundleProbe(folder);
    return [
      await perInstance(context, folder),
      await idleHandlers(context, folder),
      await wholeProcess(context, folder),
    ];
  });
