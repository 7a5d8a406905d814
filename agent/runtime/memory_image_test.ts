import assert from "node:assert/strict";
import fc from "fast-check";
import { LastingState } from "./memory_image.ts";

const PAGE = 65_536;

/** One memory of two pages and two globals, as a renewable module exports them. */
function guest() {
  const memory = new WebAssembly.Memory({ initial: 2, maximum: 4 });
  const small = new WebAssembly.Global({ value: "i32", mutable: true }, 7);
  const large = new WebAssembly.Global({ value: "i64", mutable: true }, -1n);
  const exports = {
    memory,
    "realm memory 0": memory,
    "realm global 1": small,
    "realm global 2": large,
    run: () => {},
  };
  return { memory, small, large, state: new LastingState([{}, exports]) };
}

const writes = fc.array(
  fc.tuple(
    fc.oneof(
      fc.nat(2 * PAGE - 1),
      fc.constantFrom(0, 4095, 4096, PAGE - 1, PAGE, 2 * PAGE - 1, 16_383, 16_384),
    ),
    fc.integer({ min: 0, max: 255 }),
  ),
  { maxLength: 20 },
);

Deno.test("LastingState puts back whatever was written", () => {
  fc.assert(fc.property(writes, writes, (before, after) => {
    const { memory, small, large, state } = guest();
    const bytes = new Uint8Array(memory.buffer);
    for (const [at, value] of before) bytes[at] = value;
    const wanted = bytes.slice();
    const image = state.take();
    for (const [at, value] of after) bytes[at] = value;
    small.value = 8;
    large.value = 2n ** 62n;
    assert.equal(state.putBack(image), true);
    assert.equal(bytes.findIndex((value, at) => value !== wanted[at]), -1);
    assert.deepEqual([small.value, large.value], [7, -1n]);
  }));
});

Deno.test("LastingState keeps of its memory only what is not zero", () => {
  const { memory, state } = guest();
  new Uint8Array(memory.buffer)[PAGE] = 1;
  const [image] = state.take().memories;
  assert.deepEqual(image!.runs.map(({ at, bytes }) => [at, bytes.length]), [[PAGE, 4096]]);
});

Deno.test("LastingState does not put back a memory that grew", () => {
  const { memory, state } = guest();
  const image = state.take();
  memory.grow(1);
  assert.equal(state.putBack(image), false);
});
