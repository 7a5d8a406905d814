/**
 * One instance of a component: its core modules linked with metering and with a WASI host of its
 * own, and the calls into it.
 *
 * The glue is synchronous. A host function that has to wait throws its promise through the glue to
 * the border of the core module; there JSPI suspends the guest, and afterwards the same lowered
 * call is made again and finds the result. So only calls that wait cost anything.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import {
  type Again,
  compileGlue,
  type ComponentExports,
  type Instantiate,
  type Lower,
} from "./glue.ts";
import { HandlerLoop } from "./handler_loop.ts";
import type { Limiter } from "./limiter.ts";
import { jspi, refuelFunction } from "./pause.ts";
import { GuestEnded } from "./trap.ts";
import {
  hostName,
  POLL_LIST_MAX,
  PREVIEW1,
  SUSPENDING_FUNCTIONS,
  SUSPENDING_IMPORTS,
} from "./wasi/host.ts";

/** What an instance is made of; the modules and the glue are shared by all of a replica. */
export interface InstanceInit {
  readonly modules: Readonly<Record<string, WebAssembly.Module>>;
  /** What {@link compileInstantiate} made. */
  readonly instantiate: Instantiate;
  readonly memoryPagesMin: number;
  readonly tableElementsMin: number;
  readonly limiter: Limiter;
  /** The imports of `createWasi`. */
  readonly wasi: Record<string, object>;
  /** Whether there is one call at most: then a stack to serve more on does not pay. */
  readonly once?: boolean;
  /** Called when the guest is about to wait. */
  readonly onWait: () => void;
}

/** A host function's promise on its way to the border of the core module. */
class WouldWait {
  constructor(readonly promise: Promise<unknown>) {}
}
// The glue lets errors pass. A real one would record the guest's stack at every call that waits.
Object.setPrototypeOf(WouldWait.prototype, Error.prototype);

type Settled = { readonly value: unknown } | { readonly error: unknown };

/** The result with which the lowered call in progress is made again. */
let settled: Settled | undefined;

/** Whether the glue makes a call for the second time: what it took from the guest is taken. */
const isAgain: Again = () => settled !== undefined;

type Method = (this: unknown, ...args: unknown[]) => unknown;

/** Turns a method that may return a promise into one for the synchronous glue. */
function makeWaitable(method: Method): Method {
  return function (...args) {
    if (settled) {
      const result = settled;
      settled = undefined;
      if ("error" in result) throw result.error;
      return result.value;
    }
    const result = method.apply(this, args);
    if (result instanceof Promise) throw new WouldWait(result);
    return result;
  };
}

const camel = (kebab: string) => kebab.replace(/-(\w)/g, (_, c: string) => c.toUpperCase());

/** A host function that may wait: of an interface, a method, or a static function of a class. */
interface Waiting {
  readonly iface: string;
  readonly className: string | undefined;
  readonly isStatic: boolean;
  readonly name: string;
}

/** They by the name that the glue has for them. */
const WAITING: ReadonlyMap<string, Waiting> = new Map(SUSPENDING_IMPORTS.map((full) => {
  const [iface, fn] = full.split("#") as [string, string];
  const [, kind, resource, member] = /^\[(method|static)\]([^.]+)\.(.+)$/.exec(fn) ?? [];
  const name = camel(member ?? fn);
  const className = resource && resource[0]!.toUpperCase() + camel(resource).slice(1);
  const isStatic = kind === "static";
  return [`${iface}#${isStatic ? `${className}.` : ""}${name}`, {
    iface,
    className,
    isStatic,
    name,
  }];
}));

/** Interfaces of which not only methods wait: what is not shared by the instances of a Worker. */
const WAITING_INTERFACES = new Set(
  [...WAITING.values()].filter((w) => w.className === undefined || w.isStatic).map((w) => w.iface),
);

type Host = Record<string, Method & { readonly prototype: Record<string, Method> }>;

/** The methods that wait, once they are replaced: all instances of a Worker share their classes. */
let methodsReplaced = false;

