/**
 * The core modules of an instance, linked; making them is most of what an instance costs.
 *
 * *Renewal.* Where nothing lasts in them but memories and globals, they are put back to how they
 * were after instantiation, and handed on: the next instance is as new in every respect that a
 * guest can observe. All else of an instance is made anew each time in the ordinary way, by running
 * the same glue: limiter, WASI host, tables of handles. What the core modules call is bound again,
 * site by site. Core modules that grew, whose guest ended in any way but by returning, or that are linked with anything but host functions
 * and one another are never handed on.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import { HandlerLoop } from "./handler_loop.ts";
import { type MeterGlobals, PAGE_BYTES, TABLE_ELEMENT_BYTES } from "./limiter.ts";
import { type Bind, lowered, type Owner, type Site } from "./lowering.ts";
import { LastingState, type MemoryImage } from "./memory_image.ts";
import { RENEWABLE } from "../wasm/meter/lasting_names.ts";
import { type InstanceSize, sizeOf } from "../wasm/meter/instance_size.ts";
import { refuelFunction } from "./pause.ts";
import { INSTANCE_BYTES_FREE } from "./wasi/bounds.ts";

type Modules = Readonly<Record<string, WebAssembly.Module>>;
type Exports = Record<string, unknown>;

/** More memory takes longer to clear than a new instance to make. */
const RENEWED_BYTES_MAX = 8 * 2 ** 20;

/** The image that instances of a component start from; null: they are not renewable. */
const images = new WeakMap<Modules, MemoryImage | null>();

/** A host function that is bound again for the next instance. */
interface NamedSite {
  readonly name: string;
  /** What the core modules call. */
  readonly import: object;
  readonly bind: Bind;
}

/** See the module. */
export class Cores {
  readonly #modules: Modules;
  readonly #sites: NamedSite[] = [];
  readonly #linked: { readonly module: WebAssembly.Module; readonly exports: Exports }[] = [];
  /** What core modules may import and stay renewable: host functions, and exports of others. */
  #known: Set<unknown> | undefined;
  /** Whether they may be handed on. */
  #renews = false;
  /** What every core module imports to be metered. */
  #realm: MeterGlobals & Record<string, unknown> | undefined;
  #owner: Owner | undefined;
  /** What the instance makes V8 and realm keep so far. */
  #hostBytes = 0;
  #isForeign = false;
  /** How many sites and modules the glue has asked for again; undefined while they are made. */
  #again: { sites: number; linked: number } | undefined;
  #state: LastingState | undefined;
  #loop: HandlerLoop | undefined;

  constructor(modules: Modules) {
    this.#modules = modules;
  }

  /** What they count in, for the limiter of their next owner; it must not keep the one before. */
  get globals(): MeterGlobals {
    return this.#realm!;
  }

  /** Whether they can be put back, but for memory that grows. */
  get isRenewable(): boolean {
    return this.#state !== undefined;
  }

  /** The glue of `owner` is about to run. `renews`: whether they are to be handed on. */
  open(owner: Owner, renews: boolean): void {
    this.#owner = owner;
    this.#renews = renews;
    this.#hostBytes = 0;
    if (this.#again) this.#again = { sites: 0, linked: 0 };
    else if (renews) this.#known = new Set();
    this.#realm ??= {
      fuel: owner.limiter.fuel,
      stack: owner.limiter.stack,
      outline: owner.limiter.outline,
      refuel: refuelFunction({
        tick: () => this.#owner!.limiter.tick(),
        pause: () => this.#owner!.limiter.pause(),
        debt: () => this.#owner!.limiter.debt(),
      }),
      grow: (kind: number, units: number) => this.#owner!.limiter.grow(kind, units),
    };
  }

