/**
 * What a command is given: the process it runs in, the flags that every command has, and the
 * ways to print.
 *
 * `Shell` is the process (folder, environment, standard streams, signals) as a value, so that a
 * test can pass its own; only {@link systemShell} touches the real one. `Context` adds the global
 * flags. Results go to standard output, everything else to standard error.
 *
 * @module
 */
import * as path from "node:path";
import { RealmError } from "../agent/kernel/error.ts";
import type { Palette } from "../tui/painter.ts";
import { type Column, formatTable } from "./output.ts";

/** Every kind of permission of a program on Deno. */
export const PERMISSIONS = ["read", "write", "net", "env", "sys", "run", "ffi", "import"] as const;

/** One of {@link PERMISSIONS}. */
export type Permission = typeof PERMISSIONS[number];

/** A standard stream that is written to. */
export type OutputStream = "stdout" | "stderr";

/** The process that a command runs in. */
export interface Shell {
  /** Absolute path of the current folder. */
  readonly cwd: string;
  env(name: string): string | undefined;
  /** Which of the streams are terminals. */
  readonly terminal: Readonly<Record<"stdin" | OutputStream, boolean>>;
  /** Width of the terminal in columns; 80 where there is none. */
  readonly columns: number;
  /** Writes all of it before it returns. */
  write(stream: OutputStream, data: string | Uint8Array): void;
  /**
   * Writes all of it after what was given before to either stream, while other things happen: a
   * reader that does not read holds up nobody else. Rejects where it cannot be written.
   */
  put(stream: OutputStream, bytes: Uint8Array): Promise<void>;
  /** Resolves when all that was given to {@link put} is written; rejects where it cannot be. */
  written(): Promise<void>;
  /** The next line of standard input without its line feed; `null` at the end. */
  readLine(): Promise<string | null>;
  /** A line typed on the terminal, which does not show it. */
  readHidden(): Promise<string>;
  /** Standard input to its end, or the first so many bytes of it. */
  readAll(bytesMax: number): Promise<Uint8Array>;
  /** Aborted at the first SIGINT or SIGTERM; from then on a second one ends the process. */
  interrupted(): AbortSignal;
  /**
   * While this thread cannot hear of signals, those that {@link interrupted} listens to end the
   * process as if nobody did.
   */
  deaf(isDeaf: boolean): void;
  /** Gives up every permission but these, for good; returns those that are left. */
  keepPermissions(kinds: readonly Permission[]): readonly Permission[];
}

/** The flags that every command takes. */
export interface GlobalFlags {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
  readonly data?: string;
  readonly node?: string;
}

/** What a command gets beside its own flags and arguments. */
export class Context {
  constructor(readonly shell: Shell, readonly flags: GlobalFlags) {}

  /** Print one JSON document, or one line per event, in place of text. */
  get json(): boolean {
    return this.flags.json;
  }

  /** The node that the command asks; the one of this machine when not set. */
  get node(): string | undefined {
    return this.flags.node;
  }

  /**
   * Absolute path of the data folder: `--data`, else `$REALM_HOME`, else `~/.realm`.
   *
   * It may not exist. Throws RealmError `usage` when there is no home folder to put it in.
   */
  get dataFolder(): string {
    const given = this.flags.data ?? nonEmpty(this.shell.env("REALM_HOME"));
    if (given !== undefined) return this.resolve(given);
    const home = nonEmpty(this.shell.env("HOME")) ?? nonEmpty(this.shell.env("USERPROFILE"));
    if (home === undefined) {
      throw new RealmError("usage", "Cannot find the data folder: HOME is not set, wanted a path", {
        hint: "Name the folder with --data DIR or REALM_HOME",
      });
    }
    return path.join(home, ".realm");
  }

  /** The absolute path of what the user named, relative to the current folder. */
  resolve(name: string): string {
    return path.resolve(this.shell.cwd, name);
  }

  /** Prints the result: `value` as one JSON document with `--json`, else the text. */
  print(value: unknown, text: () => string): void {
    const output = this.json ? JSON.stringify(value, null, 2) : text();
    if (output !== "") this.shell.write("stdout", ensureLine(output));
  }

  /** Prints one of many results as they come: `value` as one line of JSON, else the text. */
  printLine(value: unknown, text: () => string): void {
    this.shell.write("stdout", ensureLine(this.json ? JSON.stringify(value) : text()));
  }

