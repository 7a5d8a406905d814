import assert from "node:assert/strict";
import { verifyOnce } from "./verified_lately.ts";

const bytes = (...parts: number[]) => Uint8Array.from(parts);

/** What says yes where the first byte of each is the same, and how often it was asked. */
function counted(bytesMax = 1_000) {
  const counts = { asked: 0 };
  const verify = verifyOnce((publicKey, message, signature) => {
    counts.asked++;
    return publicKey[0] === message[0] && message[0] === signature[0];
  }, bytesMax);
  return { verify, counts };
}

Deno.test("verifyOnce asks once for what is well signed, and each time for what is not", () => {
  const { verify, counts } = counted();
  for (let i = 0; i < 3; i++) assert.ok(verify(bytes(1), bytes(1), bytes(1)));
  assert.equal(counts.asked, 1);
  for (let i = 0; i < 3; i++) assert.ok(!verify(bytes(2), bytes(2), bytes(3)));
  assert.equal(counts.asked, 4);
});

Deno.test("verifyOnce knows nothing of a message, key or signature in which one byte is another", () => {
  const { verify, counts } = counted();
  assert.ok(verify(bytes(1, 0), bytes(1, 0), bytes(1, 0)));
  assert.ok(!verify(bytes(2, 0), bytes(1, 0), bytes(1, 0)));
  assert.ok(!verify(bytes(1, 0), bytes(2, 0), bytes(1, 0)));
  assert.ok(!verify(bytes(1, 0), bytes(1, 0), bytes(2, 0)));
  assert.ok(verify(bytes(1, 0), bytes(1, 0, 0), bytes(1, 0)));
  assert.ok(verify(bytes(1, 1), bytes(1, 0), bytes(1, 0)));
  assert.equal(counts.asked, 6);
});

Deno.test("verifyOnce goes by the bytes that were verified, whatever becomes of them", () => {
  const { verify, counts } = counted();
  const [key, message] = [bytes(1), bytes(1)];
  assert.ok(verify(key, message, bytes(1)));
  key[0] = message[0] = 2;
  assert.ok(!verify(key, message, bytes(1)));
  assert.ok(verify(bytes(1), bytes(1), bytes(1)));
  assert.equal(counts.asked, 2);
});

Deno.test("verifyOnce forgets what was long ago", () => {
  const { verify, counts } = counted(1_000);
  const all = Array.from({ length: 1_000 }, (_, i) => bytes(1, i >> 8, i & 0xff));
  for (const each of all) assert.ok(verify(each, each, each));
  assert.ok(verify(all[999]!, all[999]!, all[999]!));
  assert.equal(counts.asked, 1_000);
  assert.ok(verify(all[0]!, all[0]!, all[0]!));
  assert.equal(counts.asked, 1_001);
});
