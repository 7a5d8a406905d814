import assert from "node:assert/strict";
import { assemble, OPTIONS, print, run, TestHost } from "./host_fake.ts";
import { meter } from "./meter.ts";

/** A loop of `n` rounds, with `inside` in each; its function gives the last $x. */
const loop = (inside: string) =>
  `(module (func (export "loop") (param $n i32) (param $x i32)
  (result i32) (local $i i32)
  (block $out (loop $head
    ${inside}
    (br_if $head (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n)))))
  (local.get $x)))`;
const BRANCHING = loop(`
  (br_if $out (i32.eq (local.get $i) (local.get $x)))
  (if (i32.and (local.get $i) (i32.const 1))
    (then (local.set $x (i32.add (local.get $x) (i32.const 5))))
    (else (local.set $x (i32.const 100))))
  (br_if $head (i32.eq (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 7)))`);

/** Units that the charges of the loop's function take, as they are written; below zero, give back. */
async function chargesOf(wat: string): Promise<number[]> {
  const text = await print(meter(await assemble(wat), OPTIONS).bytes);
  const own = text.split("\n  (func ").find((part) => /^\s+loop/m.test(part))!;
  return [...own.matchAll(/local\.get 3\s+i32\.const (-?\d+)\s+i32\.sub/g)].map((at) =>
    Number(at[1])
  );
}

Deno.test("a loop is charged at its head for all copies of its body, and gives back where it is left", async () => {
  // A round takes 7 units; what follows the loop is charged in front of it.
  assert.deepEqual(await chargesOf(loop("")), [4 * 7, -3 * 7, -2 * 7, -7]);
});

Deno.test("of two ways through a body the dearer one pays the difference", async () => {
  const charges = await chargesOf(BRANCHING);
  // One way from the condition is 2 units dearer than the other: of each copy, and nothing else is.
  assert.deepEqual(charges.filter((units) => units === 2), [2, 2, 2, 2]);
  assert.equal(charges.filter((units) => units > 0).length, 1 + 4);
});

Deno.test("the way past the branches of a body is paid at its head, one that is taken gets back what it spares", async () => {
  const charges = await chargesOf(loop(`
    (block $rest
      (br_if $rest (i32.eq (local.get $i) (local.get $x)))
      (local.set $x (i32.add (local.get $x) (i32.const 5))))`));
  // A round takes 4 units to the branch, 4 that it skips, and 7.
  assert.equal(charges[0], 4 * 15);
  assert.deepEqual(charges.filter((units) => units === -4), [-4, -4, -4, -4]);
  assert.deepEqual(charges.slice(1).filter((units) => units > 0), []);
});

/** Calls what sees the fuel, and a loop, where the loop is left; behind them `after`. */
const leaving = (after: string) =>
  `(module (import "" "see" (func $see)) (func (export "loop") (param $n i32) (param $x i32)
  (result i32) (local $i i32)
  (block $out (loop $head
    (if (i32.eq (local.get $i) (local.get $x)) (then
      (call $see)
      (loop $more
        (br_if $out (i32.eq (local.get $x) (i32.const 6)))
        (br_if $more (i32.and (local.tee $x (i32.add (local.get $x) (i32.const 1))) (i32.const 7))))
      ${after}))
    (br_if $out (i32.eq (local.get $i) (i32.const 77)))
    (br_if $head (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n)))))
  (local.get $x)))`;

Deno.test("a loop is unrolled when no way leads back to its head from where it calls or holds a loop", async () => {
  const copies = async (after: string) => {
    const text = await print(meter(await assemble(leaving(after)), OPTIONS).bytes);
    return text.split("i32.const 77\n").length - 1;
  };
  // As many again are in the function that the loop goes on in.
  assert.equal(await copies("(br $out)"), 2 * 4);
  assert.equal(await copies("(br_table $out $out (local.get $i))"), 2 * 4);
  assert.equal(await copies("(return (i32.const 1))"), 2 * 4);
  assert.equal(await copies("unreachable"), 2 * 4);
  assert.equal(await copies(""), 2);
  assert.equal(await copies("(br $head)"), 2);
  assert.equal(await copies("(br_if $head (local.get $n)) (br $out)"), 2);
  assert.equal(await copies("(br_table $out $head (local.get $n))"), 2);
  // Back past a branch that takes a value out, and by an arm that nothing is beside.
  assert.equal(await copies("(drop (br_if 3 (i32.const 1) (local.get $n)))"), 2);
  assert.equal(
    await copies("(block $on (if (local.get $n) (then (br $on))) (br $out))"),
    2,
  );
});

Deno.test("a loop in one that is unrolled is unrolled, too, while the function is not too small for it", async () => {
  /** How often the inner loop's body, and the outer's, is written in the function itself. */
  const copies = async (inside: string) => {
    const text = await print(
      meter(
        await assemble(`(module (func (param i32) (block $out (loop $find
      (if (local.get 0) (then
        (loop $hot ${inside} (br_if $hot (i32.const 33)))
        (br $out)))
      (br_if $find (i32.const 55))))))`),
        OPTIONS,
      ).bytes,
    );
    const [, own = ""] = text.split("\n  (func ");
    return [33, 55].map((n) => own.split(`i32.const ${n}\n`).length - 1);
  };
  assert.deepEqual(await copies(""), [16, 4]);
  assert.deepEqual(await copies("(drop (i32.const 1))".repeat(50)), [4, 1]);
  // So far inside that it is not unrolled itself.
  assert.deepEqual(await copies("(drop (i32.const 1))".repeat(200)), [1, 1]);
});

Deno.test("what is called where an unrolled loop is left sees the fuel as it is", async () => {
  const seen = async (slice: number) => {
    const host = new TestHost(slice);
    const units: number[] = [];
    const { exports } = await run(leaving("(br $out)"), {
      host,
      imports: { "": { see: () => units.push(host.used) } },
    });
    for (let x = 0; x < 12; x++) units.push(exports.loop(20, x), host.used);
    return units;
  };
  const whole = await seen(1_000_000);
  // The first round: 5 with the call, and the end of the function.
  assert.equal(whole[0], 6);
  // Behind the inner loop, which is unrolled, too, all is paid as before it: 20 rounds, and the end.
  const { host, exports } = await run(leaving("(br $out)"), { imports: { "": { see: () => {} } } });
  exports.loop(20, 99);
  assert.equal(host.used, 20 * 15 + 1);
  for (const slice of [1, 3, 10, 50]) assert.deepEqual(await seen(slice), whole);
});

Deno.test("what is paid ahead is seen neither by the host nor in what a loop costs, wherever slices end", async () => {
  const costs = async (slice: number) => {
    const seen: number[] = [];
    for (let n = 1; n < 40; n++) {
      const host = new TestHost(slice);
      const { exports } = await run(BRANCHING, { host });
      seen.push(exports.loop(n, n & 3 ? 1000 : n >> 1), host.used);
    }
    return seen;
  };
  const whole = await costs(1_000_000);
  for (const slice of [1, 3, 10, 50]) assert.deepEqual(await costs(slice), whole);
});

Deno.test("a guest that has all it needs, and no more, is not stopped for what it would pay ahead", async () => {
  const free = new TestHost();
  const { exports } = await run(BRANCHING, { host: free });
  const result = exports.loop(100, 1000);
  const bound = new TestHost(free.used, free.used);
  const { exports: same } = await run(BRANCHING, { host: bound });
  assert.equal(same.loop(100, 1000), result);
  assert.equal(bound.refuels, 0);
});
