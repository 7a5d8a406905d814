/**
 * `docs/hostile.md` names tests that are there.
 *
 * @module
 */
import assert from "node:assert/strict";

const ROOT = new URL("../", import.meta.url);
/** What issue and README promise. */
const BEHAVIOURS_MIN = 40;

/** Behaviour, file and name of each test. */
function rows(): [behaviour: string, file: string, name: string][] {
  const text = Deno.readTextFileSync(new URL("docs/hostile.md", ROOT));
  return [...text.matchAll(/^\| (.+?) \| .+ \| `(\S+\.ts)`: (.+) \|$/gm)].map((
    [, behaviour, file, name],
  ) => [behaviour!, file!, name!]);
}

Deno.test("docs/hostile.md names tests that are there", () => {
  for (const [behaviour, file, name] of rows()) {
    const source = Deno.readTextFileSync(new URL(file, ROOT));
    const isThere = ['"', "`", "'"].some((quote) => source.includes(quote + name + quote)) ||
      // The name of a family of tests has a part that differs.
      source.includes(name.replace(/\bouter\b/, "${order}"));
    assert.ok(isThere, `${behaviour}: ${file} has no test "${name}"`);
  }
});

Deno.test("docs/hostile.md has many behaviours, each once, and every row names a test", () => {
  const all = rows();
  const text = Deno.readTextFileSync(new URL("docs/hostile.md", ROOT));
  const tables = text.replace(/^## What a neighbour feels[^]*?(?=^## )/m, "");
  const lines = tables.split("\n").filter((line) => /^\| (?!behaviour|---)/.test(line));
  assert.equal(all.length, lines.length);
  assert.equal(new Set(all.map(([behaviour]) => behaviour)).size, all.length);
  assert.ok(all.length >= BEHAVIOURS_MIN, `${all.length}`);
});
