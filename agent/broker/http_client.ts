/**
 * Requests of one replica to others: the agent's service `http`.
 *
 * Each request is checked against the replica's grants and goes over a connection that the broker's
 * dialler made: nothing here looks up a name or opens a socket by itself. Connections are kept for
 * a moment and used again, by the same replica for the same scheme, host and port only. There are
 * no redirects, cookies, proxies or decompression: what the guest gets is what the server sent.
 *
 * @module
 */
import type { ExchangeRequest, ExchangeResponse, HttpHeaders } from "../kernel/http_exchange.ts";
import { formatIp, parseIp } from "../kernel/ip_address.ts";
import { normalizeName } from "../kernel/network_grant.ts";
import type { Pipe, Service, Tracer } from "../kernel/ports.ts";
import type { DialOptions } from "./dial.ts";
import {
  type ByteStream,
  checkedHeaders,
  HttpConnection,
  StaleConnection,
} from "./http_connection.ts";
import { HttpError } from "./http_failure.ts";
import { ParserCode } from "./http_parser.ts";
import { NetworkError, type NetworkErrorCode } from "./network_error.ts";
import type { Target } from "./network_policy.ts";

/** Connections that a replica may have, idle ones included. */
export const HTTP_CONNECTIONS_MAX = 256;
/** Connections that a replica keeps for later. */
export const IDLE_CONNECTIONS_MAX = 32;
/** A connection is kept for so long: less than the time after which common servers close theirs. */
const IDLE_MS = 4_000;
/** A request that cannot be sent twice takes only a connection that was used so shortly ago. */
const FRESH_MS = 1_000;

/** What {@link HttpClient} needs of the broker's dialler. */
export interface HttpDialer {
  dial(target: Target, options: DialOptions): Promise<ByteStream>;
  dialTls(
    target: Target,
    options: DialOptions & { readonly alpnProtocols: string[] },
  ): Promise<ByteStream>;
}

/** Who records requests, and whose they are. */
export interface HttpTracing {
  readonly tracer: Tracer;
  readonly component: string;
}

interface Idle {
  readonly key: string;
  readonly connection: HttpConnection;
  readonly sinceMs: number;
  readonly timer: ReturnType<typeof setTimeout>;
}

/** See the module. */
export class HttpClient implements Service {
  #code: ParserCode | undefined;
  /** Oldest first. */
  readonly #idle = new Set<Idle>();
  readonly #connections = new Set<HttpConnection>();
  readonly #exchanges = new Set<Promise<void>>();
  readonly #closing = new AbortController();
  #dialling = 0;

  constructor(readonly dialer: HttpDialer, readonly tracing?: HttpTracing) {}

  /** Connections that are open or being opened. */
  get connections(): number {
    return this.#connections.size + this.#dialling;
  }

