/**
 * Alarms: what somebody who operates a realm should see to, since when, and what to do about it.
 *
 * A {@link Condition} is what is seen at a moment; {@link AlarmBoard} makes alarms of conditions that
 * lasted long enough. What only a node itself can see (its memory, its disk, its replicas) it tells
 * the others in its health record, as code, subject and value: what those mean, and what to do, each
 * node says in its own words, and of the codes in {@link isTold} only.
 *
 * Points in time are milliseconds: `…Ms` of the monotonic clock, `…AtMs` since 1970.
 *
 * @module
 */

/** How bad it is: whether something does not work, or may not for long. */
export type Severity = "critical" | "warning";

/** What an alarm may say of the thing that it is about; the rest is the same for its kind. */
type Said = Pick<Condition, "subject" | "value"> & { readonly node: string };

interface Kind {
  readonly severity: Severity;
  /** The one sentence. */
  readonly say: (of: Said) => string;
  /** The command or edit that helps. */
  readonly hint: (of: Said) => string;
  /** A node tells it of itself; nobody else can know. */
  readonly isTold?: true;
  /** It is the business of the person of this machine, and not of the realm. */
  readonly isPersonal?: true;
  /** It has to last so long; 0 unless given. */
  readonly heldMs?: number;
  /** It is still there so long after it was last seen; 0 unless given. */
  readonly lingersMs?: number;
}

/** What is measured in samples, which are some seconds apart, lingers from one to the next. */
const SAMPLED_MS = 15_000;

/** Every kind of alarm, in the order in which they are shown. */
const KINDS = {
  "unclaimed": {
    severity: "critical",
    say: () => "unclaimed: this agent has no owner and obeys nothing",
    hint: () =>
      "Start it with realm agent --owner KEY, or --ticket from realm invite; apps need neither",
  },
  "not-approved": {
    severity: "critical",
    say: ({ value }) => value ?? "this node is not approved yet",
    hint: ({ node, subject }) =>
      subject === null
        ? "Start it with another data folder: realm agent --data DIR"
        : `The owner compares the fingerprint and runs realm nodes approve ${node}`,
  },
  "conflict": {
    severity: "critical",
    say: ({ subject, value }) =>
      `${subject} signed on two branches at once: what came after they part does not count until ` +
      `its next event joins them; tips ${value}`,
    hint: () =>
      "If two machines have that key, run realm apply on one of them; else it may be stolen: " +
      "run realm key rotate",
  },
  "equivocation": {
    severity: "critical",
    say: ({ subject, value }) =>
      `${subject} signed two manifests that do not know of each other: the events ${value} prove it`,
    hint: () =>
      "If two machines have that key, run realm apply on one of them; else it may be stolen: " +
      "run realm key rotate",
  },
  "key-changed": {
    severity: "critical",
    say: ({ subject, value }) => `${subject} was approved with another key, ${value}`,
    hint: () => "If the old machine is gone, revoke its key: realm nodes revoke KEY",
  },
  "name-taken": {
    severity: "critical",
    say: ({ subject, value }) => `another key calls itself ${subject}, ${value}`,
    hint: () =>
      "Compare fingerprints on the machines; approve it under another name, or not at all",
  },
  "view-differs": {
    severity: "critical",
    say: ({ node }) => `drift: ${node} has the same control log and makes another realm of it`,
    hint: () => "Run the same version of realm on all nodes; if they do, report this",
  },
  "drift": {
    severity: "critical",
    say: ({ subject, value }) => `topic ${subject}: ${value}`,
    hint: ({ subject }) => `Run realm app verify ${subject} on both machines, and report this`,
    isPersonal: true,
  },
  "topic": {
    severity: "warning",
    say: ({ subject, value }) => `topic ${subject}: ${value}`,
    hint: ({ subject }) => `Run realm app log ${subject}`,
    isPersonal: true,
  },
  "rollout-failed": {
    severity: "critical",
    say: ({ subject, value }) => `${subject}: ${value}`,
    hint: ({ subject }) => `Read realm logs ${subject}, mend it, and run realm apply again`,
  },
  "refused": {
    severity: "critical",
    say: ({ node, value }) => `${node} refused manifest ${value}`,
    hint: ({ node }) => `Change the manifest, or policy.toml on ${node}`,
    isTold: true,
  },
  "replica-failed": {
    severity: "critical",
    say: ({ node, subject, value }) => `${subject} on ${node} ended: ${value}`,
    hint: ({ node, subject }) =>
      `Read realm logs ${componentOf(subject)} --node ${node}; it is not started again`,
    isTold: true,
  },
  "replica-restarting": {
    severity: "warning",
    say: ({ node, subject, value }) => `${subject} on ${node} ended: ${value}`,
    hint: ({ node, subject }) =>
      `Read realm logs ${componentOf(subject)} --node ${node}; it is started again`,
    isTold: true,
  },
  "replica-unhealthy": {
    severity: "warning",
    say: ({ node, subject, value }) =>
      `${subject} on ${node} is unhealthy and gets no requests: ${value}`,
    hint: ({ node, subject }) =>
      `Read realm logs ${componentOf(subject)} --node ${node}; it is restarted if that lasts`,
    isTold: true,
  },
  "no-majority": {
    severity: "warning",
    say: () => "cut off from most nodes of the realm: what runs is kept, nothing new is started",
    hint: () => "Run realm peer ls, and look at the network between this node and the others",
  },
  "silent": {
    severity: "warning",
    say: ({ node }) => `nothing is heard of ${node}`,
    hint: ({ node }) =>
      `See that realm agent runs there and is reached; if it is gone, realm nodes revoke ${node}`,
  },
  "unplaced": {
    severity: "warning",
    say: ({ subject, value }) => `cannot place ${value} of ${subject}`,
    hint: () => "Run realm plan, then change its placement or bring a node back",
  },
  "disk": {
    severity: "warning",
    say: ({ node, value }) => `the disk of ${node} is ${value} full`,
    hint: ({ node }) => `Make room on the file system of the data folder of ${node}`,
    isTold: true,
    lingersMs: SAMPLED_MS,
  },
  "node-memory": {
    severity: "warning",
    say: ({ node, value }) => `the memory of ${node} is ${value} used`,
    hint: ({ node }) => `Move components away: realm nodes drain ${node}, or scale down`,
    isTold: true,
    heldMs: 10_000,
    lingersMs: SAMPLED_MS,
  },
  "memory": {
    severity: "warning",
    say: ({ node, subject, value }) => `${subject} on ${node} uses ${value} of its memory`,
    hint: ({ subject }) => `Raise memory_max_mb of ${componentOf(subject)}, or look for a leak`,
    isTold: true,
  },
  "throttled": {
    severity: "warning",
    say: ({ node, subject, value }) =>
      `${subject} on ${node} was throttled ${value} of the time for a minute`,
    hint: ({ subject }) =>
      `Raise fuel_per_sec or replicas of ${componentOf(subject)}, or see whether it traps`,
    isTold: true,
    heldMs: 60_000,
    lingersMs: SAMPLED_MS,
  },
  "clock-skew": {
    severity: "warning",
    say: ({ node, value }) => `the clock of ${node} is ${value}`,
    hint: ({ node }) => `Set the clock of ${node} by NTP; of two nodes it may be the other's`,
    lingersMs: SAMPLED_MS,
  },
  "unreported": {
    severity: "warning",
    say: ({ node, value }) => `${node} runs too much to tell others of it: ${value}`,
    hint: () => "Others send no requests there for those: give the node fewer components",
    isTold: true,
  },
} as const satisfies Readonly<Record<string, Kind>>;

