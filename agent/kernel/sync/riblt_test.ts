import assert from "node:assert/strict";
import fc from "fast-check";
import { RealmError } from "../error.ts";
import { Decoder, emptySymbols, Encoder, nextIndex, type Symbols } from "./riblt.ts";

/** A generator of 32-bit words (xorshift), seeded: the same tags in every run. */
function words(seed: number): () => number {
  let x = (seed * 2654435761 + 1) >>> 0;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return x >>>= 0;
  };
}

function tags(count: number, word: () => number): [Uint32Array, Uint32Array] {
  const low = new Uint32Array(count), high = new Uint32Array(count);
  for (let i = 0; i < count; i++) [low[i], high[i]] = [word(), word()];
  return [low, high];
}

/** Two sets, and how their difference is found, `step` symbols at a time. */
function reconcile(shared: number, theirs: number, ours: number, seed: number, step = 1) {
  const [low, high] = tags(shared + theirs + ours, words(seed));
  const without = (from: number, count: number) => (array: Uint32Array) =>
    array.filter((_, i) => i < from || i >= from + count);
  const [a, b] = [without(shared + theirs, ours), without(shared, theirs)];
  const encoder = new Encoder(a(low), a(high));
  const decoder = new Decoder(new Encoder(b(low), b(high)));
  while (!decoder.decoded && decoder.at < 60_000) {
    const symbols = emptySymbols(decoder.at, step);
    encoder.add(symbols, 1);
    decoder.add(symbols);
  }
  const names = (tags: { low: ArrayLike<number>; high: ArrayLike<number> }) =>
    Array.from(tags.low, (l, i) => `${l} ${tags.high[i]}`).sort();
  const slice = (from: number, count: number) =>
    names({ low: low.slice(from, from + count), high: high.slice(from, from + count) });
  return {
    decoder,
    found: { theirs: names(decoder.theirs), ours: names(decoder.ours) },
    wanted: { theirs: slice(shared, theirs), ours: slice(shared + theirs, ours) },
  };
}

Deno.test("Decoder: reads the difference of any two sets, however the symbols are batched", () => {
  const size = fc.nat(40);
  fc.assert(
    fc.property(
      size,
      size,
      size,
      fc.nat(),
      fc.integer({ min: 1, max: 50 }),
      (s, t, o, seed, step) => {
        const { found, wanted, decoder } = reconcile(s, t, o, seed, step);
        assert.ok(decoder.decoded);
        assert.deepEqual(found, wanted);
      },
    ),
  );
});

Deno.test("Decoder: needs some 1.4 symbols for each tag of the difference, not of the sets", () => {
  for (
    const [shared, each, ratioMax] of [[0, 50, 1.6], [3000, 50, 1.6], [0, 1000, 1.45]] as const
  ) {
    const runs = 8;
    let symbols = 0;
    for (let seed = 1; seed <= runs; seed++) {
      const { decoder, found } = reconcile(shared, each, each, seed, each >= 1000 ? 20 : 1);
      assert.equal(found.theirs.length + found.ours.length, 2 * each);
      symbols += decoder.at;
    }
    const ratio = symbols / runs / (2 * each);
    assert.ok(ratio > 1.2 && ratio < ratioMax, `${ratio} symbols for each tag`);
  }
});

Deno.test("Decoder.estimate: is near the size of the difference after the first 64 symbols", () => {
  for (const [theirs, ours] of [[500, 500], [1000, 0], [0, 1000], [900, 100]] as const) {
    let sum = 0;
    for (let seed = 1; seed <= 10; seed++) {
      const [low, high] = tags(2000 + theirs + ours, words(seed));
      const encoder = new Encoder(low.slice(0, 2000 + theirs), high.slice(0, 2000 + theirs));
      const keep = (_: number, i: number) => i < 2000 || i >= 2000 + theirs;
      const decoder = new Decoder(new Encoder(low.filter(keep), high.filter(keep)));
      const symbols = emptySymbols(0, 64);
      encoder.add(symbols, 1);
      decoder.add(symbols);
      sum += decoder.estimate;
    }
    const ratio = sum / 10 / 1000;
    assert.ok(ratio > 0.8 && ratio < 1.3, `${theirs} and ${ours}: ${ratio}`);
  }
});

Deno.test("nextIndex() is the least index that the definition allows", () => {
  const index = fc.integer({ min: 0, max: 65_535 });
  fc.assert(
    fc.property(index, fc.integer({ min: 0, max: 0xffffffff }), (i, random) => {
      const next = nextIndex(i, random);
      // (j+1)(j+2) (random+1) > (i+1)(i+2) 2^32, but for the one rounding of the quotient.
      const right = BigInt(i + 1) * BigInt(i + 2) << 32n;
      const left = (j: number) => BigInt(j + 1) * BigInt(j + 2) * BigInt(random + 1);
      if (next === 0xffffffff) return assert.ok(left(65_535) <= right);
      assert.ok(next > i && left(next) > right);
      assert.ok(next === i + 1 || left(next - 1) <= right + right / (1n << 52n));
    }),
    { numRuns: 2000 },
  );
});

