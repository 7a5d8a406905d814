/**
 * An append-only Merkle tree with the hashes of RFC 6962, section 2.1, and its two proofs: that a
 * leaf is in a tree, and that a tree begins with all of an earlier one.
 *
 * A leaf is any bytes, hashes are SHA-256. `size` counts leaves, `index` begins at 0. Verification
 * is that of RFC 9162, sections 2.1.3.2 and 2.1.4.2: a proof of the wrong length is none.
 *
 * @module
 */
import { bytesEqual } from "../kernel/key.ts";
import { sha256 } from "../kernel/sha256_sync.ts";

type Hash = Uint8Array;

/** The hash of one leaf. */
export function leafHash(leaf: Uint8Array): Hash {
  return prefixed(0, leaf);
}

/** See the module. It only grows, so all the trees that it was before are in it. */
export class MerkleTree {
  /** By height, the hashes of the whole subtrees of that height, from the left. */
  readonly #levels: Hash[][] = [[]];

  constructor(leaves: Iterable<Uint8Array> = []) {
    for (const leaf of leaves) this.append(leaf);
  }

  get size(): number {
    return this.#levels[0]!.length;
  }

  append(leaf: Uint8Array): void {
    let hash = leafHash(leaf);
    for (let height = 0;; height++) {
      const level = this.#levels[height] ??= [];
      level.push(hash);
      if (level.length % 2 === 1) return;
      hash = nodeHash(level.at(-2)!, hash);
    }
  }

  /** The root of the tree as it was with `size` leaves. */
  root(size = this.size): Hash {
    return size === 0 ? sha256(new Uint8Array()) : this.#hash(0, size);
  }

  /** PATH(index, D[size]). */
  inclusionProof(index: number, size = this.size): Hash[] {
    return this.#path(index, 0, size);
  }

  /** PROOF(from, D[size]). */
  consistencyProof(from: number, size = this.size): Hash[] {
    return from === 0 ? [] : this.#subproof(from, 0, size, true);
  }

  /** MTH(D[start:end]). */
  #hash(start: number, end: number): Hash {
    const height = Math.log2(end - start);
    if (Number.isInteger(height)) return this.#levels[height]![start / (end - start)]!;
    const split = start + splitOf(end - start);
    return nodeHash(this.#hash(start, split), this.#hash(split, end));
  }

  #path(index: number, start: number, end: number): Hash[] {
    if (end - start <= 1) return [];
    const split = start + splitOf(end - start);
    return index < split
      ? [...this.#path(index, start, split), this.#hash(split, end)]
      : [...this.#path(index, split, end), this.#hash(start, split)];
  }

  #subproof(from: number, start: number, end: number, isWhole: boolean): Hash[] {
    if (from === end) return isWhole ? [] : [this.#hash(start, end)];
    const split = start + splitOf(end - start);
    return from <= split
      ? [...this.#subproof(from, start, split, isWhole), this.#hash(split, end)]
      : [...this.#subproof(from, split, end, false), this.#hash(start, split)];
  }
}

/** Whether `proof` shows that the leaf is the one at `index` of the tree with that root. */
export function verifyInclusion(
  { leaf, index, size, root, proof }: {
    readonly leaf: Uint8Array;
    readonly index: number;
    readonly size: number;
    readonly root: Hash;
    readonly proof: readonly Hash[];
  },
): boolean {
  if (!(index >= 0 && index < size)) return false;
  let [at, last, hash] = [index, size - 1, leafHash(leaf)];
  for (const other of proof) {
    if (last === 0) return false;
    if (at % 2 === 1 || at === last) {
      hash = nodeHash(other, hash);
      while (at % 2 === 0 && at > 0) [at, last] = [at / 2, Math.floor(last / 2)];
    } else hash = nodeHash(hash, other);
    [at, last] = [Math.floor(at / 2), Math.floor(last / 2)];
  }
  return last === 0 && bytesEqual(hash, root);
}

/** Whether `proof` shows that the tree `to` begins with all the leaves of `from`. */
export function verifyConsistency(
  { from, to, proof }: {
    readonly from: { readonly size: number; readonly root: Hash };
    readonly to: { readonly size: number; readonly root: Hash };
    readonly proof: readonly Hash[];
  },
): boolean {
  if (from.size > to.size) return false;
  if (from.size === to.size) return proof.length === 0 && bytesEqual(from.root, to.root);
  if (from.size === 0) return proof.length === 0 && bytesEqual(from.root, sha256(new Uint8Array()));
  const path = Number.isInteger(Math.log2(from.size)) ? [from.root, ...proof] : proof;
  let [at, last] = [from.size - 1, to.size - 1];
  while (at % 2 === 1) [at, last] = [(at - 1) / 2, Math.floor(last / 2)];
  if (path.length === 0) return false;
  let [before, after] = [path[0]!, path[0]!];
  for (const other of path.slice(1)) {
    if (last === 0) return false;
    if (at % 2 === 1 || at === last) {
      before = nodeHash(other, before);
      after = nodeHash(other, after);
      while (at % 2 === 0 && at > 0) [at, last] = [at / 2, Math.floor(last / 2)];
    } else after = nodeHash(after, other);
    [at, last] = [Math.floor(at / 2), Math.floor(last / 2)];
  }
  return last === 0 && bytesEqual(before, from.root) && bytesEqual(after, to.root);
}

/** The greatest power of two below `count`, which is above 1. */
function splitOf(count: number): number {
  return 2 ** Math.floor(Math.log2(count - 1));
}

function nodeHash(left: Hash, right: Hash): Hash {
  return prefixed(1, left, right);
}

function prefixed(prefix: number, ...parts: readonly Uint8Array[]): Hash {
  const bytes = new Uint8Array(1 + parts.reduce((sum, { length }) => sum + length, 0));
  bytes[0] = prefix;
  let at = 1;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return sha256(bytes);
}
