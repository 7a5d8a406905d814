/**
 * The health of one replica, from what its probes say. Pure.
 *
 * A replica begins as `starting`, and is `healthy` after `healthy_after` good probes in a row. Bad
 * ones are forgiven for `grace_ms`; after that, `unhealthy_after` in a row mean that it `failed`.
 * A healthy one is `unhealthy` after as many bad ones: it leaves the route. As many again, and it
 * `failed`: it is started anew. Good ones bring it back, but each time that it fell lately doubles
 * how many it takes, and who falls too often failed: a replica that flaps does not come and go with
 * every probe.
 *
 * @module
 */
import type { HealthSpec } from "./manifest.ts";

/** What is known of a replica. Times in milliseconds of one monotonic clock. */
export interface Health {
  readonly state: "starting" | "healthy" | "unhealthy" | "failed";
  /** Since when. */
  readonly sinceMs: number;
  /** Probes of one kind in a row, the last included. */
  readonly isGood: boolean;
  readonly inRow: number;
  /** How often it fell since it was last healthy for long. */
  readonly falls: number;
}

/** A replica that was healthy for so long has fallen never. */
const FORGET_MS = 60_000;
/** It takes at most so many times `healthy_after` to come back. */
const DAMPING_MAX = 8;
const FALLS_MAX = 5;

/** A replica that was just started. */
export function freshHealth(nowMs: number): Health {
  return { state: "starting", sinceMs: nowMs, isGood: true, inRow: 0, falls: 0 };
}

/** What is known after one more probe. */
export function noteProbe(
  health: Health,
  isGood: boolean,
  { healthyAfter, unhealthyAfter, graceMs }: HealthSpec,
  nowMs: number,
): Health {
  const inRow = isGood === health.isGood ? health.inRow + 1 : 1;
  const noted = { ...health, isGood, inRow };
  const become = (state: Health["state"], falls = health.falls): Health => ({
    ...noted,
    state,
    falls,
    sinceMs: nowMs,
  });
  switch (health.state) {
    case "starting":
      if (isGood) return inRow >= healthyAfter ? become("healthy") : noted;
      return inRow >= unhealthyAfter && nowMs - health.sinceMs >= graceMs
        ? become("failed")
        : noted;
    case "healthy": {
      if (isGood || inRow < unhealthyAfter) return noted;
      const falls = (nowMs - health.sinceMs >= FORGET_MS ? 0 : health.falls) + 1;
      return become(falls >= FALLS_MAX ? "failed" : "unhealthy", falls);
    }
    case "unhealthy": {
      if (!isGood) return inRow >= 2 * unhealthyAfter ? become("failed") : noted;
      const damping = Math.min(DAMPING_MAX, 2 ** (health.falls - 1));
      return inRow >= healthyAfter * damping ? become("healthy") : noted;
    }
    case "failed":
      return noted;
  }
}
