import assert from "node:assert/strict";
import { parse } from "../../tests/wasm_tools.ts";
import { readFixup, readShim } from "./shim.ts";

const SHIM = `(module
  (type (func (param i32 i64))) (type (func (result f32)))
  (table 2 2 funcref)
  (export "0" (func $a)) (export "1" (func $b)) (export "again" (func $b)) (export "$imports" (table 0))
  (func $a (type 0) local.get 0 local.get 1 i32.const 1 call_indirect (type 0))
  (func $b (type 1) i32.const 0 call_indirect (type 1)))`;
const FIXUP = `(module
  (type (func (param i32 i64))) (type (func (result f32)))
  (import "" "x" (func $x (type 1))) (import "" "y" (func $y (type 0)))
  (import "" "$imports" (table 2 2 funcref))
  (elem (i32.const 0) func $x $y))`;

Deno.test("readShim() tells which element each function calls", async () => {
  const shim = readShim(await parse(SHIM))!;
  const fixup = readFixup(await parse(FIXUP))!;
  assert.equal(shim.table, "$imports");
  assert.deepEqual([fixup.module, fixup.table], ["", "$imports"]);
  assert.deepEqual([...shim.functions].map(([name, { element }]) => [name, element]), [
    ["0", 1],
    ["1", 0],
    ["again", 0],
  ]);
  assert.deepEqual(fixup.elements.map(({ name }) => name), ["x", "y"]);
  assert.equal(shim.functions.get("0")!.type, fixup.elements[1]!.type);
  assert.notEqual(shim.functions.get("1")!.type, fixup.elements[1]!.type);
});

Deno.test("readShim() takes nothing that does anything else", async () => {
  const others = {
    "a start function": SHIM.replace("(table 2", "(start 2) (func) (table 2"),
    "a memory": SHIM.replace("(table 2", "(memory 1) (table 2"),
    "a global": SHIM.replace("(table 2", "(global i32 (i32.const 0)) (table 2"),
    "two tables": SHIM.replace("(table 2 2 funcref)", "(table 2 2 funcref) (table 2 2 funcref)"),
    "elements": SHIM.replace("(table 2", "(elem (i32.const 0) func $a) (table 2"),
    "an import": SHIM.replace("(table 2", '(import "a" "b" (func)) (table 2'),
    "no table that is exported": SHIM.replace('(export "$imports" (table 0))', ""),
    "other arguments": SHIM.replace("local.get 1 i32.const 1", "i64.const 1 i32.const 1"),
    "an argument twice": `(module (type (func (param i32 i32))) (table 1 funcref)
      (export "$imports" (table 0)) (export "0" (func 0))
      (func (type 0) local.get 0 local.get 0 i32.const 0 call_indirect (type 0)))`,
    "another instruction": SHIM.replace("i32.const 1 call", "nop i32.const 1 call"),
    "another type": `(module (type (func)) (type (func (param i32))) (table 1 funcref)
      (export "$imports" (table 0)) (export "0" (func 0))
      (func (type 0) i32.const 0 i32.const 0 call_indirect (type 1)))`,
    "a negative element": SHIM.replace("i32.const 1 call", "i32.const -1 call"),
    "a local": SHIM.replace("(type 1) i32", "(type 1) (local i32) i32"),
    "a reference": SHIM.replace("(param i32 i64)", "(param i32 externref)"),
  };
  for (const [what, wat] of Object.entries(others)) {
    assert.notEqual(wat, SHIM, what);
    assert.equal(readShim(await parse(wat)), undefined, what);
  }
  assert.equal(readShim(await parse(FIXUP)), undefined);
});

Deno.test("readFixup() takes nothing that does anything else", async () => {
  const others = {
    "a function": FIXUP.replace("(elem", "(func) (elem"),
    "an export": FIXUP.replace("(elem", '(export "x" (func $x)) (elem'),
    "a start function": FIXUP.replace("(elem", "(start $s) (func $s) (elem"),
    "another offset": FIXUP.replace("(i32.const 0)", "(i32.const 1)"),
    "two segments": FIXUP.replace("(elem", "(elem (i32.const 0) func $y) (elem"),
    "a passive segment": FIXUP.replace("(elem (i32.const 0)", "(elem"),
    "two tables": FIXUP.replace("(elem", '(import "" "t" (table 1 funcref)) (elem'),
    "a memory": FIXUP.replace("(elem", '(import "" "m" (memory 1)) (elem'),
    "two modules": FIXUP.replace('"" "y"', '"b" "y"'),
    "a reference": FIXUP.replace("(result f32)", "(result externref)"),
  };
  for (const [what, wat] of Object.entries(others)) {
    assert.notEqual(wat, FIXUP, what);
    const bytes = await parse(wat).catch(() => undefined);
    if (what !== "a start function") assert.ok(bytes, what);
    if (bytes) assert.equal(readFixup(bytes), undefined, what);
  }
  assert.equal(readFixup(await parse(SHIM)), undefined);
});
