/**
 * Every promise in `docs/promises.md` names a test that is there, or says that it is not kept yet.
 *
 * @module
 */
import assert from "node:assert/strict";

const ROOT = new URL("../", import.meta.url);
const TEXT = Deno.readTextFileSync(new URL("docs/promises.md", ROOT));

/** A row: a promise, and what is said to prove it. */
interface Row {
  readonly section: string;
  readonly promise: string;
  readonly proof: string;
}

/** The rows of the tables; everything that looks like one is. */
function rowsOf(text: string): Row[] {
  const rows: Row[] = [];
  let section = "";
  for (const line of text.split("\n")) {
    section = /^## (.+)$/.exec(line)?.[1] ?? section;
    if (!line.startsWith("|") || /^\| (promise|---) \|/.test(line)) continue;
    const [, promise, proof, ...rest] = line.slice(0, -1).split("|").map((cell) => cell.trim());
    assert.ok(
      line.endsWith("|") && promise && proof !== undefined && rest.length === 0,
      `${line}: not two cells`,
    );
    rows.push({ section, promise, proof });
  }
  return rows;
}

/** What is wrong with a proof; undefined for one that is a test, or says why there is none yet. */
function problemOf({ proof }: Row): string | undefined {
  if (proof.startsWith("not yet")) {
    return /^not yet: .{10,}$/.test(proof) ? undefined : "it does not say what is missing";
  }
  const [, file, name] = /^`(\S+_test\.tsx?)`: (.+)$/.exec(proof) ?? [];
  if (file === undefined) return "it names no test";
  let source: string;
  try {
    source = Deno.readTextFileSync(new URL(file, ROOT));
  } catch {
    return `there is no ${file}`;
  }
  const isThere = ['"', "`", "'"].some((quote) => source.includes(quote + name + quote));
  return isThere ? undefined : `${file} has no test "${name}"`;
}

Deno.test("docs/promises.md names a test for every promise, or says that it is not kept yet", () => {
  const rows = rowsOf(TEXT);
  const problems = rows.flatMap((row) => {
    const problem = problemOf(row);
    return problem === undefined ? [] : [`${row.section}: ${row.promise}: ${problem}`];
  });
  assert.deepEqual(problems, []);
  const missing = rows.filter(({ proof }) => proof.startsWith("not yet"));
  console.log(`${rows.length - missing.length} promises are proven, ${missing.length} not yet:`);
  for (const { promise, proof } of missing) console.log(`  ${promise} (${proof})`);
});

Deno.test("docs/promises.md has every section with its promises, each once", () => {
  const rows = rowsOf(TEXT);
  const sections = [...TEXT.matchAll(/^## (.+)$/gm)].map(([, name]) => name!);
  for (const name of sections) assert.ok(rows.some(({ section }) => section === name), name);
  const promises = rows.map(({ section, promise }) => `${section}: ${promise}`);
  assert.equal(new Set(promises).size, promises.length);
  assert.ok(sections.length >= 10 && rows.length >= 120, `${sections.length}, ${rows.length}`);
});

Deno.test("a promise without a test, or with one that is gone, is a problem", () => {
  const problem = (proof: string) => problemOf({ section: "", promise: "", proof });
  const here = "`tests/promises_test.ts`: ";
  assert.equal(
    problem(`${here}docs/promises.md has every section with its promises, each once`),
    undefined,
  );
  assert.match(problem(`${here}docs/promises.md has no such test`)!, /has no test/);
  assert.match(problem("`tests/gone_test.ts`: a test")!, /there is no/);
  assert.match(problem("by looking")!, /names no test/);
  assert.match(problem("")!, /names no test/);
  assert.match(problem("not yet")!, /does not say/);
  assert.equal(problem("not yet: nobody has built it"), undefined);
  assert.throws(() => rowsOf("| a promise with one cell |"), /not two cells/);
});
