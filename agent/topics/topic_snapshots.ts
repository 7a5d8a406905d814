/**
 * The snapshots of one topic on this machine: of what its app had come to, so that a start does not
 * apply everything again, of the states that its tickets name, and of those that one's own ticket named
 * and that a fork begins with, which are fetched from peers.
 *
 * @module
 */
import type { ForkOrigin } from "../apps/topic/app_event.ts";
import type { AppLog } from "../apps/topic/app_log.ts";
import type { TicketState } from "../apps/topic/app_ticket.ts";
import { SnapshotStore, ticketStateOf, type TopicSnapshot } from "../apps/topic/topic_snapshot.ts";
import { RealmError } from "../kernel/error.ts";
import { bytesEqual } from "../kernel/key.ts";
import type { Clock } from "../kernel/ports.ts";

/** What {@link TopicSnapshots} are made of. */
export interface TopicSnapshotsInit {
  readonly log: AppLog;
  readonly clock: Clock;
  /** The state that a fork begins with: `AppTopicInit.baseOf`. */
  readonly baseOf: (fork: ForkOrigin) => Promise<TopicSnapshot | undefined>;
  /** A state of the topic from peers, by its digest; undefined where nobody has it. */
  readonly stateOf: (digest: Uint8Array) => Promise<TopicSnapshot | undefined>;
  /** A line for the log of the agent. */
  readonly notice: (text: string) => void;
}

/** Events after which what the app has come to is stored again: half a second of applying them. */
const SNAPSHOT_EVENTS = 2_000;
/** Of fewer events than these a ticket names no state: they are there as soon. */
export const TICKET_EVENTS_MIN = 1_000;
/** The state of a ticket is looked for so long, and again after so long, twice as long each time. */
const TICKET_FETCH_MS = 10_000;
/** At first sooner: a peer may not have heard yet that the link with it is open. */
const TICKET_FETCH_AGAIN_MIN_MS = 20;
/** So that it is asked for less often than a peer answers. */
const TICKET_FETCH_AGAIN_MAX_MS = 640;
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
  /** The state that a fork begins with was looked at, and is whole. */
  #isBaseWhole = false;
  #ticket: "unasked" | "fetching" | "done" = "unasked";
  #problem: string | undefined;
  readonly #closed = new AbortController();

  constructor(init: TopicSnapshotsInit) {
    this.#init = init;
    this.store = new SnapshotStore(init.log.store);
  }

  /** What the app is started with; `ticket` is the state that one joined by, if any. */
  forStart(ticket?: TicketState): {
    readonly snapshot?: TopicSnapshot;
    readonly joining?: number;
    readonly base?: TopicSnapshot;
  } {
    const [newest] = this.store.newest();
    this.#length = newest?.length ?? 0;
    const fork = this.#init.log.view?.fork;
    const of = fork && this.store.find(fork.digest);
    const base = of && this.store.load(of); // baseProblem() has looked at it
    try {
      return {
        ...newest && { snapshot: this.store.load(newest) },
        ...newest && ticket && bytesEqual(newest.digest, ticket.digest) && this.#isAhead(ticket)
          ? { joining: ticket.count }
          : {},
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

  /** Keeps what the app has come to for who joins by a ticket; undefined for little, or nothing yet. */
  async pin(
    take: (known: readonly string[]) => Promise<TopicSnapshot | undefined>,
  ): Promise<TicketState | undefined> {
    if ((this.#init.log.topic?.size ?? 0) < TICKET_EVENTS_MIN) return undefined;
    const snapshot = await take([...this.store.known()]);
    if (snapshot === undefined || this.#closed.signal.aborted) return undefined;
    this.store.save(snapshot, "pinned", this.#init.clock.wallMs());
    return ticketStateOf(snapshot.record);
  }

  /**
   * Why a newcomer does not start yet: the state that its ticket names is being fetched. Undefined once
   * it is here, is not worth it any more, or nobody has given it for a while after the first event.
   */
  ticketProblem(ticket: TicketState | undefined, came: () => void): string | undefined {
    if (this.#ticket === "unasked") {
      const isWanted = ticket !== undefined && this.#isAhead(ticket) &&
        this.store.find(ticket.digest) === undefined;
      this.#ticket = isWanted ? "fetching" : "done";
      if (isWanted) {
        void this.#fetchTicket(ticket).then((isOver) => {
          this.#ticket = isOver ? "done" : "unasked";
          if (isOver || this.#init.log.topic !== undefined) came();
        });
      }
    }
    return this.#ticket === "fetching" ? "the state of the ticket is not here yet" : undefined;
  }

  /** Whether a ticket's state is of more events than are here. */
  #isAhead({ count }: TicketState): boolean {
    return (this.#init.log.topic?.size ?? 0) < count;
  }

  /**
   * Whether it is not to be looked for again. It is where nobody was there who has even the first event:
   * with that, or with the next peer, its time begins anew.
   */
  async #fetchTicket(ticket: TicketState): Promise<boolean> {
    const { log, stateOf, clock } = this.#init;
    const { signal } = this.#closed;
    let hasBegun = log.topic !== undefined;
    let endMs = clock.monotonicMs() + TICKET_FETCH_MS;
    let pauseMs = TICKET_FETCH_AGAIN_MIN_MS;
    while (!signal.aborted && this.#isAhead(ticket)) {
      if (!hasBegun && log.topic !== undefined) {
        hasBegun = true;
        endMs = clock.monotonicMs() + TICKET_FETCH_MS;
      }
      if (clock.monotonicMs() >= endMs) return hasBegun;
      try {
        const snapshot = await stateOf(ticket.digest);
        if (signal.aborted) return true;
        if (snapshot !== undefined) {
          // It may be of other events than the ticket's: those of the kernel's change no state. What else
          // the record says is compared with the events when they are here.
          this.store.save(snapshot, "newest", clock.wallMs());
          return true;
        }
      } catch (error) {
        this.#tell(error);
        return true;
      }
      await clock.sleep(pauseMs, signal).catch(() => {});
      pauseMs = Math.min(TICKET_FETCH_AGAIN_MAX_MS, 2 * pauseMs);
    }
    return true;
  }

  /**
   * Why a fork cannot start; undefined once the state is here that it begins with. Until then that is
   * looked for, and `came` called when this has another answer.
   */
  baseProblem(came: () => void): string | undefined {
    const fork = this.#init.log.view?.fork;
    if (fork === undefined || this.#hasBase(fork)) return undefined;
    if (!this.#isFetching) {
      this.#isFetching = true;
      void this.#fetch(fork, came);
    }
    return this.#problem ?? "the state that it begins with is not here yet";
  }

  /** Whether the state that a fork begins with is here and whole; one that is damaged is dropped. */
  #hasBase({ digest }: ForkOrigin): boolean {
    if (this.#isBaseWhole) return true;
    const record = this.store.find(digest);
    if (record === undefined) return false;
    try {
      this.store.state(record);
      return this.#isBaseWhole = true;
    } catch (error) {
      if (!(error instanceof RealmError)) throw error;
      this.#tell(error);
      this.store.drop(record);
      return false;
    }
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
          // What was here of it already may be damaged, and gone now: then it is fetched once more.
          if (this.#hasBase(fork)) return came();
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
