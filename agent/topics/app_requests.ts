/**
 * Requests of behaviors: to hosts that the person granted (`network=https://example.com`), by the
 * broker, as all requests of guests go: names are looked up once, the very address that was checked is
 * dialled, and loopback, link-local and private addresses are not reached. Redirects are the app's
 * affair, and no connection is kept for the next request.
 *
 * @module
 */
import type {
  FetchFailure,
  GuestRequest,
  GuestResponse,
  Result,
} from "../apps/arbiter/guest_host.ts";
import { bytesOf, textOf } from "../kernel/byte_string.ts";
import {
  DATA,
  dataChunk,
  type ExchangeRequest,
  type ExchangeResponse,
  type HttpFailure,
  tailChunk,
} from "../kernel/http_exchange.ts";
import { parseOutbound } from "../kernel/network_grant.ts";
import { NO_NETWORK, type Pipe, type Service } from "../kernel/ports.ts";
import { createServices } from "../node/services.ts";

/** Bytes of a response. */
export const APP_RESPONSE_BYTES_MAX = 1024 * 1024;
/** For everything. */
export const APP_REQUEST_TIMEOUT_MS = 30_000;
/** What a grant of a host begins with. */
const NETWORK = "network=";

type Answer = Result<GuestResponse, FetchFailure>;

/** The broker for these grants, in the form of {@link NetworkGrants} of a replica. */
function brokerFor(grants: readonly string[]): Service {
  const outbound = grants.filter((grant) => grant.startsWith(NETWORK))
    .flatMap((grant) => parseOutbound(grant.slice(NETWORK.length)) ?? []);
  return createServices({
    grants: {
      args: [],
      env: [],
      mounts: [],
      clock: false,
      random: false,
      stdio: false,
      network: { ...NO_NETWORK, outbound },
      config: [],
      keyvalue: false,
    },
    notice: () => {},
  }).http!;
}

/** Makes a request; never rejects. */
export async function appRequest(
  request: GuestRequest,
  grants: readonly string[],
  broker: (grants: readonly string[]) => Service = brokerFor,
): Promise<Answer> {
  const asked = exchangeOf(request);
  if (asked === undefined) return failure({ tag: "invalid", val: "the URL is none of http" });
  const late = AbortSignal.timeout(APP_REQUEST_TIMEOUT_MS);
  const http = broker(grants);
  const body = new ResponseBody(request.body, late);
  try {
    const head = await http.call(asked, body) as ExchangeResponse;
    const bytes = await body.all;
    const headers = head.headers.map(([name, value]) => [name, bytesOf(value)] as const);
    return { tag: "ok", val: { status: head.status, headers, body: bytes } };
  } catch (error) {
    return failure(late.aborted ? { tag: "timed-out" } : failureOf(error));
  } finally {
    await http.close();
  }
}

function failure(val: FetchFailure): Answer {
  return { tag: "err", val };
}

/** The request for the broker; undefined where its URL is none. */
function exchangeOf({ method, url, headers, body }: GuestRequest): ExchangeRequest | undefined {
  if (!URL.canParse(url)) return undefined;
  const { protocol, host, pathname, search, username, password } = new URL(url);
  const scheme = protocol.slice(0, -1);
  if ((scheme !== "http" && scheme !== "https") || username !== "" || password !== "") {
    return undefined;
  }
  return {
    method,
    scheme,
    authority: host,
    path: pathname + search,
    headers: headers.map(([name, value]) => [name.toLowerCase(), textOf(value)] as const),
    body: body.length === 0 ? "none" : body.length,
    connectTimeoutMs: APP_REQUEST_TIMEOUT_MS,
    firstByteTimeoutMs: APP_REQUEST_TIMEOUT_MS,
    betweenBytesTimeoutMs: APP_REQUEST_TIMEOUT_MS,
  };
}

class TooLarge extends Error {}

/** Sends a body that is there as a whole, and collects the other one. */
class ResponseBody implements Pipe {
  readonly #rest: Uint8Array[];
  readonly #chunks: Uint8Array[] = [];
  readonly #all = Promise.withResolvers<Uint8Array>();
  readonly #end = new AbortController();
  readonly signal: AbortSignal;
  #length = 0;

  constructor(body: Uint8Array, late: AbortSignal) {
    this.#rest = body.length === 0 ? [] : [dataChunk(body), tailChunk([])];
    this.signal = AbortSignal.any([late, this.#end.signal]);
    this.#all.promise.catch(() => {}); // it may fail before somebody waits
    late.addEventListener("abort", () => this.#all.reject(late.reason), { once: true });
  }

  /** The other side's body. */
  get all(): Promise<Uint8Array> {
    return this.#all.promise;
  }

  read(): Promise<Uint8Array | null> {
    return Promise.resolve(this.#rest.shift() ?? null);
  }

  write(chunk: Uint8Array): Promise<boolean> {
    if (chunk[0] === DATA) {
      this.#length += chunk.length - 1;
      if (this.#length > APP_RESPONSE_BYTES_MAX) {
        this.#all.reject(new TooLarge());
        this.#end.abort();
        return Promise.resolve(false);
      }
      this.#chunks.push(chunk.slice(1));
    } else this.#all.resolve(joined(this.#chunks, this.#length));
    return Promise.resolve(true);
  }

  end(): void {
    // Without a tail before it, it broke off; then this is the first to say so.
    this.#all.reject({ reason: { tag: "HTTP-response-incomplete" } });
  }

  fail(reason: unknown): void {
    this.#all.reject({ reason });
  }

  stopReading(): void {}
}

function joined(chunks: readonly Uint8Array[], length: number): Uint8Array {
  const all = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.length;
  }
  return all;
}

function failureOf(error: unknown): FetchFailure {
  if (error instanceof TooLarge) return { tag: "too-large" };
  const tag = (error as { reason?: HttpFailure } | null)?.reason?.tag ?? "internal-error";
  if (tag === "HTTP-request-denied" || tag === "destination-IP-prohibited") {
    return { tag: "denied" };
  }
  if (tag.includes("timeout")) return { tag: "timed-out" };
  const isInvalid = tag.startsWith("HTTP-request-") || tag === "HTTP-protocol-error";
  return { tag: isInvalid ? "invalid" : "unreachable", val: tag };
}
