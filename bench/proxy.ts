/**
 * Requests per second and latencies of request handlers under limits.
 *
 * @module
 */
import * as path from "node:path";
import type { BenchContext, Benchmark } from "./bench.ts";
import { burst, load } from "./load.ts";
import type { Load } from "./load_generator.ts";
import {
  fixture,
  freePort,
  interleave,
  ROOT,
  type Running,
  runProcess,
  startProcess,
  startServer,
  withFolder,
} from "./programs.ts";
import { type Figure, figure, goal, ratio, type Table } from "./report.ts";

const CONNECTIONS = 32;
const SLEEPERS = 100;
const SLEEP = "/slow?ms=200";
/** What a manifest gives when it says nothing: every limit is on. */
const LIMITS = ["--memory-max-mb=128", "--fuel-per-sec=1000000000", "--epoch-timeout-ms=1000"];
const FUEL = ["-W", "fuel=1000000000"];
/** It uses no instance again unless it is told to; so often as it does of its own with WASI 0.3. */
const REUSE = ["--max-instance-reuse-count=128"];
/** Times the requests/s of `wasmtime serve`. */
const WANTED: Readonly<Record<string, number>> = {
  "realm serve": 2,
  "realm serve, an instance a request": 1,
};
/** The processor time of its component is another process's: it has no figure. */
const IN_PROCESS = "realm serve, in a process";
/** `http-counter` is built with std, which asks for the command interfaces. */
const CLI = ["-S", "cli"];

/** A server that runs, and how to reach it. */
interface Server extends Running {
  readonly url: string;
}

type Start = (folder: string) => Promise<Server>;

/** Each server is started with the folder of its data. */
function servers({ programs }: BenchContext, component: string): Record<string, Start> {
  const at = async (argv: (port: number) => readonly string[], probe = ""): Promise<Server> => {
    const port = freePort();
    const url = `http://127.0.0.1:${port}`;
    return { ...await startServer(argv(port), url + probe), url };
  };
  const { realm, wasmtime } = programs;
  const isCounter = component === "http-counter";
  const probe = isCounter ? "/healthz" : "/";
  const file = fixture(component);
  const serve = (data: string, more: readonly string[]) => (port: number) => [
    ...realm,
    `--data=${data}`,
    "serve",
    ...LIMITS,
    ...more,
    `--addr=127.0.0.1:${port}`,
    file,
  ];
  const peer = (wasmtime: string, more: readonly string[]) => (port: number) => [
    wasmtime,
    "serve",
    ...FUEL,
    ...more,
    ...(isCounter ? CLI : []),
    `--addr=127.0.0.1:${port}`,
    file,
  ];
  return {
    "realm serve": (data) => at(serve(data, ["--max-concurrency=128"]), probe),
    "realm serve, an instance a request": (data) =>
      at(serve(data, ["--max-concurrency=128", "--instance-per-request"]), probe),
    [IN_PROCESS]: (data) =>
      at(serve(data, ["--max-concurrency=128", "--isolation=process"]), probe),
    "realm agent": (data) => agent(realm, data, component, probe),
    ...(wasmtime === undefined ? {} : {
      "wasmtime serve": () => at(peer(wasmtime, []), probe),
      "wasmtime serve, instances used again": () => at(peer(wasmtime, REUSE), probe),
    }),
    ...(isCounter ? {} : {
      "bare Deno.serve": () =>
        at((port) => [
          Deno.execPath(),
          "run",
          "--allow-net",
          `${ROOT}/bench/bare_server.ts`,
          String(port),
        ]),
    }),
  };
}

/** A realm with one node, a signed manifest and a route. */
async function agent(
  realm: readonly string[],
  folder: string,
  component: string,
  probe: string,
): Promise<Server> {
  await Deno.mkdir(folder);
  const command = [...realm, `--data=${folder}`];
  // It writes the manifest into the folder that it is run in.
  const made = new Deno.Command(command[0]!, {
    args: [...command.slice(1), "init", "--name=bench", "--json"],
    cwd: folder,
  });
  const { success, stdout, stderr } = await made.output();
  if (!success) throw new Error(`Cannot make a realm: ${new TextDecoder().decode(stderr)}`);
  const { owner } = JSON.parse(new TextDecoder().decode(stdout)) as { owner: string };
  const manifest = path.join(folder, "bench.toml");
  await Deno.writeTextFile(
    manifest,
    `[owner]
pubkey = "${owner}"
[nodes.bench]
[components.handler]
source = "file:${fixture(component)}"
world = "wasi:http/proxy"
clock = true
random = true
max_concurrency = 128
[routing]
bench = [{ path = "/...", component = "handler", replicas = 1 }]
`,
  );
  const port = freePort();
  const url = `http://127.0.0.1:${port}`;
  const running = startProcess([
    ...command,
    "agent",
    `--owner=${owner}`,
    "--name=bench",
    `--http=127.0.0.1:${port}`,
  ]);
  try {
    await answers(url + probe, () => true);
    await runProcess([...command, "apply", "--yes", manifest]);
    await answers(url + probe, (response) => response.ok);
  } catch (error) {
    await running.stop();
    throw error;
  }
  return { ...running, url };
}

