/**
 * `wasi:http` of WASI 0.3: requests and responses that are one resource each, whichever way they
 * go, with bodies as streams. What carries bytes is that of 0.2.
 *
 * @see https://github.com/WebAssembly/wasi-http
 * @module
 */
import type { StreamSource } from "../../abi/channels.ts";
import type { GivenFuture, GivenStream } from "../../abi/ends.ts";
import type { WasiInstance } from "../context.ts";
import { methodOf, type RequestHead, type ResponseResult, schemeOf } from "../http.ts";
import {
  type BodyReader,
  type BodySource,
  codeOf as codeOfBody,
  EMPTY_BODY,
  type HttpErrorCode,
  Incoming,
  IncomingSource,
  Outgoing,
} from "../http_body.ts";
import {
  bytesOfFields,
  contentLength,
  type FieldList,
  Fields,
  receivedEntries,
  takeFields,
} from "../http_fields.ts";
import {
  fieldsOf,
  type Method,
  type Scheme,
  startExchange,
  type Timeouts,
  traceparentOf,
  VALID,
} from "../http_outgoing.ts";
import { type IoErrorInit, untilReady } from "../io.ts";
import { guardResource, HOLD, Resource } from "../resource.ts";
import { whenReady } from "./clocks.ts";
import { OK, reading, type Result, writing } from "./streams.ts";

type Trailers = Result<Fields3 | undefined, HttpErrorCode>;

const codeOf = (error: IoErrorInit | undefined): HttpErrorCode =>
  error?.http ?? { tag: "HTTP-protocol-error" };

/** Resource `fields`. */
export class Fields3 extends Fields {
  static override fromList(host: WasiInstance, entries: FieldList): Fields3 {
    const fields = new Fields3(host);
    try {
      for (const [name, value] of entries) fields.append(name, value);
    } catch (error) {
      fields[Symbol.dispose]();
      throw error;
    }
    return fields;
  }

  copyAll(): [string, Uint8Array][] {
    return this.entries();
  }

  getAndDelete(name: string): Uint8Array[] {
    const values = this.get(name);
    this.delete(name);
    return values;
  }

  override clone(): Fields3 {
    return new Fields3(this.host, this.list);
  }
}

/** A body: of the guest's streams, or from outside. */
type Body =
  | {
    readonly contents: GivenStream | undefined;
    readonly trailers: GivenFuture;
    /** Is told how the body was sent. */
    readonly sent: (result: Result) => void;
  }
  | { readonly source: BodySource | null };

/** A body of the guest's, and the future that tells it how that was sent. */
function ownBody(
  contents: GivenStream | undefined,
  trailers: GivenFuture,
): [Body, Promise<Result>] {
  const { promise, resolve } = Promise.withResolvers<Result>();
  return [{ contents, trailers, sent: resolve }, promise];
}

/** Nobody wants the body. */
function dropBody(body: Body): void {
  if ("source" in body) return body.source?.cancel?.();
  body.contents?.drop();
  body.trailers.drop();
  body.sent(OK);
}

const NOTHING: StreamSource = {
  ready: () => true,
  wait: () => () => {},
  take: () => null,
  close: () => {},
};

/** The stream and the trailers of a body, for the guest; `res` is how it fared with them. */
function consume(
  host: WasiInstance,
  body: Body,
  res: GivenFuture,
): [StreamSource | GivenStream, Promise<() => Trailers> | GivenFuture] {
  if (!("source" in body)) {
    res.take((result) => body.sent(result as Result));
    return [body.contents ?? NOTHING, body.trailers];
  }
  res.take(() => {});
  const { source } = body;
  const incoming = new Incoming(host, source);
  const [stream, ended] = reading(new ClosingSource(host, incoming), codeOf);
  const trailers = ended.then((result) => () => {
    if (result.tag === "err") return result as Trailers;
    const list = incoming.ended ? source?.trailers?.() : undefined;
    return {
      tag: "ok" as const,
      val: list && new Fields3(host, receivedEntries(list), true),
    };
  });
  return [stream, trailers];
}

/** An incoming body of which the rest is given up where the guest stops to read. */
class ClosingSource extends IncomingSource {
  close(): void {
    this.incoming.take();
    if (!this.incoming.ended && !this.incoming.error) this.incoming.source?.cancel?.();
  }
}

