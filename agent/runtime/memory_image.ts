/**
 * What an instance of a component has in its memories and globals right after instantiation, and
 * how it is put back. For renewable modules only, where that is all that a guest can change; see
 * `wasm/meter/lasting_state.ts`.
 *
 * An image holds the blocks that are not zero. The others are compared with zeros, and those that
 * differ are cleared: what a guest never touched never takes memory of the machine, nor room in the
 * processor's cache. Comparing is native code of Deno, half as dear as clearing all; in WebAssembly
 * it would be twice as dear, because V8 checks the bounds of every access.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { LASTING } from "../wasm/meter/lasting_names.ts";

const BLOCK_BYTES = 4096;
/** What is compared and cleared at once. */
const STRIDE_BYTES = 16_384;
const ZEROS = Buffer.alloc(STRIDE_BYTES);

/** Consecutive blocks of one memory that are not zero. */
interface Run {
  readonly at: number;
  readonly bytes: Uint8Array;
}

/** What is put back; it holds for every instance of the same modules. */
export interface MemoryImage {
  readonly memories: readonly { readonly size: number; readonly runs: readonly Run[] }[];
  readonly globals: readonly (number | bigint)[];
}

function isZero(bytes: Buffer, from: number, to: number): boolean {
  return bytes.compare(ZEROS, 0, to - from, from, to) === 0;
}

function runsOf(bytes: Buffer): Run[] {
  const runs: Run[] = [];
  const isBlank = (at: number) => isZero(bytes, at, at + BLOCK_BYTES);
  for (let at = 0; at < bytes.length; at += BLOCK_BYTES) {
    if (isBlank(at)) continue;
    const from = at;
    while (at < bytes.length && !isBlank(at)) at += BLOCK_BYTES;
    runs.push({ at: from, bytes: Uint8Array.from(bytes.subarray(from, at)) });
  }
  return runs;
}

function clear(bytes: Buffer, from: number, to: number): void {
  for (let at = from; at < to; at += STRIDE_BYTES) {
    const end = Math.min(at + STRIDE_BYTES, to);
    // Not `Buffer`'s own, which in Deno is JavaScript and a hundred times slower.
    if (!isZero(bytes, at, end)) Uint8Array.prototype.fill.call(bytes, 0, at, end);
  }
}

/** The lasting state of one instance: what its core modules export of it, in order. */
export class LastingState {
  readonly #memories: WebAssembly.Memory[] = [];
  readonly #globals: WebAssembly.Global[] = [];

  constructor(exports: Iterable<Readonly<Record<string, unknown>>>) {
    for (const each of exports) {
      for (const name in each) {
        if (!name.startsWith(LASTING)) continue;
        const item = each[name];
        if (item instanceof WebAssembly.Memory) this.#memories.push(item);
        else this.#globals.push(item as WebAssembly.Global);
      }
    }
  }

  /** Of all memories together. */
  get memoryBytes(): number {
    return this.#memories.reduce((sum, { buffer }) => sum + buffer.byteLength, 0);
  }

  /** Takes the image; before any code of the guest ran. */
  take(): MemoryImage {
    return {
      memories: this.#memories.map(({ buffer }) => ({
        size: buffer.byteLength,
        runs: runsOf(Buffer.from(buffer as ArrayBuffer)),
      })),
      globals: this.#globals.map(({ value }) => value as number | bigint),
    };
  }

  /** Puts the image back; false where a memory has grown, which cannot be undone. */
  putBack({ memories, globals }: MemoryImage): boolean {
    const buffers = this.#memories.map((memory) => memory.buffer);
    if (buffers.some(({ byteLength }, i) => byteLength !== memories[i]!.size)) return false;
    for (const [i, buffer] of buffers.entries()) {
      const bytes = Buffer.from(buffer as ArrayBuffer);
      let from = 0;
      for (const run of memories[i]!.runs) {
        clear(bytes, from, run.at);
        bytes.set(run.bytes, run.at);
        from = run.at + run.bytes.length;
      }
      clear(bytes, from, bytes.length);
    }
    for (const [i, global] of this.#globals.entries()) global.value = globals[i]!;
    return true;
  }
}
