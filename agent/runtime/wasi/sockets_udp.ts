/**
 * `wasi:sockets/udp`: datagrams, in the states and with the errors of wasmtime.
 *
 * The socket itself is the agent's: see `broker/sockets.ts`. It is asked once for each address
 * whether it may be sent to; afterwards sending waits for nobody.
 *
 * @see https://github.com/WebAssembly/wasi-sockets/tree/v0.2.12/wit/udp.wit
 * @module
 */
import {
  type Datagram,
  packDatagram,
  PAYLOAD_BYTES_MAX,
  unpackDatagram,
} from "../../kernel/datagram.ts";
import { formatIp } from "../../kernel/ip_address.ts";
import type { AgentCall } from "../agent_calls.ts";
import type { WasiInstance } from "./context.ts";
import { clampLength, Pollable, type Readiness, STREAM_BYTES_MAX } from "./io.ts";
import { guardResource, Resource } from "./resource.ts";
import {
  bindSocket,
  type BoundSocket,
  callNetwork,
  codeOf,
  fail,
  type Family,
  fitsFamily,
  fromWit,
  isRemote,
  type Network,
  requireNetwork,
  Socket,
  type SocketAddress,
  SocketOptions,
  toWit,
  type WitSocketAddress,
} from "./sockets_network.ts";

/** Datagrams of one `send` or `receive`, as in wasmtime. */
const DATAGRAMS_MAX = 16;
/** Room that any datagram fits in. */
const DATAGRAM_BYTES_MAX = 65_535;
/** Addresses that are known to be allowed; past it they are forgotten. */
const PEERS_MAX = 1024;

const CALL = "wasi:sockets/udp#[method]udp-socket.";

function sameAddress(a: SocketAddress, b: SocketAddress): boolean {
  return keyOf(a) === keyOf(b);
}

function keyOf({ ip, port }: SocketAddress): string {
  return `${formatIp(ip)} ${port}`;
}

/** Resource `udp-socket`. */
export class UdpSocket extends Socket {
  readonly #family: Family;
  readonly #forget: () => void;
  readonly #options = new SocketOptions(106_496n, 106_496n);
  readonly #peers = new Set<string>();
  #binding = false;
  #bound: BoundSocket | undefined;
  #remote: SocketAddress | undefined;
  /** Streams that the guest holds. */
  #streams = 0;
  /** The next datagram for {@link IncomingDatagramStream}. */
  #next: Datagram | undefined;

  constructor(host: WasiInstance, family: Family) {
    super(host, "udp-socket");
    this.#family = family;
    this.#forget = host.onClose(() => this.#bound?.call.drop());
  }

