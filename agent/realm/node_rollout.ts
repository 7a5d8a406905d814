/**
 * What one node is to run at this moment, all components together: the manifest in force with the
 * releases that failed replaced, placed on the live nodes, and of that as much as the rollouts allow.
 * Pure; `rollout.ts` has the rules.
 *
 * @module
 */
import { type DesiredReplica, type Overrides, replicaOf } from "./desired.ts";
import { place, type Placement } from "./placement.ts";
import type { Release } from "./plan.ts";
import {
  boundReport,
  budgetOf,
  chooseSlots,
  effectiveRelease,
  type Failure,
  type Goal,
  isComplete,
  lastBefore,
  type Member,
  type OwnSlot,
  reportOf,
  type SlotReport,
  type VersionedRelease,
} from "./rollout.ts";

/** What there is in a slot of this node. */
export interface RunningSlot extends Omit<OwnSlot, "index" | "revision"> {
  /** The newest instance in it. */
  readonly replica: DesiredReplica;
  /** The one that takes the requests, where that is another. */
  readonly served?: DesiredReplica | undefined;
}

/** What a node says of its slots. */
export interface NodeReport {
  /** Of the manifest that it goes by. */
  readonly version: number;
  /** Of the overrides that it goes by; empty for none. */
  readonly basis: string;
  readonly slots: ReadonlyMap<string, SlotReport>;
}

/** What a node knows. */
export interface NodeQuestion {
  readonly node: string;
  readonly inForce: VersionedRelease;
  /** Manifests that were in force before, newest first; asked for no more than is needed. */
  readonly before: Iterable<VersionedRelease>;
  readonly failures: readonly Failure[];
  /** By component, the last release that is known to have been complete. */
  readonly complete: ReadonlyMap<string, string>;
  /** Whether a release of a component was complete at any time, as far as this node remembers. */
  readonly wasComplete: (component: string, release: string) => boolean;
  readonly overrides: Overrides;
  readonly live: Iterable<string>;
  /**
   * What another live node said last; `undefined` when it said nothing yet, `null` where it takes no
   * part: an agent that knows of no others leaves them their share and waits for none.
   */
  readonly reported: (node: string) => NodeReport | undefined | null;
  readonly own: readonly RunningSlot[];
  /** The most slots that another node is believed to have beyond those that it is given: see `given_slots.ts`. */
  readonly givenLately: (component: string, node: string) => number;
}

/** How far a component is. */
export interface RolloutStatus extends Goal {
  /** The release that it comes from, and returns to; `undefined` where there is none. */
  readonly base: string | undefined;
  /** sha256 of what replicas may run meanwhile, the wanted one first. */
  readonly digests: readonly string[];
  /** What its slots on this node should run. */
  readonly revision: string;
  readonly wanted: number;
  readonly settled: number;
  readonly isComplete: boolean;
  /** Nodes with slots that do not say that they go by the same. */
  readonly waitsFor: readonly string[];
}

/** What follows. */
export interface NodeAnswer {
  /** The manifest to go by: that in force, but for what failed. */
  readonly release: Release;
  readonly placement: Placement;
  /** What this node is to run now, sorted by component and index. */
  readonly desired: readonly DesiredReplica[];
  /** What this node says of its slots. */
  readonly report: ReadonlyMap<string, SlotReport>;
  readonly rollouts: ReadonlyMap<string, RolloutStatus>;
}

