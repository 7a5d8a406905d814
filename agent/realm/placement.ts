/**
 * Where the replicas of every component are: the same answer on each node that knows of the same
 * manifest, overrides and live nodes, with no leader.
 *
 * How many replicas a component has:
 *
 * - A route under a node's name wants its `replicas` on that node; one under `tag:NAME` wants them
 *   in total over the live nodes with the tag. Several routes of one component do not add up: a
 *   node runs the greatest number that any of them wants there.
 * - Without a route, `placement` wants its replicas in total over the live nodes that have all of
 *   its tags.
 * - A command without route and placement runs once, somewhere. A request handler without both
 *   does not run: nothing could reach it.
 *
 * Totals are divided by rendezvous hashing
 * (https://en.wikipedia.org/wiki/Rendezvous_hashing): nodes are ranked by the hash of component
 * and node, and each gets its even share, the first ones one more. A node that goes or comes moves
 * only the replicas that it had or gets.
 *
 * A component with a volume is divided over all nodes of the manifest that may have it, whether they
 * live or not: what is on a node that is away waits for it, and is never started twice.
 *
 * A node that refuses the manifest takes nothing. What it has counts for totals as far as it is no
 * more than its share; the rest of them is divided over the other nodes.
 *
 * The `quota` of a node bounds what is placed there. Components are placed in the order of their
 * names; what a node has no room for goes to others of the total that have, and else nowhere: see
 * {@link Unplaced}.
 *
 * @module
 */
import { sha256 } from "@noble/hashes/sha2.js";
import type { Overrides } from "./desired.ts";
import { type ComponentSpec, type Manifest, nodesOf, type Target } from "./manifest.ts";

/** Replicas for which there is no place. */
export interface Unplaced {
  readonly component: string;
  readonly replicas: number;
  /** Why, in words: `bm-01 is not live`. */
  readonly why: string;
}

/** Replicas by node, then component. */
export type Held = ReadonlyMap<string, ReadonlyMap<string, number>>;

/** Nobody refuses: always the same, so that what was placed by it can be kept. */
export const NONE_HELD: Held = new Map();

/** See the module. */
export interface Placement {
  /** By component, then node; without nodes that have none. */
  readonly replicas: ReadonlyMap<string, ReadonlyMap<string, number>>;
  readonly unplaced: readonly Unplaced[];
}

/**
 * Places all components. `live` are the nodes that count for totals; an agent that knows of no
 * others passes all nodes of the manifest. Nodes that are drained count as not live.
 */
export function place(
  { manifest, live, overrides, held = NONE_HELD }: {
    manifest: Manifest;
    live: Iterable<string>;
    overrides: Overrides;
    /** What live nodes that refuse the manifest keep: by node, then component. See the module. */
    held?: Held;
  },
): Placement {
  const running = new Set(
    [...live].filter((node) => manifest.nodes.has(node) && !overrides.drained.includes(node)),
  );
  const quotas = new Quotas(manifest);
  for (const node of held.keys()) running.delete(node);
  const absence = (node: string) =>
    overrides.drained.includes(node)
      ? `${node} is drained`
      : `${node} ${held.has(node) ? "refuses the manifest" : "is not live"}`;
  const placed = new Map<string, ReadonlyMap<string, number>>();
  const unplaced: Unplaced[] = [];
  for (const component of [...manifest.components.keys()].sort()) {
    const spec = manifest.components.get(component)!;
    const room = quotas.roomFor(spec);
    const scales = overrides.scales.filter((scale) => scale.component === component);
    const everywhere = scales.findLast(({ node }) => node === undefined);
    const counts = new Map<string, number>();
    const without: Omit<Unplaced, "component">[] = [];
    const take = (node: string, replicas: number) => {
      counts.set(node, Math.max(counts.get(node) ?? 0, replicas));
    };
    const heldOn = (node: string) => held.get(node)?.get(component) ?? 0;
    const isFixed = (node: string) => scales.some((scale) => scale.node === node);
    const takeOn = (node: string, replicas: number) => {
      if (!running.has(node)) {
        const missing = replicas - heldOn(node);
        if (missing > 0) without.push({ replicas: missing, why: absence(node) });
        return;
      }
      const there = Math.min(replicas, room(node));
      take(node, there);
      if (there < replicas) {
        without.push({ replicas: replicas - there, why: quotas.why([node], spec) });
      }
    };
    for (const demand of demandsOf(component, manifest)) {
      const replicas = everywhere?.replicas ?? demand.replicas;
      if (demand.kind === "on") {
        if (!isFixed(demand.node)) takeOn(demand.node, replicas);
        continue;
      }
      if (pinsItsNode(spec)) {
        for (const [node, share] of divide(replicas, component, demand.nodes)) {
          if (share > 0 && !isFixed(node)) takeOn(node, share);
        }
        continue;
      }
      // A node whose number was fixed has its share all the same, which is not taken.
      const isCounted = (node: string) => running.has(node) || held.has(node) && isFixed(node);
      const nodes = demand.nodes.filter(isCounted);
      const kept = demand.nodes.reduce((n, node) => isCounted(node) ? n : n + heldOn(node), 0);
      const { shares, rest } = divideIn(Math.max(0, replicas - kept), component, nodes, room);
      for (const [node, share] of shares) if (!isFixed(node)) take(node, share);
      if (rest === 0) continue;
      const why = nodes.length > 0
        ? quotas.why(nodes, spec)
        : demand.nodes.length > 0
        ? demand.nodes.map(absence).join(", ")
        : "no node has its tags";
      without.push({ replicas: rest, why });
    }
    for (const node of [...running, ...held.keys()]) {
      const here = scales.findLast((scale) => scale.node === node);
      if (here !== undefined) takeOn(node, here.replicas);
    }
    for (const node of held.keys()) take(node, heldOn(node));
    for (const [node, replicas] of counts) {
      if (replicas === 0) counts.delete(node);
      else quotas.use(node, spec, replicas);
    }
    placed.set(component, counts);
    for (const { replicas, why } of without) unplaced.push({ component, replicas, why });
  }
  return { replicas: placed, unplaced };
}

