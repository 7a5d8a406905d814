import assert from "node:assert/strict";
import { parse } from "../../tests/wasm_tools.ts";
import { sha256 as theirs } from "@noble/hashes/sha2.js";
import fc from "fast-check";
import { bytesOf } from "./byte_string.ts";
import { sha256, sha256Core, sha256Text } from "./sha256_sync.ts";

const numRuns = Deno.env.get("SLOW") ? 20_000 : 500;

Deno.test("sha256() is the SHA-256 of others, whatever the length", () => {
  const all = Uint8Array.from({ length: 100_000 }, (_, i) => (i * i) >> 3);
  const lengths = [...Array(200).keys(), 49_143, 49_144, 49_151, 49_152, 49_153, 98_304, 100_000];
  for (const length of lengths) {
    const data = all.subarray(0, length);
    assert.deepEqual(sha256(data), new Uint8Array(theirs(data)), `${length} bytes`);
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2000 }), fc.nat(50), (data, from) => {
      const part = data.subarray(from);
      assert.deepEqual(sha256(part), new Uint8Array(theirs(part)));
      assert.deepEqual(bytesOf(sha256Text(part)), sha256(part));
    }),
    { numRuns },
  );
});

Deno.test("sha256() is that of the standard's examples", () => {
  const of = (text: string) => sha256(new TextEncoder().encode(text)).toHex();
  // https://csrc.nist.gov/projects/cryptographic-standards-and-guidelines/example-values
  assert.equal(of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  assert.equal(
    of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
    "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
  );
  assert.equal(
    sha256(new Uint8Array(1_000_000).fill(0x61)).toHex(),
    "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
  );
});

Deno.test("sha256() gives bytes of its own", () => {
  const first = sha256(Uint8Array.of(1));
  const before = first.slice();
  sha256(Uint8Array.of(2));
  assert.deepEqual(first, before);
});

Deno.test("the core is the one of the source", async () => {
  const source = await Deno.readTextFile(new URL("./sha256_core.wat", import.meta.url));
  const module = await parse(source);
  const wanted = [...module.subarray(0, 8)];
  for (let at = 8; at < module.length;) {
    let size = 0, shift = 0, body = at + 1;
    do size |= (module[body]! & 127) << shift, shift += 7; while (module[body++]! > 127);
    // All but the names, which are a custom section.
    if (module[at] !== 0) wanted.push(...module.subarray(at, body + size));
    at = body + size;
  }
  assert.deepEqual(sha256Core(), Uint8Array.from(wanted));
});