  /** Prints `rows`: as a JSON array with `--json`, else as a table with these columns. */
  printTable<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): void {
    this.print(rows, () => formatTable(rows, columns));
  }

  /** Tells the user what happens, on standard error; nothing with `--quiet`. */
  note(text: string): void {
    if (!this.flags.quiet) this.shell.write("stderr", ensureLine(text));
  }

  /** A detail for those who ask with `--verbose`, on standard error. */
  detail(text: string): void {
    if (this.flags.verbose && !this.flags.quiet) this.shell.write("stderr", ensureLine(text));
  }

  /**
   * Gives up every permission of the program but these, before anything of a guest is touched. A
   * kind is given up as a whole: what is narrower than that are the permissions of Workers. Returns
   * those that are left.
   */
  keepPermissions(...kinds: readonly Permission[]): readonly Permission[] {
    const left = this.shell.keepPermissions(kinds);
    this.detail(`permissions: ${left.join(", ") || "none"}`);
    return left;
  }

  /** Whether escape sequences may be written to the stream: a terminal, and no `NO_COLOR`. */
  colour(stream: OutputStream): boolean {
    return hasColour(this.shell, stream);
  }

  /** The colours of the terminal that standard output is, as `TERM` and `COLORTERM` tell. */
  get palette(): Palette {
    if (!this.colour("stdout")) return "none";
    const { shell } = this;
    const isRich = nonEmpty(shell.env("COLORTERM")) !== undefined ||
      /256color|direct/.test(shell.env("TERM") ?? "");
    return isRich ? "256" : "16";
  }

  /**
   * Asks a yes-or-no question on the terminal; no answer is no.
   *
   * Throws RealmError `usage` when standard input is not a terminal or `--json` is on: nothing is
   * ever asked where nobody can answer. `flag` is what answers it beforehand, such as `--yes`.
   */
  async confirm(question: string, flag: string): Promise<boolean> {
    if (this.json || !this.shell.terminal.stdin || !this.shell.terminal.stderr) {
      throw new RealmError(
        "usage",
        `Cannot ask "${question}": there is no terminal to answer on, wanted ${flag}`,
        { hint: `Add ${flag} to go on without being asked` },
      );
    }
    this.shell.write("stderr", `${question} [y/N] `);
    const answer = await this.shell.readLine();
    return /^\s*y(es)?\s*$/i.test(answer ?? "");
  }
}

/** Whether the stream is a terminal whose user wants colour (https://no-color.org). */
export function hasColour(shell: Shell, stream: OutputStream): boolean {
  return shell.terminal[stream] && nonEmpty(shell.env("NO_COLOR")) === undefined &&
    shell.env("TERM") !== "dumb";
}

/** The real process. */
export function systemShell(): Shell {
  const streams = { stdout: Deno.stdout, stderr: Deno.stderr };
  const encoder = new TextEncoder();
  const lines = lineReader(() => Deno.stdin.readable);
  let put = Promise.resolve();
  let interruption: AbortController | undefined;
  const listeners = new Map<Deno.Signal, () => void>();
  return {
    get cwd() {
      return Deno.cwd();
    },
    env: (name) => Deno.env.get(name),
    terminal: {
      stdin: Deno.stdin.isTerminal(),
      stdout: Deno.stdout.isTerminal(),
      stderr: Deno.stderr.isTerminal(),
    },
    get columns() {
      try {
        return Deno.consoleSize().columns;
      } catch { // not a terminal
        return 80;
      }
    },
    write(stream, data) {
      let rest = typeof data === "string" ? encoder.encode(data) : data;
      try {
        while (rest.length > 0) rest = rest.subarray(streams[stream].writeSync(rest));
      } catch (error) {
        throw unlessGone(error);
      }
    },
    put(stream, bytes) {
      // What failed once fails for good: nothing after it is written.
      const done = put = put.then(() => writeAll(stream, streams[stream], bytes));
      done.catch(() => {}); // whoever waits hears of it
      return done;
    },
    written: () => put,
    readLine: lines,
    readHidden: () => Promise.resolve(readHidden()),
    readAll: (bytesMax) => Promise.resolve(readAll(bytesMax)),
    interrupted() {
      if (interruption !== undefined) return interruption.signal;
      const controller = interruption = new AbortController();
      const signals: [Deno.Signal, number][] = Deno.build.os === "windows"
        ? [["SIGINT", 130]]
        : [["SIGINT", 130], ["SIGTERM", 143]];
      for (const [name, status] of signals) {
        listeners.set(name, () => {
          if (controller.signal.aborted) Deno.exit(status);
          controller.abort(new RealmError("failed", `Stopped: ${name}`));
        });
      }
      for (const [name, heard] of listeners) Deno.addSignalListener(name, heard);
      return controller.signal;
    },
    deaf(isDeaf) {
      const change = isDeaf ? Deno.removeSignalListener : Deno.addSignalListener;
      for (const [name, heard] of listeners) change(name, heard);
    },
    keepPermissions(kinds) {
      // The cast: "import" is not yet in the types of Deno.
      const all = PERMISSIONS.map((name) => ({ name }) as Deno.PermissionDescriptor);
      for (const each of all) {
        if (!kinds.includes(each.name)) Deno.permissions.revokeSync(each);
      }
      return all.filter((each) => Deno.permissions.querySync(each).state === "granted")
        .map(({ name }) => name);
    },
  };
}

