/**
 * The snapshots of one topic on this machine: of what its app had come to, so that a start does not
 * apply everything again, and of the state that a fork begins with, which is fetched from peers where it
 * is not here.
 *
 * @module
 */
import type { ForkOrigin } from "./apps/topic/app_event.ts";
import type { AppLog } from "./apps/topic/app_log.ts";
import { SnapshotStore, type TopicSnapshot } from "./apps/topic/topic_snapshot.ts";
import { RealmError } from "./kernel/error.ts";
import type { Clock } from "./kernel/ports.ts";

/** What {@link TopicSnapshots} are made of. */
export interface TopicSnapshotsInit {
  readonly log: AppLog;
  readonly clock: Clock;
  /** The state that a fork begins with: `AppTopicInit.baseOf`. */
  readonly baseOf: (fork: ForkOrigin) => Promise<TopicSnapshot | undefined>;
  /** A line for the log of the agent. */
  readonly notice: (text: string) => void;
}

/** Events after which what the app has come to is stored again: half a second of applying them. */
const SNAPSHOT_EVENTS = 2_000;
/** A state that nobody has, or that was not the right one, is looked for again after so long. */
const FETCH_AGAIN_MIN_MS = 2_000;
const FETCH_AGAIN_MAX_MS = 60_000;

/** See the module. */
export class TopicSnapshots {
  readonly store: SnapshotStore;
  readonly #init: TopicSnapshotsInit;
  /** Events that the newest was of. */
  #length = 0;
  #isSaving = false;
  #isFetching = false;
  #problem: string | undefined;
  readonly #closed = new AbortController();

  constructor(init: TopicSnapshotsInit) {
    this.#init = init;
    this.store = new SnapshotStore(init.log.store);
  }

  /** What the app is started with. */
  forStart(): { readonly snapshot?: TopicSnapshot; readonly base?: TopicSnapshot } {
    const [newest] = this.store.newest();
    this.#length = newest?.length ?? 0;
    const fork = this.#init.log.view?.fork;
    const of = fork && this.store.find(fork.digest);
    const base = of && this.store.load(of);
    try {
      return {
        ...newest && { snapshot: this.store.load(newest) },
        ...base && { base },
      };
    } catch (error) {
      this.#tell(error);
      return { ...base && { base } };
    }
  }

  /** Stores what the app has come to, when it has applied much since. */
  async keep(
    applied: number,
    take: (known: readonly string[]) => Promise<TopicSnapshot | undefined>,
  ): Promise<void> {
    const isFar = applied - this.#length >= SNAPSHOT_EVENTS || applied < this.#length;
    if (!isFar || this.#isSaving || this.#closed.signal.aborted) return;
    this.#isSaving = true;
    try {
      const snapshot = await take([...this.store.known()]);
      if (snapshot === undefined || this.#closed.signal.aborted) return;
      this.store.save(snapshot, "newest", this.#init.clock.wallMs());
      this.#length = snapshot.record.length;
    } catch (error) {
      if (!this.#closed.signal.aborted) this.#tell(error);
    } finally {
      this.#isSaving = false;
    }
  }

  /**
   * Why a fork cannot start; undefined once the state is here that it begins with. Until then that is
   * looked for, and `came` called when this has another answer.
   */
  baseProblem(came: () => void): string | undefined {
    const fork = this.#init.log.view?.fork;
    if (fork === undefined || this.store.find(fork.digest) !== undefined) return undefined;
    if (!this.#isFetching) {
      this.#isFetching = true;
      void this.#fetch(fork, came);
    }
    return this.#problem ?? "the state that it begins with is not here yet";
  }

  /** Never gives up: who has the state may come at any time. */
  async #fetch(fork: ForkOrigin, came: () => void): Promise<void> {
    const { baseOf, clock } = this.#init;
    const { signal } = this.#closed;
    for (let pauseMs = FETCH_AGAIN_MIN_MS; !signal.aborted;) {
      let problem: string | undefined;
      try {
        const base = await baseOf(fork);
        if (signal.aborted) return;
        if (base !== undefined) {
          this.store.save(base, "base", clock.wallMs());
          return came();
        }
        pauseMs = FETCH_AGAIN_MIN_MS;
      } catch (error) {
        problem = error instanceof Error ? error.message : String(error);
        pauseMs = Math.min(FETCH_AGAIN_MAX_MS, 2 * pauseMs);
      }
      if (problem !== this.#problem) {
        this.#problem = problem;
        came();
      }
      await clock.sleep(pauseMs, signal).catch(() => {});
    }
  }

  close(): void {
    this.#closed.abort();
  }

  #tell(error: unknown): void {
    this.#init.notice(error instanceof RealmError ? error.message : String(error));
  }
}
