/**
 * Rollouts: how the replicas of a component go from one release to the next, over many nodes, with
 * nobody who leads. Pure: what a node knows goes in, what it may do now comes out.
 *
 * *How nodes agree who goes next.* The replicas of a component are slots. Every node puts them into
 * the same order: nodes by rendezvous rank (and tries, see below), the slots of a node by index. A
 * slot is *settled* once it runs the release that is wanted, is ready, and nothing of what it ran
 * before is left. Each node says in its health record how many of its slots are settled. The slots
 * that are not make a queue, and only its first `max_surge` may be in progress. Nobody has to be
 * asked:
 *
 * - Within one release a slot that is settled holds nothing of the budget ever again, so what is
 *   known of others can only be too low. Who counts too few settled slots before its own waits too
 *   long; it never starts too early.
 * - Take those that are in progress at one moment, by whatever each of them knew. The last of them
 *   in the order counted all before it as not settled, which they are, and found less than
 *   `max_surge`. So there are no more than that.
 * - Nobody begins before every live node that has slots says that it goes by the same version and
 *   revision. What one of them still has in progress from before is in its report, and counts
 *   until it is over; nobody who has said so begins anything of before. The same goes for the drains
 *   and scales that it goes by. Nor does anybody give slots away before: by an earlier manifest or
 *   earlier drains, or not knowing of a verdict, another may be giving away what this one counts on.
 *
 * *Nodes that refuse.* A node that does not go by the manifest in force, because its policy is
 * against it or it cannot be stored, says so. From then on it starts nothing in an empty slot and
 * replaces nothing, until it goes by that manifest or a later one; what it has serves on. To that
 * it is *held*, and nobody waits for it: its slots are wanted where they are, as far as they are no
 * more than its share, and count as settled. Slots beyond that it gives away like any other node.
 * It holds itself only where another node could take its place; where all refuse, all go on as
 * before. Where they go by different manifests then, each takes the word of the others for how far
 * they are; away it gives only what is drained. Who refuses with how many slots is part of what
 * nodes agree on before anything begins, like drains and scales, because it changes how the rest is
 * divided; so is how often each node came to refuse or ceased to.
 *
 * What a node says it has is counted as far as placement gave it slots, and beyond that for a minute
 * (`given_slots.ts`). One that lies, or stays behind, holds up rollouts and drains of what it shares
 * until it is revoked. What is started in the place of what is missing it delays by that minute at
 * most; for as long a node that is drained may count on what it says.
 *
 * *Slots in which a release cannot run.* A slot that was tried in vain, and of which no verdict is
 * given, is given up for a while (`slot_tries.ts`): what served in it goes on, or what ran in it
 * before is started again, and it holds nothing of the budget. Each time counts as one more try of
 * its node, which says so, and the queue is in the order of these tries first and of the nodes
 * second. So slots that have not been tried come first, and of those that were each has its turn.
 * Tries only grow, so what is known of others can only put them too far in front: who is wrong
 * waits. (An agent that starts has forgotten its own; until its record is heard two may think that
 * they are first.) A slot that rests keeps its place in the queue of the others; the next slot of
 * its own node goes before it, as long as it serves. One that serves nobody, with the release
 * before in it neither, is emptied while another node keeps a replica in its stead: both together
 * would hold the budget, and nobody else could go. (Not where the old one stops first: an empty slot
 * would hold nothing there, and what serves in its stead would be given away.) A node that is held gives away what it cannot
 * run, where another node may have it.
 *
 * Reports count for the manifest version, the revision and the basis that they name, which never
 * come back once they were left: an old report cannot be taken for one of now.
 *
 * A slot whose replica ended or is unhealthy has nothing to lose: it goes to the wanted release at
 * once, in place; so does one in which a release that is not wanted any more is being started.
 *
 * *Two budgets.* With `max_surge` above 0 a slot starts the new release beside the old one, which
 * serves until the new one is ready: nothing is ever taken away. With `max_surge = 0`, and for
 * components of which two must not run at once (a volume, no requests to hand over), the old one
 * stops first, `max_unavailable` slots at a time, and only while no more are missing already. Slots
 * that a node is to give away are in the queue then, too; but for those that nobody misses, while
 * slots that were given up hold the whole budget: these go at once, of the last nodes first.
 *
 * *Replicas that move.* A node that is to give slots away (drain, a node that came back) keeps them
 * until as many elsewhere are ready, and as many as of those that it is to have do not serve: others
 * hear how many serve there, not which. What is missing is started at once as long as there are fewer
 * slots than replicas, beyond that out of the same budget. So a connected group that agrees on who
 * is live, and whose nodes have heard of one another, never has more than `replicas + max_surge`,
 * and a stampede of nodes that return goes one by one.
 *
 * *Failure.* A node that cannot get a slot of a new release ready gives a verdict, unless it knows
 * the release to have been complete; but also then once it gave the release up three times and no
 * more than half of the members say that it was: it may have seen it complete while it had none of
 * it. (Where it has all slots its own word is no majority.) Whether a verdict counts or the word of
 * those that saw the release complete is decided by what all nodes tell of it, on each in the same
 * way, in whatever order they hear of it (`verdicts.ts`). A component whose release failed goes on with the newest
 * release before it that has not (`effective_release.ts`), in the same way, slot by slot. Of one that
 * was complete no verdict is given, nor of one whose bytes cannot be had: slots in which it does not
 * run are given up, and the others go on. So every rollout ends in the release that is wanted or in
 * the last healthy one.
 *
 * @module
 */
