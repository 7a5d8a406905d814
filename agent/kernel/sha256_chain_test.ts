import assert from "node:assert/strict";
import fc from "fast-check";
import {
  ChainBuilder,
  CHUNK_BYTES,
  chunkCount,
  chunkLength,
  type ChunkProof,
  isChunk,
} from "./sha256_chain.ts";
import { sha256Hex } from "./sha256.ts";

/** Bytes that no two chunks share. */
function blobOf(size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  for (let i = 0, x = size + 1; i < size; i++) {
    bytes[i] = (x = Math.imul(x, 1664525) + 1013904223) >>> 24;
  }
  return bytes;
}

const chunkOf = (blob: Uint8Array, index: number) =>
  blob.subarray(index * CHUNK_BYTES, index * CHUNK_BYTES + chunkLength(blob.length, index));

/** What a peer that has the blob sends for each chunk. */
function proofsOf(blob: Uint8Array): ChunkProof[] {
  const builder = new ChainBuilder();
  const count = chunkCount(blob.length);
  for (let index = 0; index < count; index++) builder.add(chunkOf(blob, index));
  const { states, digest } = builder.finish();
  return states.map((state, index) => ({
    size: blob.length,
    index,
    state,
    bytes: chunkOf(blob, index),
    next: states[index + 1] ?? digest,
  }));
}

const SIZES = [
  0,
  1,
  63,
  64,
  65,
  CHUNK_BYTES - 1,
  CHUNK_BYTES,
  CHUNK_BYTES + 1,
  2 * CHUNK_BYTES,
  2 * CHUNK_BYTES + 55,
];

Deno.test("isChunk() proves every chunk by the sha256 of the whole, whatever the size", async () => {
  for (const size of SIZES) {
    const blob = blobOf(size);
    const proofs = proofsOf(blob);
    assert.equal(proofs.length, chunkCount(size));
    assert.equal(proofs.at(-1)!.next.toHex(), await sha256Hex(blob), `${size}`);
    for (const proof of proofs) assert.ok(isChunk(proof), `${size} ${proof.index}`);
  }
});

Deno.test("isChunk() refuses a bit changed anywhere, and another size", () => {
  for (const size of SIZES) {
    const flipped = (bytes: Uint8Array, at: number) => {
      const copy = bytes.slice();
      copy[at]! ^= 1;
      return copy;
    };
    for (const proof of proofsOf(blobOf(size))) {
      const { bytes, state, next } = proof;
      if (bytes.length > 0) {
        assert.ok(!isChunk({ ...proof, bytes: flipped(bytes, 0) }));
        assert.ok(!isChunk({ ...proof, bytes: flipped(bytes, bytes.length - 1) }));
        assert.ok(!isChunk({ ...proof, bytes: bytes.subarray(1) }));
      }
      for (const at of [0, 31]) assert.ok(!isChunk({ ...proof, state: flipped(state, at) }));
      assert.ok(!isChunk({ ...proof, next: flipped(next, 31) }));
      assert.ok(!isChunk({ ...proof, state: state.subarray(1) }));
      assert.ok(!isChunk({ ...proof, bytes: new Uint8Array([...bytes, 0]) }));
    }
  }
});

Deno.test("isChunk() refuses the last chunk under any other size of the blob", () => {
  const blob = blobOf(CHUNK_BYTES + 100);
  const last = proofsOf(blob)[1]!;
  fc.assert(fc.property(fc.integer({ min: 0, max: 5 * CHUNK_BYTES }), (size) => {
    if (size === blob.length) return;
    assert.ok(!isChunk({ ...last, size, index: chunkCount(size) - 1 }));
    // The same bytes in another place: only the length in the padding differs.
    const moved = size - size % CHUNK_BYTES + 100;
    if (moved !== blob.length) {
      assert.ok(!isChunk({ ...last, size: moved, index: chunkCount(moved) - 1 }));
    }
  }));
});

Deno.test("isChunk() wants SHA-256's own beginning before the first chunk", () => {
  // What comes in the middle does not depend on where it is: only its state tells that it is not
  // the beginning.
  const [first, second] = proofsOf(blobOf(3 * CHUNK_BYTES));
  assert.ok(isChunk(first!));
  assert.ok(isChunk(second!));
  assert.ok(!isChunk({ ...second!, index: 0 }));
});

Deno.test("isChunk() leaves what it was given as it was, also views into larger buffers", () => {
  const blob = blobOf(CHUNK_BYTES + 7);
  for (const proof of proofsOf(blob)) {
    const buffer = new Uint8Array(100);
    buffer.set(proof.state, 13);
    const state = buffer.subarray(13, 45);
    const before = [state.toHex(), proof.next.toHex()];
    assert.ok(isChunk({ ...proof, state }));
    assert.ok(isChunk({ ...proof, state }));
    assert.deepEqual([state.toHex(), proof.next.toHex()], before);
  }
  assert.deepEqual(blob, blobOf(CHUNK_BYTES + 7));
});
