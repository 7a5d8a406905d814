/**
 * How host objects become component-model resources and functions in the form of jco's glue.
 *
 * The glue wants one class per resource, tests what it gets with `instanceof`, makes
 * `Object.create(Class.prototype)` for a handle it does not know, calls `Symbol.dispose` when the
 * guest drops an owned handle, lowers a thrown value as the `err` of a `result` unless it is an
 * `Error`, and lets an `Error` through as it is. A guest can catch a foreign exception, so an
 * `Error` that leaves the host has to end the instance first: that is what the guards do.
 *
 * @see https://github.com/WebAssembly/component-model/blob/main/design/mvp/CanonicalABI.md
 * @module
 */
import type { WasiInstance } from "./context.ts";
import { traced } from "./trace.ts";

// deno-lint-ignore ban-types
type AnyFunction = Function;
type Call = (...args: unknown[]) => unknown;

/**
 * Throws unless it is a list of bytes. A component says itself of which types the functions are that
 * it imports, and a list of lists has a length, too, which says nothing of what it holds.
 */
export function requireBytes(value: Uint8Array): void {
  if (!(value instanceof Uint8Array)) throw new TypeError("it wants a list of bytes");
}

/** Books bytes that a resource keeps; by a symbol, because a guest may call any name. */
export const HOLD = Symbol("hold");

/**
 * Something a guest holds a handle of.
 *
 * A child (a pollable of a stream, a stream of a body) keeps its parent: dropping the parent first
 * is a trap, as in wasmtime's resource table.
 */
export abstract class Resource {
  readonly host: WasiInstance;
  readonly #kind: string;
  readonly #parent: Resource | undefined;
  #children = 0;
  #open = true;
  #held = 0;

  constructor(host: WasiInstance, kind: string, parent?: Resource) {
    host.take(kind);
    this.host = host;
    this.#kind = kind;
    this.#parent = parent;
    if (parent !== undefined) parent.#children++;
  }

  /** The guest's handle is gone: dropped, or given to the host. */
  [Symbol.dispose](): void {
    if (!this.#open || this.host.hasEnded) return;
    if (this.#children > 0) {
      this.host.trap(`Cannot drop ${this.#kind}: ${this.#children} of its children are alive`);
    }
    this.#open = false;
    if (this.#parent !== undefined) this.#parent.#children--;
    this.host.give(this.#kind);
    this.host.memory.hold(-this.#held);
    this.#held = 0;
    this.released();
  }

  /** The host keeps so many bytes more for it, or fewer; given back when it is dropped. */
  [HOLD](bytes: number): void {
    if (!this.#open) return;
    this.#held += bytes;
    this.host.memory.hold(bytes);
  }

  /** What a kind does when it is dropped. */
  protected released(): void {}
}

// A guest may import any name as a method or static function of a resource: `value-of` would give
// it a second handle, `constructor` of a class is what compiles JavaScript.
Object.setPrototypeOf(Resource, null);
Object.setPrototypeOf(Resource.prototype, null);

/** Methods of resources that are the host's own. */
const OWN_METHODS = new Set(["constructor", "released"]);

function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** A failure of the host ends the guest; an error of the interface goes on to it. */
function failed(host: WasiInstance, call: string, error: unknown): never {
  if (host.hasEnded || !(error instanceof Error)) throw error;
  return host.trap(`Cannot answer ${call}: ${error.message}`);
}

function answer(
  host: WasiInstance,
  call: string,
  act: () => unknown,
  args: readonly unknown[],
): unknown {
  host.checkRunning();
  if (host.ctx.trace) act = traced(host, call, act, args);
  try {
    const result = act();
    return result instanceof Promise ? result.catch((error) => failed(host, call, error)) : result;
  } catch (error) {
    return failed(host, call, error);
  }
}

/**
 * Wraps the methods of a resource class in guards; once, when its file is loaded. `only` names some
 * of them, where the others are but other words for guarded ones.
 *
 * Every public method of such a class is one of its WIT resource, in camel case; what belongs to
 * the host is private, a field, or `released`.
 */
export function guardResource(
  iface: string,
  resource: string,
  // deno-lint-ignore no-explicit-any
  type: { prototype: any },
  only?: readonly string[],
): void {
  for (const name of only ?? Object.getOwnPropertyNames(type.prototype)) {
    const method = Object.getOwnPropertyDescriptor(type.prototype, name)?.value;
    if (OWN_METHODS.has(name) || typeof method !== "function") continue;
    const call = `${iface}#[method]${resource}.${kebab(name)}`;
    type.prototype[name] = function (this: Resource, ...args: unknown[]) {
      // What the glue made for a handle that the guest does not hold.
      if (this.host === undefined) throw new TypeError(`Cannot call ${call}: invalid handle`);
      return answer(this.host, call, () => method.apply(this, args), args);
    };
  }
}

/** The instance at work, where several are bound to the same functions. */
export interface AtWork {
  readonly host: WasiInstance;
}

/** A class and its static functions that a guest reaches; they get the instance first. */
interface Constructible {
  new (host: WasiInstance, ...args: never[]): object;
  readonly prototype: object;
  readonly length: number;
}

/**
 * A resource class as the instance at work sees it, where a guest can construct it or call its
 * static functions; every other class is given to the glue as it is.
 *
 * The prototype is shared: whoever replaces a method on it does so for every instance.
 */
export function bindResource(
  atWork: AtWork,
  iface: string,
  resource: string,
  type: Constructible,
  statics: readonly string[],
): object {
  const construct = type as unknown as new (...args: unknown[]) => object;
  // What has a default is the host's to give: a guest says itself what it calls a function with.
  const count = type.length - 1;
  const bound = function (...args: unknown[]) {
    const { host } = atWork;
    return answer(
      host,
      `${iface}#[constructor]${resource}`,
      () => new construct(host, ...args.slice(0, count)),
      args,
    );
  };
  bound.prototype = type.prototype;
  Object.setPrototypeOf(bound, null); // as of `Resource`
  const members = type as unknown as Record<string, Call>;
  for (const name of statics) {
    let call: string | undefined; // named when it is called: most never are
    Object.defineProperty(bound, name, {
      configurable: true, // what may wait is replaced
      value: (...args: unknown[]) => {
        const { host } = atWork;
        call ??= `${iface}#[static]${resource}.${kebab(name)}`;
        return answer(host, call, () => members[name]!(host, ...args), args);
      },
    });
  }
  return bound;
}

/** The functions of an interface, guarded; `functions` gives those of the instance at work. */
export function bindFunctions(
  atWork: AtWork,
  iface: string,
  functions: () => Record<string, AnyFunction>,
): Record<string, Call> {
  const bound: Record<string, Call> = {};
  for (const name in functions()) {
    let call: string | undefined;
    bound[name] = (...args) => {
      const act = functions()[name]!;
      return answer(atWork.host, call ??= `${iface}#${kebab(name)}`, () => act(...args), args);
    };
  }
  return bound;
}
