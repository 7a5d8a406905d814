import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import { RealmError } from "../kernel/error.ts";
import { State } from "./state.ts";
import { answerDrift, DriftSearch, leafOf, pathOf, type Tree, withLeaf } from "./state_digest.ts";

const ABI = 1;
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
const bytes = (text: string) => Buffer.from(text, "latin1");

function stateOf(entries: Iterable<readonly [string, string]>, from = State.EMPTY): State {
  const journal = from.journal();
  for (const [key, value] of entries) journal.put(bytes(key), bytes(value));
  return journal.commit();
}

/** Runs a search to its end; the number of questions and what was found. */
function search(ours: State, theirs: State) {
  const drift = new DriftSearch(ours.tree, ABI, theirs.digest(ABI));
  let rounds = 0;
  for (let next = drift.question; next !== undefined; next = drift.question) {
    rounds++;
    drift.answer(answerDrift(theirs.tree, next));
  }
  return { rounds, drift: drift.found! };
}

const MAP = fc.array(fc.tuple(fc.string({ maxLength: 3 }), fc.string({ maxLength: 3 })), {
  maxLength: 30,
});

Deno.test("digest() is of the entries alone, however they came to be there", () => {
  fc.assert(
    fc.property(MAP, MAP, fc.nat(), (entries, others, at) => {
      const wanted = new Map(entries);
      // By other entries that are taken away again, in another order, over several commits.
      const turned = [...wanted].slice(at % 7).concat([...wanted].slice(0, at % 7)).reverse();
      let state = stateOf(others);
      for (const entry of turned) state = stateOf([entry], state);
      const journal = state.journal();
      for (const [key] of others) if (!wanted.has(key)) journal.delete(bytes(key));
      state = journal.commit();
      assert.equal(hex(state.digest(ABI)), hex(stateOf(wanted).digest(ABI)));
      assert.equal(state.size, wanted.size);
      assert.equal(state.bytes, stateOf(wanted).bytes);
    }),
    { numRuns: 100 },
  );
});

Deno.test("digest() is another one for other entries, and for another ABI", () => {
  fc.assert(fc.property(MAP, MAP, (a, b) => {
    const left = new Map(a), right = new Map(b);
    const isSame = left.size === right.size && [...left].every(([k, v]) => right.get(k) === v);
    assert.equal(hex(stateOf(left).digest(1)) === hex(stateOf(right).digest(1)), isSame);
    assert.notEqual(hex(stateOf(left).digest(1)), hex(stateOf(left).digest(2)));
  }));
});

Deno.test("digest() never changes: vectors", () => {
  assert.deepEqual(
    [[], [["k", "v"]], [["a", "1"], ["b", "2"], ["c", ""]]].map((entries) =>
      hex(stateOf(entries as [string, string][]).digest(1))
    ),
    [
      "a4f2d67bc20a81c2e6544541e1b9c2d7968ff7e5d1cc3f51e00fbda9cfd9537d",
      "8f03d08f8003f97564f68212d6eb4bdc9a6bc0e15d56d6ede37a384541a8006a",
      "c8e407ed9a57e1a72dba31b54982b9f7b75900d31e9b29ade49eeca5b39d4e7d",
    ],
  );
});

Deno.test("a search finds the first key that two states have not alike", () => {
  fc.assert(
    fc.property(MAP, MAP, MAP, (shared, a, b) => {
      const left = new Map([...shared, ...a]), right = new Map([...shared, ...b]);
      const keys = [...new Set([...left.keys(), ...right.keys()])]
        .filter((key) => left.get(key) !== right.get(key))
        .sort((x, y) => pathOf(x) < pathOf(y) ? -1 : 1);
      fc.pre(keys.length > 0);
      const { rounds, drift } = search(stateOf(left), stateOf(right));
      assert.equal(Buffer.from(drift.key).toString("latin1"), keys[0]);
      assert.equal(drift.ours === undefined, !left.has(keys[0]!));
      assert.equal(drift.theirs === undefined, !right.has(keys[0]!));
      assert.ok(rounds <= 20);
    }),
    { numRuns: 300 },
  );
});

Deno.test("a search among many keys takes few questions", () => {
  const many = Deno.env.get("SLOW") ? 1_000_000 : 5000;
  const state = stateOf(Array.from({ length: many }, (_, i) => [`key ${i}`, "value"] as const));
  const other = stateOf([["key 77", "other"]], state);
  const { rounds, drift } = search(state, other);
  assert.equal(Buffer.from(drift.key).toString(), "key 77");
  assert.ok(rounds <= 5, `${rounds} questions`);
});

Deno.test("a search refuses answers that are not true", () => {
  const ours = stateOf([["a", "1"], ["b", "2"]]);
  const theirs = stateOf([["a", "1"], ["b", "3"]]);
  const isRefused = (answers: (honest: Uint8Array, round: number) => Uint8Array) => {
    const drift = new DriftSearch(ours.tree, ABI, theirs.digest(ABI));
    assert.throws(
      () => {
        for (let round = 0; drift.question !== undefined; round++) {
          drift.answer(answers(answerDrift(theirs.tree, drift.question), round));
        }
      },
      (error) => error instanceof RealmError && error.code === "corrupt",
    );
  };
  isRefused((honest) => honest.subarray(1));
  isRefused(() => answerDrift(ours.tree, { kind: "slots", prefix: new Uint8Array(32), bits: 0 }));
  for (let round = 0; round < 2; round++) {
    isRefused((honest, at) => at === round ? honest.map((b, i) => i === 5 ? b ^ 1 : b) : honest);
    isRefused((honest, at) => at === round ? new Uint8Array(honest.length) : honest);
  }
  // Every kind turned into another one.
  isRefused((honest) => honest.length > 1000 ? honest.map((b, i) => i % 33 ? b : b && 3) : honest);
  isRefused((honest) => honest.length > 1000 ? honest.map((b, i) => i % 33 ? b : b && 2) : honest);
});

Deno.test("answerDrift() refuses questions about no place", () => {
  const { tree } = stateOf([["a", "1"], ["b", "2"]]);
  const prefix = new Uint8Array(32);
  for (
    const question of [
      { kind: "slots", prefix: new Uint8Array(31), bits: 0 },
      { kind: "slots", prefix, bits: 256 },
      { kind: "slots", prefix, bits: 3 },
      { kind: "slots", prefix, bits: -8 },
      { kind: "slots", prefix, bits: NaN },
      { kind: "entry", prefix, bits: 264 },
      { kind: "entry", prefix, bits: 0 },
    ] as const
  ) {
    assert.throws(() => answerDrift(tree, question), RealmError);
  }
});

Deno.test("a tree takes paths that agree in all but the last bit", () => {
  const path = (last: number) => "\x7f".repeat(31) + String.fromCharCode(last);
  let tree: Tree;
  for (let i = 0; i < 256; i++) tree = withLeaf(tree, leafOf(path(i), `${i}`, new Uint8Array(1)));
  let bits = 0;
  const prefix = new Uint8Array(32).fill(0x7f);
  // 31 answers with one slot each, then one with all.
  for (; bits < 248; bits += 8) {
    const answer = answerDrift(tree, { kind: "slots", prefix, bits });
    assert.deepEqual([...answer].flatMap((b, i) => i % 33 === 0 && b !== 0 ? [i / 33] : []), [127]);
  }
  const answer = answerDrift(tree, { kind: "slots", prefix, bits });
  assert.ok(answer.every((b, i) => i % 33 !== 0 || b === 1));
});
