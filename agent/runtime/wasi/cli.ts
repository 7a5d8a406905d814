/**
 * `wasi:cli`: arguments and environment, exit, standard streams and terminals.
 *
 * @see https://github.com/WebAssembly/wasi-cli/tree/v0.2.12/wit
 * @module
 */
import type { WasiInstance } from "./context.ts";
import {
  type InputSource,
  InputStream,
  type OutputSink,
  OutputStream,
  Signal,
  STREAM_BYTES_MAX,
  streamClosed,
  streamFailed,
} from "./io.ts";
import { Resource } from "./resource.ts";

const NOTHING: Uint8Array = new Uint8Array();

/** The words of a thrown value. */
function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Standard input; every stream of it reads on where the last one stopped. */
class StdinSource implements InputSource {
  #signal = new Signal();
  #chunk = NOTHING;
  #pending = false;
  #ended = false;
  #error: string | undefined;

  constructor(readonly host: WasiInstance) {}

  read(lengthMax: number): Uint8Array {
    if (!this.host.ctx.grants.stdio) {
      this.host.deny("wasi:cli/stdin#get-stdin", "stdio");
      streamClosed();
    }
    if (this.#chunk.length > 0) {
      const bytes = this.#chunk.subarray(0, lengthMax);
      this.#chunk = this.#chunk.subarray(bytes.length);
      this.host.memory.hold(-bytes.length);
      return bytes;
    }
    if (this.#error !== undefined) {
      const message = this.#error;
      this.#error = undefined;
      streamFailed(this.host, { message, filesystem: "io" });
    }
    if (this.#ended) streamClosed();
    if (lengthMax > 0) this.#request();
    return NOTHING;
  }

  ready(): boolean {
    if (
      this.#chunk.length > 0 || this.#ended || this.#error !== undefined ||
      !this.host.ctx.grants.stdio
    ) return true;
    this.#request();
    return false;
  }

  wait(wake: () => void): () => void {
    return this.#signal.wait(wake);
  }

  #request(): void {
    if (this.#pending) return;
    this.#pending = true;
    const done = (settle: () => void) => {
      this.#pending = false;
      settle();
      this.#signal.notify();
    };
    this.host.ctx.stdio.read().then(
      (chunk) =>
        done(() => {
          if (chunk === null) this.#ended = true;
          else {
            this.#chunk = chunk;
            this.host.memory.hold(chunk.length);
          }
        }),
      (error) =>
        done(() => {
          this.#error = messageOf(error);
          this.#ended = true;
        }),
    );
  }
}

/** Standard output or error: what is not yet taken counts against the permit. */
class StdioSink implements OutputSink {
  #signal = new Signal();
  #queued = 0;
  #tail: Promise<void> | undefined;
  #flushing = false;
  #closed = false;
  #error: string | undefined;

  constructor(readonly host: WasiInstance, readonly stream: "stdout" | "stderr") {}

  permit(): number {
    this.#check();
    return this.#flushing ? 0 : STREAM_BYTES_MAX - this.#queued;
  }

  write(bytes: Uint8Array): void {
    this.#check();
    if (bytes.length === 0) return;
    const put = () => this.host.ctx.stdio.write(this.stream, bytes);
    let written: Promise<void> | void;
    if (this.#tail === undefined) {
      try {
        written = put();
      } catch (error) {
        this.#fail(error);
        return;
      }
      if (written === undefined) return;
    } else {
      written = this.#tail.then(() => this.#closed ? undefined : put());
    }
    this.#queued += bytes.length;
    this.host.memory.hold(bytes.length);
    const settled = () => {
      this.#queued -= bytes.length;
      this.host.memory.hold(-bytes.length);
    };
    const tail = written.then(
      () => {
        settled();
        if (this.#tail === tail) {
          this.#tail = undefined;
          this.#flushing = false;
        }
        this.#signal.notify();
      },
      (error) => {
        settled();
        this.#fail(error);
      },
    );
    this.#tail = tail;
  }

  flush(): void {
    this.#check();
    this.#flushing = this.#tail !== undefined;
  }

  ready(): boolean {
    if (this.#closed || this.#error !== undefined || !this.host.ctx.grants.stdio) return true;
    return !this.#flushing && this.#queued < STREAM_BYTES_MAX;
  }

  wait(wake: () => void): () => void {
    return this.#signal.wait(wake);
  }

  #fail(error: unknown): void {
    if (!this.#closed) this.#error = messageOf(error);
    this.#closed = true;
    this.#flushing = false;
    this.#signal.notify();
  }

  #check(): void {
    if (!this.host.ctx.grants.stdio) {
      this.host.deny(`wasi:cli/${this.stream}#get-${this.stream}`, "stdio");
      streamClosed();
    }
    if (this.#error !== undefined) {
      const message = this.#error;
      this.#error = undefined;
      streamFailed(this.host, { message, filesystem: "io" });
    }
    if (this.#closed) streamClosed();
  }
}

/** Resource `terminal-input`: nothing but the fact that there is one. */
export class TerminalInput extends Resource {
  constructor(host: WasiInstance) {
    super(host, "terminal-input");
  }
}

/** Resource `terminal-output`. */
export class TerminalOutput extends Resource {
  constructor(host: WasiInstance) {
    super(host, "terminal-output");
  }
}

/** The functions of `wasi:cli`, by interface, and what its standard streams are made on. */
export function createCli(host: WasiInstance) {
  const { grants, stdio } = host.ctx;
  const stdin = new StdinSource(host);
  const stdout = new StdioSink(host, "stdout");
  const stderr = new StdioSink(host, "stderr");
  const terminal = (stream: "stdin" | "stdout" | "stderr") =>
    grants.stdio && stdio.terminal[stream];
  return {
    streams: { stdin, stdout, stderr },
    environment: {
      getArguments: () => [...grants.args],
      getEnvironment: () => grants.env.map(([name, value]) => [name, value]),
      initialCwd: () => undefined,
    },
    exit: {
      exit: (status: { tag: "ok" | "err" }) => host.exit(status.tag === "ok" ? 0 : 1),
      exitWithCode: (code: number) => host.exit(code),
    },
    stdin: { getStdin: () => new InputStream(host, stdin) },
    stdout: { getStdout: () => new OutputStream(host, stdout) },
    stderr: { getStderr: () => new OutputStream(host, stderr) },
    terminalStdin: {
      getTerminalStdin: () => terminal("stdin") ? new TerminalInput(host) : undefined,
    },
    terminalStdout: {
      getTerminalStdout: () => terminal("stdout") ? new TerminalOutput(host) : undefined,
    },
    terminalStderr: {
      getTerminalStderr: () => terminal("stderr") ? new TerminalOutput(host) : undefined,
    },
  };
}
