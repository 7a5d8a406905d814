/**
 * What breaks in a simulation, whatever is simulated: machines, their disks, and what is between them.
 *
 * @module
 */
import type { SeededRandom } from "../../agent/kernel/seeded_random.ts";
import type { SimulatedNetwork } from "./network.ts";
import type { Timeline } from "./timeline.ts";

/** A machine, as far as it can break. */
export interface Machine {
  readonly key: string;
  readonly disk: { cut: "before" | "after" | undefined };
  start(): void;
  /** Without its last writes, unless they were synced. */
  crash(why?: string): void;
}

/** Kinds of trouble that are faults; each is a method of {@link Faults}. */
export const FAULTS = ["crash", "torn", "off", "partition", "stall", "break", "slow"] as const;

/** See the module. */
export abstract class Faults<M extends Machine> {
  readonly random: SeededRandom;
  /** The trouble is over: nothing new is done. */
  isOver = false;

  constructor(
    readonly world: {
      readonly random: SeededRandom;
      readonly timeline: Timeline;
      readonly network: SimulatedNetwork;
    },
    /** In milliseconds: how long a machine is off at most, and groups do not hear each other. */
    readonly bounds: { readonly offMsMax: number; readonly partitionMsMax: number },
  ) {
    this.random = world.random.fork("scenario");
  }

  protected abstract machines(): readonly M[];

  protected anyone(): M {
    return this.random.pick(this.machines());
  }

  crash(): void {
    const machine = this.anyone();
    machine.crash();
    this.world.timeline.after(this.random.between(50, 4_000), () => machine.start());
  }

  /** The power goes during the next write. */
  torn(): void {
    this.anyone().disk.cut = this.random.pick(["before", "after"]);
  }

  off(): void {
    const machine = this.anyone();
    machine.crash("switched off");
    const offMs = this.random.between(5_000, this.bounds.offMsMax);
    this.world.timeline.after(offMs, () => machine.start());
  }

  partition(): void {
    const { random, world: { network, timeline } } = this;
    if (random.chance(0.3)) return network.partition(() => 0);
    const groups = new Map(this.machines().map(({ key }) => [key, random.between(0, 1)]));
    network.partition((key) => groups.get(key) ?? 0);
    const partMs = random.between(2_000, this.bounds.partitionMsMax);
    timeline.after(partMs, () => network.partition(() => 0));
  }

  stall(): void {
    const [from, to] = [this.anyone(), this.anyone()];
    this.world.network.stall(from.key, to.key, this.random.between(500, 25_000));
  }

  break(): void {
    this.world.network.breakLink(this.anyone().key, this.anyone().key);
  }

  slow(): void {
    this.world.network.slowness = this.random.pick([0, 0.05, 0.3]);
  }
}
