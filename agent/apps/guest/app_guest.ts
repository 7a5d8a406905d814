/**
 * A component of an app that proposes, shows or acts: one instance of it, under limits.
 *
 * It is called as `state_apply.ts` calls its kind, without glue, and is metered by the same rewriter.
 * Nothing depends on every peer doing the same here, so values of all types of the contract pass by
 * the general code of `wasm/values.ts`, and it may have exceptions. What it imports are functions of
 * the host by interface and name; there are no others.
 *
 * A call has an amount of fuel, so that it ends. What ends it early (a trap, its fuel, a function of
 * the host that throws) ends the instance: every later call fails too.
 *
 * @module
 */
import { RealmError } from "../../kernel/error.ts";
import {
  type Border,
  checkRange,
  type Codec,
  type CoreValue,
  Flat,
  FLAT_MAX,
} from "../../wasm/values.ts";
import { STACK_EXHAUSTED } from "../../wasm/meter/meter.ts";
import { EXPORT, PACKAGE, type Profile, VERSION } from "../contracts.ts";
import { type CorePart, corePartsOf, type Link, refusedAs } from "./core_module.ts";
import { callLinked } from "./linked_call.ts";
import { type Signature, SIGNATURES } from "./signature.ts";

/**
 * What the guest may call, by interface and name, with values as `wasm/values.ts` has them. One that
 * returns a promise suspends the guest, and may only be called where {@link AppGuest.callAsync} did.
 */
export type HostFunctions = Readonly<
  Record<string, Readonly<Record<string, (...args: never[]) => unknown>>>
>;

/** What one instance may use. */
export interface GuestLimits {
  /** Units for one call; the host's functions take {@link HOST_CALL_FUEL} and one for each byte. */
  readonly fuelMax: number;
}

/** Pages of 64 KiB that an instance may have. */
export const GUEST_PAGES_MAX = 256;

/** Units that a function of the host takes, before bytes. */
export const HOST_CALL_FUEL = 1000;
/** Bytes of call depth, as the rewriter counts them. */
const STACK_BYTES = 256 * 1024;
/** Units for each value of a list, beside its bytes. */
const ELEMENT_FUEL = 16;
const TABLE_ELEMENTS_MAX = 16_384;

/** JSPI, which TypeScript's library does not know yet. */
const jspi = WebAssembly as unknown as {
  readonly Suspending: new (f: (...args: CoreValue[]) => unknown) => WebAssembly.ImportValue;
  promising(f: CoreFunction): (...args: CoreValue[]) => Promise<CoreValue | undefined>;
};

type CoreFunction = (...args: CoreValue[]) => CoreValue | undefined;

/** A component, ready to be instantiated. */
export interface GuestCode {
  readonly profile: Profile;
  readonly parts: readonly CorePart[];
}

/** Rewrites and compiles a component whose profile was checked. Throws as {@link corePartsOf} does. */
export async function guestCode(component: Uint8Array, profile: Profile): Promise<GuestCode> {
  const parts = await corePartsOf(component, {
    profile,
    memoryPagesMax: GUEST_PAGES_MAX,
    tableElementsMax: TABLE_ELEMENTS_MAX,
  });
  return { profile, parts };
}

/** See the module. */
export class AppGuest {
  readonly #code: GuestCode;
  readonly #limits: GuestLimits;
  /** Of the last part, which has what the component exports. */
  readonly #exports: WebAssembly.Exports;
  readonly #fuel = new WebAssembly.Global({ value: "i32", mutable: true }, 0);
  readonly #stack = new WebAssembly.Global({ value: "i32", mutable: true }, 0);
  readonly #border: GuestBorder;
  /** By part. */
  readonly #parts: { readonly exports: WebAssembly.Exports; readonly border: GuestBorder }[] = [];
  /** What ended it. */
  #end: RealmError | undefined;
  #isCalled = false;

