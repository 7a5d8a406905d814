import assert from "node:assert/strict";
import fc from "fast-check";
import stringWidth from "string-width";
import { layoutOf, type ViewNode } from "./layout.ts";

const node = (parent: number, kind: ViewNode["kind"], text = "", id = ""): ViewNode => ({
  parent,
  kind,
  text,
  id,
});
const NOTHING = { focus: 0, drafts: new Map() };
const texts = (nodes: readonly ViewNode[], columns = 80, shown = NOTHING) =>
  layoutOf(nodes, columns, shown).lines.map((line) => line.map(({ text }) => text).join(""));

Deno.test("layoutOf() stacks columns, sets rows beside one another and begins below where there is no room", () => {
  const nodes = [
    node(0, "column"),
    node(0, "heading", "Polls"),
    node(0, "row"),
    node(2, "button", "yes", "y"),
    node(2, "text", "a text\nof two lines"),
    node(2, "column"),
    node(5, "button", "one", "1"),
    node(5, "button", "two", "2"),
    node(0, "gap"),
    node(0, "field", "Ask", "ask"),
  ];
  assert.deepEqual(
    texts(nodes),
    [
      "Polls",
      "[ yes ]  a text        [ one ]",
      "         of two lines  [ two ]",
      "",
      `Ask: ${"_".repeat(39)}_`.replace("_", " "),
    ].with(4, `Ask: ${"_".repeat(40)}`),
  );
  assert.deepEqual(texts(nodes, 22), [
    "Polls",
    "[ yes ]  a text",
    "         of two lines",
    "[ one ]",
    "[ two ]",
    "",
    `Ask: ${"_".repeat(17)}`,
  ]);
  assert.deepEqual(layoutOf(nodes, 80, NOTHING).stops, [
    { kind: "button", id: "y", line: 1 },
    { kind: "button", id: "1", line: 1 },
    { kind: "button", id: "2", line: 2 },
    { kind: "field", id: "ask", line: 4 },
  ]);
});

Deno.test("layoutOf() shows where keys go, and the end of what was typed", () => {
  const nodes = [node(0, "column"), node(0, "button", "b", "b"), node(0, "field", "Name", "n")];
  const drafts = new Map([["n", `${"x".repeat(60)}yz`]]);
  for (const focus of [0, 1]) {
    const { lines } = layoutOf(nodes, 80, { focus, drafts });
    const inverse = lines.map((line) => line.some(({ inverse }) => inverse));
    assert.deepEqual(inverse, [focus === 0, focus === 1]);
    const field = lines[1]!.map(({ text }) => text).join("");
    assert.match(field, /^Name: x+yz[ _]$/);
    assert.equal(field.length, "Name: ".length + 40);
  }
});

Deno.test("layoutOf() breaks between words, and words that are too long anywhere", () => {
  const text = (text: string, columns: number) => texts([node(0, "text", text)], columns);
  assert.deepEqual(text("one two three", 8), ["one two", "three"]);
  assert.deepEqual(text("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
  assert.deepEqual(text("日本語 テキスト", 6), ["日本語", "テキス", "ト"]);
  assert.deepEqual(text("a\n\nb", 6), ["a", "", "b"]);
});

Deno.test("layoutOf() lets no control character through, and leaves out what hangs nowhere", () => {
  const nodes = [
    node(0, "column"),
    node(0, "text", "\x1b[2J\u202eevil"),
    node(0, "button", "\x1b]0;x\x07", "b"),
    node(9, "text", "ahead"),
    node(4, "text", "itself"),
    node(0, "field", "l\x9b1m", "f"),
  ];
  const drafts = new Map([["f", "\x1b[31m"]]);
  const all = texts(nodes, 80, { focus: 0, drafts }).join("\n");
  // deno-lint-ignore no-control-regex
  assert.doesNotMatch(all, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e]/);
  assert.match(all, /evil/);
  assert.doesNotMatch(all, /ahead|itself/);
  assert.deepEqual(texts([]), []);
  const deep = Array.from({ length: 4096 }, (_, i) => node(Math.max(0, i - 1), "text", `${i}`));
  assert.ok(texts(deep).length < 40, "what is too deep is left out");
});

Deno.test("layoutOf() fits any tree into any width, each stop once and on its line", () => {
  const kinds = fc.constantFrom<ViewNode["kind"][]>(
    "column",
    "row",
    "heading",
    "text",
    "button",
    "field",
    "gap",
  );
  const trees = fc.array(
    fc.record({
      parent: fc.nat(30),
      kind: kinds,
      text: fc.oneof(fc.string({ unit: "grapheme", maxLength: 90 }), fc.lorem({ maxCount: 30 })),
      id: fc.constantFrom("", "a", "b", "c"),
    }),
    { maxLength: 30 },
  );
  fc.assert(
    fc.property(trees, fc.integer({ min: 20, max: 120 }), fc.nat(9), (nodes, columns, focus) => {
      const { lines, stops } = layoutOf(nodes, columns, {
        focus,
        drafts: new Map([["a", "日本"]]),
      });
      for (const line of lines) {
        assert.ok(stringWidth(line.map(({ text }) => text).join("")) <= columns);
      }
      assert.equal(
        lines.flat().filter(({ inverse }) => inverse).length,
        focus < stops.length ? 1 : 0,
      );
      if (focus < stops.length) {
        assert.ok(lines[stops[focus]!.line]!.some(({ inverse }) => inverse));
      }
    }),
    { numRuns: 200 },
  );
});