/** A pipe that another program made non-blocking, and is full, is tried again after this time. */
const FULL_MS = 5;

async function writeAll(
  stream: OutputStream,
  to: typeof Deno.stdout,
  bytes: Uint8Array,
): Promise<void> {
  for (let rest = bytes; rest.length > 0;) {
    try {
      rest = rest.subarray(await to.write(rest));
    } catch (error) {
      if (!(error instanceof Deno.errors.WouldBlock)) {
        const { message } = unlessGone(error) as Error;
        const name = stream === "stdout" ? "output" : "error";
        throw new RealmError("failed", `Cannot write standard ${name}: ${message}`, {
          cause: error,
        });
      }
      await new Promise((resolve) => setTimeout(resolve, FULL_MS));
    }
  }
}

/** The reader is gone (`realm logs | head`): ends as a program ended by SIGPIPE would. */
function unlessGone(error: unknown): unknown {
  if (error instanceof Deno.errors.BrokenPipe) Deno.exit(141);
  return error;
}

const [BACKSPACE, DELETE, INTERRUPT, END] = [8, 127, 3, 4];

/** Byte by byte: what is typed ahead stays for who reads next. */
function readHidden(): string {
  const typed: number[] = [];
  const byte = new Uint8Array(1);
  Deno.stdin.setRaw(true);
  try {
    while (Deno.stdin.readSync(byte) === 1) {
      const [code] = byte as unknown as [number];
      if (code === 10 || code === 13 || code === END) break;
      if (code === INTERRUPT) throw new RealmError("failed", "Stopped: SIGINT");
      if (code === BACKSPACE || code === DELETE) {
        // A character of UTF-8 ends with its first byte.
        while ((typed.pop() ?? 0) >> 6 === 2);
      } else typed.push(code);
    }
  } finally {
    Deno.stdin.setRaw(false);
  }
  return new TextDecoder().decode(new Uint8Array(typed));
}

function readAll(bytesMax: number): Uint8Array {
  const bytes = new Uint8Array(bytesMax);
  let length = 0;
  while (length < bytesMax) {
    const read = Deno.stdin.readSync(bytes.subarray(length));
    if (read === null) break;
    length += read;
  }
  return bytes.subarray(0, length);
}

/** Reads the stream a line at a time; nothing is opened before the first call. */
function lineReader(open: () => ReadableStream<Uint8Array>): () => Promise<string | null> {
  let reader: ReadableStreamDefaultReader<string> | undefined;
  let buffered = "";
  return async () => {
    // The cast: the types of TextDecoderStream and of streams of bytes differ in BufferSource.
    reader ??= open().pipeThrough(
      new TextDecoderStream() as unknown as TransformStream<Uint8Array, string>,
    ).getReader();
    while (true) {
      const end = buffered.indexOf("\n");
      if (end >= 0) {
        const line = buffered.slice(0, end).replace(/\r$/, "");
        buffered = buffered.slice(end + 1);
        return line;
      }
      const { done, value } = await reader.read();
      if (done) {
        const rest = buffered;
        buffered = "";
        return rest === "" ? null : rest;
      }
      buffered += value;
    }
  };
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}

function ensureLine(text: string): string {
  return text.endsWith("\n") ? text : `${text}\n`;
}
