/**
 * Reading and writing the WebAssembly binary format: bytes, LEB128 integers and names.
 *
 * Offsets are bytes from the start of the module. Everything a module says about itself is
 * checked against the bytes that are really there before anything is allocated for it. Throws
 * RealmError `invalid-module` (malformed) or `unsupported` (well-formed, not accepted here), with
 * the byte offset and, inside code, the function index.
 * Specification: https://webassembly.github.io/spec/core/binary/index.html
 *
 * @module
 */
import { RealmError } from "../../kernel/error.ts";

const UTF8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** A cursor over the bytes `[at, end)` of a module. */
export class Reader {
  /** Index of the function that is being read, -1 outside of code; only for messages. */
  functionIndex = -1;
  /** Whether a reference to an exception was among the types read. */
  sawExceptionType = false;

  constructor(readonly bytes: Uint8Array, public at = 0, public end = bytes.length) {}

  /** The error for malformed input: `what` is there, `wanted` should be. */
  invalid(what: string, wanted: string, at = this.at): RealmError {
    return new RealmError(
      "invalid-module",
      `Cannot meter module: ${this.#place(what, at)}, ${wanted}`,
    );
  }

  /** The error for input that is well-formed and not supported. */
  unsupported(what: string, why: string, at = this.at): RealmError {
    return new RealmError("unsupported", `Cannot meter module: ${this.#place(what, at)}, ${why}`);
  }

  #place(what: string, at: number): string {
    const inside = this.functionIndex < 0 ? "" : ` in function ${this.functionIndex}`;
    return `${what} at byte ${at}${inside}`;
  }

  /** One byte. */
  u8(): number {
    if (this.at >= this.end) throw this.invalid("end of input", "another byte was expected");
    return this.bytes[this.at++]!;
  }

  /** Unsigned LEB128 of at most 32 bits. */
  u32(): number {
    // Nearly every integer of a module is one byte long.
    const first = this.at < this.end ? this.bytes[this.at]! : 0x80;
    if (first < 0x80) {
      this.at++;
      return first;
    }
    const start = this.at;
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.u8();
      if (shift === 28 && byte > 0x0f) break;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    throw this.invalid("LEB128 integer", "it must fit 32 bits", start);
  }

  /** Steps over a LEB128 integer of at most `bytesMax` bytes whose value does not matter. */
  skipLeb(bytesMax: number): void {
    const start = this.at;
    for (let n = 0; n < bytesMax; n++) if (this.u8() < 0x80) return;
    throw this.invalid("LEB128 integer", `it must have at most ${bytesMax} bytes`, start);
  }

  /** Steps over `length` bytes. */
  skip(length: number): void {
    if (length > this.end - this.at) {
      throw this.invalid(`length ${length}`, `only ${this.end - this.at} bytes are left`);
    }
    this.at += length;
  }

  /** A count of items that take at least one byte each, so that it cannot lie by much. */
  count(of: string, max = Infinity): number {
    const start = this.at;
    const n = this.u32();
    if (n > this.end - this.at) {
      throw this.invalid(`count of ${n} ${of}`, `only ${this.end - this.at} bytes are left`, start);
    }
    if (n > max) {
      throw this.unsupported(`count of ${n} ${of}`, `at most ${max} are supported`, start);
    }
    return n;
  }

  /** An index into an index space that holds `size` items. */
  index(of: string, size: number): number {
    const start = this.at;
    const i = this.u32();
    if (i >= size) throw this.invalid(`${of} index ${i}`, `there are ${size}`, start);
    return i;
  }

  /** A length-prefixed UTF-8 name. Its encoding is left to the engine to check. */
  name(): string {
    const length = this.u32();
    const start = this.at;
    this.skip(length);
    return UTF8.decode(this.bytes.subarray(start, this.at));
  }
}

/** What several writers hold, one behind the other. */
export function joined(parts: readonly Writer[]): Uint8Array<ArrayBuffer> {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    part.copyTo(bytes, at);
    at += part.length;
  }
  return bytes;
}

/** A growing buffer. */
export class Writer {
  #bytes: Uint8Array;
  /** Bytes written so far. */
  length = 0;

  constructor(capacity = 1024) {
    this.#bytes = new Uint8Array(capacity);
  }

  #reserve(n: number): void {
    if (this.length + n <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.length + n));
    grown.set(this.#bytes.subarray(0, this.length));
    this.#bytes = grown;
  }

  /** Single bytes: opcodes and short immediates. */
  u8(...bytes: number[]): this {
    this.#reserve(bytes.length);
    for (let i = 0; i < bytes.length; i++) this.#bytes[this.length++] = bytes[i]!;
    return this;
  }

  /** Unsigned LEB128. */
  u32(value: number): this {
    this.#reserve(5);
    while (value >= 0x80) {
      this.#bytes[this.length++] = (value % 0x80) | 0x80;
      value = Math.floor(value / 0x80);
    }
    this.#bytes[this.length++] = value;
    return this;
  }

  /** Signed LEB128 of a 32-bit integer. */
  s32(value: number): this {
    this.#reserve(5);
    for (;;) {
      const byte = value & 0x7f;
      value >>= 7;
      if (value === (byte & 0x40 ? -1 : 0)) {
        this.#bytes[this.length++] = byte;
        return this;
      }
      this.#bytes[this.length++] = byte | 0x80;
    }
  }

  /** An opcode (or prefix, or any byte) and one unsigned immediate. */
  op(opcode: number, immediate: number): this {
    return this.u8(opcode).u32(immediate);
  }

  /** The bytes `[start, end)` of `source`. */
  copy(source: Uint8Array, start = 0, end = source.length): this {
    const n = end - start;
    this.#reserve(n);
    // A typed array call costs more than the copy itself when the run is short.
    if (n < 24) {
      for (let i = start; i < end; i++) this.#bytes[this.length++] = source[i]!;
      return this;
    }
    this.#bytes.set(source.subarray(start, end), this.length);
    this.length += n;
    return this;
  }

  /** All that `other` holds. */
  append(other: Writer): this {
    return this.copy(other.#bytes, 0, other.length);
  }

  /** All that `other` holds, behind its length. */
  appendSized(other: Writer): this {
    return this.u32(other.length).append(other);
  }

  /** A length-prefixed UTF-8 name. */
  name(text: string): this {
    const bytes = new TextEncoder().encode(text);
    return this.u32(bytes.length).copy(bytes);
  }

  /** Forgets what was written; the memory is kept for the next use. */
  clear(): this {
    this.length = 0;
    return this;
  }

  /** Puts all that was written to `at` in `bytes`. */
  copyTo(bytes: Uint8Array, at: number): void {
    bytes.set(this.#bytes.subarray(0, this.length), at);
  }

  /** A copy of what was written. */
  bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.length) as Uint8Array<ArrayBuffer>;
  }
}
