/**
 * What one instance's WASI host is given, and what it counts.
 *
 * Everything a guest can reach hangs off one {@link WasiInstance}; nothing in this folder keeps
 * state of its own, so that instances that share a Worker cannot see or exhaust one another.
 *
 * @module
 */
import type { Grants, LogLevel, Random, Stdio } from "../../kernel/ports.ts";
import type { AgentCall } from "../agent_calls.ts";
import { HANDLES_MAX } from "./bounds.ts";
import { type GrantName, GRANTS } from "./grants.ts";
import { type HostAccount, HostMemory } from "./host_account.ts";
import type { TracedCall } from "./trace.ts";

export { HANDLES_MAX };

/** The clocks of the machine; `clocks.ts` decides what of them a guest sees. */
export interface WasiClock {
  /** Nanoseconds since 1970, UTC. */
  wallNs(): bigint;
  /** Nanoseconds since some fixed point; never goes back. */
  monotonicNs(): bigint;
  /** Resolves after `ms`; rejects when the signal is aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** What an instance may reach and how it tells the engine what happened. */
export interface WasiContext {
  readonly grants: Grants;
  readonly stdio: Stdio;
  /** A call that no grant allows; told once per (grant, interface). `grant` is readable text. */
  denied(call: string, grant: string): void;
  /** Ends the guest with this status, so that a guest that catches the exception still ends. */
  exit(status: number): never;
  /** Ends the guest with a trap that it cannot survive. */
  trap(message: string, code?: "trap" | "memory-limit"): never;
  /** Where it is booked what the host holds for the guest; without it nothing is. */
  readonly account?: HostAccount;
  /** The host is about to make so many bytes for the guest, which takes its time. */
  makes?(bytes: number): void;
  readonly clock: WasiClock;
  readonly random: Random;
  /** Held around each step "resolve a path and act on it" on the mounts with these indexes. */
  lock<T>(mountIndexes: readonly number[], act: () => T): T;
  /**
   * Makes a symbolic link, where the Worker itself may not: Deno wants permission for the whole
   * file system before it makes one. The path is resolved and the target is checked already, and
   * the lock of the mount is held. Throws an `error-code`. Left out: `Deno.symlinkSync`.
   */
  symlink?(target: string, hostPath: string): void;
  /** The services of the agent, by name; without it there are none. */
  readonly agent?: { call(service: string, request: unknown): AgentCall };
  /** A line of `wasi:logging`; `text` is made only where the line is taken. */
  log?(level: LogLevel, text: () => string): void;
  /** Every call of the guest, after it was answered. */
  trace?(call: TracedCall): void;
}

/** Handles behind which the agent may have a connection; it has a bound of its own for them. */
const SOCKET_KINDS = new Set(["tcp-socket", "udp-socket", "future-incoming-response"]);

/** One instance: its context, its live handles, and how it ended. */
export class WasiInstance {
  #end: { error: unknown } | undefined;
  #closed = false;
  #handles = new Map<string, number>();
  /** Both only where there is something in them: an instance is idle most of the time. */
  #noticed: Set<string> | undefined;
  #closing: Set<() => void> | undefined;
  /** The grant that the call in progress lacks; `resource.ts` reads and clears it for the trace. */
  lacks: GrantName | undefined;
  /** Whether the trace will tell of the call in progress. */
  isTraced = false;
  /**
   * Takes back the call in progress, which is to be answered later; a function of WASI 0.3 sets it
   * before it gives its promise.
   */
  cancel: (() => void) | undefined;

  /** The `traceparent` of the request that it answers. */
  traceparent: string | undefined;

  /** What the host holds for it. */
  readonly memory: HostMemory;

  constructor(readonly ctx: WasiContext) {
    this.memory = new HostMemory(ctx.account, (message) => {
      try {
        if (!this.hasEnded) this.#finish(() => ctx.trap(message, "memory-limit"));
      } catch {
        // It has ended, and learns so at its next call or fuel check.
      }
    });
  }

  /** Throws what ended the instance, when something did: an ended guest gets no more answers. */
  checkRunning(): void {
    if (this.#end !== undefined) throw this.#end.error;
    if (this.#closed) throw new Error("The instance is closed");
  }

  get hasEnded(): boolean {
    return this.#end !== undefined || this.#closed;
  }

  /** Counts one more live handle; traps past {@link HANDLES_MAX}. */
  take(kind: string): void {
    const live = this.#handles.get(kind) ?? 0;
    if (live >= HANDLES_MAX) {
      this.trap(`Cannot open another ${kind}: ${live} are open, the most is ${HANDLES_MAX}`);
    }
    this.#handles.set(kind, live + 1);
    this.memory.take();
    if (SOCKET_KINDS.has(kind)) this.memory.count("sockets", 1);
  }

  /** One live handle less. */
  give(kind: string): void {
    this.#handles.set(kind, (this.#handles.get(kind) ?? 1) - 1);
    this.memory.give();
    if (SOCKET_KINDS.has(kind)) this.memory.count("sockets", -1);
  }

  /** How many handles of a kind are live. */
  live(kind: string): number {
    return this.#handles.get(kind) ?? 0;
  }

  /** Ends the guest for wrong use of the interface. */
  trap(message: string): never {
    return this.#finish(() => this.ctx.trap(message));
  }

  /** Ends the guest with a status. */
  exit(status: number): never {
    return this.#finish(() => this.ctx.exit(status));
  }

  #finish(end: () => never): never {
    this.checkRunning();
    try {
      end();
    } catch (error) {
      this.#end = { error };
      throw error;
    }
    throw new Error("The context returned from a call that ends the guest");
  }

  /** Records a denied call; the first per (grant, interface) becomes a notice. */
  deny(call: string, grant: GrantName): void {
    this.lacks = grant;
    const key = `${grant} ${call.split("#")[0]}`;
    if (this.#noticed?.has(key)) return;
    (this.#noticed ??= new Set()).add(key);
    this.ctx.denied(call, GRANTS[grant].allowedBy);
  }

  /** Runs `act` when the instance is closed; the answer takes it back. */
  onClose(act: () => void): () => void {
    (this.#closing ??= new Set()).add(act);
    return () => {
      this.#closing?.delete(act);
      if (this.#closing?.size === 0) this.#closing = undefined;
    };
  }

  /** Gives back what the instance still holds: files, timers, waits. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const act of this.#closing ?? []) act();
    this.#closing = undefined;
    this.memory.close();
  }
}