  call(given: unknown, pipe: Pipe): Promise<ExchangeResponse> {
    const answered = Promise.withResolvers<ExchangeResponse>();
    const exchange = this.#traced(given, pipe, answered.resolve).catch((error) => {
      answered.reject(error);
      pipe.fail(error instanceof HttpError ? error.reason : { tag: "internal-error" });
    });
    this.#exchanges.add(exchange);
    exchange.finally(() => this.#exchanges.delete(exchange));
    return answered.promise;
  }

  async close(): Promise<void> {
    this.#closing.abort();
    for (const idle of this.#idle) this.#forget(idle);
    for (const connection of this.#connections) this.#drop(connection);
    await Promise.all(this.#exchanges);
  }

  /** The server learns of the trace, and the trace of the request. */
  async #traced(
    given: unknown,
    pipe: Pipe,
    answer: (response: ExchangeResponse) => void,
  ): Promise<void> {
    const request = checkedRequest(given);
    const { method, headers, authority } = request;
    const said = headers.find(([name]) => name === "traceparent")?.[1];
    const { tracer, component } = this.tracing ?? {};
    const span = tracer?.start(method, {
      kind: "client",
      service: component!,
      parent: said ?? request.trace,
    });
    if (span === undefined) return await this.#exchange(request, pipe, answer);
    const traced: HttpHeaders = [
      ...headers.filter(([name]) => name !== "traceparent"),
      ["traceparent", span.traceparent],
    ];
    const about = { "http.request.method": method, "server.address": authority };
    try {
      await this.#exchange({ ...request, headers: traced }, pipe, (response) => {
        span.end({ ...about, "http.response.status_code": response.status });
        answer(response);
      });
    } catch (error) {
      span.end(about, error instanceof HttpError ? error.reason.tag : "internal-error");
      throw error;
    }
  }

  async #exchange(
    request: ExchangeRequest,
    pipe: Pipe,
    answer: (response: ExchangeResponse) => void,
  ): Promise<void> {
    const target = targetOf(request);
    const key = `${target.scheme}://${target.host} ${target.port}`;
    const canRepeat = IDEMPOTENT.has(request.method) &&
      (request.body === "none" || request.body === 0);
    let connection = this.#reuse(key, canRepeat);
    for (;;) {
      connection ??= await this.#connect(target, request.connectTimeoutMs, pipe.signal);
      try {
        const isReusable = await connection.exchange(request, pipe, answer);
        if (isReusable && !this.#closing.signal.aborted) return this.#keep(key, connection);
        this.#drop(connection);
        return;
      } catch (error) {
        this.#drop(connection);
        if (!(error instanceof StaleConnection)) throw error;
        if (!canRepeat) throw new HttpError("connection-terminated");
        connection = this.#reuse(key, canRepeat);
      }
    }
  }

  #reuse(key: string, canRepeat: boolean): HttpConnection | undefined {
    const sinceMs = canRepeat ? -Infinity : performance.now() - FRESH_MS;
    const found = [...this.#idle].findLast((idle) => idle.key === key && idle.sinceMs >= sinceMs);
    if (!found) return undefined;
    this.#forget(found);
    return found.connection;
  }

  #forget(idle: Idle): void {
    this.#idle.delete(idle);
    clearTimeout(idle.timer);
  }

  #drop(connection: HttpConnection): void {
    connection.close();
    this.#connections.delete(connection);
  }

  #keep(key: string, connection: HttpConnection): void {
    const end = () => {
      if (!this.#idle.has(idle)) return;
      this.#forget(idle);
      this.#drop(connection);
    };
    const idle = { key, connection, sinceMs: performance.now(), timer: setTimeout(end, IDLE_MS) };
    this.#idle.add(idle);
    connection.watch(end);
    if (this.#idle.size > IDLE_CONNECTIONS_MAX) this.#endOldest();
  }

  #endOldest(): boolean {
    const [oldest] = this.#idle;
    if (!oldest) return false;
    this.#forget(oldest);
    this.#drop(oldest.connection);
    return true;
  }

  async #connect(
    target: Target,
    timeoutMs: number,
    guest: AbortSignal,
  ): Promise<HttpConnection> {
    if (this.connections >= HTTP_CONNECTIONS_MAX && !this.#endOldest()) {
      throw new HttpError("connection-limit-reached");
    }
    const signal = AbortSignal.any([guest, this.#closing.signal]);
    const fromMs = performance.now();
    this.#dialling++;
    try {
      const stream = target.scheme === "https"
        ? await this.dialer.dialTls(target, { signal, timeoutMs, alpnProtocols: ["http/1.1"] })
        : await this.dialer.dial(target, { signal, timeoutMs });
      const connection = new HttpConnection(stream, this.#code ??= new ParserCode());
      this.#connections.add(connection);
      return connection;
    } catch (error) {
      throw dialError(NetworkError.from(error), performance.now() - fromMs < timeoutMs - 1);
    } finally {
      this.#dialling--;
    }
  }
}

/** RFC 9110, section 9.2.2. */
const IDEMPOTENT = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]);