  startBind(_network: Network, local: WitSocketAddress): Promise<void> {
    if (this.#binding) fail("concurrency-conflict");
    const address = fromWit(local);
    if (this.#bound) fail("invalid-state");
    if (!fitsFamily(address, this.#family)) fail("invalid-argument");
    return bindSocket(this.host, "udp", address).then((bound) => {
      this.#bound = bound;
      this.#binding = true;
    });
  }

  finishBind(): void {
    if (!this.#binding) fail("not-in-progress");
    this.#binding = false;
  }

  stream(
    remote: WitSocketAddress | undefined,
  ): StreamPair | Promise<StreamPair> {
    if (this.#streams > 0) this.host.trap("Cannot open streams: the socket's last are not dropped");
    if (!this.#bound) fail("invalid-state");
    if (remote === undefined) {
      this.#remote = undefined;
      return this.#open();
    }
    const address = fromWit(remote);
    if (!fitsFamily(address, this.#family) || !isRemote(address)) fail("invalid-argument");
    const connect = () => {
      this.#remote = address;
      return this.#open();
    };
    return this.#peers.has(keyOf(address)) ? connect() : this.#check(address).then(connect);
  }

  #open(): StreamPair {
    const access = {
      call: this.#bound!.call,
      remote: this.#remote,
      family: this.#family,
      opened: () => this.#streams++,
      dropped: () => this.#streams--,
      peek: () => this.#peek(),
      take: () => {
        const datagram = this.#peek();
        this.#next = undefined;
        // Whoever was let through may be answered.
        if (datagram) this.#remember({ ip: datagram.address, port: datagram.port });
        return datagram;
      },
      mayReach: (address: SocketAddress) => this.#peers.has(keyOf(address)),
      check: (address: SocketAddress) => this.#check(address),
    };
    return [
      new IncomingDatagramStream(this.host, access, this),
      new OutgoingDatagramStream(this.host, access, this),
    ];
  }

  /** The next datagram that the streams let through. Throws what ended the socket. */
  #peek(): Datagram | undefined {
    const { call } = this.#bound!;
    while (!this.#next) {
      const chunk = call.take();
      if (!chunk) return undefined;
      const datagram = unpackDatagram(chunk);
      if (!datagram) continue;
      const from = { ip: datagram.address, port: datagram.port };
      if (this.#remote && !sameAddress(from, this.#remote)) continue;
      this.#next = datagram;
    }
    return this.#next;
  }

  /** Asks the agent whether an address may be sent to. Throws its error. */
  async #check({ ip, port }: SocketAddress): Promise<void> {
    const address = formatIp(ip);
    const request = { op: "udp-check", id: this.#bound!.id, address, port };
    const call = callNetwork(this.host, `${CALL}stream`, "outbound", request);
    try {
      await call.answering();
    } catch (error) {
      fail(codeOf(error));
    } finally {
      call.drop();
    }
    this.#remember({ ip, port });
  }

  #remember(peer: SocketAddress): void {
    if (this.#peers.size >= PEERS_MAX) this.#peers.clear();
    this.#peers.add(keyOf(peer));
  }

  localAddress(): WitSocketAddress {
    return toWit((this.#bound ?? fail("invalid-state")).local);
  }

  remoteAddress(): WitSocketAddress {
    return toWit(this.#remote ?? fail("invalid-state"));
  }

  addressFamily(): Family {
    return this.#family;
  }

  unicastHopLimit(): number {
    return this.#options.hopLimit;
  }

  setUnicastHopLimit(value: number): void {
    this.#options.setHopLimit(value);
  }

  receiveBufferSize(): bigint {
    return this.#options.receiveBufferSize;
  }

  setReceiveBufferSize(value: bigint): void {
    this.#options.setReceiveBufferSize(value);
  }

  sendBufferSize(): bigint {
    return this.#options.sendBufferSize;
  }

  setSendBufferSize(value: bigint): void {
    this.#options.setSendBufferSize(value);
  }

  subscribe(): Pollable {
    return new Pollable(this.host, { ready: () => true, wait: () => () => {} }, this);
  }

  protected override released(): void {
    this.#forget();
    this.#bound?.call.drop();
  }
}
guardResource("wasi:sockets/udp", "udp-socket", UdpSocket);

type StreamPair = [IncomingDatagramStream, OutgoingDatagramStream];

/** What streams need of their socket. */
interface SocketAccess {
  readonly call: AgentCall;
  readonly remote: SocketAddress | undefined;
  readonly family: Family;
  opened(): void;
  dropped(): void;
  peek(): Datagram | undefined;
  take(): Datagram | undefined;
  mayReach(address: SocketAddress): boolean;
  check(address: SocketAddress): Promise<void>;
}

/** Resource `incoming-datagram-stream`. */
export class IncomingDatagramStream extends Resource {
  readonly #access: SocketAccess;

  constructor(host: WasiInstance, access: SocketAccess, socket: Resource) {
    super(host, "incoming-datagram-stream", socket);
    this.#access = access;
    access.opened();
  }

  receive(countMax: bigint): { data: Uint8Array; remoteAddress: WitSocketAddress }[] {
    const most = clampLength(countMax, DATAGRAMS_MAX);
    const datagrams = [];
    let bytes = 0;
    while (datagrams.length < most && bytes < STREAM_BYTES_MAX) {
      const datagram = this.#access.take();
      if (!datagram) break;
      const { payload: data, address: ip, port } = datagram;
      datagrams.push({ data, remoteAddress: toWit({ ip, port }) });
      bytes += data.length + 1;
    }
    return datagrams;
  }

  subscribe(): Pollable {
    const { call } = this.#access;
    const readiness: Readiness = {
      ready: () => this.#access.peek() !== undefined || (call.readable && call.closed),
      wait: (wake) => call.wait(wake),
    };
    return new Pollable(this.host, readiness, this);
  }

  protected override released(): void {
    this.#access.dropped();
  }
}
guardResource("wasi:sockets/udp", "incoming-datagram-stream", IncomingDatagramStream);

/** `outgoing-datagram` */
interface OutgoingDatagram {
  readonly data: Uint8Array;
  readonly remoteAddress?: WitSocketAddress;
}

/** Resource `outgoing-datagram-stream`. */
export class OutgoingDatagramStream extends Resource {
  readonly #access: SocketAccess;
  /** What the last `check-send` allowed. */
  #permit = 0;

  constructor(host: WasiInstance, access: SocketAccess, socket: Resource) {
    super(host, "outgoing-datagram-stream", socket);
    this.#access = access;
    access.opened();
  }

  #isReady(): boolean {
    return this.#access.call.credit >= DATAGRAM_BYTES_MAX;
  }

  checkSend(): bigint {
    this.#permit = this.#isReady() ? DATAGRAMS_MAX : 0;
    return BigInt(this.#permit);
  }

  send(datagrams: readonly OutgoingDatagram[]): bigint | Promise<bigint> {
    if (datagrams.length === 0) return 0n;
    if (datagrams.length > this.#permit) {
      this.host.trap(
        `Cannot send ${datagrams.length} datagrams: check-send allows ${this.#permit}`,
      );
    }
    this.#permit = 0;
    return this.#send(datagrams, 0);
  }

  /** Sends from the given one on; waits only for an address that was never asked about. */
  #send(datagrams: readonly OutgoingDatagram[], sent: number): bigint | Promise<bigint> {
    const { call } = this.#access;
    let count = sent;
    try {
      for (; count < datagrams.length; count++) {
        const { data, remoteAddress } = datagrams[count]!;
        const to = this.#target(data, remoteAddress);
        if (!this.#access.mayReach(to)) {
          const from = count;
          return this.#access.check(to).then(
            () => this.#send(datagrams, from),
            (error) => from > 0 ? BigInt(from) : Promise.reject(error),
          );
        }
        const chunk = packDatagram({ address: to.ip, port: to.port, payload: data });
        if (call.credit < chunk.length) break;
        call.write(chunk);
      }
    } catch (error) {
      // What was sent is told; the error comes again with the next call.
      if (count === 0 || error instanceof Error) throw error;
    }
    return BigInt(count);
  }

  /** Where a datagram goes. Throws the error of the interface. */
  #target(data: Uint8Array, remote: WitSocketAddress | undefined): SocketAddress {
    const { remote: connected, family } = this.#access;
    if (data.length > PAYLOAD_BYTES_MAX[family === "ipv4" ? 4 : 16]) fail("datagram-too-large");
    if (remote === undefined) return connected ?? fail("invalid-argument");
    const to = fromWit(remote);
    if (!isRemote(to) || !fitsFamily(to, family)) fail("invalid-argument");
    if (connected && !sameAddress(connected, to)) fail("invalid-argument");
    return to;
  }

  subscribe(): Pollable {
    const { call } = this.#access;
    const readiness: Readiness = {
      ready: () => this.#isReady() || call.closed,
      wait: (wake) => call.wait(wake),
    };
    return new Pollable(this.host, readiness, this);
  }

  protected override released(): void {
    this.#access.dropped();
  }
}
guardResource("wasi:sockets/udp", "outgoing-datagram-stream", OutgoingDatagramStream);

/** `create-udp-socket` */
export function createUdpSocket(host: WasiInstance, family: Family): UdpSocket {
  requireNetwork(host, "wasi:sockets/udp-create-socket#create-udp-socket", "sockets");
  return new UdpSocket(host, family);
}
