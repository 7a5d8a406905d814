/**
 * Reads responses of HTTP/1.1 with llhttp, the parser of Node, compiled to WebAssembly: it is
 * strict by default and has seen every trick. The build of it that undici carries is used as it is.
 *
 * Whoever reads from a connection feeds {@link ResponseParser} and takes out what is there. Sizes
 * are bounded here; how much body is taken at once is bounded by how much is fed.
 *
 * @see https://llhttp.org
 * @see https://www.rfc-editor.org/rfc/rfc9112
 * @module
 */
import llhttp from "undici/lib/llhttp/llhttp_simd-wasm.js";
import { textOf } from "../kernel/byte_string.ts";
import type { HttpHeaders } from "../kernel/http_exchange.ts";
import { HttpError, sizeOf } from "./http_failure.ts";

/** Bytes of all names and values of a head, informational ones before it included. */
export const HEADER_BYTES_MAX = 128 * 1024;
/** What a field counts beside its name and value. */
const FIELD_OVERHEAD_BYTES = 32;
/** The most bytes that are fed at once. */
export const FED_BYTES_MAX = 32 * 1024;

const RESPONSE = 2;
const OK = 0;
const PAUSED = 21;
const SKIP_BODY = 1;

interface Exports {
  readonly memory: WebAssembly.Memory;
  _initialize(): void;
  malloc(length: number): number;
  llhttp_alloc(type: number): number;
  llhttp_free(parser: number): void;
  llhttp_execute(parser: number, at: number, length: number): number;
  llhttp_finish(parser: number): number;
  llhttp_get_error_pos(parser: number): number;
}

let compiled: WebAssembly.Module | undefined;

/** One instance of the parser's code; a replica has its own, so that no two share its memory. */
export class ParserCode {
  readonly exports: Exports;
  /** Where what is fed is put. */
  readonly input: number;
  /** The parser at work. */
  current: ResponseParser | undefined;

  constructor() {
    compiled ??= new WebAssembly.Module(llhttp as Uint8Array<ArrayBuffer>);
    const bytes = (at: number, length: number) =>
      new Uint8Array(this.exports.memory.buffer, at, length);
    const { exports } = new WebAssembly.Instance(compiled, {
      env: {
        wasm_on_message_begin: () => this.current!.begin(),
        wasm_on_url: () => 0,
        wasm_on_status: () => 0,
        wasm_on_header_field: (_p: number, at: number, length: number) =>
          this.current!.field(bytes(at, length)),
        wasm_on_header_value: (_p: number, at: number, length: number) =>
          this.current!.value(bytes(at, length)),
        wasm_on_headers_complete: (_p: number, status: number, _upgrade: number, keep: number) =>
          this.current!.headersComplete(status, keep === 1),
        wasm_on_body: (_p: number, at: number, length: number) =>
          this.current!.data(bytes(at, length)),
        wasm_on_message_complete: () => this.current!.messageComplete(),
      },
    });
    this.exports = exports as unknown as Exports;
    this.exports._initialize();
    this.input = this.exports.malloc(FED_BYTES_MAX);
  }
}

/** What was read of one response. */
export class ResponseParser {
  /** Known once the head is complete. */
  head: { readonly status: number; readonly headers: HttpHeaders } | undefined;
  /** Chunks of the body for the pipe, in order: whoever takes them empties it. */
  readonly body: Uint8Array[] = [];
  trailers: HttpHeaders = [];
  complete = false;
  /** Whether another request may follow on the connection. */
  reusable = false;
  /** Whether any byte was fed. */
  started = false;
  /** Why there will be no more; what came before it stands. */
  error: HttpError | undefined;

  readonly #parser: number;
  #fields: [string, string][] = [];
  #inValue = true;
  #bytes = 0;
  #status = 0;

  /** `isBodiless`: the request was a HEAD, whose response has a head like any other and no body. */
  constructor(readonly code: ParserCode, readonly isBodiless: boolean) {
    this.#parser = code.exports.llhttp_alloc(RESPONSE);
  }

