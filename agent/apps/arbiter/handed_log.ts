/**
 * The events of a topic in the Worker of its app, as the agent hands them on: they may come before the
 * app is started, while the agent still opens its log.
 *
 * @module
 */
import { CID } from "../../kernel/canonical.ts";
import type { SignedEvent } from "../../kernel/event.ts";
import { type EventBatch, eventsIn } from "../../kernel/event_batch.ts";
import { AppLog } from "../topic/app_log.ts";
import { NO_QUOTA } from "../topic/topic_quota.ts";
import { NOWHERE } from "./namespace.ts";
import type { TopicAppInit } from "./topic_app_port.ts";

/** Of which topic, and what payload keys are opened with. */
export type HandedLogInit = Pick<TopicAppInit, "topic" | "openers">;

/** See the module. */
export class HandedLog {
  readonly log: AppLog;
  #received = 0;

  constructor({ topic, openers }: HandedLogInit) {
    this.log = AppLog.open({
      // The agent stores; here events are in memory.
      store: NOWHERE,
      // The agent has verified what it hands on.
      verify: () => true,
      topic: CID.parse(topic),
      openers,
      // The agent has counted, too.
      quota: NO_QUOTA,
    });
  }

  /** Events that were handed on. */
  get received(): number {
    return this.#received;
  }

  /** Takes signed events, parents first; those that are new. */
  take(batch: EventBatch): readonly SignedEvent[] {
    const accepted = this.log.take(eventsIn(batch));
    this.#received += batch.ends.length;
    return accepted;
  }
}
