/**
 * What nodes say to one another about an HTTP request: frames on a stream, one request after the
 * other.
 *
 * A frame is a byte that says what it is, the length of what follows (4 bytes, big-endian), and
 * that. Heads and reasons are JSON. Whoever asks sends {@link REQUEST}; where the request has a body
 * it waits for {@link GO}, and sends {@link DATA} and one {@link END}. The answer is
 * {@link REFUSED} when no component has seen the request, so that another node may be asked;
 * {@link FAILED} when one has and gave no response; else {@link RESPONSE} and, as that says, nothing,
 * one frame of {@link DATA}, or any number and one {@link END}. After that the stream is free for
 * the next request. To break the stream is to cancel, in both directions. A node that stops ends its
 * side of a stream that is free: it has not taken, and will not take, a request that it gives no
 * word to before that end.
 *
 * Header values and URLs are strings as in `HandlerRequest`.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import type { PeerStream } from "../kernel/ports.ts";
import { StreamReader } from "../kernel/stream_reader.ts";
import { addressOf } from "./address.ts";

/** The protocol of the streams. */
export const HTTP_PROTOCOL = "/realm/http/1.0.0";

/** {@link RequestHead}. */
export const REQUEST = 1;
/** The body may come. */
export const GO = 2;
/** Bytes of a body. */
export const DATA = 3;
/** The body is over. */
export const END = 4;
/** {@link ResponseHead}. */
export const RESPONSE = 5;
/** {@link RefusedRequest}. */
export const REFUSED = 6;
/** A RealmError in its JSON form. */
export const FAILED = 7;

/** The longest frame of a head or reason. */
export const HEAD_BYTES_MAX = 256 * 1024;
/** The longest frame of a body. */
export const DATA_BYTES_MAX = 64 * 1024;
const FRAME_HEAD_BYTES = 5;

/** A request, without its body. */
export interface RequestHead {
  readonly component: string;
  readonly method: string;
  /** Absolute; its host is the one the client asked for. */
  readonly url: string;
  /** As the first proxy made them: names in lower case, what is about one connection dropped. */
  readonly headers: [string, string][];
  readonly hasBody: boolean;
}

/** How the body of a response follows. */
export type BodyForm = "none" | "whole" | "stream";

/** A response, without its body. */
export interface ResponseHead {
  readonly status: number;
  readonly headers: [string, string][];
  readonly body: BodyForm;
}

/** Why a node did not take a request. */
export interface RefusedRequest {
  readonly outcome: "no-replica" | "overloaded";
}

/** One frame. */
export interface Frame {
  readonly kind: number;
  readonly bytes: Uint8Array;
}

/** Bytes of a frame. */
export function encodeFrame(kind: number, bytes: Uint8Array): Uint8Array {
  const frame = new Uint8Array(FRAME_HEAD_BYTES + bytes.length);
  frame[0] = kind;
  new DataView(frame.buffer).setUint32(1, bytes.length);
  frame.set(bytes, FRAME_HEAD_BYTES);
  return frame;
}

/** A frame without anything in it. */
export function emptyFrame(kind: number): Uint8Array {
  return encodeFrame(kind, new Uint8Array());
}

/** A frame with JSON in it. Throws RealmError `limit-exceeded` when it is too long. */
export function jsonFrame(kind: number, value: unknown): Uint8Array {
  const bytes = new TextEncoder().encode(JSON.stringify(value));
  if (bytes.length <= HEAD_BYTES_MAX) return encodeFrame(kind, bytes);
  throw new RealmError(
    "limit-exceeded",
    `Cannot send a head of ${bytes.length} bytes to another node: wanted at most ${HEAD_BYTES_MAX}`,
  );
}

/** The frames of a piece of a body, one behind the other. */
export function dataFrames(bytes: Uint8Array): Uint8Array {
  if (bytes.length <= DATA_BYTES_MAX) return encodeFrame(DATA, bytes);
  const parts: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += DATA_BYTES_MAX) {
    parts.push(encodeFrame(DATA, bytes.subarray(at, at + DATA_BYTES_MAX)));
  }
  return joined(parts);
}

