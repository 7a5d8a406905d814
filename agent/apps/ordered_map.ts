/**
 * A map in the order of its keys that never changes: putting and deleting make another one, which
 * shares with the first all but a path of about `log2(size)` nodes. So a copy costs nothing, and
 * what nobody holds any more is collected.
 *
 * It is an AVL tree: its height is at most 1.44 times the least possible, whatever the keys.
 *
 * @module
 */

/** A map; `undefined` is the empty one. Keys are compared as strings. */
export type OrderedMap<Value> = Branch<Value> | undefined;

/** A node of a map. */
export interface Branch<Value> {
  readonly key: string;
  readonly value: Value;
  readonly left: OrderedMap<Value>;
  readonly right: OrderedMap<Value>;
  readonly height: number;
}

/** The value of a key. */
export function valueOf<Value>(map: OrderedMap<Value>, key: string): Value | undefined {
  while (map !== undefined && map.key !== key) map = key < map.key ? map.left : map.right;
  return map?.value;
}

/** The map with a key set. */
export function withEntry<Value>(
  map: OrderedMap<Value>,
  key: string,
  value: Value,
): Branch<Value> {
  if (map === undefined) return branch(key, value, undefined, undefined);
  const { left, right, height } = map;
  if (key === map.key) return { key: map.key, value, left, right, height };
  if (key < map.key) {
    const side = withEntry(left, key, value);
    return side.height === heightOf(left)
      ? { key: map.key, value: map.value, left: side, right, height }
      : balanced(map.key, map.value, side, right);
  }
  const side = withEntry(right, key, value);
  return side.height === heightOf(right)
    ? { key: map.key, value: map.value, left, right: side, height }
    : balanced(map.key, map.value, left, side);
}

/** The map without a key; the same one where the key is not there. */
export function withoutEntry<Value>(map: OrderedMap<Value>, key: string): OrderedMap<Value> {
  if (map === undefined) return undefined;
  const { left, right } = map;
  if (key < map.key) {
    const rest = withoutEntry(left, key);
    return rest === left ? map : balanced(map.key, map.value, rest, right);
  }
  if (key > map.key) {
    const rest = withoutEntry(right, key);
    return rest === right ? map : balanced(map.key, map.value, left, rest);
  }
  if (left === undefined) return right;
  if (right === undefined) return left;
  let first = right;
  while (first.left !== undefined) first = first.left;
  return balanced(first.key, first.value, left, withoutEntry(right, first.key));
}

/** The map of entries whose keys ascend. */
export function mapOf<Value>(
  entries: readonly (readonly [string, Value])[],
  from = 0,
  to = entries.length,
): OrderedMap<Value> {
  if (from === to) return undefined;
  const middle = (from + to) >> 1;
  const [key, value] = entries[middle]!;
  return branch(key, value, mapOf(entries, from, middle), mapOf(entries, middle + 1, to));
}

/** The entries from the key `start` on, in order. */
export function* entriesFrom<Value>(
  map: OrderedMap<Value>,
  start = "",
): Generator<Branch<Value>, void> {
  const open: Branch<Value>[] = [];
  const descend = (node: OrderedMap<Value>) => {
    while (node !== undefined) {
      if (node.key < start) node = node.right;
      else {
        open.push(node);
        node = node.left;
      }
    }
  };
  descend(map);
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    yield next;
    descend(next.right);
  }
}

function heightOf(map: OrderedMap<unknown>): number {
  return map === undefined ? 0 : map.height;
}

function branch<Value>(
  key: string,
  value: Value,
  left: OrderedMap<Value>,
  right: OrderedMap<Value>,
): Branch<Value> {
  return { key, value, left, right, height: 1 + Math.max(heightOf(left), heightOf(right)) };
}

/** A branch whose sides differ in height by two at most, made to differ by one. */
function balanced<Value>(
  key: string,
  value: Value,
  left: OrderedMap<Value>,
  right: OrderedMap<Value>,
): Branch<Value> {
  const lean = heightOf(left) - heightOf(right);
  if (lean > 1) {
    const { left: outer, right: inner } = left!;
    if (heightOf(outer) >= heightOf(inner)) {
      return branch(left!.key, left!.value, outer, branch(key, value, inner, right));
    }
    return branch(
      inner!.key,
      inner!.value,
      branch(left!.key, left!.value, outer, inner!.left),
      branch(key, value, inner!.right, right),
    );
  }
  if (lean < -1) {
    const { left: inner, right: outer } = right!;
    if (heightOf(outer) >= heightOf(inner)) {
      return branch(right!.key, right!.value, branch(key, value, left, inner), outer);
    }
    return branch(
      inner!.key,
      inner!.value,
      branch(key, value, left, inner!.left),
      branch(right!.key, right!.value, inner!.right, outer),
    );
  }
  return branch(key, value, left, right);
}
