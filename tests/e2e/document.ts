/**
 * Carries out a document as its reader would, in a home folder of its own.
 *
 * What stands in fenced blocks is done in order; what a block is says the line that opens it:
 *
 *     ```sh            commands, in one shell for the whole document; each has to succeed
 *     ```sh fails      the last one has to fail
 *     ```sh until      again and again until they print what the next block says
 *     ```sh stays      one command in a terminal of its own, which goes on; waits until it has
 *                      printed what the next block says
 *     ```sh by-hand    is not run; the paragraph before has to say so
 *     ```text          what the commands before it print; `…` stands for anything in a line, and
 *                      alone on its line for any lines
 *     ```rust file=src/lib.rs      written to that file
 *     ```toml append=realm.toml    written to the end of that file
 *
 * `<!-- Ctrl-C: realm agent -->` interrupts the newest command that stays and begins like this.
 * Numbers of ports are replaced by such as are free.
 *
 * @module
 */
import assert from "node:assert/strict";
import * as path from "node:path";
import { freePort } from "../peers.ts";
import { EXECUTABLE, type Running, type Sandbox, start } from "./executable.ts";

/** How long a busy machine may take for what takes a moment. */
const LATE_MS = 240_000;

/** A step of a document. */
export type Step =
  | {
    readonly kind: "run";
    readonly how: "once" | "fails" | "until" | "stays";
    readonly commands: string;
    /** What they print, if the document shows it. */
    printed: string | undefined;
    readonly line: number;
  }
  | { readonly kind: "by-hand"; readonly line: number; readonly before: string }
  | {
    readonly kind: "write";
    readonly file: string;
    readonly append: boolean;
    readonly text: string;
    readonly line: number;
  }
  | { readonly kind: "interrupt"; readonly command: string; readonly line: number };

/** The steps of a document; an unknown kind of block in the place of a known one throws. */
export function stepsOf(document: string): Step[] {
  const steps: Step[] = [];
  const lines = document.split("\n");
  for (let at = 0; at < lines.length; at++) {
    const line = at + 1;
    const interrupted = /^<!-- Ctrl-C: (.*) -->$/.exec(lines[at]!);
    if (interrupted) steps.push({ kind: "interrupt", command: interrupted[1]!, line });
    const opened = /^```(\S+) ?(.*)$/.exec(lines[at]!);
    if (!opened) continue;
    const end = lines.indexOf("```", at);
    const before = lines.slice(0, at).findLast((text) => text !== "") ?? "";
    const text = lines.slice(at + 1, end).join("\n") + "\n";
    at = end;
    const [, language, rest] = opened;
    if (language === "text") {
      const last = steps.at(-1);
      if (last?.kind === "run" && last.printed === undefined && rest === "") last.printed = text;
      continue;
    }
    if (language === "sh") {
      const how = rest === "" ? "once" : rest!;
      if (how === "by-hand") steps.push({ kind: "by-hand", line, before });
      else if (how === "once" || how === "fails" || how === "until" || how === "stays") {
        steps.push({ kind: "run", how, commands: text, printed: undefined, line });
      } else throw new Error(`line ${line}: a block of sh that is ${how}`);
      continue;
    }
    const [, verb, file] = /^(file|append)=(\S+)$/.exec(rest!) ?? [];
    if (verb) steps.push({ kind: "write", file: file!, append: verb === "append", text, line });
  }
  return steps;
}

/** Whether text is what a document says that is printed. */
export function isPrinted(wanted: string, actual: string): boolean {
  const escape = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const lines = wanted.trim().split("\n").map((line) =>
    line.trim() === "…"
      ? "(?:.*\\n)*?"
      : line.trim().split("…").map((part) => escape(part).replace(/\s+/g, "\\s+")).join(".*") +
        "[ \\t]*\\n"
  );
  const text = actual.split("\n").map((line) => line.trim()).join("\n").trim() + "\n";
  return new RegExp(`^${lines.join("")}$`).test(text);
}

/** What a document needs beside the executable. */
export interface Setting {
  /** Folder in which the reader begins, in the home folder. */
  readonly folder: string;
  /** Programs by their names: shell scripts that stand in for what may not be here. */
  readonly programs?: Readonly<Record<string, string>>;
  /** Besides what every reader has. */
  readonly env?: Readonly<Record<string, string>>;
  /** Data folders beside `~/.realm`, below the home folder. */
  readonly data?: readonly string[];
}

