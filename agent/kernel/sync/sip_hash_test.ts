import assert from "node:assert/strict";
import fc from "fast-check";
import { bytesOf, textOf } from "../byte_string.ts";
import { sipHash, sipKey } from "./sip_hash.ts";

function hash(key: Uint8Array, id: Uint8Array): bigint {
  const low = new Uint32Array(1), high = new Uint32Array(1);
  sipHash(sipKey(key), textOf(id), low, high, 0);
  return BigInt(high[0]!) << 32n | BigInt(low[0]!);
}

/** The paper's definition, for messages of whole words. */
function reference(key: Uint8Array, id: Uint8Array): bigint {
  const word = (bytes: Uint8Array, at: number) =>
    bytes.slice(at, at + 8).reduceRight((n, byte) => n << 8n | BigInt(byte), 0n);
  const wrap = (n: bigint) => BigInt.asUintN(64, n);
  const turn = (n: bigint, by: bigint) => wrap(n << by) | n >> (64n - by);
  const k0 = word(key, 0), k1 = word(key, 8);
  const v: [bigint, bigint, bigint, bigint] = [
    k0 ^ 0x736f6d6570736575n,
    k1 ^ 0x646f72616e646f6dn,
    k0 ^ 0x6c7967656e657261n,
    k1 ^ 0x7465646279746573n,
  ];
  const rounds = (count: number) => {
    for (let i = 0; i < count; i++) {
      v[0] = wrap(v[0] + v[1]);
      v[1] = turn(v[1], 13n) ^ v[0];
      v[0] = turn(v[0], 32n);
      v[2] = wrap(v[2] + v[3]);
      v[3] = turn(v[3], 16n) ^ v[2];
      v[0] = wrap(v[0] + v[3]);
      v[3] = turn(v[3], 21n) ^ v[0];
      v[2] = wrap(v[2] + v[1]);
      v[1] = turn(v[1], 17n) ^ v[2];
      v[2] = turn(v[2], 32n);
    }
  };
  const last = BigInt(id.length) << 56n;
  for (const m of [0, 8, 16, 24].map((at) => word(id, at)).concat(last)) {
    v[3] ^= m;
    rounds(2);
    v[0] ^= m;
  }
  v[2] ^= 0xffn;
  rounds(4);
  return v[0] ^ v[1] ^ v[2] ^ v[3];
}

Deno.test("sipHash() of the published vector of 32 bytes", () => {
  const key = Uint8Array.from({ length: 16 }, (_, i) => i);
  const id = Uint8Array.from({ length: 32 }, (_, i) => i);
  // vectors_sip64[32] of the authors' code, little-endian: ce 7c f2 72 2f 51 27 71
  assert.equal(hash(key, id), 0x7127512f72f27ccen);
});

Deno.test("sipHash() is the paper's, computed with whole words", () => {
  const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
  fc.assert(fc.property(bytes(16), bytes(32), (key, id) => {
    assert.equal(hash(key, id), reference(key, id));
    assert.deepEqual(bytesOf(textOf(id)), id);
  }));
});
