/**
 * The WASI 0.2 host of one instance: every interface of `wasi:cli/command` and `wasi:http/proxy`,
 * answered within the instance's grants, as wasmtime answers.
 *
 * {@link createWasi} builds all of it anew for each instance. Imports are made when the glue asks
 * for them, so that an instance pays for the interfaces it has and no more.
 *
 * @module
 */
import { NO_NETWORK } from "../../kernel/ports.ts";
import { createCli, TerminalInput, TerminalOutput } from "./cli.ts";
import { createClocks } from "./clocks.ts";
import { type WasiContext, WasiInstance } from "./context.ts";
import { createConfig } from "./config.ts";
import { createFilesystem, Descriptor, DirectoryEntryStream } from "./filesystem.ts";
import {
  createHttp,
  type HttpHost,
  IncomingRequest,
  OutgoingResponse,
  ResponseOutparam,
} from "./http.ts";
import { FutureTrailers, IncomingBody, OutgoingBody } from "./http_body.ts";
import { Fields } from "./http_fields.ts";
import {
  FutureIncomingResponse,
  IncomingResponse,
  OutgoingRequest,
  RequestOptions,
} from "./http_outgoing.ts";
import { InputStream, IoError, OutputStream, poll, Pollable } from "./io.ts";
import { Bucket, Cas, createKeyvalue } from "./keyvalue.ts";
import { createLogging } from "./logging.ts";
import type { HostMemory } from "./host_account.ts";
import { createPreview1 } from "./preview1.ts";
import { createRandom } from "./random.ts";
import { bindFunctions, bindResource } from "./resource.ts";
import { resolveAddresses, ResolveAddressStream } from "./sockets_lookup.ts";
import { type Family, Network, networkErrorCode } from "./sockets_network.ts";
import { createTcpSocket, TcpSocket } from "./sockets_tcp.ts";
import {
  createUdpSocket,
  IncomingDatagramStream,
  OutgoingDatagramStream,
  UdpSocket,
} from "./sockets_udp.ts";

export type { WasiClock, WasiContext } from "./context.ts";
export { HANDLES_MAX } from "./context.ts";
export { GRANT_OF_INTERFACE, GRANTS, isProvided } from "./grants.ts";
export type { Grant, GrantName } from "./grants.ts";
export type { HttpHost, RequestHead, ResponseResult } from "./http.ts";
export type { BodyReader, BodySource, HttpErrorCode } from "./http_body.ts";
export type { FieldList } from "./http_fields.ts";
export { POLL_LIST_MAX } from "./io.ts";
export { SUSPENDING_FUNCTIONS } from "./preview1.ts";

/**
 * The functions that may answer with a promise, in the form of jco's `asyncMode`.
 *
 * They answer with a plain value whenever nothing has to be waited for.
 */
export const SUSPENDING_IMPORTS: readonly string[] = [
  "wasi:io/poll#poll",
  "wasi:io/poll#[method]pollable.block",
  "wasi:io/streams#[method]input-stream.blocking-read",
  "wasi:io/streams#[method]input-stream.blocking-skip",
  "wasi:io/streams#[method]output-stream.blocking-write-and-flush",
  "wasi:io/streams#[method]output-stream.blocking-flush",
  "wasi:io/streams#[method]output-stream.blocking-write-zeroes-and-flush",
  "wasi:io/streams#[method]output-stream.blocking-splice",
  "wasi:sockets/tcp#[method]tcp-socket.start-bind",
  "wasi:sockets/udp#[method]udp-socket.start-bind",
  "wasi:sockets/udp#[method]udp-socket.stream",
  "wasi:sockets/udp#[method]outgoing-datagram-stream.send",
  "wasi:keyvalue/store#[method]bucket.get",
  "wasi:keyvalue/store#[method]bucket.set",
  "wasi:keyvalue/store#[method]bucket.delete",
  "wasi:keyvalue/store#[method]bucket.exists",
  "wasi:keyvalue/store#[method]bucket.list-keys",
  "wasi:keyvalue/atomics#[static]cas.new",
  "wasi:keyvalue/atomics#increment",
  "wasi:keyvalue/atomics#swap",
  "wasi:keyvalue/batch#get-many",
  "wasi:keyvalue/batch#set-many",
  "wasi:keyvalue/batch#delete-many",
];

