/**
 * What metering costs: the kernels as they are and metered, in V8, beside wasmtime without and
 * with fuel.
 *
 * @module
 */
import * as path from "node:path";
import { meter } from "../agent/wasm/meter/meter.ts";
import type { BenchContext, Benchmark } from "./bench.ts";
import type { Calls, KernelRun } from "./metering_probe.ts";
import { interleave, ROOT, type Run, runProcess, withFolder } from "./programs.ts";
import { type Figure, figure, goal, ratio, type Table } from "./report.ts";

const KERNELS = path.join(ROOT, "bench", "kernels", "kernels.wasm");

/** Rounds that take optimised code some 0.4 s, and what metering may cost. */
const ROUNDS: Readonly<Record<string, { rounds: number; ratioMax?: number }>> = {
  sha256: { rounds: 400, ratioMax: 1.3 },
  sieve: { rounds: 400, ratioMax: 1.3 },
  quicksort: { rounds: 400, ratioMax: 1.3 },
  matmul: { rounds: 1000, ratioMax: 1.3 },
  json: { rounds: 3000, ratioMax: 1.3 },
  memcpy: { rounds: 3000, ratioMax: 1.3 },
  // Nothing but calls, each of which pays for its frame.
  dispatch: { rounds: 200 },
  fib: { rounds: 1500 },
};
const CEILING = { memoryPagesMax: 65_536, tableElementsMax: 10_000_000 };

/** One run: processor time where it is known, else wall time. */
interface Sample {
  readonly ms: number;
  readonly result: number;
}

async function inV8(file: string, kernel: string, rounds: number, calls: Calls): Promise<Sample> {
  const { stdout } = await runProcess([
    Deno.execPath(),
    "run",
    "-A",
    `--config=${ROOT}/deno.json`,
    `${ROOT}/bench/metering_probe.ts`,
    file,
    kernel,
    String(rounds),
    calls,
  ]);
  const run: KernelRun = JSON.parse(stdout);
  return { ms: run.cpuMs, result: run.result };
}

/** `wasmtime run --invoke`, its own start-up taken off. */
async function inWasmtime(argv: readonly string[], kernel: string, rounds: number) {
  const run = async (n: number): Promise<Run> =>
    await runProcess([...argv, "--invoke", kernel, KERNELS, String(n)]);
  const empty = await run(0);
  const full = await run(rounds);
  const time = ({ cpuMs, wallMs }: Run) => cpuMs ?? wallMs;
  return { ms: time(full) - time(empty), result: Number(full.stdout) | 0 };
}

const FUEL = ["-W", "fuel=1000000000000"];

interface Measured {
  readonly plain: Figure | undefined;
  readonly metered: Figure | undefined;
  readonly peer: Figure | undefined;
  readonly peerFuel: Figure | undefined;
}

async function measure(
  { programs, quick }: BenchContext,
  metered: string,
  kernel: string,
  calls: Calls,
): Promise<Measured> {
  const { wasmtime } = programs;
  const rounds = Math.ceil(ROUNDS[kernel]!.rounds / (quick ? 4 : 1));
  const samples = await interleave<keyof Measured, Sample>(quick ? 2 : 5, {
    plain: () => inV8(KERNELS, kernel, rounds, calls),
    metered: () => inV8(metered, kernel, rounds, calls),
    // wasmtime has one tier: how the calls are cut makes no difference to it.
    ...(wasmtime === undefined || calls === "many" ? {} : {
      peer: () => inWasmtime([wasmtime, "run"], kernel, rounds),
      peerFuel: () => inWasmtime([wasmtime, "run", ...FUEL], kernel, rounds),
    }),
  });
  const results = new Set(Object.values(samples).flat().map(({ result }) => result));
  if (calls === "one" && results.size !== 1) {
    throw new Error(`Cannot compare ${kernel}: its results are ${[...results].join(", ")}`);
  }
  const of = (name: keyof Measured) => figure((samples[name] ?? []).map(({ ms }) => ms), "ms");
  return {
    plain: of("plain"),
    metered: of("metered"),
    peer: of("peer"),
    peerFuel: of("peerFuel"),
  };
}

export const metering: Benchmark = (context) =>
  withFolder(async (folder) => {
    const file = path.join(folder, "metered.wasm");
    await Deno.writeFile(file, meter(await Deno.readFile(KERNELS), CEILING).bytes);
    const many: Table["rows"][number][] = [];
    const one: Table["rows"][number][] = [];
    for (const [kernel, { ratioMax }] of Object.entries(ROUNDS)) {
      context.note(`metering: ${kernel}`);
      const short = await measure(context, file, kernel, "many");
      const long = await measure(context, file, kernel, "one");
      const cost = ratio(short.metered, short.plain);
      many.push([
        kernel,
        short.plain,
        short.metered,
        cost,
        ratioMax === undefined ? "none" : goal(cost, "at most", ratioMax),
        long.peer,
        long.peerFuel,
        ratio(long.peerFuel, long.peer),
        ratio(short.metered, long.peerFuel),
      ]);
      one.push([
        kernel,
        long.plain,
        long.metered,
        ratio(long.metered, long.plain),
        ratio(long.metered, long.peerFuel),
      ]);
    }
    return [{
      title: "Metering, many short calls (CPU time)",
      columns: [
        "",
        "V8",
        "metered",
        "ratio",
        "goal",
        "wasmtime",
        "with fuel",
        "ratio",
        "metered / wasmtime fuel",
      ],
      rows: many,
      notes: [
        "V8: bench/kernels/kernels.wasm in a fresh process for each run, one call a round, after a warm-up of a quarter of the rounds; all threads, so optimising in the background counts",
        "metered: the same module rewritten, fuel handed out and checked by the runtime's own limiter",
        "wasmtime run --invoke KERNEL kernels.wasm ROUNDS, without and with -W fuel=1000000000000, minus the same with 0 rounds",
        "the goal is for loops: dispatch and fib do nothing but call",
      ],
    }, {
      title: "Metering, one long call (CPU time)",
      columns: ["", "V8", "metered", "ratio", "metered / wasmtime fuel"],
      rows: one,
      notes: [
        "a fresh process and a single call of all rounds: V8 does not replace code that is running, so a loop in the called function itself stays in baseline code to its end; metered, it goes on in a function of its own, which V8 can replace",
      ],
    }];
  });
