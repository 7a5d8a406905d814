/**
 * A whole run of a topic from a seed: it is made, lives through what the seed has in store, is made
 * whole again, and its peers have to come to one log and one state within a bound of virtual time.
 *
 * @module
 */
import { formatPublicKey } from "../../../agent/kernel/key.ts";
import { headsDigest } from "../../../agent/kernel/sync/session.ts";
import type { Summary } from "../simulation.ts";
import { AppViolation } from "./judge.ts";
import { ABI, type AppPeerNode } from "./peer.ts";
import { AppScenario } from "./scenario.ts";
import { AppWorld, type AppWorldOptions } from "./world.ts";

/** How a run ended. */
export interface AppOutcome extends Omit<Summary, "violation"> {
  readonly violation: AppViolation | undefined;
  /** How often the judge looked, by rule. */
  readonly looks: ReadonlyMap<string, number>;
}

/** What a run is made from. */
export interface AppSimulationOptions extends AppWorldOptions {
  readonly seed: string;
  /** Virtual time of trouble; without it the seed says, up to twelve seconds. */
  readonly troubleMs?: number;
}

/** Virtual time after the healing within which all has to be equal. */
const CONVERGE_MS_MAX = 90_000;

/** Runs a seed to its end. A broken rule is in the outcome; other errors are thrown. */
export function simulateApp(options: AppSimulationOptions): AppOutcome {
  const world = new AppWorld(options.seed, options);
  const trouble = options.troubleMs ?? world.random.between(3_000, 12_000);
  let violation: AppViolation | undefined;
  let convergedMs = -1;
  try {
    const scenario = new AppScenario(world);
    scenario.found();
    scenario.plan();
    world.timeline.runUntil(trouble);
    convergedMs = heal(world, scenario);
  } catch (error) {
    if (!(error instanceof AppViolation)) throw error;
    violation = error;
  }
  const { timeline, frames, judge } = world;
  return {
    seed: options.seed,
    history: world.historyHash(),
    violation,
    virtualMs: timeline.nowMs,
    steps: timeline.steps,
    frames,
    events: Math.max(0, ...world.peers.map(({ run }) => run?.log.topic?.size ?? 0)),
    convergedMs,
    looks: judge.looks,
  };
}

/** An outcome that can be posted. */
export function appSummaryOf({ looks: _, violation, ...rest }: AppOutcome): Summary {
  return { ...rest, violation: violation?.message };
}

/** Ends the trouble; answers how long it took until all were equal. */
function heal(world: AppWorld, scenario: AppScenario): number {
  const { timeline, network } = world;
  world.note("world", "heals");
  scenario.isOver = true;
  network.heal();
  network.slowness = 0;
  for (const peer of world.peers) {
    peer.disk.cut = undefined;
    peer.start();
  }
  const startMs = timeline.nowMs;
  let nextMs = 0;
  let last = differences(world);
  timeline.runUntil(startMs + CONVERGE_MS_MAX, () => {
    if (timeline.nowMs < nextMs) return false;
    nextMs = timeline.nowMs + 100;
    scenario.revokeFlooder(); // as soon as the creator has heard of it
    return (last = differences(world)) === undefined;
  });
  if (last === undefined) return timeline.nowMs - startMs;
  for (const { name, run } of world.peers) {
    world.note(name, `${run?.log.topic?.size} events, ${JSON.stringify(run?.core.peers())}`);
  }
  throw new AppViolation("converge", `peers do not become equal: ${last}`);
}

/**
 * Peers that are to agree in the end: honest, and members for the creator's, or free to be it. Who is
 * free to be it, and was told only of peers that are no members any more, finds nobody who is one.
 */
function members(world: AppWorld): AppPeerNode[] {
  const { topic, view } = world.peers[0]!.run?.log ?? {};
  if (topic === undefined || view === undefined) return [];
  const open = new Set(view.invites.filter(({ isOpen }) => isOpen).map(({ key }) => key));
  const nodes = new Set(
    world.peers.filter(({ personKey }) => view.members.has(personKey)).map(({ key }) => key),
  );
  return world.peers.filter(({ isHonest, personKey, person, comer: { invite, named = [] } }) =>
    isHonest && (view.members.has(personKey) ||
      invite !== undefined && open.has(formatPublicKey(invite.publicKey)) &&
        !topic.knows(person.publicKey) && named.some((node) => nodes.has(node)))
  );
}

/** What is not equal yet. */
function differences(world: AppWorld): string | undefined {
  const heads = ({ run }: AppPeerNode) =>
    headsDigest(run?.log.topic?.heads.map(({ key }) => key) ?? []).toHex();
  const outcomes = ({ run }: AppPeerNode) => {
    const { replay } = run!;
    const verdicts = replay!.log.map((event) => {
      const { verdict, fuel } = replay!.outcomeOf(event) ?? {};
      return `${event.key} ${verdict?.kind} ${fuel}`;
    });
    return [replay!.state.digest(ABI).toHex(), ...verdicts].join();
  };
  const { flooder } = world;
  const all = members(world);
  const [first] = all;
  const isOverfull = all.some(({ run }) => run?.log.fullness.some((why) => /^it/.test(why)));
  if (first === undefined) return "nobody is there";
  for (const peer of all) {
    if (peer.run?.log.topic === undefined) return `${peer.name} has no log`;
    if (flooder !== undefined && peer.run.log.membership!.roleOf(flooder.person.publicKey)) {
      return `${peer.name} does not know that ${flooder.name} was revoked`;
    }
    // Who is full has fewer events than others, and says so.
    if (isOverfull) continue;
    if (heads(peer) !== heads(first)) return `${peer.name} has other heads than ${first.name}`;
    if (peer.isKeeper) continue;
    if (!peer.run.replay?.isSettled) return `${peer.name} has not applied everything`;
    const behind = peer.run.core.peers().find(({ peer: node, isOpen, inSync }) =>
      isOpen && !inSync && all.some(({ key }) => key === node)
    );
    if (behind !== undefined) return `${peer.name} does not hear that ${behind.peer} is done`;
  }
  if (isOverfull) return undefined;
  const wanted = outcomes(first);
  const other = all.find((peer) => !peer.isKeeper && outcomes(peer) !== wanted);
  return other && `${other.name} has another state`;
}
