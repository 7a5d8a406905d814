/**
 * The streams of a network that may be joined later, or never: an agent listens only where it is
 * told to.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import type { Network, NetworkWatcher, PeerConnection, PeerStream } from "../kernel/ports.ts";

type Answer = (stream: PeerStream) => void;

/** Without a network there are no connections, and nobody can be reached. */
export class LateNetwork implements Pick<Network, "open" | "connections" | "handle" | "watch"> {
  #network: Network | undefined;
  readonly #answers = new Map<string, Answer>();
  readonly #watchers = new Set<NetworkWatcher>();
  /** What ends an answer or watch at the network. */
  readonly #ends = new Map<string | NetworkWatcher, () => void>();

  /** Once. */
  join(network: Network): void {
    this.#network = network;
    for (const [protocol, answer] of this.#answers) {
      this.#ends.set(protocol, network.handle(protocol, answer));
    }
    for (const watcher of this.#watchers) {
      this.#ends.set(watcher, network.watch(watcher));
      for (const connection of network.connections()) watcher.connected(connection);
    }
  }

  connections(): readonly PeerConnection[] {
    return this.#network?.connections() ?? [];
  }

  async open(peer: string, protocol: string, signal?: AbortSignal): Promise<PeerStream> {
    if (this.#network) return await this.#network.open(peer, protocol, signal);
    throw new RealmError("unreachable", `Cannot reach ${peer}: this node has not joined a network`);
  }

  handle(protocol: string, answer: Answer): () => void {
    this.#answers.set(protocol, answer);
    if (this.#network) this.#ends.set(protocol, this.#network.handle(protocol, answer));
    return () => {
      this.#answers.delete(protocol);
      this.#ends.get(protocol)?.();
    };
  }

  watch(watcher: NetworkWatcher): () => void {
    this.#watchers.add(watcher);
    if (this.#network) this.#ends.set(watcher, this.#network.watch(watcher));
    return () => {
      this.#watchers.delete(watcher);
      this.#ends.get(watcher)?.();
    };
  }
}
