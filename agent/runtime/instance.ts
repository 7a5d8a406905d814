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
import { HEALTH_EXPORT, REASON_BYTES_MAX } from "../kernel/health_check.ts";
import { type Export, linkPlan, type Prepared, preparePlan } from "./abi/link.ts";
import { Cores } from "./cores.ts";
import { compileGlue, type ComponentExports, type Instantiate } from "./glue.ts";
import { healthCall, otherType, readHealth } from "./health_export.ts";
import type { Limiter } from "./limiter.ts";
import { isAgain, lift, type Owner, prepareWasi } from "./lowering.ts";
import { jspi } from "./pause.ts";
import type { BodySource, RequestHead, ResponseResult, WasiHost } from "./wasi/host.ts";

/** What an instance is made of; the modules and the glue are shared by all of a replica. */
export interface InstanceInit extends Owner {
  readonly modules: Readonly<Record<string, WebAssembly.Module>>;
  /** What {@link compileLinkage} made. */
  readonly linkage: Linkage;
  /** On the globals of the core modules that {@link Instance.create} is given. */
  readonly limiter: Limiter;
  readonly wasi: WasiHost;
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

/** How a component is linked: jco's glue, or a plan. */
export type Linkage = Instantiate | Prepared;

/** What a Worker ran last: it is often used for the same component again. */
let compiled: { readonly glue: string; readonly linkage: Linkage } | undefined;

/** Compiles the glue or the plan of a component; once for all of its instances in a Worker. */
export function compileLinkage(glue: string): Linkage {
  if (compiled?.glue === glue) return compiled.linkage;
  const enter = (core: unknown, ...args: number[]) => {
    entered = { core, args };
    return 0;
  };
  const linkage = glue.startsWith("{")
    ? preparePlan(glue)
    : compileGlue(glue, enter, lift, isAgain);
  compiled = { glue, linkage };
  return linkage;
}

/** The exports of an instance: called through the glue, or as the plan has them. */
type Exports =
  | { readonly glue: ComponentExports }
  | { readonly plan: ReadonlyMap<string, Export> };

/** A live instance. After a trap it must be thrown away. */
export class Instance {
  private constructor(
    readonly init: InstanceInit,
    readonly exports: Exports,
    readonly cores: Cores,
  ) {}

  /**
   * Links and instantiates; `cores` are those of an instance before it, put back. Throws RealmError
   * `memory-limit` when the initial memories and tables do not fit, and whatever a start function
   * throws; `cores` are then gone.
   */
  static async create(init: InstanceInit, cores = new Cores(init.modules)): Promise<Instance> {
    try {
      const { linkage, modules } = init;
      // What is linked by a plan is not put back.
      cores.open(init, typeof linkage === "function" && (init.once ?? false));
      if (typeof linkage !== "function") {
        const plan = linkPlan(
          linkage,
          init.wasi.abi,
          init,
          (index, imports) => cores.link(modules[`component.core${index}.wasm`]!, imports),
        );
        cores.linked();
        return new Instance(init, { plan }, cores);
      }
      const glue = await linkage(
        (name) => modules[name]!,
        prepareWasi(init.wasi.imports),
        (module, imports) => ({ exports: cores.link(module, imports) }),
        (name, call, state) => cores.lower(name, call, state),
      );
      cores.linked();
      return new Instance(init, { glue }, cores);
    } catch (error) {
      cores.close();
      throw error;
    }
  }

