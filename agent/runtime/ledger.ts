/**
 * The shared memory of one replica: its Worker writes what is used and enforced, the agent reads it
 * at any time, also while the guest spins, and sets the flag that ends the guest.
 *
 * Float64 fields, then one Int32 flag. Counters are sums over the instances of the replica.
 *
 * @module
 */
import { type EnforcedLimits, NO_USAGE, type Usage } from "../kernel/ports.ts";

const USED = Object.keys(NO_USAGE) as (keyof Usage)[];
/** Enforced always. */
const BOUNDS = [
  "memoryBytesMax",
  "concurrencyMax",
  "handlesMax",
  "openFilesMax",
  "socketsMax",
  "logLinesPerSecMax",
] as const;
/** Enforced where they are set. */
const OPTIONAL = ["fuelPerSec", "fuelMax", "epochTimeoutMs", "timeoutMs"] as const;
const FIELDS = [...USED, ...BOUNDS, ...OPTIONAL] as const;

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

  /** Records what is enforced; a missing limit is NaN. */
  setLimits(limits: EnforcedLimits): void {
    for (const field of BOUNDS) this.#fields[INDEX[field]] = limits[field];
    for (const field of OPTIONAL) this.#fields[INDEX[field]] = limits[field] ?? NaN;
  }

  limits(): EnforcedLimits {
    const bounds = BOUNDS.map((field) => [field, this.get(field)] as const);
    const optional = OPTIONAL.map((field) => [field, this.get(field)] as const);
    return Object.fromEntries(
      [...bounds, ...optional.filter(([, value]) => !Number.isNaN(value))],
    ) as unknown as EnforcedLimits;
  }

  usage(): Usage {
    return Object.fromEntries(
      USED.map((field) => [field, this.get(field)]),
    ) as unknown as Usage;
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
