/**
 * Many time-outs on one timer.
 *
 * Almost every request ends long before its time-out, and a timer of the host for each costs more
 * than the rest of the proxy. Here one runs for all that wait, and fires up to 1/16 of the shortest
 * time-out late (at least 5 ms, at most 250 ms), never early.
 *
 * @module
 */
import { Slots } from "../kernel/slots.ts";

/** A time-out that was set; give it to {@link Deadlines.clear}. */
export type Deadline = number;

/** A set of time-outs. Times are of `performance.now()`. */
export class Deadlines {
  readonly #pending = new Slots<{ readonly atMs: number; readonly expired: () => void }>();
  #timer: number | undefined;
  #tickMs = Infinity;

  /** Calls `expired` once, `ms` from now, unless it is cleared before. */
  set(ms: number, nowMs: number, expired: () => void): Deadline {
    const tickMs = Math.min(250, Math.max(5, ms / 16));
    if (this.#timer === undefined || tickMs < this.#tickMs) {
      clearInterval(this.#timer);
      this.#tickMs = tickMs;
      this.#timer = setInterval(() => this.#tick(), tickMs);
    }
    return this.#pending.add({ atMs: nowMs + ms, expired });
  }

  clear(deadline: Deadline): void {
    this.#pending.delete(deadline);
  }

  /** Forgets all of them and ends the timer. */
  close(): void {
    this.#pending.clear();
    this.#tick();
  }

  #tick(): void {
    const now = performance.now();
    this.#pending.forEach(({ atMs, expired }, id) => {
      if (atMs > now) return;
      this.#pending.delete(id);
      expired();
    });
    // Idle: no timer wakes the process.
    if (this.#pending.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
      this.#tickMs = Infinity;
    }
  }
}
