/**
 * `wasi:sockets/tcp`: connections and listeners, in the states and with the errors of wasmtime.
 *
 * The connection itself is the agent's: see `broker/sockets.ts`. What is written is on its way; an
 * error of it shows at a later call.
 *
 * @see https://github.com/WebAssembly/wasi-sockets/tree/v0.2.12/wit/tcp.wit
 * @module
 */
import { formatIp } from "../../kernel/ip_address.ts";
import type { AgentCall } from "../agent_calls.ts";
import type { WasiInstance } from "./context.ts";
import {
  type InputSource,
  InputStream,
  type OutputSink,
  OutputStream,
  Pollable,
  STREAM_BYTES_MAX,
  streamClosed,
  streamFailed,
} from "./io.ts";
import { guardResource } from "./resource.ts";
import {
  bindSocket,
  type BoundSocket,
  callNetwork,
  codeOf,
  type ErrorCode,
  fail,
  type Family,
  fitsFamily,
  fromMessage,
  fromWit,
  isRemote,
  isUnicast,
  type Network,
  requireNetwork,
  Socket,
  type SocketAddress,
  SocketOptions,
  toWit,
  type WitSocketAddress,
} from "./sockets_network.ts";

/** The agent's answer about a socket. */
interface Endpoints {
  readonly id: number;
  readonly local: { readonly address: string; readonly port: number };
  readonly remote: { readonly address: string; readonly port: number };
}

const CALL = "wasi:sockets/tcp#[method]tcp-socket.";

const SECOND_NS = 1_000_000_000n;

/** Whole seconds, as Linux keeps them. */
function keepAliveTime(value: bigint): bigint {
  if (value === 0n) fail("invalid-argument");
  const seconds = (value + SECOND_NS - 1n) / SECOND_NS;
  return (seconds < 0x7fffn ? seconds : 0x7fffn) * SECOND_NS;
}

/** What Linux gives a new socket. */
class TcpOptions extends SocketOptions {
  keepAlive = false;
  keepAliveIdleTime = 7200n * SECOND_NS;
  keepAliveInterval = 75n * SECOND_NS;
  keepAliveCount = 9;

  constructor() {
    super(65_536n, 8_192n);
  }
}

/** What the peer sends. */
class Receiving implements InputSource {
  #closed = false;

  constructor(readonly host: WasiInstance, readonly call: AgentCall) {}

  ready(): boolean {
    return this.#closed || this.call.readable;
  }

  wait(wake: () => void): () => void {
    return this.call.wait(wake);
  }

  read(lengthMax: number): Uint8Array {
    if (this.#closed) streamClosed();
    if (lengthMax === 0) return new Uint8Array();
    let chunk: Uint8Array | null | undefined;
    try {
      chunk = this.call.take(lengthMax);
    } catch (error) {
      this.#closed = true;
      streamFailed(this.host, { message: (error as Error).message, socket: codeOf(error) });
    }
    if (chunk !== null) return chunk ?? new Uint8Array();
    this.#closed = true;
    streamClosed();
  }

  shutdown(): void {
    this.#closed = true;
    this.call.stopReading();
  }
}

/** What is sent to the peer. */
class Sending implements OutputSink {
  #closed = false;

  constructor(readonly host: WasiInstance, readonly call: AgentCall) {}

  ready(): boolean {
    return this.#closed || this.call.closed || this.call.credit > 0;
  }

  wait(wake: () => void): () => void {
    return this.call.wait(wake);
  }

  permit(): number {
    this.#check();
    return Math.min(this.call.credit, STREAM_BYTES_MAX);
  }

  write(bytes: Uint8Array): void {
    this.#check();
    this.call.write(bytes.slice());
  }

  flush(): void {
    this.#check();
  }

  #check(): void {
    const { failure } = this.call;
    if (!this.#closed && failure) {
      streamFailed(this.host, { message: failure.message, socket: codeOf(failure) });
    }
    if (this.#closed || this.call.closed) streamClosed();
  }