/** The nodes on which a component can come to be, whoever lives. */
export function possibleNodes(component: string, manifest: Manifest): string[] {
  const demands = demandsOf(component, manifest);
  return [...new Set(demands.flatMap((each) => each.kind === "on" ? [each.node] : each.nodes))];
}

/** Whether what a node has of a component can be nowhere else: it is not divided over several. */
export function isNodesOwn(component: string, node: string, manifest: Manifest): boolean {
  return pinsItsNode(manifest.components.get(component)!) ||
    demandsOf(component, manifest).every((each) =>
      each.kind === "on" || !each.nodes.includes(node)
    );
}

/** Whether a component stays where its volume is. */
export function pinsItsNode(spec: Pick<ComponentSpec, "mounts">): boolean {
  return spec.mounts.some(({ volume }) => volume !== undefined);
}

/** Nodes in the order in which they come to have replicas of a component: the same for everyone. */
export function rank(component: string, nodes: Iterable<string>): readonly string[] {
  const names = [...nodes];
  const key = names.join();
  const known = ranks.get(component);
  if (known?.key === key) return known.ranked;
  const ranked = names
    .map((node) => ({ node, weight: rendezvousWeight(component, node) }))
    .sort((a, b) => a.weight < b.weight ? -1 : 1)
    .map(({ node }) => node);
  if (ranks.size >= RANKS_MAX) ranks.clear();
  ranks.set(component, { key, ranked });
  return ranked;
}

/** What was asked last of each component is asked again and again. */
const ranks = new Map<string, { readonly key: string; readonly ranked: readonly string[] }>();
const RANKS_MAX = 10_000;

/**
 * Divides `total` over nodes, the same way for everyone.
 *
 * No node has two more than another; when a node goes, no other node's share gets smaller.
 */
export function divide(
  total: number,
  component: string,
  nodes: Iterable<string>,
): ReadonlyMap<string, number> {
  const ranked = rank(component, nodes);
  const even = Math.floor(total / ranked.length);
  return new Map(ranked.map((node, rank) => [node, even + (rank < total % ranked.length ? 1 : 0)]));
}

/** {@link divide}, with no more on a node than it has room for; `rest` is what fits nowhere. */
function divideIn(
  total: number,
  component: string,
  nodes: readonly string[],
  room: (node: string) => number,
): { readonly shares: ReadonlyMap<string, number>; readonly rest: number } {
  const shares = new Map<string, number>();
  let open = nodes;
  let rest = total;
  while (rest > 0 && open.length > 0) {
    // Whoever has no room for its share is full; the others divide what is left among them.
    const division = divide(rest, component, open);
    const full = open.filter((node) => room(node) < division.get(node)!);
    if (full.length === 0) {
      for (const [node, share] of division) shares.set(node, share);
      return { shares, rest: 0 };
    }
    for (const node of full) {
      shares.set(node, room(node));
      rest -= room(node);
    }
    open = open.filter((node) => !full.includes(node));
  }
  return { shares, rest };
}

