/**
 * One instance of a component of the asynchronous ABI: what it holds, the call into it, and how it
 * waits.
 *
 * An instance serves one call at a time. Its code runs from an event to the next wait; there is no
 * other task that could run meanwhile, so what the ABI says of tasks that exclude one another, and
 * of backpressure between them, holds by itself.
 *
 * @see https://github.com/WebAssembly/component-model/blob/main/design/mvp/CanonicalABI.md
 * @module
 */
import { countLifted, type Owner, resume, suspended } from "../lowering.ts";
import { jspi } from "../pause.ts";
import { GuestEnded } from "../trap.ts";
import { PROMISES_MAX } from "../wasi/bounds.ts";
import type { WasiInstance } from "../wasi/context.ts";
import { GuestBuffer } from "./buffer.ts";
import { Future, type Guarded, Stream, type StreamSource } from "./channels.ts";
import { BLOCKED, End, GivenFuture, GivenStream } from "./ends.ts";
import { EVENT, type Event, Handles, ResourceHandle, Waitable, WaitableSet } from "./handles.ts";
import type { TypeRef } from "../../wasm/value_types.ts";
import type { Border, Codecs, CoreValue } from "../../wasm/values.ts";
import type { CanonOptions } from "./plan.ts";

/** What a core function is, once it is linked. */
export type CoreFunction = (...args: CoreValue[]) => CoreValue | undefined;

/** What an export does after it was called, in the lowest bits of what its code returns. */
const NEXT = { exit: 0, yield: 1, wait: 2 } as const;
/** States of a call of the guest's, as the guest is told them. */
export const CALL = { started: 1, returned: 2, cancelled: 4 } as const;
/** Waits that end at once let nobody else run; after so long the guest pauses. */
const TURN_MS = 8;
/** Between two turns that a guest gives by itself. */
const YIELD_MS = 1;
/** Who waited that long let others run. */
const WAITED_MS = 1;

/** What the host answers later; it can be taken back. */
export interface Pending {
  readonly promise: Promise<unknown>;
  readonly cancel: (() => void) | undefined;
}

/** A call of the guest's that the host has not answered. */
export class Subtask extends Waitable {
  /** Whether it is decided how it ends. */
  isOver = false;
  /** Whether the guest was told. */
  isTold = false;

  constructor(readonly pending: Pending) {
    super();
  }

  get awaitsHost(): boolean {
    return !this.isOver;
  }

  /** The guest is told of the end by an event. */
  end(state: number): void {
    this.isOver = true;
    this.setEvent(() => {
      this.isTold = true;
      return [EVENT.subtask, this.index, state];
    });
  }
}

/** The call into the instance. */
interface Task {
  readonly context: [number, number];
  /** Takes the result, lifted. */
  returned: ((value: unknown) => void) | undefined;
}

/** The memory and functions with which values pass. */
export interface Passage {
  readonly memory: WebAssembly.Memory | undefined;
  readonly realloc: CoreFunction | undefined;
}

/** Where values pass in one call. */
export class CallBorder implements Border {
  readonly #lent: ResourceHandle[] = [];
  #lifted = 0;
  #view: DataView | undefined;

  constructor(readonly owner: AbiInstance, readonly passage: Passage) {}

