/**
 * Carries out a {@link Plan}: makes the functions that the canonical ABI gives core modules, links
 * these with them, and finds what they export.
 *
 * @module
 */
import { ending, type Owner, resume, suspended, WouldWait } from "../lowering.ts";
import type { TypeRef } from "../../wasm/value_types.ts";
import {
  type Border,
  checkRange,
  type Codec,
  Codecs,
  type CoreValue,
  Flat,
  FLAT_MAX,
  tuple,
} from "../../wasm/values.ts";
import { jspi } from "../pause.ts";
import type { WasiInstance } from "../wasi/context.ts";
import { SUSPENDING_IMPORTS, SUSPENDING_IMPORTS_3 } from "../wasi/host.ts";
import {
  AbiInstance,
  CALL,
  CallBorder,
  type CoreFunction,
  type Passage,
  type Pending,
  type Settled,
} from "./instance.ts";
import { WaitableSet } from "./handles.ts";
import type { Canon, CanonOptions, CoreSort, Lift, Plan } from "./plan.ts";

/** The most parameters of an asynchronously lowered function that pass as core values. */
const FLAT_ASYNC_MAX = 4;
/** Counters of backpressure past this are a trap. */
const BACKPRESSURE_MAX = 0xffff;
/** Functions that may wait though their types do not say so, without versions. */
const WAITING: ReadonlySet<string> = new Set([...SUSPENDING_IMPORTS, ...SUSPENDING_IMPORTS_3]);

/** The host's side of a component. */
export interface AbiHost {
  readonly instance: WasiInstance;
  /** An imported function, by names as in WIT. */
  func(iface: string, name: string): (...args: unknown[]) => unknown;
  /** The class of an imported resource: `wasi:io/poll@0.2.6#pollable`. */
  resource(name: string): abstract new (...args: never[]) => object;
}

/** Links a core module, metered. */
export type LinkCore = (
  module: number,
  imports: Record<string, Record<string, unknown>>,
) => Record<string, unknown>;

/** An exported function: resolves when its code is done; `returned` gets the result before that. */
export type Export = (
  args: readonly unknown[],
  returned: (value: unknown) => void,
) => Promise<void>;

/** A plan with what is made of it once for all instances. */
export interface Prepared {
  readonly plan: Plan;
  readonly codecs: Codecs;
}

/** Reads a plan in JSON. */
export function preparePlan(json: string): Prepared {
  const plan = JSON.parse(json) as Plan;
  return { plan, codecs: new Codecs(plan.types) };
}

/** Where the values of a call are, and how. */
interface Layout {
  readonly codec: Codec;
  /** Whether the core function has a pointer to them in their place. */
  readonly isInMemory: boolean;
  /** Core values of it. */
  readonly width: number;
}

function layout(codec: Codec, flatMax: number): Layout {
  const isInMemory = codec.flat === undefined || codec.flat.length > flatMax;
  return { codec, isInMemory, width: isInMemory ? 1 : codec.flat.length };
}

function read({ codec, isInMemory }: Layout, border: Border, args: readonly CoreValue[]): unknown {
  if (!isInMemory) return codec.lift(border, new Flat(args));
  const at = (args[0] as number) >>> 0;
  checkRange(border, at, codec.size, codec.align);
  return codec.load(border, at);
}

