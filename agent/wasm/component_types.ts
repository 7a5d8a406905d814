/**
 * Types of a component as its bytes have them: references are indexes of the scope in which they
 * stand.
 *
 * @see https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import type { Cursor } from "./component.ts";
import { Writer } from "./meter/binary.ts";

/** What core instances give to one another. */
export type CoreSort = "func" | "table" | "memory" | "global" | "tag";

/** Refuses what a component has. Throws RealmError `unsupported`. */
export function refuse(what: string): never {
  throw new RealmError("unsupported", `Cannot run the component: ${what}`, {
    hint: "docs/wasi-0.3.md and docs/apps.md say what of the component model there is",
  });
}

/** The name of a primitive, or the index of a type. */
export type RawRef = string | number;

/** What an index space is of. */
export type Sort = "core module" | "func" | "value" | "type" | "component" | "instance";

/** What an import or export is to be. */
export type ExternRef =
  | { readonly kind: "func" | "equal" | "instance"; readonly index: number }
  | { readonly kind: "resource" };

/** A declaration in the type of an instance. */
export type Decl =
  | { readonly kind: "type"; readonly type: RawType }
  | { readonly kind: "alias"; readonly alias: Exclude<Alias, { core: true }> }
  | { readonly kind: "import" }
  | { readonly kind: "export"; readonly name: string; readonly bound: ExternRef };

/** A type. */
export type RawType =
  | { readonly kind: "primitive"; readonly name: string }
  | { readonly kind: "record"; readonly fields: readonly (readonly [string, RawRef])[] }
  | { readonly kind: "variant"; readonly cases: readonly (readonly [string, RawRef | null])[] }
  | { readonly kind: "list" | "option"; readonly of: RawRef }
  | { readonly kind: "tuple"; readonly of: readonly RawRef[] }
  | { readonly kind: "flags" | "enum"; readonly names: readonly string[] }
  | { readonly kind: "result"; readonly ok: RawRef | null; readonly err: RawRef | null }
  | { readonly kind: "own" | "borrow"; readonly resource: number }
  | { readonly kind: "stream" | "future"; readonly of: RawRef | null }
  | {
    readonly kind: "func";
    readonly isAsync: boolean;
    readonly names: readonly string[];
    readonly params: readonly RawRef[];
    readonly result: RawRef | null;
  }
  | { readonly kind: "instance" | "component"; readonly decls: readonly Decl[] }
  | { readonly kind: "resource" };

/** What another name is given to. */
export type Alias =
  | {
    readonly core: true;
    readonly sort: CoreSort;
    readonly instance: number;
    readonly name: string;
  }
  | {
    readonly core: false;
    readonly sort: Sort;
    readonly from: "instance";
    readonly instance: number;
    readonly name: string;
  }
  | {
    readonly core: false;
    readonly sort: Sort;
    readonly from: "outer";
    readonly count: number;
    readonly index: number;
  };

const PRIMITIVES: Readonly<Record<number, string>> = {
  0x7f: "bool",
  0x7e: "s8",
  0x7d: "u8",
  0x7c: "s16",
  0x7b: "u16",
  0x7a: "s32",
  0x79: "u32",
  0x78: "s64",
  0x77: "u64",
  0x76: "f32",
  0x75: "f64",
  0x74: "char",
  0x73: "string",
};
const CORE_SORTS: readonly CoreSort[] = ["func", "table", "memory", "global", "tag"];
const SORTS: readonly (Sort | undefined)[] = [
  undefined,
  "func",
  "value",
  "type",
  "component",
  "instance",
];
const DEPTH_MAX = 100;

/** `externname'`: its options say more of the version, or where an implementation is from. */
export function readExternName(c: Cursor): string {
  const form = c.byte();
  const name = c.name();
  if (form === 0x02 && c.u32() > 0) refuse(`it gives the name ${name} options`);
  return name;
}