/** Bytes that are sent with one write. */
export function joined(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/**
 * The frames that come over a stream. One is always read ahead, so that the end of the stream is
 * noticed while nobody waits for a frame.
 */
export class FrameChannel {
  readonly #reader: StreamReader;
  #ahead: Promise<Frame | null>;
  #isOver = false;
  /** Called when the other end has ended or broken the stream. */
  ended: (() => void) | undefined;

  constructor(readonly stream: PeerStream) {
    this.#reader = new StreamReader(stream);
    this.#ahead = this.#read();
  }

  /** Whether nothing can come any more. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /**
   * The next frame, `null` at the end. Throws RealmError `corrupt` for what is no frame, and what
   * the stream throws.
   */
  async take(): Promise<Frame | null> {
    const frame = await this.#ahead;
    if (frame !== null) this.#ahead = this.#read();
    return frame;
  }

  write(bytes: Uint8Array): Promise<void> {
    return this.stream.write(bytes);
  }

  abort(): void {
    this.#isOver = true;
    this.stream.abort();
  }

  #read(): Promise<Frame | null> {
    const frame = this.#frame();
    const over = () => {
      this.#isOver = true;
      this.ended?.();
    };
    frame.then((frame) => frame === null && over(), over);
    return frame;
  }

  async #frame(): Promise<Frame | null> {
    const head = await this.#reader.read(FRAME_HEAD_BYTES);
    if (head === null) return null;
    const kind = head[0]!;
    const length = new DataView(head.buffer, head.byteOffset).getUint32(1);
    const max = kind === DATA
      ? DATA_BYTES_MAX
      : kind === GO || kind === END
      ? 0
      : kind >= REQUEST && kind <= FAILED
      ? HEAD_BYTES_MAX
      : -1;
    if (length > max || kind === DATA && length === 0) {
      throw corrupt(this.stream, `a frame of kind ${kind} with ${length} bytes`);
    }
    const bytes = await this.#reader.read(length);
    if (bytes === null) throw corrupt(this.stream, "half a frame");
    return { kind, bytes };
  }
}

/** The RealmError `corrupt` of what a peer sent. */
export function corrupt({ peer, protocol }: PeerStream, what: string): RealmError {
  return new RealmError("corrupt", `Cannot read ${protocol} from ${peer}: it sent ${what}`);
}

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}$/;
const LOWER_TOKEN = /^[!#$%&'*+\-.^_`|~0-9a-z]{1,256}$/;
/** What a field value may not hold (RFC 9110, section 5.5), and what is no byte. */
const NO_VALUE = /[\0\r\n]|[^\0-\xff]/;
const HEADERS_MAX = 1_000;

/** Reads a {@link REQUEST}; `undefined` when it is none that a proxy sends. */
export function readRequestHead(bytes: Uint8Array): RequestHead | undefined {
  const head = readJson(bytes) as Partial<RequestHead> | undefined;
  if (head === undefined) return undefined;
  const { component, method, url, headers, hasBody } = head;
  if (typeof component !== "string" || component.length > 256) return undefined;
  if (typeof method !== "string" || !TOKEN.test(method)) return undefined;
  if (typeof url !== "string" || !url.startsWith("http://") || !addressOf(url)) return undefined;
  if (typeof hasBody !== "boolean" || !areHeaders(headers)) return undefined;
  return { component, method, url, headers, hasBody };
}

/** Reads a {@link RESPONSE}; `undefined` when it is none that a node sends. */
export function readResponseHead(bytes: Uint8Array): ResponseHead | undefined {
  const head = readJson(bytes) as Partial<ResponseHead> | undefined;
  if (head === undefined) return undefined;
  const { status, headers, body } = head;
  if (!Number.isInteger(status) || status! < 100 || status! > 999) return undefined;
  if (!areHeaders(headers)) return undefined;
  if (body !== "none" && body !== "whole" && body !== "stream") return undefined;
  return { status: status!, headers, body };
}

/** Reads a {@link REFUSED}; `undefined` when it is none. */
export function readRefused(bytes: Uint8Array): RefusedRequest | undefined {
  const { outcome } = readJson(bytes) as Partial<RefusedRequest> ?? {};
  return outcome === "no-replica" || outcome === "overloaded" ? { outcome } : undefined;
}

/** Reads a {@link FAILED}; whatever it says is an error. */
export function readFailed(bytes: Uint8Array): RealmError {
  return RealmError.fromJSON(readJson(bytes));
}

function readJson(bytes: Uint8Array): object | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

function areHeaders(headers: unknown): headers is [string, string][] {
  return Array.isArray(headers) && headers.length <= HEADERS_MAX &&
    headers.every((header) =>
      Array.isArray(header) && header.length === 2 &&
      typeof header[0] === "string" && LOWER_TOKEN.test(header[0]) &&
      typeof header[1] === "string" && !NO_VALUE.test(header[1])
    );
}
