import assert from "node:assert/strict";
import fc from "fast-check";
import { generateKeyPairFromSeed } from "@libp2p/crypto/keys";
import { peerIdFromPrivateKey } from "@libp2p/peer-id";
import { formatPublicKey } from "./key.ts";
import { joinAddress, keyOfPeerId, peerIdOfKey, splitAddress } from "./peer_id.ts";

Deno.test("peerIdOfKey() is what libp2p makes of the seed", async () => {
  for (const byte of [0, 1, 7, 255]) {
    const privateKey = await generateKeyPairFromSeed("Ed25519", new Uint8Array(32).fill(byte));
    const key = formatPublicKey(privateKey.publicKey.raw);
    assert.equal(peerIdOfKey(key), peerIdFromPrivateKey(privateKey).toString());
    assert.equal(keyOfPeerId(peerIdOfKey(key)), key);
  }
});

Deno.test("keyOfPeerId() inverts peerIdOfKey()", () => {
  fc.assert(fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (bytes) => {
    const key = formatPublicKey(bytes);
    assert.equal(keyOfPeerId(peerIdOfKey(key)), key);
    const address = joinAddress("/ip4/127.0.0.1/tcp/1", key);
    assert.deepEqual(splitAddress(address), { transport: "/ip4/127.0.0.1/tcp/1", key });
  }));
});

Deno.test("keyOfPeerId() refuses what is not the peer id of an Ed25519 key", () => {
  for (
    const text of [
      "",
      "12D3KooW",
      "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", // of an RSA key
      "16Uiu2HAm9BXWyf8Js4zq9UQQRbo2uFpjUDj3fnQcAFrvPVBGHuyh", // of a secp256k1 key
      `12D3KooW${"z".repeat(44)}`,
      `12D3KooW${"1".repeat(1_000_000)}`,
    ]
  ) {
    assert.throws(() => keyOfPeerId(text), { name: "RealmError", code: "usage" }, text);
  }
});

Deno.test("splitAddress() leaves the peer id of a relay where it is", () => {
  const [relay, key] = [1, 2].map((byte) => formatPublicKey(new Uint8Array(32).fill(byte)));
  const through = `${joinAddress("/ip4/127.0.0.1/tcp/1", relay!)}/p2p-circuit`;
  assert.deepEqual(splitAddress(through), { transport: through });
  assert.deepEqual(splitAddress(joinAddress(through, key!)), { transport: through, key });
});
