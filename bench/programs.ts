/**
 * The programs that are measured: where they are, and runs of them with their time and memory.
 *
 * Everything is started here, by its path, and ended by its process id. Times are in milliseconds,
 * memory in MiB. The processor time of a child comes from `/proc`, in steps of 10 ms; elsewhere
 * than on Linux it is not known, and neither is memory.
 *
 * @module
 */
import * as path from "node:path";
import { V8_FLAGS_ARGUMENT } from "../scripts/v8_flags.ts";

export const ROOT = path.resolve(import.meta.dirname!, "..");
export const fixture = (name: string) => path.join(ROOT, "fixtures", `${name}.wasm`);

/** What there is to measure on this machine. */
export interface Programs {
  /** The start of a command line of realm. */
  readonly realm: readonly string[];
  /** What `realm` is, for the notes. */
  readonly realmKind: string;
  readonly wasmtime: string | undefined;
  readonly wasmtimeVersion: string | undefined;
  /** The load generator; without it our own is used. */
  readonly wrk: string | undefined;
}

async function isFile(file: string): Promise<boolean> {
  return await Deno.stat(file).then((stat) => stat.isFile, () => false);
}

async function find(name: string, folders: readonly string[]): Promise<string | undefined> {
  for (const folder of folders) {
    const file = path.join(folder, name);
    if (await isFile(file)) return file;
  }
}

/** Finds the programs; `realm` is an executable to measure in place of `out/realm`. */
export async function findPrograms(realm?: string): Promise<Programs> {
  const folders = (Deno.env.get("PATH") ?? "").split(path.delimiter).filter((f) => f !== "");
  const home = Deno.env.get("HOME");
  const wasmtime = await find("wasmtime", home ? [...folders, `${home}/.cargo/bin`] : folders);
  const built = path.resolve(realm ?? path.join(ROOT, "out", "realm"));
  const isBuilt = await isFile(built);
  if (realm !== undefined && !isBuilt) {
    throw new Error(`Cannot measure "${realm}": it is not there, wanted an executable of realm`);
  }
  const version = wasmtime && (await runProcess([wasmtime, "--version"])).stdout.trim();
  return {
    realm: isBuilt ? [built] : [
      ...[Deno.execPath(), "run", "-A", V8_FLAGS_ARGUMENT, `--config=${ROOT}/deno.json`],
      `${ROOT}/main.ts`,
    ],
    realmKind: isBuilt
      ? `the executable ${path.relative(ROOT, built)}`
      : "run from source: ./dev build makes the executable, which starts faster",
    wasmtime,
    wasmtimeVersion: version || undefined,
    wrk: await find("wrk", folders),
  };
}

/** A process that ended. */
export interface Run {
  readonly wallMs: number;
  readonly cpuMs: number | undefined;
  readonly stdout: string;
}

/** Processor time of all children that ended, in ms. */
async function childrenCpuMs(): Promise<number | undefined> {
  try {
    const stat = await Deno.readTextFile("/proc/self/stat");
    // After the name in brackets: fields 16 and 17 of proc(5), in ticks of 10 ms.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[13]) + Number(fields[14])) * 10;
  } catch {
    return undefined;
  }
}

/** Runs a program to its end. Throws when it fails. Two at once share their processor time. */
export async function runProcess(
  argv: readonly string[],
  options: { env?: Record<string, string> } = {},
): Promise<Run> {
  const [program, ...args] = argv as [string, ...string[]];
  const command = new Deno.Command(program, { args, stdin: "null", ...options });
  const cpuBefore = await childrenCpuMs();
  const from = performance.now();
  const { success, code, stdout, stderr } = await command.output();
  const wallMs = performance.now() - from;
  const cpuAfter = await childrenCpuMs();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  if (!success) throw new Error(`Cannot run ${argv.join(" ")}: status ${code}\n${text(stderr)}`);
  return {
    wallMs,
    cpuMs: cpuBefore === undefined || cpuAfter === undefined ? undefined : cpuAfter - cpuBefore,
    stdout: text(stdout),
  };
}

/** A process that stays. */
export interface Running {
  readonly pid: number;
  /** Processor time that it has used, user and system; undefined where this cannot be told. */
  cpuMs(): Promise<number | undefined>;
  /** What of its memory is in RAM, and what of that it shares with nobody (proportionally). */
  memory(): Promise<{ rssMib: number; pssMib: number } | undefined>;
  stop(): Promise<void>;
}

/** Processor time of all threads of a process; undefined where this cannot be told. */
export async function processorMs(pid: number): Promise<number | undefined> {
  try {
    let ns = 0;
    for await (const { name } of Deno.readDir(`/proc/${pid}/task`)) {
      const text = await Deno.readTextFile(`/proc/${pid}/task/${name}/schedstat`);
      ns += Number(text.split(" ")[0]);
    }
    return ns / 1e6;
  } catch {
    return undefined; // no /proc
  }
}

/** Starts a program that stays; its output goes nowhere. */
export function startProcess(
  argv: readonly string[],
  options: { env?: Record<string, string>; stdin?: "piped" | "null" } = {},
): Running {
  const [program, ...args] = argv as [string, ...string[]];
  const child = new Deno.Command(program, {
    args,
    stdin: options.stdin ?? "null",
    stdout: "null",
    stderr: "null",
    ...(options.env ? { env: options.env } : {}),
  }).spawn();
  const { pid } = child;
  return {
    pid,
    cpuMs: () => processorMs(pid),
    async memory() {
      try {
        const text = await Deno.readTextFile(`/proc/${pid}/smaps_rollup`);
        const of = (name: string) =>
          Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(text)![1]) / 1024;
        return { rssMib: of("Rss"), pssMib: of("Pss") };
      } catch {
        return undefined;
      }
    },
    async stop() {
      try {
        child.kill("SIGTERM");
      } catch {
        // It ended by itself.
      }
      const late = setTimeout(() => child.kill("SIGKILL"), 5_000);
      await child.status;
      clearTimeout(late);
    },
  };
}

/** Starts a server and waits until `url` answers with 200. */
export async function startServer(
  argv: readonly string[],
  url: string,
  env?: Record<string, string>,
): Promise<Running> {
  const server = startProcess(argv, env ? { env } : {});
  for (const from = performance.now(); performance.now() - from < 20_000;) {
    try {
      const response = await fetch(url);
      await response.body?.cancel();
      if (response.ok) return server;
    } catch {
      // It does not listen yet.
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await server.stop();
  throw new Error(`Cannot start ${argv.join(" ")}: ${url} does not answer`);
}

/** A port that nobody listens on. */
export function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  return port;
}

/** Runs `use` with a folder that is gone afterwards. */
export async function withFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = await Deno.makeTempDir({ prefix: "realm-bench-" });
  try {
    return await use(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/**
 * Takes `rounds` samples of each, one of each in turn (A B A B), so that what else happens on the
 * machine meets all of them alike. A first round may be thrown away.
 */
export async function interleave<K extends string, T>(
  rounds: number,
  variants: Readonly<Partial<Record<K, () => Promise<T>>>>,
  { warmUp = false } = {},
): Promise<Record<K, T[]>> {
  const names = Object.keys(variants) as K[];
  const samples = Object.fromEntries(names.map((name) => [name, [] as T[]])) as Record<K, T[]>;
  for (let round = warmUp ? -1 : 0; round < rounds; round++) {
    for (const name of names) {
      const sample = await variants[name]!();
      if (round >= 0) samples[name].push(sample);
    }
  }
  return samples;
}