/** A sort of a component's own spaces. */
export function readSort(c: Cursor): Sort {
  const byte = c.byte();
  if (byte !== 0) return SORTS[byte] ?? refuse("it has an unknown sort");
  return c.byte() === 0x11 ? "core module" : refuse("it has core parts at its border");
}

/** `externdesc`. */
export function readExternRef(c: Cursor): ExternRef {
  switch (readSort(c)) {
    case "func":
      return { kind: "func", index: c.u32() };
    case "type":
      return c.byte() === 0x00 ? { kind: "equal", index: c.u32() } : { kind: "resource" };
    case "instance":
      return { kind: "instance", index: c.u32() };
    case "core module":
      return refuse("it imports or exports a core module");
    case "component":
      return refuse("it imports or exports a component");
    case "value":
      return refuse("it imports or exports a value");
  }
}

/** `alias`. */
export function readAlias(c: Cursor): Alias {
  const byte = c.byte();
  const core = byte === 0 ? c.byte() : undefined;
  const target = c.byte();
  const sort = SORTS[byte];
  if (target === 0x01) {
    const sort = CORE_SORTS[core ?? -1] ?? refuse("it has an alias of an unknown sort");
    return { core: true, sort, instance: c.u32(), name: c.name() };
  }
  if (sort === undefined) return refuse("it has an alias of core parts");
  return target === 0x00
    ? { core: false, sort, from: "instance", instance: c.u32(), name: c.name() }
    : { core: false, sort, from: "outer", count: c.u32(), index: c.u32() };
}

function readRef(c: Cursor): RawRef {
  const byte = c.bytes[c.at] ?? 0;
  if (byte < 0x40 || byte >= 0x80) return c.u32();
  c.byte();
  return PRIMITIVES[byte] ?? refuse(`it has an unknown type 0x${byte.toString(16)}`);
}

function readOptional(c: Cursor): RawRef | null {
  return c.byte() === 0x00 ? null : readRef(c);
}

/** `resultlist`. */
export function readResult(c: Cursor): RawRef | null {
  if (c.byte() === 0x00) return readRef(c);
  c.byte();
  return null;
}

function many<T>(c: Cursor, read: () => T): T[] {
  const list: T[] = [];
  for (let n = c.u32(); n > 0; n--) list.push(read());
  return list;
}

function readDecl(c: Cursor, depth: number): Decl {
  const form = c.byte();
  if (form === 0x01) return { kind: "type", type: readType(c, depth + 1) };
  if (form === 0x02) {
    const alias = readAlias(c);
    return alias.core ? refuse("it has core parts in a type") : { kind: "alias", alias };
  }
  if (form === 0x03) {
    readExternName(c);
    readExternRef(c);
    return { kind: "import" };
  }
  if (form !== 0x04) return refuse("it has core types at its border");
  return { kind: "export", name: readExternName(c), bound: readExternRef(c) };
}

/** A type definition. */
export function readType(c: Cursor, depth = 0): RawType {
  if (depth > DEPTH_MAX) refuse("its types lie too deep in one another");
  const byte = c.byte();
  const primitive = PRIMITIVES[byte];
  if (primitive !== undefined) return { kind: "primitive", name: primitive };
  switch (byte) {
    case 0x72:
      return { kind: "record", fields: many(c, () => [c.name(), readRef(c)] as const) };
    case 0x71:
      return {
        kind: "variant",
        cases: many(c, () => {
          const name = c.name();
          const of = readOptional(c);
          c.byte(); // once "refines"
          return [name, of] as const;
        }),
      };
    case 0x70:
      return { kind: "list", of: readRef(c) };
    case 0x6f:
      return { kind: "tuple", of: many(c, () => readRef(c)) };
    case 0x6e:
      return { kind: "flags", names: many(c, () => c.name()) };
    case 0x6d:
      return { kind: "enum", names: many(c, () => c.name()) };
    case 0x6b:
      return { kind: "option", of: readRef(c) };
    case 0x6a:
      return { kind: "result", ok: readOptional(c), err: readOptional(c) };
    case 0x69:
      return { kind: "own", resource: c.u32() };
    case 0x68:
      return { kind: "borrow", resource: c.u32() };
    case 0x66:
      return { kind: "stream", of: readOptional(c) };
    case 0x65:
      return { kind: "future", of: readOptional(c) };
    case 0x40:
    case 0x43: {
      const names: string[] = [];
      const params = many(c, () => {
        names.push(c.name());
        return readRef(c);
      });
      return { kind: "func", isAsync: byte === 0x43, names, params, result: readResult(c) };
    }
    case 0x41:
      return { kind: "component", decls: many(c, () => readDecl(c, depth)) };
    case 0x42:
      return { kind: "instance", decls: many(c, () => readDecl(c, depth)) };
    case 0x3f:
      return { kind: "resource" };
    default:
      return refuse(`it has an unknown type 0x${byte.toString(16)}`);
  }
}

