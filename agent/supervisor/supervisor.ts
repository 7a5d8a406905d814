/**
 * Keeps what is desired running: carries out the steps of `realm/reconcile.ts` on the engine, and
 * asks for new ones whenever something changed or a back-off is over.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import { formatBacktrace } from "../kernel/frame.ts";
import type {
  Clock,
  EnforcedLimits,
  Exit,
  Isolation,
  LogLevel,
  Replica,
  ReplicaProcess,
  StartOptions,
  Usage,
} from "../kernel/ports.ts";
import { type DesiredReplica, takesRequests } from "../realm/desired.ts";
import { stepsOfMinority } from "../realm/peering/majority.ts";
import { dueAt, keyOf, type ObservedReplica, reconcile, type Step } from "../realm/reconcile.ts";

/** What the supervisor needs of the rest of the agent. */
export interface SupervisorInit {
  readonly clock: Clock;
  /**
   * Prepares and starts one replica; rejects with a RealmError when that cannot be done, and soon
   * once `signal` is aborted: it is not wanted any more.
   */
  start(
    replica: DesiredReplica,
    io: Pick<StartOptions, "stdio" | "notice" | "log">,
    signal: AbortSignal,
  ): Promise<Replica>;
  /** Where the output of one instance goes; closed when it ended. */
  openLog(component: string, index: number): ReplicaLog;
  /**
   * The replicas of a request handler that take requests from now on. Resolves when those that
   * were there before have finished what they had.
   */
  serve(component: string, replicas: readonly Replica[]): Promise<void>;
  /** What an instance used, once it ended; `startedAtMs` tells it from the one before. */
  ended(instance: {
    readonly component: string;
    readonly index: number;
    readonly startedAtMs: number;
    readonly restarts: number;
    readonly usage: Usage;
  }): void;
}

/** The log of one instance. */
export interface ReplicaLog {
  write(stream: "stdout" | "stderr", bytes: Uint8Array): void;
  notice(text: string): void;
  /** A line of `wasi:logging`. */
  log(level: LogLevel, text: string): void;
  close(): void;
}

/** One replica, as `status` shows it. Times are wall time in milliseconds. */
export interface ReplicaView {
  readonly component: string;
  readonly index: number;
  readonly digest: string;
  readonly state: "starting" | "running" | "backoff" | "stopped" | "failed";
  readonly restarts: number;
  readonly startedAtMs: number | null;
  readonly retryAtMs: number | null;
  readonly limits: EnforcedLimits | null;
  readonly usage: Usage | null;
  readonly isolation: Isolation;
  /** The one it runs in, where that is not the agent's. */
  readonly process: ReplicaProcess | null;
  readonly lastExit: { readonly atMs: number; readonly exit: Exit } | null;
}

/** A replaced or stopped handler has this long to finish its requests. */
const DRAIN_MS = 10_000;

/** Output that a replica may write a second; past it the guest waits, not the agent. */
const OUTPUT_BYTES_PER_SEC = 1024 * 1024;
/** What it may write at once after it was silent. */
const OUTPUT_BYTES_BURST = 4 * 1024 * 1024;

/** Slows down who writes without end. */
class Pace {
  #bytes = OUTPUT_BYTES_BURST;
  #atMs: number;

  constructor(readonly clock: Clock) {
    this.#atMs = clock.monotonicMs();
  }