/** The one interface of WASI 0.1. */
export const PREVIEW1 = "wasi_snapshot_preview1";

/** A host for one instance. */
export interface WasiHost {
  /**
   * By interface, without version (`wasi:cli/environment`). What a core module imports is there,
   * too, as {@link PREVIEW1}, though not among the enumerable ones.
   */
  readonly imports: Record<string, object>;
  readonly http: HttpHost;
  /** What the host holds for the instance. */
  readonly memory: HostMemory;
  /** Gives back files, timers and waits; a wait that is pending rejects. */
  close(): void;
}

// deno-lint-ignore ban-types
type Functions = Record<string, Function>;
// deno-lint-ignore no-explicit-any
type ResourceClass = { new (host: WasiInstance, ...args: any[]): object; prototype: object };

const RESOURCES: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  "wasi:cli/terminal-input": { "terminal-input": TerminalInput },
  "wasi:cli/terminal-output": { "terminal-output": TerminalOutput },
  "wasi:filesystem/types": {
    "descriptor": Descriptor,
    "directory-entry-stream": DirectoryEntryStream,
  },
  "wasi:http/types": {
    "incoming-request": IncomingRequest,
    "incoming-response": IncomingResponse,
    "future-trailers": FutureTrailers,
    "future-incoming-response": FutureIncomingResponse,
  },
  "wasi:io/error": { "error": IoError },
  "wasi:io/poll": { "pollable": Pollable },
  "wasi:io/streams": { "input-stream": InputStream, "output-stream": OutputStream },
  "wasi:keyvalue/store": { "bucket": Bucket },
  "wasi:sockets/network": { "network": Network },
  "wasi:sockets/ip-name-lookup": { "resolve-address-stream": ResolveAddressStream },
  "wasi:sockets/tcp": { "tcp-socket": TcpSocket },
  "wasi:sockets/udp": {
    "udp-socket": UdpSocket,
    "incoming-datagram-stream": IncomingDatagramStream,
    "outgoing-datagram-stream": OutgoingDatagramStream,
  },
};

/** Resources that a guest constructs, or whose static functions (the last) it calls. */
const CONSTRUCTIBLE: Readonly<
  Record<string, Readonly<Record<string, readonly [string, ResourceClass, ...string[]]>>>
> = {
  "wasi:http/types": {
    Fields: ["fields", Fields, "fromList"],
    OutgoingRequest: ["outgoing-request", OutgoingRequest],
    RequestOptions: ["request-options", RequestOptions],
    ResponseOutparam: ["response-outparam", ResponseOutparam, "set"],
    IncomingBody: ["incoming-body", IncomingBody, "finish"],
    OutgoingResponse: ["outgoing-response", OutgoingResponse],
    OutgoingBody: ["outgoing-body", OutgoingBody, "finish"],
  },
  "wasi:keyvalue/atomics": { Cas: ["cas", Cas, "new"] },
};

/** The name of a resource's class in the glue. */
function classNameOf(resource: string): string {
  return resource.replace(/(^|-)(\w)/g, (_, _dash, letter: string) => letter.toUpperCase());
}

/** The classes of each interface that are the same for every instance, by name in the glue. */
const CLASSES: Readonly<Record<string, object>> = Object.fromEntries(
  Object.entries(RESOURCES).map(([iface, resources]) => [
    iface,
    Object.fromEntries(
      Object.entries(resources).map(([resource, type]) => [classNameOf(resource), type]),
    ),
  ]),
);

/** What the interfaces of one instance are made of; each part when it is first asked for. */
class Parts {
  #cli: ReturnType<typeof createCli> | undefined;
  #clocks: ReturnType<typeof createClocks> | undefined;
  #random: ReturnType<typeof createRandom> | undefined;
  #filesystem: ReturnType<typeof createFilesystem> | undefined;
  #keyvalue: ReturnType<typeof createKeyvalue> | undefined;

