/**
 * What one node is to run at this moment, all components together: the manifest in force with the
 * releases that failed replaced, placed on the live nodes, and of that as much as the rollouts allow.
 * Pure; `rollout.ts` has the rules.
 *
 * @module
 */
import { encodeCanonical, sha256HexSync } from "../kernel/canonical.ts";
import { byReplica, type DesiredReplica, type Overrides, replicaOf } from "./desired.ts";
import {
  type Held,
  isNodesOwn,
  NONE_HELD,
  place,
  type Placement,
  possibleNodes,
} from "./placement.ts";
import type { Release } from "./plan.ts";
import { keyOf } from "./reconcile.ts";
import {
  effectiveRelease,
  type Failure,
  type Goal,
  lastBefore,
  type VersionedRelease,
} from "./effective_release.ts";
import {
  boundReport,
  budgetOf,
  chooseSlots,
  isAgreeing,
  isComplete,
  type Member,
  type OwnSlot,
  reportOf,
  settledOn,
  type SlotReport,
} from "./rollout.ts";
import { judge } from "./judgement.ts";
import type { SlotTries, TriedGoal } from "./slot_tries.ts";
import type { HeardVerdict, JudgedRelease } from "./verdicts.ts";

/** What there is in a slot of this node. */
export interface RunningSlot
  extends Omit<OwnSlot, "index" | "revision" | "isResting" | "hasBefore"> {
  /** The newest instance in it. */
  readonly replica: DesiredReplica;
  /** The one that takes the requests, where that is another. */
  readonly served?: DesiredReplica | undefined;
  /** Whether it was tried long enough, and is not ready. */
  readonly isInVain: boolean;
  /** Whether that is because its bytes cannot be had. */
  readonly isLate: boolean;
}

/** What a node says of its slots. */
export interface NodeReport {
  /** Of the manifest that it goes by. */
  readonly version: number;
  /** See {@link NodeAnswer.basis}. */
  readonly basis: string;
  /** The version that it refuses. */
  readonly refuses?: number | undefined;
  /** How often that changed. */
  readonly turns: number;
  readonly slots: ReadonlyMap<string, SlotReport>;
  /** What it tells of verdicts, its own and others': see `verdicts.ts`. */
  readonly verdicts: readonly HeardVerdict[];
}

/** What a node refuses: what is in force in the realm, and what operators changed since. */
export interface OwnRefusal {
  readonly release: VersionedRelease;
  readonly overrides: Overrides;
}

/** What a node knows. */
export interface NodeQuestion {
  readonly node: string;
  /** What the node goes by, with the overrides below; see {@link nothingBefore}. */
  readonly inForce: VersionedRelease;
  /** What the realm goes by, where that is another. */
  readonly refusal?: OwnRefusal | undefined;
  /** How often that changed: only grows. */
  readonly turns: number;
  /** Manifests that were in force before a version, newest first; asked for no more than is needed. */
  readonly before: (version: number) => Iterable<VersionedRelease>;
  /** Verdicts that this node gave, or heard from who did; the newest last. */
  readonly failures: readonly Failure[];
  /** Whether a verdict was heard of just now: see `NewVerdicts`. */
  readonly isNew: (release: JudgedRelease) => boolean;
  /**
   * Nodes that are approved, this one among them, with the version that was in force when each was.
   */
  readonly approved: ReadonlyMap<string, number>;
  /** By component, the last release that is known to have been complete. */
  readonly complete: ReadonlyMap<string, string>;
  /** Whether a release of a component was complete in a version or later, as far as this node remembers. */
  readonly wasComplete: (component: string, release: string, version: number) => boolean;
  readonly overrides: Overrides;
  readonly live: Iterable<string>;
  /**
   * What another node said last; `undefined` when it said nothing yet, `null` where it takes no
   * part: an agent that knows of no others leaves them their share and waits for none.
   */
  readonly reported: (node: string) => NodeReport | undefined | null;
  readonly own: readonly RunningSlot[];
  readonly tries: SlotTries;
  /** Of the clock of {@link NodeQuestion.tries}. */
  readonly nowMs: number;
  /** The most slots that another node was given lately: see `given_slots.ts`. */
  readonly givenLately: (component: string, node: string) => number;
  /** Whether another node is believed that it has more. */
  readonly isBelieved: (component: string, node: string) => boolean;
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
  /** By whose word every slot is settled, where that is seen now: the nodes that have them. */
  readonly settledOn: readonly string[] | undefined;
  /** Nodes with slots that do not say that they go by the same. */
  readonly waitsFor: readonly string[];
  /**
   * Nodes that refuse the manifest, and so run something else or have less of it than their share.
   * Nobody waits for them; what they keep is in `wanted`.
   */
  readonly refusedBy: readonly string[];
  /** Replicas that they keep and that are not settled. */
  readonly refused: number;
}

