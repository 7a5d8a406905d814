/**
 * The host's side of metering: hands out fuel in slices to the instances of a replica, and decides
 * at every fuel check whether the guest goes on, pauses or ends.
 *
 * Fuel is in executed instructions, memory in bytes, time in milliseconds. The guest's side is
 * written by `wasm/meter/`. A guest that a limit ended cannot go on: what it caught does not matter, the
 * next check traps again.
 *
 * @module
 */
import type { ErrorCode } from "../kernel/error.ts";
import type { Limits } from "../kernel/ports.ts";
import { END, type Ledger } from "./ledger.ts";
import { Turns } from "./turns.ts";

/**
 * Fuel between two checks with the host. A check takes 0.5 µs, optimised code uses up a slice in 20
 * to 60 µs; under 10 ms of any code, also of memory that is not in the processor's cache.
 */
const SLICE = 262_144;
/** A guest that shares its Worker lets the others run after this time. */
const TURN_MS = 8;
/** The same where another is in line: whoever asks for little then waits for two turns at most. */
const TURN_IN_LINE_MS = 5;
/** Tables are counted at what V8 needs for an element and its dispatch entry. */
export const TABLE_ELEMENT_BYTES = 32;
export const PAGE_BYTES = 65_536;
/** Bytes of call depth: V8 gives a thread 984 KiB, and a frame's price is an upper bound. */
const STACK_BYTES = 640 * 1024;
/** Bytes of call depth for outlined loops, besides: they must not take from what a guest counts on. */
const OUTLINE_BYTES = 128 * 1024;
/**
 * Fuel per millisecond of the slowest code; baseline code executes several hundred thousand. A
 * guest that used less did not run for as long as the clock says: the machine was busy, a disk
 * stalled, garbage was collected, or it was a neighbour that ran.
 */
const FUEL_PER_MS_MIN = 20_000;
/** Host calls between two fuel checks at most: they take time that fuel does not measure. */
const HOST_CALLS_MAX = 16;
/** The same of bytes that host calls take from a guest or make for it: one call may be of many MiB. */
const HOST_BYTES_MAX = 1024 * 1024;
/** What one host call takes at most, where it was not held up. */
const HOST_CALL_MS_MAX = 2;
/** Bytes per millisecond that the slowest host call takes from a guest, or makes for it. */
const HOST_BYTES_PER_MS_MIN = 100_000;

/** Why an instance ended before its code did. */
export type Ended =
  | { readonly kind: "exit"; readonly status: number }
  | { readonly kind: "stopped" }
  | { readonly kind: "limit"; readonly code: ErrorCode; readonly message: string };

/**
 * Fuel per second of one replica: a bucket of at most one second, shared by its instances.
 *
 * Who finds it empty waits in line, and is served a little at a time, so that a guest that spins
 * does not keep the bucket from a neighbour that needs little.
 */
export class FuelBucket {
  #tokens: number;
  #at: number;
  readonly #line: ((fuel: number) => void)[] = [];
  #timer: number | undefined;
  /** The least that is given out: 10 ms of fuel, at most a slice. */
  readonly #portion: number;

  constructor(readonly perSec: number, readonly now: () => number) {
    this.#tokens = perSec;
    this.#portion = Math.min(SLICE, perSec / 100);
    this.#at = now();
  }

  #refill(): void {
    const now = this.now();
    this.#tokens = Math.min(this.perSec, this.#tokens + (now - this.#at) * this.perSec / 1000);
    this.#at = now;
  }

  /** Takes what was used; the bucket may go below zero. */
  take(fuel: number): void {
    this.#tokens -= fuel;
  }

  /** What may be used now without waiting; 0 when others are in line. */
  available(): number {
    if (this.#line.length > 0) return 0;
    this.#refill();
    return this.#tokens < this.#portion ? 0 : this.#tokens;
  }

  /** Time until the bucket holds enough again. */
  emptyForMs(): number {
    this.#refill();
    return Math.max(0, (this.#portion - this.#tokens) * 1000 / this.perSec);
  }

  /** Resolves in turn, when there is fuel, with what may be used of it. */
  wait(): Promise<number> {
    return new Promise((resolve) => {
      this.#line.push(resolve);
      this.#schedule();
    });
  }

  #schedule(): void {
    if (this.#timer !== undefined || this.#line.length === 0) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (this.emptyForMs() === 0) this.#line.shift()?.(this.#portion);
      this.#schedule();
    }, Math.min(1000, Math.ceil(this.emptyForMs())));
  }

  /** Lets everybody in line go, because the replica ends. */
  release(): void {
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const go of this.#line.splice(0)) go(0);
  }
}

