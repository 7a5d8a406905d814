import assert from "node:assert/strict";
import { RENEWABLE } from "./lasting_names.ts";
import { meter } from "./meter.ts";
import { assemble, OPTIONS } from "./host_fake.ts";

/** The exports that the rewriter added to a module, or undefined when it does not say that it is renewable. */
async function lasting(wat: string): Promise<string[] | undefined> {
  const module = new WebAssembly.Module(meter(await assemble(wat), OPTIONS).bytes);
  const added = WebAssembly.Module.exports(module).map(({ name }) => name)
    .filter((name) => name.startsWith("realm ")).sort();
  if (WebAssembly.Module.customSections(module, RENEWABLE).length > 0) return added;
  assert.equal(added.filter((name) => name !== "realm memory 7").length, 0);
}

Deno.test("meter() exports memories and mutable globals of a module that can be put back", async () => {
  assert.deepEqual(await lasting("(module)"), []);
  assert.deepEqual(
    await lasting(`(module
      (import "a" "g" (global (mut i64)))
      (import "a" "m" (memory 1))
      (memory 1) (memory (export "memory") 2)
      (global (mut i32) (i32.const 1)) (global i32 (i32.const 2)) (global (mut i64) (i64.const 3))
      (func (export "f") (drop (memory.grow (i32.const 1)))))`),
    ["realm global 1", "realm global 3", "realm memory 1", "realm memory 2"],
  );
});

Deno.test("meter() finds every way in which a guest changes what cannot be put back", async () => {
  const parts = '(memory 1) (data $d "x") (table $t 2 funcref) (elem $e func)';
  const zeros = "(i32.const 0) (i32.const 0) (i32.const 0)";
  assert.deepEqual(await lasting(`(module ${parts} (func (memory.init $d ${zeros})))`), [
    "realm memory 0",
  ]);
  const wats: Record<string, string> = {
    "table.set": "(func (table.set $t (i32.const 0) (ref.null func)))",
    "table.init": `(func (table.init $t $e ${zeros}))`,
    "table.copy": `(func (table.copy $t $t ${zeros}))`,
    "table.fill": "(func (table.fill $t (i32.const 0) (ref.null func) (i32.const 0)))",
    "table.grow": "(func (drop (table.grow $t (ref.null func) (i32.const 0))))",
    "elem.drop": "(func (elem.drop $e))",
    "data.drop": "(func (data.drop $d))",
    "in dead code": "(func unreachable (data.drop $d))",
    "a start function": "(func $f) (start $f)",
    "a float": "(global (mut f64) (f64.const 0))",
    "a vector": "(global (mut v128) (v128.const i64x2 0 0))",
    "a reference": "(global (mut funcref) (ref.null func))",
    "a name of its own": '(memory $m 1) (export "realm memory 7" (memory $m))',
  };
  for (const [what, wat] of Object.entries(wats)) {
    assert.equal(await lasting(`(module ${parts} ${wat})`), undefined, what);
  }
});
