/**
 * Agents under test, as processes, and what is asked of them again and again.
 *
 * @module
 */
import assert from "node:assert/strict";
import * as path from "node:path";
import type { Status } from "../../agent/control/api.ts";
import type { Result, Running, Sandbox } from "./executable.ts";

/** Name of the node in the manifests of these tests. */
export const NODE = "here";

/** A running `realm agent`. */
export interface AgentProcess extends Running {
  readonly owner: string | null;
  /** URL of the proxy. */
  readonly proxy: string;
  /** URL of the metrics. */
  readonly metrics: string;
}

/** Starts an agent on free ports and waits until it is ready. */
export async function startAgent(sandbox: Sandbox, ...args: string[]): Promise<AgentProcess> {
  const free = ["--http", "127.0.0.1:0", "--metrics", "127.0.0.1:0"];
  const running = sandbox.start("agent", "--json", "--name", NODE, ...free, ...args);
  const line = await running.line();
  if (line === null) assert.fail(`the agent did not start: ${(await running.ended).stderr}`);
  const { owner, proxy, metrics } = JSON.parse(line);
  return { ...running, owner, proxy, metrics };
}

/** Makes keys and a manifest of these components and routes; the owner's public key. */
export async function initRealm(sandbox: Sandbox, manifest: string): Promise<string> {
  const { owner } = succeeded(await sandbox.realm("init", "--name", "shop", "--json"));
  const text = `[owner]\npubkey = "${owner}"\n[realm]\nname = "shop"\n[nodes."${NODE}"]\n`;
  await Deno.writeTextFile(path.join(sandbox.folder, "realm.toml"), text + manifest);
  return owner;
}

/** The JSON that a command printed, which must have ended well. */
// deno-lint-ignore no-explicit-any
export function succeeded(result: Result): any {
  assert.equal(result.status, 0, result.stderr);
  return result.stdout === "" ? undefined : JSON.parse(result.stdout);
}

/** Exit status and code of a command that failed with `--json`. */
export function failed({ status, stdout, stderr }: Result): readonly [number, string] {
  assert.equal(stdout, "");
  return [status, JSON.parse(stderr).error.code];
}

export async function statusOf(sandbox: Sandbox): Promise<Status> {
  return succeeded(await sandbox.realm("status", "--json"));
}

/** Waits until it is so; a busy machine may take long. */
export async function until<T>(
  what: string,
  look: () => Promise<T | undefined | false> | T | undefined | false,
  { everyMs = 100, atMostMs = 60_000 } = {},
): Promise<T> {
  const late = performance.now() + atMostMs;
  while (true) {
    const seen = await look();
    if (seen !== undefined && seen !== false) return seen;
    if (performance.now() > late) assert.fail(`waited ${atMostMs} ms in vain until ${what}`);
    await sleep(everyMs);
  }
}

/** Waits until every wanted replica of the component runs; all of these replicas. */
export function untilRunning(sandbox: Sandbox, component: string, replicas = 1) {
  return until(`${replicas} of ${component} run`, async () => {
    const all = (await statusOf(sandbox)).replicas.filter((r) => r.component === component);
    return all.length === replicas && all.every(({ state }) => state === "running") && all;
  });
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Status and trimmed body of one request. */
export async function get(url: string, init: RequestInit = {}): Promise<string> {
  const response = await fetch(url, { signal: AbortSignal.timeout(20_000), ...init });
  return `${response.status} ${(await response.text()).trim()}`;
}
