/**
 * The committed fixtures are whole and small, and come from the sources beside them.
 *
 * @module
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";

const ROOT = new URL("../", import.meta.url);
const FIXTURES = new URL("fixtures/", ROOT);
const BYTES_MAX = 256 * 1024;
const BYTES_MAX_TOTAL = 2 * 1024 * 1024;

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const entries = (url: URL) => [...Deno.readDirSync(url)];

/** Fixture name to its bytes, from what is in the folder. */
function built(): Map<string, Uint8Array> {
  const names = entries(FIXTURES).flatMap((e) => /^(.*)\.wasm$/.exec(e.name)?.[1] ?? []).sort();
  return new Map(names.map((n) => [n, Deno.readFileSync(new URL(`${n}.wasm`, FIXTURES))]));
}

Deno.test("SHA256SUMS lists every fixture with its digest, sorted", () => {
  const want = [...built()].map(([name, bytes]) => `${sha256(bytes)}  ${name}.wasm\n`).join("");
  assert.equal(Deno.readTextFileSync(new URL("SHA256SUMS", FIXTURES)), want);
});

Deno.test("every fixture has its source, and every source is built", () => {
  const folders = entries(FIXTURES).filter((e) => e.isDirectory && e.name !== "target");
  assert.deepEqual(folders.map((e) => e.name).sort(), [...built().keys()]);
  for (const { name } of folders) {
    const files = entries(new URL(`${name}/`, FIXTURES)).map((e) => e.name);
    assert.ok(files.includes("Cargo.toml") || files.includes(`${name}.wat`), name);
  }
});

Deno.test("fixtures are components, except those of WASI 0.1", () => {
  const core = ["bulk", "catch-all", "exit-p1", "hello-p1", "table-grow"];
  for (const [name, bytes] of built()) {
    const preamble = [...bytes.subarray(0, 8)];
    const layer = core.includes(name) ? [1, 0, 0, 0] : [13, 0, 1, 0];
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

Deno.test("the WASI 0.1 adapter is the one its README names", () => {
  const folder = new URL("agent/runtime/adapter/", ROOT);
  const bytes = Deno.readFileSync(new URL("wasi_snapshot_preview1.command.bin", folder));
  assert.ok(Deno.readTextFileSync(new URL("README.md", folder)).includes(sha256(bytes)));
});