import { type ComponentSpec, type Manifest } from "./manifest.ts";
import { pinsItsNode, rank } from "./placement.ts";

/** How many slots may be in progress, and how. */
export interface Budget {
  /** Whether the new one starts while the old one serves; else the old one stops first. */
  readonly isBeside: boolean;
  /** Slots in progress at once, at least 1. */
  readonly slots: number;
}

/** What a node says of the slots of one component. */
export interface SlotReport {
  /** The revision that it wants to run: see `revisionOf`. Empty for another manifest version. */
  readonly revision: string;
  /** Slots with anything in them, those that it is about to give away too. */
  readonly slots: number;
  /** Slots with a replica that is ready, whatever its revision. */
  readonly ready: number;
  /** See the module. */
  readonly settled: number;
  /** Slots in which something of before is left beside the newest. */
  readonly doubled: number;
  /** Whether it knows that all slots of the release were settled once. */
  readonly isComplete: boolean;
  /** Whether it starts and replaces nothing, because it refuses the manifest: see the module. */
  readonly isHeld: boolean;
  /** How often it gave up to get a slot of the revision ready: see the module. */
  readonly tries: number;
}

/** A live node, as it is known to the one that decides. */
export interface Member {
  readonly node: string;
  /** Slots that placement gives it; 0 for one that has none, or none any more. */
  readonly wanted: number;
  /** The revision that they should run there. */
  readonly revision: string;
  /** `undefined` while nothing was heard of it; of another manifest version nothing is settled. */
  readonly report: SlotReport | undefined;
  /**
   * Whether it goes by another manifest (as one that refuses: knows of another), or by other drains
   * and scales, or knows of other refusals, or said nothing.
   */
  readonly isBehind: boolean;
  /** Whether it is held: `wanted` is what it keeps then. */
  readonly isHeld?: boolean;
  /**
   * Whether both refuse what the realm goes by, and go by other manifests: what it says is of that.
   * They agree on when to begin something, not on where it is to be.
   */
  readonly isOther?: boolean;
}

/** What there is in one slot of the node that decides. */
export interface OwnSlot {
  readonly index: number;
  /** Of the newest instance in it. */
  readonly revision: string;
  /** Whether that one is ready, and whether any in the slot is. */
  readonly isReady: boolean;
  readonly isServed: boolean;
  /** Whether nothing of an instance before that is left. */
  readonly isAlone: boolean;
  /** It ended and waits for its next start, or is unhealthy, or its bytes cannot be had. */
  readonly isBroken: boolean;
  /** The wanted release was given up in it, and is not tried again yet: see `slot_tries.ts`. */
  readonly isResting?: boolean;
  /** Whether something ran in it before that can come back. */
  readonly hasBefore?: boolean;
}

/** What one node decides about, for one component. */
export interface SlotQuestion {
  readonly component: string;
  readonly self: string;
  /** Live nodes, this one among them, in any order. */
  readonly members: readonly Member[];
  readonly own: readonly OwnSlot[];
  /** How often this node gave up to get a slot ready. */
  readonly tries?: number;
  /** Whether this node is drained: by whatever manifest, nobody gives anything to it. */
  readonly isDrained?: boolean;
  readonly budget: Budget;
  /** Replicas that have no place because of nodes that refuse: nobody gives these away. */
  readonly homeless?: number;
  /**
   * Whether the wanted release may be started wherever a slot is empty: it was complete once, or
   * there is none before it.
   */
  readonly isProven: boolean;
  /** Indices of slots in which the wanted release was given up, empty ones too. */
  readonly resting?: ReadonlySet<number>;
}

