/**
 * What a proxy does to the headers of requests and responses (RFC 9110, section 7.6.1).
 *
 * Headers that are about one connection stay on it. `X-Forwarded-For`, `-Proto` and `-Host` are
 * this proxy's word: what a client claims in them, in `Forwarded` or `X-Real-IP` is dropped, since
 * there is no proxy before this one that could be trusted.
 *
 * @module
 */
import type { HandlerResponse } from "../kernel/ports.ts";

const HOP_BY_HOP = [
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
] as const;

const DROPPED_FROM_REQUEST = new Set<string>([
  ...HOP_BY_HOP,
  "expect",
  "forwarded",
  "http2-settings",
  "x-forwarded-for",
  "x-forwarded-host",
  "x-forwarded-port",
  "x-forwarded-prefix",
  "x-forwarded-proto",
  "x-real-ip",
]);

/** What the proxy reads in the headers of a request, in one pass: the pass is most of the cost. */
export interface ClientHeaders {
  /** Those that a component gets. */
  readonly kept: [string, string][];
  /** Of all: names and values, and four for each line. */
  readonly bytes: number;
  readonly host: string | undefined;
  readonly upgrade: string | undefined;
}

/** Where a request came from. */
export interface Origin {
  /** Address of the client. */
  readonly address: string;
  /** Host the client asked for, with its port. */
  readonly host: string;
  /** The part of the path that was taken away, if any. */
  readonly prefix: string | undefined;
}

/** The names that a `Connection` header lists, in lower case. */
function listedIn(connection: string): string[] {
  return connection.split(",").map((token) => token.trim().toLowerCase()).filter(Boolean);
}

/**
 * Reads the headers of a request and drops what ends at this proxy. `forEach`, because it takes a
 * fifth of the time that Deno needs to iterate. Deno gives the body of no `GET` and no `HEAD`, so
 * that its length would be wrong.
 */
export function readHeaders(
  { headers, method }: Pick<Request, "headers" | "method">,
): ClientHeaders {
  const kept: [string, string][] = [];
  let bytes = 0;
  let host: string | undefined;
  let upgrade: string | undefined;
  let connection: string | undefined;
  let chunked = false;
  let sized = false;
  headers.forEach((value, name) => {
    bytes += name.length + value.length + 4;
    if (name === "host") host = value;
    else if (!DROPPED_FROM_REQUEST.has(name)) {
      kept.push([name, value]);
      if (name === "content-length") sized = true;
    } else if (name === "connection") connection = value;
    else if (name === "transfer-encoding") chunked = true;
    else if (name === "upgrade") upgrade = value;
  });
  const lost = sized && (method === "GET" || method === "HEAD");
  if (connection === undefined && !chunked && !lost) return { kept, bytes, host, upgrade };
  const listed = new Set(listedIn(connection ?? ""));
  // Of both framings chunked is the one that counted (RFC 9112, section 6.3).
  if (chunked || lost) listed.add("content-length");
  return { kept: kept.filter(([name]) => !listed.has(name)), bytes, host, upgrade };
}

/** Adds what this proxy says about the request. */
export function addForwarded(headers: [string, string][], origin: Origin): void {
  headers.push(
    ["host", origin.host],
    ["x-forwarded-for", origin.address],
    ["x-forwarded-host", origin.host],
    ["x-forwarded-proto", "http"],
  );
  if (origin.prefix !== undefined) headers.push(["x-forwarded-prefix", origin.prefix]);
}

/** Of which trace a request is a part, as whoever sent it says. */
export function traceparentOf(headers: readonly (readonly [string, string])[]): string | undefined {
  return headers.find(([name]) => name === "traceparent")?.[1];
}

/** Makes a request a part of another span. */
export function setTraceparent(headers: [string, string][], traceparent: string): void {
  for (let i = headers.length - 1; i >= 0; i--) {
    if (headers[i]![0] === "traceparent") headers.splice(i, 1);
  }
  headers.push(["traceparent", traceparent]);
}

const DROPPED_FROM_RESPONSE = new Set<string>(HOP_BY_HOP);

/** What the client gets: without hop-by-hop headers, for `HEAD` and where none may be without body. */
export function clientResponse(response: HandlerResponse, method: string): Response {
  const { status, body } = response;
  const hasNone = method === "HEAD" || status === 204 || status === 205 || status === 304;
  if (hasNone) discard(response);
  const answer = new Response(hasNone ? null : body as BodyInit | null, { status });
  // Appended: to convert a list of them takes twice the time.
  const { headers } = answer;
  let connection: string | undefined;
  for (const [name, value] of response.headers) {
    if (!DROPPED_FROM_RESPONSE.has(name)) headers.append(name, value);
    else if (name === "connection") connection = value;
  }
  if (connection !== undefined) listedIn(connection).forEach((name) => headers.delete(name));
  return answer;
}

/** Ends a body that nobody wants. */
export function discard({ body }: HandlerResponse): void {
  if (body instanceof ReadableStream) body.cancel().catch(() => {});
}
