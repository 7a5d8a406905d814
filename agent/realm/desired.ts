/**
 * What one node should run: the replicas that a manifest, the operators' overrides and the live
 * nodes give it. Every node computes the same answer for every other, with no leader.
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
 * @module
 */
import { sha256 } from "@noble/hashes/sha2.js";
import { encodeCanonical, sha256HexSync } from "../kernel/canonical.ts";
import { parseListen } from "../kernel/network_grant.ts";
import type { World } from "../kernel/ports.ts";
import { type ComponentSpec, type Manifest, nodesOf, type Target } from "./manifest.ts";

/** What operators changed since the manifest, by `realm restart`, `scale` and `drain`. */
export interface Overrides {
  readonly restarts: readonly Restart[];
  readonly scales: readonly Scale[];
  /** Nodes that run nothing. */
  readonly drained: readonly string[];
}

/** Replicas of a component were asked to start afresh, on one node or on all. */
export interface Restart {
  readonly component: string;
  readonly node?: string;
  /** Grows with every command. */
  readonly count: number;
}

/** A number of replicas in place of the manifest's: on one node, or for every target. */
export interface Scale {
  readonly component: string;
  readonly node?: string;
  readonly replicas: number;
}

/** No overrides. */
export const NO_OVERRIDES: Overrides = { restarts: [], scales: [], drained: [] };

/** One replica that should run. */
export interface DesiredReplica {
  readonly component: string;
  /** From 0 on each node. */
  readonly index: number;
  /** sha256 of the component. */
  readonly digest: string;
  /** Changes with whatever a replica has to be started anew for: see {@link revisionOf}. */
  readonly revision: string;
  readonly world: World;
  readonly spec: ComponentSpec;
  /** See {@link proxiedPortOf}. */
  readonly proxiedPort?: number;
}

/** Whether requests reach it by the proxy. */
export function takesRequests({ world, proxiedPort }: DesiredReplica): boolean {
  return world === "wasi:http/proxy" || proxiedPort !== undefined;
}

/**
 * The port of a routed command, `undefined` for every other component: the first for TCP that it
 * listens on. It is no port of the machine; each replica has it to itself, behind the proxy.
 */
export function proxiedPortOf(component: string, manifest: Manifest): number | undefined {
  const { world, listen } = manifest.components.get(component)!;
  const isRouted = manifest.routes.some((route) => route.component === component);
  if (world !== "wasi:cli/command" || !isRouted) return undefined;
  return listen.map((text) => parseListen(text)!).find((at) => at.transport === "tcp")?.port;
}

/**
 * The replicas of `node`, sorted by component and index.
 *
 * `digests` are those of the manifest's signature. `live` are the nodes that count for totals;
 * an agent that knows of no others passes all nodes of the manifest, so that each runs its share.
 * Nodes that are drained count as not live.
 */
export function desiredReplicas(
  { manifest, digests, node, live, overrides = NO_OVERRIDES }: {
    manifest: Manifest;
    digests: ReadonlyMap<string, string>;
    node: string;
    live: Iterable<string>;
    overrides?: Overrides;
  },
): DesiredReplica[] {
  const running = new Set([...live].filter((name) => !overrides.drained.includes(name)));
  if (!running.has(node) || !manifest.nodes.has(node)) return [];
  const replicas: DesiredReplica[] = [];
  for (const [component, spec] of manifest.components) {
    const digest = digests.get(component);
    if (digest === undefined) continue; // verifyManifest() refuses such a manifest
    const proxiedPort = proxiedPortOf(component, manifest);
    const restarts = restartsOf(component, node, overrides);
    const revision = revisionOf(spec, digest, restarts, proxiedPort);
    const count = replicasOn(node, component, { manifest, running, overrides });
    for (let index = 0; index < count; index++) {
      const replica = { component, index, digest, revision, world: spec.world, spec };
      replicas.push(proxiedPort === undefined ? replica : { ...replica, proxiedPort });
    }
  }
  return replicas.sort(byReplica);
}

/** Orders replicas by component, then index. */
export function byReplica(
  a: { readonly component: string; readonly index: number },
  b: { readonly component: string; readonly index: number },
): number {
  if (a.component !== b.component) return a.component < b.component ? -1 : 1;
  return a.index - b.index;
}

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
  const ranked = [...nodes]
    .map((node) => ({ node, weight: rendezvousWeight(component, node) }))
    .sort((a, b) => a.weight < b.weight ? -1 : 1)
    .map(({ node }) => node);
  const even = Math.floor(total / ranked.length);
  return new Map(ranked.map((node, rank) => [node, even + (rank < total % ranked.length ? 1 : 0)]));
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

function replicasOn(
  node: string,
  component: string,
  { manifest, running, overrides }: {
    manifest: Manifest;
    running: ReadonlySet<string>;
    overrides: Overrides;
  },
): number {
  const scales = overrides.scales.filter((scale) => scale.component === component);
  const here = scales.findLast((scale) => scale.node === node);
  if (here !== undefined) return here.replicas;
  const everywhere = scales.findLast((scale) => scale.node === undefined);
  let greatest = 0;
  for (const demand of demandsOf(component, manifest)) {
    const replicas = everywhere?.replicas ?? demand.replicas;
    const count = demand.kind === "on"
      ? (demand.node === node ? replicas : 0)
      : divide(replicas, component, demand.nodes.filter((n) => running.has(n))).get(node) ?? 0;
    greatest = Math.max(greatest, count);
  }
  return greatest;
}

function restartsOf(component: string, node: string, overrides: Overrides): number {
  return overrides.restarts
    .filter((r) => r.component === component && (r.node === undefined || r.node === node))
    .reduce((sum, { count }) => sum + count, 0);
}

/**
 * Names everything about a replica that can only change by starting it anew: its bytes, grants and
 * limits, and how often it was asked to restart. Not its source, restart policy, placement, health
 * check or time-outs, which are read from the manifest while it runs.
 */
export function revisionOf(
  spec: ComponentSpec,
  digest: string,
  restarts: number,
  proxiedPort?: number,
): string {
  return sha256HexSync(encodeCanonical({
    digest,
    restarts,
    world: spec.world,
    grants: {
      args: spec.args,
      env: [...spec.env],
      vars: [...spec.vars],
      clock: spec.clock,
      random: spec.random,
      mounts: spec.mounts.map((m) => [m.volume ?? null, m.host ?? null, m.guest, m.mode]),
      outbound: [spec.allowedOutbound, spec.privateOutbound, spec.loopback, spec.dns],
      listen: spec.listen,
      ...(proxiedPort === undefined ? {} : { proxiedPort }),
      secrets: spec.secrets,
      keyvalue: spec.keyvalue,
    },
    limits: [spec.memoryMaxMb, spec.fuelPerSec, spec.epochTimeoutMs],
    instances: [spec.isolation, spec.maxConcurrency, spec.instancePerRequest],
  })).slice(0, 16);
}

/** Lower is first. Names cannot contain a zero byte: no two pairs hash the same text. */
function rendezvousWeight(component: string, node: string): bigint {
  const hash = sha256(new TextEncoder().encode(`${component}\0${node}`));
  return new DataView(hash.buffer, hash.byteOffset).getBigUint64(0);
}