const NONE: ReadonlySet<number> = new Set();

/**
 * What a slot is to have now: the wanted release, what serves in it (else what there is), or, where
 * it is empty, the release before. Slots that are not named have nothing, or lose it.
 */
export interface SlotChoice {
  readonly index: number;
  readonly run: "goal" | "kept" | "base";
}

/** The budget of a component by the routes that it has. */
export function budgetOf(component: string, manifest: Manifest): Budget {
  const routes = manifest.routes.filter((route) => route.component === component);
  const least = (values: readonly (number | undefined)[]) => {
    const given = values.filter((value) => value !== undefined);
    return given.length === 0 ? undefined : Math.min(...given);
  };
  const surge = least(routes.map(({ maxSurge }) => maxSurge)) ?? 1;
  const unavailable = Math.max(1, least(routes.map(({ maxUnavailable }) => maxUnavailable)) ?? 1);
  const spec = manifest.components.get(component)!;
  const isBeside = surge > 0 && canRunTwice(spec, routes.length > 0);
  return { isBeside, slots: isBeside ? surge : unavailable };
}

/**
 * Whether the next instance may run beside the one before: one that takes requests is handed over,
 * and nobody else writes to its volume.
 */
function canRunTwice(spec: ComponentSpec, isRouted: boolean): boolean {
  const takesRequests = spec.world === "wasi:http/proxy" || isRouted;
  return takesRequests && !pinsItsNode(spec);
}

/** What each slot of this node is to have now; sorted by index. See the module. */
export function chooseSlots(question: SlotQuestion): SlotChoice[] {
  const { own, budget, isProven, resting = NONE } = question;
  const group = new Group(question);
  const there = new Map(own.map((slot) => [slot.index, slot]));
  const { wanted, revision } = group.self;
  const choices: SlotChoice[] = [];
  const sorted = [...own].sort((a, b) => a.index - b.index);
  let { missingBefore: missing, unsettledBefore: queued } = group;
  let filled = 0;
  let emptied = 0;
  /** Own slots from one on that hold some of the budget already. */
  const heldFrom = (from: number) =>
    own.filter(({ index, isAlone, isServed }) =>
      index >= from && (budget.isBeside ? !isAlone : !isServed)
    ).length;
  const isWithin = (taken: number) => group.isAgreed && taken < budget.slots;
  const heldBeside = (index: number) => group.heldAside + heldFrom(index + 1);
  /** Whether there is some of the budget for the next slot in the queue, or is held by this one. */
  const isNext = (index: number) => isWithin(queued++ + heldBeside(index));
  const isHeld = (index: number) => isWithin(queued + heldBeside(index) - 1);
  for (let index = 0; index < wanted && !group.self.isHeld; index++) {
    const slot = there.get(index);
    if (slot !== undefined && isSettled(slot, revision)) {
      choices.push({ index, run: "goal" });
      continue;
    }
    if (slot === undefined) {
      // A node with a slot that it is to give away looks full to the others: what they miss is theirs.
      const isRoom = group.slots + missing++ < group.wanted && own.length + filled < wanted;
      if (isRoom) filled++;
      // Where the old one stops first, all that is empty is held already, this slot too.
      const isFirst = budget.isBeside ? isNext(index) : isHeld(index);
      if (isRoom) choices.push({ index, run: isProven || isFirst ? "goal" : "base" });
      else if (isFirst && budget.isBeside && !resting.has(index)) {
        choices.push({ index, run: "goal" });
      }
      continue;
    }
    // One that goes on serving while it rests leaves its turn to the others of this node.
    const mayGo = !(slot.isResting && slot.isServed && slot.isAlone) && isNext(index);
    const isOther = slot.revision !== revision;
    const isLeft = isOther || !slot.isReady && (slot.isServed || slot.hasBefore);
    const isVain = budget.isBeside && slot.isResting && !slot.isServed && !slot.hasBefore &&
      (isProven || isOther && slot.isBroken); // the release before has its turn first
    if (isVain && group.slots - emptied > group.wanted) emptied++;
    else if (slot.isResting && isLeft) choices.push({ index, run: "kept" });
    else if (slot.isResting && !slot.isReady && !isProven) choices.push({ index, run: "base" });
    else if (!isOther || slot.isBroken || !slot.isAlone && !slot.isReady) {
      choices.push({ index, run: "goal" });
    } else choices.push({ index, run: mayGo && slot.isAlone ? "goal" : "kept" }); // never three in it
  }
  if (group.self.isHeld) {
    const stays = sorted.slice(0, wanted);
    choices.push(...stays.map(keep));
    // They wait for nothing in the queue, and those that do not serve are missing all the same.
    queued += stays.filter(({ isServed }) => !isServed).length;
  }
  const surplus = group.self.isHeld
    ? sorted.slice(wanted)
    : sorted.filter(({ index }) => index >= wanted);
  const serving = surplus.filter(({ isServed }) => isServed);
  // Others count what serves: as far as its own share does not, they take these for it.
  const served = own.filter(({ isServed }) => isServed).length;
  const standIns = Math.max(0, wanted + serving.length - served);
  const kept = budget.isBeside
    ? serving.slice(0, standIns + group.owed)
    : group.spare !== undefined
    ? serving.slice(0, Math.max(standIns, serving.length - group.spare))
    : surplus.filter(({ index, isServed }) => !(group.givesAway && isNext(index)) && isServed);
  return [...choices, ...kept.map(keep)];
}

