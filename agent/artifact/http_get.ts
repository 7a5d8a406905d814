/**
 * A GET over HTTP for artifacts: few redirects and none to where a server may not send us, bodies
 * bounded, transfers that break off resumed (RFC 9110, 14.2) while the server has the same thing.
 *
 * @module
 */
import { type AddressKind, kindOfAddress } from "../kernel/address_policy.ts";
import { RealmError } from "../kernel/error.ts";
import { parseIp } from "../kernel/ip_address.ts";
import type { SourceContext } from "./source.ts";
import { tooLarge } from "./too_large.ts";

/** Redirects followed before giving up. */
export const REDIRECTS_MAX = 5;
/** Attempts at one transfer, the first one too. */
export const ATTEMPTS_MAX = 4;
const PAUSE_MS = 200;
const REDIRECT = new Set([301, 302, 303, 307, 308]);
/** What a server answers that may answer otherwise in a moment. */
const BUSY = new Set([429, 502, 503, 504]);
/** Where nothing may be sent that began elsewhere. */
const NEVER: readonly AddressKind[] = ["metadata", "link-local", "multicast", "broadcast"];

/** What to get. */
export interface HttpRequest {
  readonly url: URL;
  /** Sent to the host of `url`, and not to others that it redirects to. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Names it in errors; may not hold a secret. */
  readonly source: string;
  /** Whose answer named `url`, where the source did not: the rules of its redirects hold. */
  readonly askedBy?: URL;
  /** {@link SourceContext.bytesMax} unless given. */
  readonly bytesMax?: number;
  /** Statuses that the caller looks at itself, beside 2xx. */
  readonly expected?: readonly number[];
}

/** What came. */
export interface HttpAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** The error of a source. */
export function sourceError(
  source: string,
  code: "failed" | "not-found" | "refused" | "invalid-config",
  reason: string,
  options: { cause?: unknown; hint?: string } = {},
): RealmError {
  return new RealmError(code, `Cannot fetch "${source}": ${reason}`, options);
}

/**
 * Gets the body of the final answer.
 *
 * Throws RealmError `not-found` for 404 and 410, `refused` for 401, 403 and for a redirect that
 * leaves http(s), goes from https to http, or from a public server to an address that is not,
 * `limit-exceeded`, and `failed` for everything else.
 */
export async function httpGet(request: HttpRequest, context: SourceContext): Promise<HttpAnswer> {
  const { source, bytesMax = context.bytesMax } = request;
  const { signal, progress } = context;
  const body = new Body(source, bytesMax);
  for (let attempt = 1;; attempt++) {
    try {
      const response = await answerOf(request, body, context);
      if (!response.ok) { // one that the caller expects
        const { status, headers } = response;
        return { status, headers, bytes: await readAll(response, source) };
      }
      await body.begin(response);
      await body.read(response, progress);
      return { status: response.status, headers: body.headers!, bytes: body.bytes() };
    } catch (error) {
      if (error instanceof RealmError || signal.aborted) throw error;
      if (attempt === ATTEMPTS_MAX || (error instanceof Unreachable && body.length === 0)) {
        const cause = error instanceof Unreachable ? error.cause : error;
        const message = cause instanceof Error ? cause.message : String(cause);
        throw sourceError(source, "failed", message, { cause });
      }
      await pause(PAUSE_MS * 2 ** (attempt - 1), signal);
    }
  }
}

/** The server could not be asked. */
class Unreachable extends Error {}

/** It said that it is busy. */
class Busy extends Error {}

/** Follows redirects to an answer that is good, or expected. */
async function answerOf(
  { url: first, headers = {}, source, askedBy, expected = [] }: HttpRequest,
  body: Body,
  { signal, machine }: SourceContext,
): Promise<Response> {
  const fail = (code: "failed" | "not-found" | "refused", reason: string, hint?: string) =>
    sourceError(source, code, reason, hint === undefined ? {} : { hint });
  const asker = askedBy && await misled(askedBy, first, machine.lookup);
  if (asker !== undefined) {
    throw fail("refused", `${askedBy!.host} names ${first.host}, a ${asker} address`);
  }
  let url = first;
  for (let redirects = 0;; redirects++) {
    let response: Response;
    try {
      response = await fetch(url, {
        redirect: "manual",
        signal,
        headers: {
          // Packed bodies would be unpacked on the way; an artifact is fetched as it is.
          "accept-encoding": "identity",
          accept: "application/wasm, */*;q=0.5",
          ...url.host === first.host ? headers : {},
          ...body.range(),
        },
      });
    } catch (cause) {
      if (signal.aborted) throw cause;
      throw new Unreachable("", { cause });
    }
    const { status, statusText } = response;
    if (response.ok || expected.includes(status)) return response;
    await response.body?.cancel();
    if (status === 416 && body.length > 0) { // it has something else now
      body.restart();
      continue;
    }
    if (BUSY.has(status)) throw new Busy(`the server answered ${status} ${statusText}`.trimEnd());
    if (!REDIRECT.has(status)) {
      const answered = `the server answered ${status} ${statusText}`.trimEnd();
      if (status === 404 || status === 410) throw fail("not-found", answered);
      if (status === 401 || status === 403) throw fail("refused", answered);
      throw fail("failed", answered);
    }
    const location = response.headers.get("location");
    if (location === null || !URL.canParse(location, url)) {
      throw fail("failed", `the server answered ${status} without a location`);
    }
    if (redirects === REDIRECTS_MAX) throw fail("failed", `more than ${REDIRECTS_MAX} redirects`);
    const next = new URL(location, url);
    const isDowngrade = url.protocol === "https:" && next.protocol !== "https:";
    if (isDowngrade || !/^https?:$/.test(next.protocol)) {
      throw fail("refused", `redirected to ${next.protocol}//${next.host}, wanted ${url.protocol}`);
    }
    const kind = await misled(first, next, machine.lookup);
    if (kind !== undefined) {
      throw fail(
        "refused",
        `redirected to ${next.host}, a ${kind} address`,
        "If that is right, name it in the source itself",
      );
    }
    url = next;
  }
}

