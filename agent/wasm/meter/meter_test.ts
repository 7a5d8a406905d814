import assert from "node:assert/strict";
import { RealmError } from "../../kernel/error.ts";
import { Reader, Writer } from "./binary.ts";
import { meter, STACK_EXHAUSTED } from "./meter.ts";
import { decodeModule } from "./module.ts";
import { OP } from "./opcodes.ts";
import { assemble, OPTIONS, print, run, TestHost } from "./host_fake.ts";

/** Runs `act`, and gives the units it used. */
function unitsOf(host: TestHost, act: () => unknown): number {
  const before = host.used;
  act();
  return host.used - before;
}

Deno.test("meter() charges one unit per executed instruction", async () => {
  const { host, exports } = await run(`(module
    (func (export "straight") (param i32) (result i32) nop (i32.add (local.get 0) (i32.const 1)))
    (func (export "choose") (param i32) (result i32)
      (if (result i32) (local.get 0) (then (i32.const 1)) (else (i32.add (i32.const 1) (i32.const 2)))))
    (func (export "sum") (param $n i32) (result i32) (local $sum i32)
      (block (loop
        (br_if 1 (i32.eqz (local.get $n)))
        (local.set $sum (i32.add (local.get $sum) (local.get $n)))
        (local.set $n (i32.sub (local.get $n) (i32.const 1)))
        (br 0)))
      (local.get $sum)))`);
  assert.equal(unitsOf(host, () => assert.equal(exports.straight(1), 2)), 3);
  assert.equal(unitsOf(host, () => assert.equal(exports.choose(1), 1)), 3);
  assert.equal(unitsOf(host, () => assert.equal(exports.choose(0), 3)), 5);
  // Each round 12 with its branch back, and at the end 3 and the result.
  assert.equal(unitsOf(host, () => assert.equal(exports.sum(10), 55)), 10 * 12 + 3 + 1);
});

/** Loops that are unrolled: left at the tail alone, by other ways too, never at the tail. */
const UNROLLED = `(module
  (global $rounds (export "rounds") (mut i32) (i32.const 0))
  (func (export "tail") (param $n i32) (result i32)
    (loop
      (global.set $rounds (i32.add (global.get $rounds) (i32.const 1)))
      (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (global.get $rounds))
  (func (export "returns") (param $n i32) (result i32)
    (block $odd (loop
      (if (i32.eq (local.get $n) (i32.const 5)) (then (return (i32.const 50))))
      (br_if $odd (i32.eq (local.get $n) (i32.const 6)))
      (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 2)))))
      (return (i32.const 10)))
    (i32.const 60))
  (func (export "head") (param $n i32) (result i32)
    (loop
      (if (i32.eqz (local.get $n)) (then (return (i32.const 7))))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br 0))
    unreachable))`;

Deno.test("meter() charges every round of a loop that it unrolls, wherever it is left", async () => {
  const { host, exports } = await run(UNROLLED);
  for (let n = 1; n <= 10; n++) {
    exports.rounds.value = 0;
    assert.equal(unitsOf(host, () => assert.equal(exports.tail(n), n)), 9 * n + 1);
    assert.equal(unitsOf(host, () => assert.equal(exports.head(n), 7)), 8 * n + 5);
  }
  // Each round 13 units, and what follows; the ways out are taken in their round after 4 and 8.
  for (const [n, result, units] of [[2, 10, 15], [4, 10, 28], [5, 50, 6], [13, 50, 4 * 13 + 6]]) {
    assert.equal(unitsOf(host, () => assert.equal(exports.returns(n), result)), units);
  }
  for (const [n, units] of [[6, 9], [8, 13 + 9], [20, 7 * 13 + 9]]) {
    assert.equal(unitsOf(host, () => assert.equal(exports.returns(n), 60)), units);
  }
});

