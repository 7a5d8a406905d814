/**
 * Names the frames of backtraces, in a Worker of its own: to read a guest's debug information takes
 * time that an agent with requests to serve has not.
 *
 * @module
 */
import type { Frame } from "../kernel/frame.ts";
import { type GuestWorker, NOTHING, onFailure, spawn, SYMBOLS_WORKER } from "./spawn.ts";
import type { Origins } from "./symbols/symbolize.ts";
import type { SymbolsRequest } from "./symbols_worker.ts";
import { type RawFrame, unnamed } from "./trap.ts";

/** A Worker is kept this long without work. */
const IDLE_MS = 10_000;
/** Past it a backtrace keeps its numbers; from when it is begun with. */
const ANSWER_MS = 3_000;
/** Until then: a busy machine may take long to start a Worker, for which no component is to blame. */
const BEGIN_MS = 30_000;
/**
 * Times that this may happen with a component; then it is not tried again. A Worker that is lost in
 * its work cannot be killed on Deno: without this, a guest that traps in many places would be read
 * by as many at once, each with a core and memory of its own.
 */
const LATE_MAX = 2;
/** Backtraces that are named at once; more keep their numbers. */
const PENDING_MAX = 8;
/** Backtraces that are remembered: a handler that traps does so at the same place again. */
const REMEMBERED_MAX = 64;

/** What a guest was made of. */
export interface GuestSource {
  /** sha256 of the component. */
  readonly digest: string;
  /** Its bytes, if they are still there. */
  readonly source: () => Promise<Uint8Array | undefined>;
  readonly origins: Origins;
}

interface Pending {
  readonly digest: string;
  readonly resolve: (frames: readonly Frame[] | undefined) => void;
  late: number;
}

/** What {@link Symbolizer} is built from; tests have their own. */
export interface SymbolizerInit {
  readonly spawn?: () => GuestWorker;
  /** Time for a backtrace from when it is begun with, in milliseconds. */
  readonly answerMs?: number;
}

/** See the module. */
export class Symbolizer {
  readonly #spawn: () => GuestWorker;
  readonly #answerMs: number;
  #worker: GuestWorker | undefined;
  #idle: number | undefined;
  #next = 0;
  readonly #pending = new Map<number, Pending>();
  readonly #remembered = new Map<string, Promise<readonly Frame[] | undefined>>();
  /** By digest, how often a component took too long. */
  readonly #late = new Map<string, number>();

  constructor(init: SymbolizerInit = {}) {
    this.#spawn = init.spawn ?? (() => spawn(SYMBOLS_WORKER, NOTHING));
    this.#answerMs = init.answerMs ?? ANSWER_MS;
  }

  /** The frames by name; by number where that cannot be had. Never rejects. */
  async name(guest: GuestSource, frames: readonly RawFrame[]): Promise<readonly Frame[]> {
    if (frames.length === 0) return [];
    if ((this.#late.get(guest.digest) ?? 0) >= LATE_MAX) return frames.map(unnamed);
    const key = `${guest.digest} ${JSON.stringify(frames)}`;
    let named = this.#remembered.get(key);
    if (!named && this.#pending.size < PENDING_MAX) {
      named = this.#ask(guest, frames);
      this.#remembered.set(key, named);
      if (this.#remembered.size > REMEMBERED_MAX) {
        this.#remembered.delete(this.#remembered.keys().next().value!);
      }
    }
    return await named ?? frames.map(unnamed);
  }

  async #ask(
    { digest, source, origins }: GuestSource,
    frames: readonly RawFrame[],
  ): Promise<readonly Frame[] | undefined> {
    const id = this.#next++;
    const answer = Promise.withResolvers<readonly Frame[] | undefined>();
    const late = setTimeout(() => this.close(), BEGIN_MS);
    this.#pending.set(id, { digest, resolve: answer.resolve, late });
    clearTimeout(this.#idle);
    source().then((bytes) => {
      if (!this.#pending.has(id)) return;
      if (!bytes) return this.#answer(id, undefined);
      this.#worker ??= this.#start();
      this.#worker.postMessage({ id, source: bytes, origins, frames } satisfies SymbolsRequest);
    }, () => this.#answer(id, undefined));
    return await answer.promise;
  }

  #begun(id: number): void {
    const pending = this.#pending.get(id);
    if (!pending) return;
    clearTimeout(pending.late);
    pending.late = setTimeout(() => this.#giveUp(), this.#answerMs);
  }

  #answer(id: number, frames: readonly Frame[] | undefined): void {
    const pending = this.#pending.get(id);
    if (!pending) return;
    this.#pending.delete(id);
    clearTimeout(pending.late);
    pending.resolve(frames);
    if (this.#pending.size > 0 || !this.#worker) return;
    this.#idle = setTimeout(() => this.close(), IDLE_MS);
    Deno.unrefTimer(this.#idle);
  }

  /** One at a time is worked on, the oldest: its component is the reason. */
  #giveUp(): void {
    const [{ digest }] = this.#pending.values() as Iterable<Pending> as [Pending];
    this.#late.set(digest, (this.#late.get(digest) ?? 0) + 1);
    this.close();
  }

  #start(): GuestWorker {
    const worker = this.#spawn();
    worker.onmessage = ({ data: { id, begun, frames } }) =>
      begun ? this.#begun(id) : this.#answer(id, frames);
    onFailure(worker, () => this.close());
    return worker;
  }

  /** Ends the Worker; what is pending keeps its numbers. */
  close(): void {
    clearTimeout(this.#idle);
    this.#worker?.terminate();
    this.#worker = undefined;
    for (const id of [...this.#pending.keys()]) this.#answer(id, undefined);
  }
}
