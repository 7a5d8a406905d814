/**
 * A {@link Network} in memory, for tests: nodes that join one {@link MemoryHub} reach one another.
 *
 * Uses no timers and no chance, only promises, so what happens depends on the order of calls alone.
 * Addresses are `/memory/N/p2p/PEERID`. Passes the same suite as the real one
 * (`network_conformance.ts`).
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import { joinAddress, splitAddress } from "../kernel/peer_id.ts";
import type {
  Network,
  NetworkGate,
  NetworkWatcher,
  PeerConnection,
  PeerStream,
} from "../kernel/ports.ts";
import { brokenStream, closedNetwork, deniedDial, notConnected, refusedStream } from "./failure.ts";

/** Bytes of a direction of a stream that were written and not read; then writers wait. */
const ROOM_BYTES = 256 * 1024;

/** Where nodes in memory meet. */
export class MemoryHub {
  readonly #nodes = new Map<string, MemoryNetwork>();
  readonly #reachable: (from: string, to: string) => boolean;
  #names = 0;

  /** `reachable` is asked at every dial, with keys; without it everybody reaches everybody. */
  constructor(reachable: (from: string, to: string) => boolean = () => true) {
    this.#reachable = reachable;
  }

  /** A node whose key is `self` in text form. */
  join(self: string, gate: NetworkGate): Network {
    const transport = `/memory/${++this.#names}`;
    const node = new MemoryNetwork(self, gate, transport, {
      find: (wanted) => {
        const found = this.#nodes.get(wanted);
        return found !== undefined && this.#reachable(self, found.self) ? found : undefined;
      },
      leave: () => void this.#nodes.delete(transport),
    });
    this.#nodes.set(transport, node);
    return node;
  }
}

interface Hub {
  find(transport: string): MemoryNetwork | undefined;
  leave(): void;
}

/** One end of a connection. */
interface Link {
  readonly remote: MemoryNetwork;
  readonly direction: "inbound" | "outbound";
  readonly streams: Set<MemoryStream>;
}

class MemoryNetwork implements Network {
  readonly #links = new Map<string, Link>();
  readonly #handlers = new Map<string, (stream: PeerStream) => void>();
  readonly #watchers = new Set<NetworkWatcher>();
  #closed = false;

  constructor(
    readonly self: string,
    readonly gate: NetworkGate,
    readonly transport: string,
    readonly hub: Hub,
  ) {}

  addresses(): readonly string[] {
    return this.#closed ? [] : [joinAddress(this.transport, this.self)];
  }