  constructor(readonly host: WasiInstance, readonly http: ReturnType<typeof createHttp>) {}

  get cli() {
    return this.#cli ??= createCli(this.host);
  }

  get clocks() {
    return this.#clocks ??= createClocks(this.host);
  }

  get random() {
    return this.#random ??= createRandom(this.host);
  }

  get filesystem() {
    return this.#filesystem ??= createFilesystem(this.host);
  }

  get keyvalue() {
    return this.#keyvalue ??= createKeyvalue(this.host);
  }
}

const none = () => ({});

/** The functions of each interface. */
const FUNCTIONS: Readonly<Record<string, (parts: Parts) => Functions>> = {
  [PREVIEW1]: (parts) =>
    createPreview1(parts.host, () => ({
      cli: parts.cli,
      clocks: parts.clocks,
      random: parts.random,
      filesystem: parts.filesystem,
    })),
  "wasi:cli/environment": (parts) => parts.cli.environment,
  "wasi:cli/exit": (parts) => parts.cli.exit,
  "wasi:cli/stdin": (parts) => parts.cli.stdin,
  "wasi:cli/stdout": (parts) => parts.cli.stdout,
  "wasi:cli/stderr": (parts) => parts.cli.stderr,
  "wasi:cli/terminal-input": none,
  "wasi:cli/terminal-output": none,
  "wasi:cli/terminal-stdin": (parts) => parts.cli.terminalStdin,
  "wasi:cli/terminal-stdout": (parts) => parts.cli.terminalStdout,
  "wasi:cli/terminal-stderr": (parts) => parts.cli.terminalStderr,
  "wasi:clocks/monotonic-clock": (parts) => parts.clocks.monotonicClock,
  "wasi:clocks/wall-clock": (parts) => parts.clocks.wallClock,
  "wasi:clocks/timezone": (parts) => parts.clocks.timezone,
  "wasi:filesystem/preopens": (parts) => parts.filesystem.preopens,
  "wasi:filesystem/types": (parts) => parts.filesystem.types,
  "wasi:http/types": (parts) => parts.http.types,
  "wasi:http/outgoing-handler": (parts) => parts.http.outgoingHandler,
  "wasi:io/error": none,
  "wasi:io/poll": (parts) => ({ poll: (list: Pollable[]) => poll(parts.host, list) }),
  "wasi:io/streams": none,
  "wasi:random/random": (parts) => parts.random.random,
  "wasi:random/insecure": (parts) => parts.random.insecure,
  "wasi:random/insecure-seed": (parts) => parts.random.insecureSeed,
  "wasi:sockets/network": () => ({ networkErrorCode }),
  "wasi:sockets/instance-network": (parts) => ({ instanceNetwork: () => new Network(parts.host) }),
  "wasi:sockets/ip-name-lookup": (parts) => ({
    resolveAddresses: (network: Network, name: string) =>
      resolveAddresses(parts.host, network, name),
  }),
  "wasi:sockets/tcp": none,
  "wasi:sockets/tcp-create-socket": (parts) => ({
    createTcpSocket: (family: Family) => createTcpSocket(parts.host, family),
  }),
  "wasi:sockets/udp": none,
  "wasi:sockets/udp-create-socket": (parts) => ({
    createUdpSocket: (family: Family) => createUdpSocket(parts.host, family),
  }),
  "wasi:keyvalue/store": (parts) => parts.keyvalue.store,
  "wasi:keyvalue/atomics": (parts) => parts.keyvalue.atomics,
  "wasi:keyvalue/batch": (parts) => parts.keyvalue.batch,
  "wasi:config/store": (parts) => createConfig(parts.host),
  "wasi:config/runtime": (parts) => createConfig(parts.host),
  "wasi:logging/logging": (parts) => createLogging(parts.host),
};

