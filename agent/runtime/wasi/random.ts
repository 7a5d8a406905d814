/**
 * `wasi:random`: unpredictable bytes where they are granted, and the insecure kind, which is
 * always there, since hash maps need a seed.
 *
 * @see https://github.com/WebAssembly/wasi-random/tree/v0.2.12/wit
 * @module
 */
import type { WasiInstance } from "./context.ts";

/** The most bytes of one call; past it the guest traps, as under wasmtime. */
export const RANDOM_BYTES_MAX = 64 * 1024 * 1024;
/** What Web Crypto gives at once. */
const CHUNK_BYTES = 65_536;

/** sfc32, a small fast generator of good statistics and no secrecy. */
class Sfc32 {
  #state: Uint32Array;

  constructor(seed: Uint8Array) {
    this.#state = new Uint32Array(seed.slice(0, 16).buffer);
    for (let i = 0; i < 12; i++) this.next();
  }

  next(): number {
    const s = this.#state;
    const sum = (s[0]! + s[1]! + s[3]!) >>> 0;
    s[3] = s[3]! + 1;
    s[0] = s[1]! ^ (s[1]! >>> 9);
    s[1] = s[2]! + (s[2]! << 3);
    s[2] = ((s[2]! << 21) | (s[2]! >>> 11)) + sum;
    return sum;
  }

  fill(bytes: Uint8Array): void {
    const words = new Uint32Array(Math.ceil(bytes.length / 4));
    for (let i = 0; i < words.length; i++) words[i] = this.next();
    bytes.set(new Uint8Array(words.buffer, 0, bytes.length));
  }
}

function u64(bytes: Uint8Array, at = 0): bigint {
  return new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(at, true);
}

/** The functions of `wasi:random`, by interface. */
export function createRandom(host: WasiInstance) {
  const { random, grants } = host.ctx;
  let seeded: { seed: Uint8Array; generator: Sfc32 } | undefined;
  const insecure = () => {
    if (seeded === undefined) {
      const seed = random.bytes(32);
      seeded = { seed, generator: new Sfc32(seed) };
    }
    return seeded;
  };
  const checkedLength = (length: bigint): number => {
    if (length > BigInt(RANDOM_BYTES_MAX)) {
      host.trap(`Cannot give ${length} random bytes: the most is ${RANDOM_BYTES_MAX}`);
    }
    host.ctx.makes?.(Number(length));
    return Number(length);
  };
  const secure = (length: bigint, call: string): Uint8Array => {
    if (!grants.random) {
      host.deny(`wasi:random/random#${call}`, "random");
      host.trap(`Cannot call wasi:random/random#${call}: random is not granted`);
    }
    const bytes = new Uint8Array(checkedLength(length));
    for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
      bytes.set(random.bytes(Math.min(CHUNK_BYTES, bytes.length - at)), at);
    }
    return bytes;
  };
  const quick = (length: bigint): Uint8Array => {
    const bytes = new Uint8Array(checkedLength(length));
    insecure().generator.fill(bytes);
    return bytes;
  };
  return {
    random: {
      getRandomBytes: (length: bigint) => secure(length, "get-random-bytes"),
      getRandomU64: () => u64(secure(8n, "get-random-u64")),
    },
    insecure: {
      getInsecureRandomBytes: quick,
      getInsecureRandomU64: () => u64(quick(8n)),
    },
    insecureSeed: {
      insecureSeed: () => [u64(insecure().seed, 16), u64(insecure().seed, 24)],
    },
  };
}
