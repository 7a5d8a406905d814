/**
 * Charts of the last hour as SVG: lines, a scale, and the value under the pointer or the arrow keys.
 *
 * Pure. Each chart says in words what it shows, for those who do not see it. Series are told apart
 * by dashes and not by colour alone.
 *
 * @module
 */
import { formatBytes, formatCount } from "../../tui/quantity.ts";
import type { Samples } from "./model.ts";
import { h, type VNode } from "./vnode.ts";

const HOUR_MS = 3_600_000;
/** Points further apart than this are not joined: the agent was not there. */
const GAP_MS = 20_000;
const [WIDTH, HEIGHT] = [400, 120];
const [LEFT, BOTTOM, TOP] = [2, 18, 8];

/** What a chart shows. */
export interface ChartSpec {
  readonly title: string;
  readonly series: readonly { readonly measure: string; readonly label: string }[];
  readonly format: (value: number) => string;
  /** The scale goes to at least this. */
  readonly atLeast: number;
}

const percent = (value: number) => `${round(value)} %`;
const perSec = (value: number) => `${formatCount(value)}/s`;
const milliseconds = (value: number) =>
  value >= 1_000 ? `${round(value / 1_000)} s` : `${round(value)} ms`;

/** The charts there are, of a node or of a component. */
export const CHARTS: readonly ChartSpec[] = [
  { title: "CPU", series: [{ measure: "cpu", label: "in use" }], format: percent, atLeast: 10 },
  {
    title: "Memory",
    series: [{ measure: "memory", label: "in use" }],
    format: formatBytes,
    atLeast: 1024 * 1024,
  },
  { title: "Fuel", series: [{ measure: "fuel", label: "used" }], format: perSec, atLeast: 1_000 },
  {
    title: "Requests",
    series: [{ measure: "requests", label: "all" }, { measure: "errors", label: "failed" }],
    format: perSec,
    atLeast: 1,
  },
  {
    title: "Latency",
    series: [
      { measure: "p50", label: "half in" },
      { measure: "p95", label: "95 % in" },
      { measure: "p99", label: "99 % in" },
    ],
    format: milliseconds,
    atLeast: 1,
  },
];

/** A point that was measured. */
interface Point {
  readonly atMs: number;
  readonly value: number;
}

/** The points of a measure within the hour before `nowMs`. */
export function pointsOf(samples: Samples, measure: string, nowMs: number): Point[] {
  const values = samples.values[measure] ?? [];
  return samples.atMs.flatMap((atMs, i) => {
    const value = values[i];
    return value === null || value === undefined || atMs < nowMs - HOUR_MS || atMs > nowMs
      ? []
      : [{ atMs, value }];
  });
}

/** The least of 1, 2, 5 times a power of ten that is not below. */
export function niceMax(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  const found = [1, 2, 5, 10].find((each) => each * power >= value * (1 - 1e-9))!;
  return found * power;
}

/** The path through points, in pieces where there is a gap. */
export function linePath(
  points: readonly Point[],
  x: (atMs: number) => number,
  y: (value: number) => number,
): string {
  let path = "";
  let before = -Infinity;
  for (const { atMs, value } of points) {
    path += `${atMs - before > GAP_MS ? "M" : "L"}${x(atMs).toFixed(1)} ${y(value).toFixed(1)}`;
    before = atMs;
  }
  return path;
}

/** What a chart shows, in a sentence. */
export function inWords(spec: ChartSpec, series: readonly (readonly Point[])[]): string {
  const said = spec.series.flatMap(({ label }, i) => {
    const points = series[i]!;
    if (points.length === 0) return [];
    const most = Math.max(...points.map(({ value }) => value));
    const now = points[points.length - 1]!.value;
    return [`${label} ${spec.format(now)} now, at most ${spec.format(most)}`];
  });
  return `${spec.title} in the last hour: ${said.join("; ") || "nothing was measured"}`;
}

