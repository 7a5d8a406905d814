/**
 * A log of events as the exchange over links sees it: that of a realm, or of a topic of an app.
 *
 * Events are in the topic at once and durable after the next {@link EventLog.flush}; what is not
 * durable yet is in neither of `stored()` and `load()`, so that nobody hears of it.
 *
 * @module
 */
import type { CID } from "../canonical.ts";
import type { SignedEvent } from "../event.ts";
import type { Offered } from "../offer.ts";
import type { EventKey, Topic, TopicEvent } from "../topic.ts";

/** See the module. */
export interface EventLog {
  /** The graph of events; `undefined` until there is a genesis. */
  readonly topic: Topic | undefined;
  /** Grows with every event that is taken. */
  readonly revision: number;
  /** Takes events from elsewhere: in any order, any number of times. */
  offer(events: readonly SignedEvent[]): Offered;
  /** A session with a peer begins: what was wanted for long and did not come is waited for no more. */
  sessionBegins?(): void;
  /** Makes everything durable that came since, and returns what is kept of it, parents first. */
  flush(wallMs: number): readonly SignedEvent[];
  /** Durable kept events in order. */
  stored(): Iterable<TopicEvent>;
  /** A durable event. */
  load(id: CID): SignedEvent | undefined;
  /** What `encodeSigned()` gives of a durable event. */
  loadEncoded(key: EventKey): Uint8Array | undefined;
}