/** The members of an interface for one instance. */
function membersOf(parts: Parts, iface: string): object {
  // Inherits nothing: a guest may import any name.
  const members: Record<string, unknown> = Object.create(null);
  Object.assign(members, bindFunctions(parts.host, iface, FUNCTIONS[iface]!(parts)));
  Object.assign(members, CLASSES[iface]);
  const constructible = CONSTRUCTIBLE[iface];
  for (const name in constructible) {
    const [resource, type, ...statics] = constructible[name]!;
    members[name] = bindResource(parts.host, iface, resource, type, statics);
  }
  return members;
}

const PARTS = Symbol("parts");

/**
 * The interfaces of one instance: inherited getters, of which each becomes a value of its own when
 * it is first asked for. An instance pays for what it imports.
 */
class Imports {
  /** Not private: whoever replaces an interface inherits the others. */
  readonly [PARTS]: Parts;

  constructor(parts: Parts) {
    this[PARTS] = parts;
  }

  static {
    for (const iface in FUNCTIONS) {
      Object.defineProperty(Imports.prototype, iface, {
        enumerable: iface !== PREVIEW1,
        get(this: Imports) {
          const value = membersOf(this[PARTS], iface);
          Object.defineProperty(this, iface, { value, enumerable: iface !== PREVIEW1 });
          return value;
        },
      });
    }
  }
}

/** Builds the WASI host of one instance. */
export function createWasi(ctx: WasiContext): WasiHost {
  const host = new WasiInstance(ctx);
  const http = createHttp(host);
  const imports = new Imports(new Parts(host, http)) as unknown as Record<string, object>;
  return { imports, http: http.host, memory: host.memory, close: () => host.close() };
}

/** A context that grants nothing, to see what a host has. */
const NO_CONTEXT: WasiContext = {
  grants: {
    args: [],
    env: [],
    mounts: [],
    clock: false,
    random: false,
    stdio: false,
    network: NO_NETWORK,
    config: [],
    keyvalue: false,
  },
  stdio: {
    terminal: { stdin: false, stdout: false, stderr: false },
    read: () => Promise.resolve(null),
    write: () => {},
  },
  denied: () => {},
  exit: () => {
    throw new Error("not run");
  },
  trap: (message) => {
    throw new Error(message);
  },
  clock: { wallNs: () => 0n, monotonicNs: () => 0n, sleep: () => Promise.resolve() },
  random: { bytes: (length) => new Uint8Array(length) },
  lock: (_mount, act) => act(),
};

/**
 * A name that the glue has for a function without the version of its interface, and without the
 * number by which the glue tells functions of one name in two interfaces apart.
 */
export function hostName(name: string): string {
  return name.replace(/@[^#]*/, "").replace(/\$\d+$/, "");
}

/** Members of classes that no guest may call. */
const NOT_METHODS = new Set(["constructor", "released"]);

/**
 * Every function that there is, as the glue names it: `interface#name` of functions and methods,
 * `interface#new Class` of constructors, `interface#Class.name` of static functions.
 */
export function functionNames(): ReadonlySet<string> {
  const names = new Set<string>();
  const { imports } = createWasi(NO_CONTEXT);
  for (const iface in FUNCTIONS) {
    if (iface === PREVIEW1) continue;
    const members = imports[iface]!;
    const classes = { ...CLASSES[iface], ...CONSTRUCTIBLE[iface] };
    for (const name of Object.keys(members)) {
      if (!Object.hasOwn(classes, name)) {
        names.add(`${iface}#${name}`);
        continue;
      }
      const [, , ...statics] = CONSTRUCTIBLE[iface]?.[name] ?? ["", undefined];
      if (CONSTRUCTIBLE[iface]?.[name]) names.add(`${iface}#new ${name}`);
      for (const member of statics) names.add(`${iface}#${name}.${member}`);
      const { prototype } = (members as Record<string, { prototype: object }>)[name]!;
      for (const method of Object.getOwnPropertyNames(prototype)) {
        if (!NOT_METHODS.has(method)) names.add(`${iface}#${method}`);
      }
    }
  }
  return names;
}