Deno.test("meter() checks an unrolled loop every few rounds", async () => {
  const { host, exports } = await run(UNROLLED, { host: new TestHost(1000, 100_000) });
  assert.throws(() => exports.tail(0), WebAssembly.RuntimeError);
  assert.ok(host.used > 100_000 && host.used < 101_100, `${host.used}`);
  // 100,000 units, 1000 of the slice, and four rounds.
  const checks = new TestHost(1);
  const { exports: sliced } = await run(UNROLLED, { host: checks });
  sliced.tail(400);
  assert.ok(checks.refuels >= 100 && checks.refuels <= 101, `${checks.refuels}`);
});

Deno.test("meter() unrolls neither long loops nor those in very large functions", async () => {
  const copies = async (before: string, inside: string, options = OPTIONS) => {
    const wat = `(module (func (export "f") (param i32) ${before}
      (loop (drop (i64.const 0x1234567890)) ${inside} (br_if 0 (local.get 0)))))`;
    const { metered } = await run(wat, { options });
    const text = await print(metered.bytes);
    return text.split("i64.const 78187493520").length - 1;
  };
  // As many again are in the function that the loop goes on in.
  assert.equal(await copies("", ""), 2 * 4);
  assert.equal(await copies("", "(drop (i32.const 0))".repeat(130)), 2);
  assert.equal(await copies("", "(loop)"), 2);
  assert.equal(await copies("(drop (i32.const 0))".repeat(90_000), ""), 2);
  // With less room for copies, none of the rounds; with none at all, no such function either.
  assert.equal(await copies("", "", { ...OPTIONS, copyingBytesMax: 230 }), 2);
  assert.equal(await copies("", "", { ...OPTIONS, copyingBytesMax: 0 }), 1);
});

Deno.test("meter() stops an endless loop, in spite of catch_all", async () => {
  for (
    const handler of [
      `try loop br 0 end catch_all end`,
      `(block (try_table (catch_all 0) (loop (br 0))))`,
    ]
  ) {
    const host = new TestHost(1000, 100_000);
    const { exports } = await run(`(module (func (export "f") (loop ${handler} (br 0))))`, {
      host,
    });
    assert.throws(() => exports.f(), WebAssembly.RuntimeError);
    assert.ok(host.used > 100_000 && host.used < 110_000, `${host.used}`);
  }
});

Deno.test("meter() meters the start function", async () => {
  const host = new TestHost(1000, 100_000);
  await assert.rejects(
    run(`(module (start 0) (func (loop (br 0))))`, { host }),
    WebAssembly.RuntimeError,
  );
  assert.ok(host.refuels > 50);
});

Deno.test("meter() traps recursion when the stack is used up, and marks it", async () => {
  for (const call of ["call 0", "(call_indirect (type 0) (i32.const 0))"]) {
    const { host, exports } = await run(
      `(module (type (func)) (table 1 funcref) (elem (i32.const 0) 0)
      (func (export "f") ${call} nop))`,
    );
    assert.throws(() => exports.f(), WebAssembly.RuntimeError);
    assert.equal(host.stack.value, STACK_EXHAUSTED);
    assert.throws(() => exports.f(), WebAssembly.RuntimeError);
    assert.equal(host.stack.value, STACK_EXHAUSTED);
  }
});

Deno.test("meter() charges large frames more and gives every frame back", async () => {
  const host = new TestHost();
  const depths: number[] = [];
  const imports = { env: { seen: () => depths.push(host.stack.value) } };
  const { exports } = await run(
    `(module
    (import "env" "seen" (func $seen))
    (func (export "small") (call $seen))
    (func (export "large") (local ${"i64 ".repeat(1000)}) (call $seen))
    (func $tail (export "tail") (param i32) (call $seen)
      (if (local.get 0) (then (return_call $tail (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "returns") (param i32) (result i32 i32)
      (call $seen)
      (if (i32.eq (local.get 0) (i32.const 1)) (then (return (i32.const 1) (i32.const 2))))
      (if (i32.eq (local.get 0) (i32.const 2)) (then (br 1 (i32.const 3) (i32.const 4))))
      (br_if 0 (i32.const 5) (i32.const 6) (i32.eq (local.get 0) (i32.const 3)))
      (br_table 0 0 (i32.const 0))))`,
    { imports, host },
  );
  const start = host.stack.value;
  exports.small();
  exports.large();
  assert.ok(start - depths[0]! < 128, `${start - depths[0]!}`);
  assert.ok(start - depths[1]! > 8000);
  depths.length = 0;
  exports.tail(1000);
  assert.equal(new Set(depths).size, 1);
  for (const [i, results] of [[1, [1, 2]], [2, [3, 4]], [3, [5, 6]], [4, [5, 6]]] as const) {
    assert.deepEqual(exports.returns(i), results);
  }
  assert.equal(host.stack.value, start);
});

