/**
 * A log as a session of `kernel/sync/` sees it.
 *
 * @module
 */
import type { SignedEvent } from "../event.ts";
import type { SyncAccepted, SyncItem, SyncSource } from "../sync/session.ts";
import type { Offered, Refusal } from "../offer.ts";
import type { EventLog } from "./event_log.ts";

/** What {@link LogSource} is made from. */
export interface LogSourceInit {
  readonly log: EventLog;
  /**
   * Whether the peer may learn what is here. A peer that is only read from is met with empty
   * hands: it sends everything, and what is here already is not taken again.
   */
  readonly isGiven: boolean;
  /** Takes in events, and hands them on. */
  accept(events: readonly SignedEvent[]): Offered;
}

/** See the module. Only what is durable is shown. */
export class LogSource implements SyncSource {
  constructor(readonly init: LogSourceInit) {}

  get count(): number {
    return this.init.isGiven ? this.init.log.topic?.size ?? 0 : 0;
  }

  heads(): readonly string[] {
    return this.init.isGiven ? this.init.log.topic?.heads.map(({ key }) => key) ?? [] : [];
  }

  items(): Iterable<SyncItem> {
    return this.init.isGiven ? this.init.log.stored() : [];
  }

  load(key: string): Uint8Array | undefined {
    return this.init.isGiven ? this.init.log.loadEncoded(key) : undefined;
  }

  accept(events: readonly SignedEvent[]): SyncAccepted {
    const { accepted, known, refused } = this.init.accept(events);
    const dishonest = refused.find(isDishonest);
    const count = Math.max(0, events.length - accepted.length - known);
    return dishonest === undefined
      ? { refused: count }
      : { refused: count, problem: dishonest.problem };
  }
}

/** Whether an honest node hands such an event on only if it knows something that is not known here. */
export function isUnauthorised({ code }: Refusal): boolean {
  return code === "refused";
}

/** Whether no honest node hands such an event on. */
export function isDishonest({ code }: Refusal): boolean {
  return code === "corrupt" || code === "bad-signature";
}
