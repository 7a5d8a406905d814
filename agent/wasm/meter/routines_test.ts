import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { assemble, run, TestHost } from "./host_fake.ts";
import { Dice } from "../../../tests/wasm_generator.ts";

const PAGE = 65536;
const ROUNDS = Deno.env.get("SLOW") ? 2000 : 60;

const MEMORY = `(module
  (memory $a (export "a") 6) (memory $b (export "b") 4)
  (data $d "${"0123456789abcdef".repeat(20_000)}")
  (func (export "seed") (param $i i32)
    (loop (i32.store (local.get $i) (i32.mul (local.get $i) (i32.const 0x9e3779b1)))
      (i32.store $b (i32.rem_u (local.get $i) (i32.const 262140)) (i32.mul (local.get $i) (i32.const 0x85ebca6b)))
      (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 393200)))))
  (func (export "fill") (param i32 i32 i32) (memory.fill (local.get 0) (local.get 1) (local.get 2)))
  (func (export "copy") (param i32 i32 i32) (memory.copy (local.get 0) (local.get 1) (local.get 2)))
  (func (export "across") (param i32 i32 i32) (memory.copy $a $b (local.get 0) (local.get 1) (local.get 2)))
  (func (export "init") (param i32 i32 i32) (memory.init $d (local.get 0) (local.get 1) (local.get 2)))
  (func (export "drop") (data.drop $d)))`;

const TABLE = `(module
  (table $a (export "a") 20000 funcref) (table $b (export "b") 12000 funcref)
  (elem $e func ${"$f0 $f1 $f2 ".repeat(5000)})
  (func $f0) (func $f1) (func $f2) (export "f0" (func $f0)) (export "f1" (func $f1))
  (func (export "fill") (param i32 i32 i32)
    (table.fill $a (local.get 0)
      (if (result funcref) (local.get 1) (then (ref.func $f0)) (else (ref.func $f1))) (local.get 2)))
  (func (export "copy") (param i32 i32 i32) (table.copy $a $a (local.get 0) (local.get 1) (local.get 2)))
  (func (export "across") (param i32 i32 i32) (table.copy $a $b (local.get 0) (local.get 1) (local.get 2)))
  (func (export "init") (param i32 i32 i32) (table.init $a $e (local.get 0) (local.get 1) (local.get 2)))
  (func (export "initB") (param i32 i32 i32) (table.init $b $e (local.get 0) (local.get 1) (local.get 2)))
  (func (export "drop") (elem.drop $e)))`;

/** "ok", or the message of the trap. */
function outcome(act: () => void): string {
  try {
    act();
    return "ok";
  } catch (error) {
    assert.ok(error instanceof WebAssembly.RuntimeError);
    return error.message;
  }
}

async function both(wat: string) {
  const bytes = await assemble(wat);
  const plain = (await WebAssembly.instantiate(bytes)).instance.exports as Record<string, any>;
  return { plain, ...await run(bytes) };
}

/** Offsets and lengths around the sizes that matter: chunks and ends. */
function around(dice: Dice, edges: readonly number[]): number {
  return Math.max(0, dice.pick(edges) + dice.below(7) - 3) | 0;
}

Deno.test("bulk memory operations keep their meaning in chunks", async () => {
  const { plain, host, exports } = await both(MEMORY);
  const dice = new Dice(1);
  const edges = [0, 100, PAGE, PAGE + 40_000, 2 * PAGE, 3 * PAGE, 4 * PAGE, 5 * PAGE, 6 * PAGE];
  let longest = 0, trapped = 0;
  for (let i = 0; i < ROUNDS; i++) {
    if (i === ROUNDS - 10) { for (const e of [plain, exports]) e.drop(); }
    if (i % 10 === 0) { for (const e of [plain, exports]) e.seed(0); }
    for (const name of ["fill", "copy", "across", "init"]) {
      const to = around(dice, edges), length = dice.oneIn(20) ? -1 : around(dice, edges);
      // Copies overlap often, by little and by much, in both directions.
      const from = dice.oneIn(2) ? Math.max(0, to + dice.below(2000) - 1000) : around(dice, edges);
      const expected = outcome(() => plain[name](to, from, length));
      const before = host.used;
      assert.equal(
        outcome(() => exports[name](to, from, length)),
        expected,
        `${name} ${to} ${from} ${length}`,
      );
      if (expected === "ok") {
        assert.equal(host.used - before, 4 + Math.ceil(length / 16), `${name} ${length}`);
        longest = Math.max(longest, length);
      } else trapped++;
      for (const memory of ["a", "b"]) {
        const same = new Uint32Array(exports[memory].buffer);
        assert.ok(new Uint32Array(plain[memory].buffer).every((x, j) => x === same[j]), name);
      }
    }
  }
  assert.ok(longest > 2 * PAGE && trapped > ROUNDS / 4);
});

