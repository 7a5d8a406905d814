/**
 * What the dashboard knows about its agent, kept fresh: two states, a log's tail, and what the view
 * that is looked at wants besides.
 *
 * A session asks for the status as often as that is cheap, and follows the log of one component at a
 * time. When the agent goes away it says so and keeps trying; what it has shown stays until there is
 * something newer. It can go on with the agent of another node. Readers get an immutable snapshot,
 * and are told at most every {@link SessionOptions.notifyMs} that there is another, however much a
 * component writes.
 *
 * @module
 */
import type { ControlClient } from "../agent/control/client.ts";
import { RealmError } from "../agent/kernel/error.ts";
import type { Clock } from "../agent/kernel/ports.ts";
import type { Sample } from "./view_model.ts";

/** A secret by its name; its value is nowhere. */
export interface SecretRow {
  readonly name: string;
  readonly state: string;
  /** Whether everybody who should can open it, and nobody else. */
  readonly isGood: boolean;
  /** Names of the nodes that can open it. */
  readonly nodes: readonly string[];
}

/** A manifest of the control log. */
export type HistoryEntry = Awaited<ReturnType<ControlClient["history"]>>[number];

/** What the dashboard asks of an agent, and what it lets its user do. */
export interface DashboardAgent extends Pick<ControlClient, "status" | "logs" | "history"> {
  /** Starts every replica of a component anew. */
  restart(component: string): Promise<{ readonly restarted: number }>;
  /** Sets the number of replicas; `null` gives it back to the manifest. */
  scale(
    component: string,
    replicas: number | null,
  ): Promise<{ readonly replicas: number; readonly scaledTo: number | null }>;
  /** Lets a node run nothing, or its share again. */
  drain(node: string, drained: boolean): Promise<unknown>;
  secrets(): Promise<readonly SecretRow[]>;
  /** What going back to a version would do, in lines that begin with `+`, `-`, `~`, or a node. */
  plan(version: number): Promise<readonly string[]>;
}

/** The agent of another node, until it is let go. */
export interface OtherAgent {
  readonly agent: DashboardAgent;
  close(): Promise<void>;
}

/** Something that is asked for now and then. */
export interface Loaded<T> {
  /** `undefined` before the first answer. */
  readonly value: T | undefined;
  /** Why the last question was not answered. */
  readonly problem: string | undefined;
}

/** What going back to a version would do. */
export interface VersionPlan {
  readonly version: number;
  /** `undefined` until it is known. */
  readonly lines?: readonly string[];
  readonly problem?: string;
}

/** What a view needs beyond the status. */
export type Wanted =
  | { readonly kind: "history" }
  | { readonly kind: "secrets" }
  | { readonly kind: "plan"; readonly version: number };

/** A line of a log, or that some were missed. */
export type LogRow = ControlClient extends { logs(...args: never[]): AsyncIterable<infer E> } ? E
  : never;

/** How the agent answers. */
export type Link =
  | { readonly kind: "connecting" }
  | { readonly kind: "connected" }
  /** It did answer, or never has: `reason` is why the last try failed. */
  | { readonly kind: "reconnecting"; readonly reason: string };

/** Everything there is to show. */
export interface Snapshot {
  readonly link: Link;
  readonly current: Sample | undefined;
  readonly previous: Sample | undefined;
  readonly logs: {
    readonly component: string | undefined;
    /** Oldest first, the last {@link LOG_ROWS_MAX}. */
    readonly rows: readonly LogRow[];
  };
  readonly history: Loaded<readonly HistoryEntry[]>;
  readonly secrets: Loaded<readonly SecretRow[]>;
  /** The one that was asked for last. */
  readonly plan: VersionPlan | undefined;
}

const NOT_LOADED = { value: undefined, problem: undefined } as const;
/** What is not known of an agent that was not asked yet. */
const UNKNOWN = {
  current: undefined,
  previous: undefined,
  history: NOT_LOADED,
  secrets: NOT_LOADED,
  plan: undefined,
} as const;

/** Lines of a log that are kept. */
export const LOG_ROWS_MAX = 1_000;

export interface SessionOptions {
  readonly clock: Clock;
  /** Opens the agent of another node, by its key; throws where it cannot be reached. */
  readonly open?: (node: string) => Promise<OtherAgent>;
  /**
   * Between two questions for the status, at least: where answers take long, the pause is so long
   * that they take a twentieth of the time, up to {@link POLL_MS_MAX}.
   */
  readonly pollMs?: number;
  /** Before a log that broke off is asked for again. */
  readonly retryMs?: number;
  /** Between two notices to subscribers, at least. */
  readonly notifyMs?: number;
  /** A selection that changes again within this time is not followed. */
  readonly settleMs?: number;
}

/** A status is never older than this, but for the time that its answer takes. */
export const POLL_MS_MAX = 1_000;
/** Pause between two answers by the time that one takes. */
const POLL_SHARE = 20;
/** Rates are over so long, at least: shorter ones jump about. */
const RATE_MS = 1_000;
/** Between two looks at what a view wants besides. */
const LOOK_MS = 2_000;

