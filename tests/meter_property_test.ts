/**
 * Properties of the metering rewriter over random modules. `SLOW=1` tries many more.
 *
 * @module
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { RealmError } from "../agent/kernel/error.ts";
import { meter } from "../agent/wasm/meter/meter.ts";
import { observe } from "./meter_observer.mjs";
import { generate } from "./wasm_generator.ts";

const OPTIONS = { memoryPagesMax: 64, tableElementsMax: 1000 };
const RUNS = Deno.env.get("SLOW") ? 5000 : 60;
const seeds = fc.integer({ min: 0, max: 0x7fffffff });

/** What a step showed, without its units. */
function visible(steps: ReturnType<typeof observe>) {
  return steps.map(({ outcome, state, stackKept }) => ({ outcome, state, stackKept }));
}

Deno.test("meter() keeps results, traps, memory and globals of random modules", () => {
  fc.assert(
    fc.property(seeds, (seed) => {
      const { plain, calls } = generate(seed);
      const metered = observe(meter(plain, OPTIONS).bytes, calls);
      assert.deepEqual(visible(metered), visible(observe(plain, calls)));
    }),
    { numRuns: RUNS },
  );
});

Deno.test("meter() charges what counting every instruction gives", () => {
  let compared = 0;
  fc.assert(
    fc.property(seeds, (seed) => {
      const { plain, counted, calls } = generate(seed);
      const metered = observe(meter(plain, OPTIONS).bytes, calls);
      const oracle = observe(counted, calls);
      assert.deepEqual(metered.map((s) => s.units), oracle.map((s) => s.units));
      compared += oracle.filter((s) => s.units !== null).length;
    }),
    { numRuns: RUNS },
  );
  assert.ok(compared > 2 * RUNS, `only ${compared} calls were compared`);
});

Deno.test("meter() charges and behaves alike, whatever the size of a slice and the room for outlined loops", () => {
  // Slices of 1 outline every loop that can be, of a million none.
  const slices = fc.constantFrom(1, 7, 50, 1000);
  const rooms = fc.constantFrom(0, 1000, 100_000);
  fc.assert(
    fc.property(seeds, slices, rooms, (seed, slice, room) => {
      const { plain, calls } = generate(seed);
      const { bytes } = meter(plain, OPTIONS);
      assert.deepEqual(observe(bytes, calls, slice, room), observe(bytes, calls));
    }),
    { numRuns: 2 * RUNS },
  );
});

Deno.test("meter() charges and behaves alike, however many loops are copied", () => {
  let mixed = 0;
  const parts = fc.double({ min: 0.2, max: 1, noNaN: true });
  fc.assert(
    fc.property(seeds, fc.constantFrom(1, 7, 1_000_000), parts, (seed, slice, part) => {
      const { plain, calls } = generate(seed);
      const copying = (copyingBytesMax: number) =>
        meter(plain, { ...OPTIONS, copyingBytesMax }).bytes;
      const all = copying(Infinity), none = copying(0);
      const some = copying(part * all.length);
      if (some.length !== all.length && some.length !== none.length) mixed++;
      for (const bytes of [some, none]) {
        assert.deepEqual(observe(bytes, calls, slice), observe(all, calls));
      }
    }),
    { numRuns: 2 * RUNS },
  );
  assert.ok(mixed > 0, "no module had some of its loops copied");
});

/** Either a RealmError, or a module that the engine accepts exactly when it accepts the input. */
function assertClosed(bytes: Uint8Array<ArrayBuffer>) {
  let metered;
  try {
    metered = meter(bytes, OPTIONS).bytes;
  } catch (error) {
    assert.ok(error instanceof RealmError, `${error}`);
    assert.ok(["invalid-module", "unsupported", "memory-limit"].includes(error.code));
    return;
  }
  assert.equal(WebAssembly.validate(metered), WebAssembly.validate(bytes));
}

Deno.test("meter() refuses a module cut at any byte, or leaves it to the engine", () => {
  const { plain } = generate(7);
  for (let n = 0; n < plain.length; n++) assertClosed(plain.slice(0, n));
});

Deno.test("meter() stays closed when bytes are changed", () => {
  fc.assert(
    fc.property(
      seeds,
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 3 }),
      (seed, changes) => {
        // Few modules, many changes: generating is the slow part.
        const bytes = generate(seed % 50).plain;
        for (const [at, value] of changes) bytes[8 + at % (bytes.length - 8)] = value;
        assertClosed(bytes);
      },
    ),
    { numRuns: RUNS * 10 },
  );
});

Deno.test("meter() stays closed when bits of code are flipped", () => {
  const { plain } = generate(3);
  const stride = Deno.env.get("SLOW") ? 1 : 7;
  for (let bit = 64; bit < plain.length * 8; bit += stride) {
    const bytes = plain.slice();
    bytes[bit >> 3]! ^= 1 << (bit & 7);
    assertClosed(bytes);
  }
});
