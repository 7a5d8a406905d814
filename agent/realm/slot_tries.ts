/**
 * What a node remembers of the slots in which a release was tried in vain and of which no verdict is
 * given: the release was complete before, or there is none to go back to, or its bytes cannot be had.
 *
 * Such a slot is given up: what served in it goes on, or what ran in it before comes back, and the
 * slot is tried again after a rest that doubles from 10 s to 60 s. Every time counts as one more try
 * of the node, and slots of a node with more tries come later in the queue of `rollout.ts`: so those
 * in which the release has not been tried come first, and of the others each has its turn.
 *
 * @module
 */
import type { DesiredReplica } from "./desired.ts";
import type { RunningSlot } from "./node_rollout.ts";
import { keyOf } from "./reconcile.ts";

const REST_MIN_MS = 10_000;
const REST_MAX_MS = 60_000;
/** What ran in a slot that is empty for longer does not come back. */
const EMPTY_MAX_MS = 60_000;
/** More are not told: records are bounded. */
const TRIES_MAX = 65_535;

/** What is remembered of a slot. */
export interface SlotTry {
  /** Whether the release is not to be tried in it now. */
  readonly isResting: boolean;
  /** What was ready in it last. */
  readonly before: DesiredReplica | undefined;
}

/** What a component goes by. */
export interface TriedGoal {
  readonly revision: string;
  /** Whether this node may give a verdict on it, so that nothing is given up. */
  readonly isOnTrial: boolean;
}

/** A slot that was given up and is not ready since. */
export interface GivenUpSlot {
  readonly component: string;
  readonly index: number;
  /** In words. */
  readonly why: string;
}

interface Rest {
  readonly index: number;
  readonly why: string;
  readonly tries: number;
  readonly untilMs: number;
}

/** See the module. Times are in milliseconds of a monotonic clock. */
export class SlotTries {
  /** By component: what was tried, how often, and the rests of its slots. */
  readonly #goals = new Map<
    string,
    { revision: string; tries: number; rests: Map<string, Rest> }
  >();
  /** By slot: what was ready in it last, and when there was anything in it. */
  readonly #ready = new Map<string, { replica: DesiredReplica; atMs: number }>();

  /** How often a revision was given up on this node. */
  triesOf(component: string, revision: string): number {
    const goal = this.#goals.get(component);
    return goal?.revision === revision ? goal.tries : 0;
  }

  /** What is remembered of a slot that is to run a revision. */
  of(slot: { component: string; index: number }, revision: string, nowMs: number): SlotTry {
    const key = keyOf(slot);
    const goal = this.#goals.get(slot.component);
    const rest = goal?.revision === revision ? goal.rests.get(key) : undefined;
    return {
      isResting: rest !== undefined && nowMs < rest.untilMs,
      before: this.#ready.get(key)?.replica,
    };
  }

  /** Indices of the slots in which a revision is not to be tried now, whatever is in them. */
  restingOf(component: string, revision: string, nowMs: number): ReadonlySet<number> {
    const goal = this.#goals.get(component);
    const rests = goal?.revision === revision ? [...goal.rests.values()] : [];
    return new Set(rests.flatMap(({ index, untilMs }) => nowMs < untilMs ? [index] : []));
  }

  /** Slots that were given up, and are not ready since: those that rest, and those tried again. */
  givenUp(): GivenUpSlot[] {
    return [...this.#goals].flatMap(([component, { rests }]) =>
      [...rests.values()].map(({ index, why }) => ({ component, index, why }))
    );
  }

  /** When a slot has rested next, so that something is to be decided; `undefined` for none. */
  dueAt(nowMs: number): number | undefined {
    const due = [...this.#goals.values()].flatMap(({ rests }) =>
      [...rests.values()].map(({ untilMs }) => untilMs).filter((untilMs) => untilMs > nowMs)
    );
    return due.length === 0 ? undefined : Math.min(...due);
  }

  /**
   * Takes note of what there is; whether something was given up. `whyOf` says in words why a replica
   * cannot be made ready.
   */
  note(
    goals: ReadonlyMap<string, TriedGoal>,
    own: readonly RunningSlot[],
    nowMs: number,
    whyOf: (replica: DesiredReplica) => string = () => "it cannot be made ready",
  ): boolean {
    for (const [component, { revision }] of this.#goals) {
      if (goals.get(component)?.revision !== revision) this.#goals.delete(component);
    }
    let isNews = false;
    for (const { replica, isReady, isInVain, isLate } of own) {
      const key = keyOf(replica);
      const goal = goals.get(replica.component);
      if (isReady) this.#ready.set(key, { replica, atMs: nowMs });
      if (goal === undefined || replica.revision !== goal.revision) continue;
      const known = this.#goals.get(replica.component);
      if (isReady) known?.rests.delete(key);
      if (!isInVain || goal.isOnTrial && !isLate) continue;
      const rest = known?.rests.get(key);
      if (rest !== undefined && nowMs < rest.untilMs) continue;
      const tries = (rest?.tries ?? 0) + 1;
      const untilMs = nowMs + Math.min(REST_MAX_MS, REST_MIN_MS * 2 ** (tries - 1));
      const entry = known ?? { revision: goal.revision, tries: 0, rests: new Map<string, Rest>() };
      entry.tries = Math.min(TRIES_MAX, entry.tries + 1);
      const why = isLate ? "its bytes cannot be had" : whyOf(replica);
      entry.rests.set(key, { index: replica.index, why, tries, untilMs });
      this.#goals.set(replica.component, entry);
      isNews = true;
    }
    for (const { replica } of own) {
      const last = this.#ready.get(keyOf(replica));
      if (last !== undefined) last.atMs = nowMs;
    }
    // Where the old one stops first a slot is empty for a moment.
    for (const [key, { atMs }] of this.#ready) {
      if (nowMs - atMs > EMPTY_MAX_MS) this.#ready.delete(key);
    }
    return isNews;
  }
}