  shutdown(): void {
    this.#closed = true;
    this.call.end();
  }
}

type State =
  | { readonly kind: "default" }
  | { readonly kind: "connecting"; readonly call: AgentCall }
  | { readonly kind: "connected"; readonly call: AgentCall; readonly remote: SocketAddress }
  | { readonly kind: "listening"; accepting: AgentCall }
  | { readonly kind: "closed"; readonly code: ErrorCode };

/** Resource `tcp-socket`. */
export class TcpSocket extends Socket {
  readonly #family: Family;
  readonly #forget: () => void;
  #options = new TcpOptions();
  #state: State = { kind: "default" };
  /** An operation that was started and not finished. */
  #inProgress: "bind" | "connect" | "listen" | undefined;
  /** The bound socket at the agent. */
  #bound: BoundSocket | undefined;
  #local: SocketAddress | undefined;
  #receiving: Receiving | undefined;
  #sending: Sending | undefined;

  constructor(host: WasiInstance, family: Family) {
    super(host, "tcp-socket");
    this.#family = family;
    this.#forget = host.onClose(() => this.#drop());
  }

  startBind(_network: Network, local: WitSocketAddress): Promise<void> {
    this.#requireIdle();
    const address = fromWit(local);
    if (this.#state.kind !== "default" || this.#bound) fail("invalid-state");
    if (!isUnicast(address) || !fitsFamily(address, this.#family)) fail("invalid-argument");
    return bindSocket(this.host, "tcp", address).then((bound) => {
      this.#bound = bound;
      this.#local = bound.local;
      this.#inProgress = "bind";
    });
  }

  finishBind(): void {
    this.#finish("bind");
  }

  startConnect(_network: Network, remote: WitSocketAddress): void {
    this.#requireIdle();
    const address = fromWit(remote);
    if (this.#state.kind !== "default") fail("invalid-state");
    if (!isUnicast(address) || !isRemote(address) || !fitsFamily(address, this.#family)) {
      fail("invalid-argument");
    }
    const call = callNetwork(this.host, `${CALL}start-connect`, "outbound", {
      op: "tcp-connect",
      address: formatIp(address.ip),
      port: address.port,
      keepAlive: this.#options.keepAlive,
    });
    this.#state = { kind: "connecting", call };
    this.#inProgress = "connect";
  }

  finishConnect(): [InputStream, OutputStream] {
    const state = this.#state;
    if (this.#inProgress !== "connect" || state.kind !== "connecting") fail("not-in-progress");
    if (!state.call.answered) fail("would-block");
    this.#inProgress = undefined;
    this.#dropBound(); // the port goes with it: a connection cannot be made from a bound one here
    try {
      this.#connected(state.call);
    } catch (error) {
      const code = codeOf(error);
      state.call.drop();
      this.#state = { kind: "closed", code };
      fail(code);
    }
    return this.#streams();
  }

  /** Takes over a connection. */
  #connected(call: AgentCall): void {
    const { local, remote } = call.answer() as Endpoints;
    this.#local = fromMessage(local);
    this.#state = { kind: "connected", call, remote: fromMessage(remote) };
    this.#receiving = new Receiving(this.host, call);
    this.#sending = new Sending(this.host, call);
  }

  #streams(): [InputStream, OutputStream] {
    return [
      new InputStream(this.host, this.#receiving!, this),
      new OutputStream(this.host, this.#sending!, this),
    ];
  }

  startListen(): void {
    this.#requireIdle();
    if (!this.#isBound() || this.#state.kind !== "default") fail("invalid-state");
    this.#state = { kind: "listening", accepting: this.#accept() };
    this.#inProgress = "listen";
  }

  #accept(): AgentCall {
    return callNetwork(this.host, `${CALL}accept`, "listen", {
      op: "tcp-accept",
      id: this.#bound!.id,
    });
  }

  finishListen(): void {
    this.#finish("listen");
  }

  accept(): [TcpSocket, InputStream, OutputStream] {
    const state = this.#state;
    if (state.kind !== "listening") fail("invalid-state");
    const call = state.accepting;
    if (!call.answered) fail("would-block");
    // Where there is no room for one more, the connection waits.
    const accepted = new TcpSocket(this.host, this.#family);
    state.accepting = this.#accept();
    try {
      call.answer();
    } catch (error) {
      call.drop();
      accepted[Symbol.dispose]();
      fail(codeOf(error));
    }
    accepted.#options = Object.assign(new TcpOptions(), this.#options);
    accepted.#connected(call);
    return [accepted, ...accepted.#streams()];
  }

  localAddress(): WitSocketAddress {
    const state = this.#state;
    if (!this.#isBound() || state.kind === "connecting") fail("invalid-state");
    if (state.kind === "closed") fail(state.code);
    return toWit(this.#local!);
  }

  remoteAddress(): WitSocketAddress {
    const state = this.#state;
    if (state.kind === "closed") fail(state.code);
    if (state.kind !== "connected") fail("invalid-state");
    return toWit(state.remote);
  }

  isListening(): boolean {
    return this.#state.kind === "listening";
  }

  addressFamily(): Family {
    return this.#family;
  }

  setListenBacklogSize(value: bigint): void {
    const state = this.#state;
    if (value === 0n) fail("invalid-argument");
    if (state.kind === "closed") fail(state.code);
    // A hint, and the platform has a number of its own.
    if (state.kind !== "default" && state.kind !== "listening") fail("invalid-state");
  }

  keepAliveEnabled(): boolean {
    return this.#live().keepAlive;
  }

  setKeepAliveEnabled(value: boolean): void {
    this.#live().keepAlive = value;
    if (this.#state.kind !== "connected") return;
    const { id } = this.#state.call.answer() as Endpoints;
    const request = { op: "keep-alive", id, keepAlive: value };
    const call = callNetwork(this.host, `${CALL}set-keep-alive-enabled`, "outbound", request);
    call.wait(() => call.drop());
  }

  keepAliveIdleTime(): bigint {
    return this.#live().keepAliveIdleTime;
  }

  setKeepAliveIdleTime(value: bigint): void {
    const time = keepAliveTime(value);
    this.#live().keepAliveIdleTime = time;
  }

  keepAliveInterval(): bigint {
    return this.#live().keepAliveInterval;
  }

  setKeepAliveInterval(value: bigint): void {
    const time = keepAliveTime(value);
    this.#live().keepAliveInterval = time;
  }

  keepAliveCount(): number {
    return this.#live().keepAliveCount;
  }

  setKeepAliveCount(value: number): void {
    if (value === 0) fail("invalid-argument");
    this.#live().keepAliveCount = Math.min(value, 127);
  }

  hopLimit(): number {
    return this.#live().hopLimit;
  }

  setHopLimit(value: number): void {
    this.#live().setHopLimit(value);
  }

  receiveBufferSize(): bigint {
    return this.#live().receiveBufferSize;
  }

  setReceiveBufferSize(value: bigint): void {
    this.#live().setReceiveBufferSize(value);
  }

  sendBufferSize(): bigint {
    return this.#live().sendBufferSize;
  }

  setSendBufferSize(value: bigint): void {
    this.#live().setSendBufferSize(value);
  }

  subscribe(): Pollable {
    const waitsFor = () => {
      const state = this.#state;
      if (this.#inProgress === "connect" && state.kind === "connecting") return state.call;
      if (this.#inProgress === undefined && state.kind === "listening") return state.accepting;
      return undefined;
    };
    return new Pollable(this.host, {
      ready: () => waitsFor()?.answered ?? true,
      wait: (wake) => waitsFor()?.wait(wake) ?? (() => {}),
    }, this);
  }

  shutdown(how: "receive" | "send" | "both"): void {
    if (!this.#receiving || !this.#sending) fail("invalid-state");
    if (how !== "send") this.#receiving.shutdown();
    if (how !== "receive") this.#sending.shutdown();
  }

  #isBound(): boolean {
    return this.#bound !== undefined || this.#state.kind !== "default";
  }

  #requireIdle(): void {
    if (this.#inProgress) fail("concurrency-conflict");
  }

  #finish(operation: "bind" | "listen"): void {
    if (this.#inProgress !== operation) fail("not-in-progress");
    this.#inProgress = undefined;
  }

  /** The options of a socket that is neither connecting nor closed. */
  #live(): TcpOptions {
    const state = this.#state;
    if (state.kind === "connecting") fail("invalid-state");
    if (state.kind === "closed") fail(state.code);
    return this.#options;
  }

  #dropBound(): void {
    this.#bound?.call.drop();
    this.#bound = undefined;
  }

  #drop(): void {
    const state = this.#state;
    if (state.kind === "connecting" || state.kind === "connected") state.call.drop();
    if (state.kind === "listening") state.accepting.drop();
    this.#dropBound();
  }

  protected override released(): void {
    this.#forget();
    this.#drop();
  }
}
guardResource("wasi:sockets/tcp", "tcp-socket", TcpSocket);

/** `create-tcp-socket` */
export function createTcpSocket(host: WasiInstance, family: Family): TcpSocket {
  requireNetwork(host, "wasi:sockets/tcp-create-socket#create-tcp-socket", "sockets");
  return new TcpSocket(host, family);
}
