import assert from "node:assert/strict";
import { pureJsCrypto } from "@libp2p/noise";
import { defaultCrypto } from "@libp2p/noise/crypto";
import { Uint8ArrayList } from "uint8arraylist";
import { NOISE_CRYPTO } from "./noise_crypto.ts";

const key = new Uint8Array(32).fill(7);
const nonce = new Uint8Array(12).fill(9);
const associated = Uint8Array.of(1, 2, 3);

/** A message of `length` bytes in pieces that end at no block of the cipher. */
function pieces(length: number): Uint8ArrayList {
  const bytes = Uint8Array.from({ length }, (_, i) => i & 255);
  return new Uint8ArrayList(bytes.subarray(0, 12), bytes.subarray(12, 700), bytes.subarray(700));
}

Deno.test("NOISE_CRYPTO agrees with an independent implementation at every length", () => {
  for (const length of [0, 1, 63, 64, 65, 1183, 1184, 1199, 1200, 1201, 1300, 5000, 65_519]) {
    const plain = pieces(length);
    const sealed = NOISE_CRYPTO.chaCha20Poly1305Encrypt(plain, nonce, associated, key).subarray();
    const wanted = pureJsCrypto.chaCha20Poly1305Encrypt(plain.subarray(), nonce, associated, key);
    assert.deepEqual(Uint8Array.from(sealed), Uint8Array.from(wanted.subarray()), `${length}`);
    const cut = new Uint8ArrayList(sealed.slice(0, 15), sealed.slice(15));
    const opened = NOISE_CRYPTO.chaCha20Poly1305Decrypt(cut, nonce, associated, key);
    assert.deepEqual(Uint8Array.from(opened.subarray()), plain.subarray(), `${length}`);
  }
});

Deno.test("NOISE_CRYPTO refuses what was changed", () => {
  for (const length of [100, 5000]) {
    const sealed = NOISE_CRYPTO
      .chaCha20Poly1305Encrypt(pieces(length), nonce, associated, key).subarray();
    for (const at of [0, length >> 1, sealed.length - 1]) {
      const changed = Uint8Array.from(sealed);
      changed[at]! ^= 1;
      assert.throws(() => NOISE_CRYPTO.chaCha20Poly1305Decrypt(changed, nonce, associated, key));
    }
  }
});

Deno.test("NOISE_CRYPTO derives the same secrets as an independent implementation", () => {
  const [a, b] = [3, 4].map((byte) => new Uint8Array(32).fill(byte));
  const here = NOISE_CRYPTO.generateX25519KeyPairFromSeed(a!);
  const there = pureJsCrypto.generateX25519KeyPairFromSeed(b!);
  assert.deepEqual(
    Uint8Array.from(here.publicKey as Uint8Array),
    pureJsCrypto.generateX25519KeyPairFromSeed(a!).publicKey,
  );
  const fresh = NOISE_CRYPTO.generateX25519KeyPair();
  for (const mine of [here, fresh]) {
    assert.deepEqual(
      Uint8Array.from(NOISE_CRYPTO.generateX25519SharedKey(mine.privateKey, there.publicKey)),
      pureJsCrypto.generateX25519SharedKey(there.privateKey, mine.publicKey),
    );
  }
});

// When this fails, Deno's ciphers are mended and noise_crypto.ts can go.
Deno.test("the stock cryptography of Noise still gives a wrong tag in Deno", () => {
  const plain = pieces(5000);
  const sealed = defaultCrypto.chaCha20Poly1305Encrypt(plain, nonce, associated, key);
  assert.throws(() =>
    pureJsCrypto.chaCha20Poly1305Decrypt(sealed.subarray(), nonce, associated, key)
  );
});
