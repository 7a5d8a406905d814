/**
 * Slows down who writes without end.
 *
 * @module
 */
import type { Clock } from "../kernel/ports.ts";

/** Output that a replica may write a second; past it the guest waits, not the agent. */
const OUTPUT_BYTES_PER_SEC = 1024 * 1024;
/** What it may write at once after it was silent. */
const OUTPUT_BYTES_BURST = 4 * 1024 * 1024;

/** The output of one instance; see the module. */
export class Pace {
  #bytes = OUTPUT_BYTES_BURST;
  #atMs: number;

  constructor(readonly clock: Clock) {
    this.#atMs = clock.monotonicMs();
  }

  /** Resolves when as much may follow; at once within the rate. */
  after(bytes: number): Promise<void> | undefined {
    const now = this.clock.monotonicMs();
    const refilled = (now - this.#atMs) * OUTPUT_BYTES_PER_SEC / 1000;
    this.#bytes = Math.min(OUTPUT_BYTES_BURST, this.#bytes + refilled) - bytes;
    this.#atMs = now;
    if (this.#bytes >= 0) return undefined;
    return this.clock.sleep(-this.#bytes * 1000 / OUTPUT_BYTES_PER_SEC);
  }
}
