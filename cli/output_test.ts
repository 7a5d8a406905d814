import assert from "node:assert/strict";
import { RealmError } from "../agent/kernel/error.ts";
import { formatError, formatTable, printable } from "./output.ts";

Deno.test("formatTable() aligns columns and leaves no trailing spaces", () => {
  const rows = [{ name: "auth", replicas: 2 }, { name: "größer", replicas: 10 }];
  const table = formatTable(rows, [
    { title: "COMPONENT", text: (row) => row.name },
    { title: "REPLICAS", text: (row) => String(row.replicas), align: "right" },
    { title: "NOTE", text: () => "" },
  ]);
  assert.equal(
    table,
    "COMPONENT  REPLICAS  NOTE\n" +
      "auth              2\n" +
      "größer           10\n",
  );
});

Deno.test("formatTable() and formatError() let no terminal escape through", () => {
  const hostile = "a\x1b[2Jb\r\x9bc";
  assert.equal(printable(hostile), "a\\u{1b}[2Jb\\u{d}\\u{9b}c");
  const table = formatTable([hostile], [{ title: "T", text: (row) => row }]);
  const error = formatError(new RealmError("failed", hostile, { hint: hostile }), {
    json: false,
    colour: false,
  });
  // deno-lint-ignore no-control-regex
  assert.doesNotMatch(table + error, /[\x1b\r\x9b]/);
});

Deno.test("formatError() has a form for people and one for programs", () => {
  const error = new RealmError("stale", "Cannot apply: version 3, wanted 5", {
    hint: "Pull first",
  });
  assert.equal(
    formatError(error, { json: false, colour: false }),
    "error[stale]: Cannot apply: version 3, wanted 5\nhint: Pull first\n",
  );
  assert.ok(formatError(error, { json: false, colour: true }).startsWith("\x1b[1;31merror[stale]"));
  assert.deepEqual(JSON.parse(formatError(error, { json: true, colour: false })), {
    error: { code: "stale", message: "Cannot apply: version 3, wanted 5", hint: "Pull first" },
  });
});

Deno.test("formatError() shows a bug with its stack", () => {
  const text = formatError(new TypeError("x is not a function"), { json: false, colour: false });
  assert.match(
    text,
    /^error\[failed\]: .*a bug in realm[^]*x is not a function[^]*output_test\.ts/,
  );
});
