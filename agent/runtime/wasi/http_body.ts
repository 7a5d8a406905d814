/**
 * Bodies of `wasi:http/types`: what arrives is pulled by the guest, what leaves is pulled by the
 * host, and both push back.
 *
 * @see https://github.com/WebAssembly/wasi-http/tree/v0.2.12/wit
 * @module
 */
import type { WasiInstance } from "./context.ts";
import { type FieldList, Fields, receivedFields, takeFields } from "./http_fields.ts";
import {
  type InputSource,
  InputStream,
  type OutputSink,
  OutputStream,
  Pollable,
  type Readiness,
  Signal,
  STREAM_BYTES_MAX,
  streamClosed,
  streamFailed,
} from "./io.ts";
import { guardResource, Resource } from "./resource.ts";

/** `error-code` of `wasi:http/types`. */
export interface HttpErrorCode {
  readonly tag: string;
  readonly val?: unknown;
}

/** A body on its way in: the caller of the engine gives it. */
export interface BodySource {
  /** The next bytes, `null` at the end. At most one call is pending. */
  read(): Promise<Uint8Array | null>;
  /** The trailers, once `read` gave `null`. */
  trailers?(): FieldList | undefined;
  /** The guest wants no more of it. */
  cancel?(): void;
}

/** A body on its way out: the caller of the engine pulls it. */
export interface BodyReader {
  /**
   * The next bytes, `null` at the end. Rejects with a {@link HttpErrorCode} when the guest did not
   * finish it. At most one call is pending.
   */
  read(): Promise<Uint8Array | null>;
  /** What {@link read} would give at once: `undefined` while there is nothing. */
  take(): Uint8Array | null | undefined;
  /** The trailers, once `read` gave `null`. */
  trailers(): FieldList | undefined;
  /** Nobody wants the rest: the guest's writes find the stream closed. */
  cancel(): void;
}

/** Small writes are joined up to this: an array of one byte takes some hundred of the host. */
const JOINED_BYTES_MAX = 1024;
/** So many writes are kept as they came. */
const CHUNKS_APART_MAX = 16;

const NOTHING: Uint8Array = new Uint8Array();

/** The error code for what the source of a body rejected with. */
export function codeOf(error: unknown): HttpErrorCode {
  if (error instanceof Error) return { tag: "internal-error", val: error.message };
  if (typeof error === "object" && error !== null && "tag" in error) return error as HttpErrorCode;
  return { tag: "internal-error", val: String(error) };
}

/** What is there of an incoming body; the stream and the trailers share it. */
export class Incoming implements Readiness {
  #signal = new Signal();
  #pending = false;
  chunk = NOTHING;
  ended = false;
  error: HttpErrorCode | undefined;

  constructor(readonly host: WasiInstance, readonly source: BodySource | null) {
    if (source === null) this.ended = true;
  }

  /** Takes so many bytes, or what there is. */
  take(lengthMax = Infinity): Uint8Array {
    const bytes = this.chunk.subarray(0, lengthMax);
    this.chunk = this.chunk.subarray(bytes.length);
    this.host.memory.hold(-bytes.length);
    return bytes;
  }

  ready(): boolean {
    if (this.chunk.length > 0 || this.ended || this.error !== undefined) return true;
    this.#request();
    return false;
  }

  wait(wake: () => void): () => void {
    return this.#signal.wait(wake);
  }

  #request(): void {
    if (this.#pending) return;
    this.#pending = true;
    const done = () => {
      this.#pending = false;
      this.#signal.notify();
    };
    this.source!.read().then(
      (chunk) => {
        if (chunk === null) this.ended = true;
        else {
          this.chunk = chunk;
          this.host.memory.hold(chunk.length);
        }
        done();
      },
      (error) => {
        this.error = codeOf(error);
        done();
      },
    );
  }
}

/** An incoming body as a stream. */
export class IncomingSource implements InputSource {
  #failed = false;

  constructor(readonly host: WasiInstance, readonly incoming: Incoming) {}

  ready(): boolean {
    return this.#failed || this.incoming.ready();
  }

