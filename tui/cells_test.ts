import assert from "node:assert/strict";
import fc from "fast-check";
import stringWidth from "string-width";
import { cutText, fit, widthOf, wrapText } from "./cells.ts";

const texts = fc.string({ unit: "grapheme", maxLength: 60 });

Deno.test("widthOf() is what a terminal makes of a text, also where it does not measure", () => {
  for (const text of ["", "abc", "▸ auth ●…", "日本語", "e\u0301", "👩‍👩‍👧‍👦", "\u00ad", "a\u200bb"]) {
    assert.equal(widthOf(text), stringWidth(text), JSON.stringify(text));
  }
  fc.assert(fc.property(texts, (text) => assert.equal(widthOf(text), stringWidth(text))));
});

Deno.test("fit() fills or cuts to exactly so many cells", () => {
  assert.equal(fit("ab", 4), "ab  ");
  assert.equal(fit("ab", 4, "right"), "  ab");
  assert.equal(fit("abcdef", 4), "abc…");
  assert.equal(fit("日本語", 4), "日… ", "half a character is none");
  assert.equal(fit("abc", 0), "");
  fc.assert(
    fc.property(texts, fc.integer({ min: 0, max: 40 }), (text, width) => {
      assert.equal(widthOf(fit(text, width)), width);
      assert.ok(widthOf(cutText(text, width)) <= width);
    }),
  );
});

Deno.test("cutText() looks at no more of a text than fits", () => {
  const long = "日".repeat(5_000_000);
  assert.equal(cutText(long, 5), "日日…");
});

Deno.test("wrapText() breaks between words, and words that are too long anywhere", () => {
  assert.deepEqual(wrapText("one two three", 8), ["one two", "three"]);
  assert.deepEqual(wrapText("abcdefgh", 3), ["abc", "def", "gh"]);
  assert.deepEqual(wrapText("", 3), [""]);
});
