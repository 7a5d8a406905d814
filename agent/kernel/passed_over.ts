/**
 * What was offered to a log and not taken though nothing was wrong with it: for want of room, or of a
 * say of its author. It is not kept; but an event that may enter can need it.
 *
 * So its place in the graph is remembered: its id names its bytes, and those its parents, so nobody can
 * lie about it. When an event comes that may enter, all that it rests on of what was passed over becomes
 * *wanted*, and is taken, parents first, when it is offered once more. There may be much more of it than
 * could be set aside meanwhile, and nothing else slips in with it.
 *
 * @module
 */
import type { SignedEvent } from "./event.ts";
import { type EventKey, needsOf } from "./topic.ts";

/** Events that are remembered, the oldest forgotten for new ones: some 200 bytes each. As many as a topic may have. */
export const PASSED_MAX = 262_144;

interface Passed {
  readonly needs: readonly EventKey[];
  readonly bytes: number;
}

/** What an event needs, and what of it was passed over. */
export interface Wanted {
  readonly keys: ReadonlySet<EventKey>;
  /** Events that are in the log: its past there is these, and theirs. */
  readonly after: ReadonlySet<EventKey>;
}

/** See the module. */
export class PassedOver {
  readonly #events = new Map<EventKey, Passed>();
  readonly #wanted = new Map<EventKey, number>();
  #wantedBytes = 0;

  /** Remembers an event that was not taken. */
  put(key: EventKey, { event, bytes }: SignedEvent): void {
    if (this.#wanted.has(key)) return;
    const known = this.#events.get(key);
    this.#events.delete(key); // it is the newest now
    this.#events.set(key, known ?? { needs: needsOf(event), bytes: bytes.length });
    if (this.#events.size <= PASSED_MAX) return;
    for (const oldest of this.#events.keys()) return void this.#events.delete(oldest);
  }

  has(key: EventKey): boolean {
    return this.#events.has(key);
  }

  /** Whether an event is to be taken when it comes. */
  isWanted(key: EventKey): boolean {
    return this.#wanted.has(key);
  }

  /** An event is in the log now. */
  taken(key: EventKey): void {
    this.#events.delete(key);
    this.#wantedBytes -= this.#wanted.get(key) ?? 0;
    this.#wanted.delete(key);
  }

  /**
   * What an event needs of what was passed over; undefined where something of it is nowhere, is waited
   * for already, or is more than there is room for. `aside`: events that are here, and wait.
   */
  needed(
    { event }: SignedEvent,
    isThere: (key: EventKey) => boolean,
    aside: (key: EventKey) => SignedEvent | undefined,
    room: { readonly events: number; readonly bytes: number },
  ): Wanted | undefined {
    const seen = new Set<EventKey>();
    const keys = new Set<EventKey>();
    const after = new Set<EventKey>();
    const queue = needsOf(event);
    let events = room.events - this.#wanted.size, bytes = room.bytes - this.#wantedBytes;
    for (let key = queue.pop(); key !== undefined; key = queue.pop()) {
      if (seen.has(key)) continue;
      seen.add(key);
      if (isThere(key)) {
        after.add(key);
        continue;
      }
      if (this.#wanted.has(key)) return undefined;
      const waiting = aside(key);
      const passed = waiting === undefined
        ? this.#events.get(key)
        : { needs: needsOf(waiting.event), bytes: waiting.bytes.length };
      if (passed === undefined) return undefined;
      bytes -= passed.bytes;
      if (--events < 0 || bytes < 0) return undefined;
      keys.add(key);
      queue.push(...passed.needs);
    }
    return { keys, after };
  }

  /** These are to be taken when they come. */
  want({ keys }: Wanted, aside: (key: EventKey) => SignedEvent | undefined): void {
    for (const key of keys) {
      const bytes = this.#events.get(key)?.bytes ?? aside(key)?.bytes.length ?? 0;
      this.#events.delete(key);
      this.#wanted.set(key, bytes);
      this.#wantedBytes += bytes;
    }
  }
}