/** What asks for replicas of a component: a number on a node, or in total over nodes. */
type Demand =
  | { readonly kind: "on"; readonly node: string; readonly replicas: number }
  | { readonly kind: "over"; readonly nodes: readonly string[]; readonly replicas: number };

function demandsOf(component: string, manifest: Manifest): Demand[] {
  const spec = manifest.components.get(component)!;
  const all = [...manifest.nodes.keys()];
  const routes = manifest.routes.filter((route) => route.component === component);
  if (routes.length > 0) {
    return routes.map(({ target, replicas }) => demandOf(target, replicas, manifest));
  }
  if (spec.placement !== undefined) {
    const { tags, replicas } = spec.placement;
    const hasAll = (node: string) =>
      tags.every((tag) => manifest.nodes.get(node)!.tags.includes(tag));
    return [{ kind: "over", nodes: all.filter(hasAll), replicas }];
  }
  return spec.world === "wasi:cli/command" ? [{ kind: "over", nodes: all, replicas: 1 }] : [];
}

function demandOf(target: Target, replicas: number, manifest: Manifest): Demand {
  return target.kind === "node"
    ? { kind: "on", node: target.name, replicas }
    : { kind: "over", nodes: nodesOf(target, manifest.nodes), replicas };
}

const QUOTA_KEYS = ["memoryMb", "fuelPerSec", "instances"] as const;
const QUOTA_NAMES = {
  memoryMb: "memory_mb",
  fuelPerSec: "fuel_per_sec",
  instances: "instances",
} as const;

/** What is left of the quota of each node. */
class Quotas {
  readonly #left = new Map<string, Record<typeof QUOTA_KEYS[number], number>>();

  constructor(manifest: Manifest) {
    for (const [node, { quota }] of manifest.nodes) {
      if (quota === undefined) continue;
      const { memoryMb = Infinity, fuelPerSec = Infinity, instances = Infinity } = quota;
      this.#left.set(node, { memoryMb, fuelPerSec, instances });
    }
  }

  /** How many more replicas each node has room for. */
  roomFor(spec: ComponentSpec): (node: string) => number {
    return (node) => {
      const left = this.#left.get(node);
      if (left === undefined) return Infinity;
      return Math.max(0, Math.min(...QUOTA_KEYS.map((key) => roomOf(left[key], need(spec)[key]))));
    };
  }

  use(node: string, spec: ComponentSpec, replicas: number): void {
    const left = this.#left.get(node);
    if (left === undefined) return;
    for (const key of QUOTA_KEYS) left[key] -= need(spec)[key] * replicas;
  }

  why(nodes: readonly string[], spec: ComponentSpec): string {
    const room = this.roomFor(spec);
    const full = nodes.map((node) => {
      const left = this.#left.get(node);
      const key = left &&
        QUOTA_KEYS.find((key) => roomOf(left[key], need(spec)[key]) <= room(node));
      return key === undefined ? node : `${node} (${QUOTA_NAMES[key]})`;
    });
    return `no room in the quota of ${full.join(", ")}`;
  }
}

function roomOf(left: number, need: number): number {
  return left === Infinity ? Infinity : Math.floor(left / need);
}

function need(spec: ComponentSpec): Record<typeof QUOTA_KEYS[number], number> {
  return { memoryMb: spec.memoryMaxMb, fuelPerSec: spec.fuelPerSec, instances: 1 };
}

const weights = new Map<string, bigint>();
const WEIGHTS_MAX = 100_000;

/** Lower is first. Names cannot contain a zero byte: no two pairs hash the same text. */
function rendezvousWeight(component: string, node: string): bigint {
  const text = `${component}\0${node}`;
  let weight = weights.get(text);
  if (weight === undefined) {
    const hash = sha256(new TextEncoder().encode(text));
    weight = new DataView(hash.buffer, hash.byteOffset).getBigUint64(0);
    if (weights.size >= WEIGHTS_MAX) weights.clear();
    weights.set(text, weight);
  }
  return weight;
}
