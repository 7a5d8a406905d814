/**
 * The last hour of a node and of its components, for charts: a ring of fixed size.
 *
 * A point is taken every few seconds and has one value for each of {@link MEASURES}; what there is
 * nothing to say of (the latency where nothing was asked) is NaN. The ring of a component takes
 * {@link POINTS_MAX} × 8 × 4 bytes (23 KB), there are at most {@link COMPONENTS_MAX} of them, and
 * nothing here grows with requests: latencies are counted in buckets a quarter of an octave wide, so
 * that a quantile is off by a tenth at most.
 *
 * @module
 */

/**
 * What a point has. `cpu`: of a node per cent of all cores, of a component per cent of one core.
 * `memory`: bytes, of a node what its agent has resident. `fuel`, `requests`, `errors`: per second.
 * `p50`, `p95`, `p99`: milliseconds until a response was complete.
 */
export const MEASURES = [
  "cpu",
  "memory",
  "fuel",
  "requests",
  "errors",
  "p50",
  "p95",
  "p99",
] as const;
/** One of {@link MEASURES}. */
export type Measure = typeof MEASURES[number];

/** Points that are kept: an hour at one every 5 s. */
export const POINTS_MAX = 720;
/** Components that have a ring of their own at a time. */
export const COMPONENTS_MAX = 128;

/** A replica when a point is taken; counters begin anew with each instance. */
export interface SampledReplica {
  readonly component: string;
  readonly index: number;
  /** Tells instances apart. */
  readonly startedAtMs: number | null;
  readonly usage: {
    readonly fuelUsed: number;
    readonly runningMs: number;
    readonly memoryBytes: number;
  } | null;
}

/** What a point is taken of. */
export interface SampleSource {
  readonly wallMs: number;
  /** Of a clock that never goes back. */
  readonly monotonicMs: number;
  readonly cpuPercent: number;
  readonly agentMemoryBytes: number;
  readonly replicas: readonly SampledReplica[];
}

/** Points, the oldest first; of every measure as many values as there are times. */
export interface SampleSeries {
  readonly atMs: readonly number[];
  readonly values: Readonly<Record<Measure, readonly number[]>>;
}

/** Upper bounds of buckets grow by this factor, from {@link BUCKET_MIN_MS} on. */
const BUCKET_RATIO = 2 ** 0.25;
const BUCKET_MIN_MS = 0.1;
const BUCKETS = 80;

/** Counts of one stretch between two points. */
class Stretch {
  requests = 0;
  errors = 0;
  fuel = 0;
  runningMs = 0;
  memory = 0;
  readonly #latencies = new Uint32Array(BUCKETS);

  request(isError: boolean, durationMs: number): void {
    this.requests++;
    if (isError) this.errors++;
    const bucket = Math.ceil(Math.log2(Math.max(durationMs, BUCKET_MIN_MS) / BUCKET_MIN_MS) * 4);
    this.#latencies[Math.min(BUCKETS - 1, bucket)]!++;
  }

  /** Milliseconds below which this part of the requests was done; NaN where there were none. */
  quantile(part: number): number {
    if (this.requests === 0) return NaN;
    let left = part * this.requests;
    for (let i = 0; i < BUCKETS; i++) {
      const count = this.#latencies[i]!;
      // The middle of the bucket, as the logarithm has it.
      if (count > 0 && left <= count) return BUCKET_MIN_MS * BUCKET_RATIO ** (i - 0.5);
      left -= count;
    }
    return BUCKET_MIN_MS * BUCKET_RATIO ** BUCKETS;
  }

  clear(): void {
    this.requests =
      this.errors =
      this.fuel =
      this.runningMs =
      this.memory =
        0;
    this.#latencies.fill(0);
  }
}

/** The values of one chart's worth, in the places of the ring. */
class Series {
  readonly stretch = new Stretch();
  readonly #values = new Float32Array(POINTS_MAX * MEASURES.length).fill(NaN);

  set(place: number, values: Readonly<Record<Measure, number>>): void {
    MEASURES.forEach((measure, i) => {
      this.#values[i * POINTS_MAX + place] = values[measure];
    });
  }

  get(place: number, measure: Measure): number {
    return this.#values[MEASURES.indexOf(measure) * POINTS_MAX + place]!;
  }
}