/** A body on its way out; null where there is none. `sizeError` is the code of a wrong length. */
function outgoing(
  host: WasiInstance,
  body: Body,
  length: bigint | undefined,
  sizeError: string,
): BodyReader | null {
  if ("source" in body) {
    if (body.source === null) return null;
    const out = new Outgoing(host, length, sizeError);
    relay(host, body.source, out).catch((error) => out.abort(codeOfBody(error)));
    return out;
  }
  const { contents, trailers, sent } = body;
  if (!contents) {
    trailers.take((result) => {
      const { tag, val } = result as Trailers;
      if (tag === "ok") val?.[Symbol.dispose]();
    });
    sent(OK);
    return length === undefined || length === 0n ? null : failing({ tag: sizeError, val: 0n });
  }
  const out = new Outgoing(host, length, sizeError);
  writing(host, contents, out, codeOf).then((result) => {
    const failed = (code: HttpErrorCode) => {
      out.abort(code);
      sent({ tag: "err", val: code });
    };
    if (result.tag === "err") {
      trailers.drop();
      return failed(result.val as HttpErrorCode);
    }
    trailers.take((taken) => {
      const result = taken as Trailers;
      if (result.tag === "err") return failed(result.val);
      try {
        out.finish(result.val && takeFields(result.val));
        sent(OK);
      } catch (error) {
        failed(error as HttpErrorCode);
      }
    });
  });
  return out;
}

/** A body that was promised and is not there. */
function failing(code: HttpErrorCode): BodyReader {
  return {
    ...EMPTY_BODY,
    read: () => Promise.reject(code),
    take: () => {
      throw code;
    },
  };
}

/** From one side of the host to the other. */
async function relay(host: WasiInstance, source: BodySource, out: Outgoing): Promise<void> {
  for (;;) {
    let rest = await source.read();
    if (rest === null) return out.finish(source.trailers?.());
    while (rest.length > 0) {
      if (out.permit() === 0) await untilReady(host, [out]);
      const bytes: Uint8Array = rest.subarray(0, out.permit());
      out.write(bytes);
      rest = rest.subarray(bytes.length);
    }
  }
}

/** What is on its way one way or the other. */
abstract class Message extends Resource {
  readonly fields: FieldList;
  #body: Body | undefined;

  constructor(host: WasiInstance, kind: string, fields: FieldList, body: Body) {
    super(host, kind);
    this.fields = fields;
    this.#body = body;
    this[HOLD](bytesOfFields(fields));
  }

  protected override released(): void {
    if (this.#body) dropBody(this.#body);
  }

  /** Its body, and the handle is gone. */
  static take(message: Message): Body {
    const body = message.#body!;
    message.#body = undefined;
    message[Symbol.dispose]();
    return body;
  }
}

interface Times {
  connect?: bigint | undefined;
  firstByte?: bigint | undefined;
  betweenBytes?: bigint | undefined;
}

/** Resource `request-options`: times in nanoseconds. */
export class RequestOptions3 extends Resource implements Timeouts {
  readonly times: Times;
  readonly #isImmutable: boolean;

  constructor(host: WasiInstance, times: Times = {}, isImmutable = false) {
    super(host, "request-options");
    this.times = { ...times };
    this.#isImmutable = isImmutable;
  }

  #set(name: keyof Times, ns: bigint | undefined): void {
    if (this.#isImmutable) throw { tag: "immutable" };
    this.times[name] = ns;
  }

  connectTimeout(): bigint | undefined {
    return this.times.connect;
  }

  firstByteTimeout(): bigint | undefined {
    return this.times.firstByte;
  }

  betweenBytesTimeout(): bigint | undefined {
    return this.times.betweenBytes;
  }

  getConnectTimeout(): bigint | undefined {
    return this.times.connect;
  }

  setConnectTimeout(ns: bigint | undefined): void {
    this.#set("connect", ns);
  }

  getFirstByteTimeout(): bigint | undefined {
    return this.times.firstByte;
  }

  setFirstByteTimeout(ns: bigint | undefined): void {
    this.#set("firstByte", ns);
  }

  getBetweenBytesTimeout(): bigint | undefined {
    return this.times.betweenBytes;
  }

  setBetweenBytesTimeout(ns: bigint | undefined): void {
    this.#set("betweenBytes", ns);
  }

  clone(): RequestOptions3 {
    return new RequestOptions3(this.host, this.times);
  }
}

/** Resource `request`. */
export class Request3 extends Message {
  #method: Method = { tag: "get" };
  #path: string | undefined;
  #scheme: Scheme | undefined;
  #authority: string | undefined;
  #options: Times | undefined;

  constructor(host: WasiInstance, fields: FieldList, body: Body, options?: Times) {
    super(host, "request", fields, body);
    this.#options = options;
  }

  /** `new` of the interface: a request of the guest's. */
  static new(
    host: WasiInstance,
    headers: Fields3,
    contents: GivenStream | undefined,
    trailers: GivenFuture,
    options: RequestOptions3 | undefined,
  ): [Request3, Promise<Result>] {
    const [body, sent] = ownBody(contents, trailers);
    const times = options && { ...options.times };
    options?.[Symbol.dispose]();
    return [new Request3(host, takeFields(headers), body, times), sent];
  }

