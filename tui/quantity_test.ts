import assert from "node:assert/strict";
import fc from "fast-check";
import {
  formatAge,
  formatBar,
  formatBytes,
  formatBytesOf,
  formatCount,
  singleLine,
} from "./quantity.ts";

/** Cases of each property. */
const RUNS = Deno.env.has("SLOW") ? 5_000 : 100;

Deno.test("quantities are short and in the unit that fits", () => {
  const cases: [string, string][] = [
    [formatBytes(0), "0 B"],
    [formatBytes(1023), "1023 B"],
    [formatBytes(1536), "1.5 KiB"],
    [formatBytes(64 * 2 ** 20), "64 MiB"],
    [formatBytes(2 ** 20 - 1), "1 MiB"],
    [formatBytes(3 * 2 ** 40), "3 TiB"],
    [formatBytes(5000 * 2 ** 40), "5000 TiB"],
    [formatBytesOf(24.4 * 2 ** 20, 64 * 2 ** 20), "24.4/64 MiB"],
    [formatBytesOf(100 * 2 ** 20, 2 * 2 ** 30), "0.1/2 GiB"],
    [formatCount(0), "0"],
    [formatCount(950), "950"],
    [formatCount(1_234), "1.2k"],
    [formatCount(5_000_000), "5M"],
    [formatCount(999_999), "1M"],
    [formatAge(-5), "0s"],
    [formatAge(59_999), "59s"],
    [formatAge(200_000), "3m20s"],
    [formatAge(3_600_000), "1h"],
    [formatAge(7_500_000), "2h5m"],
    [formatAge(9 * 86_400_000 + 4 * 3_600_000), "9d4h"],
    [formatBar(0, 4), "░░░░"],
    [formatBar(0.01, 4), "█░░░"],
    [formatBar(0.5, 4), "██░░"],
    [formatBar(7, 4), "████"],
  ];
  for (const [found, wanted] of cases) assert.equal(found, wanted);
});

Deno.test("singleLine() leaves nothing that moves the cursor", () => {
  assert.equal(singleLine("a\tb\x1b[31mred\nnext\u202e"), "a  b\\u{1b}[31mred\\u{a}next\\u{202e}");
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 50 }), (text) => {
      assert.doesNotMatch(singleLine(text), /\p{Cc}/u);
    }),
    { numRuns: RUNS },
  );
});
