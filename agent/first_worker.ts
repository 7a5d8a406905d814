/**
 * The Worker of a program that runs one guest, started before the rest of the program is loaded.
 *
 * To start a Worker takes as long as all the rest of `realm run`: while it loads its own code, this
 * thread loads the command line and the engine.
 *
 * @module
 */
import { type GuestWorker, NOTHING, spawn, WORKER } from "./runtime/spawn.ts";

/** Hosts a guest, once the engine has it. */
export type FirstWorker = GuestWorker;

let worker: FirstWorker | undefined;

/** Starts a Worker without any permission; {@link takeFirstWorker} gives it. */
export function startFirstWorker(): FirstWorker {
  return worker ??= spawn(WORKER, NOTHING);
}

/**
 * Hands over the Worker that was started: in the executable who starts it and who takes it for
 * `realm run` are bundled apart, and share no module.
 */
export function handOverFirstWorker(started: FirstWorker): void {
  worker = started;
}

/** The Worker that was started, once; for a guest without mounts. */
export function takeFirstWorker(): FirstWorker | undefined {
  const taken = worker;
  worker = undefined;
  return taken;
}
