/**
 * `wasi:sockets` of WASI 0.3, on the sockets of 0.2: what is started and finished there is one call
 * here, and the streams of a connection are streams.
 *
 * @see https://github.com/WebAssembly/wasi-sockets
 * @module
 */
import type { StreamSource } from "../../abi/channels.ts";
import type { GivenStream } from "../../abi/ends.ts";
import type { WasiInstance } from "../context.ts";
import type { InputStream, IoErrorInit, OutputStream, Pollable } from "../io.ts";
import { guardResource } from "../resource.ts";
import { resolveAddresses } from "../sockets_lookup.ts";
import type {
  ErrorCode,
  Family,
  Network,
  WitIpAddress,
  WitSocketAddress,
} from "../sockets_network.ts";
import { requireNetwork } from "../sockets_network.ts";
import { TcpSocket } from "../sockets_tcp.ts";
import {
  type IncomingDatagramStream,
  type OutgoingDatagramStream,
  UdpSocket,
} from "../sockets_udp.ts";
import { whenReady } from "./clocks.ts";
import { reading, refusedReading, type Result, writing } from "./streams.ts";

/** Codes of 0.2 that 0.3 has no more, by what is said in their place. */
const GONE: Readonly<Partial<Record<ErrorCode, string>>> = {
  "unknown": "other",
  "new-socket-limit": "other",
  "concurrency-conflict": "invalid-state",
  "not-in-progress": "invalid-state",
  "would-block": "invalid-state",
};

/** `error-code`, a variant since 0.3. */
function variantOf(code: string): { readonly tag: string } {
  return { tag: GONE[code as ErrorCode] ?? code };
}

function failed(error: unknown): never {
  throw typeof error === "string" ? variantOf(error) : error;
}

function answer<T>(act: () => T): T {
  try {
    return act();
  } catch (error) {
    return failed(error);
  }
}

async function answerLater<T>(act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    return failed(error);
  }
}

const codeOf = (error: IoErrorInit | undefined) => variantOf(error?.socket ?? "connection-broken");
const INVALID_STATE = { tag: "err", val: { tag: "invalid-state" } } as const;

/** The functions of 0.2 take a network, of which there is one. */
const NETWORK = undefined as unknown as Network;

/** Any address of a family, any port. */
function anywhere(family: Family): WitSocketAddress {
  return family === "ipv4"
    ? { tag: "ipv4", val: { port: 0, address: [0, 0, 0, 0] } }
    : { tag: "ipv6", val: { port: 0, flowInfo: 0, address: [0, 0, 0, 0, 0, 0, 0, 0], scopeId: 0 } };
}

/** Waits for what a pollable says, which is then dropped. */
async function until(host: WasiInstance, pollable: Pollable): Promise<void> {
  try {
    await whenReady(host, pollable.readiness);
  } finally {
    pollable[Symbol.dispose]();
  }
}

interface Bindable {
  startBind(network: Network, local: WitSocketAddress): Promise<void>;
  finishBind(): void;
}

async function bind(socket: Bindable, local: WitSocketAddress): Promise<void> {
  await socket.startBind(NETWORK, local);
  socket.finishBind();
}

/** Connections to a listening socket. */
class Accepting implements StreamSource {
  readonly #readiness: Pollable["readiness"];

  constructor(readonly socket: TcpSocket) {
    const pollable = socket.subscribe();
    this.#readiness = pollable.readiness;
    pollable[Symbol.dispose]();
  }

  ready(): boolean {
    return this.#readiness.ready();
  }

  wait(wake: () => void): () => void {
    return this.#readiness.wait(wake);
  }

  take(max: number): readonly TcpSocket3[] {
    const accepted: TcpSocket3[] = [];
    try {
      while (accepted.length < max) {
        const [socket, ...streams] = this.socket.accept();
        accepted.push(new TcpSocket3(socket.host, socket, streams));
      }
    } catch (error) {
      // None is there, or one went away before it was taken.
      if (typeof error !== "string") throw error;
    }
    return accepted;
  }

  close(): void {}
}

/** Resource `tcp-socket`. */
export class TcpSocket3 {
  #streams: [InputStream, OutputStream] | undefined;
  #isReceiving = false;
  #isSending = false;
  #isBound = false;

  constructor(
    readonly host: WasiInstance,
    readonly inner: TcpSocket,
    streams?: [InputStream, OutputStream],
  ) {
    this.#streams = streams;
  }

