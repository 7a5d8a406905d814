import assert from "node:assert/strict";
import { qualify, statementsOf } from "./glue_statements.ts";

Deno.test("statementsOf() cuts at what ends a statement and nowhere else", () => {
  const texts = [
    "const a = ';}';",
    "function f() { return `{${g({ x: `}` })}`; }",
    "if (a) { b(); }",
    "({ exports: e } = make({ f: () => { return 1; } }));",
    "class C { m() {} }",
    "let d;",
  ];
  const statements = statementsOf(texts.join("\n// a comment; with { a bracket\n"));
  assert.deepEqual(statements.map((s) => s.text), texts);
  assert.deepEqual(statements.map((s) => s.name), [
    "a",
    "f",
    undefined,
    undefined,
    "C",
    "d",
  ]);
});

Deno.test("statementsOf() takes nothing for a declaration that does something", () => {
  assert.equal(statementsOf("const a = call();")[0]!.name, undefined);
  assert.equal(statementsOf("let b = new Thing();")[0]!.name, undefined);
});

Deno.test("qualify() renames free uses, and leaves what only has the name", () => {
  const names = new Set(["x", "y"]);
  const cases: [string, string | undefined][] = [
    ["f(x, y.x)", "f($.x, $.y.x)"],
    ["new x(...y)", "new $.x(...$.y)"],
    ["({ x: x, 'y': 1 })", "({ x: $.x, 'y': 1 })"],
    ["a ? x : y", "a ? $.x : $.y"],
    ["'x' + \"y\" // x", "'x' + \"y\" // x"],
    ["this.#x + x1 + $x", "this.#x + x1 + $x"],
    ["function f(x) { return x + y; }", "function f(x) { return x + $.y; }"],
    ["({ a, x })", undefined],
    ["g(x => x)", undefined],
    ["{ let y = 1; }", undefined],
    ["try {} catch (x) {}", undefined],
    ["`${x}`", undefined],
  ];
  for (const [text, wanted] of cases) assert.equal(qualify(text, names), wanted, text);
});