  /**
   * Makes an instance. `waiting` names the functions that return promises, as `interface.name`.
   * Throws RealmError `unknown-import` where it imports what `host` has not, `invalid-module`.
   */
  constructor(
    code: GuestCode,
    host: HostFunctions,
    limits: GuestLimits,
    waiting: readonly string[] = [],
  ) {
    this.#code = code;
    this.#limits = limits;
    this.#start();
    for (const part of code.parts) this.#parts.push(this.#instantiate(part, host, waiting));
    ({ exports: this.#exports, border: this.#border } = this.#parts.at(-1)!);
  }

  #instantiate(
    { module: compiled, links, memoryPagesMax }: CorePart,
    host: HostFunctions,
    waiting: readonly string[],
  ): { exports: WebAssembly.Exports; border: GuestBorder } {
    const code = this.#code;
    const isLast = this.#parts.length === code.parts.length - 1;
    const border = new GuestBorder((units) => this.#pay(units));
    const imports: Record<string, WebAssembly.ModuleImports> = Object.create(null);
    for (const { module, name, kind } of WebAssembly.Module.imports(compiled)) {
      if (module === "realm") continue;
      const link = links.get(module);
      if (kind === "function" && link?.functions.has(name)) {
        (imports[module] ??= Object.create(null))[name] = this.#linked(border, link, name);
        continue;
      }
      const found = kind === "function" ? interfaceOf(module) : undefined;
      const signature = found === undefined ? undefined : SIGNATURES.get(found)?.get(name);
      const members = found !== undefined && Object.hasOwn(host, found) ? host[found]! : {};
      if (signature === undefined || !Object.hasOwn(members, name)) {
        throw new RealmError(
          "unknown-import",
          `Cannot load the component as ${code.profile}: it imports ${module} ${name}`,
        );
      }
      const act = members[name] as (...args: unknown[]) => unknown;
      const waits = waiting.includes(`${found}.${name}`);
      // A part that waits would have to suspend the one that called it, through our own code.
      if (waits && !isLast) {
        throw refusedAs(code.profile, `a module in it imports ${found}, which waits`);
      }
      const core = this.#lower(border, signature, act);
      (imports[module] ??= Object.create(null))[name] = waits ? new jspi.Suspending(core) : core;
    }
    imports.realm = {
      fuel: this.#fuel,
      stack: this.#stack,
      outline: new WebAssembly.Global({ value: "i32", mutable: true }, 0),
      // No handler of the guest's catches what comes of it.
      refuel: () => {
        this.#fail(new RealmError("out-of-fuel", `The ${code.profile} component used up its fuel`));
        return 1;
      },
      grow: (kind: number, units: number) => this.#grow(border, memoryPagesMax, kind, units),
    };
    let exports: WebAssembly.Exports;
    try {
      exports = new WebAssembly.Instance(compiled, imports).exports;
    } catch (error) {
      throw new RealmError("invalid-module", `Cannot load the component: ${messageOf(error)}`, {
        cause: error,
      });
    }
    const { memory, cabi_realloc: realloc } = exports;
    if (!(memory instanceof WebAssembly.Memory)) {
      throw refusedAs(code.profile, "it exports no memory");
    }
    border.bind(memory, typeof realloc === "function" ? realloc as CoreFunction : undefined);
    return { exports, border };
  }

  /** A function that a part imports from another. */
  #linked(border: GuestBorder, { part, name, functions }: Link, fn: string): CoreFunction {
    const exported = `${name}#${fn}`;
    const signature = functions.get(fn)!;
    return (...core) =>
      this.#guarded(() => {
        const { exports, border: other } = this.#parts[part]!;
        return callLinked(signature, core, border, {
          border: other,
          call: exports[exported] as CoreFunction,
          leave: (result) => {
            const after = exports[`cabi_post_${exported}`];
            if (typeof after === "function") other.alone(() => after(result));
          },
        });
      });
  }

  /** Something that the guest calls, and is ended by if it throws. */
  #guarded<T>(act: () => T): T {
    if (this.#end !== undefined) throw this.#end;
    try {
      if (!this.#isCalled || this.#parts.some(({ border }) => border.isAlone)) {
        throw new Error("it calls out while it may not");
      }
      this.#pay(HOST_CALL_FUEL);
      return act();
    } catch (error) {
      throw this.#fail(error);
    }
  }

  /** Whether it can be called again. */
  get hasEnded(): boolean {
    return this.#end !== undefined;
  }

  /** Units that the last call has used so far. */
  get fuelUsed(): number {
    return this.#limits.fuelMax - Math.max(0, this.#fuel.value as number);
  }

  /**
   * Calls a function of its interface. Throws RealmError `trap`, `out-of-fuel`, or what a function of
   * the host threw.
   */
  call(name: string, ...args: unknown[]): unknown {
    const { core, signature, exported } = this.#enter(name);
    return this.#leave(() =>
      this.#lift(signature, exported, core(...this.#lowerArgs(signature, args)))
    );
  }

  /** {@link call}, for a guest that functions of the host may suspend. One call at a time. */
  async callAsync(name: string, ...args: unknown[]): Promise<unknown> {
    const { core, signature, exported } = this.#enter(name);
    let flat: CoreValue[] = [];
    this.#leave(() => flat = this.#lowerArgs(signature, args), false);
    let result: CoreValue | undefined;
    try {
      result = await jspi.promising(core)(...flat);
    } catch (error) {
      this.#isCalled = false;
      throw this.#fail(error);
    }
    return this.#leave(() => this.#lift(signature, exported, result));
  }

  #start(): void {
    this.#fuel.value = this.#limits.fuelMax;
    this.#stack.value = STACK_BYTES;
  }

  #enter(name: string): {
    core: CoreFunction;
    signature: Signature;
    exported: string;
  } {
    if (this.#end !== undefined) throw this.#end;
    if (this.#isCalled) throw new Error(`${name} is called while a call is under way`);
    const of = EXPORT[this.#code.profile];
    const exported = `${PACKAGE}${of}@${VERSION}#${name}`;
    const signature = SIGNATURES.get(of)!.get(name);
    const core = this.#exports[exported];
    if (signature === undefined || typeof core !== "function") {
      throw refusedAs(this.#code.profile, `it exports no ${exported}`);
    }
    this.#isCalled = true;
    this.#start();
    return { core: core as CoreFunction, signature, exported };
  }

  #leave<T>(act: () => T, isLast = true): T {
    let hasFailed = true;
    try {
      const value = act();
      hasFailed = false;
      return value;
    } catch (error) {
      throw this.#fail(error);
    } finally {
      if (isLast || hasFailed) this.#isCalled = false;
    }
  }

  #lowerArgs({ params }: Signature, args: readonly unknown[]): CoreValue[] {
    const { flat } = params;
    const values: CoreValue[] = [];
    if (flat !== undefined && flat.length <= FLAT_MAX) params.lower(this.#border, args, values);
    else {
      const at = this.#border.alloc(params.align, params.size);
      params.store(this.#border, at, args);
      values.push(at);
    }
    return values;
  }

  #lift(
    { result }: Signature,
    exported: string,
    value: CoreValue | undefined,
  ): unknown {
    if (this.#end !== undefined) throw this.#end;
    const lifted = result === undefined ? undefined : this.#read(this.#border, result, 1, [value!]);
    const post = this.#exports[`cabi_post_${exported}`];
    if (typeof post === "function") post(value);
    if (this.#end !== undefined) throw this.#end;
    return lifted;
  }

  /** Values that are `flatMax` core values or less, else in memory, where the first one points. */
  #read(
    border: GuestBorder,
    codec: Codec,
    flatMax: number,
    values: readonly CoreValue[],
  ): unknown {
    if (isFlat(codec, flatMax)) return codec.lift(border, new Flat(values));
    const at = (values[0] as number) >>> 0;
    checkRange(border, at, codec.size, codec.align);
    return codec.load(border, at);
  }

  /** A function of the host as the core module imports it. */
  #lower(
    border: GuestBorder,
    { params, result }: Signature,
    act: (...args: unknown[]) => unknown,
  ): CoreFunction {
    const isDirect = result === undefined || isFlat(result, 1);
    const answer = (value: unknown, core: readonly CoreValue[]): CoreValue | undefined => {
      if (result === undefined) return undefined;
      if (isDirect) {
        const values: CoreValue[] = [];
        result.lower(border, value, values);
        return values[0];
      }
      const at = (core.at(-1) as number) >>> 0;
      checkRange(border, at, result.size, result.align);
      result.store(border, at, value);
      return undefined;
    };
    return (...core) =>
      this.#guarded(() => {
        const value = act(...this.#read(border, params, FLAT_MAX, core) as unknown[]);
        if (!(value instanceof Promise)) return answer(value, core);
        const stack = this.#stack.value;
        return value.then((value) => {
          if (this.#end !== undefined) throw this.#end;
          this.#stack.value = stack;
          return answer(value, core);
        }).catch((error) => {
          throw this.#fail(error);
        }) as unknown as CoreValue;
      });
  }

  #pay(units: number): void {
    const left = (this.#fuel.value as number) - Math.min(units, 2 ** 30);
    this.#fuel.value = Math.max(left, -1);
    if (left < 0) {
      throw new RealmError("out-of-fuel", `The ${this.#code.profile} component used up its fuel`);
    }
  }

  /** Notes what ended the guest: the first counts. A guest that catches it gets no further. */
  #fail(error: unknown): RealmError {
    if (this.#end === undefined) {
      const isDeep = this.#stack.value === STACK_EXHAUSTED;
      this.#end = error instanceof RealmError ? error : new RealmError(
        "trap",
        `The ${this.#code.profile} component trapped: ${
          isDeep ? "its calls are too deep" : messageOf(error)
        }`,
        { cause: error },
      );
      this.#fuel.value = -1;
    }
    return this.#end;
  }

  #grow(border: GuestBorder, pagesMax: number, kind: number, units: number): number {
    if (kind !== 0 || units < 0) return 1;
    const all = this.#parts.reduce((sum, { border }) => sum + border.pages, units);
    return border.pages + units <= pagesMax && all <= GUEST_PAGES_MAX ? 0 : 1;
  }
}

