/**
 * What one node should run: the replicas that a manifest, the operators' overrides and the live
 * nodes give it (`placement.ts`), with what each is started with.
 *
 * @module
 */
import { encodeCanonical, sha256HexSync } from "../kernel/canonical.ts";
import { parseListen } from "../kernel/network_grant.ts";
import type { World } from "../kernel/ports.ts";
import type { ComponentSpec, Manifest } from "./manifest.ts";
import { place, type Placement } from "./placement.ts";

/** What operators changed since the manifest, by `realm restart`, `scale` and `drain`. */
export interface Overrides {
  readonly restarts: readonly Restart[];
  readonly scales: readonly Scale[];
  /** Nodes that run nothing. */
  readonly drained: readonly string[];
  /**
   * Names all the drains and scales until here, in their order, so it never comes back once it was
   * left: what a node reports by other ones is not counted for these. Not there before the first.
   */
  readonly basis?: string;
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
  /** What it takes the place of has to be gone before it starts. */
  readonly stopsFirst?: boolean;
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
 * The replicas of `node`, sorted by component and index. `digests` are those of the manifest's
 * signature; for `live` see {@link place}.
 */
export function desiredReplicas(
  { manifest, digests, node, live, overrides = NO_OVERRIDES, placement }: {
    manifest: Manifest;
    digests: ReadonlyMap<string, string>;
    node: string;
    live: Iterable<string>;
    overrides?: Overrides;
    /** Of the same manifest, live nodes and overrides, where it is there already. */
    placement?: Placement;
  },
): DesiredReplica[] {
  const placed = placement ?? place({ manifest, live, overrides });
  const replicas: DesiredReplica[] = [];
  for (const [component, nodes] of placed.replicas) {
    const count = nodes.get(node) ?? 0;
    const first = count > 0
      ? replicaOf(component, { manifest, digests, node, overrides })
      : undefined;
    if (first === undefined) continue;
    for (let index = 0; index < count; index++) replicas.push({ ...first, index });
  }
  return replicas.sort(byReplica);
}

/**
 * The replica of a component that has the index 0 on a node, placed there or not; `undefined`
 * without a digest, which `verifyManifest()` refuses.
 */
export function replicaOf(
  component: string,
  { manifest, digests, node, overrides = NO_OVERRIDES }: {
    manifest: Manifest;
    digests: ReadonlyMap<string, string>;
    node: string;
    overrides?: Overrides;
  },
): DesiredReplica | undefined {
  const spec = manifest.components.get(component);
  const digest = digests.get(component);
  if (spec === undefined || digest === undefined) return undefined;
  const proxiedPort = proxiedPortOf(component, manifest);
  const revision = revisionOf(spec, digest, restartsOf(component, node, overrides), proxiedPort);
  const replica = { component, index: 0, digest, revision, world: spec.world, spec };
  return proxiedPort === undefined ? replica : { ...replica, proxiedPort };
}

/** Orders replicas by component, then index. */
export function byReplica(
  a: { readonly component: string; readonly index: number },
  b: { readonly component: string; readonly index: number },
): number {
  if (a.component !== b.component) return a.component < b.component ? -1 : 1;
  return a.index - b.index;
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
  let known = revisions.get(spec);
  if (known === undefined) revisions.set(spec, known = new Map());
  const key = `${digest} ${restarts} ${proxiedPort}`;
  let revision = known.get(key);
  if (revision === undefined) {
    known.set(key, revision = computeRevision(spec, digest, restarts, proxiedPort));
  }
  return revision;
}

/** Asked for again and again, for every node: see {@link revisionOf}. */
const revisions = new WeakMap<ComponentSpec, Map<string, string>>();

function computeRevision(
  spec: ComponentSpec,
  digest: string,
  restarts: number,
  proxiedPort: number | undefined,
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
