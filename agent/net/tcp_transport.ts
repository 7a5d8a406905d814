/**
 * TCP for libp2p on `Deno.connect` and `Deno.listen`.
 *
 * `@libp2p/tcp` stands on `node:net`, of which Deno 2.7 ignores `noDelay` (a ping takes 80 ms) and
 * has no `resetAndDestroy` (an aborted connection stays open). Here nothing of `node:net` is used,
 * and reading stops where nobody takes what comes.
 *
 * Sockets that come in are bounded in number, together and by address, before anything else is done
 * with them; the handshake has a time limit (see `bounds.ts`).
 *
 * @module
 */
import { transportSymbol, TypedEventEmitter } from "@libp2p/interface";
import type {
  ComponentLogger,
  Connection,
  CreateListenerOptions,
  DialTransportOptions,
  Listener,
  ListenerEvents,
  MultiaddrConnection,
  Transport,
} from "@libp2p/interface";
import { AbstractMultiaddrConnection, getThinWaistAddresses, type SendResult } from "@libp2p/utils";
import { type Multiaddr, multiaddr } from "@multiformats/multiaddr";
import type { Uint8ArrayList } from "uint8arraylist";
import { mappedIpv4, parseTcpAddress, placeOf } from "./tcp_address.ts";

/** How sockets are made; tests look at what is done with them. */
export interface Sockets {
  connect(options: Deno.ConnectOptions & { signal: AbortSignal }): Promise<Deno.TcpConn>;
  listen(options: Deno.TcpListenOptions): Deno.TcpListener;
}

/** What {@link tcpTransport} is made with. */
export interface TcpOptions {
  /** Sockets that others opened and that are there at once. */
  readonly inboundMax: number;
  /** Of them, sockets of one address. */
  readonly inboundPerAddressMax: number;
  /** Of these, sockets that are in their handshake. */
  readonly pendingPerAddressMax: number;
  readonly sockets?: Sockets;
}

const SYSTEM: Sockets = {
  connect: (options) => Deno.connect(options),
  listen: (options) => Deno.listen(options),
};

/** Bytes that one read takes at most. */
const READ_BYTES = 64 * 1024;
/** Bytes that wait to be written; then writers wait. */
const QUEUE_BYTES_MAX = 256 * 1024;

/** A transport for `createLibp2p({ transports })`. */
export function tcpTransport(
  options: TcpOptions,
): (components: { logger: ComponentLogger }) => Transport {
  return ({ logger }) => new TcpTransport(logger, options, options.sockets ?? SYSTEM);
}

class TcpTransport implements Transport {
  readonly [transportSymbol] = true as const;
  readonly [Symbol.toStringTag] = "realm/tcp";
  readonly #inbound: InboundCount;
  readonly #pending: InboundCount;

  constructor(
    readonly logger: ComponentLogger,
    readonly options: TcpOptions,
    readonly sockets: Sockets,
  ) {
    this.#inbound = new InboundCount(options.inboundMax, options.inboundPerAddressMax);
    this.#pending = new InboundCount(options.inboundMax, options.pendingPerAddressMax);
  }

  async dial(address: Multiaddr, options: DialTransportOptions<any>): Promise<Connection> {
    const target = parseTcpAddress(address.toString());
    if (target === undefined) throw new Error(`${address} is no TCP address`);
    options.signal.throwIfAborted();
    const socket = await this.sockets.connect({
      hostname: target.host,
      port: target.port,
      signal: options.signal,
    });
    const connection = new TcpConnection(socket, address, "outbound", this.logger);
    try {
      return await options.upgrader.upgradeOutbound(connection, options);
    } catch (error) {
      connection.abort(error as Error);
      throw error;
    }
  }

  createListener(options: CreateListenerOptions): Listener {
    return new TcpListener(options, this.logger, this.sockets, this.#inbound, this.#pending);
  }

  listenFilter(addresses: Multiaddr[]): Multiaddr[] {
    return addresses.filter((address) => parseTcpAddress(address.toString()) !== undefined);
  }

  dialFilter(addresses: Multiaddr[]): Multiaddr[] {
    return this.listenFilter(addresses);
  }
}

/** Sockets that came in, by address. */
class InboundCount {
  readonly #byHost = new Map<string, number>();
  #total = 0;

  constructor(readonly max: number, readonly perAddressMax: number) {}

  /** Takes a place, if there is one; the returned function gives it back, once. */
  take(host: string): (() => void) | undefined {
    const ofHost = this.#byHost.get(host) ?? 0;
    if (this.#total >= this.max || ofHost >= this.perAddressMax) return undefined;
    this.#byHost.set(host, ofHost + 1);
    this.#total++;
    let taken = true;
    return () => {
      if (!taken) return;
      taken = false;
      this.#total--;
      const left = this.#byHost.get(host)! - 1;
      if (left === 0) this.#byHost.delete(host);
      else this.#byHost.set(host, left);
    };
  }
}

class TcpListener extends TypedEventEmitter<ListenerEvents> implements Listener {
  readonly #stop = new AbortController();
  readonly #open = new Set<TcpConnection>();
  #listener: Deno.TcpListener | undefined;
  #address: Multiaddr | undefined;

  constructor(
    readonly options: CreateListenerOptions,
    readonly logger: ComponentLogger,
    readonly sockets: Sockets,
    readonly inbound: InboundCount,
    readonly pending: InboundCount,
  ) {
    super();
  }

