/**
 * How WASI 0.1 passes values: numbers of errors and types, the layout of its records, strings and
 * buffers in the memory of the guest.
 *
 * @see https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md
 * @module
 */
import type { Datetime } from "./clocks.ts";
import type { DescriptorStat, DescriptorType } from "./filesystem_stat.ts";

/** `errno`, those that can occur. */
export const ERRNO = {
  success: 0,
  access: 2,
  "would-block": 6,
  "bad-descriptor": 8,
  busy: 10,
  quota: 19,
  exist: 20,
  "file-too-large": 22,
  "illegal-byte-sequence": 25,
  interrupted: 27,
  invalid: 28,
  io: 29,
  "is-directory": 31,
  loop: 32,
  "too-many-links": 34,
  "name-too-long": 37,
  "no-entry": 44,
  "insufficient-memory": 48,
  "insufficient-space": 51,
  "not-directory": 54,
  "not-empty": 55,
  "not-socket": 57,
  unsupported: 58,
  overflow: 61,
  "not-permitted": 63,
  pipe: 64,
  "read-only": 69,
  "invalid-seek": 70,
  "text-file-busy": 74,
  "cross-device": 75,
} as const;

/** A name of {@link ERRNO}; functions of WASI 0.1 throw it, as those of 0.2 throw their codes. */
export type Errno = keyof typeof ERRNO;

/** Ends a guest that passes bits which a set of flags does not have, as wasmtime does. */
export function checkFlags(flags: number | bigint, all: number | bigint): void {
  if ((BigInt(flags) & ~BigInt(all)) !== 0n) throw new RangeError(`invalid flags ${flags}`);
}

/** Ends a guest that passes a number which an enumeration does not have. */
export function checkEnum(value: number, count: number): void {
  if (value >>> 0 >= count) throw new RangeError(`invalid value ${value}`);
}

/** `filetype`. */
export const FILETYPE: Readonly<Record<DescriptorType, number>> = {
  "unknown": 0,
  "block-device": 1,
  "character-device": 2,
  "directory": 3,
  "regular-file": 4,
  "socket": 6,
  "symbolic-link": 7,
  "fifo": 0,
};

/** `rights`, bit by bit in their order. */
const RIGHTS = [
  "fd-datasync",
  "fd-read",
  "fd-seek",
  "fd-fdstat-set-flags",
  "fd-sync",
  "fd-tell",
  "fd-write",
  "fd-advise",
  "fd-allocate",
  "path-create-directory",
  "path-create-file",
  "path-link-source",
  "path-link-target",
  "path-open",
  "fd-readdir",
  "path-readlink",
  "path-rename-source",
  "path-rename-target",
  "path-filestat-get",
  "path-filestat-set-size",
  "path-filestat-set-times",
  "fd-filestat-get",
  "fd-filestat-set-size",
  "fd-filestat-set-times",
  "path-symlink",
  "path-remove-directory",
  "path-unlink-file",
  "poll-fd-readwrite",
  "sock-shutdown",
  "sock-accept",
] as const;

/** The bits of some rights. */
export function rights(...names: (typeof RIGHTS)[number][]): bigint {
  return names.reduce((bits, name) => bits | 1n << BigInt(RIGHTS.indexOf(name)), 0n);
}

/** Every right there is. */
export const RIGHTS_ALL: bigint = (1n << BigInt(RIGHTS.length)) - 1n;

/** Bytes of a `dirent` before its name. */
export const DIRENT_BYTES = 24;
/** Bytes of a `subscription`. */
export const SUBSCRIPTION_BYTES = 48;
/** Bytes of an `event`. */
export const EVENT_BYTES = 32;

const NS_PER_S = 1_000_000_000n;
const U64_MAX = 2n ** 64n - 1n;

/** Nanoseconds since 1970. Throws `overflow`. */
export function timestampOf(time: Datetime | undefined): bigint {
  if (time === undefined) return 0n;
  const ns = time.seconds * NS_PER_S + BigInt(time.nanoseconds);
  if (ns > U64_MAX) throw "overflow" satisfies Errno;
  return ns;
}

/** `filestat`; what it leaves out is zero. */
export interface Filestat extends Partial<Omit<DescriptorStat, "type">> {
  readonly dev: bigint;
  readonly ino: bigint;
  readonly filetype: number;
}

/** Bytes of a string that are looked at. */
const STRING_BYTES_MAX = 64 * 1024;
/** Buffers of a call that are looked at, as many as `writev(2)` takes. */
const IOVECS_MAX = 1024;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The guest's memory. What lies outside of it throws a RangeError, which ends the guest. */
export class GuestMemory {
  #memory: WebAssembly.Memory | undefined;
  #view = new DataView(new ArrayBuffer(0));
  #bytes = new Uint8Array();

