/**
 * What the page sends, checked; each function throws RealmError `usage` for another shape.
 *
 * @module
 */
import { RealmError } from "../agent/kernel/error.ts";

const NAME_LENGTH_MAX = 200;
const REPLICAS_MAX = 1_000;
const NODES_MAX = 1_000;

/** The token of a link. */
export function readToken(body: unknown): string {
  return text(record(body).token, "token");
}

/** What to restart, and where; no node is everywhere. */
export function readRestart(body: unknown): { component: string; nodes: string[] } {
  const { component, nodes = [] } = record(body);
  if (!Array.isArray(nodes) || nodes.length > NODES_MAX) throw wrong("nodes");
  return { component: text(component, "component"), nodes: nodes.map((n) => text(n, "nodes")) };
}

/** What to scale, to how many (`null`: as in the manifest), and where (`null`: everywhere). */
export function readScale(
  body: unknown,
): { component: string; replicas: number | null; node: string | null } {
  const { component, replicas, node = null } = record(body);
  const isCount = Number.isInteger(replicas) && (replicas as number) >= 0 &&
    (replicas as number) <= REPLICAS_MAX;
  if (replicas !== null && !isCount) throw wrong("replicas");
  return {
    component: text(component, "component"),
    replicas: replicas as number | null,
    node: node === null ? null : text(node, "node"),
  };
}

/** Which machine is to be drained, or not any more. */
export function readDrain(body: unknown): { node: string; drained: boolean } {
  const { node, drained } = record(body);
  if (typeof drained !== "boolean") throw wrong("drained");
  return { node: text(node, "node"), drained };
}

/** A manifest as its text, or the version of one of before. */
export function readPlan(body: unknown): { manifest: string } | { version: number } {
  const { manifest, version } = record(body);
  if (typeof manifest === "string") return { manifest };
  if (Number.isSafeInteger(version) && (version as number) > 0) {
    return { version: version as number };
  }
  throw wrong("manifest or version");
}

function record(body: unknown): Record<string, unknown> {
  if (typeof body === "object" && body !== null) return body as Record<string, unknown>;
  throw wrong("body");
}

function text(value: unknown, what: string): string {
  if (typeof value === "string" && value !== "" && value.length <= NAME_LENGTH_MAX) return value;
  throw wrong(what);
}

function wrong(what: string): RealmError {
  return new RealmError("usage", `Cannot read request: its ${what} is not as wanted`);
}
