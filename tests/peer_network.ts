/**
 * Nodes that are all connected with one another, in memory: just enough of a `Network` for tests of
 * what speaks over its streams, with streams that can be cut, counted and slowed down.
 *
 * @module
 */
import { RealmError } from "../agent/kernel/error.ts";
import type { Network, NetworkWatcher, PeerConnection, PeerStream } from "../agent/kernel/ports.ts";

/** Bytes that a stream holds before writing waits. */
const ROOM_BYTES = 256 * 1024;

const broken = () => new RealmError("unreachable", "Cannot use the stream: it broke");

/** One direction of a stream. */
class Lane {
  readonly chunks: Uint8Array[] = [];
  bytes = 0;
  ended = false;
  broken = false;
  #changed = Promise.withResolvers<void>();

  change(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  async read(): Promise<Uint8Array | null> {
    for (;;) {
      if (this.broken) throw broken();
      const chunk = this.chunks.shift();
      if (chunk) {
        this.bytes -= chunk.length;
        this.change();
        return chunk;
      }
      if (this.ended) return null;
      await this.#changed.promise;
    }
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (this.broken || this.ended) throw broken();
    this.chunks.push(bytes.slice());
    this.bytes += bytes.length;
    this.change();
    while (this.bytes > ROOM_BYTES && !this.broken) await this.#changed.promise;
    if (this.broken) throw broken();
  }
}

/** A network of nodes in memory. */
export class PeerHub {
  readonly nodes = new Map<string, PeerNode>();
  /** Streams with an end that is open. */
  readonly open = new Set<() => void>();
  /** Streams that were ever opened. */
  opened = 0;

  /** A node that is connected with all that are there. */
  join(name: string): PeerNode {
    const node = new PeerNode(this, name);
    const others = [...this.nodes.values()];
    this.nodes.set(name, node);
    for (const other of others) {
      for (const watcher of other.watchers) watcher.connected(connectionOf(name));
    }
    return node;
  }

  /** Breaks all its streams and connections. */
  leave(name: string): void {
    this.nodes.get(name)?.cut();
    this.nodes.delete(name);
    for (const { watchers } of this.nodes.values()) {
      for (const watcher of watchers) watcher.disconnected(name);
    }
  }
}

function connectionOf(peer: string): PeerConnection {
  return { peer, address: `/memory/${peer}`, direction: "inbound", relayed: false };
}

/** One node's side of a {@link PeerHub}. */
export class PeerNode implements Pick<Network, "open" | "handle" | "connections" | "watch"> {
  readonly watchers = new Set<NetworkWatcher>();
  readonly handlers = new Map<string, (stream: PeerStream) => void>();
  readonly #streams = new Set<() => void>();

  constructor(readonly hub: PeerHub, readonly self: string) {}

  connections(): PeerConnection[] {
    return [...this.hub.nodes.keys()].filter((name) => name !== this.self).map(connectionOf);
  }

  watch(watcher: NetworkWatcher): () => void {
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  }

  handle(protocol: string, answer: (stream: PeerStream) => void): () => void {
    this.handlers.set(protocol, answer);
    return () => this.handlers.delete(protocol);
  }

  async open(peer: string, protocol: string): Promise<PeerStream> {
    await Promise.resolve();
    const other = this.hub.nodes.get(peer);
    if (!other) throw new RealmError("unreachable", `Cannot reach ${peer}: it is not there`);
    const answer = other.handlers.get(protocol);
    if (!answer) throw new RealmError("refused", `Cannot open ${protocol}: not answered`);
    const [there, back] = [new Lane(), new Lane()];
    const abort = () => {
      for (const lane of [there, back]) {
        if (!lane.ended || lane.bytes > 0) lane.broken = true;
        lane.change();
      }
      close();
    };
    const close = () => {
      this.#streams.delete(abort);
      other.#streams.delete(abort);
      this.hub.open.delete(abort);
    };
    this.#streams.add(abort);
    other.#streams.add(abort);
    this.hub.open.add(abort);
    this.hub.opened++;
    const end = (name: string, from: Lane, to: Lane): PeerStream => ({
      peer: name,
      protocol,
      read: () => from.read(),
      write: (bytes) => to.write(bytes),
      end: async () => {
        to.ended = true;
        to.change();
        if (from.ended) close();
      },
      abort,
    });
    answer(end(this.self, there, back));
    return end(peer, back, there);
  }

  /** Breaks all its streams. */
  cut(): void {
    for (const abort of [...this.#streams]) abort();
  }
}

/** Waits until it holds. */
export async function eventually(holds: () => boolean, what: string): Promise<void> {
  for (let i = 0; i < 2000; i++) {
    if (holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`never: ${what}`);
}
