/**
 * One instance of a component: core modules linked with metering and with a WASI host of its own,
 * and the calls into it.
 *
 * The glue is synchronous. A host function that has to wait throws its promise through the glue to
 * the border of the core module; there JSPI suspends the guest, and afterwards the same lowered
 * call is made again and finds the result (`lowering.ts`). So only calls that wait cost anything.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import { Cores } from "./cores.ts";
import { compileGlue, type ComponentExports, type Instantiate } from "./glue.ts";
import type { Limiter } from "./limiter.ts";
import { isAgain, lift, type Owner, prepareWasi } from "./lowering.ts";
import { jspi } from "./pause.ts";

/** What an instance is made of; the modules and the glue are shared by all of a replica. */
export interface InstanceInit extends Owner {
  readonly modules: Readonly<Record<string, WebAssembly.Module>>;
  /** What {@link compileInstantiate} made. */
  readonly instantiate: Instantiate;
  readonly memoryPagesMin: number;
  readonly tableElementsMin: number;
  /** On the globals of the core modules that {@link Instance.create} is given. */
  readonly limiter: Limiter;
  /** The imports of `createWasi`. */
  readonly wasi: Record<string, object>;
  /** Whether there is one call at most, after which its core modules are handed on, if they can be. */
  readonly once?: boolean;
}

/** The call that an export makes: a core function and its lowered arguments. */
interface Call {
  readonly core: unknown;
  readonly args: readonly number[];
}

/** Where the glue leaves the call of an export, which is made outside of it: there it may wait. */
let entered: Call | undefined;

/** What a Worker ran last: it is often used for the same component again. */
let compiled: { readonly glue: string; readonly instantiate: Instantiate } | undefined;

/** Compiles the glue of a component; once for all of its instances in a Worker. */
export function compileInstantiate(glue: string): Instantiate {
  if (compiled?.glue === glue) return compiled.instantiate;
  const enter = (core: unknown, ...args: number[]) => {
    entered = { core, args };
    return 0;
  };
  const instantiate = compileGlue(glue, enter, lift, isAgain);
  compiled = { glue, instantiate };
  return instantiate;
}

/** A live instance. After a trap it must be thrown away. */
export class Instance {
  private constructor(
    readonly init: InstanceInit,
    readonly exports: ComponentExports,
    readonly cores: Cores,
  ) {}

  /**
   * Links and instantiates; `cores` are those of an instance before it, put back. Throws RealmError
   * `memory-limit` when the initial memories and tables do not fit, and whatever a start function
   * throws; `cores` are then gone.
   */
  static async create(init: InstanceInit, cores = new Cores(init.modules)): Promise<Instance> {
    const { limiter } = init;
    try {
      if (
        limiter.grow(0, init.memoryPagesMin) !== 0 || limiter.grow(1, init.tableElementsMin) !== 0
      ) {
        throw new RealmError(
          "memory-limit",
          `Cannot start the component: it begins with ${init.memoryPagesMin} pages of 64 KiB and ${init.tableElementsMin} table elements, more than its limit of ${limiter.init.limits.memoryBytesMax} bytes`,
          { hint: "Raise memory_max_mb (--memory-max-mb)" },
        );
      }
      cores.open(init);
      const exports = await init.instantiate(
        (name) => init.modules[name]!,
        prepareWasi(init.wasi),
        (module, imports) => ({ exports: cores.link(module, imports) }),
        (name, call, state) => cores.lower(name, call, state),
      );
      cores.linked(init.once ?? false);
      return new Instance(init, exports, cores);
    } catch (error) {
      cores.close();
      throw error;
    }
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
        const { cores, init: { once } } = this;
        return once && !cores.isRenewable
          ? jspi.promising(core as (...handles: number[]) => void)(first!, second!)
          : cores.loop(core).call(first!, second!);
      },
    );
  }

  /** Lets go of its stack; there are no calls afterwards. */
  close(): void {
    this.cores.close();
    this.init.instantiate.leave?.();
  }

  /**
   * Ends the instance, whose one call returned. Gives its core modules as they were before it, for
   * another instance; undefined where they cannot be put back.
   */
  handOn(): Cores | undefined {
    this.init.instantiate.leave?.();
    if (this.cores.putBack()) return this.cores;
    this.cores.close();
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
