/**
 * The Worker that hosts one replica. Holds no permission beyond the replica's mounts.
 *
 * @module
 */
import type { FromWorker, ToWorker } from "./protocol.ts";
import { ReplicaHost } from "./replica_host.ts";
import { FRAMES_MAX } from "./trap.ts";

Error.stackTraceLimit = FRAMES_MAX;

const scope = self as unknown as {
  onmessage: (event: MessageEvent) => void;
  postMessage(message: FromWorker[]): void;
};

let host: ReplicaHost | undefined;

scope.onmessage = (event) => {
  for (const message of event.data as ToWorker[]) {
    if (message.type === "start") {
      host = new ReplicaHost(message, (messages) => scope.postMessage(messages));
      if (message.world === "wasi:cli/command") host.runCommand();
      else host.openHandler();
    } else host?.receive(message);
  }
};
