import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import fc from "fast-check";
import { leafHash, MerkleTree, verifyConsistency, verifyInclusion } from "./tree.ts";

/** The leaves and roots of Certificate Transparency's own tests (`merkle_tree_test.cc`). */
const LEAVES = [
  "",
  "00",
  "10",
  "2021",
  "3031",
  "40414243",
  "5051525354555657",
  "606162636465666768696a6b6c6d6e6f",
].map((hex) => Uint8Array.fromHex(hex));
const EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const ROOTS = [
  "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
  "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
  "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
  "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
  "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
  "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
  "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
  "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];
/** `[index, size, path]`, as there, indexes from 0. */
const PATHS: readonly [number, number, readonly string[]][] = [
  [0, 1, []],
  [0, 8, [
    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
  ]],
  [5, 8, [
    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
  ]],
  [2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]],
  [1, 5, [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
  ]],
];
/** `[from, to, proof]`. */
const PROOFS: readonly [number, number, readonly string[]][] = [
  [1, 1, []],
  [1, 8, [
    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
  ]],
  [6, 8, [
    "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
  ]],
  [2, 5, [
    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
  ]],
];
const hex = (hashes: readonly Uint8Array[]) => hashes.map((hash) => hash.toHex());

Deno.test("MerkleTree has the roots and proofs of Certificate Transparency's vectors", () => {
  const tree = new MerkleTree();
  assert.equal(tree.root().toHex(), EMPTY);
  for (const [i, leaf] of LEAVES.entries()) {
    tree.append(leaf);
    assert.equal(tree.root().toHex(), ROOTS[i]);
  }
  assert.deepEqual(ROOTS.map((_, i) => tree.root(i + 1).toHex()), ROOTS, "those before too");
  for (const [index, size, path] of PATHS) {
    assert.deepEqual(hex(tree.inclusionProof(index, size)), path);
  }
  for (const [from, to, proof] of PROOFS) {
    assert.deepEqual(hex(tree.consistencyProof(from, to)), proof);
  }
});

Deno.test("MerkleTree takes the hash that the RFC defines, leaf by leaf", () => {
  /** MTH of section 2.1, as written. */
  const hashOf = (leaves: readonly Uint8Array[]): string => {
    if (leaves.length === 1) return leafHash(leaves[0]!).toHex();
    let split = 1;
    while (split * 2 < leaves.length) split *= 2;
    const both = hashOf(leaves.slice(0, split)) + hashOf(leaves.slice(split));
    return sha256Hex(Uint8Array.fromHex("01" + both));
  };
  const leaves = Array.from({ length: 40 }, (_, i) => Uint8Array.of(i));
  for (let size = 1; size <= leaves.length; size++) {
    assert.equal(new MerkleTree(leaves).root(size).toHex(), hashOf(leaves.slice(0, size)));
  }
});

const sizes = fc.integer({ min: 1, max: 70 }).chain((size) =>
  fc.record({
    size: fc.constant(size),
    part: fc.integer({ min: 0, max: size }),
    index: fc.integer({ min: 0, max: size - 1 }),
  })
);
const treeOf = (size: number, but = -1) =>
  new MerkleTree(Array.from({ length: size }, (_, i) => Uint8Array.of(i, i === but ? 1 : 0)));

Deno.test("proofs show what is so, and nothing else", () => {
  fc.assert(
    fc.property(sizes, fc.nat(), fc.nat(255), ({ size, part, index }, at, flip) => {
      const tree = treeOf(size);
      const root = tree.root();
      const proof = tree.inclusionProof(index);
      const leaf = Uint8Array.of(index, 0);
      const included = { leaf, index, size, root, proof };
      assert.ok(verifyInclusion(included));
      assert.ok(!verifyInclusion({ ...included, leaf: Uint8Array.of(index, 1) }));
      if (size > 1) assert.ok(!verifyInclusion({ ...included, index: (index + 1) % size }));
      assert.ok(!verifyInclusion({ ...included, proof: [...proof, root] }));
      assert.ok(!verifyInclusion({ ...included, proof: proof.slice(1) }) || size === 1);

      const from = { size: part, root: tree.root(part) };
      const to = { size, root };
      const steps = tree.consistencyProof(part);
      assert.ok(verifyConsistency({ from, to, proof: steps }));
      assert.ok(!verifyConsistency({ from, to, proof: [...steps, root] }));
      if (steps.length > 0) {
        const changed = steps.map((hash) => hash.slice());
        const hash = changed[at % changed.length]!;
        hash[at % 32]! ^= flip || 1;
        assert.ok(!verifyConsistency({ from, to, proof: changed }));
      }
      if (part > 0) {
        // Another past than the one that was signed before.
        const other = treeOf(part, index % part).root();
        assert.ok(!verifyConsistency({ from: { size: part, root: other }, to, proof: steps }));
      }
      if (part < size) assert.ok(!verifyConsistency({ from: to, to: from, proof: steps }));
    }),
  );
});

function sha256Hex(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
