/**
 * What a Worker and the agent say to one another about an HTTP request of a guest: the call of
 * service `http`, its answer, and the chunks of its pipe.
 *
 * The answer is an {@link ExchangeResponse}, or its error an {@link HttpFailure}. Both bodies flow
 * through the pipe at once, each chunk with a byte in front that says what it is: any number of
 * {@link DATA}, then one {@link TAIL} with the trailers. A direction that ends without a tail broke
 * off. Header values and paths are strings of which each character is a byte.
 *
 * @module
 */
import { bytesOf, textOf } from "./byte_string.ts";

/** An `error-code` of `wasi:http/types`. */
export interface HttpFailure {
  readonly tag: string;
  readonly val?: unknown;
}

/** Names in lower case, and values. */
export type HttpHeaders = readonly (readonly [string, string])[];

/** A request on its way out. */
export interface ExchangeRequest {
  readonly method: string;
  readonly scheme: "http" | "https";
  /** Host and maybe port, as the guest wrote it. */
  readonly authority: string;
  /** With the query; begins with a slash. */
  readonly path: string;
  readonly headers: HttpHeaders;
  /** The `traceparent` of the request that the guest answers meanwhile, where that had one. */
  readonly trace?: string;
  /** How the body is framed: none, chunked, or its length in bytes. */
  readonly body: "none" | "chunked" | number;
  /** From the start until the connection is there. */
  readonly connectTimeoutMs: number;
  /** From then on until the head of the response is there. */
  readonly firstByteTimeoutMs: number;
  /** Between any two reads of the response's body. */
  readonly betweenBytesTimeoutMs: number;
}

/** The head of a response. */
export interface ExchangeResponse {
  readonly status: number;
  readonly headers: HttpHeaders;
}

/** Bytes of a body. */
export const DATA = 0;
/** The end of a body: the rest of the chunk is its trailers, `name\nvalue\n…`. */
export const TAIL = 1;

/** A chunk with bytes of a body. */
export function dataChunk(bytes: Uint8Array): Uint8Array {
  const chunk = new Uint8Array(bytes.length + 1);
  chunk.set(bytes, 1);
  return chunk;
}

/** The chunk that ends a body. */
export function tailChunk(trailers: HttpHeaders): Uint8Array {
  const chunk = dataChunk(bytesOf(trailers.map(([name, value]) => `${name}\n${value}\n`).join("")));
  chunk[0] = TAIL;
  return chunk;
}

/** The trailers of a {@link TAIL}. */
export function trailersOf(chunk: Uint8Array): [string, string][] {
  const words = textOf(chunk.subarray(1)).split("\n");
  const trailers: [string, string][] = [];
  for (let i = 0; i + 1 < words.length; i += 2) trailers.push([words[i]!, words[i + 1]!]);
  return trailers;
}
