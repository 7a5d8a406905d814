/**
 * A whole run from a seed: a realm is founded, lives through what the seed has in store, is made
 * whole again, and has to come to one state within a bound of virtual time.
 *
 * @module
 */
import { viewDigest } from "../../agent/realm/realm_view.ts";
import { Violation } from "./judge.ts";
import { SimulatedNode } from "./node.ts";
import { Owners } from "./owners.ts";
import { player } from "./cast.ts";
import { Scenario } from "./scenario.ts";
import { World, type WorldOptions } from "./world.ts";

/** How a run ended. */
export interface Outcome {
  readonly seed: string;
  /** sha256 over everything that happened. */
  readonly history: string;
  readonly violation: Violation | undefined;
  /** Virtual time in milliseconds, steps, frames that arrived, events in the log at the end. */
  readonly virtualMs: number;
  readonly steps: number;
  readonly frames: number;
  readonly events: number;
  /** From the healing to one state, in virtual milliseconds. */
  readonly convergedMs: number;
  /** How often the judge looked, by rule. */
  readonly looks: ReadonlyMap<string, number>;
}

/** What crosses from a Worker. */
export type Summary = Omit<Outcome, "violation" | "looks"> & {
  readonly violation: string | undefined;
};

/** An outcome that can be posted. */
export function summaryOf({ looks: _, violation, ...rest }: Outcome): Summary {
  return { ...rest, violation: violation?.message };
}

/** What a run is made from. */
export interface SimulationOptions extends WorldOptions {
  readonly seed: string;
  /** Virtual time of trouble; without it the seed says, less than half a minute. */
  readonly troubleMs?: number;
}

/** Virtual time after the healing within which all has to be equal. */
const CONVERGE_MS_MAX = 60_000;

/** Runs a seed to its end. A broken rule is in the outcome; other errors are thrown. */
export function simulate(options: SimulationOptions): Outcome {
  const world = new World(options.seed, options);
  const trouble = options.troubleMs ?? world.random.between(8_000, 30_000);
  let violation: Violation | undefined;
  let convergedMs = -1;
  try {
    const owners = found(world);
    const scenario = new Scenario(world, owners, trouble);
    scenario.plan();
    world.timeline.runUntil(trouble);
    convergedMs = heal(world, owners, scenario);
  } catch (error) {
    if (!(error instanceof Violation)) throw error;
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
    events: Math.max(0, ...world.nodes.map(({ run }) => run?.log.topic?.size ?? 0)),
    convergedMs,
    looks: judge.looks,
  };
}

/** The first nodes, their owner's genesis, their approval, and the first manifest. */
function found(world: World): Owners {
  const count = world.random.pick([1, 2, 3, 3, 3, 4, 4, 5, 5, 6]);
  const nodes = Array.from(
    { length: count },
    (_, i) => new SimulatedNode(world, player(`node ${i}`), `n${i}`),
  );
  for (const node of nodes) {
    for (const other of nodes.slice(0, 2)) if (other !== node) node.named.add(other.key);
    world.add(node);
    node.start();
  }
  const owners = new Owners(world, nodes.map(({ name }) => name));
  nodes[0]!.post([world.genesis]);
  for (const node of nodes) owners.approve(nodes[0]!, node.key, node.name);
  owners.apply(nodes[0]!);
  return owners;
}

/** Ends the trouble; answers how long it took until all were equal. */
function heal(world: World, owners: Owners, scenario: Scenario): number {
  const { timeline, network } = world;
  world.note("world", "heals");
  scenario.isOver = true;
  network.heal();
  network.slowness = 0;
  for (const node of world.nodes) {
    node.disk.cut = undefined;
    node.start();
  }
  const startMs = timeline.nowMs;
  const anchor = world.nodes[0]!;
  await_(world, startMs + CONVERGE_MS_MAX, "logs", () => differences(world, owners));
  owners.recover(anchor);
  owners.apply(anchor);
  await_(
    world,
    startMs + 2 * CONVERGE_MS_MAX,
    "plans",
    () => differences(world, owners) ?? unfinished(world, owners),
  );
  return timeline.nowMs - startMs;
}

/** Lets time go by until there is no problem left. */
function await_(world: World, untilMs: number, what: string, problem: () => string | undefined) {
  let nextMs = 0;
  let last: string | undefined = "nothing was looked at";
  world.timeline.runUntil(untilMs, () => {
    if (world.timeline.nowMs < nextMs) return false;
    nextMs = world.timeline.nowMs + 100;
    return (last = problem()) === undefined;
  });
  last = problem();
  if (last === undefined) return;
  for (const { name, run, isHonest } of world.nodes) {
    const { view, topic } = run?.log ?? {};
    const heads = topic?.heads.map(({ id }) => `${id}`.slice(-6));
    world.note(name, `${isHonest ? "honest" : "traitor"}, ${topic?.size} events, heads ${heads}`);
    for (const { peer, ...link } of run?.core.links() ?? []) {
      const standing = view?.nodes.has(peer) ? "approved" : "unknown";
      world.note(name, `link with ${standing} ${world.nameOf(peer)}: ${JSON.stringify(link)}`);
    }
  }
  throw new Violation("converge", `${what} do not become equal: ${last}`);
}

/** Nodes that are to agree in the end: honest, and approved in the view of the first. */
function members(world: World): SimulatedNode[] {
  const approved = world.nodes[0]!.run?.log.view?.nodes;
  return world.nodes.filter((node) => node.isHonest && approved?.has(node.key) === true);
}

/** What is not equal yet in the logs of the members. */
function differences(world: World, _owners: Owners): string | undefined {
  const anchor = world.nodes[0]!.run?.log;
  if (anchor?.view === undefined) return "the first node has no log";
  const wanted = anchor.topic!.heads.map(({ id }) => id.toString()).join();
  for (const { name, run } of members(world)) {
    if (run === undefined) return `${name} is down`;
    if (run.log.view === undefined) return `${name} has no log`;
    const heads = run.log.topic!.heads.map(({ id }) => id.toString()).join();
    if (heads !== wanted) return `${name} has other heads than n0`;
    if (viewDigest(run.log.view) !== viewDigest(anchor.view)) return `${name} has another view`;
  }
  return undefined;
}

/** What is left to do for some member. */
function unfinished(world: World, owners: Owners): string | undefined {
  for (const node of members(world)) {
    const run = node.run!;
    if (run.applied?.sha256 !== owners.lastSha256) {
      return `${node.name} applied version ${run.applied?.version}, not the last one`;
    }
    for (const other of members(world)) {
      if (other !== node && !run.core.isLive(other.key)) {
        return `${node.name} does not hear of ${other.name}`;
      }
    }
    const steps = node.steps(run);
    if (steps.length > 0) return `${node.name} has ${steps.length} steps left`;
    for (const { state, component } of run.observed.values()) {
      if (state.kind !== "running") return `${component} on ${node.name} is ${state.kind}`;
    }
  }
  return undefined;
}
