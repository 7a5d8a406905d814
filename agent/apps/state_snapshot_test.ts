import assert from "node:assert/strict";
import fc from "fast-check";
import { encodeCanonical } from "../kernel/canonical.ts";
import { RealmError } from "../kernel/error.ts";
import {
  CHUNK_BYTES,
  CHUNK_ENCODED_BYTES_MAX,
  snapshotForm,
  SnapshotReader,
} from "./state_snapshot.ts";
import { State, STATE_VALUE_BYTES_MAX } from "./state.ts";

const ABI = 1;

function stateOf(entries: Iterable<readonly [string, Uint8Array]>, from = State.EMPTY): State {
  const journal = from.journal();
  for (const [key, value] of entries) journal.put(new TextEncoder().encode(key), value);
  return journal.commit();
}

function numbered(count: number, bytes: number): State {
  return stateOf(
    Array.from({ length: count }, (_, i) => [`key ${i}`, new Uint8Array(bytes).fill(i)]),
  );
}

function corrupt(act: () => unknown, why: RegExp): void {
  assert.throws(act, (error: unknown) => {
    assert.ok(error instanceof RealmError, String(error));
    assert.match(error.message, why);
    return error.code === "corrupt";
  });
}

function read(state: State): State {
  const { index, chunks } = snapshotForm(state, ABI);
  const reader = new SnapshotReader(index, ABI, state.digest(ABI));
  assert.deepEqual([...reader.missing].sort(), [...chunks.keys()].sort());
  for (const [name, chunk] of [...chunks].reverse()) assert.equal(reader.take(chunk()), name);
  assert.deepEqual(reader.missing, []);
  return reader.state();
}

Deno.test("a state comes back from its form, and goes on as it would", () => {
  const ENTRY = fc.tuple(
    fc.string({ maxLength: 20 }),
    fc.oneof(fc.nat(100), fc.nat(30_000)).map((n) => new Uint8Array(n).fill(n)),
  );
  fc.assert(
    fc.property(
      fc.array(ENTRY, { maxLength: 60 }),
      fc.array(ENTRY, { maxLength: 5 }),
      (some, more) => {
        const state = stateOf(some);
        const again = read(state);
        assert.deepEqual([again.size, again.bytes], [state.size, state.bytes]);
        assert.deepEqual(again.digest(ABI), state.digest(ABI));
        const scan = (of: State) => of.scan(new Uint8Array(), new Uint8Array(), 1000);
        assert.deepEqual(scan(again), scan(state));
        // The order in which a state came about leaves no trace in its form.
        const { index, chunks } = snapshotForm(state, ABI);
        const reordered = snapshotForm(stateOf(new Map(some.toReversed().concat(some))), ABI);
        assert.deepEqual(reordered.index, index);
        assert.deepEqual([...reordered.chunks.keys()], [...chunks.keys()]);
        assert.deepEqual(stateOf(more, again).digest(ABI), stateOf(more, state).digest(ABI));
      },
    ),
    { numRuns: Deno.env.get("SLOW") ? 1000 : 60 },
  );
});

Deno.test("chunks have the size that they may, and those of what did not change stay", () => {
  const state = numbered(5000, 200);
  const { index, chunks } = snapshotForm(state, ABI);
  const sizes = [...chunks.values()].map((chunk) => chunk().length);
  assert.ok(Math.max(...sizes) <= CHUNK_ENCODED_BYTES_MAX);
  assert.ok(chunks.size < 2 * state.bytes / CHUNK_BYTES + 8, `${chunks.size} chunks`);
  assert.ok(index.length < 40 * chunks.size + 32);
  const next = snapshotForm(stateOf([["key 7", new Uint8Array(3)]], state), ABI);
  const fresh = [...next.chunks.keys()].filter((name) => !chunks.has(name));
  assert.equal(fresh.length, 1);
  assert.equal(read(numbered(3, STATE_VALUE_BYTES_MAX)).size, 3);
  assert.equal(read(State.EMPTY).size, 0);
});

Deno.test("nothing but the state of the digest is taken", () => {
  const state = numbered(900, 200);
  const other = numbered(901, 200);
  const { index, chunks } = snapshotForm(state, ABI);
  const digest = state.digest(ABI);
  corrupt(() => new SnapshotReader(index, ABI, other.digest(ABI)), /another digest/);
  corrupt(() => new SnapshotReader(index, 2, digest), /abi is 1/);
  corrupt(
    () => new SnapshotReader(encodeCanonical({ v: 1, abi: ABI }), ABI, digest),
    /another form/,
  );
  corrupt(() => new SnapshotReader(encodeCanonical(null), ABI, digest), /another form/);
  const tree = (bytes: number[]) =>
    encodeCanonical({ v: 1, abi: ABI, tree: Uint8Array.from(bytes) });
  for (const bytes of [[1], [1, 0], [1, 5, 1, 5, 0], [2, 0], [0, 1, 2], Array(40).fill(0)]) {
    corrupt(() => new SnapshotReader(tree(bytes), ABI, digest), /index/);
  }
  const reader = () => new SnapshotReader(index, ABI, digest);
  const [first, second] = [...chunks.values()].map((chunk) => chunk());
  corrupt(() => reader().take(encodeCanonical([])), /no list/);
  corrupt(() => reader().take(encodeCanonical([new Uint8Array(), 3])), /no bytes/);
  corrupt(() => reader().take(new Uint8Array(CHUNK_ENCODED_BYTES_MAX + 1)), /bytes/);
  const changed = first!.slice();
  changed[changed.length - 1]! ^= 1;
  corrupt(() => reader().take(changed), /not of this state/);
  const foreign = [...snapshotForm(other, ABI).chunks].find(([name]) => !chunks.has(name))!;
  corrupt(() => reader().take(foreign[1]()), /not of this state/);
  const twice = encodeCanonical([1, 2, 1, 2].map((n) => new Uint8Array(n % 2)));
  corrupt(() => reader().take(twice), /not in order/);
  const half = reader();
  half.take(second!);
  assert.ok(half.missing.length > 0);
  assert.throws(() => half.state(), /missing/);
});

Deno.test("a state that is cut in another way is not taken", () => {
  const state = numbered(2, 10);
  // Two chunks where there is one: the digest is the same.
  const [a, b] = ["key 0", "key 1"].map((key) =>
    stateOf([[key, new Uint8Array(10).fill(+key.at(-1)!)]])
  );
  const name = (of: State) => [...snapshotForm(of, ABI).chunks.keys()][0]!;
  const sides = [a!, b!].map((of) => Uint8Array.fromHex(name(of)));
  const { bit, zero } = state.tree as { bit: number; zero: { key: string } };
  if (zero.key === "key 1") sides.reverse();
  const index = encodeCanonical({
    v: 1,
    abi: ABI,
    tree: Uint8Array.of(1, bit, 0, ...sides[0]!, 0, ...sides[1]!),
  });
  const reader = new SnapshotReader(index, ABI, state.digest(ABI));
  for (const half of [a!, b!]) reader.take([...snapshotForm(half, ABI).chunks.values()][0]!());
  corrupt(() => reader.state(), /cut in another way/);
});
