/**
 * One connection of HTTP/1.1 to a server, with one request on it at a time.
 *
 * The head of a request goes out at once, whether its body is there or not; the two bodies flow
 * independently of one another, so that a server may answer before it was told all. Nothing is
 * buffered: what the guest does not take is not read from the connection.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9112
 * @module
 */
import { bytesOf } from "../kernel/byte_string.ts";
import {
  DATA,
  type ExchangeRequest,
  type ExchangeResponse,
  type HttpHeaders,
  TAIL,
  tailChunk,
  trailersOf,
} from "../kernel/http_exchange.ts";
import type { Pipe } from "../kernel/ports.ts";
import { HttpError } from "./http_failure.ts";
import { FED_BYTES_MAX, type ParserCode, ResponseParser } from "./http_parser.ts";

/** The bytes of a connection: what is needed of a `Deno.Conn`. */
export interface ByteStream {
  read(buffer: Uint8Array): Promise<number | null>;
  write(bytes: Uint8Array): Promise<number>;
  close(): void;
}

/** The server closed a connection that was idle before it saw the request: try another one. */
export class StaleConnection extends Error {}

/** What is left of a request whose guest is gone has so long to be taken. */
const LINGER_MS = 10_000;

const CRLF = bytesOf("\r\n");

/** See the module. */
export class HttpConnection {
  /** Responses that came over it. */
  #served = 0;
  #closed = false;
  #reading: Promise<number | null> | undefined;
  readonly #buffer = new Uint8Array(FED_BYTES_MAX);

  constructor(readonly stream: ByteStream, readonly code: ParserCode) {}

  get closed(): boolean {
    return this.#closed;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    try {
      this.stream.close();
    } catch { /* it was broken already */ }
  }

  /** Calls `gone` when the server ends the connection, or speaks unasked, before the next request. */
  watch(gone: () => void): void {
    const reading = this.#read();
    const isOver = () => this.#reading === reading && gone();
    reading.then(isOver, isOver);
  }

  /**
   * Sends a request with the body that comes through the pipe, calls `answer` with the head of the
   * response and sends its body through the pipe, to its end.
   *
   * Answers whether the connection can be used again; it is closed where it cannot. Throws
   * {@link HttpError}, also after the answer, and {@link StaleConnection}.
   */
  async exchange(
    request: ExchangeRequest,
    pipe: Pipe,
    answer: (response: ExchangeResponse) => void,
  ): Promise<boolean> {
    const parser = new ResponseParser(this.code, request.method === "HEAD");
    let late: ReturnType<typeof setTimeout> | undefined;
    const abort = () => {
      if (!parser.complete) return this.close();
      // All of the response is there: what the guest wrote before it let go still goes out.
      late = setTimeout(() => this.close(), LINGER_MS);
    };
    pipe.signal.addEventListener("abort", abort, { once: true });
    const broken: { error?: HttpError } = {};
    const sending = this.#send(request, pipe).catch((error) => {
      broken.error = error as HttpError;
      this.close();
    });
    try {
      if (pipe.signal.aborted) throw new HttpError("connection-terminated");
      await this.#readHead(parser, request.firstByteTimeoutMs);
      answer(parser.head!);
      await this.#readBody(parser, pipe, request.betweenBytesTimeoutMs);
      if (!parser.reusable) {
        pipe.stopReading();
        this.close();
      }
      await sending;
      this.#served++;
      return !this.#closed;
    } catch (error) {
      this.close();
      throw broken.error ?? error;
    } finally {
      pipe.signal.removeEventListener("abort", abort);
      clearTimeout(late);
      parser.free();
    }
  }

  async #readHead(parser: ResponseParser, timeoutMs: number): Promise<void> {
    const untilMs = performance.now() + timeoutMs;
    while (!parser.head) {
      try {
        parser.feed(await this.#next(untilMs - performance.now()));
      } catch (error) {
        throw this.#isStale(parser) ? new StaleConnection() : error;
      }
      if (parser.error && !parser.head) {
        throw this.#isStale(parser) ? new StaleConnection() : parser.error;
      }
    }
  }

  #isStale(parser: ResponseParser): boolean {
    return !parser.started && this.#served > 0 && !this.#closed;
  }

  async #readBody(parser: ResponseParser, pipe: Pipe, timeoutMs: number): Promise<void> {
    for (;;) {
      for (const chunk of parser.body.splice(0)) {
        if (!await pipe.write(chunk)) throw new HttpError("connection-terminated");
      }
      if (parser.complete) break;
      if (parser.error) throw parser.error;
      parser.feed(await this.#next(timeoutMs));
    }
    await pipe.write(tailChunk(parser.trailers));
    pipe.end();
  }

  /** The next bytes, `null` where the server ended the connection in order. */
  async #next(timeoutMs: number): Promise<Uint8Array | null> {
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      this.close();
    }, Math.max(0, timeoutMs));
    try {
      const read = await this.#read();
      return read === null ? null : this.#buffer.subarray(0, read);
    } catch {
      throw new HttpError(isLate ? "connection-read-timeout" : "connection-terminated");
    } finally {
      clearTimeout(timer);
      this.#reading = undefined;
    }
  }

  #read(): Promise<number | null> {
    return this.#reading ??= this.stream.read(this.#buffer);
  }

  /** Writes the head, then the body as it comes. Throws when the guest does not finish it. */
  async #send(request: ExchangeRequest, pipe: Pipe): Promise<void> {
    const { body } = request;
    if (!await this.#write(bytesOf(headOf(request))) || body === "none" || body === 0) return;
    let left = body === "chunked" ? Infinity : body;
    for (;;) {
      const chunk = await pipe.read();
      if (chunk === null) throw new HttpError("HTTP-protocol-error");
      const length = chunk.length - 1;
      if (chunk[0] === DATA && length > 0) {
        left -= length;
        if (left < 0) throw new HttpError("HTTP-request-body-size");
        const framed = body === "chunked" ? framedChunk(chunk.subarray(1)) : chunk.subarray(1);
        if (!await this.#write(framed)) return pipe.stopReading();
      } else if (chunk[0] === TAIL) {
        if (body !== "chunked" && left > 0) throw new HttpError("HTTP-request-body-size");
        if (body === "chunked") {
          const trailers = checkedTrailers(trailersOf(chunk));
          await this.#write(bytesOf(`0\r\n${fieldLines(trailers)}\r\n`));
        }
        return;
      }
    }
  }

  /** Answers false when the server takes no more: what it says about that is still read. */
  async #write(bytes: Uint8Array): Promise<boolean> {
    try {
      for (let at = 0; at < bytes.length;) at += await this.stream.write(bytes.subarray(at));
      return true;
    } catch {
      return false;
    }
  }
}

