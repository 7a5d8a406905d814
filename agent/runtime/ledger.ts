/**
 * The shared memory of one replica: its Worker writes what is used and enforced, the agent reads it
 * at any time, also while the guest spins, and sets the flag that ends the guest.
 *
 * Float64 fields, then one Int32 flag. Counters are sums over the instances of the replica.
 *
 * @module
 */
import type { Limits, Usage } from "../kernel/ports.ts";

const FIELDS = [
  "fuelUsed",
  "memoryBytes",
  "memoryBytesPeak",
  "runningMs",
  "throttledMs",
  "preemptions",
  "refusedGrowths",
  "traps",
  "memoryBytesMax",
  "fuelPerSec",
  "fuelMax",
  "epochTimeoutMs",
  "timeoutMs",
] as const;

type Field = typeof FIELDS[number];

const INDEX = Object.fromEntries(FIELDS.map((f, i) => [f, i])) as Record<Field, number>;

/** Why the agent ends a guest. */
export const END = { none: 0, stop: 1, timeout: 2 } as const;

/** A view of the shared memory; both sides make one over the same buffer. */
export class Ledger {
  readonly #fields: Float64Array;
  readonly #flag: Int32Array;

  constructor(
    readonly buffer: SharedArrayBuffer = new SharedArrayBuffer(FIELDS.length * 8 + 8),
  ) {
    this.#fields = new Float64Array(buffer, 0, FIELDS.length);
    this.#flag = new Int32Array(buffer, FIELDS.length * 8, 1);
  }

  add(field: Field, amount: number): void {
    this.#fields[INDEX[field]]! += amount;
  }

  get(field: Field): number {
    return this.#fields[INDEX[field]]!;
  }

  /** Adds to `memoryBytes` and raises the peak. */
  addMemory(bytes: number): void {
    this.add("memoryBytes", bytes);
    const now = this.get("memoryBytes");
    if (now > this.get("memoryBytesPeak")) this.#fields[INDEX.memoryBytesPeak] = now;
  }

  /** Records what the limiter enforces; a missing limit is NaN. */
  setLimits(limits: Limits): void {
    this.#fields[INDEX.memoryBytesMax] = limits.memoryBytesMax;
    this.#fields[INDEX.fuelPerSec] = limits.fuelPerSec ?? NaN;
    this.#fields[INDEX.fuelMax] = limits.fuelMax ?? NaN;
    this.#fields[INDEX.epochTimeoutMs] = limits.epochTimeoutMs ?? NaN;
    this.#fields[INDEX.timeoutMs] = limits.timeoutMs ?? NaN;
  }

  limits(): Limits {
    const optional = (field: Field) => {
      const value = this.get(field);
      return Number.isNaN(value) ? {} : { [field]: value };
    };
    return {
      memoryBytesMax: this.get("memoryBytesMax"),
      ...optional("fuelPerSec"),
      ...optional("fuelMax"),
      ...optional("epochTimeoutMs"),
      ...optional("timeoutMs"),
    };
  }

  usage(): Usage {
    return {
      fuelUsed: this.get("fuelUsed"),
      memoryBytes: this.get("memoryBytes"),
      memoryBytesPeak: this.get("memoryBytesPeak"),
      runningMs: this.get("runningMs"),
      throttledMs: this.get("throttledMs"),
      preemptions: this.get("preemptions"),
      refusedGrowths: this.get("refusedGrowths"),
      traps: this.get("traps"),
    };
  }

  /** Ends the guest: read by every fuel check; wakes a Worker that {@link block}s. */
  end(reason: typeof END[keyof typeof END]): void {
    Atomics.compareExchange(this.#flag, 0, END.none, reason);
    Atomics.notify(this.#flag, 0);
  }

  get ending(): number {
    return Atomics.load(this.#flag, 0);
  }

  /** Blocks this thread for `ms`; for Workers that nobody shares. */
  block(ms: number): void {
    Atomics.wait(this.#flag, 0, END.none, ms);
  }
}