function keep({ index }: OwnSlot): SlotChoice {
  return { index, run: "kept" };
}

/** Whether a node lets others begin something: see the module. */
export function isAgreeing(member: Member): boolean {
  const { wanted, revision, report, isBehind, isHeld, isOther } = member;
  if (isBehind) return false;
  return isHeld || isOther || wanted + slotsOf(member) === 0 || report?.revision === revision;
}

/**
 * Whether every slot of a component was settled at once, as far as this node knows: by what it sees,
 * or by the word of more than half of the members. One that lies ends nobody's trial.
 */
export function isComplete(members: readonly Member[]): boolean {
  const saysSo = ({ revision, report }: Member) =>
    report?.revision === revision && report.isComplete;
  const taking = members.filter(({ isHeld }) => !isHeld);
  return taking.filter(saysSo).length * 2 > taking.length || settledOn(members) !== undefined;
}

/** Where the slots of a component are, all of them settled; `undefined` where one is not, or none is. */
export function settledOn(members: readonly Member[]): readonly string[] | undefined {
  const taking = members.filter(({ isHeld }) => !isHeld);
  const having = taking.filter(({ wanted }) => wanted > 0);
  const isSettled = (member: Member) => !member.isOther && settledOf(member) >= member.wanted;
  return having.length > 0 && having.every(isSettled) ? having.map(({ node }) => node) : undefined;
}

/** What another node says, with no more slots than it can have. */
export function boundReport(report: SlotReport, slotsMax: number): SlotReport {
  const slots = Math.min(report.slots, slotsMax);
  const atMost = (count: number) => Math.min(count, slots);
  const { ready, settled, doubled } = report;
  return {
    ...report,
    slots,
    ready: atMost(ready),
    settled: atMost(settled),
    doubled: atMost(doubled),
  };
}

/** What this node says of its slots. */
export function reportOf(
  { wanted, revision }: Pick<Member, "wanted" | "revision">,
  own: readonly OwnSlot[],
  isComplete: boolean,
  tries = 0,
): SlotReport {
  return {
    revision,
    slots: own.length,
    ready: own.filter(({ isServed }) => isServed).length,
    settled: own.filter((slot) => slot.index < wanted && isSettled(slot, revision)).length,
    doubled: own.filter(({ isAlone }) => !isAlone).length,
    isComplete,
    isHeld: false,
    tries,
  };
}

function isSettled(slot: OwnSlot, revision: string): boolean {
  return slot.revision === revision && slot.isReady && slot.isAlone;
}

/** What it says of its goal, where that is ours; or both go by their own. */
function sayingOf({ revision, report, isOther }: Member): SlotReport | undefined {
  return isOther || report?.revision === revision ? report : undefined;
}

function settledOf(member: Member): number {
  return Math.min(member.wanted, sayingOf(member)?.settled ?? 0);
}

/** Of a node that has said nothing yet the worst is taken: it has all its slots, none is settled. */
function slotsOf({ wanted, report }: Member): number {
  return report?.slots ?? wanted;
}

