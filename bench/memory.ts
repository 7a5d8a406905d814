/**
 * Memory of idle instances.
 *
 * @module
 */
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
const SETTLE_MS = 1_000;
const settle = () => new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
const CLI = ["-S", "cli"];

async function probe(cache: string, component: string, kind: Kind, count: number): Promise<number> {
  const { stdout } = await runProcess([
    Deno.execPath(),
    "run",
    "-A",
    `--config=${ROOT}/deno.json`,
    `${ROOT}/bench/memory_probe.ts`,
    cache,
    fixture(component),
    kind,
    String(count),
  ]);
  const { beforeMib, withMib }: MemorySample = JSON.parse(stdout);
  return (withMib - beforeMib) / count;
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

async function perInstance(context: BenchContext, cache: string): Promise<Table> {
  const { programs: { wasmtime }, quick, note } = context;
  const rounds = quick ? 1 : 3;
  const sample = async (measure: () => Promise<number>): Promise<Figure | undefined> => {
    const samples: number[] = [];
    for (let i = 0; i < rounds; i++) samples.push(await measure());
    return figure(samples.filter((value) => !Number.isNaN(value)), "MiB");
  };
  const row = async (name: string, measure: (count: number) => Promise<number>, wanted = false) => {
    note(`memory: ${name}`);
    const cells: (Figure | undefined)[] = [];
    for (const count of COUNTS) cells.push(await sample(() => measure(count)));
    return [name, ...cells, wanted ? goal(cells.at(-1), "at most", 16) : undefined] as const;
  };
  const rows = [
    await row("command, a Worker each", (n) => probe(cache, "cat", "commands", n), true),
    await row("handler, a Worker each", (n) => probe(cache, "http-hello", "replicas", n), true),
    await row(
      "handler, instances in one Worker",
      (n) => probe(cache, "http-counter", "instances", n),
      true,
    ),
  ];
  if (wasmtime !== undefined) {
    rows.push(
      await row(
        "wasmtime run, a process each",
        async (n) => (await processes([wasmtime, "run", fixture("cat")], n)).pssMib,
      ),
      await row("wasmtime serve, instances", (n) => sleepers(wasmtime, n)),
    );
  }
  return {
    title: "Memory that an idle instance adds",
    columns: ["", ...COUNTS.map((count) => `of ${count}`), "goal"],
    rows,
    notes: [
      "command: cat.wasm that waits for its input; handler: http-hello.wasm, ready",
      `instances: http-counter.wasm, requests that sleep (wasmtime serve ${CLI.join(" ")})`,
      "resident memory of the process with the instances minus without, divided by their number; of processes their proportional share",
    ],
  };
}

/** Handlers that answered and wait for the next request, as many as the issue wants. */
async function idleHandlers({ quick, note }: BenchContext, cache: string): Promise<Table> {
  const count = quick ? 250 : 1_000;
  note(`memory: ${count} idle handlers in one Worker`);
  const samples: number[] = [];
  for (let i = 0; i < (quick ? 1 : 3); i++) {
    samples.push(await probe(cache, "http-counter", "idle", count));
  }
  const each = figure(samples, "MiB");
  return {
    title: "Memory of live idle handlers that share a Worker",
    columns: ["", `of ${count}`, "goal"],
    rows: [["http-counter, each", each, goal(each, "at most", 0.1)]],
    notes: [
      `${count} requests at once, each in an instance of its own, all answered before it is measured`,
      "resident memory of the process; a guest declares 1.1 MB of memory and touches little of it",
    ],
  };
}

async function wholeProcess({ programs, quick }: BenchContext, folder: string): Promise<Table> {
  const { realm, wasmtime } = programs;
  const cat = fixture("cat");
  const row = async (name: string, argv: readonly string[]) => {
    await processes(argv, 1); // fills the caches
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
    // Once before, so that no probe holds a transpiler.
    for (const component of ["cat", "http-hello", "http-counter"]) {
      await probe(`${folder}/cache`, component, component === "cat" ? "commands" : "replicas", 1);
    }
    return [
      await perInstance(context, `${folder}/cache`),
      await idleHandlers(context, `${folder}/cache`),
      await wholeProcess(context, folder),
    ];
  });