/** What follows. */
export interface NodeAnswer {
  /** The manifest to go by: that in force, but for what failed. */
  readonly release: Release;
  readonly placement: Placement;
  /**
   * Of a node that refuses what the realm goes by: where the realm has its replicas, which is where
   * those are that this node gives away.
   */
  readonly elsewhere?: Placement["replicas"];
  /** What of it is on nodes that refuse the manifest. */
  readonly held: Held;
  /**
   * Names what slots are divided by besides the manifest and who lives: drains and scales, and which
   * nodes refuse the manifest with how many slots of each component. How often each node changed its
   * mind is part of it, so that it never comes back once it was left. Empty for none.
   */
  readonly basis: string;
  /** What this node is to run now, sorted by component and index. */
  readonly desired: readonly DesiredReplica[];
  /** What this node says of its slots. */
  readonly report: ReadonlyMap<string, SlotReport>;
  readonly rollouts: ReadonlyMap<string, RolloutStatus>;
  /** Verdicts that were looked at and count: those on releases that nothing goes by because of them. */
  readonly failures: readonly Failure[];
}

/** A node that gave a release up so often may give a verdict on it, if few say that it was complete. */
const DOUBTED_TRIES = 3;

/**
 * What a node goes by that refuses the first manifest there is: one of nothing. So it, too, tells of
 * which other nodes it knows that they refuse, and keeps in mind what they are given meanwhile.
 */
export function nothingBefore({ manifest }: VersionedRelease): VersionedRelease {
  const empty = { ...manifest, components: new Map(), routes: [] };
  return { version: 0, manifest: empty, digests: new Map() };
}

/** See the module. */
export function planNode(question: NodeQuestion): NodeAnswer {
  const { refusal } = question;
  return refusal === undefined ? planBy(question) : planRefusing(question, refusal);
}

/**
 * What a node does that refuses what the realm goes by. As a part of the realm it keeps what it has,
 * but for what it is to give away. A component that only nodes can have that refuse it too runs by
 * what the node goes by, as if there were nothing newer.
 */
function planRefusing(question: NodeQuestion, { release, overrides }: OwnRefusal): NodeAnswer {
  const { node, live, reported } = question;
  const taking = [...live].filter((name) => {
    const said = name === node ? null : reported(name);
    return said !== null && said?.refuses !== release.version;
  });
  const manifests = [question.inForce.manifest, release.manifest];
  const isHeld = (component: string) => {
    const possible = new Set([
      ...manifests.filter(({ components }) => components.has(component))
        .flatMap((manifest) => possibleNodes(component, manifest)),
      ...[...overrides.scales, ...question.overrides.scales]
        .flatMap((scale) => scale.component === component ? [scale.node] : []),
    ]);
    return taking.some((name) => possible.has(name));
  };
  const of = planBy({ ...question, inForce: release, overrides, holds: isHeld });
  const here = planBy({
    ...question,
    // A node that is drained is so by any manifest; the rest is of components as they are there.
    overrides: { ...question.overrides, drained: overrides.drained },
    basis: of.basis,
  });
  const rollouts = new Map(
    [...here.rollouts].map(([component, rollout]) => {
      const there = of.rollouts.get(component);
      if (there === undefined) return [component, rollout];
      if (isHeld(component)) return [component, there];
      return [component, { ...rollout, refusedBy: there.refusedBy, refused: 0 }];
    }),
  );
  const report = new Map([
    ...[...here.report].filter(([component]) => !isHeld(component)),
    // Where it goes by no release of a component it tells of what is in its slots, or of nothing.
    ...[...of.report].filter(([component, { slots }]) =>
      isHeld(component) && (slots > 0 || here.rollouts.has(component))
    ),
  ]);
  const own = new Set(question.own.map(({ replica }) => keyOf(replica)));
  // After a restart of the agent: nobody else has, or will have, what is this node's alone.
  const isBack = (replica: DesiredReplica) =>
    isHeld(replica.component) && !own.has(keyOf(replica)) &&
    replica.index < (of.shares.replicas.get(replica.component)?.get(node) ?? 0) &&
    manifests.every((manifest) => isNodesOwn(replica.component, node, manifest));
  const isDrained = overrides.drained.includes(node);
  const isKept = ({ component }: DesiredReplica) =>
    !isDrained && isHeld(component) && !release.manifest.components.has(component);
  const desired = [
    ...here.desired.filter(({ component }) => !isHeld(component)),
    ...of.desired.filter(({ component }) => isHeld(component)),
    // What the realm has no more is nobody else's either.
    ...question.own.map(({ served, replica }) => served ?? replica).filter(isKept),
    ...here.desired.filter(isBack),
  ].sort(byReplica);
  const elsewhere = new Map([
    ...[...here.placement.replicas].filter(([component]) => !isHeld(component)),
    ...[...of.placement.replicas].filter(([component]) => isHeld(component)),
  ]);
  const failures = [...new Set([...here.failures, ...of.failures])];
  return { ...here, elsewhere, basis: of.basis, desired, report, rollouts, failures };
}