Deno.test("meter() gives back the frames that an exception went through", async () => {
  const deep = `(tag $t (param i32))
    (func $deep (param i32) (if (i32.eqz (local.get 0)) (then (throw $t (i32.const 7))))
      (call $deep (i32.sub (local.get 0) (i32.const 1))))`;
  for (
    const f of [
      `(func (export "f") (result i32)
        try (result i32) i32.const 50 call $deep i32.const 0 catch $t end)`,
      `(func (export "f") (result i32)
        (block (result i32) (try_table (catch $t 0) (call $deep (i32.const 50))) (i32.const 0)))`,
      `(func (export "f") (result i32)
        (try_table (catch $t 0) (call $deep (i32.const 50))) (i32.const 0))`,
      `(func (export "f") (result i32) (local $n i32)
        (loop
          (if (i32.eq (local.get $n) (i32.const 100)) (then (return (i32.const 7))))
          (local.set $n (i32.add (local.get $n) (i32.const 1)))
          (try_table (catch_all 0) (call $deep (i32.const 50))))
        (i32.const 0))`,
    ]
  ) {
    const { host, exports } = await run(`(module ${deep} ${f})`);
    const start = host.stack.value;
    for (let i = 0; i < 1000; i++) assert.equal(exports.f(), 7);
    assert.equal(host.stack.value, start);
  }
});

Deno.test("meter() stops inside one fill of 128 MiB", async () => {
  const host = new TestHost(10_000, 1_000_000);
  const { exports } = await run(
    `(module (memory 2048)
    (func (export "f") (memory.fill (i32.const 0) (i32.const 1) (i32.const 134217728))))`,
    { host },
  );
  assert.throws(() => exports.f(), WebAssembly.RuntimeError);
  assert.ok(host.used < 1_020_000, `${host.used}`);
});

Deno.test("meter() asks before growth, charges it, and gives back what failed", async () => {
  const { host, exports, metered } = await run(`(module (memory 1 5) (table 1 5 funcref)
    (func (export "memory") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "table") (param i32) (result i32) (table.grow (ref.null func) (local.get 0))))`);
  assert.deepEqual([metered.size.memoryPages, metered.size.tableElements], [1, 1]);
  assert.equal(unitsOf(host, () => assert.equal(exports.memory(0), 1)), 2);
  assert.deepEqual(host.asked, []);
  assert.equal(unitsOf(host, () => assert.equal(exports.memory(2), 1)), 2 + 128);
  assert.equal(unitsOf(host, () => assert.equal(exports.table(3), 1)), 3 + 3);
  assert.deepEqual(host.asked.splice(0), [[0, 2], [1, 3]]);
  assert.equal(exports.memory(3), -1);
  assert.equal(exports.table(3), -1);
  assert.deepEqual(host.asked.splice(0), [[0, 3], [0, -3], [1, 3], [1, -3]]);
  assert.equal(exports.memory(-1), -1);
  assert.equal(exports.table(-1), -1);
  assert.deepEqual(host.asked, []);
  host.allowed = false;
  assert.equal(unitsOf(host, () => assert.equal(exports.memory(1), -1)), 2);
  assert.equal(unitsOf(host, () => assert.equal(exports.table(1), -1)), 3);
});

