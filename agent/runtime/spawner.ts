/**
 * Starts Workers from a thread of its own: to spawn one blocks the calling thread for 40 to 100 ms,
 * in which an agent would answer nobody. The Worker it starts talks to this thread by a port.
 *
 * @module
 */
import type { Mount } from "../kernel/ports.ts";
import {
  type GuestWorker,
  NOTHING,
  onFailure,
  permissionsOf,
  spawn,
  SPAWNER_WORKER,
} from "./spawn.ts";

/** To the spawning Worker. */
export type ToSpawner =
  | {
    readonly type: "spawn";
    readonly id: number;
    readonly permissions: Deno.PermissionOptionsObject;
    readonly port: MessagePort;
  }
  | { readonly type: "terminate"; readonly id: number };

/** From the spawning Worker: one that it started failed. */
export interface FromSpawner {
  readonly id: number;
  readonly error: string;
}

/** A Worker at the other end of a port. */
class RemoteWorker implements GuestWorker {
  onerror: ((event: ErrorEvent) => void) | null = null;

  constructor(readonly port: MessagePort, readonly end: () => void) {}

  get onmessage() {
    return this.port.onmessage;
  }

  set onmessage(listener: ((event: MessageEvent) => void) | null) {
    this.port.onmessage = listener;
  }

  get onmessageerror() {
    return this.port.onmessageerror;
  }

  set onmessageerror(listener: ((event: MessageEvent) => void) | null) {
    this.port.onmessageerror = listener;
  }

  postMessage(message: unknown): void {
    this.port.postMessage(message);
  }

  terminate(): void {
    this.port.close();
    this.end();
  }
}

/** See the module. */
export class Spawner {
  #worker: Worker | undefined;
  #next = 0;
  readonly #spawned = new Map<number, RemoteWorker>();

  /** A Worker that will be there soon; what is posted to it waits for it. */
  spawn(mounts: readonly Mount[]): GuestWorker {
    const worker = this.#worker ??= this.#start();
    const id = this.#next++;
    const { port1, port2 } = new MessageChannel();
    const remote = new RemoteWorker(port1, () => {
      if (this.#spawned.delete(id)) this.#worker?.postMessage({ type: "terminate", id });
    });
    this.#spawned.set(id, remote);
    const permissions = permissionsOf(mounts);
    worker.postMessage({ type: "spawn", id, permissions, port: port2 }, [port2]);
    return remote;
  }

  /** A Worker may give away what it has itself; this one runs none but our own code. */
  #start(): Worker {
    const worker = spawn(SPAWNER_WORKER, { ...NOTHING, read: true, write: true });
    const failed = (remote: RemoteWorker | undefined, message: string) =>
      remote?.onerror?.(new ErrorEvent("error", { message }));
    worker.onmessage = (event) => {
      const { id, error } = event.data as FromSpawner;
      failed(this.#spawned.get(id), error);
    };
    onFailure(worker, (why) => {
      this.#worker = undefined;
      worker.terminate();
      const lost = [...this.#spawned.values()];
      this.#spawned.clear();
      for (const remote of lost) failed(remote, `what spawns Workers failed: ${why}`);
    });
    return worker;
  }

  close(): void {
    for (const remote of [...this.#spawned.values()]) remote.terminate();
    this.#worker?.terminate();
    this.#worker = undefined;
  }
}
