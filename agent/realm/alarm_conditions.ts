/**
 * What is wrong at this moment, told from what a node knows: its replicas, its machine, the realm's
 * control log, rollouts. Pure; `alarms.ts` makes alarms of it.
 *
 * @module
 */
import type { EnforcedLimits, Exit, Usage } from "../kernel/ports.ts";
import type { Condition } from "./alarms.ts";
import type { RolloutStatus } from "./node_rollout.ts";
import type { Placement } from "./placement.ts";
import type { RealmView } from "./realm_view.ts";

/** From this share on memory and disk are an alarm. */
const FULL = 0.9;
/** A replica that is throttled for less of a sample is not worth a word. */
const THROTTLED = 0.1;
/** Clocks that differ by so much are an alarm. */
const SKEW_MS = 5_000;

/** What is needed of a replica; times are wall time. */
export interface SeenReplica {
  readonly component: string;
  readonly index: number;
  readonly state: string;
  readonly startedAtMs: number | null;
  readonly limits: Pick<EnforcedLimits, "memoryBytesMax"> | null;
  readonly usage: Pick<Usage, "memoryBytes" | "throttledMs"> | null;
  readonly lastExit: { readonly atMs: number; readonly exit: Exit } | null;
  readonly health?: string | undefined;
}

/** What is needed of a machine. */
export interface SeenMachine {
  readonly memoryTotalBytes: number;
  readonly memoryUsedBytes: number;
  readonly diskTotalBytes: number;
  readonly diskUsedBytes: number;
}

/** Of the replicas of a node: those that ended, and those that need nearly all of their memory. */
export function replicaConditions(node: string, replicas: readonly SeenReplica[]): Condition[] {
  return replicas.flatMap((replica): Condition[] => {
    const { component, index, state, limits, usage, lastExit, health } = replica;
    const subject = `${component}/${index}`;
    const found: Condition[] = [];
    if (lastExit !== null && (state === "failed" || state === "backoff")) {
      const code = state === "failed" ? "replica-failed" : "replica-restarting";
      const value = describeExit(lastExit.exit);
      found.push({ code, node, subject, value, sinceAtMs: lastExit.atMs });
    }
    if (state === "unhealthy") {
      found.push({
        code: "replica-unhealthy",
        node,
        subject,
        value: health ?? "it does not answer",
      });
    }
    const share = limits === null ? 0 : (usage?.memoryBytes ?? 0) / limits.memoryBytesMax;
    if (share > FULL) found.push({ code: "memory", node, subject, value: percent(share) });
    return found;
  });
}

/** Of the machine itself. */
export function machineConditions(node: string, machine: SeenMachine): Condition[] {
  const { diskUsedBytes, diskTotalBytes, memoryUsedBytes, memoryTotalBytes } = machine;
  const shares = [
    ["disk", diskUsedBytes / diskTotalBytes],
    ["node-memory", memoryUsedBytes / memoryTotalBytes],
  ] as const;
  return shares.filter(([, share]) => share > FULL)
    .map(([code, share]) => ({ code, node, subject: null, value: percent(share) }));
}

/** Of the control log. */
export function viewConditions(view: RealmView): Condition[] {
  return view.alarms.map((alarm) => {
    switch (alarm.kind) {
      case "conflict":
        return {
          code: alarm.kind,
          node: null,
          subject: alarm.author,
          value: alarm.tips.join(", "),
        };
      case "equivocation":
        return {
          code: alarm.kind,
          node: null,
          subject: alarm.author,
          value: alarm.events.join(" and "),
        };
      case "key-changed": {
        const value = `${alarm.to}, while ${alarm.from} had not been revoked`;
        return { code: alarm.kind, node: null, subject: alarm.name, value };
      }
    }
  });
}