  connections(): readonly PeerConnection[] {
    this.#askAgain();
    return Array.from(this.#links.values(), (link) => this.#describe(link));
  }

  async dial(address: string, signal?: AbortSignal): Promise<string> {
    if (this.#closed) throw closedNetwork();
    const { transport, key } = splitAddress(address);
    if (!/^\/memory\/\d+$/.test(transport)) {
      throw new RealmError(
        "usage",
        `Cannot connect to ${address}: it is of no transport that there is, wanted /memory/N`,
      );
    }
    signal?.throwIfAborted();
    // As over a real network, an answer takes a while.
    await Promise.resolve();
    signal?.throwIfAborted();
    if (key !== undefined && !this.gate.mayConnect(key)) throw deniedDial(address, key);
    const remote = this.hub.find(transport);
    if (remote === undefined || remote === this) throw unreachable(address, "nobody answers there");
    if (key !== undefined && remote.self !== key) {
      throw unreachable(address, `another key answers there, ${remote.self}`);
    }
    if (!this.gate.mayConnect(remote.self)) throw deniedDial(address, remote.self);
    if (!remote.gate.mayConnect(this.self)) {
      throw unreachable(address, "the other end ended the connection at once");
    }
    if (this.#closed) throw closedNetwork();
    if (!this.#links.has(remote.self)) {
      this.#links.set(remote.self, { remote, direction: "outbound", streams: new Set() });
      remote.#links.set(this.self, { remote: this, direction: "inbound", streams: new Set() });
      this.#tell("connected", remote.self);
      remote.#tell("connected", this.self);
    }
    return remote.self;
  }

  disconnect(peer: string): void {
    const link = this.#links.get(peer);
    if (link === undefined) return;
    this.#drop(peer);
    link.remote.#drop(this.self);
  }

  async open(peer: string, protocol: string, signal?: AbortSignal): Promise<PeerStream> {
    signal?.throwIfAborted();
    this.#askAgain();
    await Promise.resolve();
    signal?.throwIfAborted();
    const link = this.#links.get(peer);
    if (link === undefined) throw notConnected(peer);
    const { remote } = link;
    const answer = remote.#handlers.get(protocol);
    if (answer === undefined || !remote.gate.mayOpen(this.self, protocol)) {
      throw refusedStream(peer, protocol);
    }
    const here = new MemoryPipe();
    const there = new MemoryPipe();
    const mine = new MemoryStream(peer, protocol, false, here, there, () => {
      this.#askAgain();
      remote.#askAgain();
    });
    const theirs = new MemoryStream(this.self, protocol, true, there, here, () => {
      this.#askAgain();
      remote.#askAgain();
    });
    link.streams.add(mine);
    const back = remote.#links.get(this.self)!;
    back.streams.add(theirs);
    const done = () => {
      link.streams.delete(mine);
      back.streams.delete(theirs);
    };
    void Promise.all([here.done, there.done]).then(done);
    answer(theirs);
    return mine;
  }

  handle(protocol: string, answer: (stream: PeerStream) => void): () => void {
    if (this.#handlers.has(protocol)) throw new Error(`${protocol} is answered already`);
    this.#handlers.set(protocol, answer);
    return () => void this.#handlers.delete(protocol);
  }

  watch(watcher: NetworkWatcher): () => void {
    this.#watchers.add(watcher);
    return () => void this.#watchers.delete(watcher);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.hub.leave();
    for (const peer of [...this.#links.keys()]) this.disconnect(peer);
  }

  /** Ends what the gates of either end no longer allow. */
  #askAgain(): void {
    for (const [peer, { remote, streams }] of [...this.#links]) {
      if (!this.gate.mayConnect(peer) || !remote.gate.mayConnect(this.self)) {
        this.disconnect(peer);
        continue;
      }
      for (const stream of [...streams]) {
        // Its own are for the other end's gate.
        if (stream.isAnswered && !this.gate.mayOpen(peer, stream.protocol)) stream.abort();
      }
    }
  }

  #drop(peer: string): void {
    const link = this.#links.get(peer);
    if (link === undefined) return;
    this.#links.delete(peer);
    for (const stream of link.streams) stream.abort();
    this.#tell("disconnected", peer);
  }

  #tell(what: "connected" | "disconnected", peer: string): void {
    for (const watcher of [...this.#watchers]) {
      if (what === "disconnected") watcher.disconnected(peer);
      else {
        const link = this.#links.get(peer);
        if (link !== undefined) watcher.connected(this.#describe(link));
      }
    }
  }

  #describe({ remote, direction }: Link): PeerConnection {
    return {
      peer: remote.self,
      address: joinAddress(remote.transport, remote.self),
      direction,
      relayed: false,
      latencyMs: 0,
    };
  }
}

/** One direction of a stream. */
class MemoryPipe {
  readonly #chunks: Uint8Array[] = [];
  #bytes = 0;
  #state: "open" | "ended" | "broken" = "open";
  #changed = Promise.withResolvers<void>();
  readonly #done = Promise.withResolvers<void>();
  /** Resolves when it was read to its end, or broke. */
  readonly done = this.#done.promise;

  async write(bytes: Uint8Array): Promise<void> {
    if (this.#state !== "open") throw brokenStream();
    if (bytes.length > 0) {
      this.#chunks.push(bytes.slice());
      this.#bytes += bytes.length;
      this.#change();
    }
    while (this.#bytes > ROOM_BYTES) {
      await this.#changed.promise;
      if ((this.#state as string) === "broken") throw brokenStream();
    }
  }

  async read(): Promise<Uint8Array | null> {
    for (;;) {
      if (this.#state === "broken") throw brokenStream();
      const chunk = this.#chunks.shift();
      if (chunk !== undefined) {
        this.#bytes -= chunk.length;
        this.#change();
        return chunk;
      }
      if (this.#state === "ended") {
        this.#done.resolve();
        return null;
      }
      await this.#changed.promise;
    }
  }

  end(): void {
    if (this.#state === "broken") throw brokenStream();
    this.#state = "ended";
    this.#change();
  }

  break(): void {
    this.#state = "broken";
    this.#chunks.length = 0;
    this.#done.resolve();
    this.#change();
  }

  #change(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}

class MemoryStream implements PeerStream {
  constructor(
    readonly peer: string,
    readonly protocol: string,
    /** Whether the other end opened it. */
    readonly isAnswered: boolean,
    readonly inward: MemoryPipe,
    readonly outward: MemoryPipe,
    readonly askAgain: () => void,
  ) {}

  read(): Promise<Uint8Array | null> {
    this.askAgain();
    return this.inward.read();
  }

  write(bytes: Uint8Array): Promise<void> {
    this.askAgain();
    return this.outward.write(bytes);
  }

  async end(): Promise<void> {
    this.outward.end();
  }

  abort(): void {
    this.inward.break();
    this.outward.break();
  }
}

function unreachable(address: string, why: string): RealmError {
  return new RealmError("unreachable", `Cannot connect to ${address}: ${why}`);
}
