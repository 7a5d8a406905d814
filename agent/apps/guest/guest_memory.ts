/**
 * Bytes in and out of a guest's memory, by the rules of the canonical ABI for `list<u8>`: every
 * pointer is aligned and every range inside the memory, or the guest traps.
 *
 * Pointers come as the i32 that WebAssembly hands to JavaScript and are read as unsigned. Specification:
 * https://github.com/WebAssembly/component-model/blob/main/design/mvp/CanonicalABI.md
 *
 * @module
 */
import { trap } from "./fault.ts";
import { LIST_BYTES_MAX } from "./prices.ts";

/** `cabi_realloc` of a guest. */
export type Realloc = (from: number, oldSize: number, align: number, size: number) => number;

/** The memory of one instance; `realloc` is called with everything checked around it. */
export class GuestMemory {
  #bytes: Uint8Array;
  #view: DataView;

  constructor(readonly memory: WebAssembly.Memory, readonly realloc: Realloc) {
    this.#bytes = new Uint8Array(memory.buffer);
    this.#view = new DataView(memory.buffer);
  }

  /** All of the memory; growing it makes the views of before useless. */
  get bytes(): Uint8Array {
    // Growing detaches what was there, and to ask for that is many times cheaper than for the buffer.
    if (this.#bytes.length === 0) {
      this.#bytes = new Uint8Array(this.memory.buffer);
      this.#view = new DataView(this.memory.buffer);
    }
    return this.#bytes;
  }

  /** {@link bytes}, for numbers. */
  get numbers(): DataView {
    return this.bytes && this.#view;
  }

  /** A pointer to `size` bytes, aligned. */
  #at(pointer: number, size: number, align: number): number {
    const at = pointer >>> 0;
    if (at % align !== 0) throw trap("a pointer is not aligned");
    if (at + size > this.bytes.length) throw trap("a pointer is out of bounds");
    return at;
  }

  /** A list of the guest's where it is: until the guest goes on. */
  view(pointer: number, length: number): Uint8Array {
    const size = length >>> 0;
    const at = this.#at(pointer, size, 1);
    if (size > LIST_BYTES_MAX) throw trap("a list is too long");
    return this.bytes.subarray(at, at + size);
  }

  /** A copy of a list of the guest's. */
  read(pointer: number, length: number): Uint8Array {
    return new Uint8Array(this.view(pointer, length));
  }

  u8(pointer: number): number {
    return this.bytes[this.#at(pointer, 1, 1)]!;
  }

  u32(pointer: number): number {
    const at = this.#at(pointer, 4, 4);
    return this.#view.getUint32(at, true);
  }

  setU8(pointer: number, value: number): void {
    this.bytes[this.#at(pointer, 1, 1)] = value;
  }

  setU32(pointer: number, value: number): void {
    const at = this.#at(pointer, 4, 4);
    this.#view.setUint32(at, value, true);
  }

  /** A place for `size` bytes that the guest makes. */
  allocate(size: number, align: number): number {
    return this.#at(this.realloc(0, 0, align, size), size, align);
  }

  /** Hands bytes to the guest: where they are. */
  write(bytes: Uint8Array): number {
    const at = this.allocate(bytes.length, 1);
    this.bytes.set(bytes, at);
    return at;
  }

  /** Hands bytes to the guest, pointer and length at `to`, which is checked first. */
  writeList(to: number, bytes: Uint8Array): void {
    const at = this.#at(to, 8, 4);
    const pointer = this.write(bytes);
    this.setU32(at, pointer);
    this.setU32(at + 4, bytes.length);
  }

  /** {@link writeList} of an option, whose tag is before it. */
  writeOption(to: number, bytes: Uint8Array | undefined): void {
    const at = this.#at(to, 12, 4);
    if (bytes !== undefined) this.writeList(at + 4, bytes);
    this.setU8(at, bytes === undefined ? 0 : 1);
  }
}