/** Of releases that failed, and of what has no place. */
export function rolloutConditions(
  rollouts: ReadonlyMap<string, Pick<RolloutStatus, "version" | "wanted" | "settled" | "failure">>,
  unplaced: Placement["unplaced"],
): Condition[] {
  const failed = [...rollouts].flatMap(([subject, rollout]): Condition[] => {
    const { version, wanted, settled, failure } = rollout;
    if (failure === undefined) return [];
    const goes = settled >= wanted ? "went" : "goes";
    const value = `version ${failure.version} failed on ${failure.node}, it ${goes} back to ` +
      `version ${version}: ${failure.evidence.split("\n")[0]}`;
    return [{ code: "rollout-failed", node: null, subject, value }];
  });
  const homeless = Map.groupBy(unplaced, ({ component }) => component);
  return [
    ...failed,
    ...[...homeless].map(([subject, all]): Condition => ({
      code: "unplaced",
      node: null,
      subject,
      value: all.map(({ replicas, why }) => `${replicas} (${why})`).join(", "),
    })),
  ];
}

/** Remembers a sample of each replica, and says which of them were throttled since. */
export class ThrottleWatch {
  #before = new Map<string, { instance: number | null; throttledMs: number; atMs: number }>();

  /** To be called with each sample, and not between. */
  look(node: string, replicas: readonly SeenReplica[], nowMs: number): Condition[] {
    const before = this.#before;
    this.#before = new Map();
    return replicas.flatMap(({ component, index, startedAtMs, usage }): Condition[] => {
      if (usage === null) return [];
      const subject = `${component}/${index}`;
      const { throttledMs } = usage;
      this.#before.set(subject, { instance: startedAtMs, throttledMs, atMs: nowMs });
      const last = before.get(subject);
      if (last?.instance !== startedAtMs || nowMs <= last.atMs) return [];
      const share = (throttledMs - last.throttledMs) / (nowMs - last.atMs);
      if (share < THROTTLED) return [];
      return [{ code: "throttled", node, subject, value: percent(Math.min(1, share)) }];
    });
  }
}

/** The newest that a node said of its clock. */
export interface SeenClock {
  readonly node: string;
  /** Names what it said: the same one says nothing new. */
  readonly counter: number;
  /** Its clock less this one's, when its word came. */
  readonly offsetMs: number;
}

/** Looks at a clock that it takes to say how far it is off, and of how many looks the best counts. */
const LOOKS_MIN = 3;
const LOOKS_MAX = 8;

/**
 * Compares the clocks of nodes. What a node says is on its way for a while, which makes its clock
 * look slow: so of the last looks the one counts that makes it look fastest. Most clocks are taken to
 * be right: each is compared with the median. Of two nodes nobody knows which is right, so it is the
 * other one that is named.
 */
export class ClockWatch {
  readonly #looks = new Map<string, { counter: number; offsets: number[] }>();

  /** The clocks of the other nodes that live. */
  look(self: string, clocks: readonly SeenClock[]): Condition[] {
    const live = new Set(clocks.map(({ node }) => node));
    for (const node of this.#looks.keys()) if (!live.has(node)) this.#looks.delete(node);
    for (const { node, counter, offsetMs } of clocks) {
      const known = this.#looks.get(node);
      if (known === undefined) this.#looks.set(node, { counter, offsets: [offsetMs] });
      else if (known.counter !== counter) {
        known.counter = counter;
        known.offsets = [...known.offsets.slice(1 - LOOKS_MAX), offsetMs];
      }
    }
    const offsets = [...this.#looks].filter(([, { offsets }]) => offsets.length >= LOOKS_MIN)
      .map(([node, { offsets }]) => [node, Math.max(...offsets)] as const);
    const sorted = [0, ...offsets.map(([, offset]) => offset)].sort((a, b) => a - b);
    const median = sorted.length === 2 ? 0 : sorted[Math.floor(sorted.length / 2)]!;
    return [[self, 0] as const, ...offsets].flatMap(([node, offset]): Condition[] => {
      const offMs = offset - median;
      if (Math.abs(offMs) < SKEW_MS) return [];
      const value = `${Math.round(Math.abs(offMs) / 1000)} s ${offMs > 0 ? "ahead" : "behind"}`;
      return [{ code: "clock-skew", node, subject: null, value }];
    });
  }
}

function describeExit(exit: Exit): string {
  if (exit.kind === "exit") return `exit ${exit.status}`;
  return exit.kind === "stopped" ? "stopped" : `${exit.code}: ${exit.message}`;
}

/** `94 %`; never 100 % of what is not all. */
function percent(share: number): string {
  return `${share >= 1 ? 100 : Math.min(99, Math.round(share * 100))} %`;
}
