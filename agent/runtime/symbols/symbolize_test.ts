import assert from "node:assert/strict";
import { CEILING } from "../artifact.ts";
import { assemble, run, TestHost } from "../../wasm/meter/host_fake.ts";
import { backtrace } from "../trap.ts";
import { findOrigins, symbolize } from "./symbolize.ts";

/** Runs the export `f` of a rewritten module until it traps. */
async function trapOf(module: Uint8Array, slice: number): Promise<unknown> {
  const host = new TestHost(slice, 5000);
  const { exports } = await run(module, { host, options: { ...CEILING, name: "core" } });
  try {
    exports.f!();
  } catch (error) {
    return error;
  }
  assert.fail("it did not trap");
}

async function framesOf(wat: string, slice = 1000) {
  const module = await assemble(wat);
  const frames = symbolize(
    module,
    { core: [0, module.length] },
    backtrace(await trapOf(module, slice)),
  );
  return { module, frames };
}

Deno.test("symbolize() finds the instruction behind calls, branches and bulk operations", async () => {
  const { module, frames } = await framesOf(`(module $crash.wasm (memory 1)
    (func $inner (param i32) (local i32)
      (if (local.get 0) (then (local.set 1 (i32.const 7))))
      (memory.fill (i32.const 0) (i32.const 1) (i32.const 8))
      (block (br_if 0 (i32.eqz (local.get 0)))
        (drop (i32.load (i32.const 0x7fffffff)))))
    (func (export "f") (call $inner (i32.const 0)) (call $inner (i32.const 1))))`);
  assert.deepEqual(
    frames.map((f) => [f.module, f.function]),
    [
      ["crash.wasm", "inner"],
      ["crash.wasm", "f"],
    ].map(([m, f]) => [m, f === "f" ? "function[1]" : f]),
  );
  assert.equal(module[frames[0]!.offset], 0x28, "i32.load");
  assert.equal(module[frames[1]!.offset], 0x10, "call");
  // The second of the two calls: its argument is 1.
  assert.deepEqual([...module.slice(frames[1]!.offset - 2, frames[1]!.offset)], [0x41, 1]);
});

Deno.test("symbolize() leaves the rewriter's functions out, and finds the loop that used the fuel", async () => {
  for (const body of ["(br $l)", "(br_if $l (i32.const 1))", "(call $g) (br $l)"]) {
    for (const slice of [20, 1000]) {
      const { module, frames } = await framesOf(
        `(module (func $g (local i32) (loop $l (br_if $l (local.get 0))))
          (func $f (export "f") (loop $l (drop (i32.const 1)) ${body})))`,
        slice,
      );
      assert.equal(frames.at(-1)?.function, "f");
      assert.ok(
        frames.length === 1 || frames.length === 2 && frames[0]!.function === "g",
        JSON.stringify(frames),
      );
      assert.ok(frames.every((f) => f.offset < module.length));
    }
  }
});

Deno.test("symbolize() finds the place in every copy of a loop, unrolled or outlined", async () => {
  for (const slice of [7, 20, 1000]) {
    for (const rounds of [1, 2, 3, 4, 5, 6, 7, 8, 9, 50, 51, 52, 53]) {
      const { module, frames } = await framesOf(
        `(module (func $f (export "f") (local i32)
          (loop $l
            (local.set 0 (i32.add (local.get 0) (i32.const 1)))
            (drop (i32.div_s (i32.const 1) (i32.sub (local.get 0) (i32.const ${rounds}))))
            (br_if $l (i32.lt_u (local.get 0) (i32.const 60))))))`,
        slice,
      );
      assert.deepEqual(frames.map((f) => f.function), ["f"]);
      assert.equal(module[frames[0]!.offset], 0x6d, `i32.div_s after ${rounds} rounds`);
    }
  }
});

Deno.test("symbolize() keeps hostile names on one line, and bounded", async () => {
  const name = `x\\0a    at forged\\1b[31m${"y".repeat(3000)}`;
  const { frames } = await framesOf(
    `(module $"${name}" (func $"${name}" (export "f") unreachable))`,
  );
  assert.equal(frames.length, 1);
  for (const text of [frames[0]!.function, frames[0]!.module]) {
    assert.ok(text.startsWith("x\ufffd    at forged") && text.length < 600, text);
  }
});

Deno.test("findOrigins() finds core modules in nested components, and no others", async () => {
  const file = await assemble(`(component
    (core module (func (export "a")))
    (component (core module (func (export "b")) (func))))`);
  const [a, b, c] = await Promise.all([
    assemble(`(module (func (export "a")))`),
    assemble(`(module (func (export "b")) (func))`),
    assemble(`(module (func (export "c")))`),
  ]);
  const origins = findOrigins(file, [["a", a!], ["b", b!], ["c", c!]]);
  assert.deepEqual(Object.keys(origins), ["a", "b"]);
  assert.deepEqual(file.slice(...origins.b!), b);
});
