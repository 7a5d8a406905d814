/**
 * How many slots of a component another node can have: as many as placement gives it, or gave it a
 * while ago and others took over.
 *
 * What a node says it has stands in the way of what is started elsewhere. Were it believed without
 * bound, one node that lies could keep everyone from starting what is missing.
 *
 * @module
 */
import type { Placement } from "./placement.ts";

/** For so long a node may keep what it was given before; it does until as many elsewhere are ready. */
export const LEAVING_MS = 5 * 60_000;
/**
 * For so long after a node came back all are believed whatever they have: what it, and others that
 * did not hear it either, took over meanwhile is not known. One that goes silent to come back again is
 * not counted meanwhile, so what is missing starts then.
 */
export const RETURNED_MS = 60_000;

/** See the module. Times are in milliseconds of a monotonic clock. */
export class GivenSlots {
  readonly #most = new Map<string, { readonly slots: number; readonly atMs: number }>();
  #live: ReadonlySet<string> = new Set();
  /** When a node came back last. */
  #returnedAtMs: number | undefined;

  /** The most slots that are counted of a node, besides those that placement gives it now. */
  most(component: string, node: string, nowMs: number): number {
    if (nowMs - (this.#returnedAtMs ?? nowMs) < RETURNED_MS || !this.#live.has(node)) {
      return Infinity;
    }
    const given = this.#most.get(keyOf(component, node));
    return given === undefined || nowMs - given.atMs >= LEAVING_MS ? 0 : given.slots;
  }

  /** When less may be believed than at a time before; `undefined` where that is over. */
  dueAt(nowMs: number): number | undefined {
    const atMs = (this.#returnedAtMs ?? -Infinity) + RETURNED_MS;
    return atMs > nowMs ? atMs : undefined;
  }

  /** Remembers who lives, and what is given now. */
  note(given: readonly Placement["replicas"][], live: Iterable<string>, nowMs: number): void {
    const before = this.#live;
    this.#live = new Set(live);
    if (!this.#live.isSubsetOf(before)) this.#returnedAtMs = nowMs;
    for (const [key, { atMs }] of this.#most) {
      if (nowMs - atMs >= LEAVING_MS) this.#most.delete(key);
    }
    for (const [component, nodes] of given.flatMap((replicas) => [...replicas])) {
      for (const [node, slots] of nodes) {
        const key = keyOf(component, node);
        if (slots >= (this.#most.get(key)?.slots ?? 0)) this.#most.set(key, { slots, atMs: nowMs });
      }
    }
  }
}

const keyOf = (component: string, node: string) => `${component}\0${node}`;
