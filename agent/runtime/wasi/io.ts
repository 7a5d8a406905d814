/**
 * `wasi:io`: errors, pollables and streams.
 *
 * A stream is a handle on a source or a sink, which other files make out of standard streams,
 * files and bodies. A source or sink never blocks: it says whether it is ready and calls back when
 * that may have changed, and everything that waits is built from those two here. A function that
 * waits answers with a promise, and with a plain value when there is nothing to wait for.
 *
 * @see https://github.com/WebAssembly/wasi-io/tree/v0.2.12/wit
 * @module
 */
import type { WasiInstance } from "./context.ts";
import { guardResource, HOLD, requireBytes, Resource } from "./resource.ts";

/** The most bytes that one read gives, and that a sink takes before it pushes back. */
export const STREAM_BYTES_MAX = 65_536;
/** The most bytes of the functions that write and flush in one; the interface's own number. */
export const BLOCKING_WRITE_BYTES_MAX = 4096;
/** The longest list that `poll` takes; a pollable may be in it more than once. */
export const POLL_LIST_MAX = 4096;

const MAYBE = 2n ** 53n;

/** A u64 as a length in bytes, at most `max`. */
export function clampLength(length: bigint, max = STREAM_BYTES_MAX): number {
  return length < MAYBE ? Math.min(Number(length), max) : max;
}

/** Something that becomes ready. */
export interface Readiness {
  ready(): boolean;
  /** Calls `wake` once when it may have become ready; the answer takes that back. */
  wait(wake: () => void): () => void;
}

/** Those who wait for a change. */
export class Signal {
  /** Made with the first: of most, nobody ever waits. */
  #waiting: Set<() => void> | undefined;

  wait(wake: () => void): () => void {
    const waiting = this.#waiting ??= new Set();
    waiting.add(wake);
    return () => waiting.delete(wake);
  }

  notify(): void {
    if (this.#waiting === undefined) return;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    for (const wake of waiting) wake();
  }
}

/** Where an input stream reads from. */
export interface InputSource extends Readiness {
  /** What is there, at most `lengthMax` bytes, maybe none. Throws a {@link StreamError}. */
  read(lengthMax: number): Uint8Array;
  /** The guest dropped the stream. */
  close?(): void;
}

/** Where an output stream writes to. */
export interface OutputSink extends Readiness {
  /** How many bytes it takes now. Throws a {@link StreamError}. */
  permit(): number;
  /** Takes the bytes for its own. Throws a {@link StreamError}. */
  write(bytes: Uint8Array): void;
  /** Asks for what was written to go out; `ready` is true again once it has. */
  flush(): void;
  /** The guest dropped the stream. */
  close?(): void;
}

/** The `stream-error` of the interface. */
export type StreamError =
  | { readonly tag: "closed" }
  | { readonly tag: "last-operation-failed"; readonly val: IoError };

/** Throws `closed`. */
export function streamClosed(): never {
  throw { tag: "closed" } satisfies StreamError;
}

/** What went wrong, in the words of the interface that knows. */
export interface IoErrorInit {
  readonly message: string;
  /** An `error-code` of `wasi:filesystem/types`. */
  readonly filesystem?: string;
  /** An `error-code` of `wasi:sockets/network`. */
  readonly socket?: string;
  /** An `error-code` of `wasi:http/types`. */
  readonly http?: { readonly tag: string; readonly val?: unknown };
}

/** Throws `last-operation-failed`. */
export function streamFailed(host: WasiInstance, init: IoErrorInit): never {
  const error: StreamError = { tag: "last-operation-failed", val: new IoError(host, init) };
  throw error;
}

/** Whether a thrown value is `closed`. */
export function isStreamClosed(error: unknown): boolean {
  return typeof error === "object" && error !== null && !(error instanceof Error) &&
    (error as { tag?: unknown }).tag === "closed";
}

/** Resource `error`. */
export class IoError extends Resource {
  constructor(host: WasiInstance, readonly init: IoErrorInit) {
    super(host, "error");
    this[HOLD](2 * init.message.length);
  }