  /** One that came in. */
  static incoming(host: WasiInstance, head: RequestHead, source: BodySource | null): Request3 {
    host.traceparent = traceparentOf(host, head);
    const request = new Request3(host, receivedEntries(head.headers), { source });
    request.#method = methodOf(head.method);
    request.#path = head.pathWithQuery;
    request.#scheme = schemeOf(head.scheme);
    request.#authority = head.authority;
    return request;
  }

  static consumeBody(host: WasiInstance, request: Request3, res: GivenFuture) {
    return consume(host, Message.take(request), res);
  }

  getHeaders(): Fields3 {
    return new Fields3(this.host, this.fields, true);
  }

  getMethod(): Method {
    return this.#method;
  }

  setMethod(method: Method): void {
    if (!VALID.method(method)) throw undefined;
    this.#method = method;
  }

  getPathWithQuery(): string | undefined {
    return this.#path;
  }

  setPathWithQuery(path: string | undefined): void {
    if (!VALID.path(path)) throw undefined;
    this.#path = path;
  }

  getScheme(): Scheme | undefined {
    return this.#scheme;
  }

  setScheme(scheme: Scheme | undefined): void {
    if (!VALID.scheme(scheme)) throw undefined;
    this.#scheme = scheme;
  }

  getAuthority(): string | undefined {
    return this.#authority;
  }

  setAuthority(authority: string | undefined): void {
    if (!VALID.authority(authority)) throw undefined;
    this.#authority = authority;
  }

  getOptions(): RequestOptions3 | undefined {
    return this.#options && new RequestOptions3(this.host, this.#options, true);
  }

  /** Sends it: the response, or the error code as what is thrown. */
  static send(host: WasiInstance, request: Request3): Promise<Response3> {
    const { fields: headers } = request;
    const times = request.#options;
    const length = contentLength(headers);
    const head = {
      method: request.#method,
      scheme: request.#scheme,
      authority: request.#authority,
      path: request.#path,
      headers,
    };
    const taken = Message.take(request);
    if (length === null) {
      dropBody(taken);
      return Promise.reject({ tag: "HTTP-request-body-size" } satisfies HttpErrorCode);
    }
    const body = outgoing(host, taken, length, "HTTP-request-body-size");
    let exchange: ReturnType<typeof startExchange>;
    try {
      exchange = startExchange(
        host,
        "wasi:http/client#send",
        { ...head, body },
        times && {
          connectTimeout: () => times.connect,
          firstByteTimeout: () => times.firstByte,
          betweenBytesTimeout: () => times.betweenBytes,
        },
      );
    } catch (error) {
      return Promise.reject(error);
    }
    const ready = Promise.resolve(whenReady(host, exchange));
    host.cancel = () => exchange.cancel();
    return ready.then(() => {
      const result = exchange.result();
      if ("tag" in result) throw result;
      const fields = receivedEntries(fieldsOf(result.headers));
      return new Response3(host, fields, { source: exchange }, result.status);
    });
  }
}

/** Resource `response`. */
export class Response3 extends Message {
  #status: number;

  constructor(host: WasiInstance, fields: FieldList, body: Body, status = 200) {
    super(host, "response", fields, body);
    this.#status = status;
  }

  /** `new` of the interface: a response of the guest's. */
  static new(
    host: WasiInstance,
    headers: Fields3,
    contents: GivenStream | undefined,
    trailers: GivenFuture,
  ): [Response3, Promise<Result>] {
    const [body, sent] = ownBody(contents, trailers);
    return [new Response3(host, takeFields(headers), body), sent];
  }

  static consumeBody(host: WasiInstance, response: Response3, res: GivenFuture) {
    return consume(host, Message.take(response), res);
  }

  getHeaders(): Fields3 {
    return new Fields3(this.host, this.fields, true);
  }

  getStatusCode(): number {
    return this.#status;
  }

  setStatusCode(status: number): void {
    if (status < 100 || status > 599) throw undefined;
    this.#status = status;
  }

  /** What the engine sends. */
  static result(host: WasiInstance, response: Response3): ResponseResult {
    const { fields } = response;
    const status = response.#status;
    const taken = Message.take(response);
    const length = contentLength(fields);
    if (length === null) {
      dropBody(taken);
      return { error: { tag: "HTTP-response-body-size" } };
    }
    const body = outgoing(host, taken, length, "HTTP-response-body-size") ?? EMPTY_BODY;
    return { status, headers: fields, body };
  }
}

guardResource("wasi:http/types", "fields", Fields3);
guardResource("wasi:http/types", "request", Request3);
guardResource("wasi:http/types", "response", Response3);
guardResource("wasi:http/types", "request-options", RequestOptions3);

/** The functions of `wasi:http`, by interface. */
export function createHttp3(host: WasiInstance) {
  return { client: { send: (request: Request3) => Request3.send(host, request) } };
}
