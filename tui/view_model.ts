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

/**
 * One line of the table: a component with the sums over the replicas of the node that was asked, one
 * of these, or what another node says of its own.
 */
export interface Row {
  readonly kind: "component" | "replica" | "node";
  readonly component: string;
  /** The component's name, the replica's number, or the node's name. */
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
  /** Other nodes that run it, by name. */
  readonly elsewhere: readonly Row[];
}

/** Something the operator should know. */
export interface Alarm {
  /** The same as long as it is about the same thing. */
  readonly id: string;
  readonly tone: "warn" | "bad";
  readonly text: string;
  /** What to do. */
  readonly hint?: string;
  /** The machine that it is about, by name; none: the realm. */
  readonly node?: string;
  readonly sinceAtMs?: number;
}

/** A status by the names of its components. */
interface StatusIndex {
  /** Sorted; those of the manifest, and those that are still there. */
  readonly names: readonly string[];
  readonly specs: ReadonlyMap<string, ComponentStatus>;
  /** By component, in order of their numbers. */
  readonly replicas: ReadonlyMap<string, readonly ReplicaStatus[]>;
}

type ComponentStatus = Status["components"][number];

/** A status never changes, and is looked at many times. */
const indexes = new WeakMap<Status, StatusIndex>();

function indexOf(status: Status): StatusIndex {
  const known = indexes.get(status);
  if (known !== undefined) return known;
  const specs = new Map(status.components.map((each) => [each.name, each]));
  const replicas = Map.groupBy(status.replicas, ({ component }) => component);
  for (const own of replicas.values()) own.sort((a, b) => a.index - b.index);
  const names = [...new Set([...specs.keys(), ...replicas.keys()])].sort();
  const index = { names, specs, replicas };
  indexes.set(status, index);
  return index;
}

/** Every component, by name: those of the manifest, and those of which something is still there. */
export function componentNames(status: Status): readonly string[] {
  return indexOf(status).names;
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
  return componentNames(current.status).map((name) => rowsOf(name, current, previous, nowMs));
}

/** The rows of one component. */
function rowsOf(
  name: string,
  current: Sample,
  previous: Sample | undefined,
  nowMs: number,
): ComponentRows {
  const { specs, replicas } = indexOf(current.status);
  const own = replicas.get(name) ?? [];
  const spec = specs.get(name);
  const rows = own.map((replica) => replicaRow(replica, current, previous, nowMs));
  return {
    component: componentRow(name, spec, own, rows, elsewhereOf(spec, current.status)),
    replicas: rows,
    elsewhere: elsewhereOf(spec, current.status).map((placed) => nodeRow(name, spec!, placed)),
  };
}

type Placed = ComponentStatus["placed"][number];

function elsewhereOf(spec: ComponentStatus | undefined, { node }: Status): readonly Placed[] {
  return spec?.placed.filter((placed) => placed.node !== node.name) ?? [];
}

/** What another node says of a component: how many run, and no more. */
function nodeRow(
  component: string,
  { digest }: ComponentStatus,
  { node, replicas, running }: Placed,
): Row {
  return {
    kind: "node",
    component,
    name: node,
    state: `${running ?? "?"}/${replicas}`,
    tone: running === replicas ? "good" : "warn",
    restarts: 0,
    traps: 0,
    memory: undefined,
    fuel: undefined,
    pid: undefined,
    throttled: 0,
    epochTimeoutMs: undefined,
    ageMs: undefined,
    digest,
    lastExit: "",
  };
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
  const before = previous && indexOf(previous.status).replicas.get(replica.component)
    ?.find(({ index }) => index === replica.index);
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
  spec: ComponentStatus | undefined,
  replicas: readonly ReplicaStatus[],
  rows: readonly Row[],
  elsewhere: readonly Placed[],
): Row {
  // In the whole realm; what is used is told of this node alone.
  const running = replicas.filter(({ state }) => state === "running").length +
    sum(elsewhere, ({ running }) => running ?? 0);
  const wanted = (spec?.replicas ?? 0) + sum(elsewhere, ({ replicas }) => replicas);
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
  const alarms = status.alarms.map((
    { code, subject, severity, message, hint, node, sinceAtMs },
  ): Alarm => ({
    id: JSON.stringify([code, node, subject]),
    tone: severity === "critical" ? "bad" : "warn",
    text: message,
    hint,
    sinceAtMs,
    ...(node === null ? {} : { node }),
  }));
  if (status.manifest === null && status.node.owner !== null && status.alarms.length === 0) {
    alarms.push({
      id: "no manifest",
      tone: "warn",
      text: "no manifest yet",
      hint: "Run realm apply realm.toml",
    });
  }
  return alarms;
}

/** What a table of components shows. */
export interface ComponentWindow {
  readonly rows: readonly Row[];
  /** Not everything is in sight. */
  readonly isCut: boolean;
}

/**
 * The rows that a table of `height` lines shows of the components `names`, all of them if they fit.
 * If not, only the selected component shows what is below it, and what is shown moves with it.
 */
export function componentWindow(
  current: Sample,
  previous: Sample | undefined,
  nowMs: number,
  { names, selected, height }: {
    readonly names: readonly string[];
    readonly selected: string | undefined;
    readonly height: number;
  },
): ComponentWindow {
  const linesOf = (name: string) => {
    const { specs, replicas } = indexOf(current.status);
    const own = replicas.get(name)?.length ?? 0;
    return 1 + own + elsewhereOf(specs.get(name), current.status).length;
  };
  const rowsOfAll = (names: readonly string[]) =>
    names.flatMap((name) => {
      const { component, replicas, elsewhere } = rowsOf(name, current, previous, nowMs);
      return [component, ...replicas, ...elsewhere];
    });
  let total = 0;
  for (const name of names) if ((total += linesOf(name)) > height) break;
  if (total <= height) return { rows: rowsOfAll(names), isCut: false };
  const first = Math.max(0, names.indexOf(selected ?? ""));
  const below = Math.max(0, linesOf(names[first]!) - 1);
  // The whole block in sight where it fits, else its beginning; some of what is above as well.
  const start = Math.min(
    first,
    Math.max(0, first + 1 + below - height, first - Math.floor(height / 2)),
    Math.max(0, names.length + below - height),
  );
  const rows: Row[] = [];
  for (let i = start; i < names.length && rows.length < height; i++) {
    const block = rowsOfAll([names[i]!]);
    rows.push(...i === first ? block : block.slice(0, 1));
  }
  return { rows: rows.slice(0, height), isCut: true };
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