  static create(host: WasiInstance, family: Family): TcpSocket3 {
    return answer(() => {
      requireNetwork(host, "wasi:sockets/types#[static]tcp-socket.create", "sockets");
      return new TcpSocket3(host, new TcpSocket(host, family));
    });
  }

  [Symbol.dispose](): void {
    for (const stream of this.#streams ?? []) stream[Symbol.dispose]();
    this.inner[Symbol.dispose]();
  }

  bind(local: WitSocketAddress): Promise<void> {
    return answerLater(() => this.#bind(local));
  }

  async #bind(local: WitSocketAddress): Promise<void> {
    await bind(this.inner, local);
    this.#isBound = true;
  }

  connect(remote: WitSocketAddress): Promise<void> {
    return answerLater(async () => {
      this.inner.startConnect(NETWORK, remote);
      await until(this.host, this.inner.subscribe());
      this.#streams = this.inner.finishConnect();
    });
  }

  listen(): Promise<StreamSource> {
    return answerLater(async () => {
      if (!this.#isBound && !this.#streams) await this.#bind(anywhere(this.inner.addressFamily()));
      this.inner.startListen();
      this.inner.finishListen();
      return new Accepting(this.inner);
    });
  }

  send(data: GivenStream): Promise<Result> {
    if (!this.#streams || this.#isSending) {
      data.drop();
      return Promise.resolve(INVALID_STATE);
    }
    this.#isSending = true;
    const { sink } = this.#streams[1];
    const { inner } = this;
    return writing(this.host, data, {
      ready: () => sink.ready(),
      wait: (wake) => sink.wait(wake),
      permit: () => sink.permit(),
      write: (bytes) => sink.write(bytes),
      flush: () => sink.flush(),
      close: () => inner.shutdown("send"),
    }, codeOf);
  }

  receive(): [StreamSource, Promise<Result>] {
    if (!this.#streams || this.#isReceiving) return refusedReading({ tag: "invalid-state" });
    this.#isReceiving = true;
    const { source } = this.#streams[0];
    const { inner } = this;
    return reading({
      ready: () => source.ready(),
      wait: (wake) => source.wait(wake),
      read: (lengthMax) => source.read(lengthMax),
      close: () => inner.shutdown("receive"),
    }, codeOf);
  }

  getLocalAddress(): WitSocketAddress {
    return answer(() => this.inner.localAddress());
  }

  getRemoteAddress(): WitSocketAddress {
    return answer(() => this.inner.remoteAddress());
  }

  getIsListening(): boolean {
    return this.inner.isListening();
  }

  getAddressFamily(): Family {
    return this.inner.addressFamily();
  }

  setListenBacklogSize(value: bigint): void {
    answer(() => this.inner.setListenBacklogSize(value));
  }

  getKeepAliveEnabled(): boolean {
    return answer(() => this.inner.keepAliveEnabled());
  }

  setKeepAliveEnabled(value: boolean): void {
    answer(() => this.inner.setKeepAliveEnabled(value));
  }

  getKeepAliveIdleTime(): bigint {
    return answer(() => this.inner.keepAliveIdleTime());
  }

  setKeepAliveIdleTime(value: bigint): void {
    answer(() => this.inner.setKeepAliveIdleTime(value));
  }

  getKeepAliveInterval(): bigint {
    return answer(() => this.inner.keepAliveInterval());
  }

  setKeepAliveInterval(value: bigint): void {
    answer(() => this.inner.setKeepAliveInterval(value));
  }

  getKeepAliveCount(): number {
    return answer(() => this.inner.keepAliveCount());
  }

  setKeepAliveCount(value: number): void {
    answer(() => this.inner.setKeepAliveCount(value));
  }

  getHopLimit(): number {
    return answer(() => this.inner.hopLimit());
  }

  setHopLimit(value: number): void {
    answer(() => this.inner.setHopLimit(value));
  }

  getReceiveBufferSize(): bigint {
    return answer(() => this.inner.receiveBufferSize());
  }

  setReceiveBufferSize(value: bigint): void {
    answer(() => this.inner.setReceiveBufferSize(value));
  }

  getSendBufferSize(): bigint {
    return answer(() => this.inner.sendBufferSize());
  }

  setSendBufferSize(value: bigint): void {
    answer(() => this.inner.setSendBufferSize(value));
  }
}

/** Resource `udp-socket`. */
export class UdpSocket3 {
  #streams: [IncomingDatagramStream, OutgoingDatagramStream] | undefined;
  #isBound = false;

  constructor(readonly host: WasiInstance, readonly inner: UdpSocket) {}

  static create(host: WasiInstance, family: Family): UdpSocket3 {
    return answer(() => {
      requireNetwork(host, "wasi:sockets/types#[static]udp-socket.create", "sockets");
      return new UdpSocket3(host, new UdpSocket(host, family));
    });
  }

  [Symbol.dispose](): void {
    this.#close();
    this.inner[Symbol.dispose]();
  }

  #close(): void {
    for (const stream of this.#streams ?? []) stream[Symbol.dispose]();
    this.#streams = undefined;
  }

  bind(local: WitSocketAddress): Promise<void> {
    return answerLater(() => this.#bind(local));
  }

  async #bind(local: WitSocketAddress): Promise<void> {
    await bind(this.inner, local);
    this.#isBound = true;
  }

  connect(remote: WitSocketAddress): Promise<void> {
    return answerLater(async () => {
      if (!this.#isBound) await this.#bind(anywhere(this.inner.addressFamily()));
      this.#close();
      this.#streams = await this.inner.stream(remote);
    });
  }

  disconnect(): Promise<void> {
    return answerLater(async () => {
      this.inner.remoteAddress(); // throws where it is not connected
      this.#close();
      this.#streams = await this.inner.stream(undefined);
    });
  }

  send(data: Uint8Array, remoteAddress: WitSocketAddress | undefined): Promise<void> {
    return answerLater(async () => {
      if (!this.#isBound) await this.#bind(anywhere(this.inner.addressFamily()));
      this.#streams ??= await this.inner.stream(undefined);
      const [, outgoing] = this.#streams;
      for (;;) {
        if (outgoing.checkSend() === 0n) await until(this.host, outgoing.subscribe());
        else if (await outgoing.send([{ data, ...remoteAddress && { remoteAddress } }]) > 0n) {
          return;
        }
      }
    });
  }

  receive(): Promise<[Uint8Array, WitSocketAddress]> {
    return answerLater(async () => {
      if (!this.#isBound) throw "invalid-state";
      this.#streams ??= await this.inner.stream(undefined);
      const [incoming] = this.#streams;
      for (;;) {
        const [datagram] = incoming.receive(1n);
        if (datagram) return [datagram.data, datagram.remoteAddress];
        await until(this.host, incoming.subscribe());
      }
    });
  }

  getLocalAddress(): WitSocketAddress {
    return answer(() => this.inner.localAddress());
  }

  getRemoteAddress(): WitSocketAddress {
    return answer(() => this.inner.remoteAddress());
  }

  getAddressFamily(): Family {
    return this.inner.addressFamily();
  }

  getUnicastHopLimit(): number {
    return answer(() => this.inner.unicastHopLimit());
  }

  setUnicastHopLimit(value: number): void {
    answer(() => this.inner.setUnicastHopLimit(value));
  }

  getReceiveBufferSize(): bigint {
    return answer(() => this.inner.receiveBufferSize());
  }

  setReceiveBufferSize(value: bigint): void {
    answer(() => this.inner.setReceiveBufferSize(value));
  }

  getSendBufferSize(): bigint {
    return answer(() => this.inner.sendBufferSize());
  }

  setSendBufferSize(value: bigint): void {
    answer(() => this.inner.setSendBufferSize(value));
  }
}

for (const type of [TcpSocket3, UdpSocket3]) {
  Object.setPrototypeOf(type, null); // as of `Resource`
  Object.setPrototypeOf(type.prototype, null);
}
guardResource("wasi:sockets/types", "tcp-socket", TcpSocket3);
guardResource("wasi:sockets/types", "udp-socket", UdpSocket3);

/** `resolve-addresses`: all of them. */
export function createLookup3(host: WasiInstance) {
  return {
    resolveAddresses: (name: string): Promise<WitIpAddress[]> =>
      answerLater(async () => {
        const stream = resolveAddresses(host, NETWORK, name);
        try {
          await until(host, stream.subscribe());
          const addresses: WitIpAddress[] = [];
          for (let next; (next = stream.resolveNextAddress());) addresses.push(next);
          return addresses;
        } finally {
          stream[Symbol.dispose]();
        }
      }),
  };
}
