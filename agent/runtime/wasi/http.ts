/**
 * `wasi:http`: requests that come in, and the answers to them.
 *
 * A request enters through {@link HttpHost.createIncomingRequest}, its response leaves through
 * {@link HttpHost.createResponseOutparam}.
 *
 * @see https://github.com/WebAssembly/wasi-http/tree/v0.2.12/wit
 * @module
 */
import type { WasiInstance } from "./context.ts";
import {
  type BodyReader,
  type BodySource,
  EMPTY_BODY,
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
import { createOutgoingHandler, type Method, type Scheme, traceparentOf } from "./http_outgoing.ts";
import type { IoError } from "./io.ts";
import { guardResource, HOLD, Resource } from "./resource.ts";

/** The head of a request as it came in. */
export interface RequestHead {
  /** As on the wire: `GET`, `POST`, … */
  readonly method: string;
  /** `http` or `https`. */
  readonly scheme: string;
  readonly authority: string;
  /** Begins with a slash. */
  readonly pathWithQuery: string;
  readonly headers: FieldList;
}

/** What the guest answered: a response whose body is pulled, or the code of its failure. */
export type ResponseResult =
  | { readonly status: number; readonly headers: FieldList; readonly body: BodyReader }
  | { readonly error: HttpErrorCode };

const METHODS = new Set([
  "get",
  "head",
  "post",
  "put",
  "delete",
  "connect",
  "options",
  "trace",
  "patch",
]);

/** `method` of what is on the wire. */
export function methodOf(method: string): Method {
  const lower = method.toLowerCase();
  const isKnown = method === lower.toUpperCase() && METHODS.has(lower);
  return isKnown ? { tag: lower } : { tag: "other", val: method };
}

/** `scheme` of what is on the wire. */
export function schemeOf(scheme: string): Scheme {
  const upper = scheme.toUpperCase();
  return upper === "HTTP" || upper === "HTTPS" ? { tag: upper } : { tag: "other", val: scheme };
}

/** Resource `incoming-request`. */
export class IncomingRequest extends Resource {
  readonly head: RequestHead;
  #source: BodySource | null;
  #consumed = false;

  constructor(host: WasiInstance, head: RequestHead, body: BodySource | null) {
    super(host, "incoming-request");
    this.head = head;
    this.#source = body;
  }

  protected override released(): void {
    if (!this.#consumed) this.#source?.cancel?.();
  }

  method(): Method {
    return methodOf(this.head.method);
  }

  pathWithQuery(): string | undefined {
    return this.head.pathWithQuery;
  }

  scheme(): Scheme | undefined {
    return schemeOf(this.head.scheme);
  }

  authority(): string | undefined {
    return this.head.authority;
  }

  headers(): Fields {
    return receivedFields(this.host, this.head.headers);
  }

  consume(): IncomingBody {
    if (this.#consumed) throw undefined;
    this.#consumed = true;
    return new IncomingBody(this.host, this.#source);
  }
}

/** Resource `outgoing-response`. */
export class OutgoingResponse extends Resource {
  readonly fields: FieldList;
  #status = 200;
  #outgoing: BodyReader | undefined;

  constructor(host: WasiInstance, headers: Fields) {
    super(host, "outgoing-response");
    this.fields = takeFields(headers);
    this[HOLD](bytesOfFields(this.fields));
  }

  statusCode(): number {
    return this.#status;
  }

  setStatusCode(status: number): void {
    if (status < 100 || status > 999) throw undefined;
    this.#status = status;
  }

  headers(): Fields {
    return new Fields(this.host, this.fields, true);
  }

  body(): OutgoingBody {
    const length = contentLength(this.fields);
    if (this.#outgoing !== undefined || length === null) throw undefined;
    const body = new OutgoingBody(this.host, length, "HTTP-response-body-size");
    this.#outgoing = body.outgoing;
    return body;
  }

  /** Status, headers and body, on their way out. */
  get result(): ResponseResult {
    return { status: this.#status, headers: this.fields, body: this.#outgoing ?? EMPTY_BODY };
  }
}

/** Resource `response-outparam`: the way of the one response. */
export class ResponseOutparam extends Resource {
  #onResponse: (response: ResponseResult) => void;
  #set = false;

  constructor(host: WasiInstance, onResponse: (response: ResponseResult) => void) {
    super(host, "response-outparam");
    this.#onResponse = onResponse;
  }

  protected override released(): void {
    if (this.#set) return;
    const error = { tag: "internal-error", val: "the guest never set a response" };
    this.#onResponse({ error });
  }

  sendInformational(_status: number, _headers: Fields): void {
    this.host.trap("Cannot send an informational response: not supported");
  }

  static set(
    host: WasiInstance,
    param: ResponseOutparam,
    response:
      | { readonly tag: "ok"; readonly val: OutgoingResponse }
      | { readonly tag: "err"; readonly val: HttpErrorCode },
  ): void {
    if (param.#set) host.trap("Cannot set a response: it is set already");
    param.#set = true;
    param[Symbol.dispose]();
    if (response.tag === "err") return param.#onResponse({ error: response.val });
    const { result } = response.val;
    response.val[Symbol.dispose]();
    param.#onResponse(result);
  }
}

guardResource("wasi:http/types", "incoming-request", IncomingRequest);
guardResource("wasi:http/types", "outgoing-response", OutgoingResponse);
guardResource("wasi:http/types", "response-outparam", ResponseOutparam);

/** How the engine hands requests to a `wasi:http/incoming-handler`. */
export interface HttpHost {
  /** The first argument of `handle`. `body` is `null` for a request without one. */
  createIncomingRequest(head: RequestHead, body: BodySource | null): IncomingRequest;
  /**
   * The second argument of `handle`.
   *
   * `onResponse` is called once: with what the guest set, or with an error when it dropped the
   * parameter. A guest that traps calls nothing.
   */
  createResponseOutparam(onResponse: (response: ResponseResult) => void): ResponseOutparam;
}

/** The functions of `wasi:http`, by interface. */
export function createHttp(host: WasiInstance) {
  return {
    types: {
      httpErrorCode: (error: IoError): HttpErrorCode | undefined => error.init.http,
    },
    outgoingHandler: createOutgoingHandler(host),
  };
}

/** The host's side. */
export function createHandlerHost(host: WasiInstance): HttpHost {
  return {
    createIncomingRequest: (head, body) => {
      host.traceparent = traceparentOf(host, head);
      return new IncomingRequest(host, head, body);
    },
    createResponseOutparam: (onResponse) => new ResponseOutparam(host, onResponse),
  };
}
