/**
 * Starts the runtime's Workers.
 *
 * @module
 */
import type { Mount } from "../kernel/ports.ts";

// In the bundle of a compiled program the entry files stand beside this one, as JavaScript.
const EXTENSION = import.meta.url.endsWith(".ts") ? "ts" : "js";
/** Whether this runs from source, not from the bundle. */
export const FROM_SOURCE = EXTENSION === "ts";
/** The Worker of a replica. */
export const WORKER = new URL(`./worker.${EXTENSION}`, import.meta.url);
/** The Worker that transpiles. */
export const TRANSPILE_WORKER = new URL(`./transpile_worker.${EXTENSION}`, import.meta.url);

/** The Worker that names the frames of backtraces. */
export const SYMBOLS_WORKER = new URL(`./symbols_worker.${EXTENSION}`, import.meta.url);

/** The Worker that starts others, off the agent's thread. */
export const SPAWNER_WORKER = new URL(`./spawner_worker.${EXTENSION}`, import.meta.url);

/** What of a Worker a replica needs; one that another thread spawned has no more. */
export interface GuestWorker {
  postMessage(message: unknown): void;
  onmessage: ((event: MessageEvent) => void) | null;
  onerror: ((event: ErrorEvent) => void) | null;
  onmessageerror: ((event: MessageEvent) => void) | null;
  terminate(): void;
}

/**
 * Calls `failed` with the reason when a Worker failed, or says what cannot be read: from then on
 * Deno hears nothing of it. Without a listener either would end the program, or go unseen.
 */
export function onFailure(worker: GuestWorker, failed: (why: string) => void): void {
  worker.onerror = (event) => {
    event.preventDefault();
    failed(event.message);
  };
  worker.onmessageerror = () => failed("it sent what cannot be read");
}

/** The permissions of these folders and nothing else. */
export function permissionsOf(mounts: readonly Mount[]): Deno.PermissionOptionsObject {
  if (mounts.length === 0) return NOTHING;
  return {
    ...NOTHING,
    read: mounts.map((m) => m.hostPath),
    write: mounts.filter((m) => m.writable).map((m) => m.hostPath),
  };
}

/** Starts a Worker; the calling thread is blocked for 40 to 100 ms. */
export function spawn(url: URL, permissions: Deno.PermissionOptions): Worker {
  return new Worker(url, { type: "module", deno: { permissions } } as WorkerOptions);
}

/** No permission at all. */
export const NOTHING: Deno.PermissionOptionsObject = {
  read: false,
  write: false,
  net: false,
  env: false,
  run: false,
  ffi: false,
  sys: false,
  import: false,
};