  get #buffer(): ArrayBuffer {
    const { memory } = this.passage;
    if (!memory) throw new Error("a value needs a memory, and none is given");
    return memory.buffer as ArrayBuffer;
  }

  get view(): DataView {
    const buffer = this.#buffer;
    if (this.#view?.buffer !== buffer) this.#view = new DataView(buffer);
    return this.#view;
  }

  get bytes(): Uint8Array {
    return new Uint8Array(this.#buffer);
  }

  alloc(align: number, size: number): number {
    const { realloc } = this.passage;
    if (!realloc) throw new Error("a value needs an allocator, and none is given");
    if (!(size <= 0xffff_ffff)) throw new Error(`a value has ${size} bytes`);
    const at = (this.owner.inside(() => realloc(0, 0, align, size)) as number) >>> 0;
    if (at % align !== 0) throw new Error(`the allocator gave ${at}, not aligned to ${align}`);
    if (at + size > this.#buffer.byteLength) {
      throw new Error("the allocator gave what is not there");
    }
    return at;
  }

  lift(bytes: number, elements: number): void {
    const before = this.#lifted;
    this.#lifted = countLifted(before, bytes, elements);
    this.owner.init.limiter.hostTakes(this.#lifted - before);
  }

  takeOwn(resource: number, index: number): unknown {
    const handle = this.#resource(resource, index);
    if (handle.lends > 0) throw new Error(`the handle ${index} is lent to a call under way`);
    this.owner.handles.remove(index);
    return handle.value;
  }

  borrow(resource: number, index: number): unknown {
    const handle = this.#resource(resource, index);
    handle.lends++;
    this.#lent.push(handle);
    return handle.value;
  }

  #resource(resource: number, index: number): ResourceHandle {
    const handle = this.owner.handles.get(ResourceHandle, index);
    if (handle.resource === resource) return handle;
    throw new Error(
      `the handle ${index} is one of ${this.owner.nameOf(handle.resource)}, not of ${
        this.owner.nameOf(resource)
      }`,
    );
  }

  give(resource: number, value: unknown): number {
    if (!(value instanceof this.owner.init.classes[resource]!)) {
      throw new Error(`the host gives no ${this.owner.nameOf(resource)} there`);
    }
    return this.owner.handles.add(new ResourceHandle(resource, value));
  }

  takeEnd(type: number, index: number): GivenStream | GivenFuture {
    const { handles } = this.owner;
    const end = this.owner.end(type, "readable", index);
    end.checkIdle();
    if (end.isDone) throw new Error(`the ${end.kind} has ended`);
    handles.remove(index);
    this.owner.host.give(end.kind);
    return end.shared instanceof Stream ? new GivenStream(end.shared) : new GivenFuture(end.shared);
  }

  giveEnd(type: number, value: unknown): number {
    return this.owner.newReadable(type, value);
  }

  /** The call is over: what was lent is given back. */
  release(): void {
    for (const handle of this.#lent) handle.lends--;
    this.#lent.length = 0;
  }
}

/** What makes an {@link AbiInstance}. */
export interface AbiInstanceInit extends Owner {
  readonly codecs: Codecs;
  readonly resources: readonly string[];
  readonly host: WasiInstance;
  /** The host's class of each resource. */
  readonly classes: readonly (abstract new (...args: never[]) => object)[];
}

/** See the module. */
export class AbiInstance {
  readonly handles: Handles;
  readonly host: WasiInstance;
  readonly codecs: Codecs;
  readonly #promising = new Map<CoreFunction, (...args: CoreValue[]) => Promise<unknown>>();
  #task: Task | undefined;
  #turnFrom = 0;
  #promises = 0;
  /** Whether the guest may call the host: not from its allocator, nor after its return. */
  mayLeave = true;

  constructor(readonly init: AbiInstanceInit) {
    this.host = init.host;
    this.codecs = init.codecs;
    this.handles = new Handles(init.host);
  }

  /** The name of a resource, for messages. */
  nameOf(resource: number): string {
    return this.init.resources[resource]!;
  }

  /** The call in progress. */
  get task(): Task {
    if (!this.#task) throw new Error("there is no task");
    return this.#task;
  }

  /** Runs what happens outside of a call of the guest's: a failure in it ends the guest. */
  readonly guarded: Guarded = (act) => {
    const { limiter } = this.init;
    if (limiter.ended || this.host.hasEnded) return;
    limiter.enter(); // it may run the guest's allocator
    try {
      act();
    } catch (error) {
      this.fail(error);
    } finally {
      limiter.leave();
    }
  };

  #trap(message: string): never {
    this.init.limiter.end({ kind: "limit", code: "trap", message });
    throw new GuestEnded(message);
  }

  /** What is the ABI's own at the call's border: a failure is a trap. */
  #checked<T>(act: () => T): T {
    try {
      return act();
    } catch (error) {
      this.fail(error);
      throw error;
    }
  }

  /** Ends the guest; the first reason stays. */
  fail(error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    this.init.limiter.end({ kind: "limit", code: "trap", message });
  }

  /** An end that the guest holds. Throws what is a trap. */
  end(type: number, side: End["side"], index: number): End {
    const end = this.handles.get(End, index);
    if (end.type !== type || end.side !== side) {
      throw new Error(`the handle ${index} is another end of a ${end.kind}`);
    }
    return end;
  }

  #hold(end: End): number {
    this.host.take(end.kind);
    return this.handles.add(end);
  }

  /** The guest makes a stream or future: the numbers of its two ends. */
  newPair(kind: "stream" | "future", type: number): bigint {
    const shared = kind === "stream" ? new Stream(this.guarded) : new Future(this.guarded, false);
    const readable = this.#hold(new End(type, "readable", shared, kind));
    const writable = this.#hold(new End(type, "writable", shared, kind));
    return BigInt(readable) | BigInt(writable) << 32n;
  }

  /** The number of an end for the guest: of the host's source or promise, or of what it gave before. */
  newReadable(type: number, value: unknown): number {
    if (this.codecs.typeOf(type)?.kind === "stream") {
      const stream = value instanceof GivenStream
        ? value.stream
        : new Stream(this.guarded, value as StreamSource);
      return this.#hold(new End(type, "readable", stream, "stream"));
    }
    let future: Future;
    if (value instanceof GivenFuture) future = value.future;
    else {
      future = new Future(this.guarded, true);
      this.#watch(value as Promise<unknown>, (outcome) => {
        if ("error" in outcome) return this.fail(outcome.error);
        const { value } = outcome;
        future.resolve(() => typeof value === "function" ? value() : value);
      });
    }
    return this.#hold(new End(type, "readable", future, "future"));
  }

  /** Hears of the host's promise; so many may be open, also of what the guest has let go of. */
  #watch(promise: Promise<unknown>, settled: (outcome: Settled) => void): void {
    if (++this.#promises > PROMISES_MAX) {
      this.host.trap(`Cannot wait for more: the host owes it ${PROMISES_MAX} answers`);
    }
    const tell = (outcome: Settled) => {
      this.#promises--;
      if (!this.host.hasEnded) settled(outcome);
    };
    promise.then((value) => tell({ value }), (error) => tell({ error }));
  }

  /** Runs code of the guest's from which it may not call the host. */
  inside<T>(run: () => T): T {
    const before = this.mayLeave;
    this.mayLeave = false;
    try {
      return run();
    } finally {
      this.mayLeave = before;
    }
  }

  /** The guest drops an end. */
  dropEnd(type: number, side: End["side"], index: number): void {
    const end = this.end(type, side, index);
    end.drop();
    this.handles.remove(index);
    this.host.give(end.kind);
  }

  /** Begins a read or write: its result, or {@link BLOCKED}; where it may wait, a promise of it. */
  copy(
    type: number,
    side: End["side"],
    passage: Passage,
    options: CanonOptions,
    args: readonly CoreValue[],
  ): number | Promise<number> {
    const [index, at, length = 1] = args as number[];
    const end = this.end(type, side, index! >>> 0);
    const of = (this.codecs.typeOf(type) as { of: TypeRef | null }).of;
    const border = new CallBorder(this, passage);
    end.copy(
      new GuestBuffer(border, of === null ? null : this.codecs.of(of), at! >>> 0, length >>> 0),
    );
    if (end.hasEvent) return end.takeEvent()[2];
    if (options.isAsync) return BLOCKED;
    const before = end.set;
    const set = new WaitableSet();
    end.join(set);
    return this.next(set).then(([, , result]) => {
      end.join(before);
      return result;
    });
  }

  /** Ends what is under way of an end; its result. */
  cancelCopy(type: number, side: End["side"], index: number): number {
    const end = this.end(type, side, index);
    end.cancel();
    return end.takeEvent()[2];
  }

  /** The host answers a call later: the number by which the guest hears of it. */
  newSubtask(pending: Pending, settle: (outcome: Settled) => void): number {
    this.host.take("subtask");
    const subtask = new Subtask(pending);
    const index = this.handles.add(subtask);
    const settled = (outcome: Settled) => {
      if (subtask.isOver) {
        // It was cancelled: the answer is nobody's.
        return this.guarded(() => dispose(outcome));
      }
      this.guarded(() => {
        settle(outcome);
        subtask.end(CALL.returned);
      });
    };
    this.#watch(pending.promise, settled);
    return index;
  }

  dropSubtask(index: number): void {
    const subtask = this.handles.get(Subtask, index);
    if (!subtask.isTold) throw new Error("a call under way is dropped");
    this.handles.remove(index);
    this.host.give("subtask");
  }

  /** Takes a call back: how it ended. */
  cancelSubtask(index: number): number {
    const subtask = this.handles.get(Subtask, index);
    if (subtask.isTold) throw new Error("a call that is over is cancelled");
    if (!subtask.isOver) {
      subtask.pending.cancel?.();
      subtask.end(CALL.cancelled);
    }
    return subtask.takeEvent()[2];
  }

  newSet(): number {
    this.host.take("waitable-set");
    return this.handles.add(new WaitableSet());
  }

  dropSet(index: number): void {
    const set = this.handles.get(WaitableSet, index);
    if (set.size > 0) throw new Error("a set of waitables is dropped that is not empty");
    this.handles.remove(index);
    this.host.give("waitable-set");
  }

  join(waitable: number, set: number): void {
    const member = this.handles.get(Waitable, waitable);
    member.join(set === 0 ? undefined : this.handles.get(WaitableSet, set));
  }

  /** Waits for an event outside of the guest's code, which is suspended or has returned. */
  async next(set: WaitableSet): Promise<Event> {
    const { limiter } = this.init;
    const { now } = limiter.init;
    let event = set.poll();
    if (event === undefined) {
      if (!set.awaitsHost) this.#trap("deadlock: it waits for what only it could do");
      const woken = new Promise<void>((resolve) => set.wake = resolve);
      const from = now();
      await suspended(this.init, woken);
      if (now() - from > WAITED_MS) this.#turnFrom = now();
      if (limiter.ended) throw new GuestEnded();
      event = set.poll()!;
    } else limiter.leave();
    // What is ready at once, over and over, would never let a message in.
    if (now() - this.#turnFrom > TURN_MS) await this.turn();
    else resume(this.init);
    return event;
  }

  /** The guest lets others run, if it has not just done so: each turn costs a timer. */
  async yield(): Promise<void> {
    const { limiter } = this.init;
    if (limiter.init.now() - this.#turnFrom < YIELD_MS) return;
    limiter.newSlice();
    await this.turn();
  }

  /** Others run; then the guest again. Throws where it is to end. */
  async turn(): Promise<void> {
    const { limiter } = this.init;
    const ends = await limiter.pause();
    this.#turnFrom = limiter.init.now();
    if (ends || limiter.ended) throw new GuestEnded();
  }

  /**
   * Calls an exported function: resolves when its code is done. `returned` gets its result, before
   * that or then.
   */
  async call(
    core: CoreFunction,
    callback: CoreFunction | undefined,
    args: readonly CoreValue[],
    returned: (value: unknown) => void,
    finish: ((result: CoreValue | undefined) => void) | undefined,
  ): Promise<void> {
    const { limiter } = this.init;
    const run = async (f: CoreFunction, args: readonly CoreValue[]) => {
      let start = this.#promising.get(f);
      if (!start) this.#promising.set(f, start = jspi.promising(f));
      limiter.enter();
      const result = start(...args);
      limiter.leave(); // it returned, or waits
      return await result;
    };
    this.#task = { context: [0, 0], returned };
    this.#turnFrom = limiter.init.now();
    limiter.newSlice();
    try {
      let result = await run(core, args);
      if (!callback) {
        limiter.enter();
        return this.#checked(() => finish?.(result as CoreValue | undefined));
      }
      for (;;) {
        const code = (result as number) >>> 0;
        let event: Event = [EVENT.none, 0, 0];
        if ((code & 0xf) === NEXT.exit) break;
        if ((code & 0xf) === NEXT.yield) await this.yield();
        else if ((code & 0xf) === NEXT.wait) {
          const set = this.#checked(() => this.handles.get(WaitableSet, code >>> 4));
          event = await this.next(set);
        } else this.#trap(`its callback gave ${code}`);
        if (limiter.ended) throw new GuestEnded();
        result = await run(callback, event);
      }
      if (this.#task.returned) this.#trap("it ended without a result");
    } finally {
      limiter.leave();
      this.#task = undefined;
    }
  }

  /** The guest gives the result of the call, which `lift` reads. */
  return(lift: (border: Border) => unknown, passage: Passage): void {
    const { task } = this;
    const { returned } = task;
    if (!returned) throw new Error("a task returns twice");
    const value = lift(new CallBorder(this, passage));
    task.returned = undefined;
    returned(value);
  }
}

/** How a host function ended: what it threw may be an error of the interface. */
export type Settled = { readonly value: unknown } | { readonly error: unknown };

/** What nobody wants any more. */
function dispose(outcome: Settled): void {
  if (!("value" in outcome)) return;
  const { value } = outcome;
  if (typeof value === "object" && value !== null && Symbol.dispose in value) {
    (value as Disposable)[Symbol.dispose]();
  }
}
