/**
 * Which service of the machine runs the agent, and starting that again.
 *
 * Services are those that `install.sh --service` makes: `realm.service` of systemd, of the user or
 * the system, and `dev.realm.agent` of launchd. Whether it is the one is told by the process.
 *
 * @module
 */
import { RealmError } from "../../agent/kernel/error.ts";

/** Runs a program of the machine; `undefined` where there is none. */
export type Run = (
  ...words: readonly [string, ...string[]]
) => Promise<{ readonly status: number; readonly output: string } | undefined>;

/** What starts the agent and keeps it running. */
export interface Service {
  /** For people. */
  readonly name: string;
  /** The command that starts it again. */
  readonly restart: readonly [string, ...string[]];
}

/** The service whose process is `pid`. */
export async function serviceOf(pid: number, run: Run, uid: number): Promise<Service | undefined> {
  for (const flags of [["--user"], []]) {
    const words = ["systemctl", ...flags] as [string, ...string[]];
    const shown = await run(...words, "show", "--property=MainPID", "--value", "realm.service");
    if (shown?.output.trim() === String(pid)) {
      const of = flags.length > 0 ? "of this user" : "of the system";
      return { name: `realm.service ${of}`, restart: [...words, "restart", "realm.service"] };
    }
  }
  for (const domain of [`gui/${uid}`, "system"]) {
    const printed = await run("launchctl", "print", `${domain}/dev.realm.agent`);
    if (printed !== undefined && new RegExp(`^\\s*pid = ${pid}$`, "m").test(printed.output)) {
      const label = `${domain}/dev.realm.agent`;
      return { name: label, restart: ["launchctl", "kickstart", "-k", label] };
    }
  }
  return undefined;
}

/** Runs the command; throws RealmError `failed` with what it said. */
export async function restart(words: readonly [string, ...string[]], run: Run): Promise<void> {
  const ended = await run(...words);
  if (ended?.status === 0) return;
  const said = ended === undefined ? "there is no such program" : ended.output.trim();
  throw new RealmError("failed", `Cannot restart the agent by "${words.join(" ")}": ${said}`);
}

/** {@link Run} on this machine; what runs is ended when `signal` is aborted. */
export function runHere(signal = new AbortController().signal): Run {
  return async (program, ...args) => {
    try {
      const command = new Deno.Command(program, { args, stdin: "null", signal });
      const { code, stdout, stderr } = await command.output();
      const decoder = new TextDecoder();
      return { status: code, output: decoder.decode(stdout) + decoder.decode(stderr) };
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
  };
}

/**
 * Runs a line of the shell, whose output goes nowhere: an agent may be left running by it. The shell
 * is ended when `signal` is aborted.
 */
export async function restartByShell(line: string, signal: AbortSignal): Promise<void> {
  const { code } = await new Deno.Command("sh", {
    args: ["-c", line],
    stdin: "null",
    stdout: "null",
    stderr: "null",
    signal,
  }).spawn().status;
  if (code === 0) return;
  throw new RealmError("failed", `Cannot restart the agent by "${line}": status ${code}`);
}
