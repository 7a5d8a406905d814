/**
 * The Worker that starts Workers; see `spawner.ts`.
 *
 * @module
 */
import { spawn, WORKER } from "./spawn.ts";
import type { FromSpawner, ToSpawner } from "./spawner.ts";

const scope = self as unknown as {
  onmessage: (event: MessageEvent) => void;
  postMessage(message: FromSpawner): void;
};

const spawned = new Map<number, Worker>();

scope.onmessage = (event) => {
  const message = event.data as ToSpawner;
  const { id } = message;
  if (message.type === "terminate") {
    spawned.get(id)?.terminate();
    spawned.delete(id);
    return;
  }
  try {
    const worker = spawn(WORKER, message.permissions);
    spawned.set(id, worker);
    worker.onerror = (failure) => {
      failure.preventDefault();
      scope.postMessage({ id, error: failure.message });
    };
    worker.postMessage({ port: message.port }, [message.port]);
  } catch (error) {
    scope.postMessage({ id, error: error instanceof Error ? error.message : String(error) });
  }
};