const BYTES: ReadonlyMap<string, number> = new Map(
  Object.entries(PRIMITIVES).map(([byte, name]) => [name, Number(byte)]),
);

/** Where a type is that was somewhere else. */
export type Moved = (index: number) => number;

function writeRef(to: Writer, ref: RawRef, moved: Moved): void {
  if (typeof ref === "string") to.u8(BYTES.get(ref)!);
  else to.s32(moved(ref));
}

function writeOptional(to: Writer, ref: RawRef | null, moved: Moved): void {
  to.u8(ref === null ? 0x00 : 0x01);
  if (ref !== null) writeRef(to, ref, moved);
}

/** Inverse of {@link readType}, for types of values and functions without resources or waiting. */
function writeType(to: Writer, type: RawType, moved: Moved): void {
  switch (type.kind) {
    case "primitive":
      to.u8(BYTES.get(type.name)!);
      return;
    case "record":
      to.u8(0x72).u32(type.fields.length);
      for (const [name, ref] of type.fields) writeRef(to.name(name), ref, moved);
      return;
    case "variant":
      to.u8(0x71).u32(type.cases.length);
      for (const [name, ref] of type.cases) {
        writeOptional(to.name(name), ref, moved);
        to.u8(0x00);
      }
      return;
    case "list":
    case "option":
      writeRef(to.u8(type.kind === "list" ? 0x70 : 0x6b), type.of, moved);
      return;
    case "tuple":
      to.u8(0x6f).u32(type.of.length);
      for (const ref of type.of) writeRef(to, ref, moved);
      return;
    case "flags":
    case "enum":
      to.u8(type.kind === "flags" ? 0x6e : 0x6d).u32(type.names.length);
      for (const name of type.names) to.name(name);
      return;
    case "result":
      writeOptional(to.u8(0x6a), type.ok, moved);
      writeOptional(to, type.err, moved);
      return;
    case "func":
      if (type.isAsync) refuse("it has an async function");
      to.u8(0x40).u32(type.params.length);
      for (const [i, ref] of type.params.entries()) writeRef(to.name(type.names[i]!), ref, moved);
      if (type.result === null) to.u8(0x01, 0x00);
      else writeRef(to.u8(0x00), type.result, moved);
      return;
    default:
      refuse(`it has a type of ${type.kind}s at its border`);
  }
}

/** Writes a declaration in the type of an instance whose types are elsewhere now. */
export function writeDecl(to: Writer, decl: Decl, moved: Moved): void {
  if (decl.kind === "type") return writeType(to.u8(0x01), decl.type, moved);
  if (decl.kind !== "export") return refuse("the type of an instance has aliases");
  const { bound } = decl;
  if (bound.kind !== "func" && bound.kind !== "equal") {
    refuse(`it has ${bound.kind}s at its border`);
  }
  to.u8(0x04, 0x00).name(decl.name);
  if (bound.kind === "func") to.u8(0x01);
  else to.u8(0x03, 0x00);
  to.u32(moved((bound as { index: number }).index));
}
