import assert from "node:assert/strict";
import fc from "fast-check";
import { RealmError } from "./error.ts";
import {
  fingerprint,
  formatPublicKey,
  formatSecretKey,
  parsePublicKey,
  parseSecretKey,
  publicKeyProblem,
} from "./key.ts";

const key = fc.uint8Array({ minLength: 32, maxLength: 32 });
const refused = (message: RegExp) => (error: unknown) =>
  error instanceof RealmError && error.code === "invalid-config" && message.test(error.message);

Deno.test("parsePublicKey() and parseSecretKey() invert their formats", () => {
  fc.assert(fc.property(key, (bytes) => {
    assert.deepEqual(parsePublicKey(formatPublicKey(bytes)), bytes);
    assert.deepEqual(parseSecretKey(formatSecretKey(bytes)), bytes);
  }));
});

Deno.test("formatPublicKey() gives base58btc with no prefix inside", () => {
  assert.equal(formatPublicKey(new Uint8Array(32)), "ed25519:" + "1".repeat(32));
  assert.equal(
    formatPublicKey(new Uint8Array(32).fill(255)),
    "ed25519:JEKNVnkbo3jma5nREBBJCDoXFVeKkD56V3xKrvRmWxFG",
  );
});

Deno.test("formatPublicKey() refuses bytes that are not a key", () => {
  assert.throws(() => formatPublicKey(new Uint8Array(31)), RangeError);
});

Deno.test("parsePublicKey() says what is wrong", () => {
  assert.throws(() => parsePublicKey("abc"), refused(/"abc", wanted ed25519:BASE58/));
  assert.throws(() => parsePublicKey("ed25519:0OIl"), refused(/not base58/));
  assert.throws(() => parsePublicKey("ed25519:111"), refused(/has 3 bytes, wanted 32/));
  assert.throws(() => parsePublicKey("ed25519:"), refused(/has 0 bytes, wanted 32/));
  assert.throws(() => parsePublicKey("ed25519:" + "1".repeat(45)), refused(/45 characters/));
});

Deno.test("parsePublicKey() and parseSecretKey() never repeat a secret", () => {
  const secret = formatSecretKey(new Uint8Array(32).fill(7)).slice("ed25519-secret:".length);
  const wrong = [`ed25519-secret:${secret}`, `ed25519-secret:${secret}1`];
  for (const text of wrong) {
    assert.throws(() => parsePublicKey(text), refused(/secret key, wanted/));
    assert.ok(!publicKeyProblem(text)!.includes(secret.slice(0, 8)));
  }
  for (const text of [secret, `ed25519-secret:${secret}1`, `ed25519-secret:${secret}l`]) {
    assert.throws(
      () => parseSecretKey(text),
      (error) => refused(/secret key/)(error) && !String(error).includes(secret.slice(0, 8)),
    );
  }
});

Deno.test("parsePublicKey() answers any text with a key or a RealmError", () => {
  fc.assert(fc.property(fc.oneof(fc.string(), fc.string().map((s) => "ed25519:" + s)), (text) => {
    try {
      assert.equal(formatPublicKey(parsePublicKey(text)), text);
    } catch (error) {
      assert.ok(error instanceof RealmError, String(error));
    }
  }));
});

Deno.test("fingerprint() is five groups of four hex digits of the sha256", () => {
  assert.equal(fingerprint(new Uint8Array(32)), "6668-7aad-f862-bd77-6c8f");
});
