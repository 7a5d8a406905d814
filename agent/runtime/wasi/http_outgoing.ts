/**
 * Requests of a guest to others: `outgoing-handler` of `wasi:http`, and the resources of `types`
 * that belong to it.
 *
 * A request is one call of the agent's service `http`, which checks the grants, connects and speaks
 * the protocol; both bodies flow through the call's pipe.
 *
 * @see https://github.com/WebAssembly/wasi-http/tree/v0.2.12/wit
 * @module
 */
import { bytesOf, textOf } from "../../kernel/byte_string.ts";
import {
  DATA,
  dataChunk,
  type ExchangeRequest,
  type ExchangeResponse,
  type HttpHeaders,
  TAIL,
  tailChunk,
  trailersOf,
} from "../../kernel/http_exchange.ts";
import { type AgentCall, CallFailed } from "../agent_calls.ts";
import type { WasiInstance } from "./context.ts";
import {
  type BodyReader,
  type BodySource,
  type HttpErrorCode,
  IncomingBody,
  OutgoingBody,
} from "./http_body.ts";
import {
  bytesOfFields,
  contentLength,
  type FieldList,
  Fields,
  receivedFields,
  takeFields,
} from "./http_fields.ts";
import { Pollable, type Readiness } from "./io.ts";
import { guardResource, HOLD, Resource } from "./resource.ts";

/** `method`. */
export interface Method {
  readonly tag: string;
  readonly val?: string;
}

/** `scheme`. */
export interface Scheme {
  readonly tag: string;
  readonly val?: string;
}

/** Characters of a method, path or authority that the host keeps for the guest. */
const TARGET_LENGTH_MAX = 8192;

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const SCHEME = /^[A-Za-z][A-Za-z0-9+\-.]{0,63}$/;
/** RFC 3986, section 3.2; without percent-encoding, which no host of HTTP has. */
const AUTHORITY = /^(?:[\w\-.~!$&'()*+,;=:]*@)?(?:\[[\da-f:.]+\]|[\w\-.~!$&'()*+,;=]*)(?::\d*)?$/i;
const PATH = /^[/?][\x21\x22\x24-\x7e\u0080-\uffff]*$/;

function isShort(pattern: RegExp, text: string): boolean {
  return typeof text === "string" && text.length <= TARGET_LENGTH_MAX && pattern.test(text);
}

/** What a guest may make of a request; `undefined` takes a part back. */
export const VALID = {
  method: ({ tag, val = "" }: Method): boolean => tag !== "other" || isShort(TOKEN, val),
  path: (path: string | undefined): boolean => !path || isShort(PATH, path),
  scheme: (scheme: Scheme | undefined): boolean =>
    scheme?.tag !== "other" || SCHEME.test(scheme.val ?? ""),
  authority: (authority: string | undefined): boolean =>
    authority === undefined || (authority !== "" && isShort(AUTHORITY, authority)),
} as const;

/** Headers of the wire as fields. */
export function fieldsOf(headers: HttpHeaders): FieldList {
  return headers.map(([name, value]) => [name, bytesOf(value)]);
}

function headersOf(fields: FieldList): HttpHeaders {
  return fields.map(([name, value]) => [name, textOf(value)]);
}

/** The error code for why the agent did not go on. */
function codeOf(error: unknown): HttpErrorCode {
  const reason = error instanceof CallFailed ? error.reason : undefined;
  if (reason === "limit-exceeded") return { tag: "connection-limit-reached" };
  if (typeof reason === "object" && reason !== null && "tag" in reason) {
    return reason as HttpErrorCode;
  }
  return { tag: "internal-error", val: error instanceof Error ? error.message : undefined };
}

/** A request under way, then its response, and the source of its body. */
export class Exchange implements Readiness, BodySource {
  #isSending: boolean;
  #isReceiving = true;
  /** Why the guest's own body broke off. */
  #code: HttpErrorCode | undefined;
  #trailers: FieldList | undefined;
  readonly #unclose: () => void;

  constructor(readonly host: WasiInstance, readonly call: AgentCall, body: BodyReader | null) {
    this.#unclose = host.onClose(() => call.drop());
    this.#isSending = body !== null;
    if (body !== null) this.#send(body);
  }

