/**
 * The machines of a realm as the map shows them: how each fares, and how far it is from the others.
 *
 * Pure. Latencies are round trips in milliseconds.
 *
 * @module
 */
import { formatAge } from "./quantity.ts";
import type { Status, Tone } from "./view_model.ts";

/** One machine of {@link Status}. */
export type NodeStatus = Status["nodes"][number];

/** Where a machine stands, in words. */
export function nodeState(node: NodeStatus, nowMs: number): { text: string; tone: Tone } {
  const { state, live, silentSinceMs, drained, drift } = node;
  if (state !== "approved") return { text: state, tone: state === "pending" ? "warn" : "dim" };
  if (!live) {
    const since = silentSinceMs === null ? "" : ` ${formatAge(nowMs - silentSinceMs)}`;
    return { text: `silent${since}`, tone: "bad" };
  }
  if (drained) return { text: "drained", tone: "warn" };
  return drift ? { text: "differs", tone: "warn" } : { text: "live", tone: "good" };
}

/** Approved machines first, then those that wait, then those that were; the one asked above all. */
export function sortedNodes({ nodes }: Status): readonly NodeStatus[] {
  const rank = ({ self, state }: NodeStatus) =>
    self ? 0 : ["approved", "pending", "revoked"].indexOf(state) + 1;
  return nodes.toSorted((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1));
}

/** The round trip between two machines, as one of them has measured it. */
export function latencyBetween(a: NodeStatus, b: NodeStatus): number | undefined {
  const measured = (from: NodeStatus, to: NodeStatus) =>
    from.links.find(({ key }) => key === to.key)?.latencyMs ?? undefined;
  return measured(a, b) ?? measured(b, a);
}

/** A machine that another one is connected with, and how far it is. */
export interface NodeLink {
  readonly name: string;
  /** `undefined` where it was not measured. */
  readonly latencyMs: number | undefined;
}

/** Whom a machine is connected with, by its own word or theirs: the nearest first. */
export function linksOf(node: NodeStatus, { nodes }: Status): NodeLink[] {
  const own = new Map(node.links.map(({ key, latencyMs }) => [key, latencyMs]));
  return nodes.flatMap((other): NodeLink[] => {
    if (other.key === node.key) return [];
    const theirs = other.links.find(({ key }) => key === node.key);
    if (!own.has(other.key) && theirs === undefined) return [];
    const latencyMs = own.get(other.key) ?? theirs?.latencyMs ?? undefined;
    return [{ name: other.name, latencyMs }];
  }).sort((a, b) => (a.latencyMs ?? Infinity) - (b.latencyMs ?? Infinity));
}

/** How good a round trip is: within a building, a continent, the world. */
export function toneOfLatency(ms: number): Tone {
  return ms < 10 ? "good" : ms < 150 ? "plain" : "warn";
}
