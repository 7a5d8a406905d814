/**
 * The committed fixtures are whole and small, come from the sources beside them, and each is used.
 *
 * @module
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";

const ROOT = new URL("../", import.meta.url);
const FIXTURES = new URL("fixtures/", ROOT);
const BYTES_MAX = 256 * 1024;
const BYTES_MAX_TOTAL = 5 * 1024 * 1024;

/** Folders that are no guests: what is built, what guests share, and apps, which are several. */
const OTHERS = ["target", "sdk", "apps", "modules"];

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const entries = (url: URL) => [...Deno.readDirSync(url)];

const APPS = entries(new URL("apps/", FIXTURES)).map(({ name }) => `apps/${name}/`);

/** Fixture name to its bytes, from what is in the folders. */
function built(): Map<string, Uint8Array> {
  const names = ["", "modules/", ...APPS].flatMap((folder) =>
    entries(new URL(folder, FIXTURES)).flatMap((e) => {
      const [, name] = /^(.*)\.wasm$/.exec(e.name) ?? [];
      return name === undefined ? [] : folder + name;
    })
  ).sort();
  return new Map(names.map((n) => [n, Deno.readFileSync(new URL(`${n}.wasm`, FIXTURES))]));
}

/** Text of every other test that runs or reads fixtures. */
function* testSources(folder: URL): Generator<string> {
  for (const entry of entries(folder)) {
    const url = new URL(entry.name + (entry.isDirectory ? "/" : ""), folder);
    if (entry.isDirectory) yield* testSources(url);
    else if (/_test\.tsx?$/.test(entry.name) && url.href !== import.meta.url) {
      const text = Deno.readTextFileSync(url);
      if (/\bfixtures\/|\/guest\.ts"/.test(text)) yield text;
    }
  }
}

Deno.test("SHA256SUMS lists every fixture with its digest, sorted", () => {
  const want = [...built()].map(([name, bytes]) => `${sha256(bytes)}  ${name}.wasm\n`).join("");
  assert.equal(Deno.readTextFileSync(new URL("SHA256SUMS", FIXTURES)), want);
});

Deno.test("every fixture has its source, and every source is built", () => {
  const guests = (folder: string) =>
    entries(new URL(folder, FIXTURES)).filter((e) => e.isDirectory).map((e) => folder + e.name);
  const folders = [...guests("").filter((name) => !OTHERS.includes(name)), ...guests("modules/")];
  const parts = APPS.flatMap((app) =>
    entries(new URL(`${app}src/`, FIXTURES)).filter((e) => e.name !== "lib.rs")
      .map((e) => app + e.name.replace(".rs", "").replaceAll("_", "-"))
  );
  assert.deepEqual([...folders, ...parts].sort(), [...built().keys()]);
  for (const name of folders) {
    const files = entries(new URL(`${name}/`, FIXTURES)).map((e) => e.name);
    assert.ok(files.includes("Cargo.toml") || files.includes(`${name}.wat`), name);
  }
});

Deno.test("fixtures are components, except those of WASI 0.1", () => {
  const core = ["bulk", "catch-all", "memory-owner", "table-grow"];
  for (const [name, bytes] of built()) {
    const preamble = [...bytes.subarray(0, 8)];
    const layer = core.includes(name) || name.endsWith("-p1") ? [1, 0, 0, 0] : [13, 0, 1, 0];
    assert.deepEqual(preamble, [0, 0x61, 0x73, 0x6d, ...layer], name);
  }
});

Deno.test("fixtures are small and name no path of the machine that built them", () => {
  let total = 0;
  for (const [name, bytes] of built()) {
    total += bytes.length;
    assert.ok(bytes.length <= BYTES_MAX, `${name} has ${bytes.length} bytes`);
    assert.doesNotMatch(
      new TextDecoder("latin1").decode(bytes),
      /\.cargo|\/home\/|\/Users\//,
      name,
    );
  }
  assert.ok(total <= BYTES_MAX_TOTAL, `${total} bytes in all`);
});

Deno.test("every fixture is used by a test", () => {
  const sources = ["agent/", "cli/", "tui/", "tests/"]
    .flatMap((folder) => [...testSources(new URL(folder, ROOT))]);
  // By its file's name anywhere, by its own name where guests are run by name.
  const isUsed = (name: string) => {
    const asFile = new RegExp(`[/"'\`]${name}\\.wasm["'\`]`);
    return sources.some((text) =>
      asFile.test(text) || (/\/(guest|executable)\.ts"/.test(text) && text.includes(`"${name}"`))
    );
  };
  assert.deepEqual([...built().keys()].filter((name) => !isUsed(name)), []);
});
