/**
 * Says from what seed properties draw: in continuous integration always the same, so that a change is
 * judged by what it changed; elsewhere a new one for every run, so that more is looked at over time.
 * `SEED` sets another; a property that fails prints its own.
 *
 * @module
 */
import fc from "fast-check";

const seed = Deno.env.get("SEED") ?? (Deno.env.get("CI") ? "1" : undefined);
if (seed !== undefined) fc.configureGlobal({ seed: Number(seed) });