Deno.test("meter() lowers declared maxima and refuses larger minima", async () => {
  const { exports } = await run(`(module (memory (export "m") 1) (table (export "t") 1 funcref))`, {
    options: { memoryPagesMax: 2, tableElementsMax: 3 },
  });
  assert.equal(exports.m.grow(1), 1);
  assert.throws(() => exports.m.grow(1), RangeError);
  assert.equal(exports.t.grow(2), 1);
  assert.throws(() => exports.t.grow(1), RangeError);
  for (const wat of [`(module (memory 3))`, `(module (table 4 funcref))`]) {
    const bytes = await assemble(wat);
    assert.throws(
      () => meter(bytes, { memoryPagesMax: 2, tableElementsMax: 3 }),
      (e) => e instanceof RealmError && e.code === "memory-limit",
    );
  }
});

Deno.test("meter() renumbers functions and globals wherever they are named", async () => {
  const other = await WebAssembly.instantiate(
    await assemble(`(module (func (export "r") (result i32) (i32.const 9)))`),
  );
  const { exports } = await run(
    `(module
    (type $i (func (result i32)))
    (import "env" "f" (func $imported (result i32)))
    (import "env" "g" (global $base i32))
    (import "env" "r" (global $fromEnv funcref))
    (global $own (mut i32) (i32.add (global.get $base) (i32.const 1)))
    (global $ref funcref (ref.func $seven))
    (table 4 funcref)
    (table $init 1 funcref (ref.func $seven))
    (elem (i32.const 0) func $seven $imported)
    (elem (i32.const 2) funcref (ref.func $seven) (global.get $fromEnv))
    (func $seven (result i32) (i32.const 7))
    (func $start (global.set $own (i32.add (global.get $own) (call $imported))))
    (start $start)
    (func (export "table") (param i32) (result i32) (call_indirect (type $i) (local.get 0)))
    (func (export "init") (result i32) (call_indirect $init (type $i) (i32.const 0)))
    (func (export "refFunc") (result funcref) (ref.func $seven))
    (export "own" (global $own)) (export "ref" (global $ref)) (export "seven" (func $seven)))`,
    { imports: { env: { f: () => 30, g: 4, r: other.instance.exports.r! } } },
  );
  assert.equal(exports.own.value, 35);
  assert.deepEqual([0, 1, 2, 3].map((i) => exports.table(i)), [7, 30, 7, 9]);
  assert.equal(exports.init(), 7);
  assert.equal(exports.ref.value, exports.seven);
  assert.equal(exports.refFunc(), exports.seven);
});

Deno.test("meter() charges nothing for code that an exception went past", async () => {
  const { host, exports } = await run(`(module (tag $t)
    (func $thrower (if (global.get $throws) (then (throw $t))))
    (global $throws (export "throws") (mut i32) (i32.const 1))
    (func $between (call $thrower) ${"(drop (i32.const 0)) ".repeat(50)})
    (func (export "f") try call $between ${"i32.const 0 drop ".repeat(20)} catch_all end))`);
  // Two calls, the condition and its if, the throw.
  assert.equal(unitsOf(host, () => exports.f()), 2 + 2 + 1);
  exports.throws.value = 0;
  assert.equal(unitsOf(host, () => exports.f()), 2 + 2 + 100 + 40);
});

Deno.test("meter() keeps the names of functions in backtraces", async () => {
  const { exports } = await run(
    `(module (func $deepest unreachable) (func $caller (export "f") (call $deepest)))`,
  );
  assert.throws(() => exports.f(), (e: Error) => /deepest[^]*caller/.test(e.stack!));
});

