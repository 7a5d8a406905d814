/**
 * What a seed has in store for a realm.
 *
 * @module
 */
import type { Owners } from "./owners.ts";
import type { SimulatedNode } from "./node.ts";
import type { SeededRandom } from "./random.ts";
import type { World } from "./world.ts";

/** See the module. */
export class Scenario {
  readonly random: SeededRandom;
  /** The trouble is over: nothing new is done. */
  isOver = false;

  constructor(readonly world: World, readonly owners: Owners, readonly troubleMs: number) {
    this.random = world.random.fork("scenario");
  }

  /** Plans everything. */
  plan(): void {
    for (const node of this.world.nodes) this.#keepDialling(node);
  }

  /** A node dials whom it knows of, again and again. */
  #keepDialling(node: SimulatedNode): void {
    const { world, random } = this;
    world.timeline.after(random.between(200, 1_200), () => {
      this.#keepDialling(node);
      const known = new Set([...node.named, ...node.run?.log.view?.nodes.keys() ?? []]);
      const missing = [...known].filter((key) =>
        key !== node.key && !world.network.isLinked(node.key, key)
      );
      if (node.run !== undefined && missing.length > 0) {
        world.network.dial(node.key, random.pick(missing));
      }
    });
  }
}
