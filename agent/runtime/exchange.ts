/**
 * Requests and whole responses as records of shared memory: the short way for what every request
 * needs. What does not fit, and all else, is a message (`protocol.ts`).
 *
 * Order holds over both ways. A posted message never overtakes a record: who receives one takes the
 * records first. And a response carries how many messages were posted before it, so that it does not
 * overtake what the guest had printed.
 *
 * | request        | response                                     |
 * | -------------- | -------------------------------------------- |
 * | id             | id                                           |
 * | 1 with a body  | messages posted before                       |
 * | head           | status, + 65536 with a body (may be empty)   |
 * |                | length of the headers                        |
 * |                | headers, body                                |
 *
 * Numbers are words of 32 bits; of text each character is a byte.
 *
 * @module
 */
import { textOf } from "../kernel/byte_string.ts";
import { unpackHeaders } from "./request_head.ts";
import { ringMemory, type RingReader, type RingWriter } from "./shared_ring.ts";
import type { FieldList } from "./wasi/host.ts";

/** The memory that an engine and a Worker share for requests. */
export interface Rings {
  readonly requests: SharedArrayBuffer;
  readonly responses: SharedArrayBuffer;
}

/** Enough for some hundred requests of common size; what has no room is posted. */
const REQUESTS_BYTES = 64 * 1024;
const RESPONSES_BYTES = 128 * 1024;
const HAS_BODY = 0x1_0000;

/** New memory for one replica. */
export function createRings(): Rings {
  return { requests: ringMemory(REQUESTS_BYTES), responses: ringMemory(RESPONSES_BYTES) };
}

/** Writes text; whether each character was a byte. */
function put(bytes: Uint8Array, at: number, text: string): boolean {
  let all = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    bytes[at + i] = c;
    all |= c;
  }
  return all < 0x100;
}

/** Sends a request; false when it has to be posted. */
export function writeRequest(
  ring: RingWriter,
  id: number,
  head: string,
  hasBody: boolean,
): boolean {
  const length = 8 + head.length;
  const at = ring.reserve(length);
  if (at < 0 || !put(ring.bytes, at + 8, head)) return false;
  ring.words[at >> 2] = id;
  ring.words[(at >> 2) + 1] = hasBody ? 1 : 0;
  ring.commit(length);
  return true;
}

/** Takes every request there is. */
export function readRequests(
  ring: RingReader,
  take: (id: number, head: Uint8Array, hasBody: boolean) => void,
): void {
  ring.drain((at, length) => {
    const id = ring.words[at >> 2]!;
    const hasBody = ring.words[(at >> 2) + 1] === 1;
    take(id, ring.bytes.slice(at + 8, at + length), hasBody);
    return true;
  });
}

/** Sends a response with all of its body; false when it has to be posted. */
export function writeResponse(
  ring: RingWriter,
  id: number,
  posted: number,
  status: number,
  headers: FieldList,
  body: Uint8Array | null,
): boolean {
  let headerLength = 0;
  for (const [name, value] of headers) headerLength += name.length + value.length + 2;
  const length = 16 + headerLength + (body?.length ?? 0);
  let at = ring.reserve(length);
  if (at < 0) return false;
  const { bytes, words } = ring;
  const word = at >> 2;
  words[word] = id;
  words[word + 1] = posted;
  words[word + 2] = status | (body ? HAS_BODY : 0);
  words[word + 3] = headerLength;
  at += 16;
  for (const [name, value] of headers) {
    put(bytes, at, name);
    at += name.length;
    bytes[at++] = 0x0a;
    bytes.set(value, at);
    at += value.length;
    bytes[at++] = 0x0a;
  }
  if (body) bytes.set(body, at);
  ring.commit(length);
  return true;
}

/** A response as it was read. */
export interface WholeResponse {
  readonly status: number;
  readonly headers: [string, string][];
  readonly body: Uint8Array | null;
}

/** Reads responses; remembers the headers of the last, since most handlers give the same again. */
export class ResponseReader {
  #headers: [string, string][] = [];
  #bytes = new Uint8Array();

  constructor(readonly ring: RingReader) {}

  /** Takes the responses before which no more than `posted` messages were posted. */
  drain(posted: number, take: (id: number, response: WholeResponse) => void): void {
    const { bytes, words } = this.ring;
    this.ring.drain((at, length) => {
      const word = at >> 2;
      if (words[word + 1]! > posted) return false;
      const status = words[word + 2]!;
      const headerLength = words[word + 3]!;
      const bodyAt = at + 16 + headerLength;
      if (headerLength < 0 || bodyAt > at + length) {
        throw new Error("Cannot read shared memory: headers are longer than their record");
      }
      take(words[word]!, {
        status: status & 0xffff,
        headers: this.#headersOf(at + 16, headerLength),
        body: status >= HAS_BODY ? bytes.slice(bodyAt, at + length) : null,
      });
      return true;
    });
  }

  #headersOf(at: number, length: number): [string, string][] {
    const { bytes } = this.ring;
    const last = this.#bytes;
    let same = last.length === length;
    for (let i = 0; same && i < length; i++) same = last[i] === bytes[at + i];
    if (!same) {
      this.#bytes = bytes.slice(at, at + length);
      this.#headers = unpackHeaders(textOf(this.#bytes));
    }
    return this.#headers;
  }
}