Deno.test("meter() refuses what it does not support, and says where", async () => {
  const refused: [string, RegExp][] = [
    [`(module (memory 1 1 shared))`, /threads/],
    [`(module (memory i64 1))`, /64-bit/],
    [`(module (table i64 1 funcref))`, /64-bit/],
    [`(module (memory 1 (pagesize 1)))`, /page/],
    [`(module (type (struct)))`, /garbage-collected/],
    [`(module (func (drop (ref.i31 (i32.const 1)))))`, /garbage-collected.*/],
    [
      `(module (memory 1) (func nop nop (drop (i32.atomic.load (i32.const 0)))))`,
      /byte \d+ in function 0.*threads/,
    ],
    [`(module (import "realm" "fuel" (global i32)))`, /reserved/],
    [`(module (func (param anyref)))`, /garbage-collected/],
  ];
  for (const [wat, wanted] of refused) {
    const bytes = await assemble(wat);
    assert.throws(
      () => meter(bytes, OPTIONS),
      (e) => e instanceof RealmError && e.code === "unsupported" && wanted.test(e.message),
      wat,
    );
  }
});

/** A function of 700 locals, with loops that are left where loops inside have gone on with all of them. */
const CROWDED = `(func (param i32) (local ${"i32 ".repeat(700)})
  ${
  `(block $out (loop $find
    (if (local.get 0) (then
      ${
    `(loop $go (br_if $out (local.get 699))
        (br_if $go (local.tee 699 (i32.const 0))))`.repeat(6)
  }
      (br $out)))
    (br_if $find (local.get 0))))`.repeat(20)
})`;

Deno.test("meter() makes no module much larger for loops that go on with many locals", async () => {
  const bytes = await assemble(`(module ${CROWDED.repeat(10)})`);
  const metered = meter(bytes, OPTIONS).bytes;
  assert.ok(WebAssembly.validate(metered));
  assert.ok(metered.length < 20 * bytes.length, `${metered.length} of ${bytes.length}`);
});

/** Sixty times as large when loops are copied: in three loops, each of which goes on in a function of its own. */
const BRANCHY = (() => {
  const ways = "(br_if $out (local.get 0))".repeat(20);
  const short = `(loop $l ${ways} (br_if $l (local.get 0)))`;
  const around = (inside: string) =>
    ["$a", "$b", "$c"].reduce(
      (code, l) => `(loop ${l} ${code} (br_if ${l} (local.get 0)))`,
      inside,
    );
  return `(func (param i32) (block $out ${around(short.repeat(100))}))`;
})();

/** What is found is searched in turn: short loops in one another. */
const SEARCH = `(func (param $n i32) (result i32) (local $i i32) (local $j i32)
  (block $out (loop $find
    (if (i32.eq (local.get $i) (local.get $n)) (then
      (loop $more (br_if $more (i32.lt_u
        (local.tee $j (i32.add (local.get $j) (i32.const 1))) (local.get $n))))
      (br $out)))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br_if $find (i32.le_u (local.get $i) (local.get $n)))))
  (i32.add (local.get $i) (local.get $j)))`;

Deno.test("meter() copies no loops where a module would become more than eight times as large", async () => {
  // As one function, as many, and beside others.
  for (const functions of [BRANCHY, BRANCHY.repeat(20), SEARCH.repeat(2000), CROWDED + BRANCHY]) {
    const bytes = await assemble(`(module ${functions})`);
    const metered = meter(bytes, OPTIONS).bytes;
    assert.ok(WebAssembly.validate(metered));
    // Beside the code are types, names, and where branches are unlikely.
    const most = 10 * bytes.length + 20_000;
    assert.ok(metered.length < most, `${metered.length} of ${bytes.length}`);
    const all = meter(bytes, { ...OPTIONS, copyingBytesMax: Infinity }).bytes;
    assert.ok(
      all.length > 1.5 * metered.length,
      `${all.length}, ${metered.length} of ${bytes.length}`,
    );
  }
});

