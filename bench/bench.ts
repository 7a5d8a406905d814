/**
 * `./dev bench`: what realm costs, beside what its peers cost in the same run.
 *
 *     ./dev bench [--only NAME]… [--quick] [--json | --markdown] [--spread] [--realm FILE]
 *
 * Every figure is the median of several runs, taken in turn with those of its peers. `--quick`
 * takes fewer and shorter ones: for a look, not for a record. `--only` is one of the names below,
 * `--realm` an executable in place of `out/realm`. A peer that is not installed is left out, and
 * the notes say so. `docs/benchmarks.md` has a record and says how to read it.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { cpus } from "node:os";
import { findPrograms, type Programs } from "./programs.ts";
import { formatTable, type Table } from "./report.ts";

/** What a benchmark is given. */
export interface BenchContext {
  readonly programs: Programs;
  readonly quick: boolean;
  /** Says what is going on. */
  readonly note: (text: string) => void;
}

/** A benchmark measures and returns tables. */
export type Benchmark = (context: BenchContext) => Promise<Table[]>;

const BENCHMARKS: Record<string, () => Promise<Benchmark>> = {
  startup: async () => (await import("./startup.ts")).startup,
  metering: async () => (await import("./metering.ts")).metering,
  commands: async () => (await import("./commands.ts")).commands,
  proxy: async () => (await import("./proxy.ts")).proxy,
  events: async () => (await import("./events.ts")).events,
  sync: async () => (await import("./sync.ts")).sync,
  memory: async () => (await import("./memory.ts")).memory,
  peers: async () => (await import("./peers.ts")).peers,
  apps: async () => (await import("./apps.ts")).apps,
  dashboard: async () => (await import("./dashboard.ts")).dashboard,
};

function machine(): string {
  const all = cpus();
  const load = Deno.loadavg()[0]!.toFixed(1);
  return `${all.length} x ${
    all[0]?.model.trim() ?? "unknown processor"
  }, ${Deno.build.target}, load ${load}`;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      only: { type: "string", multiple: true },
      realm: { type: "string" },
      quick: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      markdown: { type: "boolean", default: false },
      spread: { type: "boolean", default: false },
    },
  });
  const names = values.only ?? Object.keys(BENCHMARKS);
  for (const name of names) {
    if (Object.hasOwn(BENCHMARKS, name)) continue;
    const known = Object.keys(BENCHMARKS).join(", ");
    throw new Error(`Cannot run benchmark "${name}": not one of ours, wanted ${known}`);
  }
  const programs = await findPrograms(values.realm);
  const note = (text: string) => console.error(`bench: ${text}`);
  const about = {
    date: new Date().toISOString().slice(0, 10),
    machine: machine(),
    realm: programs.realmKind,
    engine: `Deno ${Deno.version.deno}, V8 ${Deno.version.v8}`,
    wasmtime: programs.wasmtimeVersion ?? "not found on PATH or in ~/.cargo/bin: no comparison",
    load: programs.wrk ? "wrk" : "our own generator (wrk is not installed)",
  };
  const print = (table: Table) =>
    console.log(formatTable(table, { spread: values.spread, markdown: values.markdown }));
  if (!values.json) {
    const bullet = values.markdown ? "- " : "";
    for (const [key, value] of Object.entries(about)) {
      console.log(values.markdown ? `${bullet}${key}: ${value}` : `${key.padEnd(9)}${value}`);
    }
    console.log();
  }
  const tables: Table[] = [];
  for (const name of names) {
    note(name);
    const run = await BENCHMARKS[name]!();
    for (const table of await run({ programs, quick: values.quick, note })) {
      tables.push(table);
      if (!values.json) print(table);
    }
  }
  // Who else used the processors meanwhile: ratios stand that better than figures.
  const loadAfter = Deno.loadavg()[0]!.toFixed(1);
  if (values.json) {
    console.log(JSON.stringify({ ...about, loadAfter, quick: values.quick, tables }, null, 2));
  } else console.log(`load at the end ${loadAfter}`);
}

if (import.meta.main) {
  try {
    await main();
  } catch (error) {
    console.error(`error: ${(error as Error).message}`);
    Deno.exit(1);
  }
}
