/**
 * What was offered to a log and not taken though nothing was wrong with it: for want of room, or of a
 * say of its author. It is not kept; but an event that may enter can need it.
 *
 * So its place in the graph is remembered: its id names its bytes, and those its parents, so nobody can
 * lie about it. When an event comes that may enter, all that it rests on of what was passed over becomes
 * *wanted*, and is taken, parents first, when it is offered once more. There may be much more of it than
 * could be set aside meanwhile, and nothing else slips in with it.
 *
 * A walk through a past that ends at something that is nowhere notes it for all that rests on it: while
 * it is nowhere, nobody walks there again, and once it came the walk goes on from it.
 *
 * @module
 */
import type { SignedEvent } from "./event.ts";
import { Recent } from "./recent.ts";
import { type EventKey, keyOf, needsOf } from "./topic.ts";

/**
 * Keys that are remembered, the oldest forgotten for new ones: some 100 bytes each. An event has one of
 * its own and one for each that it needs, so of events in a row at least 131,072 are remembered.
 */
export const PASSED_KEYS_MAX = 524_288;

/**
 * Sessions, with whomever, after which what was wanted and did not come is wanted no more. One with the
 * peer that has it is among the next few.
 */
export const WANTED_SESSIONS = 64;

/** Events of which is remembered that there was too little room. */
const SHORT_MAX = 4_096;

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

/** What may come. */
interface Room {
  readonly events: number;
  readonly bytes: number;
}

/** For how much there was room, after how many events that were taken, when that was too little. */
interface Short extends Room {
  readonly taken: number;
}

/** See the module. */
export class PassedOver {
  readonly #events = new Recent<EventKey, Passed>(PASSED_KEYS_MAX);
  /** Of an event, something in its past that was nowhere, or waited for. */
  readonly #missing = new Recent<EventKey, EventKey>(PASSED_KEYS_MAX);
  /** Events that rested on more than there was room for. */
  readonly #short = new Recent<EventKey, Short>(SHORT_MAX);
  /** In the order in which they were wanted. */
  readonly #wanted = new Map<EventKey, { readonly bytes: number; readonly session: number }>();
  #session = 0;
  #wantedBytes = 0;
  #taken = 0;

  /** Remembers an event that was not taken. */
  put(key: EventKey, { event, bytes }: SignedEvent): void {
    const passed = this.#events.get(key) ?? { needs: needsOf(event), bytes: bytes.length };
    this.#events.put(key, passed, 1 + passed.needs.length); // it is the newest now
  }

  has(key: EventKey): boolean {
    return this.#events.get(key) !== undefined;
  }

  /** Whether an event is to be taken when it comes. */
  isWanted(key: EventKey): boolean {
    return this.#wanted.has(key);
  }

  /** An event is in the log now. */
  taken(key: EventKey): void {
    this.#taken++;
    this.#want(key, undefined);
  }

  /** What is wanted for {@link WANTED_SESSIONS} is so no more; an event may come that wants it again. */
  sessionBegins(): void {
    this.#session++;
    for (const [key, { session }] of this.#wanted) {
      if (this.#session - session < WANTED_SESSIONS) return;
      this.#want(key, undefined);
    }
  }

  #want(key: EventKey, bytes: number | undefined): void {
    this.#wantedBytes += (bytes ?? 0) - (this.#wanted.get(key)?.bytes ?? 0);
    this.#wanted.delete(key);
    if (bytes !== undefined) this.#wanted.set(key, { bytes, session: this.#session });
  }

  /**
   * What an event needs of what was passed over; undefined where something of it is nowhere, is waited
   * for already, or is more than there is room for. `aside`: events that are here, and wait.
   */
  needed(
    { id, event }: SignedEvent,
    isThere: (key: EventKey) => boolean,
    aside: (key: EventKey) => SignedEvent | undefined,
    room: Room,
  ): Wanted | undefined {
    const own = keyOf(id);
    const taken = this.#taken;
    let events = room.events - this.#wanted.size, bytes = room.bytes - this.#wantedBytes;
    const short = this.#short.get(own);
    if (short?.taken === taken && events <= short.events && bytes <= short.bytes) return undefined;
    const left: Short = { events, bytes, taken };
    const placeOf = (key: EventKey): Passed | undefined => {
      if (this.#wanted.has(key)) return undefined;
      const waiting = aside(key);
      if (waiting === undefined) return this.#events.get(key);
      return { needs: needsOf(waiting.event), bytes: waiting.bytes.length };
    };
    const keys = new Set<EventKey>();
    const after = new Set<EventKey>();
    const queue = [own];
    /** Of it, what was missing before and came: looked at before the rest. */
    const came: EventKey[] = [];
    /** What was met, by something that rests on it. */
    const by = new Map<EventKey, EventKey>();
    /** Queues an event, and what was missing of it and came; returns what is missing. */
    const meet = (key: EventKey | undefined, from: EventKey): EventKey | undefined => {
      let into = queue;
      for (let next = key; next !== undefined && !by.has(next); next = this.#missing.get(next)) {
        by.set(next, from);
        if (isThere(next)) return void after.add(next);
        if (placeOf(next) === undefined) return next;
        into.push(next);
        into = came;
        from = next;
      }
      return undefined;
    };
    const meetAll = (needs: readonly (EventKey | undefined)[], from: EventKey): boolean => {
      for (const need of needs) {
        const missing = meet(need, from);
        if (missing === undefined) continue;
        for (let at = by.get(missing); at !== undefined; at = by.get(at)) {
          this.#missing.put(at, missing, 1);
        }
        return false;
      }
      return true;
    };
    if (!meetAll([this.#missing.get(own)], own)) return undefined;
    const pop = () => came.pop() ?? queue.pop();
    for (let key = pop(); key !== undefined; key = pop()) {
      const place = key === own ? { needs: needsOf(event), bytes: 0 } : placeOf(key)!;
      if (key !== own) {
        bytes -= place.bytes;
        if (--events < 0 || bytes < 0) return void this.#short.put(own, left, 1);
        keys.add(key);
      }
      if (!meetAll(place.needs, key)) return undefined;
    }
    return { keys, after };
  }

  /** These are to be taken when they come. */
  want({ keys }: Wanted, aside: (key: EventKey) => SignedEvent | undefined): void {
    for (const key of keys) {
      this.#want(key, this.#events.get(key)?.bytes ?? aside(key)?.bytes.length ?? 0);
    }
  }
}
