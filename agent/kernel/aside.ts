/**
 * Events that cannot be taken yet: verified, and waiting for an ancestor, for an event that needs
 * them, or for a say of their author. In memory only, and bounded.
 *
 * @module
 */
import type { SignedEvent } from "./event.ts";
import { type EventKey, needsOf } from "./topic.ts";

/** Events set aside, and their bytes together; the oldest are dropped for new ones. */
export const ASIDE_MAX = 1_024;
export const ASIDE_BYTES_MAX = 16 * 1024 * 1024;

interface Waiting {
  readonly signed: SignedEvent;
  readonly needs: readonly EventKey[];
  /** One of the events that it needs and that are not here. */
  missing: EventKey | undefined;
}

/** See the module. */
export class Aside {
  readonly #events = new Map<EventKey, Waiting>();
  readonly #waiting = new Map<EventKey, Set<EventKey>>();
  #bytes = 0;

  get size(): number {
    return this.#events.size;
  }

  keys(): Iterable<EventKey> {
    return this.#events.keys();
  }

  has(key: EventKey): boolean {
    return this.#events.has(key);
  }

  get(key: EventKey): SignedEvent | undefined {
    return this.#events.get(key)?.signed;
  }

  put(key: EventKey, signed: SignedEvent): void {
    if (this.#events.has(key)) return;
    this.#events.set(key, { signed, needs: needsOf(signed.event), missing: undefined });
    this.#bytes += signed.bytes.length;
  }

  drop(key: EventKey): void {
    const event = this.#events.get(key);
    if (event === undefined) return;
    this.waitFor(key, undefined);
    this.#events.delete(key);
    this.#bytes -= event.signed.bytes.length;
  }

  /** Drops the oldest until the rest is within bounds, and returns them. */
  trim(): readonly SignedEvent[] {
    const dropped: SignedEvent[] = [];
    for (const [oldest, { signed }] of this.#events) {
      if (this.#events.size <= ASIDE_MAX && this.#bytes <= ASIDE_BYTES_MAX) break;
      this.drop(oldest);
      dropped.push(signed);
    }
    return dropped;
  }

  /** Notes one event that another needs and that is nowhere here; it is enough to know one. */
  waitFor(key: EventKey, missing: EventKey | undefined): void {
    const event = this.#events.get(key);
    if (event === undefined || event.missing === missing) return;
    if (event.missing !== undefined) {
      const others = this.#waiting.get(event.missing)!;
      others.delete(key);
      if (others.size === 0) this.#waiting.delete(event.missing);
    }
    event.missing = missing;
    if (missing === undefined) return;
    const others = this.#waiting.get(missing);
    if (others === undefined) this.#waiting.set(missing, new Set([key]));
    else others.add(key);
  }

  /** What {@link Aside.waitFor} noted of an event; it may have come since. */
  missingOf(key: EventKey): EventKey | undefined {
    return this.#events.get(key)?.missing;
  }

  /** What an event that is aside names as parents, and its author's before. */
  needsOf(key: EventKey): readonly EventKey[] {
    return this.#events.get(key)?.needs ?? [];
  }

  /** The events that waited for this one. */
  waitingFor(missing: EventKey): Iterable<EventKey> {
    return this.#waiting.get(missing) ?? [];
  }
}
