/**
 * Hands the events of a topic to what applies them, in its Worker: first what is stored, then what comes.
 *
 * Nothing goes before it is durable: what a behavior did of an event, such as a request, would be done again
 * when the event came again after a power cut.
 *
 * One message is on its way at a time, and what waits for the next is in the log and not copied; what is
 * stored is read as it is handed on, or handed on as it is read ({@link openHandingOn}). So a topic that gets more events than its app can take costs no memory
 * for that here, and the start of one that has many takes none for all of them; the Worker keeps those of
 * its app.
 *
 * @module
 */
import type { AppLog, OpeningLog } from "../apps/topic/app_log.ts";
import { encodeSigned } from "../kernel/event.ts";
import { type EventBatch, EventBatchWriter } from "../kernel/event_batch.ts";
import { StoredEvents } from "../kernel/stored_event.ts";
import type { EventKey, TopicEvent } from "../kernel/topic.ts";

/** What of one message there may be; one event is always sent. */
const BATCH_EVENTS = 512;
const BATCH_BYTES = 2 * 1024 * 1024;
/** Bytes of events that may be on their way while a log is opened: as many as come while a Worker starts. */
const OPENING_BYTES_MAX = 8 * 1024 * 1024;

/** What an {@link AppFeed} is made of. */
export interface AppFeedInit {
  readonly log: AppLog;
  /** Takes events, parents first; resolves when it can take more. */
  readonly take: (events: EventBatch) => Promise<unknown>;
  /** Nothing more is handed on. */
  readonly failed: (error: unknown) => void;
  /** How many events were handed on as the log was opened, which are all that were stored then. */
  readonly handed?: number | undefined;
}

/**
 * Opens a log, and hands on what of it was checked while the rest is: two processors have work. `taker`
 * is asked when the log has begun and is more than one message; without one it is only opened. Returns
 * how many events were handed on, which is all; undefined where some were not, since nobody takes them.
 * Throws as `AppLog.open`.
 */
export async function openHandingOn(
  { rest }: OpeningLog,
  taker: () => AppFeedInit["take"] | undefined,
): Promise<number | undefined> {
  const batch = new EventBatchWriter();
  /** Messages that were not answered yet. */
  const sent: { readonly bytes: number; readonly taken: Promise<unknown> }[] = [];
  let take: AppFeedInit["take"] | undefined;
  let handed = 0;
  let bytes = 0;
  let isTaken = true;
  const send = () => {
    const events = batch.take();
    handed += events.ends.length;
    bytes += events.bytes.length;
    const taken = take!(events).catch(() => void (isTaken = false));
    sent.push({ bytes: events.bytes.length, taken });
  };
  for (const [key, encoded] of rest) {
    if (!isTaken) continue;
    if (isFull(batch, encoded)) {
      take ??= taker();
      if (take === undefined) {
        isTaken = false;
        continue;
      }
      send();
      while (bytes > OPENING_BYTES_MAX) {
        const first = sent.shift()!;
        await first.taken;
        bytes -= first.bytes;
      }
    }
    batch.add(key, encoded);
  }
  if (take === undefined) return undefined;
  send();
  for (const { taken } of sent) await taken;
  return isTaken ? handed : undefined;
}

function isFull({ count, bytes }: EventBatchWriter, next: Uint8Array): boolean {
  return count === BATCH_EVENTS || count > 0 && bytes + next.length > BATCH_BYTES;
}

/** See the module. */
export class AppFeed {
  readonly #init: AppFeedInit;
  #waiting: TopicEvent[] = [];
  /** What came while what is stored is handed on: by now it may be stored, too. */
  #since: Set<EventKey> | undefined = new Set();
  #handed = 0;
  /** Of what came since {@link start}: how many were queued, and were taken. */
  #queued = 0;
  #taken = 0;
  #callers: { readonly at: number; readonly done: () => void }[] = [];
  #isGoing = true;
  #isClosed = false;

  constructor(init: AppFeedInit) {
    this.#init = init;
    if (init.handed === undefined) return;
    this.#handed = init.handed;
    this.#since = undefined;
  }

  /** How many events were handed on so far; undefined while some wait. */
  get handed(): number | undefined {
    return this.#isGoing || this.#waiting.length > 0 ? undefined : this.#handed;
  }

  /**
   * Hands on what is stored; then what came meanwhile and comes, without waiting for that. What cannot
   * be handed on ends it, and is thrown.
   */
  async start(): Promise<void> {
    try {
      if (this.#since !== undefined) await this.#handStored(this.#since);
    } catch (error) {
      if (!this.#isClosed) this.#init.failed(error);
      this.close();
      throw error;
    }
    void this.#go();
  }

  async #handStored(since: ReadonlySet<EventKey>): Promise<void> {
    const batch = new EventBatchWriter();
    for (const [key, encoded] of new StoredEvents(this.#init.log.store, "").encoded(since)) {
      if (isFull(batch, encoded)) await this.#send(batch.take());
      batch.add(key, encoded);
    }
    this.#since = undefined;
    await this.#send(batch.take());
  }

  /** An event is in the log now: it is handed on when it is durable. */
  added(event: TopicEvent): void {
    if (this.#isClosed) return;
    this.#waiting.push(event);
    this.#since?.add(event.key);
    this.#queued++;
  }

  /** What was added is durable, perhaps in the middle of something: it is handed on afterwards. */
  stored(): void {
    if (this.#isGoing || this.#waiting.length === 0) return;
    this.#isGoing = true;
    queueMicrotask(() => void this.#go());
  }

  /** Resolves when everything that came so far was taken, or never will be. */
  async caughtUp(): Promise<void> {
    if (this.#taken >= this.#queued || this.#isClosed) return;
    await new Promise<void>((done) => this.#callers.push({ at: this.#queued, done }));
  }

  close(): void {
    this.#isClosed = true;
    this.#waiting = [];
    this.#since = undefined;
    for (const { done } of this.#callers.splice(0)) done();
  }

  async #go(): Promise<void> {
    this.#isGoing = true;
    try {
      let at = 0;
      const isNext = () =>
        at < this.#waiting.length && this.#init.log.isDurable(this.#waiting[at]!);
      while (isNext()) {
        const batch = new EventBatchWriter();
        const hasRoom = () => batch.count < BATCH_EVENTS && batch.bytes < BATCH_BYTES;
        while (isNext() && hasRoom()) {
          const event = this.#waiting[at++]!;
          batch.add(event.key, encodeSigned(this.#init.log.read(event)));
        }
        const { count } = batch;
        await this.#send(batch.take());
        this.#taken += count;
        const isLeft = ({ at }: { at: number }) => at > this.#taken;
        for (const { done } of this.#callers.filter((caller) => !isLeft(caller))) done();
        this.#callers = this.#callers.filter(isLeft);
        if (at === this.#waiting.length || at >= 16 * BATCH_EVENTS) {
          this.#waiting.splice(0, at);
          at = 0;
        }
      }
      this.#waiting.splice(0, at);
    } catch (error) {
      if (!this.#isClosed) this.#init.failed(error);
      this.close();
    }
    this.#isGoing = false;
  }

  async #send(batch: EventBatch): Promise<void> {
    if (this.#isClosed) throw new Error("it was stopped");
    this.#handed += batch.ends.length;
    await this.#init.take(batch);
  }
}
