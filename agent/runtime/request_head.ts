/**
 * Heads of requests and responses in the form of the protocol: one string each.
 *
 * @module
 */
import { bytesOf, textOf } from "../kernel/byte_string.ts";
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

/** A head that {@link packHead} made; its headers are read when the guest asks for them. */
export class LazyHead implements RequestHead {
  readonly method: string;
  readonly scheme: string;
  readonly authority: string;
  readonly pathWithQuery: string;
  readonly #packed: string;

  constructor(packed: string) {
    const fields: string[] = [];
    let at = 0;
    for (let i = 0; i < 4; i++) {
      const end = packed.indexOf("\n", at);
      fields.push(packed.slice(at, end));
      at = end + 1;
    }
    [this.method, this.scheme, this.authority, this.pathWithQuery] = fields as [
      string,
      string,
      string,
      string,
    ];
    this.#packed = packed.slice(at);
  }

  get headers(): FieldList {
    return unpackHeaders(this.#packed).map(([name, value]) => [name, bytesOf(value)]);
  }
}

/** Fields as the guest gave them, packed. */
export function packFields(fields: FieldList): string {
  return packHeaders(fields.map(([name, value]) => [name, textOf(value)]));
}
