/**
 * What each node will do when a manifest comes into force: start, replace, stop, and move, from where
 * replicas are placed now to where they will be. Pure; the same for every node that asks. Where a
 * rollout is under way it begins from what that one goes to.
 *
 * @module
 */
import { encodeCanonical, sha256HexSync } from "../kernel/canonical.ts";
import { type Overrides, replicaOf } from "./desired.ts";
import { place, type Unplaced } from "./placement.ts";
import type { PlanChange, Release } from "./plan.ts";
import { type Budget, budgetOf } from "./rollout.ts";

/** One thing that one node does. */
export interface NodeStep {
  readonly node: string;
  /**
   * `move`: starts here, and then stops on the node `from`. `replace`: another release, or a fresh
   * start, in the same place.
   */
  readonly action: "start" | "replace" | "stop" | "move";
  readonly component: string;
  readonly replicas: number;
  /** Of a move: the node that gives them away. */
  readonly from?: string;
  /** Of what is started: sha256 of its bytes. */
  readonly digest?: string;
  /** Of a replacement or move: whether the old one serves until the new one is ready. */
  readonly beside?: boolean;
  /** And how many at once, over all nodes. */
  readonly atOnce?: number;
}

/** What there is before and what there will be. */
export interface NodePlanQuestion {
  /** `undefined`: nothing is in force. */
  readonly before: Release | undefined;
  readonly after: Release;
  readonly overrides: Overrides;
  /** The changes between the two: overrides of components that they touch end. */
  readonly changes: readonly PlanChange[];
  /** Live nodes by the manifest that there will be, and by the one that is there. */
  readonly live: readonly string[];
}

/** See the module. */
export interface NodePlan {
  /** Sorted by node, then component. */
  readonly steps: readonly NodeStep[];
  readonly unplaced: readonly Unplaced[];
}

/** See the module. */
export function planNodes({ before, after, overrides, changes, live }: NodePlanQuestion): NodePlan {
  const touched = new Set(
    changes.flatMap(({ subject, name }) => subject === "component" ? [name] : []),
  );
  const isLeft = ({ component, node }: { component: string; node?: string }) =>
    !touched.has(component) && (node === undefined || after.manifest.nodes.has(node));
  const then: Overrides = {
    restarts: overrides.restarts.filter(isLeft),
    scales: overrides.scales.filter(isLeft),
    drained: overrides.drained.filter((node) => after.manifest.nodes.has(node)),
  };
  const from = before && place({ manifest: before.manifest, live, overrides });
  const to = place({ manifest: after.manifest, live, overrides: then });
  const components = new Set([...from?.replicas.keys() ?? [], ...to.replicas.keys()]);
  const steps: NodeStep[] = [];
  for (const component of components) {
    const [old, next] = [from?.replicas.get(component), to.replicas.get(component)];
    const nodes = [...new Set([...old?.keys() ?? [], ...next?.keys() ?? []])].sort();
    const digest = after.digests.get(component);
    const budget = next && budgetOf(component, after.manifest);
    const gone: { node: string; replicas: number }[] = [];
    const come: { node: string; replicas: number }[] = [];
    for (const node of nodes) {
      const [was, will] = [old?.get(node) ?? 0, next?.get(node) ?? 0];
      const revision = (release: Release, overrides: Overrides) =>
        replicaOf(component, { ...release, node, overrides })?.revision;
      const both = Math.min(was, will);
      if (both > 0 && revision(before!, overrides) !== revision(after, then)) {
        steps.push({ node, action: "replace", component, replicas: both, ...by(digest, budget) });
      }
      if (will > was) come.push({ node, replicas: will - was });
      if (was > will) gone.push({ node, replicas: was - will });
    }
    for (const each of come) {
      while (each.replicas > 0 && gone.length > 0) {
        const giver = gone[0]!;
        const replicas = Math.min(each.replicas, giver.replicas);
        each.replicas -= replicas;
        giver.replicas -= replicas;
        if (giver.replicas === 0) gone.shift();
        const how = by(digest, budget);
        steps.push({
          node: each.node,
          action: "move",
          component,
          replicas,
          from: giver.node,
          ...how,
        });
      }
      const { node, replicas } = each;
      if (replicas === 0) continue;
      steps.push({ node, action: "start", component, replicas, ...(digest ? { digest } : {}) });
    }
    for (const { node, replicas } of gone) {
      steps.push({ node, action: "stop", component, replicas });
    }
  }
  steps.sort((a, b) => order(a, b));
  return { steps, unplaced: to.unplaced };
}

/**
 * Names the world that a plan is for: another one means that the plan would be another, or that
 * something else was applied since.
 */
export function planWorld(
  inForce: string | undefined,
  { manifest: { sha256, digests }, plan: { steps, unplaced }, overrides }: {
    readonly manifest: { readonly sha256: string; readonly digests: ReadonlyMap<string, string> };
    readonly plan: NodePlan;
    readonly overrides: Overrides;
  },
): string {
  const plain = JSON.stringify([steps, unplaced, overrides]);
  const sorted = [...digests].sort(([a], [b]) => a < b ? -1 : 1).map((pair) => [...pair]);
  return sha256HexSync(encodeCanonical([inForce ?? null, sha256, sorted, plain]));
}

/** The steps as people read them, a line each under the name of their node. */
export function formatSteps(
  { steps, unplaced }: NodePlan,
  paint: (action: NodeStep["action"] | "unplaced", text: string) => string = (_, text) => text,
): string {
  const lines: string[] = [];
  let node: string | undefined;
  for (const step of steps) {
    if (step.node !== node) lines.push(`on ${node = step.node}`);
    const { action, component, replicas, from, beside, atOnce } = step;
    const where = from === undefined ? "" : ` from ${from}`;
    const how = beside === undefined
      ? ""
      : beside
      ? `, ${atOnce} at once, the old one serves until the new one is ready`
      : `, ${atOnce} at once, the old one stops first`;
    lines.push(paint(action, `    ${action} ${replicas} of ${component}${where}${how}`));
  }
  for (const { component, replicas, why } of unplaced) {
    lines.push(paint("unplaced", `cannot place ${replicas} of ${component}: ${why}`));
  }
  return lines.join("\n");
}

function by(digest: string | undefined, budget: Budget | undefined): Partial<NodeStep> {
  return {
    ...(digest === undefined ? {} : { digest }),
    ...(budget === undefined ? {} : { beside: budget.isBeside, atOnce: budget.slots }),
  };
}

function order(a: NodeStep, b: NodeStep): number {
  const key = (
    { node, component, action, from }: NodeStep,
  ) => [node, component, action, from ?? ""];
  const [x, y] = [key(a), key(b)];
  const at = x.findIndex((part, i) => part !== y[i]);
  return at < 0 ? 0 : x[at]! < y[at]! ? -1 : 1;
}
