import assert from "node:assert/strict";
import { parse } from "../tests/wasm_tools.ts";
import { meter } from "../agent/wasm/meter/meter.ts";
import { meteringImports } from "./metering_probe.ts";

Deno.test("meteringImports() link a kernel that grows and outlasts its slices", async () => {
  const plain = await parse(`(module (memory 1)
    (func (export "count") (param $n i32) (result i32) (local $i i32)
      (drop (memory.grow (i32.const 1)))
      (loop
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if 0 (i32.lt_u (local.get $i) (local.get $n))))
      (i32.add (local.get $i) (memory.size))))`);
  const { bytes } = meter(plain, { memoryPagesMax: 16, tableElementsMax: 0 });
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), meteringImports());
  assert.equal((exports.count as (n: number) => number)(30_000_000), 30_000_002);
});