/** The memory of a guest, as values pass through it. */
class GuestBorder implements Border {
  #memory: WebAssembly.Memory | undefined;
  #realloc: CoreFunction | undefined;
  #view = new DataView(new ArrayBuffer(0));
  #bytes = new Uint8Array(0);
  /** Its code runs for the host, not for itself: meanwhile it may not call out. */
  isAlone = false;

  constructor(readonly pay: (units: number) => void) {}

  bind(memory: WebAssembly.Memory, realloc: CoreFunction | undefined): void {
    this.#memory = memory;
    this.#realloc = realloc;
  }

  get view(): DataView<ArrayBuffer> {
    if (this.#memory !== undefined && this.#view.buffer !== this.#memory.buffer) {
      this.#view = new DataView(this.#memory.buffer as ArrayBuffer);
    }
    return this.#view;
  }

  get bytes(): Uint8Array {
    const { buffer } = this.view;
    if (this.#bytes.buffer !== buffer) this.#bytes = new Uint8Array(buffer);
    return this.#bytes;
  }

  alloc(align: number, size: number): number {
    if (this.#realloc === undefined) throw new Error("it exports no cabi_realloc");
    this.pay(size);
    const realloc = this.#realloc;
    const at = this.alone(() => realloc(0, 0, align, size) as number) >>> 0;
    checkRange(this, at, size, align);
    return at;
  }

  get pages(): number {
    return this.bytes.length / 65_536;
  }

  /** Runs code of the guest that makes room, or ends a call. What it throws ends the guest. */
  alone<T>(act: () => T): T {
    this.isAlone = true;
    const value = act();
    this.isAlone = false;
    return value;
  }

  lift(bytes: number, elements: number): void {
    this.pay(bytes + ELEMENT_FUEL * elements);
  }

  takeOwn = noHandles;
  borrow = noHandles;
  give = noHandles;
  takeEnd = noHandles;
  giveEnd = noHandles;
}

function noHandles(): never {
  throw new Error("the contract has no resources");
}

function isFlat({ flat }: Codec, max: number): boolean {
  return flat !== undefined && flat.length <= max;
}

/** `state-read` of `realm:app/state-read@0.1.0`. */
function interfaceOf(name: string): string | undefined {
  const isOurs = name.startsWith(PACKAGE) && name.endsWith(`@${VERSION}`);
  return isOurs ? name.slice(PACKAGE.length, -VERSION.length - 1) : undefined;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
