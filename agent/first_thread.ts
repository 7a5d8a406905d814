/**
 * A guest in the thread of a program that does nothing else, and can do nothing else from then on.
 *
 * @module
 */
import { FirstThread } from "./runtime/first_thread.ts";
import { FROM_SOURCE, type GuestWorker, NOTHING, spawn, WORKER } from "./runtime/spawn.ts";

/** From source the Worker that names frames is read from a file. */
const KEPT = FROM_SOURCE ? ["read"] as const : [];

/**
 * Gives up every permission and hosts a guest here; where one is left it gets a Worker without any.
 *
 * `keepPermissions` gives up all kinds but these, and says which are left; `deaf` is told when this
 * thread cannot hear of anything for a while, and when it can again.
 */
export function hostInThisThread(
  keepPermissions: (kinds: typeof KEPT) => readonly string[],
  deaf: (isDeaf: boolean) => void,
): GuestWorker {
  const left = keepPermissions(KEPT);
  if (left.length > KEPT.length) return spawn(WORKER, NOTHING);
  return new FirstThread(deaf);
}