  ready(): boolean {
    return this.call.answered || this.#code !== undefined;
  }

  wait(wake: () => void): () => void {
    return this.call.wait(wake);
  }

  /** The head of the response, or why there is none; once it is ready. */
  result(): ExchangeResponse | HttpErrorCode {
    try {
      if (this.#code === undefined) return this.call.answer() as ExchangeResponse;
    } catch (error) {
      this.#code = codeOf(error);
    }
    this.cancel();
    return this.#code;
  }

  async read(): Promise<Uint8Array | null> {
    try {
      for (;;) {
        if (this.#code !== undefined) throw this.#code;
        const chunk = this.call.take();
        if (chunk === undefined) await new Promise<void>((resolve) => this.call.wait(resolve));
        else if (chunk === null) throw { tag: "HTTP-response-incomplete" } satisfies HttpErrorCode;
        else if (chunk[0] === DATA) return chunk.subarray(1);
        else if (chunk[0] === TAIL) {
          const trailers = trailersOf(chunk);
          if (trailers.length > 0) this.#trailers = fieldsOf(trailers);
          this.#isReceiving = false;
          this.#finish();
          return null;
        }
      }
    } catch (error) {
      const code = this.#code ?? (error instanceof CallFailed ? codeOf(error) : error);
      this.cancel();
      throw code;
    }
  }

  trailers(): FieldList | undefined {
    return this.#trailers;
  }

  /** Nobody wants the response, or the rest of it: the request ends, too. */
  cancel(): void {
    this.#unclose();
    this.call.drop();
  }

  async #send(body: BodyReader): Promise<void> {
    const { call } = this;
    try {
      for (;;) {
        const bytes = await body.read();
        const chunk = bytes ? dataChunk(bytes) : tailChunk(headersOf(body.trailers() ?? []));
        while (call.credit < chunk.length && !call.closed) {
          await new Promise<void>((resolve) => call.wait(resolve));
        }
        if (call.closed) {
          body.cancel();
          break;
        }
        call.write(chunk);
        if (!bytes) {
          call.end();
          break;
        }
      }
      this.#isSending = false;
      this.#finish();
    } catch (error) {
      // The guest did not finish it, or not with the length that it promised.
      this.#code = error as HttpErrorCode;
      this.cancel();
    }
  }

  #finish(): void {
    if (!this.#isSending && !this.#isReceiving) this.cancel();
  }
}

/** Resource `outgoing-request`. */
export class OutgoingRequest extends Resource {
  #headers: FieldList;
  #method: Method = { tag: "get" };
  #pathWithQuery: string | undefined;
  #scheme: Scheme | undefined;
  #authority: string | undefined;
  #outgoing: BodyReader | undefined;

