/**
 * What Prometheus scrapes; `metric_table.ts` has every metric.
 *
 * What happens is counted as it happens; what is there is asked for at every scrape. Counters of a
 * replica go on over its restarts: what an instance used before it ended is carried along, so a rate
 * never sees a step back while the agent lives.
 *
 * @module
 */
import type { Usage } from "../kernel/ports.ts";
import { MetricRegistry } from "./metric_registry.ts";
import { codeOf, type LabelsOf, type MetricName, type MetricOf, METRICS } from "./metric_table.ts";

/** A replica at the moment of a scrape, or at the end of an instance. */
export interface ReplicaMetrics {
  readonly component: string;
  readonly replica: number;
  /** Differs between two instances of the replica and grows: the time of its start will do. */
  readonly instance: number;
  readonly restarts: number;
  /** Of this instance; `undefined` while there is none. */
  readonly usage: Usage | undefined;
  /** What it may have, in bytes; `undefined` while there is no instance. */
  readonly memoryBytesMax?: number | undefined;
}

/** The machine at the moment of a scrape; sizes in bytes. */
export interface NodeMetrics {
  /** Of all cores together, 0 to 100. */
  readonly cpuPercent: number;
  readonly memoryTotalBytes: number;
  readonly memoryUsedBytes: number;
  /** Of the file system that holds the data folder. */
  readonly diskTotalBytes: number;
  readonly diskUsedBytes: number;
  /** Resident memory of the agent itself. */
  readonly agentMemoryBytes: number;
}

/** What is there now, of a gauge or of a counter that is counted elsewhere. */
export type Reading = {
  [N in MetricOf<"counter" | "gauge">]: readonly [name: N, labels: LabelsOf<N>, value: number];
}[MetricOf<"counter" | "gauge">];

/** Where the values come from; called at every scrape. */
export interface MetricsSource {
  replicas(): readonly ReplicaMetrics[];
  /** A series that is not among them is not there any more. */
  readings(): Iterable<Reading>;
}

/** A request that the proxy is done with. */
export interface ProxiedRequest {
  readonly route: string;
  readonly component: string;
  readonly status: number;
  readonly durationMs: number;
  /** One word, such as `ok`, `timeout`, `failed`, `overloaded`. */
  readonly outcome: string;
}

/** The counters of one instance that make up those of its replica. */
const COUNTED = ["fuelUsed", "runningMs", "throttledMs", "preemptions", "traps"] as const;
type Counted = Readonly<Record<(typeof COUNTED)[number], number>>;
const NOTHING: Counted = { fuelUsed: 0, runningMs: 0, throttledMs: 0, preemptions: 0, traps: 0 };

interface Carried {
  instance: number;
  /** Of the instances before this one. */
  before: Counted;
  /** Of this one, as last seen. */
  current: Counted;
  restarts: number;
}

/** Replicas remembered at most; the one that was not seen for longest is forgotten first. */
const CARRIED_MAX = 10_000;
/** Metrics of replicas; a replica that is gone is shown no more. */
const OF_REPLICAS = (Object.keys(METRICS) as MetricName[])
  .filter((name) => (METRICS[name].labels as readonly string[]).includes("replica"));

/** See the module. */
export class Metrics {
  readonly #source: MetricsSource;
  readonly #registry = new MetricRegistry();
  readonly #carried = new Map<string, Carried>();
  /** Metrics that readings were of. */
  readonly #read = new Set<MetricName>();

  constructor(source: MetricsSource) {
    this.#source = source;
  }

  /** Counts a request. */
  request({ route, component, status, durationMs, outcome }: ProxiedRequest): void {
    const code = codeOf(status);
    this.#registry.add("realm_proxy_requests_total", { route, component, code, outcome });
    const labels = { route, component, outcome };
    this.#registry.observe("realm_proxy_request_duration_seconds", labels, durationMs / 1_000);
  }

  /** Counts something else that happened. */
  add<N extends MetricOf<"counter">>(name: N, labels: LabelsOf<N>, by = 1): void {
    this.#registry.add(name, labels, by);
  }

  /** Notes how long something took, in milliseconds. */
  took<N extends MetricOf<"histogram">>(name: N, labels: LabelsOf<N>, ms: number): void {
    this.#registry.observe(name, labels, ms / 1_000);
  }

  /**
   * Notes what a replica has used. Call it when an instance has ended, before the next one starts:
   * what it used since the last scrape would be lost otherwise. An older instance is passed over.
   */
  record(replica: ReplicaMetrics): void {
    const key = `${replica.replica} ${replica.component}`;
    const known = this.#carried.get(key) ??
      { instance: replica.instance, before: NOTHING, current: NOTHING, restarts: 0 };
    if (replica.instance < known.instance) return;
    if (replica.instance > known.instance) {
      known.instance = replica.instance;
      known.before = sum(known.before, known.current);
      known.current = NOTHING;
    }
    if (replica.usage !== undefined) known.current = most(known.current, replica.usage);
    known.restarts = Math.max(known.restarts, replica.restarts);
    this.#carried.delete(key); // So that the map is in order of last use.
    this.#carried.set(key, known);
    if (this.#carried.size > CARRIED_MAX) {
      this.#carried.delete(this.#carried.keys().next().value!);
    }
  }

  /** The text that is scraped. */
  text(): string {
    for (const name of OF_REPLICAS) this.#registry.clear(name);
    for (const replica of this.#source.replicas()) this.#setReplica(replica);
    for (const name of this.#read) this.#registry.clear(name);
    for (const [name, labels, value] of this.#source.readings()) {
      this.#read.add(name);
      this.#registry.set(name, labels as never, value);
    }
    return this.#registry.text();
  }

  #setReplica(seen: ReplicaMetrics): void {
    this.record(seen);
    const { component, replica, usage } = seen;
    const carried = this.#carried.get(`${replica} ${component}`)!;
    const total = sum(carried.before, carried.current);
    const labels = { component, replica };
    const registry = this.#registry;
    registry.set("wasm_exec_time_ms", labels, total.runningMs);
    registry.set("wasm_throttled_time_ms", labels, total.throttledMs);
    registry.set("wasm_restarts_total", labels, carried.restarts);
    registry.set("wasm_traps_total", labels, total.traps);
    registry.set("fuel_used_total", labels, total.fuelUsed);
    registry.set("epoch_preemptions_total", labels, total.preemptions);
    registry.set("mem_current_bytes", labels, usage?.memoryBytes ?? 0);
    registry.set("mem_peak_bytes", labels, usage?.memoryBytesPeak ?? 0);
    registry.set("mem_limit_bytes", labels, seen.memoryBytesMax ?? 0);
  }
}

function sum(a: Counted, b: Counted): Counted {
  return combine(a, b, (x, y) => x + y);
}

/** A reading taken earlier may arrive later; a counter takes no step back for it. */
function most(a: Counted, b: Counted): Counted {
  return combine(a, b, Math.max);
}

function combine(a: Counted, b: Counted, by: (x: number, y: number) => number): Counted {
  return Object.fromEntries(COUNTED.map((key) => [key, by(a[key], b[key])])) as Counted;
}
