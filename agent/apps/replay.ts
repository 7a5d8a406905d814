/**
 * The state of an app in a topic: its events, applied in their order.
 *
 * The order is a function of which events there are (`replay_order.ts`), and what becomes of an event
 * one of the event and the state before it. So peers with the same events have the same state and
 * verdicts, in whichever order they learnt of them. An event that sorts before others that were applied
 * makes them be undone and applied again: the state goes back to a snapshot (`snapshots.ts`). Events
 * that come together are taken together, and late ones wait where their authors have made enough work
 * (`rewind_budget.ts`).
 *
 * When the host fails, the peer is *ill*: it keeps what it had and applies nothing more, because it
 * could come to verdicts that nobody else comes to.
 *
 * @module
 */
import type { Topic, TopicEvent } from "../kernel/topic.ts";
import { bytesEqual } from "../kernel/key.ts";
import type { AppliedEvent } from "./guest/host_imports.ts";
import type { Outcome } from "./guest/state_apply.ts";
import { compareEvents, replayOrder } from "./replay_order.ts";
import { RewindBudget, type RewindLimits } from "./rewind_budget.ts";
import { Snapshots } from "./snapshots.ts";
import { type Journal, State } from "./state.ts";

/** The type of events by which the creator of a topic fixes the order of what is in their past. */
export const CHECKPOINT_TYPE = "realm/checkpoint";

/** Events that are compared with the order of before in the time that one takes to be applied. */
const COMPARED_PER_APPLIED = 64;

/** What a replay is made of. */
export interface ReplayParts {
  readonly topic: Topic;
  /** `StateApply`: throws when the host fails. */
  readonly guest: { apply(event: AppliedEvent, writes: Journal): Outcome };
  /** An event with its payload; undefined for one that is not the app's, which changes nothing. */
  readonly read: (event: TopicEvent) => AppliedEvent | undefined;
  /** Asked of events that count. Without it: those of {@link CHECKPOINT_TYPE} by the creator. */
  readonly isCheckpoint?: (event: TopicEvent) => boolean;
  readonly rewindLimits?: RewindLimits;
}

/** What an update did, in events. */
export interface Progress {
  /** Undone, to be applied again. */
  readonly rewound: number;
  readonly applied: number;
}

/** See the module. */
export class Replay {
  readonly #parts: ReplayParts;
  readonly #isCheckpoint: (event: TopicEvent) => boolean;
  readonly #budget: RewindBudget;
  readonly #snapshots = new Snapshots();
  /** What was applied, in order. */
  readonly #log: TopicEvent[] = [];
  readonly #outcomes = new Map<TopicEvent, Outcome>();
  #state = State.EMPTY;
  #final = 0;
  /** Added to the topic and not applied. */
  #waiting: TopicEvent[] = [];
  /** The order may have changed anywhere. */
  #isUnsure = true;
  /** Of those that wait, the ones that make it so. */
  readonly #unsettling = new Set<TopicEvent>();
  /** Authors of which not all events may count. */
  readonly #forked: Set<Uint8Array>;
  #illness: unknown;
  #isIll = false;

  /** Nothing is applied before the first {@link update}. */
  constructor(parts: ReplayParts) {
    this.#parts = parts;
    const { genesis } = parts.topic;
    this.#forked = new Set(parts.topic.forked());
    this.#isCheckpoint = parts.isCheckpoint ??
      (({ type, author }) => type === CHECKPOINT_TYPE && bytesEqual(author, genesis.author));
    this.#budget = new RewindBudget(parts.rewindLimits);
  }

  /** The state after everything that was applied. */
  get state(): State {
    return this.#state;
  }

  /** What was applied, in order; events that are not the app's too. Valid until the next update. */
  get log(): readonly TopicEvent[] {
    return this.#log;
  }

  /** Why the host failed; undefined while it is well. */
  get illness(): { readonly cause: unknown } | undefined {
    return this.#isIll ? { cause: this.#illness } : undefined;
  }

  /** Whether every event that counts was applied: only then states of peers can be compared. */
  get isSettled(): boolean {
    return !this.#isIll && !this.#isUnsure && this.#waiting.length === 0;
  }

  /** What became of an event; undefined when it was not applied or is not the app's. */
  outcomeOf(event: TopicEvent): Outcome | undefined {
    return this.#outcomes.get(event);
  }

  /** Whether a checkpoint has fixed the place of an event, and so its outcome. */
  isFinal(event: TopicEvent): boolean {
    const at = this.#log.indexOf(event);
    return at >= 0 && at < this.#final;
  }

  /** Takes note of an event that was added to the topic; {@link update} applies it. */
  added(event: TopicEvent): void {
    const { topic } = this.#parts;
    const isForked = topic.tipsOf(event.author).length > 1;
    // Its next event after the branches can make all of them count again.
    const wasForked = this.#forked.has(event.author);
    if (isForked) this.#forked.add(event.author);
    else this.#forked.delete(event.author);
    if (isForked || wasForked || this.#isCheckpoint(event)) {
      this.#isUnsure = true;
      this.#unsettling.add(event);
    } else if (!topic.counts(event)) return;
    this.#waiting.push(event);
  }

