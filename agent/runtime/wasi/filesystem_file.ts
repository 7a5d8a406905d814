/**
 * A file that is open on the host, and the streams made from it.
 *
 * Every read and write names its position, so descriptors and streams of one file do not disturb
 * one another.
 *
 * @module
 */
import type { WasiInstance } from "./context.ts";
import {
  errorCodeOf,
  type Identity,
  identityOf,
  type MountPoint,
  onHost,
} from "./filesystem_paths.ts";
import { OFFSET_MAX } from "./filesystem_stat.ts";
import {
  type InputSource,
  type OutputSink,
  STREAM_BYTES_MAX,
  streamClosed,
  streamFailed,
} from "./io.ts";

const NOTHING: Uint8Array = new Uint8Array();

/** A file that is open on the host, by a descriptor and the streams made from it. */
export class OpenFile {
  #users = 1;
  #identity: Identity | undefined;
  readonly #unclose: () => void;

  constructor(
    readonly host: WasiInstance,
    readonly mount: MountPoint,
    readonly file: Deno.FsFile,
    readonly readable: boolean,
    readonly writable: boolean,
    identity?: Identity,
  ) {
    this.#identity = identity;
    if (!host.memory.open("openFiles")) {
      file.close();
      throw "quota";
    }
    this.#unclose = host.onClose(() => file.close());
  }

  identity(): Identity {
    return this.#identity ??= identityOf(onHost(() => this.file.statSync()));
  }

  retain(): this {
    this.#users++;
    return this;
  }

  release(): void {
    if (--this.#users > 0) return;
    this.#unclose();
    this.host.memory.count("openFiles", -1);
    this.file.close();
  }

  /** Up to `lengthMax` bytes at `offset`, none at the end. Throws an `error-code`. */
  readAt(lengthMax: number, offset: bigint): Uint8Array {
    const bytes = lengthMax === 0 ? NOTHING : new Uint8Array(lengthMax);
    const length = this.readInto(bytes, offset);
    return length === lengthMax ? bytes : bytes.slice(0, length);
  }

  /** Reads once, at `offset`; how many bytes came, none at the end. Throws an `error-code`. */
  readInto(bytes: Uint8Array, offset: bigint): number {
    if (offset > OFFSET_MAX) throw "invalid";
    if (!this.readable) throw "bad-descriptor";
    if (offset > OFFSET_MAX - BigInt(bytes.length)) throw "invalid";
    if (!this.#seek(offset) || bytes.length === 0) return 0;
    return onHost(() => this.file.readSync(bytes)) ?? 0;
  }

  /** Writes once, at `offset`; how many bytes went in. Throws an `error-code`. */
  writeAt(bytes: Uint8Array, offset: bigint): number {
    if (offset > OFFSET_MAX) throw "invalid";
    if (!this.writable) throw "bad-descriptor";
    if (offset > OFFSET_MAX - BigInt(bytes.length)) throw "invalid";
    if (bytes.length === 0) return 0;
    if (!this.#seek(offset)) throw "file-too-large";
    return onHost(() => this.file.writeSync(bytes));
  }

  /** Writes once, at the end, wherever that is now. Throws an `error-code`. */
  append(bytes: Uint8Array): number {
    if (!this.writable) throw "bad-descriptor";
    return this.host.ctx.lock([this.mount.index], () =>
      onHost(() => {
        this.file.seekSync(0, Deno.SeekMode.End);
        return this.file.writeSync(bytes);
      }));
  }

  /** Where it ends now. Throws an `error-code`. */
  end(): bigint {
    return BigInt(onHost(() => this.file.seekSync(0, Deno.SeekMode.End)));
  }

  /** False past what the host's file system can hold. */
  #seek(offset: bigint): boolean {
    try {
      this.file.seekSync(offset, Deno.SeekMode.Start);
      return true;
    } catch (error) {
      if (errorCodeOf(error) === "invalid") return false;
      throw errorCodeOf(error);
    }
  }
}

/** A file is always ready. */
const ALWAYS = { ready: () => true, wait: () => () => {} };

function fileFailed(host: WasiInstance, code: unknown): never {
  if (typeof code !== "string") throw code;
  streamFailed(host, { message: code, filesystem: code });
}

/** Reads a file from an offset on. */
export class FileSource implements InputSource {
  readonly ready = ALWAYS.ready;
  readonly wait = ALWAYS.wait;
  #closed = false;

  constructor(readonly file: OpenFile, public offset: bigint) {}

  read(lengthMax: number): Uint8Array {
    if (this.#closed) streamClosed();
    if (lengthMax === 0) return NOTHING;
    let bytes: Uint8Array;
    try {
      bytes = this.file.readAt(lengthMax, this.offset);
    } catch (code) {
      this.#closed = true;
      fileFailed(this.file.host, code);
    }
    if (bytes.length === 0) {
      this.#closed = true;
      streamClosed();
    }
    this.offset += BigInt(bytes.length);
    return bytes;
  }

  close(): void {
    this.file.release();
  }
}

/** Writes a file from an offset on, or at its end. */
export class FileSink implements OutputSink {
  readonly ready = ALWAYS.ready;
  readonly wait = ALWAYS.wait;
  #error: unknown;
  #closed = false;

  /** `offset` left out: at the end of the file. */
  constructor(readonly file: OpenFile, public offset?: bigint) {}

  permit(): number {
    this.#check();
    return STREAM_BYTES_MAX;
  }

  write(bytes: Uint8Array): void {
    this.#check();
    try {
      let rest = bytes;
      // Also nothing is written, so that a file that cannot be written says so.
      do {
        let written: number;
        if (this.offset === undefined) written = this.file.append(rest);
        else {
          written = this.file.writeAt(rest, this.offset);
          this.offset += BigInt(written);
        }
        rest = rest.subarray(written);
      } while (rest.length > 0);
    } catch (code) {
      // Told by the next call, as by a stream that writes in the background.
      this.#error = code;
      this.#closed = true;
    }
  }

  flush(): void {
    this.#check();
  }

  close(): void {
    this.file.release();
  }

  #check(): void {
    if (this.#error !== undefined) {
      const code = this.#error;
      this.#error = undefined;
      fileFailed(this.file.host, code);
    }
    if (this.#closed) streamClosed();
  }
}
