/**
 * The executable under test: what `./dev build` made, or `$REALM_EXECUTABLE`.
 *
 * @module
 */
import * as path from "node:path";

/** The repository. */
export const ROOT = path.resolve(import.meta.dirname!, "..", "..");

/** Absolute path of the executable. */
export const EXECUTABLE = path.resolve(
  Deno.env.get("REALM_EXECUTABLE") ?? path.join(ROOT, "out", "realm"),
);

/** How a run of a program ended. */
export interface Result {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A program that runs. */
export interface Running {
  readonly pid: number;
  /** The next line of standard output without its line feed; `null` at the end. */
  line(): Promise<string | null>;
  /** The same of standard error. */
  errorLine(): Promise<string | null>;
  kill(signal: Deno.Signal): void;
  /** Its end; the streams are what {@link line} and {@link errorLine} did not take. */
  readonly ended: Promise<Result>;
}

/** A folder that is the whole world of the runs in it; gone afterwards, with what still runs. */
export interface Sandbox {
  readonly folder: string;
  /** Data folder of these runs, `~/.realm`. */
  readonly data: string;
  /** Runs realm in the folder, with nothing in its environment but a home and a search path. */
  realm(...args: string[]): Promise<Result>;
  /** The same, with these bytes on standard input. */
  realmWith(stdin: string, ...args: string[]): Promise<Result>;
  /** Starts realm and lets it run. */
  start(...args: string[]): Running;
  /** Lets another data folder use the compiled components, too. */
  shareCache(data: string): Promise<void>;
  /** Copies fixtures into the folder, as `NAME.wasm`; what becomes of them is shared by tests. */
  fixtures(...names: string[]): Promise<void>;
}

/** Gives the test a sandbox. */
export async function withSandbox(test: (sandbox: Sandbox) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "realm-e2e-" });
  const home = path.join(folder, "home");
  const temporary = path.join(folder, "tmp");
  await Promise.all([home, temporary].map((each) => Deno.mkdir(each)));
  const options = { cwd: folder, env: { HOME: home, TMPDIR: temporary } };
  const started: { running: Running; over: boolean }[] = [];
  try {
    await test({
      folder,
      data: path.join(home, ".realm"),
      realm: (...args) => run(EXECUTABLE, args, options),
      realmWith: (stdin, ...args) => run(EXECUTABLE, args, { ...options, stdin }),
      start(...args) {
        const entry = { running: start(EXECUTABLE, args, options), over: false };
        entry.running.ended.then(() => entry.over = true);
        started.push(entry);
        return entry.running;
      },
      shareCache,
      async fixtures(...names) {
        await shareCache(path.join(home, ".realm"));
        for (const name of names) {
          await Deno.copyFile(`${ROOT}/fixtures/${name}.wasm`, path.join(folder, `${name}.wasm`));
        }
      },
    });
  } finally {
    for (const { running, over } of started) if (!over) running.kill("SIGKILL");
    await Promise.all(started.map(({ running }) => running.ended));
    await Deno.remove(folder, { recursive: true });
  }
}

/**
 * Lets a data folder use the compiled components of other tests of the very same executable; the
 * first to need one compiles it.
 */
async function shareCache(data: string): Promise<void> {
  const digest = (await Deno.readTextFile(`${EXECUTABLE}.sha256`)).slice(0, 16);
  const cache = path.join(ROOT, ".cache", "e2e", digest);
  await Deno.mkdir(cache, { recursive: true });
  await Deno.mkdir(data, { mode: 0o700, recursive: true });
  await Deno.symlink(cache, path.join(data, "cache")).catch((error) => {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  });
}

interface RunOptions {
  readonly cwd?: string;
  readonly env?: Record<string, string>;
  readonly stdin?: string;
}

/** Starts a program with a clean environment. */
export function start(program: string, args: string[], options: RunOptions = {}): Running {
  const child = new Deno.Command(program, {
    args,
    clearEnv: true,
    env: { PATH: Deno.env.get("PATH") ?? "", ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    stdin: options.stdin === undefined ? "null" : "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  if (options.stdin !== undefined) {
    const writer = child.stdin.getWriter();
    writer.write(new TextEncoder().encode(options.stdin)).then(() => writer.close())
      .catch(() => {}); // It may end before it has read everything.
  }
  const [stdout, stderr] = [reader(child.stdout), reader(child.stderr)];
  const lineOf = async (stream: typeof stdout) => {
    const found = await stream.until((text) => text.indexOf("\n") + 1);
    return found === "" ? null : found.replace(/\n$/, "");
  };
  const ended = async () => {
    const [{ code }] = await Promise.all([child.status, stdout.over, stderr.over]);
    return { status: code, stdout: stdout.rest(), stderr: stderr.rest() };
  };
  return {
    pid: child.pid,
    line: () => lineOf(stdout),
    errorLine: () => lineOf(stderr),
    kill: (signal) => child.kill(signal),
    ended: ended(),
  };
}

/** Collects a stream as text, whether or not somebody waits for it. */
function reader(stream: ReadableStream<Uint8Array>) {
  const decoder = new TextDecoder();
  let text = "";
  let isOver = false;
  let more = Promise.withResolvers<void>();
  const collect = async () => {
    for await (const bytes of stream) {
      text += decoder.decode(bytes, { stream: true });
      more.resolve();
      more = Promise.withResolvers();
    }
    isOver = true;
    more.resolve();
  };
  const take = (length: number) => {
    const taken = text.slice(0, length);
    text = text.slice(length);
    return taken;
  };
  return {
    over: collect(),
    rest: () => text,
    /** Takes what `lengthOf` asks for, once that is not 0; at the end what is left. */
    async until(lengthOf: (text: string) => number): Promise<string> {
      while (true) {
        const length = lengthOf(text);
        if (length > 0) return take(length);
        if (isOver) return take(text.length);
        await more.promise;
      }
    },
  };
}

/** Runs a program to its end, with a clean environment. */
export async function run(
  program: string,
  args: string[],
  options: RunOptions = {},
): Promise<Result> {
  return await start(program, args, options).ended;
}
