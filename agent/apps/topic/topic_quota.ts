/**
 * How much one topic may take on one machine. Whoever takes part may write as much as it likes, and
 * everybody else stores it: a topic that is full takes no more events of the app.
 *
 * Every event is on the disk, its place in the graph in memory, and where the app runs the event too. So
 * one bound is for all three. What the kernel's events say, such as who takes part no more, has some room
 * beyond it. A machine that is full has fewer events than others, and says so; it is no one's fault.
 *
 * @module
 */
import { isKernelType } from "./app_event.ts";

/** What a topic may have here. */
export interface TopicQuota {
  readonly events: number;
  /** Of all events as they were signed. */
  readonly bytes: number;
}

/** What it may have unless told otherwise: memory of half a gigabyte at the most. */
export const TOPIC_QUOTA: TopicQuota = { events: 250_000, bytes: 256 * 1024 * 1024 };

/** For who was given what somebody else has counted. */
export const NO_QUOTA: TopicQuota = { events: Infinity, bytes: Infinity };

/** Of the quota, for events of the kernel. */
const RESERVE = 1.1;

/** What one topic has. */
export class TopicUsage {
  #events = 0;
  #bytes = 0;

  constructor(readonly quota: TopicQuota = TOPIC_QUOTA) {}

  /** Counts an event that is here now. */
  add(bytes: number): void {
    this.#events++;
    this.#bytes += bytes;
  }

  /** Why an event of this type may not be taken; undefined where it may. */
  problemFor(type: string): string | undefined {
    const factor = isKernelType(type) ? RESERVE : 1;
    const { events, bytes } = this.quota;
    if (this.#events >= events * factor) {
      return `it has ${this.#events} events, and may have ${events} on this machine`;
    }
    if (this.#bytes >= bytes * factor) {
      return `its events have ${this.#bytes} bytes, and may have ${bytes} on this machine`;
    }
    return undefined;
  }
}
