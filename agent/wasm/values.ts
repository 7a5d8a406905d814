/**
 * Values of component types, in and out of core modules: loaded from and stored in linear memory,
 * lifted from and lowered to core values.
 *
 * In JavaScript they have the form that jco gives them, for which the WASI host is made: records
 * and flags are objects with names in camel case, variants and results `{tag, val}`, enums strings,
 * options `undefined` or the value, bytes a `Uint8Array`, 64-bit integers bigints, resources the
 * host's objects.
 *
 * @see https://github.com/WebAssembly/component-model/blob/main/design/mvp/CanonicalABI.md
 * @module
 */
import type { Primitive, TypeDef, TypeRef } from "./value_types.ts";

/** Types of core values. */
export type CoreType = "i32" | "i64" | "f32" | "f64";
/** A core value: i64 is a bigint. */
export type CoreValue = number | bigint;

/** What the canonical ABI answers with a trap. */
export class Malformed extends Error {
  override readonly name = "Malformed";
}

/** The side of the guest that a value passes. Everything here throws what is to be a trap. */
export interface Border {
  /** Of the memory as it is now. */
  readonly view: DataView;
  /** The memory as it is now. */
  readonly bytes: Uint8Array;
  /** Memory of the guest's own; runs its code. */
  alloc(align: number, size: number): number;
  /** Counts what the host is given. */
  lift(bytes: number, elements: number): void;
  /** The object behind a handle that the guest gives away. */
  takeOwn(resource: number, handle: number): unknown;
  /** The object behind a handle that the guest lends for the call. */
  borrow(resource: number, handle: number): unknown;
  /** A handle of the guest for an object. */
  give(resource: number, value: unknown): number;
  /** The readable end of a stream or future that the guest gives away. */
  takeEnd(type: number, handle: number): unknown;
  /** The readable end of one for the guest. */
  giveEnd(type: number, value: unknown): number;
}

/** Core values in order. */
export class Flat {
  #at = 0;
  constructor(readonly values: readonly CoreValue[]) {}

