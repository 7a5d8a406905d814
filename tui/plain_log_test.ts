import assert from "node:assert/strict";
import { rowsAfter } from "./plain_log.ts";
import type { LogRow } from "./session.ts";

const row = (at: number): LogRow => ({
  kind: "line",
  replica: 0,
  wallMs: at,
  stream: "stdout",
  text: `line ${at}`,
});
const rows = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => row(from + i));
const MISSED: LogRow = { kind: "missed", lines: 3 };

Deno.test("rowsAfter() gives what came since, whether read on or anew", () => {
  const told = rows(0, 10);
  assert.deepEqual(rowsAfter([], told), told, "nothing was told");
  assert.deepEqual(rowsAfter(told, [...told, row(10)]), [row(10)], "read on");
  assert.deepEqual(rowsAfter(told, rows(0, 12)), rows(10, 12), "read anew");
  assert.deepEqual(rowsAfter(told, rows(4, 12)), rows(10, 12), "the oldest are gone");
  assert.deepEqual(rowsAfter(told, rows(0, 10)), [], "nothing came");
  assert.deepEqual(rowsAfter(rows(4, 10), rows(0, 12)), rows(10, 12), "more of before");
});

Deno.test("rowsAfter() finds nothing new while a log comes again in parts", () => {
  for (let to = 0; to <= 10; to++) {
    assert.deepEqual(rowsAfter(rows(0, 10), rows(0, to)), [], `${to}`);
  }
  assert.deepEqual(rowsAfter(rows(0, 10), rows(3, 6)), [], "without the oldest");
});

Deno.test("rowsAfter() takes another log for new, and tells what was missed", () => {
  assert.deepEqual(rowsAfter(rows(0, 10), rows(20, 23)), rows(20, 23));
  assert.deepEqual(rowsAfter(rows(0, 10), [MISSED, ...rows(7, 11)]), [row(10)]);
  assert.deepEqual(rowsAfter(rows(0, 10), [...rows(7, 10), MISSED, row(13)]), [MISSED, row(13)]);
  const ended = [...rows(0, 3), MISSED];
  assert.deepEqual(rowsAfter(ended, ended), [], "what was missed is told once");
  const same = [row(1), row(1), row(1)];
  assert.deepEqual(
    rowsAfter(same, [...same.map(() => row(1)), row(1)]),
    [],
    "those that say the same are not told apart",
  );
});
