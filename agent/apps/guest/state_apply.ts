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
import type { CoreValue } from "../../wasm/values.ts";
import { type CorePart, corePartsOf, type Link, refusedAs } from "./core_module.ts";
import { GuestFault, trap } from "./fault.ts";
import { GuestMemory, type Realloc } from "./guest_memory.ts";
import {
  type AppliedEvent,
  type AppSetting,
  type Call,
  hostFunctions,
  type Writes,
} from "./host_imports.ts";
import { callLinked, PartBorder } from "./linked_call.ts";
import {
  FUEL_MAX,
  LINK_PRICE,
  LIST_BYTES_MAX,
  MEMORY_PAGES_MAX,
  MIGRATION_FUEL_MAX,
  STACK_BYTES,
} from "./prices.ts";
import type { Signature } from "./signature.ts";

const NAMESPACE = "realm:app/";
const VERSION = "@0.1.0";
const APPLY = `${NAMESPACE}applier${VERSION}#apply`;
const MIGRATE = `${NAMESPACE}migrator${VERSION}#migrate`;
const refused = (why: string) => refusedAs("state-apply", why);

/** What became of an event. Only `accepted` keeps what it wrote. */
export type Verdict =
  | { readonly kind: "accepted" }
  | { readonly kind: "rejected"; readonly reason: Uint8Array }
  /** `why` is for people, and may be worded otherwise on another peer. */
  | { readonly kind: "trapped"; readonly why: string }
  | { readonly kind: "out-of-fuel" };

/**
 * A verdict and the fuel that it took. Whether an event is accepted, rejected by the component with
 * its reason, or fails is alike on every peer, and so is the fuel of one that does not fail.
 *
 * Of one that fails kind and fuel are alike where the rewriter is the same. Another version of it at
 * the same ABI may pay for more or fewer rounds of a loop at once: what uses up its fuel a few rounds
 * before it would trap may be `out-of-fuel` by one and `trapped` by the other, and behind a trap the
 * fuel is what was last stored. So they are told to people, and nothing that peers share may depend on
 * them.
 */
export interface Outcome {
  readonly verdict: Verdict;
  readonly fuel: number;
}

const ACCEPTED: Verdict = { kind: "accepted" };

/** In the place of what there is while an event is applied. */
const NOTHING = undefined as never;

type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** Bytes of a reason that are kept: for people, with each event of a topic. */
export const REASON_BYTES_MAX = 1024;

/** What is put back before an event. */
interface Image {
  /** Bytes of the whole memory, and the part of it that is not zero. */
  readonly size: number;
  readonly at: number;
  readonly bytes: Uint8Array;
  readonly globals: readonly (number | bigint)[];
}

/** One part of a component. */
interface Instance {
  readonly memory: GuestMemory;
  readonly globals: readonly WebAssembly.Global[];
  readonly image: Image;
  readonly exports: WebAssembly.Exports;
}

/** See the module. */
export class StateApply {
  readonly #fuel = new WebAssembly.Global({ value: "i32", mutable: true }, 0);
  readonly #stack = new WebAssembly.Global({ value: "i32", mutable: true }, 0);
  readonly #parts: readonly CorePart[];
  /** By part. */
  readonly #imports: readonly WebAssembly.Imports[];
  /** By part; fewer while they are made, none when they have to be made anew. */
  #instances: Instance[] = [];
  /** By part; nothing while the guest may not call. */
  #calls: readonly Call[] | undefined;
  /** By part: what {@link #calls} is while an event is applied. */
  #ready: Writable<Call>[] = [];
  /** The first thing that ended the call; a guest that catches it does not get away with it. */
  #end: unknown;
  #hasEnded = false;
  #fuelMax = FUEL_MAX;
  /** Of the event that was accepted last: outcomes are kept of every event, and many are alike. */
  #accepted: Outcome = { verdict: ACCEPTED, fuel: 0 };
  #canMigrate = false;

  private constructor(parts: readonly CorePart[], setting: AppSetting, verify: VerifySync) {
    this.#parts = parts;
    this.#imports = parts.map((part, i) => this.#importsOf(i, part, setting, verify));
  }