/**
 * A guest that cannot be suspended keeps its thread this long before those know who wait for it. Not
 * at once: what came since its last turn and was not heard is lost then, and most guests are at such
 * a place for a moment only.
 */
const DEAF_MS = 20;

/**
 * The only thread that there is for a guest: while it runs nothing else happens, and no other thread
 * could tell that it has to end.
 */
export interface OnlyThread {
  /** Lets all else happen that has come meanwhile: resolves in the next round of the event loop. */
  turn(): Promise<void>;
  /** The guest keeps the thread from hearing of anything, and cannot be suspended; or that is over. */
  deaf(isDeaf: boolean): void;
}

/** The guests of this thread that let others run. */
const turns = new Turns();
/** The guest that runs in this thread. */
let running: Limiter | undefined;

/** What {@link Limiter} needs from its surroundings. */
export interface LimiterInit {
  readonly limits: Limits;
  readonly ledger: Ledger;
  readonly bucket: FuelBucket | undefined;
  readonly now: () => number;
  /** Whether the Worker has more to do than this: then the guest takes turns and never blocks it. */
  readonly shared: boolean;
  /** Set where no other thread ends the guest: then it takes turns, and looks at the clock itself. */
  readonly only?: OnlyThread | undefined;
  /** Whether messages for the guest may come: then it lets them in, also where it is alone. */
  readonly awaits?: () => boolean;
  /** Called at every fuel check that asks the host: some thousand times a second. */
  readonly onTick?: () => void;
  /** Of core modules that another instance had before; new ones where there are none. */
  readonly globals?: MeterGlobals;
  /** Called before the guest pauses: others run now, and what it has said so far can go out. */
  readonly onPause?: () => void;
}

/** What the code of a guest counts in. */
export interface MeterGlobals {
  readonly fuel: WebAssembly.Global;
  readonly stack: WebAssembly.Global;
  readonly outline: WebAssembly.Global;
}

const counter = () => new WebAssembly.Global({ value: "i32", mutable: true }, 0);

/** Enforces the limits of one instance. */
export class Limiter {
  readonly fuel: WebAssembly.Global;
  readonly stack: WebAssembly.Global;
  readonly outline: WebAssembly.Global;
  #ended: Ended | undefined;
  /** The value of `fuel` when it was last settled. */
  #granted = 0;
  #fuelUsed = 0;
  #memoryBytes = 0;
  #refusedGrowths = 0;
  /** Since the guest last returned to the host or waited in it: time in which it can have run. */
  #sliceMs = 0;
  /** Since the guest last let its neighbours run. */
  #turnMs = 0;
  #runningSince: number | undefined;
  #hostCalls = 0;
  #hostBytes = 0;
  /** What host calls since time was last booked can have taken. */
  #hostMsMax = 0;
  /** Whether the last check found the bucket empty. */
  #throttled = false;
  /** When the replica is over its time-out, where nobody else looks. */
  readonly #lateAtMs: number;
  #isDeaf = false;
  /** The time since its last turn when the guest was first found where it cannot be suspended. */
  #stuckFromMs: number | undefined;
  /** Only while there are any, as an instance is idle most of the time. */
  #waiting: Set<() => void> | undefined;

  constructor(readonly init: LimiterInit) {
    const { fuel, stack, outline } = init.globals ??
      { fuel: counter(), stack: counter(), outline: counter() };
    fuel.value = 0;
    stack.value = STACK_BYTES;
    outline.value = OUTLINE_BYTES;
    this.fuel = fuel;
    this.stack = stack;
    this.outline = outline;
    const { only, limits, now } = init;
    this.#lateAtMs = only && limits.timeoutMs !== undefined ? now() + limits.timeoutMs : Infinity;
  }

  /** Set once; why the instance must not run on. */
  get ended(): Ended | undefined {
    return this.#ended;
  }

