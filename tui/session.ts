/**
 * What the dashboard knows about its agent, kept fresh: the last two states and a log's tail.
 *
 * A session asks for the status at an interval and follows the log of one component at a time.
 * When the agent goes away it says so and keeps trying; what it has shown stays until there is
 * something newer. Readers get an immutable snapshot, and are told at most every
 * {@link SessionOptions.notifyMs} that there is another, however much a component writes.
 *
 * @module
 */
import type { ControlClient } from "../agent/control/client.ts";
import { RealmError } from "../agent/kernel/error.ts";
import type { Clock } from "../agent/kernel/ports.ts";
import type { Sample } from "./view_model.ts";

/** What the dashboard asks of an agent, and what it lets its user do. */
export interface DashboardAgent extends Pick<ControlClient, "status" | "logs"> {
  /** Starts every replica of a component anew. */
  restart(component: string): Promise<{ readonly restarted: number }>;
  /** Sets the number of replicas; `null` gives it back to the manifest. */
  scale(
    component: string,
    replicas: number | null,
  ): Promise<{ readonly replicas: number; readonly scaledTo: number | null }>;
}

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
}

/** Lines of a log that are kept. */
export const LOG_ROWS_MAX = 1_000;

export interface SessionOptions {
  readonly clock: Clock;
  /** Between two questions for the status. */
  readonly pollMs?: number;
  /** Before a log that broke off is asked for again. */
  readonly retryMs?: number;
  /** Between two notices to subscribers, at least. */
  readonly notifyMs?: number;
  /** A selection that changes again within this time is not followed. */
  readonly settleMs?: number;
}

/** Keeps a {@link Snapshot} of an agent until it is closed. */
export class Session {
  readonly #agent: DashboardAgent;
  readonly #clock: Clock;
  readonly #pollMs: number;
  readonly #retryMs: number;
  readonly #notifyMs: number;
  readonly #settleMs: number;
  readonly #closed = new AbortController();
  readonly #listeners = new Set<() => void>();
  #snapshot: Snapshot = {
    link: { kind: "connecting" },
    current: undefined,
    previous: undefined,
    logs: { component: undefined, rows: [] },
  };
  /** Rows not yet in the snapshot. */
  #pending: LogRow[] = [];
  #notifying = false;
  #following = new AbortController();
  #wake = new AbortController();

  /** Starts asking at once. */
  constructor(agent: DashboardAgent, options: SessionOptions) {
    this.#agent = agent;
    this.#clock = options.clock;
    this.#pollMs = options.pollMs ?? 1_000;
    this.#retryMs = options.retryMs ?? 1_000;
    this.#notifyMs = options.notifyMs ?? 66;
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

  /** Stops asking. What is on the way is dropped. */
  close(): void {
    this.#closed.abort();
    this.#listeners.clear();
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

  async #poll(): Promise<void> {
    while (!this.#closed.signal.aborted) {
      this.#wake = new AbortController();
      try {
        const status = await this.#agent.status();
        const current = { status, monotonicMs: this.#clock.monotonicMs() };
        this.#change({
          link: { kind: "connected" },
          current,
          previous: this.#snapshot.current,
        });
      } catch (error) {
        this.#change({ link: { kind: "reconnecting", reason: reasonOf(error) } });
      }
      await this.#pause(this.#pollMs, AbortSignal.any([this.#wake.signal, this.#closed.signal]));
    }
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

function reasonOf(error: unknown): string {
  if (error instanceof RealmError) {
    return error.hint === undefined ? error.message : `${error.message}; ${error.hint}`;
  }
  return error instanceof Error ? error.message : String(error);
}
