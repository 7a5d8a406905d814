/**
 * Starts and ends the process of one replica: this very program, with nothing in its environment,
 * under limits of the operating system, connected by a unix socket whose name is gone once it is.
 *
 * @module
 */
import { join } from "node:path";
import { RealmError } from "../../kernel/error.ts";
import type { StartOptions } from "../../kernel/ports.ts";
import { Link, PACKET_BYTES_MAX } from "./link.ts";
import { limitedWords, type OsLimits, parseOsLimits } from "./os_limits.ts";

/** How processes of replicas are started. */
export interface ProcessProgram {
  /** The words that start the program as such a process; the path of a socket follows. */
  readonly words: readonly [string, ...string[]];
  /** Whether it has the environment of this process; nothing unless this is true. */
  readonly inheritsEnvironment?: boolean;
}

/** From the start of the process to its connection, on a machine that does much else. */
const CONNECT_MS = 30_000;
/** Of what it prints the last is kept: V8 says there why it gave up. */
const PRINTED_MAX = 16 * 1024;
/** Longest path of a socket, in bytes: `sun_path` of unix(7) on macOS. */
const SOCKET_PATH_BYTES_MAX = 103;

/** A process that runs, or ran. */
export class GuestProcess {
  /** Resolves once the process is gone, however that came. */
  readonly ended: Promise<Deno.CommandStatus>;
  #hasEnded = false;

  private constructor(
    readonly child: Deno.ChildProcess,
    readonly link: Link,
    readonly osLimits: OsLimits,
    readonly errors: Printed,
  ) {
    this.ended = Promise.all([child.status, errors.over]).then(([status]) => status);
    child.status.then(() => this.#hasEnded = true);
  }

  /**
   * Starts one with room for such a guest; `folder` is for its socket, and made private.
   *
   * Throws RealmError `unsupported` where there are no unix sockets, `failed` when the program
   * does not start or does not connect.
   */
  static async start(
    program: ProcessProgram,
    folder: string,
    guest: Pick<StartOptions, "limits" | "maxConcurrency">,
  ): Promise<GuestProcess> {
    if (Deno.build.os === "windows") {
      throw new RealmError(
        "unsupported",
        'Cannot start a component with isolation "process": not supported on Windows',
        { hint: 'Set isolation = "worker"' },
      );
    }
    let child: Deno.ChildProcess | undefined;
    let door: Door | undefined;
    try {
      door = await openDoor(folder);
      const [command, ...args] = limitedWords([...program.words, door.path], guest);
      child = new Deno.Command(command, {
        args,
        clearEnv: program.inheritsEnvironment !== true,
        stdin: "null",
        stdout: "piped",
        stderr: "piped",
      }).spawn();
      const output = new Printed(child.stdout);
      const errors = new Printed(child.stderr);
      const connection = await connected(door.listener, child, errors);
      const process = new GuestProcess(
        child,
        new Link(connection, PACKET_BYTES_MAX),
        parseOsLimits(output.text),
        errors,
      );
      child = undefined;
      return process;
    } catch (error) {
      if (error instanceof Deno.errors.NotCapable) throw gaveUp(error);
      throw new RealmError(
        "failed",
        `Cannot start a process for the component: ${(error as Error).message}`,
        { cause: error },
      );
    } finally {
      door?.close();
      if (child) kill(child);
    }
  }

  get pid(): number {
    return this.child.pid;
  }

  /** SIGKILL: no part of the program is asked. */
  kill(): void {
    if (!this.#hasEnded) kill(this.child);
  }
}

function gaveUp(cause: Error): RealmError {
  return new RealmError(
    "policy",
    "Cannot start a process for the component: the agent gave the permission up when it started",
    { hint: "Set isolation.process = true in policy.toml, then restart the agent", cause },
  );
}

function kill(child: Deno.ChildProcess): void {
  try {
    child.kill("SIGKILL");
  } catch {
    // It ended at this moment.
  }
}

/** The connection of the process. Rejects when it ends before, or takes too long. */
async function connected(
  listener: Deno.Listener,
  child: Deno.ChildProcess,
  errors: Printed,
): Promise<Deno.Conn> {
  let isOver = false;
  const failed = Promise.withResolvers<never>();
  const late = setTimeout(
    () => failed.reject(new Error(`it did not connect within ${CONNECT_MS} ms`)),
    CONNECT_MS,
  );
  child.status.then(async ({ code }) => {
    await errors.over;
    if (!isOver) failed.reject(new Error(`it ended with status ${code}: ${errors.text.trim()}`));
  });
  try {
    return await Promise.race([listener.accept(), failed.promise]);
  } finally {
    isOver = true;
    clearTimeout(late);
  }
}

interface Door {
  readonly path: string;
  readonly listener: Deno.Listener;
  close(): void;
}

/** Listens for one connection in a folder that only this user may enter. */
async function openDoor(folder: string): Promise<Door> {
  await Deno.mkdir(folder, { recursive: true, mode: 0o700 });
  await Deno.chmod(folder, 0o700);
  const name = crypto.randomUUID().slice(0, 13);
  let path = join(folder, name);
  let own: string | undefined;
  if (new TextEncoder().encode(path).length > SOCKET_PATH_BYTES_MAX) {
    own = await Deno.makeTempDir({ prefix: "realm-" }); // 0700 and ours: mkdtemp(3)
    path = join(own, name);
  }
  const listener = Deno.listen({ transport: "unix", path });
  return {
    path,
    listener,
    close() {
      listener.close(); // takes the name away as well
      if (own !== undefined) Deno.removeSync(own);
    },
  };
}

/** The last of what a process prints. */
class Printed {
  text = "";
  readonly over: Promise<void>;

  constructor(stream: ReadableStream<Uint8Array>) {
    this.over = this.#collect(stream).catch(() => {});
  }

  async #collect(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    for await (const bytes of stream) {
      this.text = (this.text + decoder.decode(bytes, { stream: true })).slice(-PRINTED_MAX);
    }
  }
}