  /** Runs `wasi:cli/run`, or `_start` of WASI 0.1: 0 for ok, 1 for err. */
  async run(): Promise<number> {
    if ("plan" in this.exports) {
      let status = 1;
      await this.#call("wasi:cli/run", "run", [], (result) => {
        status = (result as { tag: string }).tag === "ok" ? 0 : 1;
      });
      return status;
    }
    const result = await this.#enter(
      "wasi:cli/run",
      "run",
      [],
      (core, args) => jspi.promising(core as (...args: number[]) => unknown)(...args),
    );
    return result === 0 || result === undefined ? 0 : 1;
  }

  /**
   * Hands a request to `wasi:http/incoming-handler`, or `handler` of 0.3; resolves when the guest's
   * code is done. `respond` gets the response, before that or then.
   */
  async handle(
    head: RequestHead,
    body: BodySource | null,
    respond: (response: ResponseResult) => void,
  ): Promise<void> {
    const { http, http3 } = this.init.wasi;
    if ("plan" in this.exports) {
      type Handled = { readonly tag: "ok"; readonly val: never } | {
        readonly tag: "err";
        readonly val: { readonly tag: string };
      };
      return await this.#call(
        "wasi:http/handler",
        "handle",
        [http3.incoming(head, body)],
        (result) => {
          const handled = result as Handled;
          respond(handled.tag === "ok" ? http3.result(handled.val) : { error: handled.val });
        },
      );
    }
    await this.#enter(
      "wasi:http/incoming-handler",
      "handle",
      [http.createIncomingRequest(head, body), http.createResponseOutparam(respond)],
      (core, [first, second]) => {
        const { cores, init: { once } } = this;
        return once && !cores.isRenewable
          ? jspi.promising(core as (...handles: number[]) => void)(first!, second!)
          : cores.loop(core).call(first!, second!);
      },
    );
  }

  /**
   * Asks the component how it is, by its health export: why it is not well, as far as that is told,
   * or undefined. Throws RealmError `unsupported` where it has no such export.
   */
  async check(): Promise<string | undefined> {
    this.init.wasi.leaveTrace();
    let reason: string | undefined;
    if ("plan" in this.exports) {
      await this.#call(HEALTH_EXPORT, "check", [], (result) => reason = reasonOf(result));
      return reason;
    }
    await this.#enter(HEALTH_EXPORT, "check", [], async (core, rest) => {
      const { memory, postReturn } = healthCall(rest);
      const result = await jspi.promising(core as () => number)();
      const { limiter } = this.init;
      limiter.enter();
      reason = readHealth(memory, result);
      postReturn?.(result);
    });
    return reason;
  }

  /** Lets go of its stack; there are no calls afterwards. */
  close(): void {
    this.cores.close();
    this.#leave();
  }

  #leave(): void {
    const { linkage } = this.init;
    if (typeof linkage === "function") linkage.leave?.();
  }

  /**
   * Ends the instance, whose one call returned. Gives its core modules as they were before it, for
   * another instance; undefined where they cannot be put back.
   */
  handOn(): Cores | undefined {
    this.#leave();
    if (this.cores.putBack()) return this.cores;
    this.cores.close();
  }

  /** Calls an export of a plan; `iface` as of {@link isOf}. */
  async #call(
    iface: string,
    name: string,
    args: unknown[],
    returned: (value: unknown) => void,
  ): Promise<void> {
    const { plan } = this.exports as Extract<Exports, { plan: unknown }>;
    for (const [key, call] of plan) {
      if (isOf(key, iface) && key.endsWith(`#${name}`)) return await call(args, returned);
    }
    throw notExported(iface);
  }

  async #enter(
    iface: string,
    name: string,
    args: unknown[],
    start: (core: unknown, args: readonly number[]) => Promise<unknown>,
  ): Promise<unknown> {
    const { glue } = this.exports as Extract<Exports, { glue: unknown }>;
    const key = Object.keys(glue).find((key) => isOf(key, iface));
    if (key === undefined) throw notExported(iface);
    const { limiter } = this.init;
    limiter.newSlice();
    glue[key]![name]!(...args);
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

/** Whether an export is `iface`, which has a version where no other will do. */
function isOf(key: string, iface: string): boolean {
  if (!iface.includes("@")) return key.startsWith(`${iface}@`);
  return key === iface || key.startsWith(`${iface}#`);
}

/** The reason in the result of a health export of a plan; undefined for ok. */
function reasonOf(result: unknown): string | undefined {
  const { tag, val } = (result ?? {}) as { readonly tag?: unknown; readonly val?: unknown };
  if (tag === "ok" && val === undefined) return;
  if (tag !== "err" || typeof val !== "string") throw otherType();
  return val.slice(0, REASON_BYTES_MAX);
}

function notExported(iface: string): RealmError {
  return new RealmError("unsupported", `Cannot call ${iface}: the component does not export it`);
}