/** Names a kind of alarm. */
export type AlarmCode = keyof typeof KINDS;

/** Every code, in the order in which alarms are shown: the worst first. */
export const ALARM_CODES = Object.keys(KINDS) as readonly AlarmCode[];

/** Every kind of alarm as the documents tell of it: of a machine NODE, and of a SUBJECT there. */
export function alarmReference() {
  const of = { node: "NODE", subject: "SUBJECT", value: "VALUE" };
  return ALARM_CODES.map((code) => {
    const { severity, say, hint, isTold = false, heldMs = 0 } = kindOf(code);
    return { code, severity, message: say(of), hint: hint(of), isTold, heldMs };
  });
}

/** What is wrong at this moment. */
export interface Condition {
  readonly code: AlarmCode;
  /** The node that it is about; `null`: the realm as a whole. */
  readonly node: string | null;
  /** What of it: `orders`, `orders/2`, a key, a topic; `null`: the node or the realm itself. */
  readonly subject: string | null;
  /** What was measured or found, in words. */
  readonly value: string | null;
  /** Since when it is so, where that is known. */
  readonly sinceAtMs?: number;
}

/** Something that an operator should see to. */
export interface Alarm extends Condition {
  readonly severity: Severity;
  readonly sinceAtMs: number;
  readonly message: string;
  /** What to do. */
  readonly hint: string;
}

/** An alarm as a node tells it of itself. */
export interface ToldAlarm {
  /** A newer program may have others than {@link ALARM_CODES}. */
  readonly code: string;
  readonly subject: string | null;
  readonly value: string | null;
  readonly sinceAtMs: number;
}