  /** Sets what the module exports as `memory`. */
  bind(memory: WebAssembly.Memory): void {
    this.#memory = memory;
  }

  #refresh(): void {
    // Never shared: realm has no threads.
    const buffer = this.#memory?.buffer as ArrayBuffer | undefined;
    if (buffer === undefined) throw new Error("the module has no memory");
    // A memory that grew has a new buffer.
    if (this.#view.buffer === buffer) return;
    this.#view = new DataView(buffer);
    this.#bytes = new Uint8Array(buffer);
  }

  view(): DataView {
    this.#refresh();
    return this.#view;
  }

  /** The bytes themselves, not a copy: gone when the memory grows. */
  bytes(pointer: number, length: number): Uint8Array {
    this.#refresh();
    const at = pointer >>> 0, end = at + (length >>> 0);
    if (end > this.#bytes.length) throw new RangeError("out of bounds memory access");
    return this.#bytes.subarray(at, end);
  }

  /** A path, or the text of a link. Throws `illegal-byte-sequence`, `name-too-long`. */
  string(pointer: number, length: number): string {
    const bytes = this.bytes(pointer, length);
    // Longer than any path: the host would hold as much again as the guest may have.
    if (bytes.length > STRING_BYTES_MAX) throw "name-too-long" satisfies Errno;
    try {
      return decoder.decode(bytes);
    } catch {
      throw "illegal-byte-sequence" satisfies Errno;
    }
  }

  /**
   * The first buffer of an `iovec` array that is not empty, if there is one among the first
   * {@link IOVECS_MAX}: to look through a memory full of them would cost the guest nothing.
   */
  buffer(iovs: number, count: number): Uint8Array {
    const view = this.view();
    for (let i = 0; i < Math.min(count >>> 0, IOVECS_MAX); i++) {
      const at = (iovs >>> 0) + i * 8;
      const length = view.getUint32(at + 4, true);
      if (length > 0) return this.bytes(view.getUint32(at, true), length);
    }
    return this.bytes(0, 0);
  }

  u32(pointer: number, value: number): void {
    this.view().setUint32(pointer >>> 0, value, true);
  }

  u64(pointer: number, value: bigint): void {
    this.view().setBigUint64(pointer >>> 0, value, true);
  }

  put(pointer: number, bytes: Uint8Array): void {
    this.bytes(pointer, bytes.length).set(bytes);
  }

  /** Strings with a zero behind each, and an array of pointers to them. */
  strings(pointers: number, buffer: number, strings: readonly string[]): void {
    for (const [index, text] of strings.entries()) {
      const bytes = encoder.encode(`${text}\0`);
      this.u32(pointers + index * 4, buffer);
      this.put(buffer, bytes);
      buffer += bytes.length;
    }
  }

  filestat(pointer: number, stat: Filestat): void {
    const { dev, ino, filetype, linkCount = 0n, size = 0n } = stat;
    const times = [
      stat.dataAccessTimestamp,
      stat.dataModificationTimestamp,
      stat.statusChangeTimestamp,
    ].map(timestampOf);
    [dev, ino, BigInt(filetype), linkCount, size, ...times]
      .forEach((value, index) => this.u64(pointer + index * 8, value));
  }

  fdstat(pointer: number, filetype: number, flags: number, base: bigint, inheriting = base): void {
    const view = this.view(), at = pointer >>> 0;
    view.setUint16(at, filetype, true);
    view.setUint16(at + 2, flags, true);
    this.u64(at + 8, base);
    this.u64(at + 16, inheriting);
  }

  event(
    pointer: number,
    userdata: bigint,
    type: number,
    readwrite: { readonly bytes: bigint; readonly flags: number },
  ): void {
    const view = this.view(), at = pointer >>> 0;
    this.u64(at, userdata);
    this.u64(at + 8, BigInt(type) << 16n);
    this.u64(at + 16, readwrite.bytes);
    view.setUint16(at + 24, readwrite.flags, true);
  }
}

/** The bytes of strings as {@link GuestMemory.strings} puts them. */
export function bytesOfStrings(strings: readonly string[]): number {
  return strings.reduce((sum, text) => sum + encoder.encode(text).length + 1, 0);
}

/** A `dirent` with its name. */
export function encodeDirent(next: bigint, ino: bigint, type: number, name: string): Uint8Array {
  const text = encoder.encode(name);
  const bytes = new Uint8Array(DIRENT_BYTES + text.length);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, next, true);
  view.setBigUint64(8, ino, true);
  view.setUint32(16, text.length, true);
  view.setUint8(20, type);
  bytes.set(text, DIRENT_BYTES);
  return bytes;
}

/** The bytes of a text. */
export function encodeText(text: string): Uint8Array {
  return encoder.encode(text);
}