  next(): CoreValue {
    return this.values[this.#at++]!;
  }
}

/** How values of one type pass. */
export interface Codec {
  /** In memory, in bytes. */
  readonly size: number;
  readonly align: number;
  /** As core values; undefined where there are more than are ever passed as such. */
  readonly flat: readonly CoreType[] | undefined;
  load(border: Border, at: number): unknown;
  store(border: Border, at: number, value: unknown): void;
  /** From as many core values as `flat` has. */
  lift(border: Border, from: Flat): unknown;
  lower(border: Border, value: unknown, to: CoreValue[]): void;
  /** Whether it is a number or nothing: such elements pass between two ends of one guest. */
  readonly isPlain?: boolean;
}

/** More core values are never passed as such. */
export const FLAT_MAX = 16;

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

/** `max-size` to `maxSize`. */
export function camel(kebab: string): string {
  return kebab.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
}

/** Whether a stretch of memory is there. */
export function checkRange(border: Border, at: number, size: number, align: number): void {
  if (at % align !== 0) throw new Malformed(`pointer ${at} is not aligned to ${align}`);
  if (!(at + size <= border.bytes.length)) throw new Malformed(`pointer ${at} is out of bounds`);
}

const alignTo = (at: number, align: number) => Math.ceil(at / align) * align;

function joined(parts: readonly (readonly CoreType[] | undefined)[]): CoreType[] | undefined {
  const all: CoreType[] = [];
  for (const part of parts) {
    if (part === undefined || all.length + part.length > FLAT_MAX) return undefined;
    all.push(...part);
  }
  return all;
}

const scratch = new DataView(new ArrayBuffer(8));

/** A core value of a variant's shared type as one of its case's own. */
function narrow(have: CoreType, want: CoreType, value: CoreValue): CoreValue {
  if (have === want) return value;
  if (have === "i32") scratch.setInt32(0, value as number, true);
  else scratch.setBigInt64(0, value as bigint, true);
  if (want === "i32") return scratch.getInt32(0, true);
  return want === "f32" ? scratch.getFloat32(0, true) : scratch.getFloat64(0, true);
}

/** Inverse of {@link narrow}. */
function widen(have: CoreType, want: CoreType, value: CoreValue): CoreValue {
  if (have === want) return value;
  scratch.setBigInt64(0, 0n, true);
  if (have === "i32") scratch.setInt32(0, value as number, true);
  else if (have === "f32") scratch.setFloat32(0, value as number, true);
  else scratch.setFloat64(0, value as number, true);
  return want === "i32" ? scratch.getInt32(0, true) : scratch.getBigInt64(0, true);
}

interface Scalar {
  readonly size: number;
  readonly core: CoreType;
  readonly load: (view: DataView, at: number) => unknown;
  readonly store: (view: DataView, at: number, value: any) => void;
  readonly lift: (value: any) => unknown;
  readonly lower: (value: any) => CoreValue;
}

function charOf(code: number): string {
  if (code >= 0x110000 || (code >= 0xd800 && code <= 0xdfff)) {
    throw new Malformed(`${code} is no character`);
  }
  return String.fromCodePoint(code);
}
const codeOf = (char: string) => char.codePointAt(0)!;

const SCALARS: Readonly<Record<Exclude<Primitive, "string">, Scalar>> = {
  bool: {
    size: 1,
    core: "i32",
    load: (v, at) => v.getUint8(at) !== 0,
    store: (v, at, b: boolean) => v.setUint8(at, b ? 1 : 0),
    lift: (n: number) => n !== 0,
    lower: (b: boolean) => b ? 1 : 0,
  },
  s8: {
    size: 1,
    core: "i32",
    load: (v, at) => v.getInt8(at),
    store: (v, at, n) => v.setInt8(at, n),
    lift: (n: number) => n << 24 >> 24,
    lower: (n: number) => n,
  },
  u8: {
    size: 1,
    core: "i32",
    load: (v, at) => v.getUint8(at),
    store: (v, at, n) => v.setUint8(at, n),
    lift: (n: number) => n & 0xff,
    lower: (n: number) => n,
  },
  s16: {
    size: 2,
    core: "i32",
    load: (v, at) => v.getInt16(at, true),
    store: (v, at, n) => v.setInt16(at, n, true),
    lift: (n: number) => n << 16 >> 16,
    lower: (n: number) => n,
  },
  u16: {
    size: 2,
    core: "i32",
    load: (v, at) => v.getUint16(at, true),
    store: (v, at, n) => v.setUint16(at, n, true),
    lift: (n: number) => n & 0xffff,
    lower: (n: number) => n,
  },
  s32: {
    size: 4,
    core: "i32",
    load: (v, at) => v.getInt32(at, true),
    store: (v, at, n) => v.setInt32(at, n, true),
    lift: (n: number) => n | 0,
    lower: (n: number) => n,
  },
  u32: {
    size: 4,
    core: "i32",
    load: (v, at) => v.getUint32(at, true),
    store: (v, at, n) => v.setUint32(at, n, true),
    lift: (n: number) => n >>> 0,
    lower: (n: number) => n | 0,
  },
  s64: {
    size: 8,
    core: "i64",
    load: (v, at) => v.getBigInt64(at, true),
    store: (v, at, n) => v.setBigInt64(at, n, true),
    lift: (n: bigint) => BigInt.asIntN(64, n),
    lower: (n: bigint) => n,
  },
  u64: {
    size: 8,
    core: "i64",
    load: (v, at) => v.getBigUint64(at, true),
    store: (v, at, n) => v.setBigUint64(at, n, true),
    lift: (n: bigint) => BigInt.asUintN(64, n),
    lower: (n: bigint) => n,
  },
  f32: {
    size: 4,
    core: "f32",
    load: (v, at) => v.getFloat32(at, true),
    store: (v, at, n) => v.setFloat32(at, n, true),
    lift: (n: number) => n,
    lower: (n: number) => n,
  },
  f64: {
    size: 8,
    core: "f64",
    load: (v, at) => v.getFloat64(at, true),
    store: (v, at, n) => v.setFloat64(at, n, true),
    lift: (n: number) => n,
    lower: (n: number) => n,
  },
  char: {
    size: 4,
    core: "i32",
    load: (v, at) => charOf(v.getUint32(at, true)),
    store: (v, at, c: string) => v.setUint32(at, codeOf(c), true),
    lift: (n: number) => charOf(n >>> 0),
    lower: codeOf,
  },
};

function scalar({ size, core, load, store, lift, lower }: Scalar, isPlain = true): Codec {
  return {
    size,
    align: size,
    flat: [core],
    isPlain,
    load: (border, at) => load(border.view, at),
    store: (border, at, value) => store(border.view, at, value),
    lift: (_, from) => lift(from.next()),
    lower: (_, value, to) => void to.push(lower(value)),
  };
}

/** A scalar of which the number is a handle. */
function handle(
  take: (border: Border, handle: number) => unknown,
  give: (border: Border, value: unknown) => number,
): Codec {
  return {
    size: 4,
    align: 4,
    flat: ["i32"],
    load: (border, at) => take(border, border.view.getUint32(at, true)),
    store: (border, at, value) => {
      const index = give(border, value); // before the view is asked for
      border.view.setUint32(at, index, true);
    },
    lift: (border, from) => take(border, (from.next() as number) >>> 0),
    lower: (border, value, to) => void to.push(give(border, value)),
  };
}

/** A pointer and a length. */
function pair(
  read: (border: Border, at: number, length: number) => unknown,
  write: (border: Border, value: any) => readonly [at: number, length: number],
): Codec {
  return {
    size: 8,
    align: 4,
    flat: ["i32", "i32"],
    load: (border, at) =>
      read(border, border.view.getUint32(at, true), border.view.getUint32(at + 4, true)),
    store: (border, at, value) => {
      const [pointer, length] = write(border, value);
      border.view.setUint32(at, pointer, true);
      border.view.setUint32(at + 4, length, true);
    },
    lift: (border, from) => {
      const at = (from.next() as number) >>> 0;
      return read(border, at, (from.next() as number) >>> 0);
    },
    lower: (border, value, to) => void to.push(...write(border, value)),
  };
}

/** Bytes of the host in memory of the guest's own. */
function place(border: Border, bytes: Uint8Array): readonly [number, number] {
  const at = border.alloc(1, bytes.length);
  border.bytes.set(bytes, at);
  return [at, bytes.length];
}

function readBytes(border: Border, at: number, length: number): Uint8Array {
  checkRange(border, at, length, 1);
  border.lift(length, 1);
  return border.bytes.slice(at, at + length);
}

const STRING = pair(
  (border, at, length) => {
    checkRange(border, at, length, 1);
    border.lift(length, 1);
    return utf8.decode(border.bytes.subarray(at, at + length));
  },
  (border, value: string) => place(border, encoder.encode(value)),
);

function list(of: Codec, isBytes: boolean): Codec {
  if (isBytes) return pair(readBytes, place);
  return pair(
    (border, at, length) => {
      checkRange(border, at, length * of.size, of.align);
      border.lift(length * of.size, length);
      const values: unknown[] = [];
      for (let i = 0; i < length; i++) values.push(of.load(border, at + i * of.size));
      return values;
    },
    (border, values: ArrayLike<unknown>) => {
      const at = border.alloc(of.align, values.length * of.size);
      for (let i = 0; i < values.length; i++) of.store(border, at + i * of.size, values[i]);
      return [at, values.length];
    },
  );
}

/** Fields after one another; `make` and `part` say how they are one value. */
function product(
  parts: readonly Codec[],
  make: (values: unknown[]) => unknown,
  part: (value: any, index: number) => unknown,
): Codec {
  const offsets: number[] = [];
  let size = 0;
  let align = 1;
  for (const codec of parts) {
    size = alignTo(size, codec.align);
    offsets.push(size);
    size += codec.size;
    align = Math.max(align, codec.align);
  }
  return {
    size: alignTo(size, align),
    align,
    flat: joined(parts.map((codec) => codec.flat)),
    load: (border, at) => make(parts.map((codec, i) => codec.load(border, at + offsets[i]!))),
    store: (border, at, value) =>
      parts.forEach((codec, i) => codec.store(border, at + offsets[i]!, part(value, i))),
    lift: (border, from) => make(parts.map((codec) => codec.lift(border, from))),
    lower: (border, value, to) =>
      parts.forEach((codec, i) => codec.lower(border, part(value, i), to)),
  };
}

/** The parts of a tuple, or the parameters of a function. */
export function tuple(parts: readonly Codec[]): Codec {
  return product(parts, (values) => values, (value: unknown[], i) => value[i]);
}

function readNumber(view: DataView, at: number, size: number): number {
  return size === 1
    ? view.getUint8(at)
    : size === 2
    ? view.getUint16(at, true)
    : view.getUint32(at, true);
}

function writeNumber(view: DataView, at: number, size: number, value: number): void {
  if (size === 1) view.setUint8(at, value);
  else if (size === 2) view.setUint16(at, value, true);
  else view.setUint32(at, value, true);
}

/** One of several cases; `make` and `split` say how it is one value. */
function sum(
  cases: readonly (Codec | null)[],
  make: (index: number, payload: unknown) => unknown,
  split: (value: any) => readonly [index: number, payload: unknown],
): Codec {
  const width = cases.length <= 256 ? 1 : cases.length <= 65_536 ? 2 : 4;
  const payloadAlign = Math.max(1, ...cases.map((codec) => codec?.align ?? 1));
  const payloadSize = Math.max(0, ...cases.map((codec) => codec?.size ?? 0));
  const align = Math.max(width, payloadAlign);
  const offset = alignTo(width, payloadAlign);
  const shared: CoreType[] = [];
  let isFlat = true;
  for (const codec of cases) {
    if (codec === null) continue;
    if (codec.flat === undefined) isFlat = false;
    codec.flat?.forEach((type, i) => {
      const other = shared[i] ?? type;
      const isSmall = (t: CoreType) => t === "i32" || t === "f32";
      shared[i] = other === type ? type : isSmall(other) && isSmall(type) ? "i32" : "i64";
    });
  }
  const check = (index: number) => {
    if (index >= cases.length) {
      throw new Malformed(`a variant has ${cases.length} cases, not ${index}`);
    }
    return index;
  };
  return {
    size: alignTo(offset + payloadSize, align),
    align,
    flat: isFlat && shared.length < FLAT_MAX ? ["i32", ...shared] : undefined,
    load: (border, at) => {
      const index = check(readNumber(border.view, at, width));
      return make(index, cases[index]?.load(border, at + offset));
    },
    store: (border, at, value) => {
      const [index, payload] = split(value);
      writeNumber(border.view, at, width, index);
      cases[index]?.store(border, at + offset, payload);
    },
    lift: (border, from) => {
      const index = check((from.next() as number) >>> 0);
      const values = shared.map(() => from.next());
      const codec = cases[index];
      if (!codec) return make(index, undefined);
      const own = codec.flat!.map((type, i) => narrow(shared[i]!, type, values[i]!));
      return make(index, codec.lift(border, new Flat(own)));
    },
    lower: (border, value, to) => {
      const [index, payload] = split(value);
      to.push(index);
      const own: CoreValue[] = [];
      const codec = cases[index];
      codec?.lower(border, payload, own);
      shared.forEach((type, i) => {
        const value = own[i];
        if (value === undefined) to.push(type === "i64" ? 0n : 0);
        else to.push(widen(codec!.flat![i]!, type, value));
      });
    },
  };
}

/** A host's value that is none of the names: a mistake of the host's. */
function indexIn(names: readonly string[], name: unknown): number {
  const index = names.indexOf(name as string);
  if (index < 0) {
    throw new Error(`the host gave "${name}", wanted ${names.slice(0, 3).join(", ")}…`);
  }
  return index;
}

function flags(names: readonly string[]): Codec {
  const keys = names.map(camel);
  const size = names.length <= 8 ? 1 : names.length <= 16 ? 2 : 4;
  const unpack = (bits: number) =>
    Object.fromEntries(keys.map((key, i) => [key, (bits >>> i & 1) === 1]));
  const pack = (value: Record<string, boolean | undefined>) =>
    keys.reduce((bits, key, i) => value[key] ? bits | 1 << i : bits, 0);
  return {
    size,
    align: size,
    flat: ["i32"],
    load: (border, at) => unpack(readNumber(border.view, at, size)),
    store: (border, at, value) =>
      writeNumber(border.view, at, size, pack(value as Record<string, boolean>) >>> 0),
    lift: (_, from) => unpack(from.next() as number),
    lower: (_, value, to) => void to.push(pack(value as Record<string, boolean>)),
  };
}

type Tagged = { readonly tag: string; readonly val?: unknown };

/** The codecs of types. */
export class Codecs {
  readonly #types: readonly TypeDef[];
  readonly #made: Codec[] = [];
  readonly #primitives = new Map<string, Codec>([["string", STRING]]);