function replaceMethods(wasi: Record<string, object>): void {
  if (methodsReplaced) return;
  methodsReplaced = true;
  for (const { iface, className, isStatic, name } of WAITING.values()) {
    if (className === undefined || isStatic) continue;
    const { prototype } = (wasi[iface] as Host)[className]!;
    prototype[name] = makeWaitable(prototype[name]!);
  }
}

/** An interface with its functions and static functions replaced. */
function waitable(iface: string, host: Host): object {
  const members: Record<string, unknown> = Object.assign(Object.create(null), host);
  for (const { iface: of, className, isStatic, name } of WAITING.values()) {
    if (of !== iface) continue;
    if (className === undefined) members[name] = makeWaitable(host[name]!);
    else if (isStatic) {
      const type = host[className] as unknown as Record<string, Method>;
      Object.defineProperty(type, name, { value: makeWaitable(type[name]!) });
    }
  }
  return members;
}

/**
 * The WASI host with its waiting functions replaced. Interfaces are made when the glue asks for
 * them, so none is touched that the component does not import.
 */
function prepareWasi(wasi: Record<string, object>): Record<string, object> {
  replaceMethods(wasi);
  const imports: Record<string, object> = Object.create(wasi);
  for (const iface of WAITING_INTERFACES) {
    let made: object | undefined;
    const get = () => made ??= waitable(iface, wasi[iface] as Host);
    Object.defineProperty(imports, iface, { get });
  }
  return imports;
}

/**
 * What a host function threw to the guest ends it, also where the guest catches exceptions: an
 * invalid handle or a value out of range is a trap of the canonical ABI.
 */
function ending(error: unknown, limiter: Limiter): unknown {
  const message = error instanceof Error ? error.message : String(error);
  limiter.end({ kind: "limit", code: "trap", message });
  return error;
}

/** A lowered function whose host side may wait. */
function lowerWaiting(
  call: (state: unknown, ...args: unknown[]) => unknown,
  state: unknown,
  limiter: Limiter,
  onWait: () => void,
): object {
  const attempt = (args: unknown[], result: Settled | undefined): unknown => {
    settled = result;
    liftedBytes = 0;
    try {
      return call(state, ...args);
    } catch (error) {
      if (!(error instanceof WouldWait)) throw ending(error, limiter);
      return wait(error.promise, args);
    } finally {
      settled = undefined;
      limiter.hostCalled();
    }
  };
  const wait = async (promise: Promise<unknown>, args: unknown[]): Promise<unknown> => {
    limiter.leave();
    limiter.newSlice();
    onWait();
    let result: Settled;
    try {
      result = { value: await limiter.untilEnded(promise) };
    } catch (error) {
      result = { error };
    }
    limiter.enter();
    if (limiter.ended) throw new GuestEnded();
    return attempt(args, result);
  };
  return new jspi.Suspending((...args: unknown[]) => attempt(args, undefined));
}

/**
 * A function of WASI 0.1 that may wait: nothing is lifted and lowered there, so what its promise
 * gives is the result.
 */
function awaiting(
  call: (...args: unknown[]) => unknown,
  limiter: Limiter,
  onWait: () => void,
): object {
  const wait = async (promise: Promise<unknown>): Promise<unknown> => {
    limiter.leave();
    limiter.newSlice();
    onWait();
    let result: unknown;
    try {
      result = await limiter.untilEnded(promise);
    } catch (error) {
      ending(error, limiter);
    }
    limiter.enter();
    if (limiter.ended) throw new GuestEnded();
    return result;
  };
  return new jspi.Suspending((...args: unknown[]) => {
    const result = call(...args);
    return result instanceof Promise ? wait(result) : result;
  });
}

/** `poll` whose list is not lifted where it is too long: its length is the second number after the state. */
function boundedPoll<Args extends unknown[], R>(call: (...args: Args) => R): typeof call {
  return (...args) => {
    const length = Number(args[2]) >>> 0;
    if (length > POLL_LIST_MAX) {
      throw new Error(`Cannot poll: the list has ${length} entries, the most is ${POLL_LIST_MAX}`);
    }
    return call(...args);
  };
}

