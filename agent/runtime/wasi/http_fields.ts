/**
 * Resource `fields` of `wasi:http/types`: headers and trailers.
 *
 * Names are kept in lower case. What a message already has is immutable; a copy is not. Sizes are
 * bounded as by wasmtime, where reaching the bound is a trap: the interface has no error for it.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-5
 * @module
 */
import type { WasiInstance } from "./context.ts";
import { guardResource, HOLD, requireBytes, Resource } from "./resource.ts";

/** Bytes of all names and values of one `fields`, with {@link FIELD_OVERHEAD_BYTES} for each. */
export const FIELDS_BYTES_MAX = 128 * 1024;
/** What an entry counts beside its name and value. */
export const FIELD_OVERHEAD_BYTES = 32;

/** Names and values, as they travel. */
export type FieldList = readonly (readonly [string, Uint8Array])[];

/** Those that the connection owns; a guest neither sets nor sees them. */
const FORBIDDEN = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
  "host",
  "http2-settings",
]);

const NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/** `header-error`. */
export type HeaderError = { readonly tag: "invalid-syntax" | "forbidden" | "immutable" };

function refuse(tag: HeaderError["tag"]): never {
  throw { tag } satisfies HeaderError;
}

function checkedName(name: string): string {
  if (!NAME.test(name)) refuse("invalid-syntax");
  const lower = name.toLowerCase();
  if (FORBIDDEN.has(lower)) refuse("forbidden");
  return lower;
}

/** Visible ASCII, space, tab and what lies above ASCII; a length is digits. */
function checkValue(name: string, value: Uint8Array): void {
  requireBytes(value);
  for (const byte of value) {
    if ((byte < 0x20 && byte !== 0x09) || byte === 0x7f) refuse("invalid-syntax");
  }
  if (name !== "content-length") return;
  if (value.length === 0 || value.some((byte) => byte < 0x30 || byte > 0x39)) {
    refuse("invalid-syntax");
  }
}

/** Resource `fields`. */
export class Fields extends Resource {
  #entries: (readonly [string, Uint8Array])[] = [];
  #immutable = false;
  #bytes = 0;

  /** The guest makes an empty one; the host gives the entries. */
  constructor(host: WasiInstance, entries: FieldList = [], immutable = false) {
    super(host, "fields");
    for (const [name, value] of entries) this.#push(name, value);
    this.#immutable = immutable;
  }

  /** The entries, names in lower case. */
  get list(): FieldList {
    return this.#entries;
  }

  static fromList(host: WasiInstance, entries: FieldList): Fields {
    const fields = new Fields(host);
    try {
      for (const [name, value] of entries) fields.#append(name, value);
    } catch (error) {
      fields[Symbol.dispose]();
      throw error;
    }
    return fields;
  }

  get(name: string): Uint8Array[] {
    const lower = name.toLowerCase();
    return this.#entries.filter((entry) => entry[0] === lower).map((entry) => entry[1]);
  }

  has(name: string): boolean {
    const lower = name.toLowerCase();
    return this.#entries.some((entry) => entry[0] === lower);
  }

  set(name: string, values: readonly Uint8Array[]): void {
    const lower = checkedName(name);
    this.#checkMutable();
    if (lower === "content-length" && values.length > 1) refuse("invalid-syntax");
    for (const value of values) checkValue(lower, value);
    this.#remove(lower);
    for (const value of values) this.#push(lower, value);
  }

  delete(name: string): void {
    const lower = checkedName(name);
    this.#checkMutable();
    this.#remove(lower);
  }

  append(name: string, value: Uint8Array): void {
    this.#append(name, value);
  }

  entries(): [string, Uint8Array][] {
    return this.#entries.map(([name, value]) => [name, value]);
  }

  clone(): Fields {
    return new Fields(this.host, this.#entries);
  }

  #append(name: string, value: Uint8Array): void {
    const lower = checkedName(name);
    checkValue(lower, value);
    this.#checkMutable();
    if (lower === "content-length" && this.#entries.some((entry) => entry[0] === lower)) {
      refuse("invalid-syntax");
    }
    this.#push(lower, value);
  }

  #checkMutable(): void {
    if (this.#immutable) refuse("immutable");
  }

  #remove(lower: string): void {
    this.#entries = this.#entries.filter((entry) => {
      if (entry[0] !== lower) return true;
      this.#add(-(lower.length + entry[1].length + FIELD_OVERHEAD_BYTES));
      return false;
    });
  }

  #add(bytes: number): void {
    this.#bytes += bytes;
    this[HOLD](bytes);
  }

  #push(lower: string, value: Uint8Array): void {
    this.#add(lower.length + value.length + FIELD_OVERHEAD_BYTES);
    if (this.#bytes > FIELDS_BYTES_MAX) {
      this.host.trap(`Cannot add header "${lower}": more than ${FIELDS_BYTES_MAX} bytes in all`);
    }
    this.#entries.push([lower, value]);
  }
}

/** What fields count that a message has. */
export function bytesOfFields(list: FieldList): number {
  return list.reduce(
    (sum, [name, value]) => sum + name.length + value.length + FIELD_OVERHEAD_BYTES,
    0,
  );
}

/** Entries of what came from outside: nothing in them that a guest may not see. */
export function receivedEntries(entries: FieldList): FieldList {
  const list = entries.map(([name, value]) => [name.toLowerCase(), value] as const);
  return list.filter(([name]) => !FORBIDDEN.has(name));
}

/** Immutable fields out of what came from outside. */
export function receivedFields(host: WasiInstance, entries: FieldList): Fields {
  return new Fields(host, receivedEntries(entries), true);
}

/** The entries of fields that the guest gave away; its handle is gone. */
export function takeFields(fields: Fields): FieldList {
  const { list } = fields;
  fields[Symbol.dispose]();
  return list;
}

/**
 * The `content-length` among the entries; `undefined` when there is none, `null` when it is not
 * one number.
 */
export function contentLength(entries: FieldList): bigint | undefined | null {
  const values = entries.filter(([name]) => name === "content-length");
  if (values.length === 0) return undefined;
  const text = values.length === 1 ? new TextDecoder().decode(values[0]![1]) : "";
  return /^\d{1,20}$/.test(text) ? BigInt(text) : null;
}

guardResource("wasi:http/types", "fields", Fields);
