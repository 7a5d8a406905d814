/**
 * Counts, and writes what it counted as Prometheus reads it:
 * https://prometheus.io/docs/instrumenting/exposition_formats/ (text format 0.0.4).
 *
 * Memory is bounded: a metric has at most {@link SERIES_MAX} series; what would be one more is counted
 * under `other` in all its labels.
 *
 * @module
 */
import {
  type LabelsOf,
  type MetricName,
  type MetricOf,
  METRICS,
  type MetricSpec,
} from "./metric_table.ts";

/** Series of one metric. */
export const SERIES_MAX = 10_000;

/** One combination of labels. */
interface Series {
  /** `route="/",code="200"` */
  readonly labels: string;
  value: number;
  /** Of a histogram: how many were at most each bound, and not at most the one before. */
  readonly counts: number[] | undefined;
  count: number;
}

/** A registry of its own; nothing is shared between two of them. */
export class MetricRegistry {
  readonly #series = new Map<MetricName, Map<string, Series>>();

  constructor() {
    for (const name of Object.keys(METRICS) as MetricName[]) this.#series.set(name, new Map());
  }

  /** Counts. */
  add<N extends MetricOf<"counter">>(name: N, labels: LabelsOf<N>, by = 1): void {
    this.#of(name, labels).value += by;
  }

  /** Sets a gauge, or a counter that is counted elsewhere. */
  set<N extends MetricOf<"counter" | "gauge">>(name: N, labels: LabelsOf<N>, value: number): void {
    this.#of(name, labels).value = value;
  }

  /** Notes one thing that took so long, in the metric's unit. */
  observe<N extends MetricOf<"histogram">>(name: N, labels: LabelsOf<N>, value: number): void {
    const series = this.#of(name, labels);
    const { buckets } = METRICS[name];
    let place = 0;
    while (place < buckets.length && value > buckets[place]!) place++;
    series.counts![place]!++;
    series.value += value;
    series.count++;
  }

  /** Forgets every series of a metric. */
  clear(name: MetricName): void {
    this.#series.get(name)!.clear();
  }

  /** All of it, in the order of the table. */
  text(): string {
    const lines: string[] = [];
    for (const [name, all] of this.#series) {
      const { type, help, buckets = [] }: MetricSpec = METRICS[name];
      lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
      for (const { labels, value, counts, count } of all.values()) {
        const line = (suffix: string, value: number, more = "") => {
          const inner = [labels, more].filter((part) => part !== "").join(",");
          lines.push(`${name}${suffix}${inner === "" ? "" : `{${inner}}`} ${value}`);
        };
        if (counts === undefined) {
          line("", value);
          continue;
        }
        let below = 0;
        buckets.forEach((bound, i) => line("_bucket", below += counts[i]!, `le="${bound}"`));
        line("_bucket", count, 'le="+Inf"');
        line("_sum", value);
        line("_count", count);
      }
    }
    return `${lines.join("\n")}\n`;
  }

  #of<N extends MetricName>(name: N, labels: LabelsOf<N>): Series {
    const all = this.#series.get(name)!;
    const spec: MetricSpec = METRICS[name];
    const values = labels as Readonly<Record<string, string | number>>;
    let key = "";
    for (const label of spec.labels) key += `${values[label]}\n`;
    let series = all.get(key);
    if (series !== undefined) return series;
    const isFull = all.size >= SERIES_MAX;
    if (isFull) key = "other";
    series = all.get(key);
    if (series !== undefined) return series;
    series = {
      labels: spec.labels
        .map((label) => `${label}="${isFull ? "other" : escape(values[label]!)}"`).join(","),
      value: 0,
      counts: spec.type === "histogram" ? Array(spec.buckets!.length + 1).fill(0) : undefined,
      count: 0,
    };
    all.set(key, series);
    return series;
  }
}

function escape(value: string | number): string {
  return String(value).replace(/[\\"\n]/g, (c) => c === "\n" ? "\\n" : `\\${c}`);
}
