import { parse } from "../../../tests/wasm_tools.ts";
import fc from "fast-check";
import assert from "node:assert/strict";
import { RealmError } from "../../kernel/error.ts";
import { coreNames } from "../../wasm/component.ts";
import { decodePlan } from "./decode.ts";

const bytesOf = async (text: string) => await parse(`(component ${text})`) as Uint8Array;
const decode = async (text: string) => decodePlan(await bytesOf(text)).plan;

/** A core function `$f` of the type that it is lifted with, and its memory. */
const CORE = `(core module $m (memory (export "memory") 1)
    (func (export "f") (result i32) unreachable)
    (func (export "callback") (param i32 i32 i32) (result i32) unreachable))
  (core instance $i (instantiate $m))`;

Deno.test("decodePlan() reads types, imports, core modules and exports", async () => {
  const plan = await decode(`
    (import "wasi:io/poll@0.2.6" (instance $poll
      (export "pollable" (type $p (sub resource)))
      (type $borrowed (borrow $p))
      (export "[method]pollable.block" (func (param "self" $borrowed)))))
    (alias export $poll "pollable" (type $pollable))
    (alias export $poll "[method]pollable.block" (func $block))
    (core func $block (canon lower (func $block)))
    (core func $drop (canon resource.drop $pollable))
    ${CORE}
    (component $names
      (import "f" (func $f async (result (result))))
      (export "run" (func $f)))
    (func $f async (result (result)) (canon lift (core func $i "f") async (callback (func $i "callback"))))
    (instance $named (instantiate $names (with "f" (func $f))))
    (export "wasi:cli/run@0.3.0" (instance $named))`);
  assert.deepEqual(plan.resources, ["wasi:io/poll@0.2.6#pollable"]);
  assert.deepEqual(plan.types[0], { kind: "borrow", resource: 0 });
  const [block, drop] = plan.steps;
  assert.deepEqual(block, {
    do: "canon",
    canon: {
      fn: "lower",
      iface: "wasi:io/poll@0.2.6",
      name: "[method]pollable.block",
      type: { params: [0], result: null, isAsync: false },
      options: { isAsync: false },
    },
  });
  assert.deepEqual(drop, { do: "canon", canon: { fn: "resource.drop", resource: 0 } });
  assert.deepEqual(plan.exports.map(({ iface, name, type }) => [iface, name, type.isAsync]), [
    ["wasi:cli/run@0.3.0", "run", true],
  ]);
});

Deno.test("equal types are one, so that ends of streams pass", async () => {
  const { types, steps } = await decode(`
    (type $a (stream u8)) (type $b (stream u8)) (type $c (stream u16))
    (core func (canon stream.new $a)) (core func (canon stream.new $b)) (core func (canon stream.new $c))`);
  assert.equal(types.length, 2);
  assert.deepEqual(
    steps.map((step) => step.do === "canon" && "type" in step.canon && step.canon.type),
    [
      0,
      0,
      1,
    ],
  );
});

Deno.test("core modules are numbered without those of a component that is not instantiated", async () => {
  const bytes = await bytesOf(`
    (component (core module (func (export "other"))))
    (core module $m (func (export "mine")))
    (core instance (instantiate $m))`);
  const { plan, modules } = decodePlan(bytes);
  assert.deepEqual(plan.steps, [{ do: "instantiate", module: 0, args: [] }]);
  assert.deepEqual(modules.map(({ start, end }) => [...coreNames(bytes.subarray(start, end))]), [
    ["mine"],
  ]);
});

Deno.test("decodePlan() ends on any bytes, with an error of realm's own", () => {
  const whole = Deno.readFileSync(new URL("../../../fixtures/hello-p3.wasm", import.meta.url));
  const { modules: [main] } = decodePlan(whole);
  // Without the code, which is most of it and is not read here.
  const bytes = Uint8Array.of(...whole.subarray(0, main!.start - 5), ...whole.subarray(main!.end));
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(255)), { maxLength: 4 }),
      (edits) => {
        const broken = bytes.slice();
        for (const [at, byte] of edits) broken[at] = byte;
        try {
          decodePlan(broken);
        } catch (error) {
          assert.ok(error instanceof RealmError, String(error));
        }
      },
    ),
    { numRuns: 500 },
  );
});

/** What is refused, and the words for it. */
const REFUSED: Readonly<Record<string, readonly [string, RegExp]>> = {
  "a stackful export": [
    `${CORE} (core module $s (func (export "f")))
     (core instance $s (instantiate $s))
     (func async (canon lift (core func $s "f") async))`,
    /exports an async function without a callback/,
  ],
  "several programs": [
    `(component $inner (core module (func (export "f")))) (instance (instantiate $inner))`,
    /composed of several components/,
  ],
  "a resource of its own": [`(type (resource (rep i32)))`, /defines a resource of its own/],
  "an error context": [
    `${CORE} (core func (canon error-context.drop))`,
    /uses error contexts/,
  ],
  "threads": [`(core func (canon thread.index))`, /uses threads/],
  "UTF-16": [
    `(import "a" (instance $a (export "f" (func (param "s" string))))) ${CORE}
     (core func (canon lower (func $a "f") string-encoding=utf16 (memory $i "memory")))`,
    /its strings are not UTF-8/,
  ],
  "an imported module": [
    `(import "m" (core module))`,
    /imports or exports a core module|core types/,
  ],
};

Deno.test("decodePlan() refuses what it does not carry out, and says what", async () => {
  for (const [name, [text, message]] of Object.entries(REFUSED)) {
    await assert.rejects(decode(text), { code: "unsupported", message }, name);
  }
});
