/**
 * Puts a server under load from a process of its own: wrk where it is installed, else
 * `load_generator.ts`.
 *
 * @module
 */
import type { Load } from "./load_generator.ts";
import { type Programs, ROOT, runProcess } from "./programs.ts";

const MS: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1000, m: 60_000 };

/** Reads what `wrk --latency` prints. Throws when it is not that. */
export function parseWrk(text: string): Load {
  const value = (pattern: RegExp) => {
    const match = pattern.exec(text);
    if (!match) throw new Error(`Cannot read the output of wrk: no ${pattern.source} in\n${text}`);
    return match;
  };
  const latency = (percent: number) => {
    const [, number, unit] = value(new RegExp(`^ +${percent}% +([\\d.]+)(us|ms|s|m)$`, "m"));
    return Number(number) * MS[unit!]!;
  };
  const [, requests, number, unit] = value(/^ +(\d+) requests in ([\d.]+)(ms|s|m),/m);
  const sockets = /connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(text);
  const answers = /Non-2xx or 3xx responses: (\d+)/.exec(text);
  const errors = [...(sockets ?? []).slice(1), answers?.[1] ?? "0"].map(Number);
  return {
    requests: Number(requests),
    perSecond: Number(value(/^Requests\/sec: +([\d.]+)/m)[1]),
    p50Ms: latency(50),
    p99Ms: latency(99),
    errors: errors.reduce((sum, n) => sum + n, 0),
    wallMs: Number(number) * MS[unit!]!,
  };
}

/** Keeps `connections` busy for some seconds. */
export async function load(
  { wrk }: Programs,
  url: string,
  { connections, seconds }: { connections: number; seconds: number },
): Promise<Load> {
  if (wrk === undefined) return await generate(url, connections, seconds);
  const { stdout } = await runProcess([
    wrk,
    "--threads=1",
    `--connections=${connections}`,
    `--duration=${seconds}s`,
    "--latency",
    url,
  ]);
  return parseWrk(stdout);
}

/** One request on each of `connections`, all at once. */
export async function burst(url: string, connections: number): Promise<Load> {
  return await generate(url, connections, 0);
}

async function generate(url: string, connections: number, seconds: number): Promise<Load> {
  const script = `${ROOT}/bench/load_generator.ts`;
  const { stdout } = await runProcess([
    Deno.execPath(),
    "run",
    "-A",
    `--config=${ROOT}/deno.json`,
    script,
    url,
    String(connections),
    String(seconds),
  ]);
  return JSON.parse(stdout);
}
