import assert from "node:assert/strict";
import { SHA256_HEX, sha256Hex } from "./sha256.ts";

Deno.test("sha256Hex() gives the published digests of FIPS 180-4", async () => {
  const vectors: [string, string][] = [
    ["", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
    ["abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"],
  ];
  for (const [text, digest] of vectors) {
    assert.equal(await sha256Hex(new TextEncoder().encode(text)), digest);
    assert.match(digest, SHA256_HEX);
  }
});

Deno.test("sha256Hex() hashes the view, not the buffer under it", async () => {
  const buffer = new TextEncoder().encode("xabcx");
  assert.equal(
    await sha256Hex(buffer.subarray(1, 4)),
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
  );
});