  /** Takes note that other events of the topic may be void, or kept, than before. */
  judged(): void {
    this.#isUnsure = true;
  }

  /** When an update will apply of what waits, if nothing else comes; undefined when nothing does. */
  dueMs(nowMs: number): number | undefined {
    if (this.#waiting.length === 0 || this.#isIll) return undefined;
    const times = this.#waiting.map(({ author }) => this.#budget.allowedAtMs(author, nowMs));
    return this.#isUnsure ? Math.max(...times) : Math.min(...times);
  }

  /** Applies what there is; late events only as far as their authors' budgets go. */
  update(nowMs: number): Progress {
    if (this.#isIll) return { rewound: 0, applied: 0 };
    return this.#isUnsure ? this.#reorder(nowMs) : this.#merge(nowMs);
  }

  /** Compares with the order anew. */
  #reorder(nowMs: number): Progress {
    const log = this.#log;
    const { topic } = this.#parts;
    const causes = this.#waiting.filter((event) =>
      this.#unsettling.has(event) || this.#placeOf(event) < log.length
    );
    // Without those who have to wait there is no such order: until then it is the one of before.
    if (causes.some(({ author }) => !this.#budget.allows(author, nowMs))) return this.#merge(nowMs);
    const { events, final } = replayOrder(topic, this.#isCheckpoint);
    let same = 0;
    while (same < log.length && log[same] === events[same]) same++;
    const cost = log.length - same + Math.ceil(log.length / COMPARED_PER_APPLIED);
    if (causes.length > 0) {
      this.#budget.pay(new Map(causes.map(({ author }) => [author, cost])), nowMs);
    }
    this.#waiting = [];
    this.#unsettling.clear();
    this.#isUnsure = false;
    this.#final = final;
    return this.#apply(same, events.slice(same));
  }

  /** Puts what is new into its places, which are behind the last checkpoint. */
  #merge(nowMs: number): Progress {
    const log = this.#log;
    const fresh: TopicEvent[] = [];
    const waiting: TopicEvent[] = [];
    const costs = new Map<Uint8Array, number>();
    let from = log.length;
    for (const event of this.#waiting.sort(compareEvents)) {
      const at = this.#placeOf(event);
      if (this.#unsettling.has(event)) {
        waiting.push(event);
        continue;
      }
      if (at < log.length) {
        if (!this.#budget.allows(event.author, nowMs)) {
          waiting.push(event);
          continue;
        }
        costs.set(event.author, Math.max(costs.get(event.author) ?? 0, log.length - at));
        from = Math.min(from, at);
      }
      fresh.push(event);
    }
    this.#waiting = waiting;
    if (costs.size > 0) this.#budget.pay(costs, nowMs);
    return this.#apply(from, [...log.slice(from), ...fresh].sort(compareEvents));
  }

  /** How many events of the log come before an event that no checkpoint has in its past. */
  #placeOf(event: TopicEvent): number {
    let low = this.#final;
    let high = this.#log.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (compareEvents(this.#log[middle]!, event) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Keeps `length` events of the log and applies others after them. */
  #apply(length: number, events: readonly TopicEvent[]): Progress {
    const log = this.#log;
    const rewound = log.length - length;
    let applied = 0;
    try {
      if (rewound > 0) {
        this.#state = this.stateAfter(length);
        this.#snapshots.rewind(length);
        for (const event of log.splice(length)) this.#outcomes.delete(event);
      }
      for (const event of events) {
        const { outcome, state } = this.#step(event, this.#state);
        if (outcome !== undefined) this.#outcomes.set(event, outcome);
        this.#state = state;
        log.push(event);
        applied++;
        this.#snapshots.offer(log.length, state);
      }
    } catch (error) {
      this.#isIll = true;
      this.#illness = error;
    }
    return { rewound, applied };
  }

  #step(event: TopicEvent, state: State): { outcome: Outcome | undefined; state: State } {
    const content = this.#parts.read(event);
    if (content === undefined) return { outcome: undefined, state };
    const journal = state.journal();
    const outcome = this.#parts.guest.apply(content, journal);
    return {
      outcome,
      state: outcome.verdict.kind === "accepted" ? journal.commit() : state,
    };
  }

  /** The state after the first `length` events of the log. Throws when the host fails. */
  stateAfter(length: number): State {
    if (length === this.#log.length) return this.#state;
    const snapshot = this.#snapshots.before(length);
    let { state } = snapshot;
    for (const event of this.#log.slice(snapshot.length, length)) {
      state = this.#step(event, state).state;
    }
    return state;
  }

  /** The state after an event, or undefined when it was not applied. Throws when the host fails. */
  stateAt(event: TopicEvent): State | undefined {
    const at = this.#log.indexOf(event);
    return at < 0 ? undefined : this.stateAfter(at + 1);
  }

  /** What would become of an event if it came next; nothing is kept. Throws when the host fails. */
  dryRun(event: AppliedEvent): Outcome {
    return this.#parts.guest.apply(event, this.#state.journal());
  }
}