  /** The glue lowers a host function: what core modules are given for it. */
  lower(name: string, call: Site["call"], state: unknown): object {
    const owner = this.#owner!;
    if (this.#again) {
      const site = this.#sites[this.#again.sites++];
      if (site?.name !== name) throw changed(name);
      site.bind({ owner, call, state });
      return site.import;
    }
    if (!this.#renews) return lowered(name, { owner, call, state });
    let bind: Bind | undefined;
    const made = lowered(name, { owner, call, state }, (given) => bind = given);
    this.#sites.push({ name, import: made, bind: bind! });
    this.#known!.add(made);
    return made;
  }

  /**
   * The glue links a core module: its exports. Throws RealmError `unknown-import`, and `memory-limit`
   * where what it begins with does not fit.
   */
  link(module: WebAssembly.Module, imports: Record<string, Record<string, unknown>>): Exports {
    this.#charge(sizeOf(module));
    if (this.#again) {
      const linked = this.#linked[this.#again.linked++];
      if (linked?.module !== module) throw changed("a core module");
      return linked.exports;
    }
    if (!this.#renews) return this.#instantiate(module, imports).exports;
    const known = this.#known!;
    for (const from in imports) {
      for (const name in imports[from]) {
        if (!known.has(imports[from][name])) this.#isForeign = true;
      }
    }
    const { exports } = this.#instantiate(module, imports);
    for (const name in exports) known.add(exports[name]);
    this.#linked.push({ module, exports });
    return exports;
  }

  /** Before it is there: a module may be instantiated any number of times. */
  #charge({ memoryPages, tableElements, hostBytes }: InstanceSize): void {
    const { limiter } = this.#owner!;
    const before = Math.max(0, this.#hostBytes - INSTANCE_BYTES_FREE);
    this.#hostBytes += hostBytes;
    const bytes = memoryPages * PAGE_BYTES + tableElements * TABLE_ELEMENT_BYTES +
      Math.max(0, this.#hostBytes - INSTANCE_BYTES_FREE) - before;
    if (limiter.charge(bytes)) return;
    throw new RealmError(
      "memory-limit",
      `Cannot start the component: it begins with ${bytes} bytes of memories, tables and code, more than its limit of ${limiter.init.limits.memoryBytesMax} leaves`,
      { hint: "Raise memory_max_mb (--memory-max-mb)" },
    );
  }

  #instantiate(
    module: WebAssembly.Module,
    imports: Record<string, Record<string, unknown>>,
  ): WebAssembly.Instance {
    const { limiter } = this.#owner!;
    limiter.enter(); // for the module's start function
    try {
      const all = { ...imports, realm: this.#realm! };
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
  }

  /** The glue has run. */
  linked(): void {
    if (this.#again) {
      const { sites, linked } = this.#again;
      if (sites === this.#sites.length && linked === this.#linked.length) return;
      throw changed("less than before");
    }
    this.#known = undefined;
    if (!this.#renews) return;
    let image = images.get(this.#modules);
    if (image === null) return;
    const state = new LastingState(this.#linked.map(({ exports }) => exports));
    if (image === undefined) {
      const isRenewable = !this.#isForeign && state.memoryBytes <= RENEWED_BYTES_MAX &&
        this.#linked.every(({ module }) =>
          WebAssembly.Module.customSections(module, RENEWABLE).length > 0
        );
      images.set(this.#modules, image = isRenewable ? state.take() : null);
    }
    if (image) this.#state = state;
  }

  /** Puts them back after a call that returned; false where that is not possible. */
  putBack(): boolean {
    if (!this.#state?.putBack(images.get(this.#modules)!)) return false;
    this.#again = { sites: 0, linked: 0 };
    return true;
  }

  /** The loop that serves all calls of one exported function of two handles. */
  loop(core: unknown): HandlerLoop {
    if (this.#loop?.isOpen) return this.#loop;
    // Made with the first call: until it is closed nothing of the instance is freed.
    return this.#loop = new HandlerLoop(
      core,
      () => this.#owner!.limiter.enter(),
      () => this.#owner!.limiter.leave(),
    );
  }

  /** Lets go of the stack; there are no calls afterwards. */
  close(): void {
    this.#loop?.close();
  }
}

function changed(what: string): RealmError {
  return new RealmError("failed", `Cannot renew the instance: its glue asked for ${what}`);
}