Deno.test("short copies keep their meaning at every length, overlap and end", async () => {
  const { plain, host, exports } = await both(MEMORY);
  for (const e of [plain, exports]) e.seed(0);
  const end = 6 * PAGE, endB = 4 * PAGE;
  let trapped = 0;
  for (let length = 0; length <= 70; length++) {
    const places = [
      [500, 500 + length],
      ...[-20, -9, -3, -1, 0, 1, 3, 9, 20].map((apart) => [1000, 1000 + apart]),
      ...[-1, 0, 1].flatMap((past) => [[end - length + past, 0], [0, end - length + past]]),
      ...[-1, 0, 1].map((past) => [0, endB - length + past]),
      [-8, 0],
      [0, -8],
      [-length, -length],
    ] as const;
    for (const [to, from] of places) {
      for (const name of ["copy", "across"]) {
        const expected = outcome(() => plain[name](to, from, length));
        const before = host.used;
        assert.equal(outcome(() => exports[name](to, from, length)), expected);
        if (expected !== "ok") trapped++;
        else assert.equal(host.used - before, 4 + Math.ceil(length / 16));
        for (const at of [0, 400, 900, 1000, end - 200]) {
          const part = (e: Record<string, any>) => Buffer.from(e.a.buffer, at, 200).toString("hex");
          assert.equal(part(exports), part(plain), `${name} ${to} ${from} ${length}`);
        }
      }
    }
  }
  assert.ok(trapped > 300, `${trapped}`);
});

Deno.test("bulk table operations keep their meaning in chunks", async () => {
  const { plain, host, exports } = await both(TABLE);
  const dice = new Dice(2);
  const edges = [0, 100, 4096, 5000, 8192, 10_000, 12_000, 15_000, 20_000];
  /** The same function is another object in the other instance. */
  const content = (e: Record<string, any>, table: string) => {
    const items: string[] = [];
    for (let i = 0; i < e[table].length; i += 37) {
      const f = e[table].get(i);
      items.push(f === null ? "null" : f === e.f0 ? "f0" : f === e.f1 ? "f1" : "f2");
    }
    return items.join(" ");
  };
  for (let i = 0; i < ROUNDS / 2; i++) {
    if (i === ROUNDS / 2 - 10) { for (const e of [plain, exports]) e.drop(); }
    for (const name of ["init", "initB", "fill", "copy", "across"]) {
      const to = around(dice, edges), length = dice.oneIn(20) ? -1 : around(dice, edges);
      const from = name === "fill"
        ? dice.below(2)
        : dice.oneIn(2)
        ? Math.max(0, to + dice.below(200) - 100)
        : around(dice, edges);
      const expected = outcome(() => plain[name](to, from, length));
      const before = host.used;
      assert.equal(
        outcome(() => exports[name](to, from, length)),
        expected,
        `${name} ${to} ${from} ${length}`,
      );
      const own = name === "fill" ? 5 : 4;
      // The arm of fill costs the if's constant.
      if (expected === "ok") {
        assert.equal(host.used - before, own + (name === "fill" ? 1 : 0) + length);
      }
      for (const table of ["a", "b"]) {
        assert.equal(content(exports, table), content(plain, table), name);
      }
    }
  }
});

Deno.test("a bulk operation out of bounds writes nothing", async () => {
  const { exports } = await run(MEMORY);
  exports.seed(0);
  const before = new Uint8Array(exports.a.buffer).slice();
  for (
    const [name, to, from, length] of [
      ["fill", 0, 1, 6 * PAGE + 1],
      ["fill", PAGE, 1, -1],
      ["copy", 0, 1, 6 * PAGE],
      ["copy", 1, 0, 6 * PAGE],
      ["across", 0, 1, 4 * PAGE],
      ["init", 0, 1, 320_000],
      ["init", 0, -1, 2 * PAGE],
      ["init", 5 * PAGE, 0, PAGE + 1],
    ] as const
  ) {
    assert.match(outcome(() => exports[name](to, from, length)), /out of bounds/);
    assert.deepEqual(Buffer.compare(new Uint8Array(exports.a.buffer), before), 0, name);
  }
});

Deno.test("a memory of 4 GiB can be filled to its last byte", async () => {
  const host = new TestHost(1_000_000, 10_000_000);
  const { exports } = await run(
    `(module (memory 65536)
      (func (export "f") (param i32 i32) (memory.fill (local.get 0) (i32.const 1) (local.get 1)))
      (func (export "last") (result i32) (i32.load8_u (i32.const -1))))`,
    { host, options: { memoryPagesMax: 65536, tableElementsMax: 1 } },
  );
  exports.f(-PAGE * 3, PAGE * 3);
  assert.equal(exports.last(), 1);
  assert.throws(() => exports.f(-PAGE * 3, PAGE * 3 + 1), WebAssembly.RuntimeError);
  // All but one byte would take 268 million units: it is stopped on the way.
  assert.throws(() => exports.f(1, -1), /unreachable/);
});
