/**
 * The Worker of a program that runs one guest, started before the rest of the program is loaded.
 *
 * To start a Worker takes as long as all the rest of `realm run`: while it loads its own code, this
 * thread loads the command line and the engine.
 *
 * @module
 */
import { type GuestWorker, NOTHING, spawn, WORKER } from "./runtime/spawn.ts";

let worker: GuestWorker | undefined;

/** Starts a Worker without any permission; {@link takeFirstWorker} gives it. */
export function startFirstWorker(): void {
  worker ??= spawn(WORKER, NOTHING);
}

/** The Worker that was started, once; for a guest without mounts. */
export function takeFirstWorker(): GuestWorker | undefined {
  const taken = worker;
  worker = undefined;
  return taken;
}