  constructor(host: WasiInstance, headers: Fields) {
    super(host, "outgoing-request");
    this.#headers = takeFields(headers);
    this[HOLD](bytesOfFields(this.#headers));
  }

  body(): OutgoingBody {
    const length = contentLength(this.#headers);
    if (this.#outgoing !== undefined || length === null) throw undefined;
    const body = new OutgoingBody(this.host, length, "HTTP-request-body-size");
    this.#outgoing = body.outgoing;
    return body;
  }

  method(): Method {
    return this.#method;
  }

  setMethod(method: Method): void {
    if (!VALID.method(method)) throw undefined;
    this.#method = method;
  }

  pathWithQuery(): string | undefined {
    return this.#pathWithQuery;
  }

  setPathWithQuery(path: string | undefined): void {
    if (!VALID.path(path)) throw undefined;
    this.#pathWithQuery = path;
  }

  scheme(): Scheme | undefined {
    return this.#scheme;
  }

  setScheme(scheme: Scheme | undefined): void {
    if (!VALID.scheme(scheme)) throw undefined;
    this.#scheme = scheme;
  }

  authority(): string | undefined {
    return this.#authority;
  }

  setAuthority(authority: string | undefined): void {
    if (!VALID.authority(authority)) throw undefined;
    this.#authority = authority;
  }

  headers(): Fields {
    return new Fields(this.host, this.#headers, true);
  }

  /** All of it, on its way out; `body` is null where the guest took none. */
  get parts() {
    return {
      method: this.#method,
      scheme: this.#scheme,
      authority: this.#authority,
      path: this.#pathWithQuery,
      headers: this.#headers,
      body: this.#outgoing ?? null,
    };
  }
}

/** Resource `request-options`: times in nanoseconds. */
export class RequestOptions extends Resource {
  #connect: bigint | undefined;
  #firstByte: bigint | undefined;
  #betweenBytes: bigint | undefined;

  constructor(host: WasiInstance) {
    super(host, "request-options");
  }

  connectTimeout(): bigint | undefined {
    return this.#connect;
  }

  setConnectTimeout(ns: bigint | undefined): void {
    this.#connect = ns;
  }

  firstByteTimeout(): bigint | undefined {
    return this.#firstByte;
  }

  setFirstByteTimeout(ns: bigint | undefined): void {
    this.#firstByte = ns;
  }

  betweenBytesTimeout(): bigint | undefined {
    return this.#betweenBytes;
  }

  setBetweenBytesTimeout(ns: bigint | undefined): void {
    this.#betweenBytes = ns;
  }
}

/** Resource `incoming-response`. */
export class IncomingResponse extends Resource {
  readonly code: number;
  #headers: FieldList;
  #source: BodySource | null;
  #consumed = false;

  constructor(host: WasiInstance, code: number, headers: FieldList, body: BodySource | null) {
    super(host, "incoming-response");
    this.code = code;
    this.#headers = headers;
    this.#source = body;
  }

  protected override released(): void {
    if (!this.#consumed) this.#source?.cancel?.();
  }

  status(): number {
    return this.code;
  }

  headers(): Fields {
    return receivedFields(this.host, this.#headers);
  }

  consume(): IncomingBody {
    if (this.#consumed) throw undefined;
    this.#consumed = true;
    return new IncomingBody(this.host, this.#source);
  }
}

/** `option<result<result<incoming-response, error-code>>>` as the glue lowers it. */
export type FutureResponseResult =
  | { tag: "ok"; val: { tag: "ok"; val: IncomingResponse } | { tag: "err"; val: HttpErrorCode } }
  | { tag: "err"; val: undefined };

/** Resource `future-incoming-response`. */
export class FutureIncomingResponse extends Resource {
  #exchange: Exchange;
  #taken = false;

  constructor(host: WasiInstance, exchange: Exchange) {
    super(host, "future-incoming-response");
    this.#exchange = exchange;
  }

  protected override released(): void {
    if (!this.#taken) this.#exchange.cancel();
  }

  subscribe(): Pollable {
    return new Pollable(this.host, this.#exchange, this);
  }

  get(): FutureResponseResult | undefined {
    if (this.#taken) return { tag: "err", val: undefined };
    if (!this.#exchange.ready()) return undefined;
    this.#taken = true;
    const result = this.#exchange.result();
    return {
      tag: "ok",
      val: "tag" in result ? { tag: "err", val: result } : {
        tag: "ok",
        val: new IncomingResponse(
          this.host,
          result.status,
          fieldsOf(result.headers),
          this.#exchange,
        ),
      },
    };
  }
}

guardResource("wasi:http/types", "outgoing-request", OutgoingRequest);
guardResource("wasi:http/types", "request-options", RequestOptions);
guardResource("wasi:http/types", "incoming-response", IncomingResponse);
guardResource("wasi:http/types", "future-incoming-response", FutureIncomingResponse);

const TIMEOUT_MS = 600_000;
/** The longest that a timer takes. */
const TIMEOUT_MS_MAX = 0x7fff_ffff;

function timeoutMs(ns: bigint | undefined): number {
  if (ns === undefined) return TIMEOUT_MS;
  const ms = (ns + 999_999n) / 1_000_000n;
  return ms < TIMEOUT_MS_MAX ? Number(ms) : TIMEOUT_MS_MAX;
}

/** UTF-8, a character for each byte. A path that is empty or begins with its query gets a slash. */
function wirePath(path: string | undefined): string {
  const text = textOf(new TextEncoder().encode(path));
  return text.startsWith("/") ? text : `/${text}`;
}

/** What goes to the agent. Throws the {@link HttpErrorCode} of a request that cannot be sent. */
function exchangeRequest(
  request: OutgoingRequest["parts"],
  options: Timeouts | undefined,
): ExchangeRequest {
  const fail = (tag: string, val?: unknown): never => {
    request.body?.cancel();
    throw { tag, val } satisfies HttpErrorCode;
  };
  const { method, scheme = { tag: "HTTPS" }, authority } = request;
  if (method.tag === "connect") fail("HTTP-request-method-invalid");
  if (scheme.tag === "other") fail("HTTP-protocol-error");
  if (authority === undefined) return fail("HTTP-request-URI-invalid");
  const length = contentLength(request.headers) ?? undefined;
  const isPromised = length !== undefined && length > 0n;
  if (isPromised && request.body === null) fail("HTTP-request-body-size", 0n);
  if (isPromised && length > Number.MAX_SAFE_INTEGER) fail("HTTP-request-body-size", length);
  // As everywhere: a GET has no body unless it says how long that is.
  const isBodiless = length === undefined && (method.tag === "get" || method.tag === "head");
  if (isBodiless) request.body?.cancel();
  return {
    method: method.tag === "other" ? method.val! : method.tag.toUpperCase(),
    scheme: scheme.tag === "HTTP" ? "http" : "https",
    authority,
    path: wirePath(request.path),
    headers: headersOf(request.headers.filter(([name]) => name !== "content-length")),
    body: length !== undefined
      ? Number(length)
      : request.body === null || isBodiless
      ? "none"
      : "chunked",
    connectTimeoutMs: timeoutMs(options?.connectTimeout()),
    firstByteTimeoutMs: timeoutMs(options?.firstByteTimeout()),
    betweenBytesTimeoutMs: timeoutMs(options?.betweenBytesTimeout()),
  };
}

/**
 * Of which trace a request says that it is a part, where the guest may ask others at all: else
 * nobody wants to know, and to read the headers is a tenth of a small request.
 */
export function traceparentOf(
  host: WasiInstance,
  head: { readonly headers: FieldList },
): string | undefined {
  if (host.ctx.grants.network.outbound.length === 0) return undefined;
  for (const [name, value] of head.headers) if (name === "traceparent") return textOf(value);
  return undefined;
}

/** Timeouts of a request, in nanoseconds. */
export interface Timeouts {
  connectTimeout(): bigint | undefined;
  firstByteTimeout(): bigint | undefined;
  betweenBytesTimeout(): bigint | undefined;
}

/**
 * Sends a request; `call` is the guest's, for the notice that it is denied. Throws the
 * {@link HttpErrorCode} of one that cannot be sent.
 */
export function startExchange(
  host: WasiInstance,
  call: string,
  parts: OutgoingRequest["parts"],
  timeouts: Timeouts | undefined,
): Exchange {
  const { agent, grants } = host.ctx;
  if (agent === undefined || grants.network.outbound.length === 0) {
    parts.body?.cancel();
    host.deny(call, "outbound");
    throw { tag: "HTTP-request-denied" } satisfies HttpErrorCode;
  }
  const { traceparent: trace } = host;
  const request = exchangeRequest(parts, timeouts);
  const sent = trace === undefined ? request : { ...request, trace };
  const body = sent.body === "none" ? null : parts.body;
  return new Exchange(host, agent.call("http", sent), body);
}

/** `outgoing-handler` of one instance. */
export function createOutgoingHandler(host: WasiInstance) {
  return {
    handle: (
      request: OutgoingRequest,
      options: RequestOptions | undefined,
    ): FutureIncomingResponse => {
      const { parts } = request;
      request[Symbol.dispose]();
      try {
        const call = "wasi:http/outgoing-handler#handle";
        return new FutureIncomingResponse(host, startExchange(host, call, parts, options));
      } finally {
        options?.[Symbol.dispose]();
      }
    },
  };
}
