/**
 * Commands of the host that the owner runs on this machine: `realm exec`.
 *
 * Four have to agree: the machine's policy.toml (`exec = true`), its agent (`--allow-exec`), the
 * manifest (`realm.exec` names the node), and the owner, who signs each command with a nonce and a
 * time until when it may start. A command is run once, by the request that brought its event; the
 * event, and how it ended, stay in the control log. There is no shell, no input, and nothing of the
 * agent's environment but a search path.
 *
 * @module
 */
import type { ExecEvent } from "../control/api.ts";
import { RealmError } from "../kernel/error.ts";
import type { SignedEvent } from "../kernel/event.ts";
import { formatPublicKey } from "../kernel/key.ts";
import type { Clock } from "../kernel/ports.ts";
import { type ControlEvent, readControlEvent } from "../realm/control_event.ts";
import type { Policy } from "../realm/policy.ts";
import type { RealmState } from "./realm_state.ts";

/** What {@link HostCommands} is given. */
export interface HostCommandsInit {
  /** `realm agent --allow-exec`. */
  readonly isAllowed: boolean;
  readonly nodeName: () => string;
  readonly policy: () => Promise<Policy>;
  readonly state: RealmState;
  readonly clock: Clock;
  /** Takes the owner's event, durably; throws RealmError when it is refused. */
  readonly append: (event: SignedEvent) => void;
  /** Writes an event of this node. */
  readonly write: (said: ControlEvent) => void;
}

/** How long a command may take at most. */
export const EXEC_MS_MAX = 600_000;
/** How far in the future a command may say that it may start. */
const EXEC_EXPIRY_MS_MAX = 600_000;
/** Commands at once. */
const EXECS_MAX = 4;
/** Statuses of a shell: killed by a signal, cannot be run, is not there. */
const [SIGNALLED, NOT_RUNNABLE, NOT_FOUND] = [128, 126, 127];
/** Bytes of output in one event. */
const CHUNK_BYTES = 32 * 1024;

/** See the module. */
export class HostCommands {
  #running = 0;

  constructor(readonly init: HostCommandsInit) {}

  /**
   * Runs the command of an event; its output as it comes, at the reader's pace, then its status. It
   * is killed when it takes longer than `timeoutMs`, and when the signal is aborted.
   *
   * Throws RealmError `refused` or `policy` before anything is run, and what the log refuses.
   */
  async *run(
    event: SignedEvent,
    timeoutMs: number,
    signal: AbortSignal,
  ): AsyncGenerator<ExecEvent, void, undefined> {
    const said = readControlEvent(event.event);
    await this.#requireAllowed(event, said);
    if (said.kind !== "exec") return; // it was refused above
    // With nothing to wait for in between: an event is good for one run, by whoever brings it first.
    this.#requireSlot();
    if (this.init.state.log.topic?.has(event.id) === true) throw refused("it was used before");
    this.init.append(event);
    const id = event.id.toString();
    if (this.init.state.view?.execs.some((exec) => exec.event === id) !== true) {
      throw refused("its event does not count in the control log");
    }
    this.#running++;
    let status = NOT_RUNNABLE;
    try {
      const child = spawn(said.command);
      const over = Promise.withResolvers<void>();
      const kill = () => {
        killGroup(child);
        over.resolve(); // whoever got out of the group may keep its output open for ever
      };
      const timer = setTimeout(kill, Math.min(timeoutMs, EXEC_MS_MAX));
      signal.addEventListener("abort", kill, { once: true });
      let isRead = false;
      try {
        if (signal.aborted) kill();
        yield* outputOf(child, over.promise);
        isRead = true;
      } finally {
        if (!isRead) kill(); // nobody reads on
        clearTimeout(timer);
        signal.removeEventListener("abort", kill);
        const ended = await child.status;
        status = ended.signal === null ? ended.code : SIGNALLED + (ended.code & 0x7f);
      }
    } catch (error) {
      const isMissing = error instanceof Deno.errors.NotFound;
      if (isMissing) status = NOT_FOUND;
      const why = error instanceof Error ? error.message : String(error);
      const reason = isMissing ? "there is no such program" : why;
      const text = new TextEncoder().encode(`Cannot run ${said.command[0]}: ${reason}\n`);
      yield { kind: "output", stream: "stderr", data: text.toBase64() };
    } finally {
      this.#running--;
      this.init.write({ kind: "executed", exec: event.id, status: Math.min(status, 255) });
    }
    yield { kind: "exit", status: Math.min(status, 255) };
  }

