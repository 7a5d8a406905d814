/**
 * Commands that compute: whole processes that make one long call, metered and with all limits on,
 * beside wasmtime with fuel.
 *
 * @module
 */
import * as path from "node:path";
import type { Benchmark } from "./bench.ts";
import { interleave, ROOT, type Run, runProcess, withFolder } from "./programs.ts";
import { type Figure, figure, goal, median, ratio, type Table } from "./report.ts";

const COMMAND = path.join(ROOT, "bench", "kernels", "command.wasm");

/** Rounds that take wasmtime some eight seconds on the machine of the record. */
const ROUNDS: Readonly<Record<string, number>> = {
  sha256: 8000,
  sieve: 8000,
  quicksort: 8000,
  matmul: 12_000,
  json: 60_000,
  memcpy: 60_000,
  dispatch: 4000,
  nbody: 50_000,
};

const LIMITS = [
  "--memory-max-mb=256",
  "--fuel=1000000000000000",
  "--fuel-per-sec=1000000000000",
  "--epoch-timeout-ms=600000",
];
const PEER_FLAGS = ["-W", "fuel=1000000000000000"];

/** Wanted of the quotient to wasmtime in processor time, at the median and of each. */
const RATIO_MEDIAN_MAX = 1.0;
const RATIO_MAX = 1.5;

export const commands: Benchmark = ({ programs, quick, note }) =>
  withFolder(async (folder) => {
    const { realm, wasmtime } = programs;
    const ours = (kernel: string, rounds: number) =>
      runProcess([...realm, "--data", folder, "run", ...LIMITS, COMMAND, kernel, String(rounds)]);
    // What is transpiled and compiled once is not what is measured here.
    await ours("sieve", 1);
    const rows: Table["rows"][number][] = [];
    const ratios: Figure[] = [];
    for (const [kernel, all] of Object.entries(ROUNDS)) {
      note(`commands: ${kernel}`);
      const rounds = Math.ceil(all / (quick ? 4 : 1));
      const samples = await interleave<"realm" | "peer", Run>(quick ? 1 : 3, {
        realm: () => ours(kernel, rounds),
        ...(wasmtime === undefined ? {} : {
          peer: () => runProcess([wasmtime, "run", ...PEER_FLAGS, COMMAND, kernel, String(rounds)]),
        }),
      });
      const results = new Set(Object.values(samples).flat().map(({ stdout }) => stdout));
      if (results.size !== 1) {
        throw new Error(`Cannot compare ${kernel}: its results are ${[...results].join(", ")}`);
      }
      const cpu = (runs: readonly Run[] = []) =>
        figure(runs.flatMap(({ cpuMs }) => cpuMs === undefined ? [] : [cpuMs]), "ms");
      const wall = (runs: readonly Run[] = []) => figure(runs.map(({ wallMs }) => wallMs), "ms");
      const quotient = ratio(cpu(samples.realm), cpu(samples.peer));
      if (quotient) ratios.push(quotient);
      rows.push([
        kernel,
        cpu(samples.realm),
        cpu(samples.peer),
        quotient,
        goal(quotient, "at most", RATIO_MAX),
        wall(samples.realm),
        wall(samples.peer),
      ]);
    }
    const middle = figure(ratios.length > 0 ? [median(ratios.map((r) => r.median))] : [], "x");
    rows.push([
      "median",
      undefined,
      undefined,
      middle,
      goal(middle, "at most", RATIO_MEDIAN_MAX),
      undefined,
      undefined,
    ]);
    return [{
      title: "Commands that compute: one long call (whole processes)",
      columns: ["", "realm CPU", "wasmtime CPU", "ratio", "goal", "realm wall", "wasmtime wall"],
      rows,
      notes: [
        `realm run ${
          LIMITS.join(" ")
        } command.wasm KERNEL ROUNDS; transpiled before, as ever after the first run`,
        `wasmtime run ${
          PEER_FLAGS.join(" ")
        } command.wasm KERNEL ROUNDS; compiled each time, as is its default`,
        "CPU: user and system time of the process with all of its threads, its start and V8's optimising compiler with it",
      ],
    }];
  });
