/**
 * Workers for replicas: some kept ready, some used again.
 *
 * A Worker has the permissions it was spawned with for good, so one is used again only where the
 * permissions are the same: those of the same mounts, or none. Whether nothing of its guest remains
 * the Worker itself says (see `replica_host.ts`). On Deno before 2.7.12 every Worker that ends leaves
 * two file descriptors behind, whatever it did (denoland/deno#33200: its event loop, with the last
 * one that waited for it, is never freed), which is one more reason to keep them.
 *
 * @module
 */
import type { Mount } from "../kernel/ports.ts";
import { type GuestWorker, onFailure } from "./spawn.ts";

/** Idle Workers that are kept beyond those that are wanted anyway; each is about 15 MiB. */
const SPARE_MAX = 8;
/**
 * So long: components that are restarted, scaled or rolled out soon need as many again, and what fails is
 * started again each minute. Longer, and memory follows the highest peaks; shorter, and more Workers end.
 */
const SPARE_MS = 10 * 60_000;
/** A Worker that was taken is replaced after so long. */
const REFILL_AFTER_MS = 50;

/** What {@link WorkerPool} needs. */
export interface WorkerPoolInit {
  /** Starts a Worker whose permissions are these mounts and nothing else. */
  readonly spawn: (mounts: readonly Mount[]) => GuestWorker;
  /** Workers without mounts that are kept ready. */
  readonly wanted: number;
  /** Whether a Worker that was taken is replaced. */
  readonly refill: boolean;
  /** A clock in milliseconds. */
  readonly now: () => number;
  /**
   * One of the wanted that was started before. It ends with the program that started it: to end it
   * a moment earlier takes longer than all else at the end of `realm run`.
   */
  readonly first?: GuestWorker | undefined;
}

/** Names what of the host a Worker may touch. */
function permissionsOf(mounts: readonly Mount[]): string {
  return JSON.stringify(mounts.map((m) => `${m.writable ? "w" : "r"} ${m.hostPath}`).sort());
}

const NONE = permissionsOf([]);

/** A Worker without a guest. */
interface Idle {
  readonly permissions: string;
  readonly worker: GuestWorker;
  readonly sinceMs: number;
}

/** See the module. */
export class WorkerPool {
  /** Used last comes last, and is taken first: its code is warm. */
  readonly #idle: Idle[] = [];
  #timer: number | undefined;
  #spareTimer: number | undefined;
  #closed = false;

  constructor(readonly init: WorkerPoolInit) {
    if (init.first) this.#idle.push(this.#idleOne(init.first, NONE));
    this.#fill();
  }

  /** Workers without mounts that are idle. */
  get idle(): number {
    return this.#idle.filter((each) => each.permissions === NONE).length;
  }

  /** A Worker with the permissions of these mounts: an idle one, or a new one. */
  take(mounts: readonly Mount[]): GuestWorker {
    const permissions = permissionsOf(mounts);
    const index = this.#idle.findLastIndex((each) => each.permissions === permissions);
    this.#refill();
    return index < 0 ? this.init.spawn(mounts) : this.#idle.splice(index, 1)[0]!.worker;
  }

  /** Takes back a Worker of which nothing of a guest remains. */
  give(worker: GuestWorker, mounts: readonly Mount[]): void {
    worker.onmessage = null;
    if (this.#closed || this.init.wanted === 0) return worker.terminate();
    this.#idle.push(this.#idleOne(worker, permissionsOf(mounts)));
    this.#endSpare();
  }

  /** One that fails while it is idle is no use, and no reason to fail. */
  #idleOne(worker: GuestWorker, permissions: string): Idle {
    onFailure(worker, () => {
      const index = this.#idle.findIndex((each) => each.worker === worker);
      if (index >= 0) this.#idle.splice(index, 1);
      worker.terminate();
    });
    return { permissions, worker, sinceMs: this.init.now() };
  }

  /** Ends the spare Workers that are too many or idle for too long, the oldest first. */
  #endSpare(): void {
    clearTimeout(this.#spareTimer);
    let wanted = this.init.wanted;
    // Those that are wanted anyway are the ones that were used last.
    const spare = this.#idle.toReversed()
      .filter((each) => each.permissions !== NONE || wanted-- <= 0).reverse();
    if (spare.length === 0) return;
    const now = this.init.now();
    while (spare.length > SPARE_MAX || spare[0] && now - spare[0].sinceMs >= SPARE_MS) {
      const [old] = spare.splice(0, 1) as [Idle];
      this.#idle.splice(this.#idle.indexOf(old), 1);
      old.worker.terminate();
    }
    if (!spare[0]) return;
    const wait = spare[0].sinceMs + SPARE_MS - now;
    this.#spareTimer = setTimeout(() => this.#endSpare(), wait);
    Deno.unrefTimer(this.#spareTimer);
  }

  /** Later: to spawn a Worker takes longer than a guest takes to start. */
  #refill(): void {
    if (this.#timer !== undefined || !this.init.refill) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#fill();
    }, REFILL_AFTER_MS);
    Deno.unrefTimer(this.#timer);
  }

  #fill(): void {
    while (!this.#closed && this.idle < this.init.wanted) {
      this.#idle.unshift(this.#idleOne(this.init.spawn([]), NONE));
    }
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#spareTimer);
    for (const { worker } of this.#idle.splice(0)) {
      if (worker !== this.init.first) worker.terminate();
    }
  }
}