/**
 * What is wrong with the address that a server redirects to: a public one may not send us to our own
 * networks, and none to where machines have their credentials. Names can be made to answer otherwise
 * a moment later; what could be had by that is a GET whose answer has to have the pinned digest.
 */
async function misled(
  first: URL,
  next: URL,
  lookup: (host: string) => Promise<readonly string[]>,
): Promise<AddressKind | undefined> {
  if (first.host === next.host) return undefined;
  const kinds = await kindsOf(next, lookup);
  const never = kinds.find((kind) => NEVER.includes(kind));
  if (never !== undefined) return never;
  const inner = kinds.find((kind) => kind !== "public");
  if (inner === undefined) return undefined;
  const isFromInside = (await kindsOf(first, lookup)).some((kind) => kind !== "public");
  return isFromInside ? undefined : inner;
}

async function kindsOf(
  { hostname }: URL,
  lookup: (host: string) => Promise<readonly string[]>,
): Promise<AddressKind[]> {
  const literal = parseIp(hostname.replace(/^\[|\]$/g, ""));
  if (literal !== undefined) return [kindOfAddress(literal)];
  let addresses: readonly string[];
  try {
    addresses = await lookup(hostname);
  } catch {
    return []; // to fetch it will say so
  }
  return addresses.map((text) => parseIp(text)).map((ip) => ip ? kindOfAddress(ip) : "reserved");
}

/** A body that may come in several transfers. */
class Body {
  #chunks: Uint8Array[] = [];
  length = 0;
  /** Of the first transfer that is part of it. */
  headers: Headers | undefined;

  constructor(readonly source: string, readonly bytesMax: number) {}

  /** Asks for the rest, where the server says how to know that it is of the same thing. */
  range(): Record<string, string> {
    const validator = this.#validator();
    if (this.length === 0 || validator === undefined) return {};
    return { range: `bytes=${this.length}-`, "if-range": validator };
  }

  #validator(): string | undefined {
    const etag = this.headers?.get("etag");
    if (etag && !etag.startsWith("W/")) return etag;
    return undefined;
  }

  restart(): void {
    this.#chunks = [];
    this.length = 0;
  }

  /** Throws where a part came that is none of what is there; the next transfer has it all. */
  async begin(response: Response): Promise<void> {
    const { status, headers } = response;
    const from = /^bytes (\d+)-/.exec(headers.get("content-range") ?? "")?.[1];
    if (status === 206) {
      // Caches are known that look at the range and not at what it is asked of.
      const isNext = this.length > 0 && Number(from) === this.length &&
        headers.get("etag") === this.#validator();
      if (!isNext) {
        this.restart();
        await response.body?.cancel();
        throw new Error("the server sent a part of something else");
      }
    } else this.restart();
    if (this.length === 0) this.headers = headers;
  }

  async read(response: Response, progress: SourceContext["progress"]): Promise<void> {
    const rest = response.headers.get("content-length");
    const total = rest === null ? undefined : this.length + Number(rest);
    if (total !== undefined && total > this.bytesMax) {
      await response.body?.cancel();
      throw tooLarge(this.source, this.bytesMax);
    }
    for await (const chunk of response.body ?? []) {
      this.length += chunk.length;
      // Leaving the loop cancels the body.
      if (this.length > this.bytesMax) throw tooLarge(this.source, this.bytesMax);
      this.#chunks.push(chunk);
      progress?.(this.length, total);
    }
    if (total !== undefined && this.length < total) {
      throw new Error(`the transfer ended after ${this.length} of ${total} bytes`);
    }
  }

  bytes(): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(this.length);
    let offset = 0;
    for (const chunk of this.#chunks) {
      bytes.set(chunk, offset);
      offset += chunk.length;
    }
    return bytes;
  }
}

/** Most bytes of an answer that says what is wrong. */
const PROBLEM_BYTES_MAX = 64 * 1024;

async function readAll(response: Response, source: string): Promise<Uint8Array<ArrayBuffer>> {
  const body = new Body(source, PROBLEM_BYTES_MAX);
  await body.read(response, undefined);
  return body.bytes();
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal.addEventListener("abort", stop, { once: true });
  });
}
