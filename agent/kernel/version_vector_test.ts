import assert from "node:assert/strict";
import fc from "fast-check";
import {
  changedChains,
  EMPTY_VECTOR,
  join,
  meet,
  positionIn,
  type VersionVector,
  withPosition,
} from "./version_vector.ts";

/** Positions on chains, of which some are far apart. */
const chain = fc.oneof(fc.nat(20), fc.nat(300), fc.nat(100_000));
const positions = fc.array(fc.tuple(chain, fc.integer({ min: 1, max: 1_000 })), { maxLength: 30 });

function vectorOf(entries: readonly (readonly [number, number])[]): VersionVector {
  return entries.reduce((v, [c, p]) => withPosition(v, c, p), EMPTY_VECTOR);
}

Deno.test("withPosition(), join() and meet() do what maps do", () => {
  fc.assert(fc.property(positions, positions, (a, b) => {
    const [mapA, mapB] = [new Map(a), new Map(b)];
    const both = join(vectorOf(a), vectorOf(b));
    const common = meet(vectorOf(a), vectorOf(b));
    for (const c of [0, 15, 16, 255, 256, 99_999, ...mapA.keys(), ...mapB.keys()]) {
      assert.equal(positionIn(vectorOf(a), c), mapA.get(c) ?? 0);
      assert.equal(positionIn(both, c), Math.max(mapA.get(c) ?? 0, mapB.get(c) ?? 0));
      assert.equal(positionIn(common, c), Math.min(mapA.get(c) ?? 0, mapB.get(c) ?? 0));
    }
  }));
});

Deno.test("join() returns the one that has all of the other", () => {
  fc.assert(fc.property(positions, positions, (a, b) => {
    const both = join(vectorOf(a), vectorOf(b));
    assert.equal(join(both, vectorOf(a)), both);
    assert.equal(join(both, vectorOf(b)), both);
    assert.equal(join(both, both), both);
    assert.equal(join(EMPTY_VECTOR, both), both.root.length === 0 ? EMPTY_VECTOR : both);
  }));
});

Deno.test("changedChains() finds every chain that differs, and no others", () => {
  fc.assert(fc.property(positions, positions, (a, b) => {
    const [mapA, mapB] = [new Map(a), new Map([...a, ...b])];
    const found: number[] = [];
    changedChains(vectorOf(a), vectorOf([...a, ...b]), (c) => found.push(c));
    const differ = [...mapB].filter(([c, p]) => mapA.get(c) !== p).map(([c]) => c);
    assert.deepEqual(found.sort((x, y) => x - y), differ.sort((x, y) => x - y));
  }));
});

Deno.test("a changed vector leaves the one before as it was, and shares with it", () => {
  const before = vectorOf(Array.from({ length: 256 }, (_, i) => [i, 1] as const));
  const after = withPosition(before, 17, 2);
  assert.deepEqual([positionIn(before, 17), positionIn(after, 17)], [1, 2]);
  assert.equal(before.root[0], after.root[0]);
  assert.notEqual(before.root[1], after.root[1]);
});