/** The sums over the nodes of a group, as one of them sees it. */
class Group {
  readonly self: Member;
  readonly wanted: number;
  readonly slots: number;
  /** Whether nobody is behind, and all that have slots go by the same revision. */
  readonly isAgreed: boolean;
  /**
   * Whether this node may give slots away. By another manifest another may be giving away what this
   * one counts on, but not to a node that is drained.
   */
  readonly givesAway: boolean;
  /**
   * Slots of nodes before this one in the queue. Where the old one stops first
   * these are all that run and are not to stay; what is empty is no matter of order then.
   */
  readonly unsettledBefore: number;
  /** Slots before that are empty. */
  readonly missingBefore: number;
  /**
   * What is taken of the budget beside what is before this node in the order: by slots after it in
   * which two run, and those that there are beyond what is wanted; or, where the old one stops
   * first, by those after it that are not ready, and those that are empty.
   */
  readonly heldAside: number;
  /** Slots that this node keeps for others until theirs are ready. */
  readonly owed: number;
  /**
   * How many slots that this node keeps nobody misses, where what cannot start holds all of the
   * budget, so that nobody stops anything else: what serves beyond what is wanted, without what
   * nodes after it keep. `undefined` elsewhere.
   */
  readonly spare: number | undefined;

  constructor(question: SlotQuestion) {
    const { component, self, members, own, budget, homeless = 0, tries } = question;
    const byName = new Map(members.map((member) => [member.node, member]));
    const here = byName.get(self) ?? { node: self, wanted: 0, revision: "", isBehind: false };
    this.self = { ...here, report: reportOf(here, own, false, tries) };
    byName.set(self, this.self);
    const ordered = rank(component, byName.keys()).map((node) => byName.get(node)!);
    const place = ordered.indexOf(this.self);
    const before = ordered.slice(0, place);
    const queue = ordered.toSorted((a, b) => triesOf(a) - triesOf(b));
    const turn = queue.indexOf(this.self);
    const sum = (of: readonly Member[], value: (member: Member) => number) =>
      of.reduce((total, member) => total + value(member), 0);
    this.wanted = sum(ordered, ({ wanted }) => wanted) + homeless;
    this.slots = sum(ordered, slotsOf);
    this.isAgreed = ordered.every(isAgreeing);
    this.givesAway = this.isAgreed &&
      (question.isDrained === true || !ordered.some(({ isOther }) => isOther));
    const surplusOf = (member: Member) => Math.max(0, slotsOf(member) - member.wanted);
    this.unsettledBefore = sum(queue.slice(0, turn), (member) => {
      const { wanted, isHeld } = member;
      // One that is held begins nothing; what is in progress or not ready there counts all the same.
      if (!budget.isBeside) {
        const staying = isHeld ? Math.min(wanted, readyOf(member)) : settledOf(member);
        return slotsOf(member) - Math.min(slotsOf(member), staying);
      }
      if (isHeld) return doubledOf(member);
      return wanted - settledOf(member) + Math.min(surplusOf(member), doubledOf(member));
    });
    this.missingBefore = sum(before, (member) => Math.max(0, member.wanted - slotsOf(member)));
    const after = queue.slice(turn + 1);
    this.heldAside = budget.isBeside
      ? sum(after, doubledOf) + Math.max(0, this.slots - this.wanted)
      : sum(after, (member) => slotsOf(member) - Math.min(slotsOf(member), readyOf(member))) +
        Math.max(0, this.wanted - this.slots);
    const unready = sum(ordered, (member) => Math.max(0, member.wanted - readyOf(member)));
    // What does not serve is kept by nobody, and takes no other's place.
    const keptBefore = sum(before, (member) => Math.max(0, readyOf(member) - member.wanted));
    this.owed = this.givesAway ? Math.max(0, unready + homeless - keptBefore) : Infinity;
    const beyond = sum(ordered, readyOf) - this.wanted;
    const keptAfter = sum(
      ordered.slice(place + 1),
      (member) => Math.max(0, readyOf(member) - member.wanted),
    );
    const stuck = sum(
      ordered,
      (member) => triesOf(member) > 0 ? Math.max(0, slotsOf(member) - readyOf(member)) : 0,
    );
    this.spare = this.givesAway && beyond > 0 && stuck >= budget.slots
      ? Math.max(0, beyond - keptAfter)
      : undefined;
  }
}

function triesOf(member: Member): number {
  return sayingOf(member)?.tries ?? 0;
}

function readyOf({ report }: Member): number {
  return report?.ready ?? 0;
}

function doubledOf({ report }: Member): number {
  return report?.doubled ?? 0;
}