/** {@link planNode} by the manifest in force. */
function planBy(
  question: NodeQuestion & {
    /** Where this node itself refuses it: which components it holds, since another could have them. */
    readonly holds?: (component: string) => boolean;
    /** What others go by that go by the same, where it is not what follows here. */
    readonly basis?: string;
  },
): NodeAnswer & {
  /** The placement if nobody refused. */
  readonly shares: Placement;
} {
  const { node, inForce, overrides, live, nowMs, holds } = question;
  const isRefusing = holds !== undefined;
  const before = { [Symbol.iterator]: () => question.before(inForce.version)[Symbol.iterator]() };
  const alive = new Set(live);
  const names = [...inForce.manifest.nodes.keys()].filter((name) => alive.has(name));
  const reports = new Map(names.map((name) => [name, question.reported(name)]));
  const { decisions, counted, verdictOn } = judge(question);
  const { release, goals } = effectiveRelease(inForce, before, verdictOn);
  /** What the realm goes by, whether this node refuses it or not. */
  const newest = question.refusal?.release.version ?? inForce.version;
  const { manifest, digests } = release;
  // A node that is held gives away what it cannot run, where another node could have it.
  const isLost = ({ replica: { component }, isInVain, isServed }: RunningSlot) =>
    isInVain && !isServed && holds?.(component) === true &&
    !(manifest.components.has(component) && isNodesOwn(component, node, manifest));
  const own = question.own.filter((slot) => !isLost(slot));
  const shares = place({ manifest, live: names, overrides });
  const slotsOn = (name: string) =>
    name === node
      ? Map.groupBy(own, ({ replica }) => replica.component).entries()
        .map(([component, slots]) => [component, slots.length] as const)
      : reports.get(name)!.slots.entries().map(([component, { slots }]) =>
        [component, slots] as const
      );
  const refusing = names.filter((name) =>
    name === node ? isRefusing : reports.get(name)?.refuses === inForce.version
  );
  const held: Held = refusing.length === 0 ? NONE_HELD : new Map(refusing.map((name) => [
    name,
    new Map(
      slotsOn(name).map(([component, slots]) => [
        component,
        Math.min(slots, shares.replicas.get(component)?.get(name) ?? 0),
      ]),
    ),
  ]));
  const placement = held.size === 0 ? shares : place({ manifest, live: names, overrides, held });
  const turnsOf = (name: string) => name === node ? question.turns : reports.get(name)?.turns ?? 0;
  const turns = new Map(names.map((name) => [name, turnsOf(name)]));
  const basis = question.basis ?? basisOf(overrides, held, turns);
  const desired: DesiredReplica[] = [];
  const report = new Map<string, SlotReport>();
  const rollouts = new Map<string, RolloutStatus>();
  for (const [component, goal] of [...goals].sort(([a], [b]) => a < b ? -1 : 1)) {
    const slots = own.filter(({ replica }) => replica.component === component);
    const placed = placement.replicas.get(component);
    const wantedOn = (name: string) => placed?.get(name) ?? 0;
    const here = replicaOf(component, { manifest, digests, node, overrides })!;
    const tried = (replica: DesiredReplica) => question.tries.of(replica, here.revision, nowMs);
    const ownSlots = slots.map(({ replica, isReady, isServed, isAlone, isBroken }): OwnSlot => {
      const { index, revision } = replica;
      const { isResting, before } = tried(replica);
      const hasBefore = before !== undefined && before.revision !== here.revision;
      return { index, revision, isReady, isServed, isAlone, isBroken, isResting, hasBefore };
    });
    const tries = question.tries.triesOf(component, here.revision);
    // Nodes differ by the restarts that only some were asked for.
    const isAlike = overrides.restarts.every((r) => r.component !== component);
    const revisionOn = (name: string) =>
      isAlike
        ? here.revision
        : replicaOf(component, { manifest, digests, node: name, overrides })!.revision;
    const self = {
      node,
      wanted: wantedOn(node),
      revision: here.revision,
      ...(isRefusing ? { isHeld: true } : {}),
    };
    // What a component returns to has had its trial, if others came after it too.
    const decided = decisions.get(`${component} ${goal.version}`);
    const isKnownComplete = question.complete.get(component) === goal.release ||
      decided === "complete" ||
      goal.version < inForce.version &&
        question.wasComplete(component, goal.release, goal.version);
    const said = reportOf(self, ownSlots, isKnownComplete, tries);
    const ownReport = { ...said, isHeld: isRefusing };
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
      const isHeld = held.has(name) && (said?.slots.get(component)?.isHeld ?? true);
      const isCurrent = isHeld || said?.version === inForce.version;
      const all = currentReport(component, isCurrent, said);
      const share = shares.replicas.get(component)?.get(name) ?? 0;
      const given = Math.max(wanted, share, question.givenLately(component, name));
      const isBehind = (said?.refuses ?? said?.version) !== newest || said?.basis !== basis;
      const isBound = !question.isBelieved(component, name);
      const report = all && (isBound ? boundReport(all, given) : all);
      // Nothing to it, unless it may just be starting what it was given before.
      const mayStart = isBehind && given > 0;
      if (wanted === 0 && report?.slots === 0 && !mayStart) continue;
      group.push({
        node: name,
        wanted,
        revision: revisionOn(name),
        // By what it went by it may just be starting in a slot that was empty when it said so.
        report: report && isBehind ? { ...report, slots: Math.max(report.slots, given) } : report,
        isBehind,
        isHeld,
        isOther: question.basis !== undefined && !isCurrent && said?.refuses === newest,
      });
    }
    const olderOne = () =>
      lastBefore(component, goal.release, olderThan(goal.version, before), verdictOn);
    // It saw the release complete when it had none of it, and others did not: nobody else would say
    // that it does not run. Where it has all slots its own word is no majority.
    const settled = settledOn(group);
    const isSaidComplete = settled !== undefined || group.length > 1 && isComplete(group);
    const isDoubted = isKnownComplete && tries >= DOUBTED_TRIES && decided !== "complete" &&
      !isSaidComplete && olderOne() !== undefined;
    const isNowComplete = !isDoubted && (isKnownComplete || isComplete(group));
    // What a slot keeps that was given up takes requests like the others.
    const isKeeping = group.some(({ revision, report }) =>
      report?.revision === revision && report.ready > report.settled
    );
    // Looked for only where something depends on it: it may be many manifests back.
    const last = isNowComplete && held.size === 0 && !isKeeping ? undefined : olderOne();
    const base = isNowComplete ? undefined : last;
    const budget = budgetOf(component, manifest);
    const choices = chooseSlots({
      component,
      self: node,
      members: group,
      own: ownSlots,
      tries,
      isDrained: overrides.drained.includes(node),
      budget,
      homeless: Math.max(0, totalOf(shares.replicas.get(component)) - totalOf(placed)),
      isProven: base === undefined,
      resting: question.tries.restingOf(component, here.revision, nowMs),
    });
    for (const { index, run } of choices) {
      const there = slots.find(({ replica }) => replica.index === index);
      const stopping = budget.isBeside ? {} : { stopsFirst: true };
      if (run === "kept") {
        const { replica, served } = there!;
        const { isResting, before } = tried(replica);
        if (served !== undefined || !isResting || before === undefined) {
          desired.push(served ?? replica);
        } else desired.push({ ...before, index, ...stopping });
      } else if (run === "goal") {
        desired.push({ ...here, index, ...stopping });
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
    // What a component returned to is known to nodes, too, that have none of it.
    if (self.wanted > 0 || slots.length > 0 || isNowComplete && goal.version < inForce.version) {
      report.set(component, { ...ownReport, isComplete: isNowComplete });
    }
    rollouts.set(component, {
      ...goal,
      revision: here.revision,
      base: base?.release,
      digests: [here.digest, inForce.digests.get(component)!, last?.of.digests.get(component)!]
        .filter((digest, i, all) => digest !== undefined && all.indexOf(digest) === i),
      wanted: group.reduce((sum, { wanted }) => sum + wanted, 0),
      settled: group.reduce(
        (sum, { wanted, revision, report }) =>
          sum + (report?.revision === revision ? Math.min(wanted, report.settled) : 0),
        0,
      ),
      isComplete: isNowComplete,
      settledOn: settled,
      waitsFor: group.filter((member) => !isAgreeing(member)).map(({ node }) => node).sort(),
      refused: group.filter(({ isHeld }) => isHeld).reduce(
        (sum, { wanted, report }) => sum + wanted - Math.min(wanted, report?.settled ?? 0),
        0,
      ),
      refusedBy: refusing.filter((name) => {
        const there = group.find(({ node }) => node === name);
        const share = shares.replicas.get(component)?.get(name) ?? 0;
        return wantedOn(name) < share || wantedOn(name) > (there?.report?.settled ?? 0);
      }).sort(),
    });
  }
  return {
    release,
    placement,
    shares,
    held,
    basis,
    desired,
    report,
    rollouts,
    failures: [...counted],
  };
}

function totalOf(placed: ReadonlyMap<string, number> | undefined): number {
  return [...placed?.values() ?? []].reduce((sum, each) => sum + each, 0);
}

/** See {@link NodeAnswer.basis}. */
function basisOf(
  overrides: Overrides,
  held: Held,
  turns: ReadonlyMap<string, number>,
): string {
  const basis = overrides.basis ?? "";
  const turned = [...turns].filter(([node, count]) => count > 0 || held.has(node));
  if (turned.length === 0) return basis;
  const said = turned.sort(([a], [b]) => a < b ? -1 : 1).map(([node, count]) => {
    const slots = [...held.get(node) ?? []].filter(([, slots]) => slots > 0).sort().flat();
    return [node, count, ...slots];
  });
  return sha256HexSync(encodeCanonical([basis, said])).slice(0, 16);
}

/** Where replicas may be, as far as this node divides them: of one that refuses, as the realm has them too. */
export function givenBy({ placement, elsewhere }: NodeAnswer): readonly Placement["replicas"][] {
  return elsewhere === undefined ? [placement.replicas] : [placement.replicas, elsewhere];
}

/** Whether a verdict on the release of a slot that cannot be made ready is this node's to give. */
export function isOnTrial(replica: DesiredReplica, { rollouts }: NodeAnswer): boolean {
  const rollout = rollouts.get(replica.component);
  return rollout !== undefined && !rollout.isComplete && rollout.base !== undefined &&
    replica.revision === rollout.revision;
}

/** What the slots of each component are to run, and whether a verdict on it is this node's to give. */
export function goalsOf({ rollouts }: NodeAnswer): ReadonlyMap<string, TriedGoal> {
  return new Map(
    [...rollouts].map(([component, { revision, isComplete, base }]) =>
      [component, { revision, isOnTrial: !isComplete && base !== undefined }] as const
    ),
  );
}

function currentReport(
  component: string,
  isCurrent: boolean,
  said: NodeReport | undefined,
): SlotReport | undefined {
  if (said === undefined) return undefined;
  const there = said.slots.get(component);
  if (there === undefined) {
    const none = { slots: 0, ready: 0, settled: 0, doubled: 0, isComplete: false, isHeld: false };
    return { ...none, revision: "", tries: 0 };
  }
  return isCurrent ? there : { ...there, revision: "" };
}

function* olderThan(
  version: number,
  before: Iterable<VersionedRelease>,
): Iterable<VersionedRelease> {
  for (const each of before) if (each.version < version) yield each;
}
