/**
 * What the dashboard shows, told from the status of an agent: rows with their numbers, alarms.
 *
 * Pure: values in, values out. Rates come from two samples of the status, taken some time apart.
 * Bytes, fuel in instructions, times in milliseconds.
 *
 * @module
 */
import type { ControlClient } from "../agent/control/client.ts";
import { formatAge } from "./quantity.ts";

/** The whole state of one agent, as the control API gives it. */
export type Status = Awaited<ReturnType<ControlClient["status"]>>;
/** One replica of {@link Status}. */
export type ReplicaStatus = Status["replicas"][number];
/** How an instance ended, as the control API gives it. */
export type ReplicaExit = NonNullable<ReplicaStatus["lastExit"]>["exit"];

/** A status and when it was taken, on a clock that never goes back. */
export interface Sample {
  readonly status: Status;
  readonly monotonicMs: number;
}

/** How good a thing is; what shows it chooses the colour. */
export type Tone = "plain" | "dim" | "good" | "warn" | "bad" | "accent";

/** One line of the table: a component with the sums over its replicas, or one replica. */
export interface Row {
  readonly kind: "component" | "replica";
  readonly component: string;
  /** The component's name, or the replica's number. */
  readonly name: string;
  readonly state: string;
  readonly tone: Tone;
  readonly restarts: number;
  /** Instances that trapped and were thrown away; the replica goes on. */
  readonly traps: number;
  /** What runs now and what it may use; `undefined` while nothing runs. */
  readonly memory:
    | { readonly bytes: number; readonly bytesPeak: number; readonly bytesMax: number }
    | undefined;
  /** `perSec` is `undefined` until there are two samples; `perSecMax` where there is no limit. */
  readonly fuel:
    | { readonly perSec: number | undefined; readonly perSecMax: number | undefined }
    | undefined;
  /** Of the process that it has of its own. */
  readonly pid: number | undefined;
  /** The part of the time between the samples that it was throttled, 0 to 1; of the worst. */
  readonly throttled: number;
  readonly epochTimeoutMs: number | undefined;
  readonly ageMs: number | undefined;
  readonly digest: string;
  /** How the last instance ended; empty when none did. */
  readonly lastExit: string;
}

/** A component's row and those of its replicas, in order of their numbers. */
export interface ComponentRows {
  readonly component: Row;
  readonly replicas: readonly Row[];
}

/** Something the operator should know. */
export interface Alarm {
  readonly tone: "warn" | "bad";
  readonly text: string;
  /** What to do. */
  readonly hint?: string;
}

/**
 * The rows of every component, by name; `nowMs` is wall time.
 *
 * Replicas of a component that the manifest no longer has are shown while they are there.
 */
export function componentRows(
  current: Sample,
  previous: Sample | undefined,
  nowMs: number,
): ComponentRows[] {
  const { components, replicas } = current.status;
  const names = new Set([...components, ...replicas.map(({ component }) => ({ name: component }))]
    .map(({ name }) => name));
  return [...names].sort().map((name) => {
    const own = replicas.filter(({ component }) => component === name)
      .sort((a, b) => a.index - b.index);
    const rows = own.map((replica) => replicaRow(replica, current, previous, nowMs));
    const spec = components.find((component) => component.name === name);
    return { component: componentRow(name, spec, own, rows), replicas: rows };
  });
}

function replicaRow(
  replica: ReplicaStatus,
  current: Sample,
  previous: Sample | undefined,
  nowMs: number,
): Row {
  const { usage, limits, startedAtMs, lastExit } = replica;
  const rates = ratesOf(replica, current, previous);
  return {
    kind: "replica",
    component: replica.component,
    name: String(replica.index),
    state: replica.state === "backoff" && replica.retryAtMs !== null
      ? `retry ${formatAge(Math.ceil((replica.retryAtMs - nowMs) / 1000) * 1000)}`
      : replica.state,
    tone: TONE_OF_STATE[replica.state],
    restarts: replica.restarts,
    traps: usage?.traps ?? 0,
    memory: usage === null || limits === null ? undefined : {
      bytes: usage.memoryBytes,
      bytesPeak: usage.memoryBytesPeak,
      bytesMax: limits.memoryBytesMax,
    },
    fuel: usage === null || limits === null
      ? undefined
      : { perSec: rates?.fuelPerSec, perSecMax: limits.fuelPerSec },
    pid: replica.process?.pid,
    throttled: rates?.throttled ?? 0,
    epochTimeoutMs: limits?.epochTimeoutMs,
    ageMs: startedAtMs === null ? undefined : Math.max(0, nowMs - startedAtMs),
    digest: replica.digest,
    lastExit: lastExit === null ? "" : describeExit(lastExit.exit),
  };
}

const TONE_OF_STATE: Readonly<Record<ReplicaStatus["state"], Tone>> = {
  starting: "accent",
  running: "good",
  unhealthy: "bad",
  backoff: "warn",
  stopped: "dim",
  failed: "bad",
};

