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
import type { RunningSlot } from "../realm/node_rollout.ts";
import { dueAt, keyOf, type ObservedReplica, reconcile, type Step } from "../realm/reconcile.ts";

import { freshHealth, type Health, noteProbe } from "../realm/health.ts";
import { Pace } from "./pace.ts";
import { formatProbe, type Probe, probe } from "./probe.ts";

/** What the supervisor needs of the rest of the agent. */
export interface SupervisorInit {
  readonly clock: Clock;
  /**
   * Prepares and starts one replica; rejects with a RealmError when that cannot be done, and soon
   * once `signal` is aborted: it is not wanted any more. `waits` is told again and again while its
   * bytes cannot be had.
   */
  start(
    replica: DesiredReplica,
    io: Pick<StartOptions, "stdio" | "notice" | "log"> & { readonly waits: () => void },
    signal: AbortSignal,
  ): Promise<Replica>;
  /** Where the output of one instance goes; closed when it ended. */
  openLog(replica: DesiredReplica): ReplicaLog;
  /**
   * The replicas of a request handler that take requests from now on. Resolves when those that
   * were there before have finished what they had.
   */
  serve(component: string, replicas: readonly Replica[], awaited: boolean): Promise<void>;
  /** What an instance used, once it ended; `startedAtMs` tells it from the one before. */
  ended(instance: {
    readonly component: string;
    readonly index: number;
    readonly startedAtMs: number;
    readonly restarts: number;
    readonly usage: Usage;
  }): void;
  /** What {@link Supervisor.slots} says is another. */
  changed?(): void;
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
  /** `starting` until it is ready; `unhealthy` while it is out of the route. */
  readonly state: "starting" | "running" | "unhealthy" | "backoff" | "stopped" | "failed";
  readonly restarts: number;
  readonly startedAtMs: number | null;
  readonly retryAtMs: number | null;
  readonly limits: EnforcedLimits | null;
  readonly usage: Usage | null;
  readonly isolation: Isolation;
  /** The one it runs in, where that is not the agent's. */
  readonly process: ReplicaProcess | null;
  readonly lastExit: { readonly atMs: number; readonly exit: Exit } | null;
  /** What its last bad probe said, while it is not healthy: as {@link Trouble.what}. */
  readonly health?: string;
}

/** What a slot has that cannot be made ready. */
export interface Trouble {
  readonly replica: DesiredReplica;
  /** `GET /healthz: 503 "no database"`, or how it ended. */
  readonly what: string;
}

/**
 * A replaced or stopped handler has this long to finish its requests, or as long as one may take
 * where that is longer.
 */
const DRAIN_MS = 10_000;
/** A command that runs so long has started well. */
const SETTLED_MS = 2_000;
/** Starts in vain, one after the other, that are trouble. */
const STARTS_IN_VAIN = 3;
/** A replica that waits so long for its bytes keeps nobody else waiting. */
const LATE_MS = 30_000;