function fieldLines(headers: HttpHeaders): string {
  return headers.map(([name, value]) => `${name}: ${value}\r\n`).join("");
}

/** Methods whose requests have a meaning for a body, so that they say when they have none. */
const WITH_BODY = new Set(["POST", "PUT", "PATCH"]);

function headOf({ method, path, authority, headers, body }: ExchangeRequest): string {
  const framing = body === "chunked"
    ? "transfer-encoding: chunked\r\n"
    : body !== "none"
    ? `content-length: ${body}\r\n`
    : WITH_BODY.has(method)
    ? "content-length: 0\r\n"
    : "";
  return `${method} ${path} HTTP/1.1\r\nhost: ${authority}\r\n${fieldLines(headers)}${framing}\r\n`;
}

function framedChunk(bytes: Uint8Array): Uint8Array {
  const size = bytesOf(`${bytes.length.toString(16)}\r\n`);
  const framed = new Uint8Array(size.length + bytes.length + CRLF.length);
  framed.set(size);
  framed.set(bytes, size.length);
  framed.set(CRLF, size.length + bytes.length);
  return framed;
}

const NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
/** Those that the connection owns. */
const OWN_HEADERS = new Set([
  "connection",
  "content-length",
  "host",
  "http2-settings",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);

/** The fields, if they can be sent as they are. Throws {@link HttpError}. */
export function checkedHeaders(headers: HttpHeaders): HttpHeaders {
  for (const [name, value] of headers) {
    if (!NAME.test(name) || !VALUE.test(value) || OWN_HEADERS.has(name)) {
      throw new HttpError("HTTP-protocol-error");
    }
  }
  return headers;
}

/** What RFC 9110, section 6.5.1 keeps out of trailers, of what a request may have as a header. */
const NO_TRAILERS = new Set(["authorization", "content-encoding", "content-type", "trailer", "te"]);

function checkedTrailers(trailers: HttpHeaders): HttpHeaders {
  const sent = trailers.filter(([name]) => !NO_TRAILERS.has(name) && !OWN_HEADERS.has(name));
  return checkedHeaders(sent);
}