/** Fuel per second and the throttled part of the time, over one instance's time between samples. */
function ratesOf(
  replica: ReplicaStatus,
  current: Sample,
  previous: Sample | undefined,
): { fuelPerSec: number; throttled: number } | undefined {
  const before = previous?.status.replicas.find((other) =>
    other.component === replica.component && other.index === replica.index
  );
  const elapsedMs = previous === undefined ? 0 : current.monotonicMs - previous.monotonicMs;
  // Counters start again with the instance.
  const isSame = before?.startedAtMs === replica.startedAtMs && before?.digest === replica.digest;
  if (elapsedMs <= 0 || !isSame || !before?.usage || replica.usage === null) return undefined;
  return {
    fuelPerSec: Math.max(0, replica.usage.fuelUsed - before.usage.fuelUsed) / elapsedMs * 1000,
    throttled: bounded((replica.usage.throttledMs - before.usage.throttledMs) / elapsedMs),
  };
}

function componentRow(
  name: string,
  spec: Status["components"][number] | undefined,
  replicas: readonly ReplicaStatus[],
  rows: readonly Row[],
): Row {
  const running = replicas.filter(({ state }) => state === "running").length;
  const wanted = spec?.replicas ?? 0;
  const memory = rows.flatMap((row) => row.memory ?? []);
  const fuel = rows.flatMap((row) => row.fuel ?? []);
  return {
    kind: "component",
    component: name,
    name,
    // The mark of a number that was set by hand, and not by the manifest.
    state: `${running}/${wanted}${spec?.scaledTo == null ? "" : " set"}`,
    tone: replicas.some(({ state }) => state === "failed")
      ? "bad"
      : running === wanted
      ? wanted === 0 ? "dim" : "good"
      : "warn",
    restarts: sum(rows, (row) => row.restarts),
    traps: sum(rows, (row) => row.traps),
    memory: memory.length === 0 ? undefined : {
      bytes: sum(memory, (each) => each.bytes),
      bytesPeak: sum(memory, (each) => each.bytesPeak),
      bytesMax: sum(memory, (each) => each.bytesMax),
    },
    fuel: fuel.length === 0 ? undefined : {
      perSec: sumOrNone(fuel.map((each) => each.perSec)),
      perSecMax: sumOrNone(fuel.map((each) => each.perSecMax)),
    },
    throttled: Math.max(0, ...rows.map((row) => row.throttled)),
    epochTimeoutMs: rows.find((row) => row.epochTimeoutMs !== undefined)?.epochTimeoutMs,
    ageMs: undefined,
    digest: spec?.digest ?? rows[0]?.digest ?? "",
    pid: undefined,
    lastExit: "",
  };
}

/** `exit 0`, `epoch-timeout: ran for 100 ms…`, `stopped`. */
export function describeExit(exit: ReplicaExit): string {
  if (exit.kind === "exit") return `exit ${exit.status}`;
  return exit.kind === "stopped" ? "stopped" : `${exit.code}: ${exit.message}`;
}

/** What is not as it should be, the worst first. */
export function alarmsOf(status: Status): Alarm[] {
  const alarms = status.alarms.map(({ severity, message, hint }): Alarm => ({
    tone: severity === "critical" ? "bad" : "warn",
    text: message,
    hint,
  }));
  if (status.manifest === null && status.node.owner !== null && status.alarms.length === 0) {
    alarms.push({ tone: "warn", text: "no manifest yet", hint: "Run realm apply realm.toml" });
  }
  return alarms;
}

/**
 * The rows that a table of `height` lines shows, all of them if they fit. If not, only the
 * selected component shows its replicas, and what is shown moves with it.
 */
export function visibleRows(
  all: readonly ComponentRows[],
  selected: string | undefined,
  height: number,
): Row[] {
  const rows = all.flatMap(({ component, replicas }) => [component, ...replicas]);
  if (rows.length <= height) return rows;
  const folded = all.flatMap(({ component, replicas }) =>
    component.name === selected ? [component, ...replicas] : [component]
  );
  const first = Math.max(0, folded.findIndex((row) => row.component === selected));
  const count = folded.filter((row) => row.component === selected).length;
  // The whole block in sight where it fits, else its beginning; some of what is above as well.
  const start = Math.min(
    first,
    Math.max(0, first + count - height, first - Math.floor(height / 2)),
    Math.max(0, folded.length - height),
  );
  return folded.slice(start, start + height);
}

function bounded(fraction: number): number {
  return Math.min(1, Math.max(0, fraction));
}

function sum<T>(values: readonly T[], of: (value: T) => number): number {
  return values.reduce((total, value) => total + of(value), 0);
}

/** The sum, or `undefined` where one of them is missing: a part would look like the whole. */
function sumOrNone(values: readonly (number | undefined)[]): number | undefined {
  return values.reduce(
    (total, value) => total === undefined || value === undefined ? undefined : total + value,
    0,
  );
}
