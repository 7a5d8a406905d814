import assert from "node:assert/strict";
import fc from "fast-check";
import { RealmError } from "../error.ts";
import type { Answer, AskedRange } from "./messages.ts";
import { RangeAsker, RangeResponder } from "./ranges.ts";
import { TaggedSet } from "./tagged_set.ts";

const KEY = [1, 2, 3, 4] as const;
const START = { lamport: 0, low: 0, high: 0 };
const END = { lamport: 1e9, low: 0, high: 0 };

/** Items of which number `n` is always the same. */
function set(numbers: Iterable<number>, lamportOf = (n: number) => n): TaggedSet {
  const items = Array.from(numbers, (n) => ({
    key: String.fromCharCode(n & 255, n >> 8 & 255, n >> 16).padEnd(32, "\0"),
    lamport: lamportOf(n),
  }));
  return new TaggedSet(items, KEY);
}

function names({ low, high }: { low: ArrayLike<number>; high: ArrayLike<number> }): string[] {
  return Array.from(low, (l, i) => `${l} ${high[i]}`).sort();
}

/** Finds the difference, and returns how many questions that took. */
function reconcile(ours: TaggedSet, theirs: TaggedSet) {
  const asker = new RangeAsker(ours, theirs.size), responder = new RangeResponder(theirs);
  let rounds = 0;
  for (let ranges = asker.next(); ranges !== undefined; ranges = asker.next()) {
    asker.take(responder.answer(ranges));
    rounds++;
  }
  return { asker, rounds };
}

function assertDifference(
  a: ReadonlySet<number>,
  b: ReadonlySet<number>,
  lamport?: (n: number) => number,
) {
  const ours = set(a, lamport), { asker, rounds } = reconcile(ours, set(b, lamport));
  assert.deepEqual(names(asker.theirs), names(set(b.difference(a))));
  const mine = {
    low: asker.ours.map((i) => ours.low[i]!),
    high: asker.ours.map((i) => ours.high[i]!),
  };
  assert.deepEqual(names(mine), names(set(a.difference(b))));
  assert.equal(asker.partial, false);
  return rounds;
}

function isRefused(error: unknown): boolean {
  return error instanceof RealmError && error.code === "refused";
}

Deno.test("RangeAsker: finds the difference of any two sets, also where lamports are equal", () => {
  const numbers = fc.array(fc.nat(600), { maxLength: 400 }).map((list) => new Set(list));
  fc.assert(
    fc.property(numbers, numbers, fc.integer({ min: 1, max: 100 }), (a, b, width) => {
      assertDifference(a, b, (n) => Math.floor(n / width));
    }),
    { numRuns: 60 },
  );
});

Deno.test("RangeAsker: few questions for a fork, for scattered differences and for nothing in common", () => {
  const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);
  const past = range(0, 5000);
  const fork = assertDifference(
    new Set([...past, ...range(10_000, 15_000)]),
    new Set([...past, ...range(20_000, 25_000)]),
    (n) => n < 5000 ? n : n % 10_000 + 5000,
  );
  const scattered = assertDifference(
    new Set(range(0, 9000).filter((n) => n % 3 !== 0)),
    new Set(range(0, 9000).filter((n) => n % 3 !== 1)),
  );
  const apart = assertDifference(new Set(range(0, 3000)), new Set(range(3000, 6000)));
  assert.ok(fork <= 4 && scattered <= 3 && apart <= 5, `${[fork, scattered, apart]}`);
});

Deno.test("RangeAsker: refuses answers that do not add up to what was said before", () => {
  const ours = set(Array.from({ length: 500 }, (_, i) => i));
  const theirs = set(Array.from({ length: 500 }, (_, i) => i + 250));
  const lies: Record<string, (answers: Answer[], asked: AskedRange[]) => Answer[]> = {
    "one answer too few": (answers) => answers.slice(1),
    "one answer too many": (answers) => [...answers, ...answers],
    "a list where parts were asked": () => [{ tags: theirs }],
    "no parts": () => [{ parts: [] }],
    "a part less": (answers) => [{ parts: partsOf(answers).slice(0, -1) }],
    "other counts": (answers) => [{
      parts: partsOf(answers).map((part) => ({ ...part, count: part.count + 1 })),
    }],
    "one part for all": (answers) => [{ parts: [{ ...partsOf(answers).at(-1)!, count: 500 }] }],
    "parts out of order": (answers) => {
      const [first, second, ...rest] = partsOf(answers);
      return [{ parts: [second!, first!, ...rest] }];
    },
  };
  for (const [name, lie] of Object.entries(lies)) {
    const asker = new RangeAsker(ours, theirs.size), asked = asker.next()!;
    const answers = new RangeResponder(theirs).answer(asked);
    assert.throws(() => asker.take(lie(answers, asked)), isRefused, name);
  }
});

Deno.test("RangeAsker: refuses a list of other events than the fingerprint was of", () => {
  const theirs = set(Array.from({ length: 500 }, (_, i) => i + 250));
  const asker = new RangeAsker(set([1, 2, 3]), theirs.size), responder = new RangeResponder(theirs);
  asker.take(responder.answer(asker.next()!));
  const answers = responder.answer(asker.next()!);
  const list = answers[0]!;
  assert.ok("tags" in list);
  const low = Uint32Array.from(list.tags.low);
  low[0]! ^= 1;
  assert.throws(
    () => asker.take([{ tags: { ...list.tags, low } }, ...answers.slice(1)]),
    isRefused,
  );
});

Deno.test("RangeAsker: stops at a bound of what it wants, and what it has then has its past", () => {
  const count = 300_000;
  const theirs = set(Array.from({ length: count }, (_, i) => i));
  const { asker } = reconcile(set([count + 1]), theirs);
  assert.equal(asker.partial, true);
  const wanted = asker.theirs.low.map((low, i) => theirs.find(low, asker.theirs.high[i]!));
  // Lamports are the numbers: the least of them, without a gap.
  assert.ok(wanted.length >= 131_072 && wanted.length < 200_000);
  assert.ok(wanted.every((i) => theirs.lamports[i]! < wanted.length));
});

Deno.test("RangeResponder: answers no more than an honest side asks", () => {
  const all = { from: START, to: END };
  const responder = () => new RangeResponder(set(Array.from({ length: 100 }, (_, i) => i)));
  assert.throws(() => responder().answer([]), isRefused);
  assert.throws(() => responder().answer([{ from: END, to: START, list: true }]), isRefused);
  const lists = responder();
  lists.answer([{ ...all, list: true }]);
  assert.throws(() => lists.answer([{ ...all, list: true }]), isRefused);
  const splits = responder();
  assert.throws(() => {
    for (let i = 0; i < 1000; i++) splits.answer([{ ...all, list: false }]);
  }, isRefused);
});

function partsOf(answers: readonly Answer[]) {
  const answer = answers[0]!;
  assert.ok("parts" in answer);
  return answer.parts;
}
