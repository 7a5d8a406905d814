/**
 * How long it takes until a component runs: as a whole process, and in an engine that is there
 * already.
 *
 * @module
 */
import { V8_FLAGS_ARGUMENT } from "../scripts/v8_flags.ts";
import type { Benchmark } from "./bench.ts";
import type { StartSamples } from "./start_probe.ts";
import { fixture, interleave, ROOT, type Run, runProcess, withFolder } from "./programs.ts";
import { figure, goal, ratio, type Table } from "./report.ts";

const HELLO = fixture("hello");
const wallOf = (runs: readonly Run[]) => figure(runs.map((run) => run.wallMs), "ms");
const cpuOf = (runs: readonly Run[]) => {
  const known = runs.flatMap((run) => run.cpuMs ?? []);
  // The clock of children moves in steps of 10 ms: only their mean says anything.
  const mean = known.reduce((sum, ms) => sum + ms, 0) / known.length;
  return known.length === 0 ? undefined : figure([mean], "ms");
};

/** Whole processes: from the command line to the end of `hello`. */
async function processes(
  { programs, quick }: Parameters<Benchmark>[0],
): Promise<Table> {
  const { realm, wasmtime } = programs;
  return await withFolder(async (folder) => {
    let n = 0;
    const run = async (argv: readonly string[], env?: Record<string, string>) => {
      const result = await runProcess(argv, env ? { env } : {});
      if (result.stdout !== "hello, world\n") throw new Error(`${argv.join(" ")} did not greet`);
      return result;
    };
    const realmRun = (data: string) => run([...realm, "--data", data, "run", HELLO]);
    const peer = wasmtime === undefined ? {} : {
      peerCold: () => run([wasmtime, "run", "-C", "cache=n", "-W", "fuel=100000000000", HELLO]),
      peerWarm: () => run([wasmtime, "run", "-W", "fuel=100000000000", HELLO]),
    };
    const cold = await interleave<string, Run>(quick ? 2 : 5, {
      realm: () => realmRun(`${folder}/cold${n++}`),
      ...("peerCold" in peer ? { peer: peer.peerCold } : {}),
    });
    const warm = await interleave<string, Run>(quick ? 4 : 15, {
      realm: () => realmRun(`${folder}/warm`),
      ...("peerWarm" in peer ? { peer: peer.peerWarm } : {}),
      version: () => runProcess([...realm, "--version"]),
    }, { warmUp: true });
    const row = (name: string, ours: Run[], theirs: Run[] = []) =>
      [
        name,
        wallOf(ours),
        cpuOf(ours),
        wallOf(theirs),
        cpuOf(theirs),
        ratio(wallOf(ours), wallOf(theirs)),
      ] as const;
    return {
      title: "Start-up of a whole process (hello, 64 KB component)",
      columns: ["", "realm", "CPU", "wasmtime", "CPU", "realm / wasmtime"],
      rows: [
        row("cold: nothing cached", cold.realm!, cold.peer),
        row("warm: compiled before", warm.realm!, warm.peer),
        row("realm --version", warm.version!),
      ],
      notes: [
        "cold: realm --data EMPTY run hello.wasm; wasmtime run -C cache=n -W fuel=100000000000",
        "warm: the same again with the folder that is there; wasmtime's own cache (its default)",
        "realm transpiles, meters and caches when cold; V8 keeps no compiled code between processes",
      ],
    };
  });
}

/** In an engine: preparing, starting and the end of `hello`. */
async function inEngine({ quick }: Parameters<Benchmark>[0]): Promise<Table> {
  const { stdout } = await runProcess([
    Deno.execPath(),
    "run",
    "-A",
    V8_FLAGS_ARGUMENT,
    `--config=${ROOT}/deno.json`,
    `${ROOT}/bench/start_probe.ts`,
    HELLO,
    String(quick ? 5 : 25),
  ]);
  const samples: StartSamples = JSON.parse(stdout);
  const row = (
    name: string,
    key: keyof StartSamples,
    wanted?: number,
    wantedOf: "startMs" | "totalMs" = "totalMs",
  ) => {
    const of = (part: "prepareMs" | "startMs" | "exitMs" | "totalMs") =>
      figure(samples[key].map((s) => s[part]), "ms");
    const total = of("totalMs");
    return [
      name,
      of("prepareMs"),
      of("startMs"),
      of("exitMs"),
      total,
      wanted === undefined ? undefined : goal(of(wantedOf), "at most", wanted),
    ] as const;
  };
  return {
    title: "Start-up of hello in a running engine",
    columns: ["", "prepare", "start", "exit", "total", "goal"],
    rows: [
      row("no Worker ready, from the compile cache", "coldWorker"),
      row("from the compile cache", "compileCache", 25),
      row("from the warm pool", "warmPool", 1, "startMs"),
      row('isolation = "process", from the compile cache', "process"),
    ],
    notes: [
      "prepare: bytes to compiled modules; start: until the guest runs; exit: until its exit is known",
      "compile cache: the component was transpiled before and is read from disk; a Worker is ready",
      "warm pool: the component was started some times before with the same grants, so the next is made ahead; the goal is for its start",
      "process: Deno from source is the program here; the guest's Worker is in it",
      "no peer: wasmtime has no command that starts an instance in a process that is there already",
    ],
  };
}

export const startup: Benchmark = async (context) => [
  await processes(context),
  await inEngine(context),
];