/** One replica and its current instance. */
interface Entry {
  replica: DesiredReplica;
  readonly attempt: number;
  state: ObservedReplica["state"];
  /** Ends its start, where that is still under way, and its probes. */
  readonly start: AbortController;
  live: Replica | undefined;
  /** Whether it takes requests, or runs well if it takes none. */
  isReady: boolean;
  /** Since when its bytes cannot be had, and whether that is for long. */
  waitsSinceMs: number | undefined;
  isLate: boolean;
  health: Health | undefined;
  /** The last that was bad. */
  probe: Probe | undefined;
  /** Why it is being stopped, where that is no wish of anybody. */
  verdict: Exit | undefined;
  /** What serves until this one does. */
  before: Entry | undefined;
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
  /** By replica: instances that are out of their slot and not gone yet. */
  readonly #going = new Map<string, number>();
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
    for (const replica of desired) {
      // What may change while it runs is read from the manifest that is in force now.
      const entry = this.#entries.get(keyOf(replica));
      const { revision, digest } = entry?.replica ?? {};
      if (revision === replica.revision && digest === replica.digest) entry!.replica = replica;
    }
    this.#reconcile();
  }

  /** What there is in each slot, for rollouts. */
  slots(): RunningSlot[] {
    return [...this.#entries.values()].map((entry) => {
      const { replica, state, before, isLate } = entry;
      const served = servingOf(entry);
      const isDone = state.kind === "exited" && state.success;
      return {
        replica,
        served: served?.replica,
        isReady: entry.isReady || isDone,
        isServed: served !== undefined || entry.isReady || isDone,
        isAlone: before === undefined && !this.#going.has(keyOf(replica)),
        isBroken: state.kind === "exited" && !isDone || isSick(entry) || isLate,
        isInVain: isInVain(entry) || isLate,
        isLate,
      };
    });
  }

  /** Slots that cannot be made ready. */
  troubles(): Trouble[] {
    return [...this.#entries.values()].filter(isInVain).map(({ replica, probe, lastExit }) => {
      const what = probe !== undefined
        ? formatProbe(probe)
        : lastExit === null
        ? "it did not start"
        : formatExit(lastExit.exit);
      return { replica, what };
    });
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
          : entry.health?.state === "unhealthy"
          ? "unhealthy"
          : entry.isReady || !takesRequests(replica)
          ? state.kind
          : "starting",
        restarts: entry.restarts,
        startedAtMs: running ? entry.startedAtMs : null,
        retryAtMs: retryAt === undefined ? null : retryAt + offset,
        limits: live?.limits() ?? null,
        usage: live?.usage() ?? null,
        isolation: replica.spec.isolation,
        process: live?.process?.() ?? null,
        lastExit: entry.lastExit,
        ...running && entry.probe !== undefined && entry.health?.state !== "healthy" &&
          { health: formatProbe(entry.probe) },
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
    const entries = [...this.#entries.values()].flatMap(withBefore);
    for (const entry of entries) abandon(entry);
    await Promise.all(entries.map(({ live }) => live?.stop()));
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
        if (this.#goBack(old, step.replica)) return;
        // The old one serves until the new one does; `#publish` then lets it go. Of a command that
        // does not run there is nothing to wait for.
        const isBeside = takesRequests(step.replica) && !step.replica.stopsFirst;
        if (isBeside || old.live === undefined) this.#start(step.replica, 0, old);
        else this.#stop(old);
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
      isReady: false,
      waitsSinceMs: undefined,
      isLate: false,
      health: undefined,
      probe: undefined,
      verdict: undefined,
      before: before && servingOf(before),
      restarts,
      startedAtMs: clock.wallMs(),
      lastExit: before?.lastExit ?? null,
    };
    this.#entries.set(key, entry);
    if (before && before !== entry.before) {
      abandon(before);
      // It does not serve, but may have: unhealthy ones finish what they accepted.
      if (before.live) this.#publish(replica.component, [before]);
    }
    this.#leave(this.#run(entry));
  }

  /** What served until now is what is wanted again: it goes on, and what was to follow it goes. */
  #goBack(entry: Entry, wanted: DesiredReplica): boolean {
    const { before } = entry;
    const isIt = before?.live !== undefined && before.isReady &&
      before.replica.revision === wanted.revision && before.replica.digest === wanted.digest;
    if (!isIt) return false;
    before.replica = wanted;
    this.#entries.set(keyOf(wanted), before);
    entry.before = undefined;
    abandon(entry);
    this.#publish(wanted.component, entry.live ? [entry] : []);
    return true;
  }

  async #run(entry: Entry): Promise<void> {
    const { clock } = this.init;
    const { replica } = entry;
    const log = this.init.openLog(replica);
    const pace = new Pace(clock);
    const startedMs = clock.monotonicMs();
    let exit: Exit;
    try {
      const live = await this.init.start(replica, {
        notice: (text) => log.notice(text),
        log: (level, text) => log.log(level, text),
        waits: () => this.#noteWait(entry),
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
      entry.isLate = false;
      entry.state = { kind: "running" };
      entry.health = replica.spec.health === undefined || !takesRequests(replica)
        ? undefined
        : freshHealth(clock.monotonicMs());
      if (entry.health !== undefined) this.#leave(this.#watch(entry, live));
      else if (takesRequests(replica)) this.#ready(entry);
      else {
        clock.sleep(SETTLED_MS, entry.start.signal).then(() => this.#ready(entry), () => {});
      }
      exit = await live.exited;
      const { restarts, startedAtMs } = entry;
      const { component, index } = replica;
      this.init.ended({ component, index, startedAtMs, restarts, usage: live.usage() });
      exit = entry.verdict ?? exit;
    } catch (error) {
      if (this.#abort.signal.aborted) return log.close();
      // Its successor has what was before, and says what came of it.
      if (this.#entries.get(keyOf(replica)) !== entry) return log.close();
      exit = failureOf(error);
    }
    const now = clock.monotonicMs();
    abandon(entry);
    entry.isLate = false;
    entry.lastExit = { atMs: clock.wallMs(), exit };
    entry.state = {
      kind: "exited",
      success: exit.kind === "exit" && exit.status === 0,
      atMs: now,
      ranMs: now - startedMs,
    };
    entry.live = undefined;
    entry.isReady = false;
    entry.health = undefined;
    if (exit.kind !== "stopped") log.notice(formatExit(exit));
    log.close();
    this.#publish(replica.component, []);
    this.#reconcile();
  }

  /** Its bytes cannot be had at this moment. */
  #noteWait(entry: Entry): void {
    const now = this.init.clock.monotonicMs();
    entry.waitsSinceMs ??= now;
    if (entry.isLate || now - entry.waitsSinceMs < LATE_MS) return;
    entry.isLate = true;
    if (this.#entries.get(keyOf(entry.replica)) === entry) this.init.changed?.();
  }

  /** It takes requests from now on; what served until now may go. */
  #ready(entry: Entry): void {
    if (entry.live === undefined || entry.isReady) return;
    entry.isReady = true;
    const before = entry.before;
    entry.before = undefined;
    this.#publish(entry.replica.component, before ? withBefore(before) : []);
  }

  /** Probes an instance until it ends. */
  async #watch(entry: Entry, live: Replica): Promise<void> {
    const { clock } = this.init;
    const { signal } = entry.start;
    while (entry.live === live && entry.health !== undefined && entry.health.state !== "failed") {
      const { health } = entry.replica.spec;
      if (health === undefined) return this.#ready(entry); // the manifest has none any more
      const result = await probe(live, health, clock, signal);
      if (signal.aborted || entry.live !== live) return;
      if (!result.isGood) entry.probe = result;
      this.#noteHealth(entry, noteProbe(entry.health, result.isGood, health, clock.monotonicMs()));
      try {
        await clock.sleep(health.intervalMs, signal);
      } catch {
        return;
      }
    }
  }

  #noteHealth(entry: Entry, health: Health): void {
    const before = entry.health!.state;
    entry.health = health;
    if (health.state === before) return;
    const { replica } = entry;
    if (health.state === "healthy") {
      entry.probe = undefined;
      return this.#ready(entry);
    }
    // It leaves the route first, and is started again second.
    entry.isReady = false;
    if (health.state === "unhealthy") return this.#publish(replica.component, []);
    const message = `${keyOf(replica)} is unhealthy: ${formatProbe(entry.probe!)}`;
    entry.verdict = { kind: "trap", code: "failed", message, backtrace: [] };
    this.#publish(replica.component, [entry]);
  }

  /** Tells who serves now, and stops those that are gone when they have finished their requests. */
  #publish(component: string, gone: readonly Entry[]): void {
    const entries = [...this.#entries.values()].filter(({ replica }) =>
      replica.component === component
    );
    const serving = entries.filter(({ replica }) => takesRequests(replica))
      .flatMap((entry) => servingOf(entry)?.live ?? []);
    this.#letGo(gone, this.init.serve(component, serving, this.#isAwaited(component)));
    this.init.changed?.();
  }

  /** Stops instances once `drained`; until then their slots have them. */
  #letGo(gone: readonly Entry[], drained: Promise<void> = Promise.resolve()): void {
    for (const { live, replica } of gone) {
      if (live === undefined) continue;
      const key = keyOf(replica);
      this.#going.set(key, (this.#going.get(key) ?? 0) + 1);
      this.#leave(
        this.#drain(live, drained, replica.spec.requestTimeoutMs).then(() => {
          const left = this.#going.get(key)! - 1;
          if (left > 0) this.#going.set(key, left);
          else this.#going.delete(key);
          this.init.changed?.();
        }),
      );
    }
  }

  async #drain(replica: Replica, drained: Promise<void>, requestTimeoutMs = 0): Promise<void> {
    const late = new AbortController();
    const signal = AbortSignal.any([late.signal, this.#abort.signal]);
    const longest = Math.max(DRAIN_MS, requestTimeoutMs);
    await Promise.race([drained, this.init.clock.sleep(longest, signal).catch(() => {})]);
    late.abort();
    await replica.stop();
  }

  #leave(done: Promise<void>): void {
    this.#leaving.add(done);
    done.finally(() => this.#leaving.delete(done));
  }

  /**
   * Whether nothing speaks against another replica to come: of those that are there, each is or was
   * stopped because that was wanted, or starts for the first time. Requests wait for it then.
   */
  #isAwaited(component: string): boolean {
    return [...this.#entries.values()].every((entry) =>
      entry.replica.component !== component || isHopeful(entry)
    );
  }

  /** Takes the entry out; its instance ends when its requests are done. */
  #stop(entry: Entry): void {
    const { live, replica } = entry;
    const key = keyOf(replica);
    abandon(entry);
    if (live === undefined || entry.state.kind === "exited") {
      this.#entries.delete(key);
      this.#publish(replica.component, entry.before ? withBefore(entry.before) : []);
      return;
    }
    entry.state = { kind: "stopping" };
    entry.isReady = false;
    const gone = () => {
      if (this.#entries.get(key) === entry) this.#entries.delete(key);
      this.#reconcile();
      this.init.changed?.();
    };
    const before = entry.before;
    entry.before = undefined;
    if (!takesRequests(replica)) return this.#leave(live.stop().then(gone));
    const serving = [...this.#entries.values()]
      .filter((each) => each.replica.component === replica.component)
      .flatMap((each) => servingOf(each)?.live ?? []);
    const drained = this.init.serve(
      replica.component,
      serving,
      this.#isAwaited(replica.component),
    );
    if (before) this.#letGo(withBefore(before), drained);
    this.#leave(this.#drain(live, drained, replica.spec.requestTimeoutMs).then(gone));
    this.init.changed?.();
  }
}

/** The instance of a slot that takes its requests: its own, else the one before. */
function servingOf(entry: Entry): Entry | undefined {
  for (let each: Entry | undefined = entry; each !== undefined; each = each.before) {
    if (each.live !== undefined && each.isReady) return each;
  }
  return undefined;
}

function isSick({ health }: Entry): boolean {
  return health?.state === "unhealthy" || health?.state === "failed";
}

/** Whether it was tried as often as says something of its release. */
function isInVain(entry: Entry): boolean {
  const { state, attempt, verdict } = entry;
  return isSick(entry) || state.kind === "exited" && !state.success &&
      (attempt + 1 >= STARTS_IN_VAIN || verdict !== undefined);
}

/** Whether it has given nobody a reason to think that its replica cannot serve. */
function isHopeful({ state, attempt, verdict, health, lastExit }: Entry): boolean {
  switch (state.kind) {
    case "stopping":
      return verdict === undefined;
    case "exited":
      return lastExit?.exit.kind === "stopped";
    case "starting":
    case "running":
      return attempt === 0 && health?.state !== "unhealthy";
  }
}

/** An entry and all that are before it. */
function withBefore(entry: Entry): Entry[] {
  return entry.before === undefined ? [entry] : [entry, ...withBefore(entry.before)];
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
