/**
 * What peers say to one another about a blob, in bytes whose number is known before they come.
 *
 * Who wants a blob opens a stream and sends its sha256 (32 bytes). The answer is 9 bytes: one of
 * {@link PRESENT}, {@link ABSENT}, {@link BUSY}, and the size of the blob (0 unless present). Then
 * it asks for chunks by number (4 bytes each), as many at once as it likes, and gets for each, in
 * the order of asking, {@link PRESENT}, SHA-256's state before the chunk (32 bytes) and the chunk;
 * or {@link ABSENT} and the end of the stream. Integers are big-endian. `kernel/sha256_chain.ts`
 * says how large chunks are and how the state proves them.
 *
 * @module
 */
import { STATE_BYTES } from "../kernel/sha256_chain.ts";

/** The protocol of the streams. */
export const BLOBS_PROTOCOL = "/realm/blobs/1.0.0";

/** Larger blobs are neither asked for nor given. */
export const BLOB_BYTES_MAX = 256 * 1024 * 1024;

/** It is not here (any more). */
export const ABSENT = 0;
/** It is here. */
export const PRESENT = 1;
/** Too much is asked for at once; try again, or another peer. */
export const BUSY = 2;

export const DIGEST_BYTES = 32;
export const ANSWER_BYTES = 9;
export const ASK_BYTES = 4;
/** Bytes before those of a chunk. */
export const CHUNK_HEAD_BYTES = 1 + STATE_BYTES;

/** An answer; see the module. */
export function encodeAnswer(status: number, size: number): Uint8Array {
  const bytes = new Uint8Array(ANSWER_BYTES);
  bytes[0] = status;
  new DataView(bytes.buffer).setBigUint64(1, BigInt(size));
  return bytes;
}

/** The parts of an answer; `undefined` when it is none that can be. */
export function decodeAnswer(bytes: Uint8Array): { status: number; size: number } | undefined {
  const status = bytes[0]!;
  const size = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(1));
  if (status > BUSY || size > BLOB_BYTES_MAX || status !== PRESENT && size > 0) return undefined;
  return { status, size };
}

/** A request for a chunk. */
export function encodeAsk(index: number): Uint8Array {
  const bytes = new Uint8Array(ASK_BYTES);
  new DataView(bytes.buffer).setUint32(0, index);
  return bytes;
}

/** The number in a request for a chunk. */
export function decodeAsk(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
}