/** The names of RFC 1035 for what went wrong in a lookup. */
const RCODES: Partial<Record<NetworkErrorCode, string>> = {
  "name-unresolvable": "NXDOMAIN",
  "temporary-resolver-failure": "SERVFAIL",
  "permanent-resolver-failure": "SERVFAIL",
};

const TAGS: Partial<Record<NetworkErrorCode, string>> = {
  "access-denied": "HTTP-request-denied",
  "address-prohibited": "destination-IP-prohibited",
  "connection-refused": "connection-refused",
  "connection-reset": "connection-terminated",
  "connection-aborted": "connection-terminated",
  "remote-unreachable": "destination-unavailable",
  "address-not-bindable": "destination-unavailable",
  "new-socket-limit": "connection-limit-reached",
  "tls-certificate": "TLS-certificate-error",
  "aborted": "connection-terminated",
};

/** `wasEarly`: before the time that the guest gave was over. */
function dialError({ reason, message }: NetworkError, wasEarly: boolean): HttpError {
  const rcode = RCODES[reason];
  if (rcode) return new HttpError("DNS-error", { rcode });
  // A connection has no time-out but the guest's; a lookup has.
  if (reason === "timeout") return new HttpError(wasEarly ? "DNS-timeout" : "connection-timeout");
  if (reason === "tls-protocol") {
    const alert = /fatal alert: (\w+)/.exec(message)?.[1];
    return alert
      ? new HttpError("TLS-alert-received", { alertMessage: alert })
      : new HttpError("TLS-protocol-error");
  }
  const tag = TAGS[reason];
  return tag ? new HttpError(tag) : new HttpError("internal-error", message);
}

const METHOD = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const PATH = /^\/[\x21-\x22\x24-\x7e\x80-\xff]*$/;
const AUTHORITY = /^(?:\[([\da-f:.]+)\]|([\w\-.]+))(?::(\d{1,5}))?$/i;

/** What a Worker says is not to be trusted. Throws {@link HttpError}. */
function checkedRequest(given: unknown): ExchangeRequest {
  const request = (typeof given === "object" && given !== null ? given : {}) as ExchangeRequest;
  const { method, scheme, authority, path, headers, body } = request;
  const times = [
    request.connectTimeoutMs,
    request.firstByteTimeoutMs,
    request.betweenBytesTimeoutMs,
  ];
  const isText = (value: unknown): value is string => typeof value === "string";
  const isHeader = (entry: unknown) =>
    Array.isArray(entry) && entry.length === 2 && entry.every(isText);
  const isValid = isText(method) && METHOD.test(method) && method !== "CONNECT" &&
    (scheme === "http" || scheme === "https") && isText(path) && isText(authority) &&
    Array.isArray(headers) && headers.every(isHeader) &&
    (body === "none" || body === "chunked" || (Number.isSafeInteger(body) && body >= 0)) &&
    times.every((ms) => Number.isSafeInteger(ms) && ms >= 0 && ms <= 0x7fff_ffff);
  if (!isValid) throw new HttpError("HTTP-protocol-error");
  if (!PATH.test(path)) throw new HttpError("HTTP-request-URI-invalid");
  checkedHeaders(headers as HttpHeaders);
  const { trace } = request;
  if (trace !== undefined && !isText(trace)) throw new HttpError("HTTP-protocol-error");
  return request;
}

/** Where a request goes. Throws {@link HttpError}. */
function targetOf({ scheme, authority }: ExchangeRequest): Target {
  const [, v6, name = "", digits] = AUTHORITY.exec(authority) ?? [];
  const ip = parseIp(v6 ?? name);
  const host = ip ? formatIp(ip) : v6 === undefined ? normalizeName(name) : undefined;
  const port = digits === undefined ? (scheme === "https" ? 443 : 80) : Number(digits);
  if (host === undefined || port < 1 || port > 65_535) {
    throw new HttpError("HTTP-request-URI-invalid");
  }
  return { scheme, host, port };
}