/** See the module. */
export class Samples {
  readonly #atMs = new Float64Array(POINTS_MAX);
  readonly #node = new Series();
  readonly #components = new Map<string, Series>();
  readonly #before = new Map<string, SampledReplica>();
  /** How many points were taken. */
  #taken = 0;
  #lastMs: number | undefined;

  /** Counts a request of a component, or of none. */
  request(component: string | undefined, isError: boolean, durationMs: number): void {
    this.#node.stretch.request(isError, durationMs);
    if (component !== undefined) this.#seriesOf(component)?.stretch.request(isError, durationMs);
  }

  /** Takes a point. Rates are over the time since the one before; the first has none. */
  take(source: SampleSource): void {
    const { wallMs, monotonicMs, replicas } = source;
    this.#addUsage(replicas);
    const place = this.#taken % POINTS_MAX;
    const elapsedMs = this.#lastMs === undefined ? NaN : Math.max(1, monotonicMs - this.#lastMs);
    this.#lastMs = monotonicMs;
    this.#taken++;
    this.#atMs[place] = wallMs;
    const there = new Set(replicas.map(({ component }) => component));
    for (const [name, series] of this.#components) {
      const { runningMs, memory } = series.stretch;
      const isThere = there.has(name);
      series.set(place, {
        ...rates(series.stretch, elapsedMs),
        cpu: isThere ? runningMs / elapsedMs * 100 : NaN,
        memory: isThere ? memory : NaN,
      });
      series.stretch.clear();
      if (!isThere && this.#isEmpty(series)) this.#components.delete(name);
    }
    this.#node.set(place, {
      ...rates(this.#node.stretch, elapsedMs),
      cpu: source.cpuPercent,
      memory: source.agentMemoryBytes,
    });
    this.#node.stretch.clear();
  }

  /** The points of the node, or of a component, from a wall time on. */
  series(component?: string, sinceMs = 0): SampleSeries {
    const series = component === undefined ? this.#node : this.#components.get(component);
    const places: number[] = [];
    for (let n = Math.max(0, this.#taken - POINTS_MAX); n < this.#taken; n++) {
      const place = n % POINTS_MAX;
      if (this.#atMs[place]! >= sinceMs) places.push(place);
    }
    return {
      atMs: places.map((place) => this.#atMs[place]!),
      values: Object.fromEntries(MEASURES.map((measure) => [
        measure,
        places.map((place) => series?.get(place, measure) ?? NaN),
      ])) as Record<Measure, number[]>,
    };
  }

  #addUsage(replicas: readonly SampledReplica[]): void {
    const before = new Map(this.#before);
    this.#before.clear();
    for (const replica of replicas) {
      const { component, index, startedAtMs, usage } = replica;
      const key = `${index} ${component}`;
      this.#before.set(key, replica);
      const series = this.#seriesOf(component);
      if (usage === null) continue;
      const known = before.get(key);
      const used = known?.startedAtMs === startedAtMs ? known.usage : null;
      for (const stretch of [this.#node.stretch, ...(series ? [series.stretch] : [])]) {
        stretch.fuel += Math.max(0, usage.fuelUsed - (used?.fuelUsed ?? 0));
        stretch.runningMs += Math.max(0, usage.runningMs - (used?.runningMs ?? 0));
        stretch.memory += usage.memoryBytes;
      }
    }
  }

  #seriesOf(component: string): Series | undefined {
    const known = this.#components.get(component);
    if (known !== undefined || this.#components.size >= COMPONENTS_MAX) return known;
    const made = new Series();
    this.#components.set(component, made);
    return made;
  }

  #isEmpty(series: Series): boolean {
    const places = Math.min(this.#taken, POINTS_MAX);
    for (let place = 0; place < places; place++) {
      if (!Number.isNaN(series.get(place, "memory")) || series.get(place, "requests") > 0) {
        return false;
      }
    }
    return true;
  }
}

function rates(
  stretch: Stretch,
  elapsedMs: number,
): Omit<Record<Measure, number>, "cpu" | "memory"> {
  const perSec = (count: number) => count / elapsedMs * 1000;
  return {
    fuel: perSec(stretch.fuel),
    requests: perSec(stretch.requests),
    errors: perSec(stretch.errors),
    p50: stretch.quantile(0.5),
    p95: stretch.quantile(0.95),
    p99: stretch.quantile(0.99),
  };
}
