import assert from "node:assert/strict";
import { figure, formatCell, formatTable, goal, median, ratio } from "./report.ts";

Deno.test("median() takes the middle whatever the order", () => {
  assert.equal(median([9, 1, 5]), 5);
  assert.equal(median([10, 9, 1, 4]), 6.5);
  assert.ok(Number.isNaN(median([])));
});

Deno.test("figure() keeps the spread; without samples there is none", () => {
  assert.deepEqual(figure([3, 1, 2], "ms"), {
    median: 2,
    low: 1,
    high: 3,
    samples: 3,
    unit: "ms",
  });
  assert.equal(figure([], "ms"), undefined);
});

Deno.test("ratio() divides medians and says how far apart it may be", () => {
  const a = figure([2, 4, 6], "ms");
  const b = figure([1, 2, 4], "ms");
  const { median, low, high } = ratio(a, b)!;
  assert.deepEqual([median, low, high], [2, 0.5, 6]);
  assert.equal(ratio(a, undefined), undefined);
  assert.equal(ratio(a, figure([0], "ms")), undefined);
});

Deno.test("goal() is met at its bound and missed past it", () => {
  const at = figure([25], "ms");
  assert.equal(goal(at, "at most", 25)?.met, true);
  assert.equal(goal(at, "at most", 24.9)?.met, false);
  assert.equal(goal(at, "at least", 25.1)?.met, false);
  assert.equal(goal(undefined, "at least", 1), undefined);
});

Deno.test("formatCell() gives three significant digits, units, goals and gaps", () => {
  const cells = [
    [figure([0.1234], "x"), "0.12x"],
    [figure([12.34], "ms"), "12.3 ms"],
    [figure([99.96], "ms"), "100 ms"],
    [figure([12_345.6], "req/s"), "12,346 req/s"],
    [goal(figure([3], "ms"), "at most", 5), "<= 5.00 ms: met"],
    [goal(figure([3], "x"), "at least", 5), ">= 5.00x: missed"],
    ["none", "none"],
    [undefined, "-"],
  ] as const;
  for (const [cell, text] of cells) assert.equal(formatCell(cell), text);
  assert.equal(formatCell(figure([1, 2, 3], "ms"), true), "2.00 ms (1.00..3.00)");
});

Deno.test("formatTable() aligns columns, and writes Markdown when asked", () => {
  const table = {
    title: "Start-up",
    columns: ["", "realm", "wasmtime"],
    rows: [["cold", figure([900], "ms"), figure([200], "ms")], ["warm", figure([250], "ms")]],
    notes: ["two cores"],
  } as const;
  assert.equal(
    formatTable(table),
    "Start-up\n         realm  wasmtime\n  cold  900 ms    200 ms\n  warm  250 ms\n  * two cores\n",
  );
  assert.equal(
    formatTable(table, { markdown: true }).split("\n").slice(2, 5).join("\n"),
    "|      |  realm | wasmtime |\n| ---- | -----: | -------: |\n| cold | 900 ms |   200 ms |",
  );
});
