/**
 * Replicas that are made ahead, up to the point where the guest would run.
 *
 * One is made for one component with the very grants and limits it is started with: nothing of it
 * is bound later but who hears its output. So there is nothing to forget when it is started.
 *
 * @module
 */
import type { StartOptions } from "../kernel/ports.ts";
import { RECENT_MS, RecentStarts } from "./ready_policy.ts";
import type { WorkerReplica } from "./worker_replica.ts";

/** After a start, until the next is prepared: what was started comes first. */
const AFTER_MS = 20;

/** Names what a replica is made for: equal for two starts that need the same. */
export function kindOf(digest: string, options: StartOptions): string {
  const { stdio, notice: _, services: __, ...rest } = options;
  return JSON.stringify(
    [digest, rest, stdio.terminal],
    (_, value) => typeof value === "function" ? "function" : value,
  );
}

/** Makes a replica that is held. */
export type MakeHeld = () => WorkerReplica;

/** See the module. */
export class ReadyReplicas {
  readonly #recent = new RecentStarts();
  readonly #makers = new Map<string, MakeHeld>();
  readonly #ready = new Map<string, Set<WorkerReplica>>();
  #timer: number | undefined;
  #closed = false;

  /** Keeps at most `total` ready. */
  constructor(readonly total: number) {}

  /** One that is ready to run, if there is. */
  take(kind: string): WorkerReplica | undefined {
    for (const replica of this.#ready.get(kind) ?? []) {
      this.#remove(kind, replica);
      return replica;
    }
  }

  /** What was started just now; the next may be made by `make`. */
  started(kind: string, make: MakeHeld): void {
    if (this.total === 0 || this.#closed) return;
    this.#recent.note(kind, performance.now());
    this.#makers.set(kind, make);
    this.#later(AFTER_MS);
  }

  #later(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#balance(), ms);
    Deno.unrefTimer(this.#timer);
  }

  #balance(): void {
    if (this.#closed) return;
    const wanted = this.#recent.wanted(performance.now(), this.total);
    for (const [kind, replicas] of this.#ready) {
      for (const replica of [...replicas].slice(wanted.get(kind) ?? 0)) {
        this.#remove(kind, replica);
        replica.stop();
      }
    }
    for (const kind of this.#makers.keys()) if (!wanted.has(kind)) this.#makers.delete(kind);
    for (const [kind, count] of wanted) {
      const missing = count - (this.#ready.get(kind)?.size ?? 0);
      for (let i = 0; i < missing; i++) this.#add(kind);
    }
    if (wanted.size > 0) this.#later(RECENT_MS);
  }

  #add(kind: string): void {
    const make = this.#makers.get(kind);
    if (make === undefined) return;
    const replica = make();
    const replicas = this.#ready.get(kind) ?? new Set();
    this.#ready.set(kind, replicas.add(replica));
    // What cannot be made ready will say so when it is started.
    replica.exited.then(() => {
      if (this.#ready.get(kind)?.has(replica)) this.#makers.delete(kind);
      this.#remove(kind, replica);
    });
  }

  #remove(kind: string, replica: WorkerReplica): void {
    const replicas = this.#ready.get(kind);
    replicas?.delete(replica);
    if (replicas?.size === 0) this.#ready.delete(kind);
  }

  /** Nothing is ready any more; what was is ended by whoever made it. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#ready.clear();
  }
}
