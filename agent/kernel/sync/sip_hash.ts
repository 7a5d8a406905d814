/**
 * SipHash-2-4 of 32-byte ids: a keyed hash of 64 bits in two halves of 32, since BigInt is some
 * fifty times slower.
 *
 * Nobody who lacks the key can tell anything about the hash of an id, however it was made. That
 * is all that stands between reconciliation and ids that were chosen to disturb it.
 *
 * @see https://www.aumasson.jp/siphash/siphash.pdf
 * @module
 */
import { textOf } from "../byte_string.ts";

/** Bytes of a key. */
export const SIP_KEY_BYTES = 16;

/** Bytes of what is hashed. */
export const ID_BYTES = 32;

/** A key as little-endian words. */
export type SipKey = readonly [number, number, number, number];

/** The key of 16 bytes. */
export function sipKey(bytes: Uint8Array): SipKey {
  const text = textOf(bytes.subarray(0, SIP_KEY_BYTES));
  return [word(text, 0), word(text, 4), word(text, 8), word(text, 12)];
}

/** Writes the hash of an id, a character for each of its 32 bytes, into `low[at]` and `high[at]`. */
export function sipHash(
  key: SipKey,
  id: string,
  low: Uint32Array,
  high: Uint32Array,
  at: number,
): void {
  const [k0, k1, k2, k3] = key;
  // The state v0..v3 of the paper, each as low and high half; the constants are its text.
  let a = k0 ^ 0x70736575, A = k1 ^ 0x736f6d65;
  let b = k2 ^ 0x6e646f6d, B = k3 ^ 0x646f7261;
  let c = k0 ^ 0x6e657261, C = k1 ^ 0x6c796765;
  let d = k2 ^ 0x79746573, D = k3 ^ 0x74656462;
  // Four words of 64 bits, the last block with the length, and the finalisation.
  for (let block = 0; block < 6; block++) {
    let m = 0, M = 0, rounds = 2;
    if (block < 4) {
      m = word(id, 8 * block);
      M = word(id, 8 * block + 4);
      d ^= m;
      D ^= M;
    } else if (block === 4) {
      M = ID_BYTES << 24;
      D ^= M;
    } else {
      c ^= 0xff;
      rounds = 4;
    }
    for (let round = 0; round < rounds; round++) {
      let t: number;
      // v0 += v1; v1 <<<= 13; v1 ^= v0; v0 <<<= 32
      a = (a + b) | 0;
      A = (A + B + (a >>> 0 < b >>> 0 ? 1 : 0)) | 0;
      t = (b << 13) | (B >>> 19);
      B = ((B << 13) | (b >>> 19)) ^ A;
      b = t ^ a;
      t = a;
      a = A;
      A = t;
      // v2 += v3; v3 <<<= 16; v3 ^= v2
      c = (c + d) | 0;
      C = (C + D + (c >>> 0 < d >>> 0 ? 1 : 0)) | 0;
      t = (d << 16) | (D >>> 16);
      D = ((D << 16) | (d >>> 16)) ^ C;
      d = t ^ c;
      // v0 += v3; v3 <<<= 21; v3 ^= v0
      a = (a + d) | 0;
      A = (A + D + (a >>> 0 < d >>> 0 ? 1 : 0)) | 0;
      t = (d << 21) | (D >>> 11);
      D = ((D << 21) | (d >>> 11)) ^ A;
      d = t ^ a;
      // v2 += v1; v1 <<<= 17; v1 ^= v2; v2 <<<= 32
      c = (c + b) | 0;
      C = (C + B + (c >>> 0 < b >>> 0 ? 1 : 0)) | 0;
      t = (b << 17) | (B >>> 15);
      B = ((B << 17) | (b >>> 15)) ^ C;
      b = t ^ c;
      t = c;
      c = C;
      C = t;
    }
    a ^= m;
    A ^= M;
  }
  low[at] = a ^ b ^ c ^ d;
  high[at] = A ^ B ^ C ^ D;
}

function word(text: string, at: number): number {
  return text.charCodeAt(at) | text.charCodeAt(at + 1) << 8 | text.charCodeAt(at + 2) << 16 |
    text.charCodeAt(at + 3) << 24;
}
