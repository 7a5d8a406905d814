/**
 * Nodes that are all connected with one another, for tests of what speaks over their streams: named
 * by words in place of keys, and with a count of the streams that are open.
 *
 * @module
 */
import { formatPublicKey } from "../agent/kernel/key.ts";
import type { Network, NetworkGate, NetworkWatcher, PeerStream } from "../agent/kernel/ports.ts";
import { MemoryHub } from "../agent/net/memory_network.ts";

const OPEN: NetworkGate = { mayConnect: () => true, mayOpen: () => true };

/** In memory, or over libp2p on loopback. */
export type NetworkKind = "memory" | "libp2p";

/** A network of nodes. */
export class PeerHub {
  readonly nodes = new Map<string, PeerNode>();
  /** Streams whose opener has not seen their end. */
  readonly open = new Set<PeerStream>();
  /** Streams that were ever opened. */
  opened = 0;
  readonly #memory = new MemoryHub();
  readonly #names = new Map<string, string>();

  constructor(readonly kind: NetworkKind = "memory") {}

  /** A node that is connected with all that are there. */
  async join(name: string): Promise<PeerNode> {
    const network = await this.#start();
    this.#names.set(network.self, name);
    const node = new PeerNode(this, name, network);
    for (const other of this.nodes.values()) await network.dial(other.network.addresses()[0]!);
    this.nodes.set(name, node);
    return node;
  }

  /** Breaks all its streams and connections. */
  async leave(name: string): Promise<void> {
    const node = this.nodes.get(name)!;
    this.nodes.delete(name);
    await node.network.close();
  }

  async close(): Promise<void> {
    await Promise.all([...this.nodes.keys()].map((name) => this.leave(name)));
  }

  nameOf(key: string): string {
    return this.#names.get(key)!;
  }

  async #start(): Promise<Network> {
    if (this.kind === "memory") {
      const key = new Uint8Array(32).fill(this.#names.size + 1);
      return this.#memory.join(formatPublicKey(key), OPEN);
    }
    const { startLibp2p } = await import("../agent/net/libp2p_network.ts");
    return await startLibp2p({
      secretKey: crypto.getRandomValues(new Uint8Array(32)),
      listen: ["/ip4/127.0.0.1/tcp/0"],
      gate: OPEN,
    });
  }
}

/** One node of a {@link PeerHub}. */
export class PeerNode implements Pick<Network, "open" | "handle" | "connections" | "watch"> {
  constructor(readonly hub: PeerHub, readonly name: string, readonly network: Network) {}

  connections() {
    return this.network.connections().map((connection) => ({
      ...connection,
      peer: this.hub.nameOf(connection.peer),
    }));
  }

  watch(watcher: NetworkWatcher): () => void {
    return this.network.watch({
      connected: (connection) =>
        watcher.connected({ ...connection, peer: this.hub.nameOf(connection.peer) }),
      disconnected: (peer) => watcher.disconnected(this.hub.nameOf(peer)),
    });
  }

  handle(protocol: string, answer: (stream: PeerStream) => void): () => void {
    return this.network.handle(
      protocol,
      (stream) => answer(new NamedStream(this.hub, stream, false)),
    );
  }

  async open(peer: string, protocol: string, signal?: AbortSignal): Promise<PeerStream> {
    const key = this.hub.nodes.get(peer)?.network.self ?? "";
    const stream = await this.network.open(key, protocol, signal);
    this.hub.opened++;
    return new NamedStream(this.hub, stream, true);
  }
}

/** A stream that tells the hub when its opener is done with it. */
class NamedStream implements PeerStream {
  readonly peer: string;
  readonly protocol: string;
  #ended = false;
  #atEnd = false;

  constructor(readonly hub: PeerHub, readonly stream: PeerStream, isOpener: boolean) {
    this.peer = hub.nameOf(stream.peer);
    this.protocol = stream.protocol;
    if (isOpener) hub.open.add(this);
  }

  async read(): Promise<Uint8Array | null> {
    const chunk = await this.#watched(this.stream.read());
    if (chunk === null) {
      this.#atEnd = true;
      if (this.#ended) this.hub.open.delete(this);
    }
    return chunk;
  }

  write(bytes: Uint8Array): Promise<void> {
    return this.#watched(this.stream.write(bytes));
  }

  async end(): Promise<void> {
    this.#ended = true;
    if (this.#atEnd) this.hub.open.delete(this);
    await this.#watched(this.stream.end());
  }

  abort(): void {
    this.hub.open.delete(this);
    this.stream.abort();
  }

  async #watched<T>(act: Promise<T>): Promise<T> {
    try {
      return await act;
    } catch (error) {
      this.hub.open.delete(this);
      throw error;
    }
  }
}

/** Waits until it holds. */
export async function eventually(holds: () => boolean, what: string): Promise<void> {
  for (let i = 0; i < 12_000; i++) {
    if (holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`never: ${what}`);
}
