import assert from "node:assert/strict";
import { parse } from "../../../tests/wasm_tools.ts";
import { meter } from "../../wasm/meter/meter.ts";
import { componentOf, moduleText } from "./component_fake.ts";
import { corePartsOf } from "./core_module.ts";
import { coreTypeProblem } from "./core_types.ts";
import { signatureOf } from "./signature.ts";

const GET = signatureOf("(list<u8>) -> option<list<u8>>");
const SEQ = signatureOf("() -> u64");
const APPLY = signatureOf("(list<u8>) -> result<_, list<u8>>");

/** What is wrong with a module in the text format. */
async function problemOf(text: string): Promise<string | undefined> {
  const bytes = await parse(`(module ${text} (memory 1))`);
  const metered = meter(bytes, { memoryPagesMax: 10, tableElementsMax: 10 });
  const module = await WebAssembly.compile(metered.bytes as BufferSource);
  const imported = (from: string, name: string) =>
    from !== "i" ? undefined : name === "get" ? GET : name === "seq" ? SEQ : undefined;
  return coreTypeProblem(
    { bytes, module },
    imported,
    (name) => name === "apply" ? APPLY : undefined,
  );
}

Deno.test("coreTypeProblem() finds imports and exports of other types than the contract's", async () => {
  const good = `
    (import "i" "get" (func (param i32 i32 i32)))
    (import "i" "seq" (func (result i64)))
    (import "other" "seq" (func (param f32)))
    (func (export "apply") (param i32 i32) (result i32) (i32.const 0))
    (func (export "cabi_post_apply") (param i32))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0))
    (func (export "more") (result f64) (f64.const 0))`;
  assert.equal(await problemOf(good), undefined);
  const bad: [string, RegExp][] = [
    [
      `(import "i" "get" (func (param i32 i32)))`,
      /imports i get as i32 i32 -> , wanted i32 i32 i32 -> $/,
    ],
    [`(import "i" "get" (func (param i64 i32 i32)))`, /imports i get as i64 i32 i32/],
    [`(import "i" "get" (func (param i32 i32 i32) (result i32)))`, /-> i32, wanted/],
    [`(import "i" "seq" (func (result i32)))`, /imports i seq as {2}-> i32, wanted {2}-> i64/],
    [`(import "i" "seq" (func (result externref)))`, /-> another/],
    [
      `(func (export "apply") (param i32 i64) (result i32) (i32.const 0))`,
      /exports apply as i32 i64/,
    ],
    [`(func (export "apply") (param i32 i32) (result i64) (i64.const 0))`, /exports apply/],
    [`(func (export "cabi_post_apply") (param i64))`, /exports cabi_post_apply as i64/],
    [`(func (export "cabi_realloc") (param i32))`, /exports cabi_realloc as i32/],
    [`(global (export "apply") i32 (i32.const 0))`, /exports apply as no function/],
  ];
  for (const [text, problem] of bad) assert.match(await problemOf(text) ?? "", problem, text);
});

Deno.test("a component whose core module takes another type than it says is not loaded", async () => {
  const component = await componentOf(moduleText(""));
  assert.equal((await corePartsOf(component)).length, 1);
  // In the core module: `seq` becomes a function of the type of `id`.
  const at = (name: string) => {
    const entry = [name.length, ...new TextEncoder().encode(name), 0];
    const found = component.findIndex((_, i) =>
      entry.every((byte, j) => component[i + j] === byte)
    );
    return found + entry.length;
  };
  const changed = component.slice();
  changed[at("seq")] = component[at("id")]!;
  await assert.rejects(corePartsOf(changed), {
    code: "unsupported",
    message: /imports realm:app\/event@0.1.0 seq as i32 -> , wanted {2}-> i64/,
  });
});
