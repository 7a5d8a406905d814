/**
 * How the host's functions become imports of core modules: those that may wait suspend the guest,
 * what fails ends it, and the time and the bytes of calls are counted.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import type { Again, Lift } from "./glue.ts";
import type { Limiter } from "./limiter.ts";
import { jspi } from "./pause.ts";
import { GuestEnded } from "./trap.ts";
import {
  hostName,
  POLL_LIST_MAX,
  PREVIEW1,
  SUSPENDING_FUNCTIONS,
  SUSPENDING_IMPORTS,
  type WasiHost,
} from "./wasi/host.ts";

/** The instance that calls. */
export interface Owner {
  readonly limiter: Limiter;
  /** Called when the guest is about to wait. */
  readonly onWait: () => void;
  /** Whose functions it calls. */
  readonly wasi: Pick<WasiHost, "atWork">;
}

/** Where a core module calls the host: `call(state, ...args)` of the glue, for its owner. */
export interface Site {
  readonly owner: Owner;
  readonly call: (state: unknown, ...args: unknown[]) => unknown;
  readonly state: unknown;
}

/** Lets what a core module was given call for another site, after it was handed on. */
export type Bind = (site: Site) => void;

/** A host function's promise on its way to the border of the core module. */
export class WouldWait {
  constructor(readonly promise: Promise<unknown>) {}
}
// The glue lets errors pass. A real one would record the guest's stack at every call that waits.
Object.setPrototypeOf(WouldWait.prototype, Error.prototype);

type Settled = { readonly value: unknown } | { readonly error: unknown };

/** The result with which the lowered call in progress is made again. */
let settled: Settled | undefined;

/** Whether the glue makes a call for the second time: what it took from the guest is taken. */
export const isAgain: Again = () => settled !== undefined;

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

/** What {@link prepareWasi} made of the functions of a replica. */
const prepared = new WeakMap<Record<string, object>, Record<string, object>>();

/**
 * The WASI host with its waiting functions replaced. Interfaces are made when the glue asks for
 * them, so none is touched that the component does not import.
 */
export function prepareWasi(wasi: Record<string, object>): Record<string, object> {
  const before = prepared.get(wasi);
  if (before) return before;
  replaceMethods(wasi);
  const imports: Record<string, object> = Object.create(wasi);
  for (const iface of WAITING_INTERFACES) {
    let made: object | undefined;
    const get = () => made ??= waitable(iface, wasi[iface] as Host);
    Object.defineProperty(imports, iface, { get });
  }
  prepared.set(wasi, imports);
  return imports;
}

/**
 * What a host function threw to the guest ends it, also where the guest catches exceptions: an
 * invalid handle or a value out of range is a trap of the canonical ABI.
 */
export function ending(error: unknown, limiter: Limiter): unknown {
  const message = error instanceof Error ? error.message : String(error);
  limiter.end({ kind: "limit", code: "trap", message });
  return error;
}

/** A lowered function whose host side may wait. */
function lowerWaiting(site: Site, isBounded: boolean, bound?: (bind: Bind) => void): object {
  bound?.((next) => site = next);
  const attempt = (owner: Owner, args: unknown[], result: Settled | undefined): unknown => {
    settled = result;
    liftedBytes = 0;
    owner.wasi.atWork();
    try {
      if (isBounded) checkPoll(args);
      return site.call(site.state, ...args);
    } catch (error) {
      if (!(error instanceof WouldWait)) throw ending(error, owner.limiter);
      return wait(owner, error.promise, args);
    } finally {
      settled = undefined;
      owner.limiter.hostTakes(liftedBytes);
      owner.limiter.hostCalled();
    }
  };
  const wait = async (owner: Owner, promise: Promise<unknown>, args: unknown[]) => {
    let result: Settled;
    try {
      result = { value: await suspended(owner, promise) };
    } catch (error) {
      result = { error };
    }
    resume(owner);
    return attempt(owner, args, result);
  };
  return new jspi.Suspending((...args: unknown[]) => attempt(site.owner, args, undefined));
}

