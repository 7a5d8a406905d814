import assert from "node:assert/strict";
import { meter } from "./meter.ts";
import { assemble, OPTIONS, run, TestHost } from "./host_fake.ts";

/** Where in the module the frames of WebAssembly are at this moment, innermost first. */
function frames(): string[] {
  const { stack } = new Error();
  return [...stack!.matchAll(/wasm-function\[\d+\]:(0x[0-9a-f]+)/g)].map(([, offset]) => offset!);
}

/** Loops in one another, 40 by 40 rounds of some 20 units. */
const NESTED = `(module (import "env" "seen" (func $seen))
  (func (export "f") (result i32) (local $i i32) (local $j i32) (local $sum i32)
    (loop $outer
      (local.set $j (i32.const 0))
      (loop $inner
        (call $seen)
        (local.set $sum (i32.add (local.get $sum) (i32.mul (local.get $i) (local.get $j))))
        (br_if $inner (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 1))) (i32.const 40))))
      (br_if $outer (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 40))))
    (local.get $sum)))`;
const NESTED_RESULT = (39 * 40 / 2) ** 2;

/** The same in a function that would call itself. */
const RECURSIVE = NESTED
  .replace('(func (export "f")', '(func $f (export "f")')
  .replace(
    "(local.set $j (i32.const 0))",
    `
        (if (i32.eq (local.get $i) (i32.const 99)) (then (drop (call $f))))
        (local.set $j (i32.const 0))`,
  );

/** Runs {@link NESTED}, and gives the stacks that it was seen with, each once, in order. */
async function stacksOf(host: TestHost, wat = NESTED): Promise<string[]> {
  const seen = new Set<string>();
  const imports = { env: { seen: () => seen.add(frames().join(" ")) } };
  const { exports } = await run(wat, { host, imports });
  const { stack: { value: stack }, outline: { value: outline } } = host;
  assert.equal(exports.f(), NESTED_RESULT);
  assert.deepEqual([host.stack.value, host.outline.value], [stack, outline]);
  return [...seen];
}

Deno.test("a loop whose slice is used up goes on in a function of its own, in the end the outermost", async () => {
  const stacks = (await stacksOf(new TestHost(1000))).map((stack) => stack.split(" "));
  // The inner loop on its own; the outer one on its own; from there the inner one now and then.
  assert.deepEqual(stacks.map((stack) => stack.length), [1, 2, 2, 3]);
  const [, [inner] = [], [outer, fromFunction] = [], third] = stacks;
  assert.notEqual(inner, outer);
  assert.equal(third![0], inner);
  assert.equal(third![2], fromFunction);
});

Deno.test("only the outermost loops of a function that calls itself go on in functions of their own", async () => {
  // A slice for every check.
  const depths = async (wat: string) =>
    (await stacksOf(new TestHost(1), wat)).map((stack) => stack.split(" ").length);
  assert.deepEqual(await depths(NESTED), [3]);
  assert.deepEqual(await depths(RECURSIVE), [2]);
});

Deno.test("loops stay where they are while slices last, and where there is no room for more frames", async () => {
  assert.equal((await stacksOf(new TestHost())).length, 1);
  assert.equal((await stacksOf(new TestHost(1000, Infinity, 256 * 1024, 0))).length, 1);
});

Deno.test("an outlined loop costs the same, wherever slices end", async () => {
  const imports = { env: { seen: () => {} } };
  const used = async (slice: number, room = 64 * 1024) => {
    const host = new TestHost(slice, Infinity, 256 * 1024, room);
    const { exports } = await run(NESTED, { host, imports });
    exports.f();
    return host.used;
  };
  const whole = await used(1_000_000_000);
  for (const slice of [1, 2, 3, 17, 100, 1000]) {
    assert.equal(await used(slice), whole, `${slice}`);
    assert.equal(await used(slice, 0), whole, `${slice}`);
  }
});

Deno.test("an outlined loop is left by every way that the loop has, with its values", async () => {
  const wat = `(module
    (func (export "f") (param $how i32) (param $n i32) (result i32 f64)
      (local $i i32) (local $l i64) (local $f f32) (local $r externref)
      (local.set $l (i64.const 100))
      (i32.add (i32.const 1000)
        (block $pair (result i32)
          (i32.add (i32.const 500)
            (block $one (result i32)
              (loop $head (result i32)
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (local.set $l (i64.add (local.get $l) (i64.const 2)))
                (local.set $f (f32.add (local.get $f) (f32.const 0.5)))
                (block $two (block $three
                  (br_if $head (i32.lt_u (local.get $i) (local.get $n)))
                  (drop (br_if $one (local.get $i) (i32.eq (local.get $how) (i32.const 1))))
                  (br_table $three $two (i32.eq (local.get $how) (i32.const 2))))
                  (if (i32.eq (local.get $how) (i32.const 3))
                    (then (br $pair (i32.wrap_i64 (local.get $l)))))
                  (if (i32.eq (local.get $how) (i32.const 4))
                    (then (return (local.get $i) (f64.promote_f32 (local.get $f))))))
                (i32.mul (local.get $i) (i32.const 3)))))))
      (f64.convert_i64_s (local.get $l))))`;
  for (const slice of [1, 30, 1_000_000_000]) {
    const { host, exports } = await run(wat, { host: new TestHost(slice) });
    const start = [host.stack.value, host.outline.value];
    for (const n of [1, 2, 50]) {
      const l = 100 + 2 * n;
      assert.deepEqual(exports.f(0, n), [1500 + 3 * n, l]);
      assert.deepEqual(exports.f(1, n), [1500 + n, l]);
      assert.deepEqual(exports.f(2, n), [1500 + 3 * n, l]);
      assert.deepEqual(exports.f(3, n), [1000 + l, l]);
      assert.deepEqual(exports.f(4, n), [n, n / 2]);
    }
    assert.deepEqual([host.stack.value, host.outline.value], start);
  }
});