  toDebugString(): string {
    return this.init.message;
  }
}

/** Resolves when one of them is ready; rejects when the instance is closed. */
export async function untilReady(host: WasiInstance, list: readonly Readiness[]): Promise<void> {
  while (!list.some((item) => item.ready())) {
    await new Promise<void>((resolve) => {
      const cancels: (() => void)[] = [];
      let woken = false;
      const wake = () => {
        if (woken) return;
        woken = true;
        for (const cancel of cancels) cancel();
        resolve();
      };
      cancels.push(host.onClose(wake));
      for (const item of list) {
        const cancel = item.wait(wake);
        if (woken) {
          cancel();
          break;
        }
        cancels.push(cancel);
      }
    });
    host.checkRunning();
  }
}

/** Resource `pollable`. */
export class Pollable extends Resource {
  readonly readiness: Readiness;

  constructor(host: WasiInstance, readiness: Readiness, parent?: Resource) {
    super(host, "pollable", parent);
    this.readiness = readiness;
  }

  ready(): boolean {
    return this.readiness.ready();
  }

  block(): Promise<void> | void {
    if (!this.readiness.ready()) return untilReady(this.host, [this.readiness]);
  }
}

/** `poll`: the indexes of those that are ready, at least one. */
export function poll(
  host: WasiInstance,
  list: readonly Pollable[],
): Uint32Array | Promise<Uint32Array> {
  if (list.length === 0) host.trap("Cannot poll: the list is empty, wanted one pollable or more");
  if (list.length > POLL_LIST_MAX) {
    host.trap(`Cannot poll: the list has ${list.length} entries, the most is ${POLL_LIST_MAX}`);
  }
  const all = list.map((pollable) => pollable.readiness);
  const ready = () => {
    const indexes: number[] = [];
    all.forEach((readiness, index) => {
      if (readiness.ready()) indexes.push(index);
    });
    return Uint32Array.from(indexes);
  };
  const now = ready();
  if (now.length > 0) return now;
  return untilReady(host, all).then(ready);
}

/** Reads at least a byte, unless `max` is 0. Throws a {@link StreamError}. */
export function readBlocking(
  host: WasiInstance,
  source: InputSource,
  max: number,
): Uint8Array | Promise<Uint8Array> {
  if (source.ready()) {
    const bytes = source.read(max);
    if (bytes.length > 0 || max === 0) return bytes;
  }
  return readWhenReady(host, source, max);
}

async function readWhenReady(
  host: WasiInstance,
  source: InputSource,
  max: number,
): Promise<Uint8Array> {
  for (;;) {
    await untilReady(host, [source]);
    const bytes = source.read(max);
    if (bytes.length > 0 || max === 0) return bytes;
  }
}

/** How much a sink takes, more than nothing. */
async function permitWhenReady(host: WasiInstance, sink: OutputSink): Promise<number> {
  for (;;) {
    await untilReady(host, [sink]);
    const permit = sink.permit();
    if (permit > 0) return permit;
  }
}

/** Writes everything and waits until it went out. Throws a {@link StreamError}. */
export function writeBlocking(
  host: WasiInstance,
  sink: OutputSink,
  bytes: Uint8Array,
): void | Promise<void> {
  // The common case: there is room, and the sink is done at once.
  if (!sink.ready() || sink.permit() < bytes.length) return writeInPieces(host, sink, bytes);
  sink.write(bytes);
  return flushed(host, sink);
}

async function writeInPieces(
  host: WasiInstance,
  sink: OutputSink,
  bytes: Uint8Array,
): Promise<void> {
  let rest = bytes;
  do {
    const permit = await permitWhenReady(host, sink);
    sink.write(rest.subarray(0, permit));
    rest = rest.subarray(permit);
  } while (rest.length > 0);
  await flushed(host, sink);
}

/** A stream that closed after it took everything has done what was asked. */
function flushed(host: WasiInstance, sink: OutputSink): void | Promise<void> {
  try {
    sink.flush();
    if (!sink.ready()) {
      return permitWhenReady(host, sink).then(() => {}, (error) => {
        if (!isStreamClosed(error)) throw error;
      });
    }
    sink.permit();
  } catch (error) {
    if (!isStreamClosed(error)) throw error;
  }
}

/** Resource `input-stream`. */
export class InputStream extends Resource {
  readonly source: InputSource;

  constructor(host: WasiInstance, source: InputSource, parent?: Resource) {
    super(host, "input-stream", parent);
    this.source = source;
  }