  constructor(types: readonly TypeDef[]) {
    this.#types = types;
    for (const [name, of] of Object.entries(SCALARS)) {
      this.#primitives.set(name, scalar(of, name !== "bool" && name !== "char"));
    }
    // In order: each refers only to those before it.
    types.forEach((type, index) => this.#made.push(this.#make(type, index)));
  }

  /** The codec of a type. */
  of(ref: TypeRef): Codec {
    return typeof ref === "string" ? this.#primitives.get(ref)! : this.#made[ref]!;
  }

  /** The definition of a type that is no primitive. */
  typeOf(ref: TypeRef | null): TypeDef | undefined {
    return typeof ref === "number" ? this.#types[ref] : undefined;
  }

  #optional(ref: TypeRef | null): Codec | null {
    return ref === null ? null : this.of(ref);
  }

  #make(type: TypeDef, index: number): Codec {
    switch (type.kind) {
      case "list":
        return list(this.of(type.of), type.of === "u8");
      case "record": {
        const names = type.fields.map(([name]) => camel(name));
        return product(
          type.fields.map(([, ref]) => this.of(ref)),
          (values) => Object.fromEntries(names.map((name, i) => [name, values[i]])),
          (value: Record<string, unknown>, i) => value[names[i]!],
        );
      }
      case "tuple":
        return tuple(type.of.map((ref) => this.of(ref)));
      case "variant": {
        const names = type.cases.map(([name]) => name);
        return sum(
          type.cases.map(([, ref]) => this.#optional(ref)),
          (i, val) => ({ tag: names[i]!, val }),
          ({ tag, val }: Tagged) => [indexIn(names, tag), val],
        );
      }
      case "enum":
        return sum(
          type.names.map(() => null),
          (i) => type.names[i],
          (name) => [indexIn(type.names, name), undefined],
        );
      case "flags":
        return flags(type.names);
      case "option": {
        const of = this.of(type.of);
        // An option of an option cannot do without a tag.
        if (this.typeOf(type.of)?.kind === "option") {
          return sum(
            [null, of],
            (i, val) => i === 0 ? { tag: "none" } : { tag: "some", val },
            ({ tag, val }: Tagged) => [tag === "some" ? 1 : 0, val],
          );
        }
        return sum(
          [null, of],
          (i, val) => i === 0 ? undefined : val,
          (value) => value === undefined || value === null ? [0, undefined] : [1, value],
        );
      }
      case "result":
        return sum(
          [this.#optional(type.ok), this.#optional(type.err)],
          (i, val) => ({ tag: i === 0 ? "ok" : "err", val }),
          ({ tag, val }: Tagged) => [tag === "ok" ? 0 : 1, val],
        );
      case "own":
        return handle(
          (border, i) => border.takeOwn(type.resource, i),
          (border, value) => border.give(type.resource, value),
        );
      case "borrow":
        return handle(
          (border, i) => border.borrow(type.resource, i),
          () => {
            throw new Error("the host lends no resources");
          },
        );
      case "stream":
      case "future":
        return handle(
          (border, i) => border.takeEnd(index, i),
          (border, value) => border.giveEnd(index, value),
        );
    }
  }
}
