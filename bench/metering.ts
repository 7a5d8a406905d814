/**
 * What metering costs: the kernels as they are and metered, in V8, beside wasmtime without and
 * with fuel.
 *
 * @module
 */
import * as path from "node:path";
import { meter } from "../agent/wasm/meter/meter.ts";
import { V8_FLAGS_ARGUMENT } from "../scripts/v8_flags.ts";
import type { BenchContext, Benchmark } from "./bench.ts";
import type { KernelRun, Turns } from "./metering_probe.ts";
import { interleave, ROOT, type Run, runProcess, withFolder } from "./programs.ts";
import { type Figure, figure, goal, ratio, type Table } from "./report.ts";

const KERNELS = path.join(ROOT, "bench", "kernels", "kernels.wasm");

/** Rounds that take optimised code some 0.3 s, and what metering may cost. */
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

async function probe<T>(...args: readonly string[]): Promise<T> {
  const { stdout } = await runProcess([
    Deno.execPath(),
    "run",
    "-A",
    V8_FLAGS_ARGUMENT,
    `--config=${ROOT}/deno.json`,
    `${ROOT}/bench/metering_probe.ts`,
    ...args,
  ]);
  return JSON.parse(stdout);
}

async function inV8(file: string, kernel: string, rounds: number): Promise<Sample> {
  const run = await probe<KernelRun>("once", file, kernel, String(rounds));
  return { ms: run.cpuMs, result: run.result };
}

/**
 * The kernel as it is and metered, in turn in one process, a few milliseconds each. Of each process
 * the quickest tenth counts: what others do on the machine only makes a turn slower.
 */
async function inTurn(
  { quick }: BenchContext,
  metered: string,
  kernel: string,
): Promise<readonly (Figure | undefined)[]> {
  const rounds = Math.ceil(ROUNDS[kernel]!.rounds / 100);
  const tenths: [number[], number[]] = [[], []];
  for (let i = 0; i < (quick ? 1 : 5); i++) {
    const turns = await probe<Turns>("turns", KERNELS, metered, kernel, String(rounds));
    for (const [i, ms] of turns.entries()) {
      tenths[i]!.push(ms.toSorted((a, b) => a - b)[Math.floor(ms.length / 10)]!);
    }
  }
  return tenths.map((ms) => figure(ms, "ms"));
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
): Promise<Measured> {
  const { wasmtime } = programs;
  const rounds = Math.ceil(ROUNDS[kernel]!.rounds / (quick ? 4 : 1));
  const samples = await interleave<keyof Measured, Sample>(quick ? 2 : 5, {
    plain: () => inV8(KERNELS, kernel, rounds),
    metered: () => inV8(metered, kernel, rounds),
    ...(wasmtime === undefined ? {} : {
      peer: () => inWasmtime([wasmtime, "run"], kernel, rounds),
      peerFuel: () => inWasmtime([wasmtime, "run", ...FUEL], kernel, rounds),
    }),
  });
  const results = new Set(Object.values(samples).flat().map(({ result }) => result));
  if (results.size !== 1) {
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
    const loops: Table["rows"][number][] = [];
    const calls: Table["rows"][number][] = [];
    for (const [kernel, { ratioMax }] of Object.entries(ROUNDS)) {
      context.note(`metering: ${kernel}`);
      const [plain, metered] = await inTurn(context, file, kernel);
      const call = await measure(context, file, kernel);
      const cost = ratio(metered, plain);
      loops.push([
        kernel,
        plain,
        metered,
        cost,
        ratioMax === undefined ? "none" : goal(cost, "at most", ratioMax),
        ratio(call.peerFuel, call.peer),
      ]);
      calls.push([
        kernel,
        call.plain,
        call.metered,
        ratio(call.metered, call.plain),
        call.peer,
        call.peerFuel,
        ratio(call.metered, call.peerFuel),
      ]);
    }
    return [{
      title: "Metering of optimised code",
      columns: ["", "V8", "metered", "ratio", "goal", "wasmtime with fuel / without"],
      rows: loops,
      notes: [
        "V8: with the flags of the executable; bench/kernels/kernels.wasm after a second of short calls, in turn with the same module rewritten, 300 times a few milliseconds each; the quickest tenth, of 5 processes the median",
        "metered: fuel handed out and checked by the runtime's own limiter",
        "the goal is for loops: dispatch and fib do nothing but call",
      ],
    }, {
      title: "Metering, one long call in a fresh process (CPU time)",
      columns: [
        "",
        "V8",
        "metered",
        "ratio",
        "wasmtime",
        "with fuel",
        "metered / wasmtime fuel",
      ],
      rows: calls,
      notes: [
        "of all threads, so compiling and optimising in the background count; V8 does not replace code that is running, so a loop in the called function itself stays in baseline code to its end; metered, it goes on in a function of its own, which V8 can replace",
        "wasmtime run --invoke KERNEL kernels.wasm ROUNDS, without and with -W fuel=1000000000000, minus the same with 0 rounds",
      ],
    }];
  });
