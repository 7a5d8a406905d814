/**
 * Time and randomness of the machine, as the WASI host takes them.
 *
 * @module
 */
import type { WasiContext } from "./wasi/host.ts";

/** Milliseconds since the Worker started, to a fraction. */
export const now = (): number => performance.now();

/** The machine's clocks, in nanoseconds; sleeps in milliseconds. */
export const clock: WasiContext["clock"] = {
  wallNs: () => BigInt(Math.round((performance.timeOrigin + performance.now()) * 1e6)),
  monotonicNs: () => BigInt(Math.round(performance.now() * 1e6)),
  sleep: (ms, signal) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const abort = () => {
        clearTimeout(timer);
        reject(signal!.reason);
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener("abort", abort);
        resolve();
      }, Math.min(ms, 0x7fff_ffff));
      signal?.addEventListener("abort", abort, { once: true });
    }),
};
/** The machine's random numbers. */
export const random: WasiContext["random"] = {
  bytes(length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    for (let i = 0; i < length; i += 65_536) crypto.getRandomValues(bytes.subarray(i, i + 65_536));
    return bytes;
  },
};