  protected override released(): void {
    this.source.close?.();
  }

  read(length: bigint): Uint8Array {
    return this.source.read(clampLength(length));
  }

  blockingRead(length: bigint): Uint8Array | Promise<Uint8Array> {
    return readBlocking(this.host, this.source, clampLength(length));
  }

  skip(length: bigint): bigint {
    return BigInt(this.source.read(clampLength(length)).length);
  }

  blockingSkip(length: bigint): bigint | Promise<bigint> {
    const bytes = readBlocking(this.host, this.source, clampLength(length));
    return bytes instanceof Promise
      ? bytes.then((read) => BigInt(read.length))
      : BigInt(bytes.length);
  }

  subscribe(): Pollable {
    return new Pollable(this.host, this.source, this);
  }
}

/** Resource `output-stream`. */
export class OutputStream extends Resource {
  readonly sink: OutputSink;

  constructor(host: WasiInstance, sink: OutputSink, parent?: Resource) {
    super(host, "output-stream", parent);
    this.sink = sink;
  }

  protected override released(): void {
    this.sink.close?.();
  }

  checkWrite(): bigint {
    return BigInt(this.sink.permit());
  }

  write(bytes: Uint8Array): void {
    requireBytes(bytes);
    this.#write(bytes);
  }

  blockingWriteAndFlush(bytes: Uint8Array): void | Promise<void> {
    requireBytes(bytes);
    if (bytes.length > BLOCKING_WRITE_BYTES_MAX) {
      this.host.trap(
        `Cannot write ${bytes.length} bytes at once: blocking-write-and-flush takes at most ${BLOCKING_WRITE_BYTES_MAX}`,
      );
    }
    return writeBlocking(this.host, this.sink, bytes);
  }

  flush(): void {
    this.sink.flush();
  }

  blockingFlush(): void | Promise<void> {
    this.sink.flush();
    if (!this.sink.ready()) return permitWhenReady(this.host, this.sink).then(() => {});
    this.sink.permit();
  }

  writeZeroes(length: bigint): void {
    if (length > BigInt(this.sink.permit())) {
      this.host.trap(`Cannot write ${length} zeroes: more than check-write allows`);
    }
    this.#write(new Uint8Array(Number(length)));
  }

  blockingWriteZeroesAndFlush(length: bigint): void | Promise<void> {
    if (length > BigInt(BLOCKING_WRITE_BYTES_MAX)) {
      this.host.trap(
        `Cannot write ${length} zeroes at once: blocking-write-zeroes-and-flush takes at most ${BLOCKING_WRITE_BYTES_MAX}`,
      );
    }
    return writeBlocking(this.host, this.sink, new Uint8Array(Number(length)));
  }

  splice(source: InputStream, length: bigint): bigint {
    const max = Math.min(clampLength(length), this.sink.permit());
    if (max === 0) return 0n;
    const bytes = source.source.read(max);
    if (bytes.length > 0) this.#write(bytes);
    return BigInt(bytes.length);
  }

  blockingSplice(source: InputStream, length: bigint): bigint | Promise<bigint> {
    if (length === 0n) return 0n;
    return this.#splice(source, clampLength(length));
  }

  async #splice(source: InputStream, max: number): Promise<bigint> {
    const permit = await permitWhenReady(this.host, this.sink);
    let bytes: Uint8Array;
    do {
      await untilReady(this.host, [source.source]);
      bytes = source.source.read(Math.min(max, permit));
    } while (bytes.length === 0);
    await writeBlocking(this.host, this.sink, bytes);
    return BigInt(bytes.length);
  }

  subscribe(): Pollable {
    return new Pollable(this.host, this.sink, this);
  }

  #write(bytes: Uint8Array): void {
    const permit = this.sink.permit();
    if (bytes.length > permit) {
      this.host.trap(
        `Cannot write ${bytes.length} bytes: check-write allows ${permit}`,
      );
    }
    this.sink.write(bytes);
  }
}

guardResource("wasi:io/error", "error", IoError);
guardResource("wasi:io/poll", "pollable", Pollable);
guardResource("wasi:io/streams", "input-stream", InputStream);
guardResource("wasi:io/streams", "output-stream", OutputStream);