/** Alarms that a node tells of itself, the worst first. */
export const TOLD_MAX = 16;
/** Characters of a subject, and of a value. */
export const SUBJECT_LENGTH_MAX = 160;
export const VALUE_LENGTH_MAX = 240;

/** Whether a node is believed when it tells this of itself. */
export function isTold(code: string): code is AlarmCode {
  return Object.hasOwn(KINDS, code) && kindOf(code as AlarmCode).isTold === true;
}

/** Whether it is the business of the person of this machine alone. */
export function isPersonal(code: string): boolean {
  return Object.hasOwn(KINDS, code) && kindOf(code as AlarmCode).isPersonal === true;
}

/** What a node says of itself, of its alarms. */
export function toldOf(alarms: readonly Alarm[], node: string): ToldAlarm[] {
  return alarms.filter((alarm) => alarm.node === node && isTold(alarm.code)).slice(0, TOLD_MAX)
    .map(({ code, subject, value, sinceAtMs }) => ({
      code,
      subject: subject && cut(subject, SUBJECT_LENGTH_MAX),
      value: value && cut(value, VALUE_LENGTH_MAX),
      sinceAtMs,
    }));
}

/** What another node says of itself, as conditions here; codes that are not known are left out. */
export function conditionsTold(
  node: string,
  told: readonly ToldAlarm[],
  nowAtMs: number,
): Condition[] {
  return told.flatMap(({ code, subject, value, sinceAtMs }) =>
    isTold(code) ? [{ code, node, subject, value, sinceAtMs: Math.min(sinceAtMs, nowAtMs) }] : []
  );
}

interface Seen {
  condition: Condition;
  readonly firstMs: number;
  lastMs: number;
  readonly sinceAtMs: number;
}

/** Makes alarms of conditions; see the module. */
export class AlarmBoard {
  readonly #seen = new Map<string, Seen>();

  /**
   * The alarms there are, the worst first, given everything that is wrong now. What another node
   * tells of itself has lasted long enough by its own clock.
   */
  look(conditions: readonly Condition[], nowMs: number, nowAtMs: number): Alarm[] {
    for (const condition of conditions) {
      const id = JSON.stringify([condition.code, condition.node, condition.subject]);
      const seen = this.#seen.get(id);
      if (seen !== undefined) {
        seen.condition = condition;
        seen.lastMs = nowMs;
        continue;
      }
      const sinceAtMs = condition.sinceAtMs ?? nowAtMs;
      this.#seen.set(id, { condition, firstMs: nowMs, lastMs: nowMs, sinceAtMs });
    }
    const alarms: Alarm[] = [];
    for (const [id, { condition, firstMs, lastMs, sinceAtMs }] of this.#seen) {
      const { heldMs = 0, lingersMs = 0 } = kindOf(condition.code);
      if (nowMs - lastMs > lingersMs) this.#seen.delete(id);
      else if (condition.sinceAtMs !== undefined || lastMs - firstMs >= heldMs) {
        alarms.push(alarmOf({ ...condition, sinceAtMs: condition.sinceAtMs ?? sinceAtMs }));
      }
    }
    return alarms.sort(byGravity);
  }
}

/** An alarm in words. */
function alarmOf(condition: Condition & { readonly sinceAtMs: number }): Alarm {
  const { severity, say, hint } = kindOf(condition.code);
  const said = { ...condition, node: condition.node ?? "the realm" };
  return { ...condition, severity, message: say(said), hint: hint(said) };
}

function kindOf(code: AlarmCode): Kind {
  return KINDS[code];
}

const PLACES: ReadonlyMap<string, number> = new Map(ALARM_CODES.map((code, i) => [code, i]));

function byGravity(a: Alarm, b: Alarm): number {
  if (a.severity !== b.severity) return a.severity === "critical" ? -1 : 1;
  return PLACES.get(a.code)! - PLACES.get(b.code)! || compare(a.node, b.node) ||
    compare(a.subject, b.subject);
}

function compare(a: string | null, b: string | null): number {
  return a === b ? 0 : (a ?? "") < (b ?? "") ? -1 : 1;
}

/** `orders` of `orders/2`. */
function componentOf(subject: string | null): string {
  return (subject ?? "").replace(/\/\d+$/, "");
}

/** What a guest or a system wrote may be cut within a character, which nothing could be encoded with. */
function cut(text: string, lengthMax: number): string {
  return text.length <= lengthMax ? text : `${text.slice(0, lengthMax - 1)}…`.toWellFormed();
}