/** Keeps a {@link Snapshot} of an agent until it is closed. */
export class Session {
  /** The one of the start. */
  readonly #own: DashboardAgent;
  readonly #open: SessionOptions["open"];
  readonly #clock: Clock;
  readonly #pollMs: number;
  readonly #retryMs: number;
  readonly #notifyMs: number;
  readonly #settleMs: number;
  readonly #closed = new AbortController();
  readonly #listeners = new Set<() => void>();
  #agent: DashboardAgent;
  #other: OtherAgent | undefined;
  #snapshot: Snapshot = {
    link: { kind: "connecting" },
    logs: { component: undefined, rows: [] },
    ...UNKNOWN,
  };
  /** The last states, oldest first: none of them old but the first. */
  #samples: Sample[] = [];
  /** Rows not yet in the snapshot. */
  #pending: LogRow[] = [];
  #notifying = false;
  #following = new AbortController();
  #looking = new AbortController();
  #wanted = "";
  #wake = new AbortController();

  /** Starts asking at once. */
  constructor(agent: DashboardAgent, options: SessionOptions) {
    this.#own = this.#agent = agent;
    this.#open = options.open;
    this.#clock = options.clock;
    this.#pollMs = options.pollMs ?? 100;
    this.#retryMs = options.retryMs ?? 1_000;
    this.#notifyMs = options.notifyMs ?? 100;
    this.#settleMs = options.settleMs ?? 120;
    void this.#poll();
  }

  /** What is known now; the same object until something changes. */
  readonly snapshot = (): Snapshot => this.#snapshot;

  /** Calls `listener` after changes; the function that is returned ends that. */
  readonly subscribe = (listener: () => void): () => void => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Shows the log of this component from now on. */
  follow(component: string | undefined): void {
    if (component === this.#snapshot.logs.component) return;
    this.#following.abort();
    this.#following = new AbortController();
    this.#pending = [];
    this.#change({ logs: { component, rows: [] } });
    if (component !== undefined) {
      void this.#readLog(
        component,
        AbortSignal.any([this.#following.signal, this.#closed.signal]),
      );
    }
  }

  /** Asks for these now and then, from now on, and for a plan once. */
  want(wanted: Wanted | undefined): void {
    const name = JSON.stringify(wanted) ?? "";
    if (name === this.#wanted) return;
    this.#wanted = name;
    this.#look(wanted);
  }

  /** Restarts a component; resolves with what to tell the operator. Never rejects. */
  async restart(component: string): Promise<string> {
    return await this.#act(async () => {
      const { restarted } = await this.#agent.restart(component);
      return `${component}: restarted ${restarted} ${restarted === 1 ? "replica" : "replicas"}`;
    });
  }

  /** Sets the number of replicas, `null`: as in the manifest. Otherwise as {@link restart}. */
  async scale(component: string, replicas: number | null): Promise<string> {
    return await this.#act(async () => {
      const answer = await this.#agent.scale(component, replicas);
      return `${component}: ${answer.replicas} wanted, ` +
        (answer.scaledTo === null ? "as in the manifest" : "until the manifest changes it");
    });
  }

  /** Lets a node run nothing, or its share again. Otherwise as {@link restart}. */
  async drain(node: string, drained: boolean): Promise<string> {
    return await this.#act(async () => {
      await this.#agent.drain(node, drained);
      return drained
        ? `${node}: drained; what it runs moves away`
        : `${node}: runs its share again`;
    });
  }

  /**
   * Goes on with the agent of the node with this key, as it sees the realm; with that of the start
   * where it is its own. Otherwise as {@link restart}: what was asked before stays where that fails.
   */
  async ask({ key, name }: { readonly key: string; readonly name: string }): Promise<string> {
    try {
      const own = await this.#own.status().catch(() => undefined);
      const other = own?.node.key === key ? undefined : await this.#open?.(key);
      if (this.#closed.signal.aborted) {
        await other?.close();
        return "";
      }
      const before = this.#other;
      const agent = other?.agent ?? this.#own;
      if (agent === this.#agent) return `${name} is asked already`;
      this.#other = other;
      this.#agent = agent;
      this.#samples = [];
      this.#change({ ...UNKNOWN, link: { kind: "connecting" } });
      const { component } = this.#snapshot.logs;
      this.follow(undefined);
      this.follow(component);
      this.#look(this.#wanted === "" ? undefined : JSON.parse(this.#wanted));
      void this.#poll();
      await before?.close();
      return `${name} is asked from now on`;
    } catch (error) {
      return reasonOf(error);
    }
  }

  /** Stops asking. What is on the way is dropped; resolves when another node was let go. */
  async close(): Promise<void> {
    this.#closed.abort();
    this.#listeners.clear();
    await this.#other?.close();
  }

  async #act(call: () => Promise<string>): Promise<string> {
    try {
      return await call();
    } catch (error) {
      return reasonOf(error);
    } finally {
      this.#wake.abort(); // Ask for the new state now.
    }
  }

  /** Asks the agent of now until it is closed, or another one is asked. */
  async #poll(): Promise<void> {
    const agent = this.#agent;
    while (!this.#closed.signal.aborted) {
      const wake = this.#wake = new AbortController();
      const beganMs = this.#clock.monotonicMs();
      let change: Partial<Snapshot>;
      try {
        const status = await agent.status();
        const current = { status, monotonicMs: this.#clock.monotonicMs() };
        change = { link: { kind: "connected" }, current };
      } catch (error) {
        change = { link: { kind: "reconnecting", reason: reasonOf(error) } };
      }
      const endMs = this.#clock.monotonicMs();
      if (agent !== this.#agent) return;
      this.#change({
        ...change,
        ...(change.current && { previous: this.#before(change.current) }),
      });
      const pauseMs = Math.min(POLL_MS_MAX, Math.max(this.#pollMs, POLL_SHARE * (endMs - beganMs)));
      await this.#pause(pauseMs, AbortSignal.any([wake.signal, this.#closed.signal]));
      if (agent !== this.#agent) return;
    }
  }

  /** The newest state that is old enough to tell rates from, else the oldest. */
  #before(current: Sample): Sample | undefined {
    const oldMs = current.monotonicMs - RATE_MS;
    while (this.#samples.length > 1 && this.#samples[1]!.monotonicMs <= oldMs) {
      this.#samples.shift();
    }
    this.#samples.push(current);
    return this.#samples.length > 1 ? this.#samples[0] : undefined;
  }

  #look(wanted: Wanted | undefined): void {
    this.#looking.abort();
    this.#looking = new AbortController();
    if (wanted === undefined) return;
    const signal = AbortSignal.any([this.#looking.signal, this.#closed.signal]);
    if (wanted.kind === "plan") void this.#loadPlan(wanted.version, signal);
    else void this.#load(wanted.kind, signal);
  }

  async #load(kind: "history" | "secrets", signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const agent = this.#agent;
      const answer: Promise<readonly HistoryEntry[] | readonly SecretRow[]> = agent[kind]();
      const { value, problem } = await settled(answer);
      if (signal.aborted) return;
      // What was known stays where a question is not answered.
      const loaded = { value: value ?? this.#snapshot[kind].value, problem };
      this.#change({ [kind]: loaded });
      await this.#pause(LOOK_MS, signal);
    }
  }

  async #loadPlan(version: number, signal: AbortSignal): Promise<void> {
    this.#change({ plan: { version } });
    const { value: lines, problem } = await settled(this.#agent.plan(version));
    if (signal.aborted) return;
    this.#change({
      plan: {
        version,
        ...(lines === undefined ? {} : { lines }),
        ...(problem === undefined ? {} : { problem }),
      },
    });
  }

  async #readLog(component: string, signal: AbortSignal): Promise<void> {
    await this.#pause(this.#settleMs, signal);
    while (!signal.aborted) {
      let isFresh = true;
      try {
        const events = this.#agent.logs({ component, follow: true, tail: LOG_ROWS_MAX }, signal);
        for await (const event of events) {
          if (signal.aborted) return;
          // After a break the whole tail comes again: it replaces what is there.
          if (isFresh) this.#dropRows();
          isFresh = false;
          this.#pending.push(event);
          if (this.#pending.length > LOG_ROWS_MAX) this.#pending.shift();
          this.#notify();
        }
      } catch {
        // The status tells that the agent is gone, and why.
      }
      await this.#pause(this.#retryMs, signal);
    }
  }

  #dropRows(): void {
    this.#pending = [];
    this.#snapshot = { ...this.#snapshot, logs: { ...this.#snapshot.logs, rows: [] } };
  }

  #change(change: Partial<Snapshot>): void {
    this.#snapshot = { ...this.#snapshot, ...change };
    this.#notify();
  }

  #notify(): void {
    if (this.#notifying || this.#closed.signal.aborted) return;
    this.#notifying = true;
    void this.#pause(this.#notifyMs, this.#closed.signal).then(() => {
      this.#notifying = false;
      if (this.#closed.signal.aborted) return;
      if (this.#pending.length > 0) {
        const { logs } = this.#snapshot;
        const rows = [...logs.rows, ...this.#pending].slice(-LOG_ROWS_MAX);
        this.#pending = [];
        this.#snapshot = { ...this.#snapshot, logs: { ...logs, rows } };
      }
      for (const listener of this.#listeners) listener();
    });
  }

  /** Waits; an abort ends the wait early. */
  async #pause(ms: number, signal: AbortSignal): Promise<void> {
    try {
      await this.#clock.sleep(ms, signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }
}

async function settled<T>(answer: Promise<T>): Promise<Loaded<T>> {
  try {
    return { value: await answer, problem: undefined };
  } catch (error) {
    return { value: undefined, problem: reasonOf(error) };
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof RealmError) {
    return error.hint === undefined ? error.message : `${error.message}; ${error.hint}`;
  }
  return error instanceof Error ? error.message : String(error);
}