/** See the module. */
export function planNode(question: NodeQuestion): NodeAnswer {
  const { node, inForce, before, failures, overrides, live, own } = question;
  const { release, goals } = effectiveRelease(inForce, before, failures);
  const { manifest, digests } = release;
  const alive = new Set(live);
  const names = [...manifest.nodes.keys()].filter((name) => alive.has(name));
  const placement = place({ manifest, live: names, overrides });
  const reports = new Map(names.map((name) => [name, question.reported(name)]));
  const desired: DesiredReplica[] = [];
  const report = new Map<string, SlotReport>();
  const rollouts = new Map<string, RolloutStatus>();
  for (const [component, goal] of [...goals].sort(([a], [b]) => a < b ? -1 : 1)) {
    const slots = own.filter(({ replica }) => replica.component === component);
    const ownSlots = slots.map(({ replica: { index, revision }, served: _, ...slot }): OwnSlot => ({
      ...slot,
      index,
      revision,
    }));
    const placed = placement.replicas.get(component);
    const wantedOn = (name: string) => placed?.get(name) ?? 0;
    const here = replicaOf(component, { manifest, digests, node, overrides })!;
    // Nodes differ by the restarts that only some were asked for.
    const isAlike = overrides.restarts.every((r) => r.component !== component);
    const revisionOn = (name: string) =>
      isAlike
        ? here.revision
        : replicaOf(component, { manifest, digests, node: name, overrides })!.revision;
    const self = { node, wanted: wantedOn(node), revision: here.revision };
    // What a component returns to has had its trial, if others came after it too.
    const isKnownComplete = question.complete.get(component) === goal.release ||
      goal.version < inForce.version && question.wasComplete(component, goal.release);
    const ownReport = reportOf(self, ownSlots, isKnownComplete);
    const itself: Member = { ...self, report: ownReport, isBehind: false };
    const group: Member[] = alive.has(node) ? [] : [itself];
    for (const name of names) {
      if (name === node) {
        group.push(itself);
        continue;
      }
      const said = reports.get(name);
      if (said === null) continue;
      const wanted = wantedOn(name);
      const all = currentReport(component, inForce.version, said);
      const most = Math.max(wanted, question.givenLately(component, name));
      const isBehind = said?.basis !== (overrides.basis ?? "");
      const report = all && boundReport(all, most);
      if (wanted === 0 && report !== undefined && report.slots === 0) continue; // nothing to it
      group.push({
        node: name,
        wanted,
        revision: revisionOn(name),
        // By what it went by it may just be starting in a slot that was empty when it said so.
        report: report && isBehind ? { ...report, slots: most } : report,
        isBehind,
      });
    }
    const isNowComplete = isKnownComplete || isComplete(group);
    // Looked for only where something depends on it: it may be many manifests back.
    const base = isNowComplete ? undefined : lastBefore(
      component,
      goal.release,
      olderThan(goal.version, before),
      failures,
    );
    const budget = budgetOf(component, manifest);
    const choices = chooseSlots({
      component,
      self: node,
      members: group,
      own: ownSlots,
      budget,
      isProven: base === undefined,
    });
    for (const { index, run } of choices) {
      const there = slots.find(({ replica }) => replica.index === index);
      if (run === "kept") desired.push(there!.served ?? there!.replica);
      else if (run === "goal") {
        desired.push({ ...here, index, ...(budget.isBeside ? {} : { stopsFirst: true }) });
      } else {
        const spec = base!.of.manifest.components.get(component)!;
        const old = replicaOf(component, {
          manifest: { ...manifest, components: new Map([[component, spec]]) },
          digests: base!.of.digests,
          node,
          overrides,
        })!;
        desired.push({ ...old, index });
      }
    }
    if (self.wanted > 0 || slots.length > 0) {
      report.set(component, { ...ownReport, isComplete: isNowComplete });
    }
    rollouts.set(component, {
      ...goal,
      revision: here.revision,
      base: base?.release,
      digests: [here.digest, inForce.digests.get(component)!, base?.of.digests.get(component)!]
        .filter((digest, i, all) => digest !== undefined && all.indexOf(digest) === i),
      wanted: group.reduce((sum, { wanted }) => sum + wanted, 0),
      settled: group.reduce(
        (sum, { wanted, revision, report }) =>
          sum + (report?.revision === revision ? Math.min(wanted, report.settled) : 0),
        0,
      ),
      isComplete: isNowComplete,
      waitsFor: group.filter(({ wanted, revision, report, isBehind }) =>
        isBehind || wanted > 0 && report?.revision !== revision
      ).map(({ node }) => node).sort(),
    });
  }
  return { release, placement, desired, report, rollouts };
}

/** Whether a verdict on the release of a slot that cannot be made ready is this node's to give. */
export function isOnTrial(replica: DesiredReplica, { rollouts }: NodeAnswer): boolean {
  const rollout = rollouts.get(replica.component);
  return rollout !== undefined && !rollout.isComplete && rollout.base !== undefined &&
    replica.revision === rollout.revision;
}

function currentReport(
  component: string,
  version: number,
  said: NodeReport | undefined,
): SlotReport | undefined {
  if (said === undefined) return undefined;
  const there = said.slots.get(component);
  const isCurrent = said.version === version;
  if (there === undefined) {
    const none = { slots: 0, ready: 0, settled: 0, doubled: 0, isComplete: false };
    return { ...none, revision: "" };
  }
  return isCurrent ? there : { ...there, revision: "" };
}

function* olderThan(
  version: number,
  before: Iterable<VersionedRelease>,
): Iterable<VersionedRelease> {
  for (const each of before) if (each.version < version) yield each;
}