  /** Waits for `promise`, or until the instance ends: then the result is undefined. */
  untilEnded<T>(promise: Promise<T>): Promise<T | undefined> {
    // Not Promise.race with one long promise: that keeps every race's reactions for ever.
    if (this.#ended) return Promise.resolve(undefined);
    return new Promise((resolve, reject) => {
      const wake = () => resolve(undefined);
      (this.#waiting ??= new Set()).add(wake);
      promise.then(resolve, reject).finally(() => {
        this.#waiting?.delete(wake);
        if (this.#waiting?.size === 0) this.#waiting = undefined;
      });
    });
  }

  /** Whether a call found no depth left; the rewriter leaves this mark. */
  get stackExhausted(): boolean {
    return this.stack.value < 0;
  }

  get fuelUsed(): number {
    return this.#fuelUsed;
  }

  get refusedGrowths(): number {
    return this.#refusedGrowths;
  }

  /** Ends the instance at its next fuel check. The first reason stays. */
  end(reason: Ended): void {
    if (this.#ended) return;
    this.#settle();
    this.#ended = reason;
    this.fuel.value = this.#granted = -1;
    for (const wake of this.#waiting ?? []) wake();
    this.#waiting = undefined;
  }

  /** The guest starts to run: a call into it, or it is resumed. */
  enter(): void {
    // A promise tells late that a guest returned: whoever runs next ends its time.
    if (running !== undefined && running !== this) running.leave();
    running = this;
    this.#runningSince ??= this.init.now();
  }

  /** The guest stops running: it returned, waits, or is in a host call that takes time. */
  leave(): void {
    if (running === this) running = undefined;
    this.#settle();
    this.#runningSince = undefined;
  }

  /** A host call takes so many bytes from the guest, or makes them for it, which takes its time. */
  hostTakes(bytes: number): void {
    this.#hostBytes += bytes;
    this.#hostMsMax += bytes / HOST_BYTES_PER_MS_MIN;
  }

  /** After a host call: the next fuel check asks the host when they were much, or it is to end. */
  hostCalled(): void {
    this.#hostMsMax += HOST_CALL_MS_MAX;
    const isLittle = ++this.#hostCalls < HOST_CALLS_MAX && this.#hostBytes < HOST_BYTES_MAX;
    if (isLittle && this.init.ledger.ending === END.none) return;
    this.#hostCalls = this.#hostBytes = 0;
    if (this.#ended) return;
    this.#settle();
    this.fuel.value = this.#granted = 0;
  }

  /**
   * A return to the host: a new slice begins. Turns, too, since others could run; in the only thread
   * that is not said, as what the guest waited for may have been there at once.
   */
  newSlice(): void {
    this.#sliceMs = 0;
    if (!this.init.only) this.#turnMs = 0;
  }

  /**
   * Books fuel and time since the last call. Of the time only as much as the guest can have used
   * for what it did: who is to end for having run too long must have run, whatever else there was
   * to do for the machine, or for this thread.
   */
  #settle(): void {
    const used = this.#granted - this.fuel.value;
    this.#granted = this.fuel.value;
    if (used !== 0) {
      this.#fuelUsed += used;
      this.init.bucket?.take(used);
      this.init.ledger.add("fuelUsed", used);
    }
    if (this.#runningSince !== undefined) {
      const now = this.init.now();
      const passedMs = now - this.#runningSince;
      const ms = Math.min(passedMs, used / FUEL_PER_MS_MIN + this.#hostMsMax);
      this.#runningSince = now;
      this.#sliceMs += ms;
      this.#turnMs += passedMs; // whoever held the thread: it is others' turn
      this.init.ledger.add("runningMs", ms);
    }
    this.#hostMsMax = 0;
  }

  #limit(code: ErrorCode, message: string): void {
    this.end({ kind: "limit", code, message });
  }

  #check(): void {
    const { limits, ledger } = this.init;
    const ending = ledger.ending;
    if (ending === END.stop) this.end({ kind: "stopped" });
    else if (ending === END.timeout || this.init.now() >= this.#lateAtMs) {
      this.#limit("timeout", `it did not end within ${limits.timeoutMs} ms`);
    }
    if (limits.fuelMax !== undefined && this.#fuelUsed > limits.fuelMax) {
      this.#limit("out-of-fuel", `it used its ${limits.fuelMax} fuel`);
    }
    const epoch = limits.epochTimeoutMs;
    if (epoch !== undefined && this.#sliceMs > epoch) {
      this.#limit(
        "epoch-timeout",
        `it ran ${
          Math.round(this.#sliceMs)
        } ms without returning to the host, the limit is ${epoch} ms`,
      );
    }
  }

  #grant(fuel: number): 0 {
    const left = (this.init.limits.fuelMax ?? Infinity) - this.#fuelUsed;
    this.fuel.value = this.#granted = Math.max(0, Math.floor(Math.min(SLICE, fuel, left)));
    return 0;
  }

  /** A fuel check that found none left: 0 go on, 1 trap, 2 pause first. */
  tick(): 0 | 1 | 2 {
    if (running !== this) this.enter(); // it was resumed after another had run
    this.#settle();
    this.init.onTick?.();
    if (!this.#ended) this.#check();
    if (this.#ended) return 1;
    const available = this.init.bucket?.available() ?? Infinity;
    this.#throttled = available === 0;
    if (this.#throttled) return 2;
    const turnMs = turns.waiting > 0 ? TURN_IN_LINE_MS : TURN_MS;
    const { shared, only, awaits } = this.init;
    if (this.#turnMs > turnMs && (shared || only || awaits?.())) return 2;
    return this.#grant(available);
  }

  /** Pauses the guest, which has to be suspendable: for fuel, else for one turn of the others. */
  async pause(): Promise<0 | 1> {
    const { bucket, ledger, now, only } = this.init;
    this.init.onPause?.();
    if (this.#isDeaf) only!.deaf(this.#isDeaf = false);
    this.#stuckFromMs = undefined;
    this.leave();
    ledger.add("preemptions", 1);
    let fuel: number | undefined = SLICE;
    if (bucket && this.#throttled) {
      const from = now();
      fuel = await this.untilEnded(bucket.wait());
      ledger.add("throttledMs", now() - from);
    } else {
      await (only ? only.turn() : turns.next());
    }
    this.#turnMs = 0;
    this.enter();
    this.#check();
    return this.#ended ? 1 : this.#grant(fuel ?? 0);
  }

  /**
   * The guest cannot be suspended here (a start function, `cabi_realloc`, post-return): it goes
   * into debt, at most one second of fuel. A Worker of its own sleeps, a shared one traps.
   */
  debt(): 0 | 1 {
    const { bucket, ledger, now, shared, only } = this.init;
    const owedMs = bucket?.emptyForMs() ?? 0;
    this.#stuckFromMs ??= this.#turnMs;
    const isStuck = this.#turnMs - this.#stuckFromMs >= DEAF_MS;
    if (only && !this.#isDeaf && (owedMs > 1000 || isStuck)) {
      only.deaf(this.#isDeaf = true);
    }
    if (owedMs > 1000) {
      if (shared) {
        this.#limit("out-of-fuel", "it owes a second of fuel where it cannot be paused");
        return 1;
      }
      this.leave();
      const from = now();
      // Until then, or until it is ended.
      ledger.block(Math.min(owedMs, Math.max(0, this.#lateAtMs - from)));
      ledger.add("throttledMs", now() - from);
      this.enter();
      this.#check();
      if (this.#ended) return 1;
    }
    return this.#grant(SLICE);
  }

  /**
   * Asks for pages (kind 0) or table elements (kind 1); fewer than 0 gives back. 0 is allowed.
   *
   * The budget is that of the replica: its instances share it.
   */
  grow(kind: number, units: number): 0 | 1 {
    const bytes = units * (kind === 0 ? PAGE_BYTES : TABLE_ELEMENT_BYTES);
    this.#hostMsMax += HOST_CALL_MS_MAX;
    if (this.charge(bytes)) return 0;
    this.#refusedGrowths++;
    this.init.ledger.add("refusedGrowths", 1);
    return 1;
  }

  /** Takes memory that the host holds for the guest, or gives it back: false where there is none. */
  charge(bytes: number): boolean {
    const { ledger, limits } = this.init;
    if (bytes > 0 && ledger.get("memoryBytes") + bytes > limits.memoryBytesMax) return false;
    this.#memoryBytes += bytes;
    ledger.addMemory(bytes);
    return true;
  }

  /**
   * The guest failed. Behind a trap its fuel is what it stored last, so the rest of the slice counts
   * for the replica's rate as if it were used: it may be. What the guest is said to have used stays
   * what is known.
   */
  forfeit(): void {
    if (this.#ended) return;
    this.#settle();
    this.init.bucket?.take(Math.max(0, this.#granted));
    this.fuel.value = this.#granted = 0;
  }

  /** Gives everything back when the instance is thrown away. */
  dispose(): void {
    this.leave();
    if (this.#isDeaf) this.init.only!.deaf(this.#isDeaf = false);
    this.init.ledger.addMemory(-this.#memoryBytes);
    this.#memoryBytes = 0;
  }
}
