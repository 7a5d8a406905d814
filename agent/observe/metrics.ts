/**
 * What Prometheus scrapes: https://prometheus.io/docs/instrumenting/exposition_formats/
 *
 * Values of instances and of the node are pulled when they are asked for; only requests are
 * counted as they happen. Counters of a replica go on over its restarts: what an instance used
 * before it ended is carried along, so a rate never sees a step back while the agent lives.
 *
 * @module
 */
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { Usage } from "../kernel/ports.ts";

/** A replica at the moment of a scrape, or at the end of an instance. */
export interface ReplicaMetrics {
  readonly component: string;
  readonly replica: number;
  /** Differs between two instances of the replica and grows: the time of its start will do. */
  readonly instance: number;
  readonly restarts: number;
  /** Of this instance; `undefined` while there is none. */
  readonly usage: Usage | undefined;
}

/** The node at the moment of a scrape; sizes in bytes. */
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
  readonly p2pLinks: number;
}

/** Where the values come from; called at every scrape. */
export interface MetricsSource {
  replicas(): readonly ReplicaMetrics[];
  node(): NodeMetrics;
  /** Number of replicas in each state. */
  replicasByState(): Readonly<Record<string, number>>;
  /** Number of components in the manifest. */
  components(): number;
}

/** A request that the proxy is done with. */
export interface ProxiedRequest {
  readonly route: string;
  readonly component: string;
  readonly status: number;
  readonly durationMs: number;
  /** One word, such as `ok`, `timeout`, `trap`, `overloaded`. */
  readonly outcome: string;
}

/** The counters of one instance that make up those of its replica. */
const COUNTED = ["fuelUsed", "runningMs", "preemptions"] as const;
type Counted = Readonly<Record<(typeof COUNTED)[number], number>>;
const NOTHING: Counted = { fuelUsed: 0, runningMs: 0, preemptions: 0 };

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
const LABELS = ["component", "replica"];
const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** A registry of its own; nothing is shared between two of them. */
export class Metrics {
  readonly #source: MetricsSource;
  readonly #registry = new Registry();
  readonly #carried = new Map<string, Carried>();

  readonly #execTime = this.#counter(
    "wasm_exec_time_ms",
    "Time that guest code ran, without host calls and throttling",
  );
  readonly #restarts = this.#counter("wasm_restarts_total", "Times the replica was started again");
  readonly #fuel = this.#counter("fuel_used_total", "Instructions executed");
  readonly #preemptions = this.#counter(
    "epoch_preemptions_total",
    "Times the guest was made to pause, throttled or to let a neighbour run",
  );
  readonly #memory = this.#gauge(
    "mem_current_bytes",
    "Memories and tables of the instance",
    LABELS,
  );
  readonly #memoryPeak = this.#gauge("mem_peak_bytes", "Most that the instance has had", LABELS);

  readonly #cpu = this.#gauge("realm_node_cpu_percent", "Processor time in use, of all cores");
  readonly #nodeMemory = this.#gauge("realm_node_memory_bytes", "Memory of the node", ["kind"]);
  readonly #disk = this.#gauge(
    "realm_node_disk_bytes",
    "The file system that holds the data folder",
    ["kind"],
  );
  readonly #agentMemory = this.#gauge(
    "realm_agent_memory_bytes",
    "Resident memory of the agent, its instances included",
  );
  readonly #links = this.#gauge("realm_node_p2p_links", "Connections to other nodes");
  readonly #components = this.#gauge("realm_components", "Components in the manifest");
  readonly #replicas = this.#gauge("realm_replicas", "Replicas of this node by state", ["state"]);

  readonly #requests = this.#counter(
    "realm_proxy_requests_total",
    "Requests that the proxy answered",
    ["route", "component", "code", "outcome"],
  );
  readonly #durations = new Histogram({
    name: "realm_proxy_request_duration_seconds",
    help: "From the head of the request to the end of the response",
    labelNames: ["component"],
    buckets: SECONDS,
    registers: [this.#registry],
  });

  constructor(source: MetricsSource) {
    this.#source = source;
  }

  /** Counts a request. */
  request({ route, component, status, durationMs, outcome }: ProxiedRequest): void {
    this.#requests.inc({ route, component, code: status, outcome });
    this.#durations.observe({ component }, durationMs / 1_000);
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
  async text(): Promise<string> {
    this.#pull();
    return await this.#registry.metrics();
  }

  /** All at once, without giving up the turn: two scrapes at a time do not see each other. */
  #pull(): void {
    const perReplica = [
      this.#execTime,
      this.#restarts,
      this.#fuel,
      this.#preemptions,
      this.#memory,
      this.#memoryPeak,
    ];
    // The sums below are whole; a replica that is gone is shown no more.
    for (const metric of perReplica) metric.reset();
    for (const replica of this.#source.replicas()) {
      this.record(replica);
      const carried = this.#carried.get(`${replica.replica} ${replica.component}`)!;
      const total = sum(carried.before, carried.current);
      const labels = { component: replica.component, replica: replica.replica };
      this.#execTime.inc(labels, total.runningMs);
      this.#restarts.inc(labels, carried.restarts);
      this.#fuel.inc(labels, total.fuelUsed);
      this.#preemptions.inc(labels, total.preemptions);
      this.#memory.set(labels, replica.usage?.memoryBytes ?? 0);
      this.#memoryPeak.set(labels, replica.usage?.memoryBytesPeak ?? 0);
    }
    const node = this.#source.node();
    this.#cpu.set(node.cpuPercent);
    this.#nodeMemory.set({ kind: "total" }, node.memoryTotalBytes);
    this.#nodeMemory.set({ kind: "used" }, node.memoryUsedBytes);
    this.#disk.set({ kind: "total" }, node.diskTotalBytes);
    this.#disk.set({ kind: "used" }, node.diskUsedBytes);
    this.#agentMemory.set(node.agentMemoryBytes);
    this.#links.set(node.p2pLinks);
    this.#components.set(this.#source.components());
    this.#replicas.reset();
    for (const [state, count] of Object.entries(this.#source.replicasByState())) {
      this.#replicas.set({ state }, count);
    }
  }

  #counter(name: string, help: string, labelNames = LABELS): Counter {
    return new Counter({ name, help, labelNames, registers: [this.#registry] });
  }

  #gauge(name: string, help: string, labelNames: string[] = []): Gauge {
    return new Gauge({ name, help, labelNames, registers: [this.#registry] });
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