/** The call that an export makes: a core function and its lowered arguments. */
interface Call {
  readonly core: unknown;
  readonly args: readonly number[];
}

/**
 * What one call may give the host, in bytes, as in wasmtime. Without a bound a list that names the
 * same bytes over and over becomes more than the host has.
 */
const LIFTED_BYTES_MAX = 128 * 1024 * 1024;
/** What each string, byte list and element of a call counts beside its bytes. */
const LIFTED_OVERHEAD_BYTES = 256;

/** What the host call in progress was given so far. */
let liftedBytes = 0;
/** Where the glue leaves the call of an export, which is made outside of it: there it may wait. */
let entered: Call | undefined;

/** What a Worker ran last: it is often used for the same component again. */
let compiled: { readonly glue: string; readonly instantiate: Instantiate } | undefined;

/** Compiles the glue of a component; once for all of its instances in a Worker. */
export function compileInstantiate(glue: string): Instantiate {
  if (compiled?.glue === glue) return compiled.instantiate;
  ways.clear();
  const enter = (core: unknown, ...args: number[]) => {
    entered = { core, args };
    return 0;
  };
  const lift = (length: number, elements = 1) => {
    liftedBytes += length + elements * LIFTED_OVERHEAD_BYTES;
    if (liftedBytes > LIFTED_BYTES_MAX) {
      throw new Error(`a call gives more than ${LIFTED_BYTES_MAX} bytes`);
    }
    return length;
  };
  const instantiate = compileGlue(glue, enter, lift, isAgain);
  compiled = { glue, instantiate };
  return instantiate;
}