  wait(wake: () => void): () => void {
    return this.incoming.wait(wake);
  }

  read(lengthMax: number): Uint8Array {
    const { incoming } = this;
    if (this.#failed) streamClosed();
    if (incoming.chunk.length > 0) return incoming.take(lengthMax);
    if (incoming.error !== undefined) {
      this.#failed = true;
      streamFailed(this.host, { message: incoming.error.tag, http: incoming.error });
    }
    if (incoming.ended) streamClosed();
    incoming.ready();
    return NOTHING;
  }
}

/** Resource `incoming-body`. */
export class IncomingBody extends Resource {
  readonly incoming: Incoming;
  #streamed = false;
  #finished = false;

  constructor(host: WasiInstance, source: BodySource | null) {
    super(host, "incoming-body");
    this.incoming = new Incoming(host, source);
  }

  protected override released(): void {
    if (this.#finished) return;
    this.incoming.take();
    this.incoming.source?.cancel?.();
  }

  stream(): InputStream {
    if (this.#streamed) throw undefined;
    this.#streamed = true;
    return new InputStream(this.host, new IncomingSource(this.host, this.incoming), this);
  }

  static finish(host: WasiInstance, body: IncomingBody): FutureTrailers {
    body.#finished = true;
    body[Symbol.dispose]();
    return new FutureTrailers(host, body.incoming);
  }
}

/** What is left of a body is read and thrown away before its trailers are known. */
class TrailersReadiness implements Readiness {
  constructor(readonly incoming: Incoming) {}

  ready(): boolean {
    this.incoming.take();
    return this.incoming.ready() && this.incoming.chunk.length === 0;
  }

  wait(wake: () => void): () => void {
    return this.incoming.wait(wake);
  }
}

/** `option<result<result<option<trailers>, error-code>>>` as the glue lowers it. */
export type TrailersResult =
  | { tag: "ok"; val: { tag: "ok"; val: Fields | undefined } | { tag: "err"; val: HttpErrorCode } }
  | { tag: "err"; val: undefined };

/** Resource `future-trailers`. */
export class FutureTrailers extends Resource {
  readonly incoming: Incoming;
  #readiness: TrailersReadiness;
  #taken = false;

  constructor(host: WasiInstance, incoming: Incoming) {
    super(host, "future-trailers");
    this.incoming = incoming;
    this.#readiness = new TrailersReadiness(incoming);
  }

  protected override released(): void {
    this.incoming.take();
    if (!this.incoming.ended && !this.incoming.error) this.incoming.source?.cancel?.();
  }

  subscribe(): Pollable {
    return new Pollable(this.host, this.#readiness, this);
  }

  get(): TrailersResult | undefined {
    if (this.#taken) return { tag: "err", val: undefined };
    if (!this.#readiness.ready()) return undefined;
    this.#taken = true;
    const { error, source } = this.incoming;
    if (error !== undefined) return { tag: "ok", val: { tag: "err", val: error } };
    const trailers = source?.trailers?.();
    const val = trailers === undefined ? undefined : receivedFields(this.host, trailers);
    return { tag: "ok", val: { tag: "ok", val } };
  }
}

/** The buffer between a guest that writes a body and the host that reads it. */
export class Outgoing implements OutputSink, BodyReader {
  #readable = new Signal();
  #writable = new Signal();
  #chunks: Uint8Array[] = [];
  #queued = 0;
  #written = 0n;
  #end: { trailers: FieldList | undefined } | { error: HttpErrorCode } | undefined;
  #cancelled = false;

  constructor(
    readonly host: WasiInstance,
    readonly expected: bigint | undefined,
    readonly sizeError: string,
  ) {}

  permit(): number {
    if (this.#cancelled) streamClosed();
    return STREAM_BYTES_MAX - this.#queued;
  }

  write(bytes: Uint8Array): void {
    if (this.#cancelled) streamClosed();
    if (bytes.length === 0) return;
    this.#written += BigInt(bytes.length);
    if (this.expected !== undefined && this.#written > this.expected) {
      const http = this.#sizeError();
      streamFailed(this.host, { message: this.sizeError, http });
    }
    const last = this.#chunks.at(-1);
    const isMany = this.#chunks.length >= CHUNKS_APART_MAX;
    if (isMany && last !== undefined && last.length + bytes.length <= JOINED_BYTES_MAX) {
      const joined = new Uint8Array(last.length + bytes.length);
      joined.set(last);
      joined.set(bytes, last.length);
      this.#chunks[this.#chunks.length - 1] = joined;
    } else this.#chunks.push(bytes);
    this.#queued += bytes.length;
    this.host.memory.hold(bytes.length);
    this.#readable.notify();
  }

  flush(): void {
    if (this.#cancelled) streamClosed();
  }

  ready(): boolean {
    return this.#cancelled || this.#queued < STREAM_BYTES_MAX;
  }

  wait(wake: () => void): () => void {
    return this.#writable.wait(wake);
  }

  /** The guest is done. Throws the error code when the length is not the promised one. */
  finish(trailers: FieldList | undefined): void {
    if (this.expected !== undefined && this.#written !== this.expected) {
      const error = this.#sizeError();
      this.abort(error);
      throw error;
    }
    this.#end = { trailers };
    this.#readable.notify();
  }

  /** The guest gave up on it. */
  abort(error: HttpErrorCode): void {
    this.#end ??= { error };
    this.#readable.notify();
  }

  take(): Uint8Array | null | undefined {
    const chunk = this.#chunks.shift();
    if (chunk !== undefined) {
      this.#queued -= chunk.length;
      this.host.memory.hold(-chunk.length);
      this.#writable.notify();
      return chunk;
    }
    if (this.#end !== undefined) {
      if ("error" in this.#end) throw this.#end.error;
      return null;
    }
    if (this.#cancelled || this.host.hasEnded) throw { tag: "HTTP-protocol-error" };
    return undefined;
  }

  async read(): Promise<Uint8Array | null> {
    for (;;) {
      const taken = this.take();
      if (taken !== undefined) return taken;
      await new Promise<void>((resolve) => {
        const unclose = this.host.onClose(() => resolve());
        this.#readable.wait(() => {
          unclose();
          resolve();
        });
      });
    }
  }

  trailers(): FieldList | undefined {
    return this.#end !== undefined && "trailers" in this.#end ? this.#end.trailers : undefined;
  }

  cancel(): void {
    this.#cancelled = true;
    this.#chunks = [];
    this.host.memory.hold(-this.#queued);
    this.#queued = 0;
    this.#writable.notify();
    this.#readable.notify();
  }

  #sizeError(): HttpErrorCode {
    return { tag: this.sizeError, val: this.#written };
  }
}

/** A reader of no bytes, for a message without a body. */
export const EMPTY_BODY: BodyReader = {
  read: () => Promise.resolve(null),
  take: () => null,
  trailers: () => undefined,
  cancel: () => {},
};

/** Resource `outgoing-body`. */
export class OutgoingBody extends Resource {
  readonly outgoing: Outgoing;
  #written = false;
  #finished = false;

  constructor(host: WasiInstance, expected: bigint | undefined, sizeError: string) {
    super(host, "outgoing-body");
    this.outgoing = new Outgoing(host, expected, sizeError);
  }

  protected override released(): void {
    if (!this.#finished) this.outgoing.abort({ tag: "HTTP-protocol-error" });
  }

  write(): OutputStream {
    if (this.#written) throw undefined;
    this.#written = true;
    return new OutputStream(this.host, this.outgoing, this);
  }

  static finish(_host: WasiInstance, body: OutgoingBody, trailers: Fields | undefined): void {
    body.#finished = true;
    body[Symbol.dispose]();
    body.outgoing.finish(trailers === undefined ? undefined : takeFields(trailers));
  }
}

guardResource("wasi:http/types", "incoming-body", IncomingBody);
guardResource("wasi:http/types", "future-trailers", FutureTrailers);
guardResource("wasi:http/types", "outgoing-body", OutgoingBody);
