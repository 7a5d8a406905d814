/**
 * A state-apply component as a function: from an event and what is stored to a verdict, alike on every
 * peer. Synchronous, and without anything of the platform but WebAssembly.
 *
 * A guest remembers nothing: before each event its memory and globals are as they were after
 * instantiation, and an instance that changed what cannot be put back is replaced.
 *
 * What the guest does decides the verdict: it accepts, gives a reason, traps, or uses up its fuel or
 * call depth, which are counted and not the machine's. When the host fails (out of memory, its stack
 * used up, a bug of ours) {@link StateApply.apply} throws, and this peer must stop: to go on would be
 * to give a verdict that others do not give.
 *
 * @module
 */
import { RealmError } from "../../kernel/error.ts";
import type { VerifySync } from "../../kernel/verify.ts";
import { LASTING } from "../../wasm/meter/lasting_names.ts";
import { STACK_EXHAUSTED } from "../../wasm/meter/meter.ts";
import { type CoreModule, coreModuleOf, refusedAs } from "./core_module.ts";
import { GuestFault, trap } from "./fault.ts";
import { GuestMemory, type Realloc } from "./guest_memory.ts";
import {
  type AppliedEvent,
  type AppSetting,
  type Call,
  type CoreFunction,
  hostFunctions,
  type Writes,
} from "./host_imports.ts";
import { FUEL_MAX, LIST_BYTES_MAX, STACK_BYTES } from "./prices.ts";

const NAMESPACE = "realm:app/";
const VERSION = "@0.1.0";
const APPLY = `${NAMESPACE}applier${VERSION}#apply`;
const refused = (why: string) => refusedAs("state-apply", why);

/** What became of an event. Only `accepted` keeps what it wrote. */
export type Verdict =
  | { readonly kind: "accepted" }
  | { readonly kind: "rejected"; readonly reason: Uint8Array }
  /** `why` is for people, and may be worded otherwise on another peer. */
  | { readonly kind: "trapped"; readonly why: string }
  | { readonly kind: "out-of-fuel" };

/** A verdict and the fuel that it took: both alike on every peer. */
export interface Outcome {
  readonly verdict: Verdict;
  readonly fuel: number;
}

/** What is put back before an event. */
interface Image {
  /** Bytes of the whole memory, and the part of it that is not zero. */
  readonly size: number;
  readonly at: number;
  readonly bytes: Uint8Array;
  readonly globals: readonly (number | bigint)[];
}

interface Instance {
  readonly memory: GuestMemory;
  readonly globals: readonly WebAssembly.Global[];
  readonly image: Image;
  readonly apply: (pointer: number, length: number) => number;
}

/** See the module. */
export class StateApply {
  readonly #fuel = new WebAssembly.Global({ value: "i32", mutable: true }, 0);
  readonly #stack = new WebAssembly.Global({ value: "i32", mutable: true }, 0);
  readonly #core: CoreModule;
  readonly #imports: WebAssembly.Imports;
  #instance: Instance | undefined;
  #call: Call | undefined;
  /** The first thing that ended the call; a guest that catches it does not get away with it. */
  #end: unknown;
  #hasEnded = false;