  async listen(address: Multiaddr): Promise<void> {
    const { host, port } = parseTcpAddress(address.toString())!;
    this.#address = address;
    this.#listener = this.sockets.listen({ hostname: host, port });
    void this.#accept(this.#listener);
    this.safeDispatchEvent("listening");
  }

  getAddrs(): Multiaddr[] {
    if (this.#listener === undefined) return [];
    return getThinWaistAddresses(this.#address, this.#listener.addr.port);
  }

  updateAnnounceAddrs(): void {}

  async close(): Promise<void> {
    if (this.#listener === undefined) return;
    this.#stop.abort();
    this.#listener.close();
    this.#listener = undefined;
    for (const connection of this.#open) connection.abort(new Error("The listener was closed"));
    this.safeDispatchEvent("close");
  }

  async #accept(listener: Deno.TcpListener): Promise<void> {
    while (!this.#stop.signal.aborted) {
      let socket: Deno.TcpConn;
      try {
        socket = await listener.accept();
      } catch (error) {
        if (this.#stop.signal.aborted || error instanceof Deno.errors.BadResource) return;
        // Out of descriptors, or the other end is gone again.
        await new Promise((resolve) => setTimeout(resolve, 100));
        continue;
      }
      this.#welcome(socket);
    }
  }

  #welcome(socket: Deno.TcpConn): void {
    const { hostname, port } = socket.remoteAddr;
    const host = mappedIpv4(hostname);
    const giveBack = this.inbound.take(placeOf(host));
    const met = giveBack && this.pending.take(placeOf(host));
    if (giveBack === undefined || met === undefined) {
      giveBack?.();
      socket.close();
      return;
    }
    const from = multiaddr(`/${host.includes(":") ? "ip6" : "ip4"}/${host}/tcp/${port}`);
    const connection = new TcpConnection(socket, from, "inbound", this.logger);
    this.#open.add(connection);
    connection.addEventListener("close", () => {
      this.#open.delete(connection);
      void connection.written().then(giveBack);
    });
    this.options.upgrader.upgradeInbound(connection, { signal: this.#stop.signal })
      .catch((error) => connection.abort(error))
      .finally(met);
  }
}

class TcpConnection extends AbstractMultiaddrConnection implements MultiaddrConnection {
  readonly #socket: Deno.TcpConn;
  readonly #queue: Uint8Array[] = [];
  #queued = 0;
  #writing: Promise<void> | undefined;
  #resumed: PromiseWithResolvers<void> | undefined;
  #gone = false;

  constructor(
    socket: Deno.TcpConn,
    remoteAddr: Multiaddr,
    direction: "inbound" | "outbound",
    logger: ComponentLogger,
  ) {
    super({ remoteAddr, direction, log: logger.forComponent("realm:tcp") });
    this.#socket = socket;
    // Else a small message waits for the answer to the one before, which waits 40 ms for more.
    socket.setNoDelay(true);
    void this.#receive();
  }

  sendData(data: Uint8ArrayList): SendResult {
    for (const piece of data) this.#queue.push(piece);
    this.#queued += data.byteLength;
    this.#writing ??= this.#write();
    return { sentBytes: data.byteLength, canSendMore: this.#queued < QUEUE_BYTES_MAX };
  }

  async sendClose(): Promise<void> {
    await this.#writing;
    this.#release();
  }

  sendReset(): void {
    this.#queue.length = 0;
    this.#queued = 0;
    this.#release();
  }

  sendPause(): void {
    this.#resumed ??= Promise.withResolvers();
  }

  sendResume(): void {
    this.#resumed?.resolve();
    this.#resumed = undefined;
  }

  /**
   * Resolves when nothing is being written any more. Deno cannot cancel a write: a socket that was
   * closed stays open beneath one until the other end reads, or goes.
   */
  async written(): Promise<void> {
    await this.#writing;
  }

  #release(): void {
    if (this.#gone) return;
    this.#gone = true;
    this.sendResume();
    this.#socket.close();
  }

  async #receive(): Promise<void> {
    const room = new Uint8Array(READ_BYTES);
    try {
      while (!this.#gone) {
        await this.#resumed?.promise;
        const length = await this.#socket.read(room);
        if (length === null) break;
        // A copy: what is kept of a few bytes must not keep all of the room.
        this.onData(room.slice(0, length));
      }
    } catch (error) {
      if (!this.#gone) this.abort(error as Error);
    }
    // A connection is never half open: who has nothing to say any more is gone.
    this.#release();
    this.onTransportClosed();
  }

  async #write(): Promise<void> {
    try {
      while (this.#queue.length > 0 && !this.#gone) {
        const bytes = joined(this.#queue.splice(0));
        for (let at = 0; at < bytes.length;) at += await this.#socket.write(bytes.subarray(at));
        const full = this.#queued >= QUEUE_BYTES_MAX;
        this.#queued -= Math.min(this.#queued, bytes.length);
        if (full && this.#queued < QUEUE_BYTES_MAX) this.safeDispatchEvent("drain");
      }
    } catch (error) {
      if (!this.#gone) this.abort(error as Error);
    } finally {
      this.#writing = undefined;
    }
  }
}

function joined(pieces: Uint8Array[]): Uint8Array {
  if (pieces.length === 1) return pieces[0]!;
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