async function answers(url: string, wanted: (response: Response) => boolean): Promise<void> {
  for (const from = performance.now(); performance.now() - from < 20_000;) {
    const response = await fetch(url).catch(() => undefined);
    await response?.body?.cancel();
    if (response && wanted(response)) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`Cannot reach ${url}: no answer as wanted`);
}

/** What came of a load, and the processor time of the server for each request, in microseconds. */
interface Measured extends Load {
  readonly cpuUs?: number;
}

async function measured(server: Server, ask: () => Promise<Load>): Promise<Measured> {
  const before = await server.cpuMs();
  const load = await ask();
  const after = await server.cpuMs();
  if (before === undefined || after === undefined) return load;
  return { ...load, cpuUs: (after - before) * 1000 / load.requests };
}

/** Starts all, asks each in turn for so many rounds, and stops all. */
async function compare(
  context: BenchContext,
  component: string,
  rounds: number,
  ask: (server: Server) => Promise<Load>,
): Promise<Record<string, Measured[]>> {
  return await withFolder(async (folder) => {
    const running: Record<string, Server> = {};
    try {
      for (const [name, start] of Object.entries(servers(context, component))) {
        running[name] = await start(path.join(folder, `data${Object.keys(running).length}`));
      }
      const asked = Object.entries(running).map(([name, server]) =>
        [name, () => {
          context.note(`proxy: ${component}, ${name}`);
          return measured(server, () => ask(server));
        }] as const
      );
      return await interleave(rounds, Object.fromEntries(asked), { warmUp: true });
    } finally {
      for (const server of Object.values(running)) await server.stop();
    }
  });
}

async function throughput(context: BenchContext): Promise<Table> {
  const seconds = context.quick ? 1 : 4;
  const loads = await compare(
    context,
    "http-hello",
    context.quick ? 2 : 5,
    (server) => load(context.programs, `${server.url}/`, { connections: CONNECTIONS, seconds }),
  );
  const of = (name: string, key: "perSecond" | "p50Ms" | "p99Ms"): Figure | undefined =>
    figure((loads[name] ?? []).map((l) => l[key]), key === "perSecond" ? "req/s" : "ms");
  const cpu = (name: string): Figure | undefined => {
    if (name === IN_PROCESS) return undefined;
    const samples = (loads[name] ?? []).map((l) => l.cpuUs);
    return figure(samples.filter((us) => us !== undefined), "µs");
  };
  const peer = of("wasmtime serve", "perSecond");
  const peerCpu = cpu("wasmtime serve");
  const rows = Object.entries(loads).map(([name, samples]) => {
    const rate = of(name, "perSecond");
    const times = ratio(rate, peer);
    return [
      name,
      rate,
      of(name, "p50Ms"),
      of(name, "p99Ms"),
      cpu(name),
      String(samples.reduce((sum, l) => sum + l.errors, 0)),
      name === "wasmtime serve" ? undefined : times,
      name === "wasmtime serve" ? undefined : ratio(cpu(name), peerCpu),
      name in WANTED ? goal(times, "at least", WANTED[name]!) : undefined,
    ] as const;
  });
  return {
    title: `Requests of a hello handler with limits on (${CONNECTIONS} connections)`,
    columns: [
      "",
      "rate",
      "p50",
      "p99",
      "CPU",
      "errors",
      "rate / wasmtime",
      "CPU / wasmtime",
      "goal",
    ],
    rows,
    notes: [
      `realm serve ${LIMITS.join(" ")} --max-concurrency=128 http-hello.wasm`,
      "realm agent: one route to one replica, signed manifest, the manifest's default limits (the same)",
      `wasmtime serve ${
        FUEL.join(" ")
      } http-hello.wasm: a fresh instance for each request, unless it is told otherwise (${
        REUSE.join(" ")
      })`,
      "CPU: user and system time of all threads of the server for each request; what a busy machine falsifies least",
      `load: ${
        context.programs.wrk ? "wrk --threads=1 --latency" : "bench/load_generator.ts"
      }, ${seconds} s a round, on the same processors as the server; all servers run, one is asked`,
    ],
  };
}

async function sleeping(context: BenchContext): Promise<Table> {
  const loads = await compare(
    context,
    "http-counter",
    context.quick ? 2 : 5,
    (server) => burst(`${server.url}${SLEEP}`, SLEEPERS),
  );
  const wall = (name: string) => figure((loads[name] ?? []).map((l) => l.wallMs), "ms");
  return {
    title: `${SLEEPERS} requests at once that sleep 200 ms each`,
    columns: ["", "all answered after", "slowest", "errors", "/ wasmtime"],
    rows: Object.entries(loads).map(([name, samples]) => [
      name,
      wall(name),
      figure(samples.map((l) => l.p99Ms), "ms"),
      String(samples.reduce((sum, l) => sum + l.errors, 0)),
      name === "wasmtime serve" ? undefined : ratio(wall(name), wall("wasmtime serve")),
    ]),
    notes: [
      `GET ${SLEEP} of http-counter, ${SLEEPERS} connections, one request each (bench/load_generator.ts)`,
      `wasmtime serve ${[...FUEL, ...CLI].join(" ")}`,
    ],
  };
}

export const proxy: Benchmark = async (context) => [
  await throughput(context),
  await sleeping(context),
];
