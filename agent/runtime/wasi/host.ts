/**
 * The WASI host of one instance: every interface of `wasi:cli/command` and `wasi:http/proxy`,
 * answered within the instance's grants, as wasmtime answers.
 *
 * {@link createWasi} builds all of it anew for each instance, but for the functions that the glue
 * is given ({@link WasiFunctions}): they have no state, and are the same for all instances of a
 * replica. Whoever lets a guest call one says before whose it is ({@link WasiHost.atWork}).
 *
 * @module
 */
import { NO_NETWORK } from "../../kernel/ports.ts";
import type { AbiHost } from "../abi/link.ts";
import { createCli, TerminalInput, TerminalOutput } from "./cli.ts";
import { createClocks } from "./clocks.ts";
import { type WasiContext, WasiInstance } from "./context.ts";
import { createConfig } from "./config.ts";
import { createFilesystem, Descriptor, DirectoryEntryStream } from "./filesystem.ts";
import {
  createHandlerHost,
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
import {
  classesOf,
  classNameOf,
  glueName,
  type Interfaces,
  membersOf,
  namesIn,
  type Parts,
  Place,
} from "./interfaces.ts";
import { InputStream, IoError, OutputStream, poll, Pollable } from "./io.ts";
import { Bucket, Cas, createKeyvalue } from "./keyvalue.ts";
import { createLogging } from "./logging.ts";
import type { HostMemory } from "./host_account.ts";
import { createPreview1 } from "./preview1.ts";
import { createRandom } from "./random.ts";
import { createHandlerHost3, INTERFACES_3 } from "./p3/host.ts";
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
export { SUSPENDING_IMPORTS_3 } from "./p3/host.ts";
export { glueName as jsName } from "./interfaces.ts";
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
  /** What is called of {@link imports} next is called by this instance. */
  atWork(): void;
  /** The same for a component of the asynchronous ABI, with WASI 0.3 beside it. */
  readonly abi: AbiHost;
  readonly http: HttpHost;
  /** As {@link http}, of WASI 0.3. */
  readonly http3: ReturnType<typeof createHandlerHost3>;
  /** What the guest does next answers no request: it is not of the trace of the one before. */
  leaveTrace(): void;
  /** What the host holds for the instance. */
  readonly memory: HostMemory;
  /** Gives back files, timers and waits; a wait that is pending rejects. */
  close(): void;
}