  /** Takes what came, at most {@link FED_BYTES_MAX} bytes; `null` where the connection ended. */
  feed(bytes: Uint8Array | null): void {
    if (this.complete || this.error) return;
    const { exports, input } = this.code;
    if (bytes === null) {
      this.#run(() => exports.llhttp_finish(this.#parser));
      this.reusable = false;
      if (!this.complete) {
        this.#fail(this.started ? "HTTP-response-incomplete" : "connection-terminated");
      }
      return;
    }
    this.started = true;
    new Uint8Array(exports.memory.buffer, input, bytes.length).set(bytes);
    const result = this.#run(() => exports.llhttp_execute(this.#parser, input, bytes.length));
    if (this.complete) {
      const used = exports.llhttp_get_error_pos(this.#parser) - input;
      // Whatever follows was not asked for.
      if (result !== PAUSED || used !== bytes.length) this.reusable = false;
    } else if (result !== OK) this.#fail("HTTP-protocol-error");
  }

  /** Gives back its memory; nothing may be fed afterwards. */
  free(): void {
    this.code.exports.llhttp_free(this.#parser);
  }

  #run(act: () => number): number {
    this.code.current = this;
    try {
      return act();
    } finally {
      this.code.current = undefined;
    }
  }

  /** Called by llhttp, as everything below. */
  begin(): number {
    this.#fields = [];
    return OK;
  }

  field(bytes: Uint8Array): number {
    if (this.#inValue) {
      this.#fields.push(["", ""]);
      this.#inValue = false;
      this.#bytes += FIELD_OVERHEAD_BYTES;
    }
    const last = this.#fields.at(-1)!;
    last[0] += textOf(bytes).toLowerCase();
    return this.#count(bytes.length);
  }

  value(bytes: Uint8Array): number {
    this.#inValue = true;
    this.#fields.at(-1)![1] += textOf(bytes);
    return this.#count(bytes.length);
  }

  #count(bytes: number): number {
    this.#bytes += bytes;
    if (this.#bytes <= HEADER_BYTES_MAX) return OK;
    const where = this.head ? "trailer" : "header";
    return this.#fail(`HTTP-response-${where}-section-size`, sizeOf(this.#bytes));
  }

  headersComplete(status: number, keepAlive: boolean): number {
    this.#status = status;
    this.#inValue = true;
    if (status === 101) return this.#fail("HTTP-upgrade-failed");
    if (status < 200) return OK; // informational: its end is not that of the response
    const headers = trimmed(this.#fields);
    const coding = headers.filter(([name]) => name === "transfer-encoding").map(([, v]) => v);
    if (coding.length > 0 && coding.join().trim().toLowerCase() !== "chunked") {
      return this.#fail("HTTP-response-transfer-coding", coding.join(", "));
    }
    this.reusable = keepAlive;
    this.head = { status, headers };
    this.#fields = [];
    this.#bytes = 0;
    return this.isBodiless ? SKIP_BODY : OK;
  }

  data(bytes: Uint8Array): number {
    // With room for the byte that says what it is.
    const chunk = new Uint8Array(bytes.length + 1);
    chunk.set(bytes, 1);
    this.body.push(chunk);
    return OK;
  }

  messageComplete(): number {
    if (this.#status < 200) return OK;
    this.trailers = trimmed(this.#fields);
    this.complete = true;
    return PAUSED;
  }

  #fail(tag: string, val?: unknown): number {
    this.error ??= new HttpError(tag, val);
    return -1;
  }
}

/** Without the spaces behind a value, which llhttp leaves. */
function trimmed(fields: readonly [string, string][]): HttpHeaders {
  return fields.map(([name, value]) => {
    let end = value.length;
    while (end > 0 && (value[end - 1] === " " || value[end - 1] === "\t")) end--;
    return [name, value.slice(0, end)];
  });
}
