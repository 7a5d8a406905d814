/**
 * The function behind a fuel check, in WebAssembly, because only WebAssembly can tell whether the
 * guest may be suspended: trying to is an exception that it can catch.
 *
 *     (func (export "refuel") (result i32) (local i32)
 *       (local.set 0 (call $tick))                      ;; 0 go on, 1 trap, 2 pause first
 *       (if (i32.ne (local.get 0) (i32.const 2)) (then (return (local.get 0))))
 *       (block $cannot
 *         (return (try_table (result i32) (catch_all $cannot) (call $pause))))
 *       (call $debt))
 *
 * @module
 */

const text = (s: string) => [s.length, ...new TextEncoder().encode(s)];
const section = (id: number, bytes: number[]) => [id, bytes.length, ...bytes];
const hostFunction = (name: string) => [...text("host"), ...text(name), 0x00, 0x00];
// deno-fmt-ignore
const REFUEL = [
  0x01, 0x01, 0x7f, // one local, i32
  0x10, 0x00, 0x22, 0x00, 0x41, 0x02, 0x47, 0x04, 0x40, 0x20, 0x00, 0x0f, 0x0b,
  0x02, 0x40, 0x1f, 0x7f, 0x01, 0x02, 0x00, 0x10, 0x01, 0x0b, 0x0f, 0x0b,
  0x10, 0x02, 0x0b,
];
// deno-fmt-ignore
const MODULE = new WebAssembly.Module(new Uint8Array([
  0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00,
  ...section(1, [0x01, 0x60, 0x00, 0x01, 0x7f]),
  ...section(2, [0x03, ...hostFunction("tick"), ...hostFunction("pause"), ...hostFunction("debt")]),
  ...section(3, [0x01, 0x00]),
  ...section(7, [0x01, ...text("refuel"), 0x00, 0x03]),
  ...section(10, [0x01, REFUEL.length, ...REFUEL]),
]));

/** JSPI, which TypeScript's library does not know yet. */
export const jspi = WebAssembly as unknown as {
  readonly Suspending: new (f: (...args: never[]) => unknown) => object;
  promising<A extends unknown[], R>(f: (...args: A) => R): (...args: A) => Promise<R>;
};

/** What {@link refuelFunction} calls; {@link Limiter} has them. */
export interface FuelHost {
  readonly tick: () => number;
  readonly pause: () => Promise<number>;
  readonly debt: () => number;
}

/** Makes the `refuel` import of metered modules. */
export function refuelFunction(host: FuelHost): () => number {
  const instance = new WebAssembly.Instance(MODULE, {
    host: {
      tick: host.tick,
      pause: new jspi.Suspending(host.pause) as WebAssembly.ImportValue,
      debt: host.debt,
    },
  });
  return instance.exports.refuel as () => number;
}
