/**
 * Runs one kernel in this process and prints what it took in JSON: `metering_probe.ts once FILE.wasm
 * KERNEL ROUNDS` all rounds in one call, as {@link KernelRun}; `metering_probe.ts turns FILE.wasm
 * OTHER.wasm KERNEL ROUNDS` so many rounds of the one and of the other in turn, as {@link Turns}.
 *
 * @module
 */
import process from "node:process";
import { Ledger } from "../agent/runtime/ledger.ts";
import { Limiter } from "../agent/runtime/limiter.ts";
import { refuelFunction } from "../agent/runtime/pause.ts";

/** Turns that are measured, and the milliseconds for which each kernel is called before. */
const TURNS = 300;
const WARM_UP_MS = 1000;

/** Times in milliseconds; processor time is that of all threads. */
export interface KernelRun {
  readonly wallMs: number;
  readonly cpuMs: number;
  /** The checksum of the call. */
  readonly result: number;
}

/** Milliseconds of each turn of both. */
export type Turns = readonly [number[], number[]];

/** As an instance of a component is linked, with all of its fuel at once and no bucket. */
export function meteringImports(): WebAssembly.Imports {
  const limiter = new Limiter({
    limits: { memoryBytesMax: 1 << 30, fuelMax: 1e15, epochTimeoutMs: 3_600_000 },
    ledger: new Ledger(),
    bucket: undefined,
    now: () => performance.now(),
    shared: false,
  });
  limiter.enter();
  const { fuel, stack, outline } = limiter;
  const refuel = refuelFunction({
    tick: () => limiter.tick(),
    pause: () => limiter.pause(),
    debt: () => limiter.debt(),
  });
  const grow = (kind: number, units: number) => limiter.grow(kind, units);
  return { realm: { fuel, stack, outline, grow, refuel } };
}

async function kernelOf(file: string, kernel: string): Promise<(rounds: number) => number> {
  const module = new WebAssembly.Module(await Deno.readFile(file));
  const isMetered = WebAssembly.Module.imports(module).length > 0;
  const { exports } = new WebAssembly.Instance(module, isMetered ? meteringImports() : {});
  return exports[kernel] as (rounds: number) => number;
}

async function once(file: string, kernel: string, rounds: number): Promise<KernelRun> {
  const call = await kernelOf(file, kernel);
  const cpuFrom = process.cpuUsage();
  const from = performance.now();
  const result = call(rounds);
  const wallMs = performance.now() - from;
  const { user, system } = process.cpuUsage(cpuFrom);
  return { wallMs, cpuMs: (user + system) / 1000, result };
}

async function turns(files: readonly string[], kernel: string, rounds: number): Promise<Turns> {
  const calls = await Promise.all(files.map((file) => kernelOf(file, kernel)));
  // Called again and again, since code that is running is not replaced.
  for (const call of calls) {
    for (const end = performance.now() + WARM_UP_MS; performance.now() < end;) call(1);
  }
  const samples: Turns = [[], []];
  for (let turn = 0; turn < TURNS; turn++) {
    for (const [i, call] of calls.entries()) {
      const from = performance.now();
      call(rounds);
      samples[i]!.push(performance.now() - from);
    }
  }
  return samples;
}

if (import.meta.main) {
  const [what, ...args] = Deno.args;
  const rounds = Number(args.pop());
  const kernel = args.pop()!;
  const found = what === "turns"
    ? await turns(args, kernel, rounds)
    : await once(args[0]!, kernel, rounds);
  console.log(JSON.stringify(found));
}