  async #requireAllowed({ event }: SignedEvent, said: ControlEvent): Promise<void> {
    const { isAllowed, nodeName, policy, state, clock } = this.init;
    const name = nodeName();
    if (said.kind !== "exec") throw refused(`its event is a ${said.kind}`);
    if (!isAllowed) throw refused(`${name} does not allow it`, "Start its agent with --allow-exec");
    if (!(await policy()).exec) {
      throw new RealmError("policy", `Cannot run the command: the policy of ${name} forbids it`, {
        hint: `Write exec = true into policy.toml on ${name}`,
      });
    }
    if (state.inForce?.manifest.realm.exec.includes(name) !== true) {
      throw refused(`the manifest does not allow it on ${name}`, "Name the node in [realm] exec");
    }
    if (said.node !== name) throw refused(`it is for ${said.node}, this is ${name}`);
    if (formatPublicKey(event.author) !== state.owner) throw refused("it is not the owner's");
    const leftMs = said.expiresAtMs - clock.wallMs();
    if (leftMs <= 0) throw refused("its time has run out", "Compare the clocks of both machines");
    if (leftMs > EXEC_EXPIRY_MS_MAX) throw refused("it may start too late for a command");
  }

  /** Throws RealmError `limit-exceeded`; whoever may run takes its place before anything else does. */
  #requireSlot(): void {
    if (this.#running < EXECS_MAX) return;
    throw new RealmError(
      "limit-exceeded",
      `Cannot run the command: ${EXECS_MAX} are running on ${this.init.nodeName()} already`,
    );
  }
}

function spawn([program, ...args]: readonly string[]): Deno.ChildProcess {
  return new Deno.Command(program!, {
    args,
    cwd: "/",
    clearEnv: true,
    env: { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    detached: true, // in a group of processes of its own
  }).spawn();
}

/** Kills a command with all that it has started, but for what left its group. */
function killGroup(child: Deno.ChildProcess): void {
  try {
    if (Deno.build.os === "windows") child.kill("SIGKILL");
    else Deno.kill(-child.pid, "SIGKILL");
  } catch {
    // It has ended.
  }
}

/** Both streams as they come, until `over`; of each no more is taken than is read. */
async function* outputOf(
  child: Deno.ChildProcess,
  over: Promise<void>,
): AsyncGenerator<ExecEvent, void, undefined> {
  const streams = (["stdout", "stderr"] as const).map((stream) => ({
    stream,
    reader: child[stream].getReader(),
  }));
  type Source = typeof streams[number];
  const next = (from: Source) => from.reader.read().then((result) => ({ from, result }));
  const pending = new Map(streams.map((from) => [from, next(from)]));
  try {
    while (pending.size > 0) {
      const came = await Promise.race([over, ...pending.values()]);
      if (came === undefined) return;
      const { from, result } = came;
      if (result.done) {
        pending.delete(from);
        continue;
      }
      for (let at = 0; at < result.value.length; at += CHUNK_BYTES) {
        const data = result.value.subarray(at, at + CHUNK_BYTES).toBase64();
        yield { kind: "output", stream: from.stream, data };
      }
      pending.set(from, next(from));
    }
  } finally {
    for (const { reader } of streams) await reader.cancel().catch(() => {});
  }
}

function refused(why: string, hint?: string): RealmError {
  return new RealmError("refused", `Cannot run the command: ${why}`, hint ? { hint } : {});
}