/** One chart; `cursorMs` is the time that is pointed at, which `point` is told. */
export function chart(
  spec: ChartSpec,
  samples: Samples | undefined,
  nowMs: number,
  cursorMs: number | undefined,
  point: (atMs: number | undefined) => void,
): VNode {
  const series = spec.series.map(({ measure }) =>
    samples === undefined ? [] : pointsOf(samples, measure, nowMs)
  );
  const most = Math.max(spec.atLeast, ...series.flat().map(({ value }) => value));
  // Bytes have scales of their own; the rest is decimal.
  const top = spec.format === formatBytes ? niceBytes(most) : niceMax(most);
  const x = (atMs: number) => LEFT + (atMs - (nowMs - HOUR_MS)) / HOUR_MS * (WIDTH - 2 * LEFT);
  const y = (value: number) => TOP + (1 - value / top) * (HEIGHT - BOTTOM - TOP);
  const times = series[0]!.map(({ atMs }) => atMs);
  const last = times[times.length - 1];
  const at = cursorMs === undefined ? last : nearest(times, cursorMs);
  const step = (by: number) => {
    const i = Math.max(0, Math.min(times.length - 1, times.indexOf(at ?? 0) + by));
    point(times[i]);
  };
  return h(
    "figure",
    { class: "chart", key: spec.title },
    h(
      "figcaption",
      null,
      h("span", { class: "chart-title" }, spec.title),
      at !== undefined && cursorMs !== undefined && h("span", { class: "dim" }, clockTime(at)),
      spec.series.map(({ label }, i) => {
        const value = series[i]!.find(({ atMs }) => atMs === at)?.value;
        return h(
          "span",
          { class: `legend s${i}`, key: label },
          `${label} `,
          h("b", null, value === undefined ? "–" : spec.format(value)),
        );
      }),
    ),
    h(
      "svg",
      {
        viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
        role: "img",
        tabindex: 0,
        "aria-label": inWords(spec, series),
        onpointermove: (event: { offsetX: number; currentTarget: { clientWidth: number } }) =>
          point(nowMs - HOUR_MS + event.offsetX / event.currentTarget.clientWidth * HOUR_MS),
        onpointerleave: () => point(undefined),
        onblur: () => point(undefined),
        onkeydown: (event: { key: string; preventDefault(): void }) => {
          const by = ({ ArrowLeft: -1, ArrowRight: 1, PageUp: -60, PageDown: 60 } as const)[
            event.key as "ArrowLeft"
          ];
          if (by === undefined) return;
          event.preventDefault();
          step(by);
        },
      },
      [0, 0.5, 1].map((part) =>
        h("line", {
          key: `g${part}`,
          class: "grid",
          x1: LEFT,
          x2: WIDTH - LEFT,
          y1: y(top * part).toFixed(1),
          y2: y(top * part).toFixed(1),
        })
      ),
      [60, 45, 30, 15].map((minutes) =>
        h(
          "text",
          {
            key: `t${minutes}`,
            class: "scale",
            x: x(nowMs - minutes * 60_000).toFixed(1),
            y: HEIGHT - 4,
          },
          `−${minutes} min`,
        )
      ),
      h("text", { key: "now", class: "scale end", x: WIDTH - LEFT, y: HEIGHT - 4 }, "now"),
      series.map((points, i) =>
        h("path", { key: `p${i}`, class: `line s${i}`, d: linePath(points, x, y) })
      ),
      h("text", { key: "top", class: "scale", x: LEFT, y: TOP + 10 }, spec.format(top)),
      cursorMs !== undefined && at !== undefined &&
        h("line", {
          key: "c",
          class: "cursor",
          x1: x(at),
          x2: x(at),
          y1: TOP,
          y2: HEIGHT - BOTTOM,
        }),
    ),
  );
}

function nearest(times: readonly number[], wanted: number): number | undefined {
  let best: number | undefined;
  for (const at of times) {
    if (best === undefined || Math.abs(at - wanted) < Math.abs(best - wanted)) best = at;
  }
  return best;
}

function niceBytes(value: number): number {
  const power = 1024 ** Math.floor(Math.log2(value) / 10);
  const parts = value / power;
  return [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024].find((each) => each >= parts)! * power;
}

function round(value: number): string {
  return value < 9.95 ? value.toFixed(1).replace(/\.0$/, "") : String(Math.round(value));
}

/** Hours, minutes and seconds where the browser is. */
export function clockTime(atMs: number): string {
  return new Date(atMs).toTimeString().slice(0, 8);
}
