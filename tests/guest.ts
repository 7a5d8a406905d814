/**
 * Runs a fixture in the real engine and tells everything that came of it.
 *
 * @module
 */
import { createEngine } from "../agent/local_engine.ts";
import { createProcessEngine } from "../agent/local_process_engine.ts";
import {
  type Engine,
  type Exit,
  type Grants,
  type Limits,
  NO_NETWORK,
  type StartOptions,
  type Usage,
} from "../agent/kernel/ports.ts";
import { FirstThread } from "../agent/runtime/first_thread.ts";
import type { Resolver } from "../agent/broker/resolve.ts";
import { createServices, type ServicesInit } from "../agent/node/services.ts";

const MIB = 1024 * 1024;

/** Where artifacts of fixtures are kept between test runs. */
export const CACHE_FOLDER = new URL("../.cache/engine", import.meta.url).pathname;

export interface GuestOptions {
  readonly args?: readonly string[];
  readonly stdin?: string | Uint8Array;
  /** The component or module, where it is not the fixture of that name. */
  readonly component?: Uint8Array;
  readonly grants?: Partial<Grants>;
  readonly limits?: Partial<Limits>;
  /** Looks names up in place of the system. */
  readonly resolver?: Resolver;
  /** Makes the connections of sockets: a test of what is refused must reach nobody if it fails. */
  readonly connect?: NonNullable<ServicesInit["connect"]>;
  /** Beside those that the grants open. */
  readonly services?: StartOptions["services"];
  /** Ends the guest after so many milliseconds; `stopMs` then tells how long that took. */
  readonly stopAfterMs?: number;
  /** Keeps a line for each call into the host. */
  readonly trace?: boolean;
  /** Refuses to take output for ever once so many bytes came. */
  readonly outputBytesMax?: number;
}

export interface GuestResult {
  readonly exit: Exit;
  readonly stdout: string;
  readonly stderr: string;
  readonly notices: readonly string[];
  /** Lines of `wasi:logging`, each with its level before it. */
  readonly logged: readonly string[];
  readonly usage: Usage;
  readonly stopMs: number;
  readonly traces: readonly string[];
}

export const NO_GRANTS: Grants = {
  args: [],
  env: [],
  mounts: [],
  clock: true,
  random: true,
  stdio: true,
  network: NO_NETWORK,
  config: [],
  keyvalue: false,
};

/** The bytes of `fixtures/NAME.wasm`. */
export function fixture(name: string): Promise<Uint8Array> {
  return Deno.readFile(new URL(`../fixtures/${name}.wasm`, import.meta.url));
}

/** Runs a test with an engine that is closed afterwards. */
export type WithEngine = <T>(test: (engine: Engine) => Promise<T>) => Promise<T>;

/** With an engine whose guests run in Workers. */
export const withEngine: WithEngine = (test) => withEngineOf("worker", test);

/** In the first thread runs no handler, and nothing with mounts. */
const ENGINES = {
  worker: () => createEngine(CACHE_FOLDER),
  process: () => createProcessEngine(CACHE_FOLDER),
  "first thread": () => createEngine(CACHE_FOLDER, { host: () => new FirstThread() }),
} as const satisfies Readonly<Record<string, () => Engine>>;

async function withEngineOf<T>(
  place: Place,
  test: (engine: Engine) => Promise<T>,
): Promise<T> {
  const engine = ENGINES[place]();
  try {
    return await test(engine);
  } finally {
    await engine.close();
  }
}

/** Where a guest may run. */
type Place = keyof typeof ENGINES;

/** Of commands only. */
export const ANYWHERE = Object.keys(ENGINES) as readonly Place[];
/** Without a process for each: for suites that take long. */
export const THREADS = ["worker", "first thread"] as const satisfies readonly Place[];

/**
 * A test for every engine: what a guest sees, and what is seen of it, does not depend on where it
 * runs.
 */
export function onEachEngine(
  name: string,
  test: (withEngine: WithEngine) => Promise<void>,
  places: readonly Place[] = ["worker", "process"],
): void {
  for (const place of places) {
    const where = place === "first thread" ? `the ${place}` : `a ${place}`;
    Deno.test(`${name}, in ${where}`, () => test((body) => withEngineOf(place, body)));
  }
}

/** Runs a command to its end. */
export async function runGuest(
  engine: Engine,
  name: string,
  options: GuestOptions = {},
): Promise<GuestResult> {
  const { args = [], stdin = "", stopAfterMs, outputBytesMax = Infinity } = options;
  const output = { stdout: [] as Uint8Array[], stderr: [] as Uint8Array[] };
  const notices: string[] = [];
  const traces: string[] = [];
  const logged: string[] = [];
  let input: Uint8Array | null = typeof stdin === "string"
    ? new TextEncoder().encode(stdin)
    : stdin;
  let written = 0;
  const grants: Grants = { ...NO_GRANTS, args: [name, ...args], ...options.grants };
  const notice = (text: string) => void notices.push(text);
  const replica = await engine.start(
    await engine.prepare(options.component ?? await fixture(name)),
    {
      world: "wasi:cli/command",
      grants,
      services: {
        ...createServices({
          grants,
          notice,
          ...(options.resolver ? { resolver: options.resolver } : {}),
          ...(options.connect ? { connect: options.connect } : {}),
        }),
        ...options.services,
      },
      limits: { memoryBytesMax: 256 * MIB, ...options.limits },
      stdio: {
        terminal: { stdin: false, stdout: false, stderr: false },
        read: () => {
          const bytes = input?.length ? input : null;
          input = null;
          return Promise.resolve(bytes);
        },
        write: (stream, bytes) => {
          output[stream].push(bytes);
          written += bytes.length;
          if (written > outputBytesMax) return new Promise(() => {});
        },
      },
      notice,
      ...options.trace && { trace: (line: string) => traces.push(line) },
      log: (level, text) => void logged.push(`${level} ${text}`),
    },
  );
  let stopMs = 0;
  if (stopAfterMs !== undefined) {
    await new Promise((resolve) => setTimeout(resolve, stopAfterMs));
    const from = performance.now();
    await replica.stop();
    stopMs = performance.now() - from;
  }
  const exit = await replica.exited;
  const text = (chunks: Uint8Array[]) => chunks.map((c) => new TextDecoder().decode(c)).join("");
  return {
    exit,
    stdout: text(output.stdout),
    stderr: text(output.stderr),
    notices,
    logged,
    usage: replica.usage(),
    stopMs,
    traces,
  };
}

/** The code of a trap; the kind of every other end. */
export function endOf(exit: Exit): string {
  return exit.kind === "trap"
    ? exit.code
    : exit.kind === "exit"
    ? `exit ${exit.status}`
    : exit.kind;
}