/** Members of the host's classes that are no functions of an interface, but look like it. */
const HOSTS_OWN = /[#.](constructor|released)$/;

/** How a host function is lowered. */
type Way = "plain" | "timed" | "poll" | "waiting" | "awaiting" | "timed and awaiting";

const ways = new Map<string, Way>();

/** By its name in the glue, `interface@version#jsName`. */
function wayOf(name: string): Way {
  let way = ways.get(name);
  if (way === undefined) ways.set(name, way = findWay(hostName(name)));
  return way;
}

function findWay(key: string): Way {
  if (HOSTS_OWN.test(key)) {
    throw new RealmError("unknown-import", `Cannot link the component: it imports ${key}`);
  }
  if (key === "wasi:io/poll#poll") return "poll";
  if (WAITING.has(key)) return "waiting";
  // Disk time is not the guest's running time; other host calls are too short to count.
  const isTimed = key.startsWith("wasi:filesystem/") ||
    key.startsWith(`${PREVIEW1}#fd_`) || key.startsWith(`${PREVIEW1}#path_`);
  const [iface, f] = key.split("#");
  const awaits = iface === PREVIEW1 && SUSPENDING_FUNCTIONS.has(f!);
  return isTimed ? (awaits ? "timed and awaiting" : "timed") : awaits ? "awaiting" : "plain";
}

/** A live instance. After a trap it must be thrown away. */
export class Instance {
  #loop: HandlerLoop | undefined;

  private constructor(
    readonly init: InstanceInit,
    readonly exports: ComponentExports,
  ) {}

  /**
   * Links and instantiates. Throws RealmError `memory-limit` when the initial memories and tables
   * do not fit, and whatever a start function throws.
   */
  static async create(init: InstanceInit): Promise<Instance> {
    const { limiter } = init;
    if (
      limiter.grow(0, init.memoryPagesMin) !== 0 || limiter.grow(1, init.tableElementsMin) !== 0
    ) {
      throw new RealmError(
        "memory-limit",
        `Cannot start the component: it begins with ${init.memoryPagesMin} pages of 64 KiB and ${init.tableElementsMin} table elements, more than its limit of ${limiter.init.limits.memoryBytesMax} bytes`,
        { hint: "Raise memory_max_mb (--memory-max-mb)" },
      );
    }
    const realm = {
      fuel: limiter.fuel,
      stack: limiter.stack,
      outline: limiter.outline,
      refuel: refuelFunction(limiter),
      grow: limiter.grow,
    };
    const lower: Lower = (name, call, state) => {
      const way = wayOf(name);
      const before = way === "timed" || way === "timed and awaiting";
      if (way === "waiting" || way === "poll") {
        return lowerWaiting(way === "poll" ? boundedPoll(call) : call, state, limiter, init.onWait);
      }
      const lowered = (...args: unknown[]) => {
        if (before) limiter.leave();
        liftedBytes = 0;
        try {
          return call(state, ...args);
        } catch (error) {
          throw ending(error, limiter);
        } finally {
          if (before) limiter.enter();
          limiter.hostCalled();
        }
      };
      return way === "awaiting" || way === "timed and awaiting"
        ? awaiting(lowered, limiter, init.onWait)
        : lowered;
    };
    const link = (module: WebAssembly.Module, imports: Record<string, Record<string, unknown>>) => {
      const all: Record<string, Record<string, unknown>> = { ...imports, realm };
      limiter.enter(); // for the module's start function
      try {
        return new WebAssembly.Instance(module, all as WebAssembly.Imports);
      } catch (error) {
        if (!(error instanceof WebAssembly.LinkError)) throw error;
        const [, what = error.message] = /: (Import #.*)$/.exec(error.message) ?? [];
        throw new RealmError("unknown-import", `Cannot link the module: ${what}`, {
          hint: "realm inspect tells what a module is",
          cause: error,
        });
      } finally {
        limiter.leave();
      }
    };
    const exports = await init.instantiate(
      (name) => init.modules[name]!,
      prepareWasi(init.wasi),
      (module, imports) => ({ exports: link(module, imports).exports }),
      lower,
    );
    return new Instance(init, exports);
  }

  /** Runs `wasi:cli/run`, or `_start` of WASI 0.1: 0 for ok, 1 for err. */
  async run(): Promise<number> {
    const result = await this.#enter(
      "wasi:cli/run",
      "run",
      [],
      (core, args) => jspi.promising(core as (...args: number[]) => unknown)(...args),
    );
    return result === 0 || result === undefined ? 0 : 1;
  }

  /** Hands a request to `wasi:http/incoming-handler`; resolves when the guest's code is done. */
  async handle(request: object, outparam: object): Promise<void> {
    await this.#enter(
      "wasi:http/incoming-handler",
      "handle",
      [request, outparam],
      (core, [first, second]) => {
        const { limiter, once } = this.init;
        if (once) {
          return jspi.promising(core as (...handles: number[]) => void)(first!, second!);
        }
        // Made with the first request: until it is closed nothing of the instance is freed.
        this.#loop ??= new HandlerLoop(core, () => limiter.enter(), () => limiter.leave());
        return this.#loop.call(first!, second!);
      },
    );
  }

  /** Lets go of its stack; there are no calls afterwards. */
  close(): void {
    this.#loop?.close();
    this.init.instantiate.leave?.();
  }

  async #enter(
    iface: string,
    name: string,
    args: unknown[],
    start: (core: unknown, args: readonly number[]) => Promise<unknown>,
  ): Promise<unknown> {
    const key = Object.keys(this.exports).find((k) => k.startsWith(`${iface}@`));
    if (key === undefined) {
      throw new RealmError("unsupported", `Cannot call ${iface}: the component does not export it`);
    }
    const { limiter } = this.init;
    limiter.newSlice();
    this.exports[key]![name]!(...args);
    const call = entered;
    if (!call) throw new RealmError("failed", `Cannot call ${iface}: the glue did not`);
    entered = undefined;
    try {
      limiter.enter();
      const result = start(call.core, call.args);
      limiter.leave(); // it returned, or waits
      return await result;
    } finally {
      limiter.leave();
    }
  }
}
