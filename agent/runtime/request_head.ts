/**
 * Heads of requests and responses in the form of the protocol: one string each.
 *
 * @module
 */
import { textOf } from "../kernel/byte_string.ts";
import { CHECK } from "../kernel/health_check.ts";
import type { HandlerRequest } from "../kernel/ports.ts";
import type { FieldList, RequestHead } from "./wasi/host.ts";

/**
 * Headers travel as one string, `name\nvalue\n…`, since each string of a message costs more than
 * its characters. Neither names nor values may have line feeds (RFC 9110, section 5.5). Each
 * character of a value is a byte.
 */
export function packHeaders(headers: Iterable<readonly [string, string]>): string {
  let packed = "";
  for (const [name, value] of headers) packed += `${name}\n${value}\n`;
  return packed;
}

/** Inverse of {@link packHeaders}. */
export function unpackHeaders(packed: string): [string, string][] {
  const headers: [string, string][] = [];
  for (let at = 0; at < packed.length;) {
    const nameEnd = packed.indexOf("\n", at);
    const valueEnd = packed.indexOf("\n", nameEnd + 1);
    headers.push([packed.slice(at, nameEnd), packed.slice(nameEnd + 1, valueEnd)]);
    at = valueEnd + 1;
  }
  return headers;
}

/** `method\nscheme\nauthority\npath\n`, then the headers packed. */
export function packHead(request: HandlerRequest): string {
  const { method, url } = request;
  const schemeEnd = url.indexOf("://");
  const pathStart = url.indexOf("/", schemeEnd + 3);
  const scheme = url.slice(0, schemeEnd);
  const authority = pathStart < 0 ? url.slice(schemeEnd + 3) : url.slice(schemeEnd + 3, pathStart);
  const path = pathStart < 0 ? "/" : url.slice(pathStart);
  return `${method}\n${scheme}\n${authority}\n${path}\n${packHeaders(request.headers)}`;
}

/** A head that {@link packHead} made, as bytes; each part is read when the guest asks for it. */
export class LazyHead implements RequestHead {
  readonly #bytes: Uint8Array;
  /** Where the line feeds of the first four parts are. */
  readonly #ends: number[] = [];

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    for (let at = 0; this.#ends.length < 4;) {
      const end = bytes.indexOf(0x0a, at);
      this.#ends.push(end);
      at = end + 1;
    }
  }

  /** Whether it asks the component how it is (`CHECK`), and is no request. */
  get isCheck(): boolean {
    return this.#ends[0] === CHECK.length;
  }

  get method(): string {
    return this.#part(0);
  }

  get scheme(): string {
    return this.#part(1);
  }

  get authority(): string {
    return this.#part(2);
  }

  get pathWithQuery(): string {
    return this.#part(3);
  }

  get headers(): FieldList {
    const bytes = this.#bytes;
    const fields: [string, Uint8Array][] = [];
    for (let at = this.#ends[3]! + 1; at < bytes.length;) {
      const nameEnd = bytes.indexOf(0x0a, at);
      const valueEnd = bytes.indexOf(0x0a, nameEnd + 1);
      fields.push([textOf(bytes.subarray(at, nameEnd)), bytes.slice(nameEnd + 1, valueEnd)]);
      at = valueEnd + 1;
    }
    return fields;
  }

  #part(index: number): string {
    const from = index === 0 ? 0 : this.#ends[index - 1]! + 1;
    return textOf(this.#bytes.subarray(from, this.#ends[index]!));
  }
}

/** Fields as the guest gave them, packed. */
export function packFields(fields: FieldList): string {
  return packHeaders(fields.map(([name, value]) => [name, textOf(value)]));
}
