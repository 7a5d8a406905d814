/**
 * Lets a process end that has used libp2p.
 *
 * The peer store of libp2p takes its locks from `mortice`, which opens a BroadcastChannel for
 * Workers that ask for the same locks. Nobody closes it, and Deno runs on for as long as it is open.
 * No Worker here asks for locks, so it is closed at once: locks within one thread do not need it.
 *
 * @module
 */
import mortice from "mortice";

class ClosedChannel extends BroadcastChannel {
  constructor(name: string) {
    super(name);
    this.close();
  }
}

const Channel = globalThis.BroadcastChannel;
globalThis.BroadcastChannel = ClosedChannel;
try {
  // The first lock opens the one channel of all.
  mortice({ name: "realm", singleProcess: true }).finalize();
} finally {
  globalThis.BroadcastChannel = Channel;
}
