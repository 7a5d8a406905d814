/**
 * Runs one kernel in this process and prints what it took, as {@link KernelRun} in JSON:
 * `metering_probe.ts FILE.wasm KERNEL ROUNDS one|many`.
 *
 * @module
 */
import process from "node:process";
import { Ledger } from "../agent/runtime/ledger.ts";
import { Limiter } from "../agent/runtime/limiter.ts";
import { refuelFunction } from "../agent/runtime/pause.ts";

/** All rounds in one call, or a call each. */
export type Calls = "one" | "many";

/** Times in milliseconds; processor time is that of all threads. */
export interface KernelRun {
  readonly wallMs: number;
  readonly cpuMs: number;
  /** The checksum of the (last) call. */
  readonly result: number;
}

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

if (import.meta.main) {
  const [file, kernel, rounds, calls] = Deno.args as [string, string, string, Calls];
  const module = new WebAssembly.Module(await Deno.readFile(file));
  const isMetered = WebAssembly.Module.imports(module).length > 0;
  const { exports } = new WebAssembly.Instance(module, isMetered ? meteringImports() : {});
  const call = exports[kernel] as (rounds: number) => number;
  const count = Number(rounds);
  if (calls === "many") { for (let i = 0; i < count / 4; i++) call(1); }
  const cpuFrom = process.cpuUsage();
  const from = performance.now();
  let result = 0;
  if (calls === "one") result = call(count);
  else for (let i = 0; i < count; i++) result = call(1);
  const wallMs = performance.now() - from;
  const { user, system } = process.cpuUsage(cpuFrom);
  console.log(
    JSON.stringify({ wallMs, cpuMs: (user + system) / 1000, result } satisfies KernelRun),
  );
}
