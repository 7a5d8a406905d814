/**
 * The interfaces through which the parts of the agent meet.
 *
 * Shell folders do not import one another: each takes what it needs as one of these, and
 * `agent.ts` passes it in. Sizes are in bytes, times in milliseconds, fuel in executed
 * instructions.
 *
 * @module
 */
import type { ErrorCode } from "./error.ts";
import type { Frame } from "./frame.ts";

/** Time. Wall time may jump; monotonic time does not. */
export interface Clock {
  /** Milliseconds since 1970, UTC. */
  wallMs(): number;
  /** Milliseconds since some fixed point; never goes back. */
  monotonicMs(): number;
  /** Resolves after `ms`; rejects with the signal's reason when it is aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** Unpredictable bytes. */
export interface Random {
  bytes(length: number): Uint8Array;
}

/** One change of a {@link Store}. */
export type StoreOp =
  | { readonly put: string; readonly value: Uint8Array }
  | { readonly delete: string };

/** A part of what a scan of a {@link Store} gives. */
export interface ScanPage {
  /** A key that starts with the prefix, and need not be there: the page begins behind it. */
  readonly after?: string | undefined;
  /** It has at most so many pairs, of which there is at least one. */
  readonly limit: number;
}

/**
 * Ordered durable map from text keys (`kind/name/…`) to bytes.
 *
 * A `write` is all or nothing, and durable when it returns: it survives a killed process and a
 * power cut. Throws RealmError `corrupt` when the file is not readable as a store.
 */
export interface Store {
  get(key: string): Uint8Array | undefined;
  /**
   * Every pair whose key starts with `prefix`, in byte order of the keys, as they are at the time of
   * the call: all are in memory at once. Of a `page` only so many, for what may be large.
   */
  scan(prefix: string, page?: ScanPage): Iterable<readonly [string, Uint8Array]>;
  /** The keys that {@link scan} gives; no value is loaded. */
  keys(prefix: string): Iterable<string>;
  write(ops: readonly StoreOp[]): void;
  close(): void;
}

/**
 * Immutable bytes named by their sha256, in lower-case hex.
 *
 * `get` verifies: bytes that no longer match throw RealmError `corrupt` and are set aside.
 */
export interface Blobs {
  /** Stores the bytes and returns their name. Storing twice is storing once. */
  put(bytes: Uint8Array): Promise<string>;
  get(digest: string): Promise<Uint8Array | undefined>;
  has(digest: string): Promise<boolean>;
  delete(digest: string): Promise<void>;
  list(): AsyncIterable<string>;
}

/**
 * A blob that is being put together from pieces, in any order. What was written is there again
 * after the process was killed, as far as the disk had it: who reads it must check it.
 */
export interface PartialBlob {
  readonly digest: string;
  /** Bytes of the whole. */
  readonly size: number;
  /** Up to `length` bytes: fewer, or zeros, where nothing was written. */
  read(offset: number, length: number): Promise<Uint8Array>;
  /** Offsets behind `size` are the writer's for notes of its own, which are gone at the end. */
  write(offset: number, bytes: Uint8Array): Promise<void>;
  /**
   * Makes the first `size` bytes a blob, durably. Throws RealmError `digest-mismatch` when they are
   * not the ones of that name, and `delete`s them.
   */
  finish(): Promise<void>;
  /** Keeps what there is for later. */
  close(): void;
  delete(): Promise<void>;
}

/** {@link Blobs} that are read and put together in pieces: too large to hold in memory often. */
export interface BlobPieces {
  /** Bytes of a blob; `undefined` where it is not. */
  size(digest: string): Promise<number | undefined>;
  /**
   * Up to `length` bytes from `offset`, not verified: what a disk did to them shows when the
   * whole is. Throws RealmError `not-found` where the blob is not.
   */
  read(digest: string, offset: number, length: number): Promise<Uint8Array>;
  /** What was begun and not finished; one caller at a time for each digest. */
  begun(digest: string): Promise<PartialBlob | undefined>;
  begin(digest: string, size: number): Promise<PartialBlob>;
}

/** A folder of the host that a guest sees. `hostPath` is absolute and exists. */
export interface Mount {
  readonly hostPath: string;
  readonly guestPath: string;
  readonly writable: boolean;
}

/** Where a guest may connect to: `https://idp.example.com` is tcp to that host at port 443. */
export interface OutboundGrant {
  /** In lower case; `udp` grants datagrams, `http` and `https` outbound requests too. */
  readonly scheme: string;
  /** A name in lower case, or an address; IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
}

/** Where a guest may listen. */
export interface ListenGrant {
  readonly transport: "tcp" | "udp";
  /** An address of this machine; IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
}

/** What of the network an instance may reach. An empty list grants nothing. */
export interface NetworkGrants {
  readonly outbound: readonly OutboundGrant[];
  /** Private networks (CIDR) that public names may lead to. */
  readonly privateNetworks: readonly string[];
  /** Ports of the host itself. */
  readonly loopback: readonly number[];
  /** Names that may be looked up beside the granted hosts; `true` for any. */
  readonly dns: true | readonly string[];
  readonly listen: readonly ListenGrant[];
}

/** No network at all. */
export const NO_NETWORK: NetworkGrants = Object.freeze({
  outbound: [],
  privateNetworks: [],
  loopback: [],
  dns: [],
  listen: [],
});

/**
 * What one instance may reach. Everything that is not here is denied when called, with an
 * ordinary error where the interface has one.
 */
export interface Grants {
  readonly args: readonly string[];
  readonly env: readonly (readonly [string, string])[];
  readonly mounts: readonly Mount[];
  /** The wall clock and a fine monotonic clock; without it both are frozen or coarse. */
  readonly clock: boolean;
  /** `wasi:random/random`; insecure random is always there. */
  readonly random: boolean;
  /** Standard streams; without it they are closed and empty. */
  readonly stdio: boolean;
  readonly network: NetworkGrants;
  /** What `wasi:config` answers. */
  readonly config: readonly (readonly [string, string])[];
  /** A private `wasi:keyvalue` store. */
  readonly keyvalue: boolean;
  /** Whether `wasi:keyvalue` has a bucket `secrets`, of names that the service `secrets` knows. */
  readonly secrets?: boolean;
}

/** What a replica may use. A missing number is no limit. */
export interface Limits {
  /** Sum over all linear memories and tables; a replica's instances share it. */
  readonly memoryBytesMax: number;
  /** Refill rate of a bucket that holds one second; an empty bucket throttles. */
  readonly fuelPerSec?: number;
  /** Fuel for the whole life of the instance; past it the guest traps with `out-of-fuel`. */
  readonly fuelMax?: number;
  /** The longest slice of running time between two returns to the host. */
  readonly epochTimeoutMs?: number;
  /** Time for the whole run, sleeps included; past it the guest traps with `timeout`. */
  readonly timeoutMs?: number;
}

/** What is enforced on a replica: read from it while it runs, not from what it was asked to be. */
export interface EnforcedLimits extends Limits {
  /** Requests of a handler that are in flight at once; 1 for a command. */
  readonly concurrencyMax: number;
  /** Handles of one kind that one instance may hold. */
  readonly handlesMax: number;
  /** Files that the instances together may have open. */
  readonly openFilesMax: number;
  /** Sockets and outbound connections that the instances together may have. */
  readonly socketsMax: number;
  /** Lines of `wasi:logging`; more are dropped and counted. */
  readonly logLinesPerSecMax: number;
}

/**
 * What a replica, its instances together, has used so far: counters that only grow, and what it
 * has now (`memoryBytes`, `hostBytes`, `handles`, `openFiles`, `sockets`, `requests`).
 */
export interface Usage {
  readonly fuelUsed: number;
  readonly memoryBytes: number;
  readonly memoryBytesPeak: number;
  /** Time the guest can have executed, without waiting, disk and throttle sleeps. */
  readonly runningMs: number;
  readonly throttledMs: number;
  /** How often the guest was made to pause: throttled, or to let a neighbour run. */
  readonly preemptions: number;
  /** Growths of memories or tables that the limit refused. */
  readonly refusedGrowths: number;
  /** Instances of a handler that trapped and were thrown away. */
  readonly traps: number;
  /** What the host holds for the guest: handles, buffers, fields; see docs/limits.md. */
  readonly hostBytes: number;
  readonly handles: number;
  readonly openFiles: number;
  /** Sockets and outbound connections. */
  readonly sockets: number;
  /** Requests in flight. */
  readonly requests: number;
  /** Lines of `wasi:logging` that came too fast. */
  readonly droppedLogLines: number;
}

/** Nothing used yet. */
export const NO_USAGE: Usage = Object.freeze({
  fuelUsed: 0,
  memoryBytes: 0,
  memoryBytesPeak: 0,
  runningMs: 0,
  throttledMs: 0,
  preemptions: 0,
  refusedGrowths: 0,
  traps: 0,
  hostBytes: 0,
  handles: 0,
  openFiles: 0,
  sockets: 0,
  requests: 0,
  droppedLogLines: 0,
});

/** How a guest ended. */
export type Exit =
  | { readonly kind: "exit"; readonly status: number }
  | {
    readonly kind: "trap";
    /** `trap`, a limit's code, or `failed` when the host was at fault. */
    readonly code: ErrorCode;
    readonly message: string;
    readonly hint?: string;
    /** Innermost frame first; empty when the guest did not run. */
    readonly backtrace: readonly Frame[];
  }
  | { readonly kind: "stopped" };

/** How grave a line of `wasi:logging` is. */
export type LogLevel = "trace" | "debug" | "info" | "warn" | "error" | "critical";

/** A line a component wrote, or that realm says about it. */
export interface LogLine {
  readonly wallMs: number;
  /** `stderr` too for lines of `wasi:logging`, which have a level. */
  readonly stream: "stdout" | "stderr" | "realm";
  readonly level?: LogLevel;
  readonly text: string;
}

/** Standard streams of one instance. Writes that do not resolve push back on the guest. */
export interface Stdio {
  /** The next bytes of standard input, `null` at its end. At most one call is pending. */
  read(): Promise<Uint8Array | null>;
  write(stream: "stdout" | "stderr", bytes: Uint8Array): Promise<void> | void;
  /** Which of the streams are terminals. */
  readonly terminal: {
    readonly stdin: boolean;
    readonly stdout: boolean;
    readonly stderr: boolean;
  };
}

/** What a component is, told from its bytes. */
export type World = "wasi:cli/command" | "wasi:http/proxy";

/** A component that is ready to start: transpiled, metered and compiled. */
export interface Prepared {
  /** sha256 of the component's bytes. */
  readonly digest: string;
  readonly worlds: readonly World[];
}

/**
 * Bytes to and from a guest, beside one call of a {@link Service}. Chunks keep their borders up to
 * 64 KiB. Both directions are bounded: neither side is sent more than it has room for.
 */
export interface Pipe {
  /** The next chunk from the guest, `null` at its end or once it was dropped. */
  read(): Promise<Uint8Array | null>;
  /** Resolves when the guest's side has room for more; with false when nobody reads it. */
  write(chunk: Uint8Array): Promise<boolean>;
  /** Nothing more is written. */
  end(): void;
  /** Breaks both directions; the guest's host gets `reason`, which can be cloned. */
  fail(reason: unknown): void;
  /** Nothing more is read of what the guest writes. */
  stopReading(): void;
  /** Aborted when the guest dropped the call or ended; what it had written can still be read. */
  readonly signal: AbortSignal;
}

/** A piece of work in a trace. */
export interface Span {
  /** For whoever does a part of it: https://www.w3.org/TR/trace-context/#traceparent-header */
  readonly traceparent: string;
  /** It is over, with what there is to say of it; `problem` where it failed. What is told first counts. */
  end(attributes?: Readonly<Record<string, string | number>>, problem?: string): void;
}

/** What a {@link Span} is of. */
export interface SpanOptions {
  /** `server`: it answers a request, and a trace may begin with it; `client`: it makes one. */
  readonly kind: "server" | "internal" | "client";
  /** Who does it: the proxy, a component. */
  readonly service: string;
  /** The `traceparent` that came with it, which anybody may have written. */
  readonly parent?: string | undefined;
}

/** Records traces. */
export interface Tracer {
  /** Begins a span; `undefined` where its trace is not recorded. */
  start(name: string, options: SpanOptions): Span | undefined;
  /**
   * The `traceparent` with which a request goes on that is not recorded though its caller may want
   * it: who answers it need not do so either.
   */
  unrecorded(parent: string | undefined): string | undefined;
}

/** What the agent does for one replica; its Worker, which may do little itself, calls by message. */
export interface Service {
  /**
   * Answers one call. The request is what a Worker says and is not to be trusted; the answer can
   * be cloned. An error's `reason`, where it has one, is what the guest's host learns of it. The
   * pipe stays open after the answer, until its signal is aborted.
   */
  call(request: unknown, pipe: Pipe): Promise<unknown>;
  /** The replica has ended, its pipes are dropped. Resolves when nothing is held for it. */
  close(): Promise<void>;
}

/** How to start an instance. */
export interface StartOptions {
  readonly world: World;
  readonly grants: Grants;
  readonly limits: Limits;
  readonly stdio: Stdio;
  /** What the agent does for it, by name (`network`, `http`, `keyvalue`, `secrets`). Closed when it ended. */
  readonly services?: Readonly<Record<string, Service>>;
  /** Lines that realm itself says about the instance: denied calls, traps. */
  readonly notice: (text: string) => void;
  /** A line for every call of the guest into the host; without it nothing is recorded. */
  readonly trace?: (line: string) => void;
  /** Lines of `wasi:logging`, bounded in length and rate; without it they are lost. */
  readonly log?: (level: LogLevel, text: string) => void;
  /** Request handlers: requests in flight at once; more wait or are refused by the proxy. */
  readonly maxConcurrency?: number;
  /** Request handlers: a fresh instance for each request. */
  readonly instancePerRequest?: boolean;
}

/**
 * A request to a handler: what is needed of a `Request`, which is one. To make a real one with a
 * signal takes longer than the rest of the proxy.
 */
export interface HandlerRequest {
  /** Empty (`CHECK` of `health_check.ts`) where it asks the component how it is, by its export. */
  readonly method: string;
  /** Absolute; its host is the one the client asked for. */
  readonly url: string;
  /** Names in lower case. */
  readonly headers: Iterable<[string, string]>;
  readonly body: ReadableStream<Uint8Array> | null;
  /** Aborted when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
}

/**
 * What a handler answered: what is needed of a `Response`, which is one. The proxy makes the one
 * that the client gets.
 */
export interface HandlerResponse {
  readonly status: number;
  readonly headers: Iterable<[string, string]>;
  /** Bytes where all of it is there already. */
  readonly body: ReadableStream<Uint8Array> | Uint8Array | null;
}

/** What a replica runs in: a Worker of the agent, or a process of its own. */
export type Isolation = "worker" | "process";

/** The process that a replica has of its own. */
export interface ReplicaProcess {
  readonly pid: number;
  /** Memory of it that is resident, by its own account. */
  readonly residentBytes: number;
  /** Kinds of permissions that its program kept. */
  readonly permissions: readonly string[];
  /** What the operating system enforces; missing where that is nothing. */
  readonly dataBytesMax?: number;
  readonly openFilesMax?: number;
}

/** A running component. */
export interface Replica {
  /** Resolves once, when it ended; never rejects. */
  readonly exited: Promise<Exit>;
  /** Read from the running instance. */
  usage(): Usage;
  /** What is enforced, read from the running instance. */
  limits(): EnforcedLimits;
  /** What it runs in, where that is a process of its own. */
  process?(): ReplicaProcess | undefined;
  /** Traps the guest at its next fuel check; `exited` then resolves with `stopped`. */
  stop(): Promise<void>;
  /**
   * Request handlers only. Resolves with the head of the response; its body streams. Rejects with
   * the RealmError of the trap when the guest ended before it answered.
   */
  handle(request: HandlerRequest): Promise<HandlerResponse>;
}

/** Runs components. */
export interface Engine {
  /**
   * Identifies, checks, transpiles, meters and compiles; from the cache where it can.
   *
   * Throws RealmError `invalid-module`, `unsupported` or `unknown-import`.
   */
  prepare(bytes: Uint8Array): Promise<Prepared>;
  start(prepared: Prepared, options: StartOptions): Promise<Replica>;
  close(): Promise<void>;
}

/** An engine for each kind of isolation. */
export type Engines = Readonly<Record<Isolation, Engine>>;

/**
 * Bytes in both directions between two peers. Where one chunk ends and the next begins means
 * nothing. Chunks are the receiver's to keep.
 */
export interface PeerStream {
  /** Text form of the other end's public key, which its connection has proven. */
  readonly peer: string;
  readonly protocol: string;
  /**
   * The next bytes, `null` at the end. At most one call is pending. Rejects with RealmError
   * `unreachable` when the stream or its connection broke.
   */
  read(): Promise<Uint8Array | null>;
  /** Resolves when there is room for more; rejects as {@link PeerStream.read} does. */
  write(bytes: Uint8Array): Promise<void>;
  /** Nothing more is written; the other end reads to the end of what was. */
  end(): Promise<void>;
  /** Breaks both directions, at both ends. */
  abort(): void;
}

/** A connection with a peer: there is at most one that matters for each. */
export interface PeerConnection {
  /** Text form of its public key. */
  readonly peer: string;
  /** The multiaddr of the other end. */
  readonly address: string;
  readonly direction: "inbound" | "outbound";
  /** By way of a relay, which cannot read it. */
  readonly relayed: boolean;
  /** Round trip as last measured; missing until then. */
  readonly latencyMs?: number;
}

/** Asked for every connection and stream, also of those that are there; answers may change. */
export interface NetworkGate {
  /** Whether a key may be connected at all, by either side's dialling. */
  mayConnect(peer: string): boolean;
  /** Whether a key may open streams of a protocol here. */
  mayOpen(peer: string, protocol: string): boolean;
}

/** Who came and went. A peer comes once, however many connections it makes. */
export interface NetworkWatcher {
  connected(connection: PeerConnection): void;
  disconnected(peer: string): void;
}

/**
 * Encrypted connections between keys. Peers are named by the text form of their public key,
 * addresses are multiaddrs. Whoever is connected has proven its key; what it may do the
 * {@link NetworkGate} says, which the network is made with.
 */
export interface Network {
  /** Text form of the own public key. */
  readonly self: string;
  /** Where others reach this node: multiaddrs with its peer id. */
  addresses(): readonly string[];
  connections(): readonly PeerConnection[];
  /**
   * Connects, and returns the key of who answered. An address that ends in a peer id is answered
   * by that key or not at all. Throws RealmError `unreachable`, `refused` (by the gate) or
   * `usage` (no multiaddr of a transport that there is).
   */
  dial(address: string, signal?: AbortSignal): Promise<string>;
  /** Ends every connection and stream with a peer. */
  disconnect(peer: string): void;
  /**
   * Opens a stream to a peer that is connected. Throws RealmError `unreachable`, `refused` (the
   * other end answers no such protocol, or not to this key).
   */
  open(peer: string, protocol: string, signal?: AbortSignal): Promise<PeerStream>;
  /** Answers streams of a protocol until the returned function is called. */
  handle(protocol: string, answer: (stream: PeerStream) => void): () => void;
  watch(watcher: NetworkWatcher): () => void;
  close(): Promise<void>;
}
