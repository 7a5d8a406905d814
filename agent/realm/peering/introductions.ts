/**
 * Keys that asked to join and wait for the owner: kept so that `realm nodes ls` shows them on any
 * node. At most {@link INTRODUCTIONS_MAX}; of more the one that was seen least recently goes.
 *
 * Everybody can make up keys and names. A flood of them pushes out who really waits, who is back as
 * soon as it asks again; `realm nodes approve KEY` needs no entry here.
 *
 * @module
 */
import type { PendingPeer } from "./health_record.ts";

/** Keys that are remembered. */
export const INTRODUCTIONS_MAX = 64;

/** One of them. */
export interface Introduction extends PendingPeer {
  /** When it last asked, in milliseconds of the monotonic clock. */
  readonly seenAtMs: number;
}

/** See the module. */
export class Introductions {
  /** Least recently seen first. */
  readonly #byKey = new Map<string, Introduction>();

  /** Answers whether there was no entry of the key. */
  saw(introduction: Introduction): boolean {
    const isNew = !this.#byKey.delete(introduction.key);
    this.#byKey.set(introduction.key, introduction);
    if (this.#byKey.size > INTRODUCTIONS_MAX) {
      this.#byKey.delete(this.#byKey.keys().next().value!);
    }
    return isNew;
  }

  /** Forgets whoever is no longer waiting. */
  retain(waits: (key: string) => boolean): void {
    for (const key of this.#byKey.keys()) if (!waits(key)) this.#byKey.delete(key);
  }

  /** Least recently seen first. */
  all(): readonly Introduction[] {
    return [...this.#byKey.values()];
  }
}
