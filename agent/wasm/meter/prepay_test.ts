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