  #importsOf(
    part: number,
    { links }: CorePart,
    setting: AppSetting,
    verify: VerifySync,
  ): WebAssembly.Imports {
    const imports: Record<string, WebAssembly.ModuleImports> = {};
    const functions = hostFunctions(() => this.#callOf(part), setting, verify);
    for (const [name, members] of Object.entries(functions)) {
      imports[NAMESPACE + name + VERSION] = Object.fromEntries(
        Object.entries(members).map(([member, act]) => [member, this.#guarded(act)]),
      );
    }
    for (const [name, link] of links) {
      imports[name] = Object.fromEntries(
        [...link.functions].map(([fn, signature]) => [
          fn,
          this.#guarded(this.#linked(part, link, fn, signature)),
        ]),
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
      grow: this.#guarded((kind: number, units: number) => this.#grow(part, kind, units)),
    };
    return imports;
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
    const guest = new StateApply(await corePartsOf(component), setting, verify);
    for (const [i, part] of guest.#parts.entries()) {
      const imports = guest.#imports[i]!;
      for (const { module, name, kind } of WebAssembly.Module.imports(part.module)) {
        if (kind === "function" && typeof imports[module]?.[name] === "function") continue;
        if (module === "realm") continue;
        throw refused(`it imports ${module} ${name}`);
      }
    }
    try {
      guest.#instantiate();
      guest.#canMigrate = typeof guest.#instances.at(-1)!.exports[MIGRATE] === "function";
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
    return this.#call(APPLY, FUEL_MAX, event, writes);
  }

  /**
   * Takes over the state of another bundle, whose CID in text is the payload; the event is the upgrade.
   * As {@link apply}; a component that exports no migrator takes every state as it is.
   */
  migrate(event: AppliedEvent, writes: Writes): Outcome {
    return this.#canMigrate
      ? this.#call(MIGRATE, MIGRATION_FUEL_MAX, event, writes)
      : { verdict: { kind: "accepted" }, fuel: 0 };
  }

  #call(name: string, fuelMax: number, event: AppliedEvent, writes: Writes): Outcome {
    this.#fuelMax = fuelMax;
    this.#renew();
    this.#hasEnded = false;
    this.#end = undefined;
    this.#fuel.value = fuelMax;
    this.#stack.value = STACK_BYTES;
    for (const call of this.#ready) {
      call.event = event;
      call.writes = writes;
    }
    this.#calls = this.#ready;
    try {
      return this.#outcome(this.#run(this.#instances.at(-1)!, name, event.payload));
    } catch (error) {
      // A fault that was thrown in an import, or what came of it.
      return this.#outcome(this.#verdictOf(this.#hasEnded ? this.#end : error));
    } finally {
      this.#calls = undefined;
    }
  }

  #run({ memory, exports }: Instance, name: string, payload: Uint8Array): Verdict {
    if (payload.length > LIST_BYTES_MAX) return { kind: "trapped", why: "its payload is too long" };
    const act = exports[name] as (pointer: number, length: number) => number;
    const at = act(memory.write(payload), payload.length);
    if (this.#hasEnded) throw this.#end;
    const tag = memory.u8(at);
    // The whole result is read, so that no part of it may be out of bounds.
    const pointer = memory.u32(at + 4);
    const length = memory.u32(at + 8);
    if (tag === 0) return ACCEPTED;
    if (tag > 1) throw trap("a result is neither ok nor an error");
    return { kind: "rejected", reason: memory.view(pointer, length).slice(0, REASON_BYTES_MAX) };
  }

  #outcome(verdict: Verdict): Outcome {
    const left = this.#fuel.value as number;
    if (left < 0) return { verdict: { kind: "out-of-fuel" }, fuel: this.#fuelMax };
    const fuel = this.#fuelMax - left;
    const last = this.#accepted;
    if (verdict !== ACCEPTED) return { verdict, fuel };
    return last.fuel === fuel ? last : this.#accepted = { verdict, fuel };
  }

  #verdictOf(error: unknown): Verdict {
    // After this the instance is in no known state.
    this.#instances = [];
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
  #guarded<T extends unknown[], R>(act: (...args: T) => R): (...args: T) => R {
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

  #callOf(part: number): Call {
    if (this.#calls === undefined) throw trap("it calls out while it may not");
    return this.#calls[part]!;
  }

  /** A function that a part imports from another. */
  #linked(
    part: number,
    { part: from, name }: Link,
    fn: string,
    signature: Signature,
  ): (...core: CoreValue[]) => CoreValue | undefined {
    const exported = `${name}#${fn}`;
    return (...core) => {
      const { memory, pay } = this.#callOf(part);
      pay(LINK_PRICE);
      const { exports, memory: other } = this.#instances[from]!;
      return callLinked(signature, core, new PartBorder(memory, pay), {
        border: new PartBorder(other, pay),
        call: exports[exported] as (...args: CoreValue[]) => CoreValue | undefined,
        leave: (result) => {
          const after = exports[`cabi_post_${exported}`];
          if (typeof after === "function") this.#withoutCalls(() => after(result));
        },
      });
    };
  }

  #pay(units: number): void {
    const left = (this.#fuel.value as number) - Math.min(units, this.#fuelMax);
    this.#fuel.value = left;
    if (left < 0) throw new GuestFault("out-of-fuel", "its fuel is used up");
  }

  /** `units` below zero: the engine did not grow what was allowed, and other peers' may have. */
  #grow(part: number, kind: number, units: number): number {
    if (units < 0) throw new RangeError("Cannot grow the memory of a component");
    if (kind !== 0) return 1;
    // Not of the call: a guest may grow its memory also while it makes room for what it is given.
    const pages = this.#instances.map(({ memory }) => memory.memory.buffer.byteLength / 65_536);
    if (pages.length < this.#parts.length) throw trap("it grows its memory before it is there");
    const all = pages.reduce((sum, each) => sum + each, units);
    const isWithin = pages[part]! + units <= this.#parts[part]!.memoryPagesMax;
    return isWithin && all <= MEMORY_PAGES_MAX ? 0 : 1;
  }

  /** Makes all as it is after instantiation. */
  #renew(): void {
    const instances = this.#instances;
    if (
      instances.length < this.#parts.length ||
      !instances.every((instance, i) => this.#parts[i]!.isRenewable && putBack(instance))
    ) this.#instantiate();
  }

  #instantiate(): void {
    this.#fuel.value = FUEL_MAX;
    this.#instances = [];
    for (const [i, { module }] of this.#parts.entries()) {
      const { exports } = new WebAssembly.Instance(module, this.#imports[i]!);
      this.#instances.push(this.#instanceOf(exports, this.#calledOf(i)));
    }
    const pay = (units: number) => this.#pay(units);
    this.#ready = this.#instances.map(({ memory }) => ({
      memory,
      event: NOTHING,
      writes: NOTHING,
      pay,
    }));
  }

  /** Names of the functions that are called of a part. */
  #calledOf(part: number): string[] {
    if (part === this.#parts.length - 1) return [APPLY];
    const links = this.#parts.flatMap(({ links }) => [...links.values()]);
    return links.filter((link) => link.part === part)
      .flatMap(({ name, functions }) => [...functions.keys()].map((fn) => `${name}#${fn}`));
  }

  #instanceOf(exports: WebAssembly.Exports, called: readonly string[]): Instance {
    const { memory, cabi_realloc: realloc } = exports;
    if (!(memory instanceof WebAssembly.Memory)) throw refused("it exports no memory");
    if (typeof realloc !== "function") throw refused("it exports no cabi_realloc");
    const missing = called.find((name) => typeof exports[name] !== "function");
    if (missing !== undefined) throw refused(`it exports no ${missing}`);
    const guestMemory = new GuestMemory(memory, this.#reallocOf(realloc as Realloc));
    const globals = Object.keys(exports).filter((name) => name.startsWith(LASTING))
      .map((name) => exports[name]).filter((item) => item instanceof WebAssembly.Global);
    return {
      memory: guestMemory,
      globals,
      image: imageOf(guestMemory.bytes, globals),
      exports,
    };
  }

  /** While the guest makes room for what it is given, it may not call anything. */
  #reallocOf(realloc: Realloc): Realloc {
    return (from, oldSize, align, size) =>
      this.#withoutCalls(() => realloc(from, oldSize, align, size));
  }

  #withoutCalls<T>(act: () => T): T {
    const calls = this.#calls;
    this.#calls = undefined;
    try {
      return act();
    } finally {
      this.#calls = calls;
    }
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
