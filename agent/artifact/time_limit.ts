/**
 * An end to waiting for a peer.
 *
 * @module
 */
import type { Clock } from "../kernel/ports.ts";

/** What `act` gives; calls `expired`, which makes it end, when that takes longer than `ms`. */
export async function before<T>(
  clock: Clock,
  ms: number,
  expired: () => void,
  act: Promise<T>,
): Promise<T> {
  const done = new AbortController();
  clock.sleep(ms, done.signal).then(expired, () => {});
  try {
    return await act;
  } finally {
    done.abort();
  }
}