  private constructor(core: CoreModule, setting: AppSetting, verify: VerifySync) {
    this.#core = core;
    const imports: Record<string, WebAssembly.ModuleImports> = {};
    const functions = hostFunctions(() => this.#current(), setting, verify);
    for (const [name, members] of Object.entries(functions)) {
      imports[NAMESPACE + name + VERSION] = Object.fromEntries(
        Object.entries(members).map(([member, act]) => [member, this.#guarded(act)]),
      );
    }
    imports.realm = {
      fuel: this.#fuel,
      stack: this.#stack,
      // No slices: what goes on after the first one has no need of better code.
      outline: new WebAssembly.Global({ value: "i32", mutable: true }, 0),
      refuel: this.#guarded(() => {
        throw new GuestFault("out-of-fuel", "its fuel is used up");
      }),
      grow: this.#guarded((kind, units) => this.#grow(kind!, units!)),
    };
    this.#imports = imports;
  }

  /**
   * Loads a component, whose profile the caller has checked. `verify` is the kernel's. Throws
   * RealmError `invalid-module` or `unsupported`.
   */
  static async load(
    component: Uint8Array,
    setting: AppSetting,
    verify: VerifySync,
  ): Promise<StateApply> {
    const guest = new StateApply(await coreModuleOf(component), setting, verify);
    for (const { module, name, kind } of WebAssembly.Module.imports(guest.#core.module)) {
      if (kind === "function" && typeof guest.#imports[module]?.[name] === "function") continue;
      if (module === "realm") continue;
      throw refused(`it imports ${module} ${name}`);
    }
    try {
      guest.#instance = guest.#instantiate();
    } catch (error) {
      // Its segments do not fit, or a function has another type than the host's.
      const isGuests = error instanceof WebAssembly.RuntimeError ||
        error instanceof WebAssembly.LinkError;
      if (!isGuests) throw error;
      throw new RealmError("invalid-module", `Cannot load the component: ${error.message}`, {
        cause: error,
      });
    }
    return guest;
  }

  /**
   * Applies an event. What it writes goes to `writes`, which the caller keeps only when the verdict
   * is `accepted`. Throws when the host fails: see the module.
   */
  apply(event: AppliedEvent, writes: Writes): Outcome {
    const instance = this.#fresh();
    this.#hasEnded = false;
    this.#end = undefined;
    this.#fuel.value = FUEL_MAX;
    this.#stack.value = STACK_BYTES;
    this.#call = { memory: instance.memory, event, writes, pay: (units) => this.#pay(units) };
    try {
      return this.#outcome(this.#run(instance, event.payload));
    } catch (error) {
      // A fault that was thrown in an import, or what came of it.
      return this.#outcome(this.#verdictOf(this.#hasEnded ? this.#end : error));
    } finally {
      this.#call = undefined;
    }
  }

  #run({ memory, apply }: Instance, payload: Uint8Array): Verdict {
    if (payload.length > LIST_BYTES_MAX) return { kind: "trapped", why: "its payload is too long" };
    const at = apply(memory.write(payload), payload.length);
    if (this.#hasEnded) throw this.#end;
    const tag = memory.u8(at);
    // The whole result is read, so that no part of it may be out of bounds.
    const pointer = memory.u32(at + 4);
    const length = memory.u32(at + 8);
    if (tag === 0) return { kind: "accepted" };
    if (tag > 1) throw trap("a result is neither ok nor an error");
    return { kind: "rejected", reason: memory.read(pointer, length) };
  }

  #outcome(verdict: Verdict): Outcome {
    const left = this.#fuel.value as number;
    return left < 0
      ? { verdict: { kind: "out-of-fuel" }, fuel: FUEL_MAX }
      : { verdict, fuel: FUEL_MAX - left };
  }

  #verdictOf(error: unknown): Verdict {
    // After this the instance is in no known state.
    this.#instance = undefined;
    if (error instanceof GuestFault) {
      return error.kind === "trapped"
        ? { kind: "trapped", why: error.message }
        : { kind: "out-of-fuel" };
    }
    if (!(error instanceof WebAssembly.RuntimeError)) throw error;
    const isDeep = this.#stack.value === STACK_EXHAUSTED;
    return { kind: "trapped", why: isDeep ? "its calls are too deep" : (error as Error).message };
  }

  /** Remembers what an import throws, and ends every further call as well. */
  #guarded(act: CoreFunction): CoreFunction {
    return (...args) => {
      if (this.#hasEnded) throw this.#end;
      try {
        return act(...args);
      } catch (error) {
        if (!this.#hasEnded) {
          this.#hasEnded = true;
          this.#end = error;
        }
        throw this.#end;
      }
    };
  }

  #current(): Call {
    if (this.#call === undefined) throw trap("it calls the host while it cannot be called");
    return this.#call;
  }

  #pay(units: number): void {
    const left = (this.#fuel.value as number) - Math.min(units, FUEL_MAX);
    this.#fuel.value = left;
    if (left < 0) throw new GuestFault("out-of-fuel", "its fuel is used up");
  }

  /** `units` below zero: the engine did not grow what was allowed, and other peers' may have. */
  #grow(kind: number, units: number): number {
    if (units < 0) throw new RangeError("Cannot grow the memory of a component");
    if (kind !== 0) return 1;
    // Not of the call: a guest may grow its memory also while it makes room for what it is given.
    if (this.#instance === undefined) throw trap("it grows its memory before it is there");
    const pages = this.#instance.memory.memory.buffer.byteLength / 65_536;
    return pages + units <= this.#core.memoryPagesMax ? 0 : 1;
  }

  /** An instance as after instantiation. */
  #fresh(): Instance {
    const instance = this.#instance;
    if (instance === undefined || !this.#core.isRenewable || !putBack(instance)) {
      return this.#instance = this.#instantiate();
    }
    return instance;
  }

  #instantiate(): Instance {
    this.#fuel.value = FUEL_MAX;
    const { exports } = new WebAssembly.Instance(this.#core.module, this.#imports);
    const { memory, cabi_realloc: realloc, [APPLY]: apply } = exports;
    if (!(memory instanceof WebAssembly.Memory)) throw refused("it exports no memory");
    if (typeof realloc !== "function") throw refused("it exports no cabi_realloc");
    if (typeof apply !== "function") throw refused(`it exports no ${APPLY}`);
    const guestMemory = new GuestMemory(memory, this.#reallocOf(realloc as Realloc));
    const globals = Object.keys(exports).filter((name) => name.startsWith(LASTING))
      .map((name) => exports[name]).filter((item) => item instanceof WebAssembly.Global);
    return {
      memory: guestMemory,
      globals,
      image: imageOf(guestMemory.bytes, globals),
      apply: apply as Instance["apply"],
    };
  }

  /** While the guest makes room for what the host gives it, it may not call the host. */
  #reallocOf(realloc: Realloc): Realloc {
    return (from, oldSize, align, size) => {
      const call = this.#call;
      this.#call = undefined;
      try {
        return realloc(from, oldSize, align, size);
      } finally {
        this.#call = call;
      }
    };
  }
}

function imageOf(bytes: Uint8Array, globals: readonly WebAssembly.Global[]): Image {
  let at = 0;
  let end = bytes.length;
  while (at < end && bytes[at] === 0) at++;
  while (end > at && bytes[end - 1] === 0) end--;
  return {
    size: bytes.length,
    at,
    bytes: bytes.slice(at, end),
    globals: globals.map(({ value }) => value as number | bigint),
  };
}

/** Makes an instance what it was; false where its memory has grown, which cannot be undone. */
function putBack({ memory: { bytes }, globals, image }: Instance): boolean {
  if (bytes.length !== image.size) return false;
  bytes.fill(0, 0, image.at);
  bytes.set(image.bytes, image.at);
  bytes.fill(0, image.at + image.bytes.length);
  for (let i = 0; i < globals.length; i++) globals[i]!.value = image.globals[i]!;
  return true;
}