  /** Resolves when as much may follow; at once within the rate. */
  after(bytes: number): Promise<void> | undefined {
    const now = this.clock.monotonicMs();
    const refilled = (now - this.#atMs) * OUTPUT_BYTES_PER_SEC / 1000;
    this.#bytes = Math.min(OUTPUT_BYTES_BURST, this.#bytes + refilled) - bytes;
    this.#atMs = now;
    if (this.#bytes >= 0) return undefined;
    return this.clock.sleep(-this.#bytes * 1000 / OUTPUT_BYTES_PER_SEC);
  }
}

/** One replica and its current instance. */
interface Entry {
  readonly replica: DesiredReplica;
  readonly attempt: number;
  state: ObservedReplica["state"];
  /** Ends its start, where that is still under way. */
  readonly start: AbortController;
  live: Replica | undefined;
  /** The instance that serves until this one does. */
  before: Replica | undefined;
  readonly restarts: number;
  readonly startedAtMs: number;
  lastExit: ReplicaView["lastExit"];
}

/** Runs replicas until it is closed. */
export class Supervisor {
  #desired: readonly DesiredReplica[] = [];
  #mayStart = true;
  readonly #entries = new Map<string, Entry>();
  /** Starts of each replica since it is desired, by its key. */
  readonly #starts = new Map<string, number>();
  /** Lives of instances, from the start on, and those that still finish requests. */
  readonly #leaving = new Set<Promise<void>>();
  readonly #abort = new AbortController();
  #due = new AbortController();

  constructor(readonly init: SupervisorInit) {}

  /**
   * What should run from now on. Without `mayStart` nothing new is started and nothing replaced:
   * what runs is kept.
   */
  set(desired: readonly DesiredReplica[], { mayStart = true } = {}): void {
    this.#desired = desired;
    this.#mayStart = mayStart;
    const keys = new Set(desired.map(keyOf));
    for (const key of this.#starts.keys()) if (!keys.has(key)) this.#starts.delete(key);
    this.#reconcile();
  }

  /** Every replica, sorted as desired ones are. */
  replicas(): ReplicaView[] {
    const due = (entry: Entry) => dueAt(this.#desired, [observe(entry)]);
    const offset = this.init.clock.wallMs() - this.init.clock.monotonicMs();
    return [...this.#entries.values()].map((entry) => {
      const { replica, state, live } = entry;
      const retryAt = due(entry);
      const running = state.kind === "running" || state.kind === "starting";
      return {
        component: replica.component,
        index: replica.index,
        digest: replica.digest,
        state: state.kind === "exited"
          ? retryAt !== undefined ? "backoff" : state.success ? "stopped" : "failed"
          : state.kind === "stopping"
          ? "stopped"
          : state.kind,
        restarts: entry.restarts,
        startedAtMs: running ? entry.startedAtMs : null,
        retryAtMs: retryAt === undefined ? null : retryAt + offset,
        limits: live?.limits() ?? null,
        usage: live?.usage() ?? null,
        isolation: replica.spec.isolation,
        process: live?.process?.() ?? null,
        lastExit: entry.lastExit,
      } satisfies ReplicaView;
    }).sort((a, b) =>
      a.component < b.component ? -1 : a.component > b.component ? 1 : a.index - b.index
    );
  }

  /** Stops everything, also what is being started. */
  async close(): Promise<void> {
    this.#abort.abort();
    this.#due.abort();
    this.#desired = [];
    for (const entry of this.#entries.values()) abandon(entry);
    const instances = [...this.#entries.values()].flatMap(({ live, before }) => [live, before]);
    await Promise.all(instances.map((replica) => replica?.stop()));
    this.#entries.clear();
    await Promise.all(this.#leaving);
  }

  #reconcile(): void {
    if (this.#abort.signal.aborted) return;
    const now = this.init.clock.monotonicMs();
    const observed = () => [...this.#entries.values()].map(observe);
    const steps = reconcile(this.#desired, observed(), now);
    for (const step of this.#mayStart ? steps : stepsOfMinority(steps)) this.#carryOut(step);
    this.#wakeAt(dueAt(this.#desired, observed()));
  }

  #wakeAt(due: number | undefined): void {
    this.#due.abort();
    if (due === undefined) return;
    this.#due = new AbortController();
    const wait = Math.max(0, due - this.init.clock.monotonicMs());
    this.init.clock.sleep(wait, this.#due.signal).then(() => this.#reconcile(), () => {});
  }

  #carryOut(step: Step): void {
    switch (step.kind) {
      case "start":
        this.#start(step.replica, 0, undefined);
        return;
      case "restart":
        this.#start(step.replica, step.attempt, this.#entries.get(keyOf(step.replica)));
        return;
      case "replace": {
        const old = this.#entries.get(keyOf(step.replica))!;
        // The old one serves until the new one does; `#publish` then lets it go. Of a command that
        // does not run there is nothing to wait for.
        if (takesRequests(step.replica) || old.live === undefined) {
          this.#start(step.replica, 0, old);
        } else this.#stop(old);
        return;
      }
      case "stop":
        this.#stop(this.#entries.get(keyOf(step))!);
        return;
    }
  }

  #start(replica: DesiredReplica, attempt: number, before: Entry | undefined): void {
    const { clock } = this.init;
    const key = keyOf(replica);
    const restarts = this.#starts.get(key) ?? 0;
    this.#starts.set(key, restarts + 1);
    const entry: Entry = {
      replica,
      attempt,
      state: { kind: "starting" },
      start: new AbortController(),
      live: undefined,
      before: before?.live ?? before?.before,
      restarts,
      startedAtMs: clock.wallMs(),
      lastExit: before?.lastExit ?? null,
    };
    this.#entries.set(key, entry);
    if (before) abandon(before);
    this.#leave(this.#run(entry));
  }

  async #run(entry: Entry): Promise<void> {
    const { clock } = this.init;
    const { replica } = entry;
    const log = this.init.openLog(replica.component, replica.index);
    const pace = new Pace(clock);
    const startedMs = clock.monotonicMs();
    let exit: Exit;
    try {
      const live = await this.init.start(replica, {
        notice: (text) => log.notice(text),
        log: (level, text) => log.log(level, text),
        stdio: {
          terminal: { stdin: false, stdout: false, stderr: false },
          read: () => Promise.resolve(null),
          write: (stream, bytes) => {
            log.write(stream, bytes);
            return pace.after(bytes.length);
          },
        },
      }, entry.start.signal);
      if (this.#entries.get(keyOf(replica)) !== entry || this.#abort.signal.aborted) {
        await live.stop(); // It was replaced or stopped while it started.
        return log.close();
      }
      entry.live = live;
      entry.state = { kind: "running" };
      this.#publish(replica.component, take(entry));
      exit = await live.exited;
      const { restarts, startedAtMs } = entry;
      const { component, index } = replica;
      this.init.ended({ component, index, startedAtMs, restarts, usage: live.usage() });
    } catch (error) {
      if (this.#abort.signal.aborted) return log.close();
      exit = failureOf(error);
      if (this.#entries.get(keyOf(replica)) === entry) {
        const before = take(entry);
        if (before) this.#publish(replica.component, before);
      } else return log.close(); // its successor has what was before, and says what came of it
    }
    const now = clock.monotonicMs();
    entry.lastExit = { atMs: clock.wallMs(), exit };
    entry.state = {
      kind: "exited",
      success: exit.kind === "exit" && exit.status === 0,
      atMs: now,
      ranMs: now - startedMs,
    };
    entry.live = undefined;
    if (exit.kind !== "stopped") log.notice(formatExit(exit));
    log.close();
    this.#publish(replica.component, undefined);
    this.#reconcile();
  }

  /** Tells who serves now, and stops `gone` when it has finished its requests. */
  #publish(component: string, gone: Replica | undefined): void {
    const serving = [...this.#entries.values()]
      .filter((e) => e.replica.component === component && takesRequests(e.replica))
      .flatMap((e) => e.state.kind === "running" ? e.live ?? [] : e.before ?? []);
    const drained = this.init.serve(component, serving);
    if (gone) this.#leave(this.#drain(gone, drained));
  }

  async #drain(replica: Replica, drained: Promise<void>): Promise<void> {
    const late = new AbortController();
    const signal = AbortSignal.any([late.signal, this.#abort.signal]);
    await Promise.race([drained, this.init.clock.sleep(DRAIN_MS, signal).catch(() => {})]);
    late.abort();
    await replica.stop();
  }

  #leave(done: Promise<void>): void {
    this.#leaving.add(done);
    done.finally(() => this.#leaving.delete(done));
  }

  /** Takes the entry out; its instance ends when its requests are done. */
  #stop(entry: Entry): void {
    const { live, replica } = entry;
    if (live === undefined || entry.state.kind === "exited") {
      this.#entries.delete(keyOf(replica));
      abandon(entry);
      const before = take(entry);
      if (before) this.#publish(replica.component, before);
      return;
    }
    if (takesRequests(replica)) {
      this.#entries.delete(keyOf(replica));
      this.#publish(replica.component, live);
      return;
    }
    entry.state = { kind: "stopping" };
    this.#leave(
      live.stop().then(() => {
        if (this.#entries.get(keyOf(replica)) === entry) this.#entries.delete(keyOf(replica));
        this.#reconcile();
      }),
    );
  }
}

/** The instance that served until now; from now on nobody's. */
function take(entry: Entry): Replica | undefined {
  const { before } = entry;
  entry.before = undefined;
  return before;
}

/** Ends the start of an entry whose replica nobody wants any more. */
function abandon({ replica, start }: Entry): void {
  start.abort(new RealmError("failed", `Cannot start ${replica.component}: not wanted any more`));
}

function observe(entry: Entry): ObservedReplica {
  const { replica, attempt, state } = entry;
  const { component, index, digest, revision } = replica;
  return { component, index, digest, revision, attempt, state };
}

function failureOf(error: unknown): Exit {
  const known = error instanceof RealmError;
  return {
    kind: "trap",
    code: known ? error.code : "failed",
    message: error instanceof Error ? error.message : String(error),
    ...(known && error.hint ? { hint: error.hint } : {}),
    backtrace: [],
  };
}

/** `exited with status 3`; `out-of-fuel: it used its 1000 fuel`. */
export function formatExit(exit: Exit): string {
  if (exit.kind === "stopped") return "stopped";
  if (exit.kind === "exit") return `exited with status ${exit.status}`;
  return `${exit.code}: ${exit.message}${formatBacktrace(exit.backtrace)}`;
}
