/**
 * How many slots of a component another node can have: as many as placement gives it, or gave it a
 * while ago and others took over; more only for a while after it first said so.
 *
 * What a node says it has stands in the way of what is started elsewhere. Were it believed without
 * bound, one node that lies could keep everyone from starting what is missing. Not at all is no
 * answer either: nodes that did not hear one another take over what others do not know of, those
 * that heard both among them.
 *
 * @module
 */
import type { NodeReport } from "./node_rollout.ts";
import type { Placement } from "./placement.ts";

/** For so long a node may keep what it was given before; it does until as many elsewhere are ready. */
export const LEAVING_MS = 5 * 60_000;
/**
 * For so long a node is believed that it has more. Then it is not until it has said less, or came
 * back, or another node did: what is missing starts the moment that it says less, or goes.
 */
export const BELIEVED_MS = 60_000;

/** See the module. Times are in milliseconds of a monotonic clock. */
export class GivenSlots {
  readonly #most = new Map<string, { readonly slots: number; readonly atMs: number }>();
  #live: ReadonlySet<string> = new Set();
  /** Since when nodes say that they have more than they were given. */
  #moreSinceMs: ReadonlyMap<string, number> = new Map();

  /** The most slots that a node was given lately. */
  most(component: string, node: string, nowMs: number): number {
    const given = this.#most.get(keyOf(component, node));
    return given === undefined || nowMs - given.atMs >= LEAVING_MS ? 0 : given.slots;
  }

  /** Whether a node is believed that it has more. */
  isBelieved(component: string, node: string, nowMs: number): boolean {
    return nowMs - (this.#moreSinceMs.get(keyOf(component, node)) ?? nowMs) < BELIEVED_MS;
  }

  /** When less is believed than now; `undefined` where that does not come by itself. */
  dueAt(nowMs: number): number | undefined {
    const due = [...this.#moreSinceMs.values()].map((sinceMs) => sinceMs + BELIEVED_MS)
      .filter((atMs) => atMs > nowMs);
    return due.length === 0 ? undefined : Math.min(...due);
  }

  /** Hears, before anything is decided, who lives. */
  hear(live: Iterable<string>): void {
    const before = this.#live;
    this.#live = new Set(live);
    if (!this.#live.isSubsetOf(before)) this.#moreSinceMs = new Map();
  }

  /** Remembers what is given now, and what those that live said that they have. */
  note(
    given: readonly Placement["replicas"][],
    said: (node: string) => Pick<NodeReport, "slots"> | undefined | null,
    nowMs: number,
  ): void {
    for (const [key, { atMs }] of this.#most) {
      if (nowMs - atMs >= LEAVING_MS) this.#most.delete(key);
    }
    for (const [component, nodes] of given.flatMap((replicas) => [...replicas])) {
      for (const [node, slots] of nodes) {
        const key = keyOf(component, node);
        if (slots >= (this.#most.get(key)?.slots ?? 0)) this.#most.set(key, { slots, atMs: nowMs });
      }
    }
    const more = new Map<string, number>();
    for (const node of this.#live) {
      for (const [component, { slots }] of said(node)?.slots ?? []) {
        const key = keyOf(component, node);
        if (slots <= this.most(component, node, nowMs)) continue;
        more.set(key, this.#moreSinceMs.get(key) ?? nowMs);
      }
    }
    this.#moreSinceMs = more;
  }
}

const keyOf = (component: string, node: string) => `${component}\0${node}`;