/** Does what the document says. */
export async function carryOut(
  document: string,
  sandbox: Sandbox,
  setting: Setting,
): Promise<void> {
  const home = path.join(sandbox.folder, "home");
  const begin = path.join(home, setting.folder);
  const bin = path.join(sandbox.folder, "bin");
  await Deno.mkdir(begin, { recursive: true });
  await Deno.mkdir(bin);
  for (const folder of [".realm", ...setting.data ?? []]) {
    await sandbox.shareCache(path.join(home, folder));
  }
  await Deno.symlink(EXECUTABLE, path.join(bin, "realm"));
  for (const [name, script] of Object.entries({ ...STAND_INS, ...setting.programs })) {
    if (Object.hasOwn(STAND_INS, name) && await isHere(name)) continue;
    await Deno.writeTextFile(path.join(bin, name), `#!/bin/sh\n${script}`, { mode: 0o755 });
  }
  const env = {
    HOME: home,
    PATH: `${bin}:${Deno.env.get("PATH")}`,
    TMPDIR: path.join(sandbox.folder, "tmp"),
    NO_COLOR: "1",
    ...setting.env,
  };
  const shell = new Session(begin, env);
  const staying: { command: string; running: Running }[] = [];
  const interrupt = async (each: typeof staying[number]) => {
    staying.splice(staying.indexOf(each), 1);
    try {
      each.running.kill("SIGINT");
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // it has ended by itself
    }
    const late = setTimeout(() => each.running.kill("SIGKILL"), LATE_MS);
    const ended = await each.running.ended;
    clearTimeout(late);
    return ended;
  };
  try {
    for (const step of stepsOf(withFreePorts(document))) {
      const where = `line ${step.line}`;
      switch (step.kind) {
        case "by-hand":
          assert.match(step.before, /by hand/i, `${where}: what is not run says so`);
          break;
        case "write": {
          const file = path.resolve(await shell.folder(), step.file.replace(/^~/, home));
          await Deno.mkdir(path.dirname(file), { recursive: true });
          await Deno.writeTextFile(file, step.append ? `\n${step.text}` : step.text, {
            append: step.append,
          });
          break;
        }
        case "interrupt": {
          const found = staying.findLast(({ command }) => command.startsWith(step.command));
          assert.ok(found, `${where}: ${step.command} runs`);
          const { status, stderr } = await interrupt(found);
          assert.equal(status, 0, `${where}: ${stderr}`);
          break;
        }
        case "run":
          if (step.how === "stays") {
            const command = step.commands.trim();
            const running = start("sh", ["-c", `exec 2>&1; exec ${command}`], {
              cwd: await shell.folder(),
              env,
            });
            staying.push({ command, running });
            await untilPrinted(running, step.printed ?? "", where);
          } else await runBlock(shell, step, where);
      }
    }
  } finally {
    for (const each of [...staying]) await interrupt(each);
    await shell.end();
  }
}

async function runBlock(
  shell: Session,
  { how, commands, printed }: Extract<Step, { kind: "run" }>,
  where: string,
): Promise<void> {
  const late = performance.now() + LATE_MS;
  while (true) {
    const { status, output } = await shell.run(commands);
    const isRight = (how === "fails") === (status !== 0) &&
      (printed === undefined || isPrinted(printed, output));
    if (isRight) return;
    const story = `${where}: $ ${commands}${output}(status ${status})`;
    if (how !== "until" || performance.now() > late) {
      assert.fail(printed === undefined ? story : `${story}\nwanted:\n${printed}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

/** Waits until a command that goes on has printed this. */
async function untilPrinted(running: Running, wanted: string, where: string): Promise<void> {
  let output = "";
  const late = setTimeout(() => running.kill("SIGKILL"), LATE_MS);
  try {
    while (!isPrinted(wanted, output)) {
      const line = await running.line();
      if (line === null) assert.fail(`${where}: it ended, or was late:\n${output}`);
      output += `${line}\n`;
    }
  } finally {
    clearTimeout(late);
  }
}

/** What a machine may lack, by other means. */
const STAND_INS: Readonly<Record<string, string>> = {
  // Only what documents use: an address, -s, -d DATA.
  curl: `exec '${Deno.execPath()}' eval '
let body;
let url;
for (let i = 0; i < Deno.args.length; i++) {
  if (Deno.args[i] === "-d") body = Deno.args[++i];
  else if (!Deno.args[i].startsWith("-")) url = Deno.args[i];
}
if (!url.includes("://")) url = "http://" + url;
const answer = await fetch(url, body === undefined ? {} : { method: "POST", body });
await Deno.stdout.write(new Uint8Array(await answer.arrayBuffer()));
' -- "$@"
`,
};

async function isHere(program: string): Promise<boolean> {
  const { success } = await new Deno.Command("sh", {
    args: ["-c", `command -v ${program}`],
    stdout: "null",
  }).output();
  return success;
}

/** The document with other numbers of ports, which nobody listens on. */
function withFreePorts(document: string): string {
  const ports = new Set(
    Array.from(
      document.matchAll(/(?:\d\.0\.0\.[01]:|localhost:|\/tcp\/)(\d{4,5})\b/g),
      (m) => m[1]!,
    ),
  );
  let text = document;
  for (const port of ports) {
    text = text.replaceAll(new RegExp(`\\b${port}\\b`, "g"), `${freePort()}`);
  }
  return text;
}

/** A shell that is told one block after the other. */
class Session {
  readonly #child: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #reader: ReadableStreamDefaultReader<string>;
  readonly #mark = `--- ${crypto.randomUUID()}`;

  constructor(folder: string, env: Record<string, string>) {
    this.#child = new Deno.Command("sh", {
      cwd: folder,
      clearEnv: true,
      env,
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#writer = this.#child.stdin.getWriter();
    this.#reader = this.#child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** The folder in which the next block begins. */
  async folder(): Promise<string> {
    return (await this.run("pwd")).output.trim();
  }

  /**
   * Runs a block, with nothing on its standard input; a change of folder or variables stays. The
   * first command that fails ends it, with its status.
   */
  async run(block: string): Promise<{ readonly status: number; readonly output: string }> {
    // Each command ends the block when it fails, the shell itself goes on: `set -e` would end it.
    const commands = block.replace(/^#.*\n/gm, "").trim().split(/(?<!\\)\n(?!\s|done\b|fi\b)/)
      .map((each) => `{ ${each}\n}`).join(" &&\n");
    await this.#writer.write(
      new TextEncoder().encode(
        `{ ${commands}\n} </dev/null 2>&1\nstatus=$?\necho "${this.#mark} $status"\n`,
      ),
    );
    let output = "";
    while (true) {
      const end = new RegExp(`${this.#mark} (\\d+)\\n`).exec(output);
      if (end) return { status: Number(end[1]), output: output.slice(0, end.index) };
      const { value, done } = await this.#reader.read();
      if (done) assert.fail(`the shell ended:\n${output}`);
      output += value;
    }
  }

  async end(): Promise<void> {
    await this.#writer.close();
    await this.#reader.cancel();
    await this.#child.status;
  }
}
