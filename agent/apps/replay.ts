/**
 * The state of an app in a topic: its events, applied in their order.
 *
 * The order is a function of which events there are (`replay_order.ts`), and what becomes of an event
 * one of the event and the state before it. So peers with the same events have the same state and
 * verdicts, in whichever order they learnt of them. An event that sorts before others that were applied
 * makes them be undone and applied again: the state goes back to a snapshot (`snapshots.ts`). Events
 * that come together are taken together, and late ones wait where their authors have made enough work
 * (`rewind_budget.ts`). Of events that were accepted lately is known what they read and wrote (`Trace` in
 * `state.ts`): where they would read the same again, what they wrote is written, and no guest is asked.
 *
 * An upgrade is an event, too: from its place on another guest applies events, once it has migrated the
 * state. One whose migration is not accepted changes nothing. Where a peer lacks the bundle, or the key
 * of a payload, it stops before that event and says what it needs; it goes on when that has come.
 *
 * When the host fails, the peer is *ill*: it keeps what it had and applies nothing more, because it
 * could come to verdicts that nobody else comes to.
 *
 * @module
 */
import type { Topic, TopicEvent } from "../kernel/topic.ts";
import { bytesOf } from "../kernel/byte_string.ts";
import { bytesEqual } from "../kernel/key.ts";
import type { AppliedEvent } from "./guest/host_imports.ts";
import type { Outcome } from "./guest/state_apply.ts";
import { compareEvents, orderDigest, replayOrder } from "./replay_order.ts";
import { RewindBudget, type RewindLimits } from "./rewind_budget.ts";
import { Snapshots } from "./snapshots.ts";
import { Recent } from "../kernel/recent.ts";
import { type Journal, State, type Trace } from "./state.ts";

/** The type of events by which the creator of a topic fixes the order of what is in their past. */
export const CHECKPOINT_TYPE = "realm/checkpoint";

/** Events that are compared with the order of before in the time that one takes to be applied. */
const COMPARED_PER_APPLIED = 64;

/** What applies the events of one bundle; `StateApply` is one. Throws when the host fails. */
export interface Guest {
  apply(event: AppliedEvent, writes: Journal): Outcome;
  /**
   * Brings the state that another bundle left into the form of this one; its event is the upgrade, and
   * the payload that bundle's CID. Without it a state is what it was.
   */
  migrate?(event: AppliedEvent, writes: Journal): Outcome;
}

/** An event from which on another bundle applies events. */
export interface Upgrade {
  /** The bundle's CID in text. */
  readonly bundle: string;
  readonly guest: Guest;
  /** Without a payload, which is the replay's to know. */
  readonly upgrade: Omit<AppliedEvent, "payload">;
}

/** What an event is not applied without, and is not here. */
export interface Needed {
  readonly needed: { readonly kind: "bundle" | "key"; readonly name: string };
}

/** What a replay is made of. */
export interface ReplayParts {
  readonly topic: Topic;
  /** Of the bundle that the topic starts with. */
  readonly guest: Guest;
  /** The CID of that bundle in text. */
  readonly bundle?: string;
  /** The state that the topic starts with; without it nothing. */
  readonly state?: State;
  /**
   * An event with its payload; undefined for one that is not the app's, which changes nothing. What was
   * there once has to stay there.
   */
  readonly read: (event: TopicEvent) => AppliedEvent | Upgrade | Needed | undefined;
  /** Asked of events that count. Without it: those of {@link CHECKPOINT_TYPE} by the creator. */
  readonly isCheckpoint?: (event: TopicEvent) => boolean;
  readonly rewindLimits?: RewindLimits;
  /** What another replay had come to: where its events come first in the order, they are not applied. */
  readonly resume?: Resume;
}

/** What a replay had come to. */
export interface Resume {
  /** How many events of the order it had applied, and their {@link orderDigest}. */
  readonly length: number;
  readonly order: Uint8Array;
  readonly state: State;
  readonly bundle: string;
  readonly guest: Guest;
}

/** A state, and what applies the event after it. */
interface Stage {
  readonly state: State;
  readonly guest: Guest;
  readonly bundle: string;
}

/** How an event was applied, which was accepted. */
interface Applied {
  readonly guest: Guest;
  readonly outcome: Outcome;
  readonly trace: Trace;
}