Deno.test("Encoder: each symbol has the share of tags that the paper says", () => {
  const count = 4000,
    symbols = emptySymbols(0, 200),
    encoder = new Encoder(...tags(count, words(5)));
  encoder.add(symbols, 1);
  for (const i of [0, 1, 2, 8, 50, 199]) {
    const p = 2 / (2 + i), deviation = Math.sqrt(count * p * (1 - p));
    assert.ok(Math.abs(symbols.counts[i]! - count * p) <= 5 * deviation, `symbol ${i}`);
  }
});

Deno.test("Encoder: a stream is the same whatever its batches, and as it always was", () => {
  const whole = emptySymbols(0, 12);
  new Encoder(...tags(20, words(9))).add(whole, 1);
  const encoder = new Encoder(...tags(20, words(9)));
  for (let from = 0; from < 12; from += 4) {
    const part = emptySymbols(from, 4);
    encoder.add(part, 1);
    for (const field of ["low", "high", "checkLow", "checkHigh", "counts"] as const) {
      assert.deepEqual([...part[field]], [...whole[field]].slice(from, from + 4));
    }
  }
  const hex = (words: Uint32Array) =>
    [...words].map((word) => word.toString(16).padStart(8, "0")).join(" ");
  assert.deepEqual(
    [hex(whole.low), hex(whole.high), hex(whole.checkLow), hex(whole.checkHigh)],
    VECTOR,
  );
  assert.deepEqual([...whole.counts], COUNTS);
});

Deno.test("Decoder: bears whatever symbols come, in bounded steps", () => {
  const word = fc.integer({ min: 0, max: 0xffffffff });
  const symbol = fc.record({
    low: word,
    high: word,
    check: word,
    count: fc.integer({ min: -2, max: 2 }),
  });
  fc.assert(
    fc.property(fc.array(symbol, { minLength: 1, maxLength: 60 }), fc.nat(20), (list, size) => {
      const symbols = emptySymbols(0, list.length);
      for (const [i, { low, high, check, count }] of list.entries()) {
        symbols.low[i] = low;
        symbols.high[i] = high;
        symbols.checkLow[i] = check;
        symbols.counts[i] = count;
      }
      const decoder = new Decoder(new Encoder(...tags(size, words(3))));
      decoder.add(symbols);
      assert.ok(decoder.theirs.low.length + decoder.ours.low.length <= list.length);
    }),
  );
});

Deno.test("Decoder: a tag that would come out for ever comes out once", () => {
  // One tag in symbols that it does not belong in: taking it out puts it in again elsewhere.
  const one = emptySymbols(0, 400), encoder = new Encoder(Uint32Array.of(77), Uint32Array.of(99));
  encoder.add(one, 1);
  const shuffled: Symbols = { ...emptySymbols(0, 400) };
  for (let i = 0; i < 400; i++) {
    shuffled.low[i] = one.low[0]!;
    shuffled.high[i] = one.high[0]!;
    shuffled.checkLow[i] = one.checkLow[0]!;
    shuffled.checkHigh[i] = one.checkHigh[0]!;
    shuffled.counts[i] = one.counts[i]! === 0 ? 1 : 2;
  }
  assert.throws(
    () => new Decoder(new Encoder()).add(shuffled),
    (error) => error instanceof RealmError && error.code === "corrupt",
  );
});

Deno.test("Decoder: refuses symbols that are not the next", () => {
  for (const from of [1, 65_530]) {
    assert.throws(
      () => new Decoder(new Encoder()).add(emptySymbols(from, 10)),
      (error) => error instanceof RealmError && error.code === "corrupt",
    );
  }
});

const VECTOR = [
  "c55daaf3 423d311d 57764b76 280fac3a 703771d9 f7d79b48 793c97bf a281e9b8 d9512d46 298101b6 94548bc5 e1e80e1b",
  "707dacb2 67c28152 5d004b3a 6c98dd3e 5f8fc53f 936dbbf7 92ab491a 69626a03 63cbf47a 3f4f68cd a0a90333 e548dfce",
  "139c71fa a918f07c 37a971e8 e2b2abe4 ac1bdb69 34aae3f2 0370cf40 88cdca65 4e770d49 4a65695e 3b3978a8 be729a4b",
  "bb2e5067 9ad41dc5 ef8c55dc 6c1eafe5 de7bb5ae 48b274b9 3ba3cab4 bf44fc06 f7886542 9020f731 f9f856fd cebd29c8",
];
const COUNTS = [20, 15, 8, 6, 8, 4, 7, 3, 2, 3, 1, 4];
