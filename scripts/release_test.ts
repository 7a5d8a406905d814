import assert from "node:assert/strict";
import * as path from "node:path";
import { TARGETS } from "./build.ts";
import { KINDS, withReleaseKey } from "./release.ts";

Deno.test("install.sh takes the key of a release", async () => {
  const script = await Deno.readTextFile(path.resolve(import.meta.dirname!, "../install.sh"));
  const released = withReleaseKey(script, new Uint8Array(32).fill(1));
  assert.match(released, /\nrelease_key='MCowBQYDK2VwAyEAAQEBAQEB[A-Za-z0-9+/]+='\n/);
  assert.equal(released.split("\n").length, script.split("\n").length);
});

Deno.test("an executable of one platform is not taken for one of another", () => {
  const said = {
    "x86_64-unknown-linux-gnu": "ELF 64-bit LSB pie executable, x86-64, version 1 (SYSV), stripped",
    "aarch64-unknown-linux-gnu": "ELF 64-bit LSB pie executable, ARM aarch64, version 1 (SYSV)",
    "x86_64-apple-darwin": "Mach-O 64-bit x86_64 executable, flags:<NOUNDEFS|DYLDLINK>",
    "aarch64-apple-darwin": "Mach-O 64-bit arm64 executable, flags:<NOUNDEFS|DYLDLINK|PIE>",
    "x86_64-pc-windows-msvc": "PE32+ executable (console) x86-64, for MS Windows, 6 sections",
  };
  assert.deepEqual(Object.keys(said).sort(), [...TARGETS].sort());
  for (const [target, kind] of Object.entries(KINDS)) {
    for (const [of, text] of Object.entries(said)) {
      assert.equal(kind.test(text), of === target, `${of} for ${target}`);
    }
  }
});
