/**
 * What a replica's Worker has to tell the engine, sent in as few messages as the wait allows.
 *
 * @module
 */
import { concat } from "./bytes.ts";
import type { FromWorker } from "./protocol.ts";

/** Microtasks without a new message after which a turn is over. */
const SETTLED_STEPS = 6;
/** Small writes within this time are joined, up to so many bytes. */
const OUTPUT_WAIT_MS = 5;
const OUTPUT_JOINED_MAX = 8 * 1024;
/** Messages sent together at most; measured with 32 connections: 4 served most. */
const MESSAGES_MAX = 4;
/** Messages of a turn, sent together: each `postMessage` wakes the agent. */
export class Outbox {
  #messages: FromWorker[] = [];
  #flushedAtMs = 0;
  #posted = 0;

  /** `post` sends messages to the engine, `now` is a clock in milliseconds. */
  constructor(
    readonly post: (messages: FromWorker[]) => void,
    readonly now: () => number,
  ) {}

  /** Calls of `post` so far. */
  get posted(): number {
    return this.#posted;
  }

  /** Whether nothing waits to be sent. */
  get isEmpty(): boolean {
    return this.#messages.length === 0;
  }

  /** Adds a message, which is sent soon. */
  add(message: FromWorker): void {
    this.#messages.push(message);
    // Not all of a turn at once: the agent works on the first while the rest is made.
    if (this.#messages.length >= MESSAGES_MAX) return this.flush();
    if (this.#messages.length === 1) queueMicrotask(() => this.#settle(0));
  }

  /** Sends once no message was added for some steps: requests that came together end together. */
  #settle(seen: number, steps = 0): void {
    const { length } = this.#messages;
    if (length === 0) return;
    if (length === seen && steps >= SETTLED_STEPS) return this.flush();
    queueMicrotask(() => this.#settle(length, length === seen ? steps + 1 : 0));
  }

  /**
   * Sends at once: the guest may run on without ever ending this turn. Output that just grew waits
   * for more, up to {@link OUTPUT_WAIT_MS}: many small writes are one message.
   */
  flush(): void {
    if (this.#messages.length === 0) return;
    const messages = this.#messages;
    this.#messages = [];
    this.#flushedAtMs = this.now();
    this.#posted++;
    this.post(messages);
  }

  /** Adds output of the guest, which is copied. */
  output(stream: "stdout" | "stderr", bytes: Uint8Array): void {
    const last = this.#messages.at(-1);
    if (
      last?.type === "output" && last.stream === stream && last.bytes.length < OUTPUT_JOINED_MAX
    ) {
      this.#messages[this.#messages.length - 1] = { ...last, bytes: concat(last.bytes, bytes) };
    } else this.add({ type: "output", stream, bytes: bytes.slice() });
    this.flushLate();
  }

  /** Sends what has waited long enough. */
  flushLate(): void {
    if (this.#messages.length > 0 && this.now() - this.#flushedAtMs > OUTPUT_WAIT_MS) this.flush();
  }
}
