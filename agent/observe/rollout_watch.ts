/**
 * How long rollouts take, as one node sees them: from when it first knows of a release of a component
 * that is not complete until all replicas run it, or it failed.
 *
 * @module
 */
import type { RolloutStatus } from "../realm/node_rollout.ts";

/** How a rollout ended. */
export type RolloutOutcome = "complete" | "failed";

/** What is looked at. */
type Seen = Pick<RolloutStatus, "release" | "isComplete" | "failure">;

/** See the module. Times are in milliseconds of the monotonic clock. */
export class RolloutWatch {
  /** Of each component the release that is under way, and since when. */
  readonly #begun = new Map<string, { readonly release: string; readonly atMs: number }>();

  constructor(readonly ended: (outcome: RolloutOutcome, ms: number) => void) {}

  look(rollouts: ReadonlyMap<string, Seen>, nowMs: number): void {
    for (const component of this.#begun.keys()) {
      if (!rollouts.has(component)) this.#begun.delete(component);
    }
    for (const [component, { release, isComplete, failure }] of rollouts) {
      const begun = this.#begun.get(component);
      const isOver = begun?.release !== release || isComplete || failure !== undefined;
      if (begun !== undefined && isOver) {
        this.#begun.delete(component);
        const ms = nowMs - begun.atMs;
        if (failure?.release === begun.release) this.ended("failed", ms);
        else if (begun.release === release) this.ended("complete", ms);
      }
      // What a component goes back to after a failure is no rollout of its own.
      const isUnderWay = !isComplete && failure === undefined;
      if (isUnderWay && !this.#begun.has(component)) {
        this.#begun.set(component, { release, atMs: nowMs });
      }
    }
  }
}