Deno.test("outlined loops take nothing from the depth that recursion has", async () => {
  const wat = `(module (global $depth (export "depth") (mut i32) (i32.const 0))
    (func $f (export "f") (local $i i32)
      (global.set $depth (i32.add (global.get $depth) (i32.const 1)))
      (loop
        (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 9)))
        (call $f)
        (br 0))))`;
  const depths = new Set<number>();
  for (const [slice, room] of [[1, 64 * 1024], [50, 64 * 1024], [1, 0], [1_000_000_000, 0]]) {
    const { exports } = await run(wat, { host: new TestHost(slice, Infinity, 100_000, room) });
    assert.throws(() => exports.f(), WebAssembly.RuntimeError);
    depths.add(exports.depth.value);
  }
  assert.equal(depths.size, 1);
});

Deno.test("an exception that is caught gives back the room of the outlined loops that it left", async () => {
  const { host, exports } = await run(
    `(module (tag $t)
    (func $thrower (param $n i32) (local $i i32)
      (loop
        (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 9)))
        (if (i32.eqz (local.get $n)) (then (throw $t)))
        (call $thrower (i32.sub (local.get $n) (i32.const 1)))
        (br 0)))
    (func (export "f") (try_table (catch_all 0) (call $thrower (i32.const 5)))))`,
    { host: new TestHost(1) },
  );
  const room = host.outline.value;
  for (let i = 0; i < 10; i++) {
    exports.f();
    assert.equal(host.outline.value, room);
  }
});

Deno.test("an outlined loop is stopped like any other", async () => {
  for (const body of ["(loop (br 0))", "(loop (loop (br_if 0 (i32.eqz (i32.const 1)))) (br 0))"]) {
    const host = new TestHost(1000, 100_000);
    const { exports } = await run(`(module (func (export "f") ${body}))`, { host });
    assert.throws(() => exports.f(), WebAssembly.RuntimeError);
    assert.ok(host.used > 100_000 && host.used < 101_100, `${host.used}`);
  }
});

Deno.test("loops in loops make a module grow by a bounded factor", async () => {
  const drops = "(drop (i32.const 12345678))".repeat(200);
  for (const depth of [1, 3, 6, 12, 20]) {
    const loops = "(loop ".repeat(depth) + drops + "(br_if 0 (local.get 0)))".repeat(depth);
    const bytes = await assemble(`(module (func (param i32) ${loops}))`);
    const { length } = meter(bytes, OPTIONS).bytes;
    assert.ok(length < 6 * bytes.length, `${depth}: ${length} of ${bytes.length}`);
    if (depth <= 6) assert.ok(length > 1.9 * bytes.length, `${depth}: ${length}`);
  }
});

Deno.test("loops with many ways and locals do not make one grow that they are in", async () => {
  const inner = "(loop (br_if 0 (local.get 200)))".repeat(9);
  const bytes = await assemble(`(module (func (param i32) ${"(local i32)".repeat(200)}
    (loop (if (local.get 0) (then ${inner} (return))) (br_if 0 (local.get 0)))))`);
  const { length } = meter(bytes, OPTIONS).bytes;
  // A call takes some 800 bytes; each loop has one here, and one in a function of its own.
  assert.ok(length < 20_000, `${length}`);
});

/** What a round does with $x, which is 100 before the loop and given back behind it. */
const ROUNDS = [
  `(if (local.get $c) (then nop) (else (local.set $x (local.get $i))))`,
  `(if (local.get $c) (then (local.set $x (local.get $i))) (else nop))`,
  `(if (local.get $c) (then (local.set $x (local.get $i))))`,
  `(block (br_if 0 (local.get $c)) (local.set $x (local.get $i)))`,
  `(block (block (br_table 0 1 0 (local.get $c))) (local.set $x (local.get $i)))`,
  `(loop (br_if 1 (local.get $c)) (local.set $x (local.get $i)) (br_if 0 (i32.eqz (local.tee $c (i32.const 1)))))`,
  `(local.set $y (local.get $x)) (local.set $x (i32.const 0))
   (if (local.get $c) (then (local.set $x (local.get $y))))`,
  `(drop (local.tee $y (local.get $i))) (if (local.get $c) (then (local.set $x (local.get $y))))`,
];

Deno.test("locals are what they were in an outlined loop, whichever way they are written", async () => {
  for (const round of ROUNDS) {
    const wat = `(module (func (export "f") (param $n i32) (result i32)
      (local $i i32) (local $c i32) (local $y i32) (local $x i32)
      (local.set $x (i32.const 100))
      (loop $head
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (local.set $c (i32.eq (i32.rem_u (local.get $i) (i32.const 3)) (i32.const 1)))
        ${round}
        (br_if $head (i32.lt_u (local.get $i) (local.get $n))))
      (local.get $x)))`;
    const results = async (slice: number) => {
      const { host, exports } = await run(wat, { host: new TestHost(slice) });
      return [0, 1, 2, 3, 4, 5, 6].map((n) => [exports.f(n), host.used]);
    };
    assert.deepEqual(await results(1), await results(1_000_000_000), round);
  }
});
