/**
 * SHA-256 (FIPS 180-4) at once, for small inputs: names of events, and the tree over a state.
 *
 * WebAssembly does it in a quarter of the time that JavaScript takes, and an event needs several. For
 * blobs there is `sha256.ts`, which does not hold up the calling thread.
 *
 * @module
 */
import { textOf } from "./byte_string.ts";

/** `sha256_core.wat`, assembled: a test compares. */
const CORE = [
  "AGFzbQEAAAABDQNgAX8Bf2AAAGABfwADBQQAAQIBBQMBAAEHJAQGbWVtb3J5AgAFc3RhcnQAAQZ1cGRhdGUAAgZm",
  "aW5pc2gAAwruBAQZACAAQQh3Qf+B/AdxIABBCHhBgP6DeHFyC0YAQYAEQufMp9DW0Ouzu383AwBBiARC8ua746On",
  "/aelfzcDAEGQBEL/pLmIxZHagpt/NwMAQZgEQquzj/yRo7Pw2wA3AwAL6AMBDX9BgAghASABIABBBnRqIQICQANA",
  "IAEgAk8NAUEAIQMDQCADIAEgA2ooAgAQADYCgAIgA0EEaiIDQcAASQ0ACwNAIAMoAsQBIQQgAygC+AEhBSADIAMo",
  "AsABIARBB3ggBEESeHMgBEEDdnNqIAMoAuQBIAVBEXggBUETeHMgBUEKdnNqajYCgAIgA0EEaiIDQYACSQ0AC0GA",
  "BCgCACEGQYQEKAIAIQdBiAQoAgAhCEGMBCgCACEJQZAEKAIAIQpBlAQoAgAhC0GYBCgCACEMQZwEKAIAIQ1BACED",
  "A0AgDSAKQQZ4IApBC3hzIApBGXhzaiAMIAogCyAMc3FzaiADKAIAIAMoAoACamohBCAGQQJ4IAZBDXhzIAZBFnhz",
  "IAYgB3EgCCAGIAdycXJqIQUgDCENIAshDCAKIQsgCSAEaiEKIAghCSAHIQggBiEHIAQgBWohBiADQQRqIgNBgAJJ",
  "DQALQYAEQYAEKAIAIAZqNgIAQYQEQYQEKAIAIAdqNgIAQYgEQYgEKAIAIAhqNgIAQYwEQYwEKAIAIAlqNgIAQZAE",
  "QZAEKAIAIApqNgIAQZQEQZQEKAIAIAtqNgIAQZgEQZgEKAIAIAxqNgIAQZwEQZwEKAIAIA1qNgIAIAFBwABqIQEM",
  "AAsLCyEBAX8DQCAAIAAoAoAEEAA2AqAEIABBBGoiAEEgSQ0ACwsLhwIBAEEAC4ACmC+KQpFEN3HP+8C1pdu16VvC",
  "VjnxEfFZpII/ktVeHKuYqgfYAVuDEr6FMSTDfQxVdF2+cv6x3oCnBtybdPGbwcFpm+SGR77vxp3BD8yhDCRvLOkt",
  "qoR0StypsFzaiPl2UlE+mG3GMajIJwOwx39Zv/ML4MZHkafVUWPKBmcpKRSFCrcnOCEbLvxtLE0TDThTVHMKZbsK",
  "anYuycKBhSxykqHov6JLZhqocItLwqNRbMcZ6JLRJAaZ1oU1DvRwoGoQFsGkGQhsNx5Md0gntbywNLMMHDlKqthO",
  "T8qcW/NvLmjugo90b2OleBR4yIQIAseM+v++kOtsUKT3o/m+8nhxxg==",
].join("");

/** Where the core has its input and its digest, and how much of the input is given at once. */
const INPUT = 1024;
const DIGEST = 544;
const DIGEST_BYTES = 32;
const BLOCK_BYTES = 64;
const CHUNK_BYTES = 48 * 1024;

interface Core {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly digest: Uint8Array;
  start(): void;
  update(blocks: number): void;
  finish(): void;
}

let core: Core | undefined;

/** The bytes of the core. For the test that compares them. */
export function sha256Core(): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(CORE), (char) => char.charCodeAt(0));
}

function load(): Core {
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(sha256Core()));
  const { memory, start, update, finish } = exports as unknown as
    & Pick<Core, "start" | "update" | "finish">
    & { memory: WebAssembly.Memory };
  return {
    bytes: new Uint8Array(memory.buffer),
    view: new DataView(memory.buffer),
    digest: new Uint8Array(memory.buffer, DIGEST, DIGEST_BYTES),
    start,
    update,
    finish,
  };
}

/** The SHA-256 of bytes, 32 of them: in a place that the next one takes. */
export function passingSha256(data: Uint8Array): Uint8Array {
  const { bytes, view, digest, start, update, finish } = core ??= load();
  start();
  let at = 0;
  for (; data.length - at >= CHUNK_BYTES; at += CHUNK_BYTES) {
    bytes.set(data.subarray(at, at + CHUNK_BYTES), INPUT);
    update(CHUNK_BYTES / BLOCK_BYTES);
  }
  // The rest, a bit that is set, zeros, and the number of bits: whole blocks.
  const rest = data.length - at;
  const blocks = Math.ceil((rest + 9) / BLOCK_BYTES);
  const end = INPUT + BLOCK_BYTES * blocks;
  bytes.set(at === 0 ? data : data.subarray(at), INPUT);
  bytes[INPUT + rest] = 0x80;
  bytes.fill(0, INPUT + rest + 1, end - 8);
  view.setUint32(end - 8, Math.floor(data.length / 2 ** 29));
  view.setUint32(end - 4, data.length * 8);
  update(blocks);
  finish();
  return digest;
}

/** The SHA-256 of bytes: 32 bytes. */
export function sha256(data: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(passingSha256(data));
}

/** {@link sha256}, as a byte string. */
export function sha256Text(data: Uint8Array): string {
  return textOf(passingSha256(data));
}
