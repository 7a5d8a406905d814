/**
 * The majority rule: what a node may do that sees only some of the others.
 *
 * A group of nodes that holds no majority of the approved ones starts nothing new, because the
 * others may be running the very same; it keeps what it runs, and starts again what ended by
 * itself. `partition = "continue"` in the manifest lets it go on as if the others were gone.
 *
 * @module
 */
import type { Step } from "../reconcile.ts";

/** Whether `live` of `approved` nodes are more than half; both counts include this node. */
export function isMajority(live: number, approved: number): boolean {
  return live * 2 > approved;
}

/** The steps that a node without a majority may take: no start and no other version. */
export function stepsOfMinority(steps: readonly Step[]): Step[] {
  return steps.filter(({ kind }) => kind === "restart" || kind === "stop");
}
