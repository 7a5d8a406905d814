/**
 * Inputs and outputs of the host as the streams of WASI 0.3, each with the future that tells how it
 * ended.
 *
 * @module
 */
import type { StreamSink, StreamSource } from "../../abi/channels.ts";
import type { GivenStream } from "../../abi/ends.ts";
import type { WasiInstance } from "../context.ts";
import {
  type InputSource,
  type IoErrorInit,
  isStreamClosed,
  type OutputSink,
  STREAM_BYTES_MAX,
  type StreamError,
} from "../io.ts";

/** A `result` as the canonical ABI passes it. */
export type Result<T = undefined, E = unknown> =
  | { readonly tag: "ok"; readonly val: T }
  | { readonly tag: "err"; readonly val: E };

/** The good end. */
export const OK = { tag: "ok", val: undefined } as const;

/** Words for what went wrong; `undefined` where the other side just went away. */
export type CodeOf = (error: IoErrorInit | undefined) => unknown;

/** What a stream of the host threw, in an interface's words; every other error goes on. */
function failure(error: unknown, codeOf: CodeOf): Result {
  if (isStreamClosed(error)) return { tag: "err", val: codeOf(undefined) };
  if (error instanceof Error) throw error;
  const { val } = error as Extract<StreamError, { tag: "last-operation-failed" }>;
  const { init } = val;
  val[Symbol.dispose](); // the guest gets no handle of it
  return { tag: "err", val: codeOf(init) };
}

class Source implements StreamSource {
  readonly #ended = Promise.withResolvers<Result>();
  readonly result = this.#ended.promise;
  #closed = false;

  constructor(readonly source: InputSource, readonly codeOf: CodeOf) {}

  ready(): boolean {
    return this.source.ready();
  }

  wait(wake: () => void): () => void {
    return this.source.wait(wake);
  }

  take(max: number): Uint8Array | null {
    if (this.#closed) return null;
    try {
      return this.source.read(Math.min(max, STREAM_BYTES_MAX));
    } catch (error) {
      this.#close(isStreamClosed(error) ? OK : failure(error, this.codeOf));
      return null;
    }
  }

  close(): void {
    this.#close(OK);
  }

  /** Once: the guest drops the stream, too, after it came to its end. */
  #close(result: Result): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#ended.resolve(result);
    this.source.close?.();
  }
}

/** What the guest reads, and the future that tells how it ended. */
export function reading(source: InputSource, codeOf: CodeOf): [StreamSource, Promise<Result>] {
  const stream = new Source(source, codeOf);
  return [stream, stream.result];
}

/** A stream that ends before it began, and the future that says why. */
export function refusedReading(code: unknown): [StreamSource, Promise<Result>] {
  const source: StreamSource = {
    ready: () => true,
    wait: () => () => {},
    take: () => null,
    close: () => {},
  };
  return [source, Promise.resolve({ tag: "err", val: code })];
}

class Sink implements StreamSink {
  readonly #ended = Promise.withResolvers<Result>();
  readonly result = this.#ended.promise;
  #closed = false;

  constructor(
    readonly host: WasiInstance,
    readonly sink: OutputSink,
    readonly codeOf: CodeOf,
  ) {}

  ready(): boolean {
    return this.#closed || this.sink.ready();
  }

  wait(wake: () => void): () => void {
    return this.sink.wait(wake);
  }

  permit(): number | null {
    if (this.#closed) return null;
    return this.#try(() => this.sink.permit()) ?? null;
  }

  write(bytes: Uint8Array): void {
    this.#try(() => this.sink.write(bytes));
  }

  end(): void {
    if (this.#closed || this.host.hasEnded) return;
    this.#try(() => this.sink.flush());
    this.#flushed();
  }

  /** Once everything went out, or cannot. */
  #flushed(): void {
    if (this.#closed || this.host.hasEnded) return;
    if (!this.sink.ready()) return void this.sink.wait(() => this.#flushed());
    if (this.#try(() => this.sink.permit()) !== undefined) this.#close(OK);
  }

  #try<T>(act: () => T): T | undefined {
    try {
      return act();
    } catch (error) {
      this.#close(failure(error, this.codeOf));
    }
  }

  #close(result: Result): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#ended.resolve(result);
    this.sink.close?.();
  }
}

/** Takes all that the guest writes to a stream; the future tells how that ended. */
export function writing(
  host: WasiInstance,
  data: GivenStream,
  sink: OutputSink,
  codeOf: CodeOf,
): Promise<Result> {
  const end = new Sink(host, sink, codeOf);
  data.connect(end);
  return end.result;
}