Deno.test("meter() adds no more functions for loops than engines take", async () => {
  const loops = `(func (param i32) ${"(loop (br_if 0 (local.get 0)))".repeat(300)})`;
  const empty = "(func)".repeat(50);
  const bytes = await assemble(`(module ${empty} ${loops.repeat(40)})`);
  // As many empty functions more as may be: there are sections of types, of functions, and of code.
  const m = decodeModule(bytes);
  const more = 999_000 - m.functions.length;
  const out = new Writer(8).copy(bytes, 0, 8);
  const items: readonly [number, readonly number[]][] = [[1, []], [3, [0]], [10, [2, 0, OP.END]]];
  for (const [id, item] of items) {
    const { start, end } = m.sections.get(id)!;
    const r = new Reader(bytes, start, end);
    const content = new Writer().u32(r.u32() + (item.length > 0 ? more : 0));
    for (let i = 0; item.length > 0 && i < more; i++) content.u8(...item);
    out.u8(id).appendSized(content.copy(bytes, r.at, end));
  }
  const many = out.bytes();
  assert.ok(WebAssembly.validate(many));
  assert.ok(WebAssembly.validate(meter(many, OPTIONS).bytes));
});

Deno.test("meter() takes the same fuel and stack, however many loops are copied", async () => {
  // Calls itself at every round of a loop, until the stack is used up.
  const wat = `(module (global $depth (export "depth") (mut i32) (i32.const 0)) ${
    SEARCH.replace("(func", '(func (export "search")')
  } (func $fall (export "fall") (param i32) (local i64 i64)
    (loop (global.set $depth (i32.add (global.get $depth) (i32.const 1)))
      (loop (local.set 1 (i64.add (local.get 1) (i64.const 1)))
        (br_if 0 (i64.lt_u (local.get 1) (i64.const 9))))
      (call $fall (local.get 0)) (br_if 0 (local.get 0)))))`;
  const sizes = new Set<number>();
  const seen = async (slice: number, copyingBytesMax: number) => {
    const host = new TestHost(slice);
    const options = { ...OPTIONS, copyingBytesMax };
    const { metered, exports } = await run(wat, { host, options });
    sizes.add(metered.bytes.length);
    const searched = [0, 1, 5, 30, 1000].map((n) => [exports.search(n), host.used]);
    assert.throws(() => exports.fall(1), WebAssembly.RuntimeError);
    return { searched, depth: exports.depth.value };
  };
  const wanted = await seen(1_000_000_000, Infinity);
  assert.ok(wanted.depth > 500, `${wanted.depth}`);
  for (const slice of [1, 50, 1_000_000_000]) {
    for (const copyingBytesMax of [-Infinity, 600, 1200, 2000, Infinity]) {
      assert.deepEqual(await seen(slice, copyingBytesMax), wanted, `${slice} ${copyingBytesMax}`);
    }
  }
  assert.ok(sizes.size >= 3, `${[...sizes]}`);
});

Deno.test("meter() refuses a module whose code is larger than is allowed when it is metered", async () => {
  const bytes = await assemble(`(module ${SEARCH.repeat(100)})`);
  const { length } = meter(bytes, { ...OPTIONS, copyingBytesMax: 0 }).bytes;
  meter(bytes, { ...OPTIONS, copyingBytesMax: 0, bytesMax: length });
  assert.throws(
    () => meter(bytes, { ...OPTIONS, copyingBytesMax: 0, bytesMax: 5000 }),
    (e) =>
      e instanceof RealmError && e.code === "unsupported" &&
      new RegExp(
        `module of ${bytes.length} bytes .* [0-9]+ bytes and more when metered, at most 5000 `,
      )
        .test(e.message),
  );
});

Deno.test("meter() refuses legacy and standard exception handling in one module", async () => {
  const legacy = "(func try catch_all end)";
  const standard = [
    "(func (block (try_table (catch_all 0))))",
    "(func (param i32) unreachable throw_ref)",
    "(func (local exnref))",
    "(func (drop (ref.null exn)))",
    "(func (drop (block (result exnref) unreachable)))",
  ];
  meter(await assemble(`(module ${legacy} ${legacy})`), OPTIONS);
  for (const one of standard) {
    meter(await assemble(`(module ${one})`), OPTIONS);
    for (const both of [legacy + one, one + legacy]) {
      const bytes = await assemble(`(module ${both})`);
      assert.throws(() => meter(bytes, OPTIONS), /legacy and standard/, both);
    }
  }
});
