/**
 * The Worker that hosts one replica after the other. Holds no permission beyond their mounts.
 *
 * @module
 */
import type { FromWorker, ToWorker } from "./protocol.ts";
import { ReplicaHost } from "./replica_host.ts";
import { FRAMES_MAX } from "./trap.ts";

Error.stackTraceLimit = FRAMES_MAX;

interface Endpoint {
  onmessage: ((event: MessageEvent) => void) | null;
  postMessage(message: FromWorker[]): void;
}

/** Who hears nothing any more; so a Worker that is used again begins with nobody. */
let host: ReplicaHost | undefined;

function serve(endpoint: Endpoint): void {
  endpoint.onmessage = (event) => {
    // A Worker that another one spawned talks to the engine by a port.
    if (event.data.port instanceof MessagePort) return serve(event.data.port as Endpoint);
    host?.arrived();
    for (const message of event.data as ToWorker[]) {
      if (message.type !== "start") host?.receive(message);
      else {
        host = new ReplicaHost(message, (messages) => endpoint.postMessage(messages), () => {
          host = undefined;
        });
        host.run();
      }
    }
  };
}

serve(self as unknown as Endpoint);