const RESOURCES: Interfaces["resources"] = {
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

const CONSTRUCTIBLE: Interfaces["constructible"] = {
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

/** See {@link Parts}. */
class PartsOnce implements Parts {
  #cli: ReturnType<typeof createCli> | undefined;
  #clocks: ReturnType<typeof createClocks> | undefined;
  #random: ReturnType<typeof createRandom> | undefined;
  #filesystem: ReturnType<typeof createFilesystem> | undefined;
  #keyvalue: ReturnType<typeof createKeyvalue> | undefined;
  #http: ReturnType<typeof createHttp> | undefined;
  #made: Map<unknown, ReturnType<Parts["made"]>> | undefined;

  constructor(readonly host: WasiInstance) {}

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

  get http() {
    return this.#http ??= createHttp(this.host);
  }

  made(make: Parameters<Parts["made"]>[0]) {
    this.#made ??= new Map();
    let made = this.#made.get(make);
    if (!made) this.#made.set(make, made = make(this));
    return made;
  }
}

const none = () => ({});

const FUNCTIONS: Interfaces["functions"] = {
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

const INTERFACES: Interfaces = {
  functions: FUNCTIONS,
  resources: RESOURCES,
  constructible: CONSTRUCTIBLE,
};
const CLASSES = classesOf(INTERFACES);
const CLASSES_3 = classesOf(INTERFACES_3);

const PLACE = Symbol("place");

/**
 * The interfaces of the instances of a place: inherited getters, of which each becomes a value of
 * its own when it is first asked for. A replica pays for what its component imports.
 */
class Imports {
  /** Not private: whoever replaces an interface inherits the others. */
  readonly [PLACE]: Place;

  constructor(place: Place) {
    this[PLACE] = place;
  }

  static {
    for (const iface in FUNCTIONS) {
      Object.defineProperty(Imports.prototype, iface, {
        enumerable: iface !== PREVIEW1,
        get(this: Imports) {
          const value = membersOf(this[PLACE], iface, INTERFACES, CLASSES);
          Object.defineProperty(this, iface, { value, enumerable: iface !== PREVIEW1 });
          return value;
        },
      });
    }
  }
}

/** The host of one instance of the asynchronous ABI, where 0.2 and 0.3 stand side by side. */
class AbiImports implements AbiHost {
  readonly #place: Place;
  readonly #imports: Record<string, object>;
  readonly #members = new Map<string, Record<string, unknown>>();

  constructor(place: Place, imports: Record<string, object>) {
    this.#place = place;
    this.#imports = imports;
  }

  get instance(): WasiInstance {
    return this.#place.host;
  }

  #of(full: string): Record<string, unknown> {
    const [iface, version] = full.split("@") as [string, string | undefined];
    if (!version?.startsWith("0.3.")) return this.#imports[iface] as Record<string, unknown>;
    let members = this.#members.get(iface);
    if (!members) {
      members = membersOf(this.#place, iface, INTERFACES_3, CLASSES_3);
      this.#members.set(iface, members);
    }
    return members;
  }

  func(iface: string, wit: string): (...args: unknown[]) => unknown {
    const members = this.#of(iface);
    const name = glueName(wit);
    type Call = (...args: unknown[]) => unknown;
    if (wit.startsWith("[method]")) {
      return (self, ...args) => (self as Record<string, Call>)[name]!(...args);
    }
    const [type, member] = name.replace(/^new /, "").split(".") as [string, string | undefined];
    if (member !== undefined) return (members[type] as unknown as Record<string, Call>)[member]!;
    if (!name.startsWith("new ")) return members[type] as Call;
    const construct = members[type] as new (...args: unknown[]) => object;
    return (...args) => new construct(...args);
  }

  resource(name: string): abstract new (...args: never[]) => object {
    const [iface, resource] = name.split("#") as [string, string];
    return this.#of(iface)[classNameOf(resource)] as abstract new (...args: never[]) => object;
  }
}

/** The functions of WASI 0.2 that the instances of a replica share. */
export class WasiFunctions {
  /** Which of them is at work. */
  readonly place = new Place();
  readonly imports = new Imports(this.place) as unknown as Record<string, object>;
}

class HostOfInstance implements WasiHost {
  readonly #functions: WasiFunctions;
  readonly #instance: WasiInstance;
  readonly #parts: PartsOnce;

  constructor(ctx: WasiContext, functions: WasiFunctions) {
    this.#functions = functions;
    this.#instance = new WasiInstance(ctx);
    this.#parts = new PartsOnce(this.#instance);
    this.atWork();
  }

  get imports(): Record<string, object> {
    return this.#functions.imports;
  }

  atWork(): void {
    this.#functions.place.parts = this.#parts;
  }

  get abi(): AbiHost {
    const own = new WasiFunctions();
    own.place.parts = this.#parts;
    return new AbiImports(own.place, own.imports);
  }

  get http(): HttpHost {
    return createHandlerHost(this.#instance);
  }

  get http3(): WasiHost["http3"] {
    return createHandlerHost3(this.#instance);
  }

  leaveTrace(): void {
    this.#instance.traceparent = undefined;
  }

  get memory(): HostMemory {
    return this.#instance.memory;
  }

  close(): void {
    this.#instance.close();
  }
}

/** Builds the WASI host of one instance, which is then the one at work. */
export function createWasi(ctx: WasiContext, functions = new WasiFunctions()): WasiHost {
  return new HostOfInstance(ctx, functions);
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

/** Every function of WASI 0.2 and the drafts that there is: `interface#name`, as of `namesIn`. */
export function functionNames(): ReadonlySet<string> {
  const names = new Set<string>();
  const { imports } = createWasi(NO_CONTEXT);
  for (const iface in FUNCTIONS) {
    if (iface === PREVIEW1) continue;
    const members = imports[iface] as Record<string, unknown>;
    for (const name of namesIn(iface, members, INTERFACES, CLASSES)) names.add(`${iface}#${name}`);
  }
  return names;
}

/** The same of WASI 0.3. */
export function functionNames3(): ReadonlySet<string> {
  const names = new Set<string>();
  const place = new Place();
  place.parts = new PartsOnce(new WasiInstance(NO_CONTEXT));
  for (const iface in INTERFACES_3.functions) {
    const members = membersOf(place, iface, INTERFACES_3, CLASSES_3);
    for (const name of namesIn(iface, members, INTERFACES_3, CLASSES_3)) {
      names.add(`${iface}#${name}`);
    }
  }
  return names;
}

/** Resources that there are: `wasi:io/poll@0.2.6#pollable`. */
export function isResource(name: string): boolean {
  const [, iface = "", version, resource = ""] = /^([^@]+)(?:@(.+))?#(.+)$/.exec(name) ?? [];
  const { resources, constructible } = version?.startsWith("0.3.") ? INTERFACES_3 : INTERFACES;
  return Object.hasOwn(resources[iface] ?? {}, resource) ||
    Object.hasOwn(constructible[iface] ?? {}, classNameOf(resource));
}