/** Starts to wait outside of the guest. */
export function suspended({ limiter, onWait }: Owner, promise: Promise<unknown>): Promise<unknown> {
  limiter.leave();
  limiter.newSlice();
  onWait();
  return limiter.untilEnded(promise);
}

/** Before the guest runs again; throws where it is to end. */
export function resume({ limiter }: Owner): void {
  limiter.enter();
  if (limiter.ended) throw new GuestEnded();
}

/**
 * A function of WASI 0.1 that may wait: nothing is lifted and lowered there, so what its promise
 * gives is the result.
 */
function awaiting(ownerNow: () => Owner, call: Call): object {
  const wait = async (owner: Owner, promise: Promise<unknown>): Promise<unknown> => {
    let result: unknown;
    try {
      result = await suspended(owner, promise);
    } catch (error) {
      ending(error, owner.limiter);
    }
    resume(owner);
    return result;
  };
  return new jspi.Suspending((...args: unknown[]) => {
    const owner = ownerNow();
    const result = call(...args);
    return result instanceof Promise ? wait(owner, result) : result;
  });
}

/** Refuses a list of `poll` that is too long before it is lifted: its length is the second number. */
function checkPoll(args: readonly unknown[]): void {
  const length = Number(args[1]) >>> 0;
  if (length <= POLL_LIST_MAX) return;
  throw new Error(`Cannot poll: the list has ${length} entries, the most is ${POLL_LIST_MAX}`);
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

/** So many bytes more than `soFar`, in so many elements. Throws where a call gives too much. */
export function countLifted(soFar: number, bytes: number, elements: number): number {
  const lifted = soFar + bytes + elements * LIFTED_OVERHEAD_BYTES;
  if (lifted > LIFTED_BYTES_MAX) {
    throw new Error(`a call gives more than ${LIFTED_BYTES_MAX} bytes`);
  }
  return lifted;
}

/** Counts what a call lifts; see {@link Lift}. */
export const lift: Lift = (length, elements = 1) => {
  liftedBytes = countLifted(liftedBytes, length, elements);
  return length;
};

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

/**
 * What a core module is given for the host function of that name, as in {@link wayOf}. Throws
 * RealmError `unknown-import` for what is no function of an interface.
 *
 * `bound` gets what binds it to another site; without it there is no such function. An idle instance
 * keeps one of these for each import, so they hold what they need of the site, and not the site.
 */
export function lowered(name: string, site: Site, bound?: (bind: Bind) => void): object {
  const way = wayOf(name);
  switch (way) {
    case "waiting":
    case "poll":
      return lowerWaiting(site, way === "poll", bound);
    case "plain":
      return lowerPlain(site, bound);
    case "timed":
      return lowerTimed(site, bound);
    case "awaiting":
    case "timed and awaiting": {
      let { owner } = site;
      const call = (way === "awaiting" ? lowerPlain : lowerTimed)(
        site,
        bound && ((bind) =>
          bound((next) => {
            ({ owner } = next);
            bind(next);
          })),
      );
      return awaiting(() => owner, call);
    }
  }
}

type Call = (...args: unknown[]) => unknown;

function lowerPlain({ owner, call, state }: Site, bound?: (bind: Bind) => void): Call {
  bound?.((next) => ({ owner, call, state } = next));
  return (...args) => {
    const { limiter, wasi } = owner;
    liftedBytes = 0;
    wasi.atWork();
    try {
      return call(state, ...args);
    } catch (error) {
      throw ending(error, limiter);
    } finally {
      limiter.hostTakes(liftedBytes);
      limiter.hostCalled();
    }
  };
}

/** As {@link lowerPlain}, where the time of the call is not the guest's. */
function lowerTimed({ owner, call, state }: Site, bound?: (bind: Bind) => void): Call {
  bound?.((next) => ({ owner, call, state } = next));
  return (...args) => {
    const { limiter, wasi } = owner;
    limiter.leave();
    liftedBytes = 0;
    wasi.atWork();
    try {
      return call(state, ...args);
    } catch (error) {
      throw ending(error, limiter);
    } finally {
      limiter.enter();
      limiter.hostTakes(liftedBytes);
      limiter.hostCalled();
    }
  };
}
