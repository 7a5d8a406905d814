/**
 * Work that comes in many small parts, which gives everything else its turn after each slice of time.
 *
 * Where the next part is here already, to wait for it takes no turn of the event loop: as long as a peer
 * sends faster than this takes, no timer, no Worker and no other peer would be heard.
 *
 * @module
 */
import { setImmediate } from "node:timers";

/** How long parts are done one after another before everything else has its turn. */
const SLICE_MS = 10;
/**
 * Its turn is so many of the event loop's: what is asked of another peer meanwhile takes dozens of them
 * (each read, decryption and promise is one), and would be a slice behind with each. One in which
 * nothing happens takes some microseconds.
 */
const TURNS = 16;

/** See the module. */
export class Slices {
  #busyMs = 0;

  /** Does a part of the work, which does not throw. */
  work<T>(act: () => T): T {
    const fromMs = performance.now();
    const result = act();
    this.#busyMs += performance.now() - fromMs;
    return result;
  }

  /** To be waited for before the next part: everything else has its turn. Undefined where it is not due. */
  pause(): Promise<void> | undefined {
    if (this.#busyMs < SLICE_MS) return undefined;
    this.#busyMs = 0;
    return turns();
  }
}

async function turns(): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++) {
    await new Promise((resolve) => setImmediate(resolve));
  }
}