class Linker {
  readonly #spaces: Record<CoreSort | "instance", unknown[]> = {
    func: [],
    table: [],
    memory: [],
    global: [],
    tag: [],
    instance: [],
  };
  readonly #instance: AbiInstance;
  #backpressure = 0;

  constructor(
    readonly prepared: Prepared,
    readonly host: AbiHost,
    readonly owner: Owner,
    readonly linkCore: LinkCore,
  ) {
    const { plan, codecs } = prepared;
    this.#instance = new AbiInstance({
      ...owner,
      codecs,
      resources: plan.resources,
      host: host.instance,
      classes: plan.resources.map((name) => host.resource(name)),
    });
  }

  link(): Map<string, Export> {
    for (const step of this.prepared.plan.steps) {
      if (step.do === "canon") this.#spaces.func.push(this.#canon(step.canon));
      else if (step.do === "alias") {
        const from = this.#spaces.instance[step.instance] as Record<string, unknown>;
        this.#spaces[step.sort].push(from[step.name]);
      } else if (step.do === "bundle") {
        const bundle: Record<string, unknown> = Object.create(null);
        for (const [name, sort, index] of step.exports) bundle[name] = this.#spaces[sort][index];
        this.#spaces.instance.push(bundle);
      } else {
        const imports: Record<string, Record<string, unknown>> = Object.create(null);
        for (const [name, index] of step.args) {
          imports[name] = this.#spaces.instance[index] as Record<string, unknown>;
        }
        this.#spaces.instance.push(this.linkCore(step.module, imports));
      }
    }
    const exports = new Map<string, Export>();
    for (const lift of this.prepared.plan.exports) {
      exports.set(`${lift.iface}#${lift.name}`, this.#lift(lift));
    }
    return exports;
  }

  #codec(ref: TypeRef): Codec {
    return this.prepared.codecs.of(ref);
  }

  #passage({ memory, realloc }: CanonOptions): Passage {
    return {
      memory: memory === undefined ? undefined : this.#spaces.memory[memory] as WebAssembly.Memory,
      realloc: realloc === undefined ? undefined : this.#spaces.func[realloc] as CoreFunction,
    };
  }

  #checkLeave(): void {
    if (!this.#instance.mayLeave) throw new Error("it calls the host where it may not");
  }

  /** A function for a core module that never waits: what it throws ends the guest. */
  #plain(act: (...args: CoreValue[]) => CoreValue | void): CoreFunction {
    const { limiter } = this.owner;
    return (...args) => {
      try {
        this.#checkLeave();
        return act(...args) as CoreValue | undefined;
      } catch (error) {
        throw ending(error, limiter);
      } finally {
        limiter.hostCalled();
      }
    };
  }

  /** One that waits where `act` gives a promise: it gives it when the guest is to go on. */
  #waiting(act: (...args: CoreValue[]) => unknown): object {
    const { limiter } = this.owner;
    const wait = async (promise: Promise<unknown>) => {
      try {
        return await promise;
      } catch (error) {
        throw ending(error, limiter);
      }
    };
    return new jspi.Suspending((...args: CoreValue[]) => {
      try {
        this.#checkLeave();
        const result = act(...args);
        return result instanceof Promise ? wait(result) : result;
      } catch (error) {
        throw ending(error, limiter);
      } finally {
        limiter.hostCalled();
      }
    });
  }

  #canon(canon: Canon): unknown {
    const instance = this.#instance;
    switch (canon.fn) {
      case "lower":
        return this.#lower(canon);
      case "resource.drop":
        return this.#plain((index) => {
          const border = new CallBorder(instance, this.#passage({ isAsync: false }));
          const value = border.takeOwn(canon.resource, (index as number) >>> 0);
          (value as Disposable)[Symbol.dispose]();
        });
      case "task.return": {
        const passage = this.#passage(canon.options);
        const of = canon.type === null ? null : layout(this.#codec(canon.type), FLAT_MAX);
        return this.#plain((...args) =>
          instance.return((border) => of ? read(of, border, args) : undefined, passage)
        );
      }
      case "task.cancel":
        return this.#plain(() => {
          throw new Error("a task is cancelled that nobody asked to cancel");
        });
      case "context.get":
        return this.#plain(() => instance.task.context[canon.slot] ?? 0);
      case "context.set":
        return this.#plain((value) => {
          instance.task.context[canon.slot as 0] = value as number;
        });
      case "backpressure.inc":
        return this.#plain(() => {
          if (++this.#backpressure > BACKPRESSURE_MAX) {
            throw new Error("backpressure is counted too far");
          }
        });
      case "backpressure.dec":
        return this.#plain(() => {
          if (--this.#backpressure < 0) throw new Error("backpressure is counted below zero");
        });
      case "thread.yield":
        return this.#waiting(() => instance.yield().then(() => 0));
      case "subtask.cancel":
        return this.#plain((index) => instance.cancelSubtask((index as number) >>> 0));
      case "subtask.drop":
        return this.#plain((index) => instance.dropSubtask((index as number) >>> 0));
      case "waitable-set.new":
        return this.#plain(() => instance.newSet());
      case "waitable-set.drop":
        return this.#plain((index) => instance.dropSet((index as number) >>> 0));
      case "waitable.join":
        return this.#plain((waitable, set) =>
          instance.join((waitable as number) >>> 0, (set as number) >>> 0)
        );
      case "waitable-set.wait":
      case "waitable-set.poll": {
        const passage = this.#passage({ isAsync: false, memory: canon.memory });
        const tell = (at: number, [code, first, second]: readonly number[]) => {
          const border = new CallBorder(instance, passage);
          checkRange(border, at, 8, 4);
          border.view.setUint32(at, first!, true);
          border.view.setUint32(at + 4, second!, true);
          return code!;
        };
        const set = (index: CoreValue) =>
          instance.handles.get(WaitableSet, (index as number) >>> 0);
        return canon.fn === "waitable-set.poll"
          ? this.#plain((index, at) => tell((at as number) >>> 0, set(index!).poll() ?? [0, 0, 0]))
          : this.#waiting((index, at) =>
            instance.next(set(index!)).then((event) => tell((at as number) >>> 0, event))
          );
      }
      default:
        return this.#ends(canon);
    }
  }

  #ends(canon: Extract<Canon, { fn: `${"stream" | "future"}.${string}` }>): unknown {
    const instance = this.#instance;
    const [kind, what] = canon.fn.split(".") as ["stream" | "future", string];
    const { type } = canon;
    const index = (value: CoreValue | undefined) => (value as number) >>> 0;
    const side = what.endsWith("read") || what === "drop-readable" ? "readable" : "writable";
    if (what === "new") return this.#plain(() => instance.newPair(kind, type));
    if (what.startsWith("drop")) return this.#plain((i) => instance.dropEnd(type, side, index(i)));
    if (what.startsWith("cancel")) {
      return this.#plain((i) => instance.cancelCopy(type, side, index(i)));
    }
    const { options } = canon as { readonly options: CanonOptions };
    const passage = this.#passage(options);
    const copy = (...args: CoreValue[]) => instance.copy(type, side, passage, options, args);
    return options.isAsync ? this.#plain(copy as CoreFunction) : this.#waiting(copy);
  }

  #lower({ iface, name, type, options }: Extract<Canon, { fn: "lower" }>): unknown {
    const { limiter } = this.owner;
    const instance = this.#instance;
    const act = this.host.func(iface, name);
    const passage = this.#passage(options);
    const params = layout(
      tuple(type.params.map((ref) => this.#codec(ref))),
      options.isAsync ? FLAT_ASYNC_MAX : FLAT_MAX,
    );
    const result = type.result === null
      ? undefined
      : layout(this.#codec(type.result), options.isAsync ? 0 : 1);
    const isResult = this.prepared.codecs.typeOf(type.result)?.kind === "result";
    const canWait = type.isAsync || WAITING.has(`${iface.replace(/@.*/, "")}#${name}`);
    // Disk time is not the guest's running time; other host calls are too short to count.
    const isTimed = iface.startsWith("wasi:filesystem/");

    /** Calls the host: its answer, or the promise of it. */
    const ask = (border: CallBorder, args: readonly CoreValue[]): Settled | Pending => {
      const values = read(params, border, args) as unknown[];
      if (isTimed) limiter.leave();
      this.host.instance.cancel = undefined;
      try {
        const value = act(...values);
        // What cannot wait may give a future, which is a promise, too.
        if (!canWait || !(value instanceof Promise)) return { value };
        return { promise: value, cancel: this.host.instance.cancel };
      } catch (error) {
        return error instanceof WouldWait
          ? { promise: error.promise, cancel: undefined }
          : { error };
      } finally {
        if (isTimed) limiter.enter();
      }
    };
    /** Gives the guest the answer. */
    const answer = (border: CallBorder, outcome: Settled, args: readonly CoreValue[]) => {
      border.release();
      let value: unknown;
      if ("value" in outcome) value = isResult ? { tag: "ok", val: outcome.value } : outcome.value;
      else {
        const { error } = outcome;
        if (!isResult || error instanceof Error) throw error;
        value = { tag: "err", val: error };
      }
      if (!result) return;
      if (!result.isInMemory) {
        const to: CoreValue[] = [];
        result.codec.lower(border, value, to);
        return to[0];
      }
      if (result.codec.flat?.length === 0) return;
      const at = (args[params.width] as number) >>> 0;
      checkRange(border, at, result.codec.size, result.codec.align);
      result.codec.store(border, at, value);
    };

    if (options.isAsync) {
      return this.#plain((...args) => {
        const border = new CallBorder(instance, passage);
        const outcome = ask(border, args);
        if (!("promise" in outcome)) {
          answer(border, outcome, args);
          return CALL.returned;
        }
        const index = instance.newSubtask(outcome, (settled) => void answer(border, settled, args));
        return CALL.started | index << 4;
      });
    }
    if (!canWait) {
      return this.#plain((...args) => {
        const border = new CallBorder(instance, passage);
        const outcome = ask(border, args);
        return answer(border, outcome as Settled, args);
      });
    }
    return this.#waiting((...args) => {
      const border = new CallBorder(instance, passage);
      const outcome = ask(border, args);
      if (!("promise" in outcome)) return answer(border, outcome, args);
      outcome.promise.catch(() => {}); // an instance that has ended does not wait for it
      return suspended(this.owner, outcome.promise).then(
        (value): Settled => ({ value }),
        (error): Settled => ({ error }),
      ).then((settled) => {
        resume(this.owner);
        return answer(border, settled, args);
      });
    });
  }

  #lift({ core, type, options }: Lift): Export {
    const f = this.#spaces.func[core] as CoreFunction;
    const callback = options.callback === undefined
      ? undefined
      : this.#spaces.func[options.callback] as CoreFunction;
    const postReturn = options.postReturn === undefined
      ? undefined
      : this.#spaces.func[options.postReturn] as CoreFunction;
    const passage = this.#passage(options);
    const params = tuple(type.params.map((ref) => this.#codec(ref)));
    const result = type.result === null ? undefined : layout(this.#codec(type.result), 1);
    return (values, returned) => {
      const border = new CallBorder(this.#instance, passage);
      const args: CoreValue[] = [];
      if (params.flat === undefined) throw new Error("an export has too many parameters");
      params.lower(border, values, args);
      return this.#instance.call(f, callback, args, returned, (core) => {
        const flat = core === undefined ? [] : [core];
        const value = result && read(result, new CallBorder(this.#instance, passage), flat);
        if (postReturn) this.#instance.inside(() => postReturn(...flat));
        returned(value);
      });
    };
  }
}

/** Links an instance; its exports by `interface@version#name`. Throws what its start functions do. */
export function linkPlan(
  prepared: Prepared,
  host: AbiHost,
  owner: Owner,
  linkCore: LinkCore,
): Map<string, Export> {
  return new Linker(prepared, host, owner, linkCore).link();
}
