/**
 * For each of many chains, numbered from 0, how far along it something is: 0 for not at all.
 *
 * Persistent: what changes a vector returns another one, and both share all that is equal. A
 * thousand vectors that each differ from the one before in one place cost little more than one. A
 * vector is a tree of arrays of at most {@link WIDTH} entries; what lies past the end of an array
 * is 0.
 *
 * @see https://en.wikipedia.org/wiki/Version_vector
 * @module
 */

const BITS = 4;
const WIDTH = 1 << BITS;
const MASK = WIDTH - 1;

/** Numbers at depth 0, trees of one less depth above. */
type Tree = readonly (number | Tree)[];

/** See the module. */
export interface VersionVector {
  readonly depth: number;
  readonly root: Tree;
}

const NOTHING: Tree = [];

/** At the start of every chain. */
export const EMPTY_VECTOR: VersionVector = { depth: 0, root: NOTHING };

/** How far along `chain` the vector is. */
export function positionIn({ depth, root }: VersionVector, chain: number): number {
  if (chain >>> BITS * (depth + 1) !== 0) return 0;
  let tree = root;
  for (let d = depth; d > 0; d--) tree = (tree[chain >>> BITS * d & MASK] ?? NOTHING) as Tree;
  return (tree[chain & MASK] ?? 0) as number;
}

/** The vector with another position on one chain. */
export function withPosition(
  vector: VersionVector,
  chain: number,
  position: number,
): VersionVector {
  let depth = vector.depth;
  while (chain >>> BITS * (depth + 1) !== 0) depth++;
  return { depth, root: changed(raised(vector, depth), depth, chain, position) };
}

/** On every chain the greater position of the two. Returns one of them where it has them all. */
export function join(a: VersionVector, b: VersionVector): VersionVector {
  if (a.root === b.root) return a;
  const depth = Math.max(a.depth, b.depth);
  const rootA = raised(a, depth);
  const rootB = raised(b, depth);
  const root = joined(rootA, rootB, depth);
  if (root === rootA) return a;
  if (root === rootB) return b;
  return { depth, root };
}

/** On every chain the lesser position of the two. */
export function meet(a: VersionVector, b: VersionVector): VersionVector {
  if (a.root === b.root) return a;
  const depth = Math.min(a.depth, b.depth);
  return { depth, root: met(lowered(a, depth), lowered(b, depth), depth) };
}

/** Calls back with each chain on which two vectors may differ, and with those of all that do. */
export function changedChains(
  a: VersionVector,
  b: VersionVector,
  found: (chain: number) => void,
): void {
  const depth = Math.max(a.depth, b.depth);
  const visit = (x: Tree, y: Tree, d: number, first: number) => {
    if (x === y) return;
    const length = Math.max(x.length, y.length);
    for (let i = 0; i < length; i++) {
      const chain = first + i * 2 ** (BITS * d);
      if (d > 0) visit((x[i] ?? NOTHING) as Tree, (y[i] ?? NOTHING) as Tree, d - 1, chain);
      else if ((x[i] ?? 0) !== (y[i] ?? 0)) found(chain);
    }
  };
  visit(raised(a, depth), raised(b, depth), depth, 0);
}

/** The tree of the chains that a vector of less depth has. */
function lowered({ depth, root }: VersionVector, to: number): Tree {
  let tree = root;
  for (let d = depth; d > to; d--) tree = (tree[0] ?? NOTHING) as Tree;
  return tree;
}

function met(a: Tree, b: Tree, depth: number): Tree {
  if (a === b) return a;
  const both: (number | Tree)[] = [];
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    both.push(
      depth === 0
        ? Math.min(a[i] as number, b[i] as number)
        : met(a[i] as Tree, b[i] as Tree, depth - 1),
    );
  }
  while (both.at(-1) === (depth === 0 ? 0 : NOTHING)) both.pop();
  return both.length === 0 ? NOTHING : both;
}

function raised({ depth, root }: VersionVector, to: number): Tree {
  let tree = root;
  for (let d = depth; d < to && tree.length > 0; d++) tree = [tree];
  return tree;
}

function changed(tree: Tree, depth: number, chain: number, position: number): Tree {
  const slot = chain >>> BITS * depth & MASK;
  const copy = tree.slice();
  while (copy.length <= slot) copy.push(depth === 0 ? 0 : NOTHING);
  copy[slot] = depth === 0 ? position : changed(copy[slot] as Tree, depth - 1, chain, position);
  return copy;
}

function joined(a: Tree, b: Tree, depth: number): Tree {
  if (a === b) return a;
  const empty = depth === 0 ? 0 : NOTHING;
  const length = Math.max(a.length, b.length);
  let isA = a.length === length;
  let isB = b.length === length;
  const both: (number | Tree)[] = [];
  for (let i = 0; i < length; i++) {
    const x = a[i] ?? empty;
    const y = b[i] ?? empty;
    const one = depth === 0
      ? Math.max(x as number, y as number)
      : joined(x as Tree, y as Tree, depth - 1);
    both.push(one);
    isA &&= one === x;
    isB &&= one === y;
  }
  return isA ? a : isB ? b : both;
}