/** Bytes of what is remembered of how events were applied, with what it costs to keep each. */
const APPLIED_BYTES_MAX = 16 * 1024 * 1024;
const APPLIED_OVERHEAD_BYTES = 512;
/** Of each key that was read or written: a pair, a string, and mostly an array that is kept by nobody else. */
const TRACED_OVERHEAD_BYTES = 300;

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
  readonly #snapshots: Snapshots<Stage>;
  /** In order: what was applied, and what comes after something that is needed. */
  readonly #log: TopicEvent[] = [];
  #applied = 0;
  readonly #outcomes = new Map<TopicEvent, Outcome>();
  /** Of events that were applied lately: one that comes late mostly changes nothing for them. */
  readonly #known = new Recent<TopicEvent, Applied>(APPLIED_BYTES_MAX);
  #stage: Stage;
  #needs: Needed["needed"] | undefined;
  #final = 0;
  /** Added to the topic and not applied. */
  #waiting: TopicEvent[] = [];
  /** Of them, those whose authors' budgets were used up; not looked at again before some is not. */
  #late: TopicEvent[] = [];
  #lateAtMs = Infinity;
  /** The order may have changed anywhere. */
  #isUnsure = true;
  /** Of those that wait, the ones that make it so. */
  readonly #unsettling = new Set<TopicEvent>();
  /** Authors of which not all events may count. */
  readonly #forked: Set<Uint8Array>;
  /** Events at the start of the log of which the outcomes are not known, and where they led to. */
  #skipped = 0;
  #skippedTo: Stage | undefined;
  #illness: unknown;
  #isIll = false;
  #isOver: () => boolean = () => false;

  /** Nothing is applied before the first {@link update}. */
  constructor(parts: ReplayParts) {
    this.#parts = parts;
    const { genesis } = parts.topic;
    this.#forked = new Set(parts.topic.forked());
    this.#isCheckpoint = parts.isCheckpoint ??
      (({ type, author }) => type === CHECKPOINT_TYPE && bytesEqual(author, genesis.author));
    this.#budget = new RewindBudget(parts.rewindLimits);
    const { guest, state = State.EMPTY, bundle = "" } = parts;
    this.#stage = { state, guest, bundle };
    this.#snapshots = new Snapshots(this.#stage);
  }

  /** The state after everything that was applied. */
  get state(): State {
    return this.#stage.state;
  }

  /** The bundle in force after that. */
  get bundle(): string {
    return this.#stage.bundle;
  }

  /** What was applied, in order; events that are not the app's too. Valid until the next update. */
  get log(): readonly TopicEvent[] {
    return this.#applied === this.#log.length ? this.#log : this.#log.slice(0, this.#applied);
  }

  /** How many events {@link log} has. */
  get length(): number {
    return this.#applied;
  }

  /** The last `count` of {@link log}. */
  last(count: number): readonly TopicEvent[] {
    return this.#log.slice(Math.max(0, this.#applied - count), this.#applied);
  }

  /** What the next event is not applied without, and that event; undefined while nothing lacks. */
  get needs(): (Needed["needed"] & { readonly event: TopicEvent }) | undefined {
    return this.#needs && { ...this.#needs, event: this.#log[this.#applied]! };
  }

  /** Why the host failed; undefined while it is well. */
  get illness(): { readonly cause: unknown } | undefined {
    return this.#isIll ? { cause: this.#illness } : undefined;
  }

  /** Whether an update has left something for the next one, as it was told to. */
  get isBehind(): boolean {
    return !this.#isIll && this.#needs === undefined && this.#applied < this.#log.length;
  }

  /** How many events of {@link log} have places, and outcomes, that a checkpoint has fixed. */
  get finalLength(): number {
    return Math.min(this.#final, this.#applied);
  }

  /** Whether every event that counts was applied: only then states of peers can be compared. */
  get isSettled(): boolean {
    return !this.#isIll && !this.#isUnsure && this.#waiting.length + this.#late.length === 0 &&
      this.#applied === this.#log.length;
  }

  /** What became of an event; undefined when it was not applied or is not the app's. */
  outcomeOf(event: TopicEvent): Outcome | undefined {
    return this.#outcomes.get(event);
  }

  /** Whether a checkpoint has fixed the place of an event, and so its outcome. */
  isFinal(event: TopicEvent): boolean {
    const at = this.#log.indexOf(event);
    return at >= 0 && at < this.finalLength;
  }

  /** Takes note of an event that was added to the topic; {@link update} applies it. */
  added(event: TopicEvent): void {
    const { topic } = this.#parts;
    const isForked = topic.isForked(event.author);
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
    if (this.isBehind) return nowMs;
    if (this.#isIll || this.#waiting.length + this.#late.length === 0) return undefined;
    const authors = new Set(this.#waiting.map(({ author }) => author));
    if (this.#isUnsure) { for (const { author } of this.#late) authors.add(author); }
    const times = [...authors].map((author) => this.#budget.allowedAtMs(author, nowMs));
    // Those that wait are not looked at before the time that was found for them, to which a budget that
    // is asked later may come a moment sooner.
    if (this.#late.length > 0) times.push(this.#lateAtMs);
    return this.#isUnsure ? Math.max(...times) : Math.min(...times);
  }

  /**
   * Applies what there is; late events only as far as their authors' budgets go. `isOver` is asked after
   * each event whether the rest is to be left for the next time.
   */
  update(nowMs: number, isOver: () => boolean = () => false): Progress {
    if (this.#isIll) return { rewound: 0, applied: 0 };
    this.#isOver = isOver;
    return this.#isUnsure ? this.#reorder(nowMs) : this.#merge(nowMs);
  }

  /** Compares with the order anew. */
  #reorder(nowMs: number): Progress {
    if (nowMs < this.#lateAtMs && this.#late.length > 0) return this.#merge(nowMs);
    this.#wakeLate();
    const log = this.#log;
    const { topic } = this.#parts;
    const causes = this.#waiting.filter((event) =>
      this.#unsettling.has(event) || this.#placeOf(event) < log.length
    );
    // Without those who have to wait there is no such order: until then it is the one of before.
    if (causes.some(({ author }) => !this.#budget.allows(author, nowMs))) return this.#merge(nowMs);
    const { events, final } = replayOrder(topic, this.#isCheckpoint);
    if (log.length === 0) this.#resume(events);
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

  /** Goes on from where another replay was, if it had applied the first of these. */
  #resume(events: readonly TopicEvent[]): void {
    const { resume } = this.#parts;
    if (resume === undefined || events.length < resume.length) return;
    const first = events.slice(0, resume.length);
    if (!bytesEqual(orderDigest(first), resume.order)) return;
    for (const event of first) this.#log.push(event);
    const { length, state, bundle, guest } = resume;
    this.#applied = length;
    this.#stage = { state, bundle, guest };
    this.#snapshots.offer(length, this.#stage);
    this.#skip(length, this.#stage);
  }

  #skip(length: number, to?: Stage): void {
    if (length === this.#skipped) return;
    this.#skipped = length;
    this.#skippedTo = to;
  }

  /** How many events at the start of {@link log} were not applied here: see {@link recall}. */
  get skipped(): number {
    return this.#skipped;
  }

  /**
   * Applies what was skipped, an event at each step, in between anything else: afterwards its outcomes
   * are known. Returns false when that leads to another state, or bundle, than what was gone on from:
   * what said so was wrong. Throws when the host fails.
   */
  *recall(abi: number): Generator<void, boolean> {
    let { stage } = this.#snapshots.before(0);
    let at = 0;
    // A rewind into what was skipped applies what is behind it.
    for (; at < this.#skipped; at++) {
      const event = this.#log[at]!;
      const step = this.#step(event, stage);
      if ("needed" in step) return true; // nobody can tell yet
      if (step.outcome !== undefined) this.#outcomes.set(event, step.outcome);
      ({ stage } = step);
      yield;
    }
    const to = this.#skippedTo;
    this.#skip(0);
    return to === undefined || to.bundle === stage.bundle &&
        bytesEqual(to.state.digest(abi), stage.state.digest(abi));
  }

  #wakeLate(): void {
    this.#waiting.push(...this.#late);
    this.#late = [];
    this.#lateAtMs = Infinity;
  }

  /** Puts what is new into its places, which are behind the last checkpoint. */
  #merge(nowMs: number): Progress {
    if (nowMs >= this.#lateAtMs) this.#wakeLate();
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
          this.#late.push(event);
          const atMs = this.#budget.allowedAtMs(event.author, nowMs);
          this.#lateAtMs = Math.min(this.#lateAtMs, atMs);
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

  /** Keeps `length` events of the log and applies others after them, and what was left before. */
  #apply(length: number, events: readonly TopicEvent[]): Progress {
    const log = this.#log;
    const rewound = Math.max(0, this.#applied - length);
    let applied = 0;
    this.#needs = undefined;
    try {
      if (rewound > 0) {
        this.#stage = this.#stageAfter(length);
        this.#snapshots.rewind(length);
        for (const event of log.slice(length, this.#applied)) this.#outcomes.delete(event);
        this.#applied = length;
        this.#skip(Math.min(this.#skipped, length));
      }
      log.length = length;
      for (const event of events) log.push(event);
      while (this.#applied < log.length) {
        const event = log[this.#applied]!;
        const step = this.#step(event, this.#stage);
        if ("needed" in step) {
          this.#needs = step.needed;
          break;
        }
        if (step.outcome !== undefined) this.#outcomes.set(event, step.outcome);
        this.#stage = step.stage;
        this.#applied++;
        applied++;
        this.#snapshots.offer(this.#applied, this.#stage);
        if (this.#isOver()) break;
      }
    } catch (error) {
      this.#isIll = true;
      this.#illness = error;
    }
    return { rewound, applied };
  }

  #step(
    event: TopicEvent,
    stage: Stage,
  ): { readonly outcome: Outcome | undefined; readonly stage: Stage } | Needed {
    const known = this.#known.get(event);
    if (known?.guest === stage.guest) {
      const journal = stage.state.journal();
      if (journal.repeat(known.trace)) {
        return { outcome: known.outcome, stage: { ...stage, state: journal.commit() } };
      }
    }
    const content = this.#parts.read(event);
    if (content === undefined) return { outcome: undefined, stage };
    if ("needed" in content) return content;
    const journal = stage.state.journal();
    const outcome = "upgrade" in content
      ? migrated(content, stage.bundle, journal)
      : stage.guest.apply(content, journal);
    if (outcome.verdict.kind !== "accepted") return { outcome, stage };
    const state = journal.commit();
    if (!("upgrade" in content)) {
      this.#remember(event, stage.guest, outcome, journal.trace());
      return { outcome, stage: { ...stage, state } };
    }
    return { outcome, stage: { state, guest: content.guest, bundle: content.bundle } };
  }

  #remember(event: TopicEvent, guest: Guest, outcome: Outcome, trace: Trace | undefined): void {
    if (trace === undefined) return;
    let bytes = APPLIED_OVERHEAD_BYTES +
      TRACED_OVERHEAD_BYTES * (trace.reads.length + trace.writes.length);
    for (const [key, value] of trace.reads) bytes += key.length + (value?.length ?? 0);
    for (const [key, , leaf] of trace.writes) bytes += key.length + (leaf?.value.length ?? 0);
    this.#known.put(event, { guest, outcome, trace }, bytes);
  }

  #stageAfter(length: number): Stage {
    if (length === this.#applied) return this.#stage;
    const snapshot = this.#snapshots.before(length);
    let { stage } = snapshot;
    for (const event of this.#log.slice(snapshot.length, length)) {
      const step = this.#step(event, stage);
      // It was there when the event was applied first.
      if ("needed" in step) throw new Error(`The ${step.needed.kind} ${step.needed.name} is gone`);
      ({ stage } = step);
    }
    return stage;
  }

  /**
   * The state after the first `length` events of the log, at most as many as were applied. Throws when
   * the host fails.
   */
  stateAfter(length: number): State {
    return this.#stageAfter(length).state;
  }

  /** The state after an event, or undefined when it was not applied. Throws when the host fails. */
  stateAt(event: TopicEvent): State | undefined {
    const at = this.#log.indexOf(event);
    return at < 0 || at >= this.#applied ? undefined : this.stateAfter(at + 1);
  }

  /** What would become of an event if it came next; nothing is kept. Throws when the host fails. */
  dryRun(event: AppliedEvent | Upgrade): Outcome {
    const { state, guest, bundle } = this.#stage;
    return "upgrade" in event
      ? migrated(event, bundle, state.journal())
      : guest.apply(event, state.journal());
  }
}

/** What becomes of an upgrade; what its migration writes goes to `journal`. */
function migrated({ guest, upgrade }: Upgrade, from: string, journal: Journal): Outcome {
  const event = { ...upgrade, payload: bytesOf(from) };
  return guest.migrate?.(event, journal) ?? { verdict: { kind: "accepted" }, fuel: 0 };
}
