/**
 * The sections of a core module, decoded as far as the rewriter needs them.
 *
 * Nothing is copied: the view holds counts, types and byte ranges into the module. What is not
 * known is refused (RealmError `invalid-module` or `unsupported`), so that nothing is ever passed
 * through that could run unmetered.
 * Specification: https://webassembly.github.io/spec/core/binary/modules.html
 *
 * @module
 */
import { Reader, type Writer } from "./binary.ts";
import { OP } from "./opcodes.ts";

/** Section identifiers. */
export const SECTION = {
  CUSTOM: 0,
  TYPE: 1,
  IMPORT: 2,
  FUNCTION: 3,
  TABLE: 4,
  MEMORY: 5,
  GLOBAL: 6,
  EXPORT: 7,
  START: 8,
  ELEMENT: 9,
  CODE: 10,
  DATA: 11,
  DATA_COUNT: 12,
  TAG: 13,
} as const;

/** The order in which sections must appear. */
export const SECTION_ORDER: readonly number[] = [1, 2, 3, 4, 5, 13, 6, 7, 8, 9, 12, 10, 11];

/** The name of the module whose imports the rewriter adds; guests may not use it. */
export const RESERVED_MODULE = "realm";

/** Functions, types and so on that V8 takes in one module; the rewriter adds a few itself. */
export const ITEMS_MAX = 999_000;
const PARAMETERS_MAX = 1000;
/** V8 keeps types for good, those of all modules together. */
export const TYPES_MAX = 100_000;
/** Each takes room for addresses; a hundred thousand of them a thread for a minute. */
const MEMORIES_MAX = 100;
/** An exception is an object of V8 with a copy of them, which nothing counts. */
const TAG_PARAMETERS_MAX = 4;

/** A range of bytes of the module. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

/** A function type. The ranges hold the value types without their count. */
export interface FunctionType {
  readonly params: number;
  readonly results: number;
  readonly paramBytes: Range;
  readonly resultBytes: Range;
  /** A vector is among the parameters or results. */
  readonly v128: boolean;
  /** Bytes that the parameters take in a frame. */
  readonly paramFrameBytes: number;
}

/** Limits of a memory (pages of 64 KiB) or table (elements). */
export interface SizeLimits {
  readonly min: number;
  readonly max: number | undefined;
}

/** A table; `type` holds the bytes of its reference type. */
export interface TableType extends SizeLimits {
  readonly type: Range;
  /** The expression of the initial value with its `end`; absent for `ref.null`. */
  readonly init: Range | undefined;
}

/** A decoded module. Index spaces hold the imported items first. */
export interface Module {
  readonly bytes: Uint8Array;
  readonly types: FunctionType[];
  /** Type index of every function. */
  readonly functions: number[];
  readonly importedFunctions: number;
  readonly tables: TableType[];
  readonly importedTables: number;
  readonly memories: SizeLimits[];
  readonly importedMemories: number;
  /** For every global, whether it holds a vector. */
  readonly globals: boolean[];
  readonly importedGlobals: number;
  /** Type index of every tag. */
  readonly tags: number[];
  readonly elements: number;
  readonly dataSegments: number;
  /** Contents of the sections that are there, without identifier and length. */
  readonly sections: Map<number, Range>;
  /** Contents of the first well-placed `name` custom section, behind its name. */
  readonly names: Range | undefined;
}

const TYPE_V128 = 0x7b;
const TYPE_REF = 0x64;
const TYPE_REF_NULL = 0x63;
const HEAP_TYPE_EXN = 0x69;
const HEAP_TYPE_NOEXN = 0x74;

/** Reads a heap type. */
function readHeapType(r: Reader, types: number): void {
  const at = r.at;
  const byte = r.u8();
  switch (byte) {
    case HEAP_TYPE_EXN:
    case HEAP_TYPE_NOEXN:
      r.sawExceptionType = true;
      return;
    case 0x6f: // extern
    case 0x70: // func
    case 0x72: // noextern
    case 0x73: // nofunc
      return;
    case 0x6a:
    case 0x6b:
    case 0x6c:
    case 0x6d:
    case 0x6e:
    case 0x71:
      throw r.unsupported(
        `heap type 0x${byte.toString(16)}`,
        "garbage-collected types are not supported",
        at,
      );
    case 0x68:
    case 0x75:
      throw r.unsupported(
        `heap type 0x${byte.toString(16)}`,
        "stack switching is not supported",
        at,
      );
    case 0x65:
      throw r.unsupported("heap type 0x65", "threads and atomics are not supported", at);
  }
  r.at = at;
  readTypeIndex(r, types);
}

/** Reads a type index that is encoded as a non-negative signed integer of 33 bits. */
export function readTypeIndex(r: Reader, types: number): number {
  const at = r.at;
  const index = r.index("type", types);
  // In a signed LEB128 bit 6 of the last byte is the sign.
  if (r.bytes[r.at - 1]! & 0x40) throw r.unsupported("negative type", "this type is not known", at);
  return index;
}

/** Reads a value type and tells whether it is a vector. */
export function readValueType(r: Reader, types: number): boolean {
  const at = r.at;
  const byte = r.u8();
  switch (byte) {
    case 0x7f: // i32
    case 0x7e: // i64
    case 0x7d: // f32
    case 0x7c: // f64
      return false;
    case TYPE_V128:
      return true;
    default:
      r.at = at;
      readReferenceType(r, types);
      return false;
  }
}

/** Reads a reference type. */
export function readReferenceType(r: Reader, types: number): void {
  const at = r.at;
  const byte = r.u8();
  if (byte === TYPE_REF || byte === TYPE_REF_NULL) return readHeapType(r, types);
  if (byte < 0x65 || byte > 0x75) {
    throw r.invalid(`type 0x${byte.toString(16)}`, "a value type was expected", at);
  }
  r.at = at;
  readHeapType(r, 0);
}

function readLimits(r: Reader, kind: string): SizeLimits {
  const at = r.at;
  const flags = r.u8();
  if (flags & 2) throw r.unsupported(`shared ${kind}`, "threads and atomics are not supported", at);
  if (flags & 4) throw r.unsupported(`64-bit ${kind}`, "only 32-bit indices are supported", at);
  if (flags & 8) throw r.unsupported(`${kind} with a page size`, "pages must have 64 KiB", at);
  if (flags > 1) throw r.invalid(`limits flags ${flags}`, "0 or 1 was expected", at);
  const min = r.u32();
  const max = flags & 1 ? r.u32() : undefined;
  if (max !== undefined && max < min) {
    throw r.invalid(`${kind} maximum ${max}`, `it must be at least ${min}`, at);
  }
  if (kind === "memory" && Math.max(min, max ?? 0) > 65536) {
    throw r.invalid(
      `${kind} of ${Math.max(min, max ?? 0)} pages`,
      "at most 65536 are possible",
      at,
    );
  }
  return { min, max };
}

function readTable(r: Reader, types: number): TableType {
  const start = r.at;
  readReferenceType(r, types);
  const type = { start, end: r.at };
  refuseExceptions(r, start, "table");
  const limits = readLimits(r, "table");
  return { ...limits, type, init: undefined };
}

/** Refuses what would keep any number of exceptions, which are objects of V8. */
function refuseExceptions(r: Reader, start: number, kind: string): void {
  const first = r.bytes[start]!;
  const heapType = first === TYPE_REF || first === TYPE_REF_NULL ? r.bytes[start + 1] : first;
  if (heapType !== HEAP_TYPE_EXN) return;
  throw r.unsupported(`${kind} of exceptions`, "they may be kept in locals only", start);
}

function readGlobal(r: Reader, types: number): boolean {
  const start = r.at;
  const v128 = readValueType(r, types);
  refuseExceptions(r, start, "global");
  const at = r.at;
  const mutability = r.u8();
  if (mutability & 2) {
    throw r.unsupported("shared global", "threads and atomics are not supported", at);
  }
  if (mutability > 1) throw r.invalid(`mutability ${mutability}`, "0 or 1 was expected", at);
  return v128;
}

function readTag(r: Reader, types: readonly FunctionType[]): number {
  const at = r.at;
  if (r.u8() !== 0) throw r.invalid("tag attribute", "0 was expected", at);
  const index = r.index("type", types.length);
  const { params } = types[index]!;
  if (params <= TAG_PARAMETERS_MAX) return index;
  throw r.unsupported(`tag of ${params} values`, `at most ${TAG_PARAMETERS_MAX} are supported`, at);
}

/** What {@link copyExpression} needs to renumber. */
export interface Renumbering {
  functionIndex(index: number): number;
  globalIndex(index: number): number;
}

/**
 * Reads a constant expression up to and including its `end`; with a writer, copies it there with
 * functions and globals renumbered.
 */
export function copyExpression(r: Reader, m: Module, to?: Writer, renumber?: Renumbering): void {
  for (;;) {
    const at = r.at;
    const op = r.u8();
    switch (op) {
      case OP.END:
        to?.u8(OP.END);
        return;
      case OP.GLOBAL_GET: {
        const index = r.index("global", m.globals.length);
        to?.op(op, renumber!.globalIndex(index));
        continue;
      }
      case OP.REF_FUNC: {
        const index = r.index("function", m.functions.length);
        to?.op(op, renumber!.functionIndex(index));
        continue;
      }
      case OP.REF_NULL:
        readHeapType(r, m.types.length);
        break;
      case OP.I32_CONST:
        r.skipLeb(5);
        break;
      case 0x42: // i64.const
        r.skipLeb(10);
        break;
      case 0x43: // f32.const
        r.skip(4);
        break;
      case 0x44: // f64.const
        r.skip(8);
        break;
      case 0x6a: // i32.add, sub, mul and i64.add, sub, mul
      case 0x6b:
      case 0x6c:
      case 0x7c:
      case 0x7d:
      case 0x7e:
        break;
      case 0xfd:
        if (r.u32() !== 12) {
          throw r.unsupported("vector instruction", "only v128.const is constant", at);
        }
        r.skip(16);
        break;
      case 0xfb:
        throw r.unsupported("opcode 0xfb", "garbage-collected types are not supported", at);
      default:
        throw r.unsupported(`opcode 0x${op.toString(16)}`, "it is not known as constant", at);
    }
    to?.copy(r.bytes, at, r.at);
  }
}

/** Reads a heap type of an instruction. */
export function readHeapTypeImmediate(r: Reader, m: Module): void {
  readHeapType(r, m.types.length);
}

/** Reads a whole vector with `item`, and requires that it fills its section. */
function readVector(r: Reader, of: string, item: (i: number) => void, max = ITEMS_MAX): void {
  const n = r.count(of, max);
  for (let i = 0; i < n; i++) item(i);
  if (r.at !== r.end) {
    throw r.invalid(`${r.end - r.at} more bytes`, `the section of ${n} ${of} ended`);
  }
}

function readTypes(r: Reader, m: Module): void {
  readVector(r, "types", () => {
    const at = r.at;
    const form = r.u8();
    if (form === 0x4e || form === 0x4f || form === 0x50 || form === 0x5e || form === 0x5f) {
      throw r.unsupported(
        `type 0x${form.toString(16)}`,
        "garbage-collected types are not supported",
        at,
      );
    }
    if (form === 0x5d) throw r.unsupported("type 0x5d", "stack switching is not supported", at);
    if (form !== 0x60) {
      throw r.invalid(`type 0x${form.toString(16)}`, "a function type was expected", at);
    }
    let vectors = 0;
    const params = r.count("parameters", PARAMETERS_MAX);
    const paramStart = r.at;
    // A function type may name itself.
    for (let i = 0; i < params; i++) if (readValueType(r, m.types.length + 1)) vectors++;
    const paramBytes = { start: paramStart, end: r.at };
    const paramFrameBytes = 8 * (params + vectors);
    const results = r.count("results", PARAMETERS_MAX);
    const resultStart = r.at;
    for (let i = 0; i < results; i++) if (readValueType(r, m.types.length + 1)) vectors++;
    const resultBytes = { start: resultStart, end: r.at };
    m.types.push({ params, results, paramBytes, resultBytes, v128: vectors > 0, paramFrameBytes });
  }, TYPES_MAX);
}

function readImports(r: Reader, m: Module): void {
  readVector(r, "imports", () => {
    const at = r.at;
    if (r.name() === RESERVED_MODULE) {
      throw r.unsupported(
        `import from "${RESERVED_MODULE}"`,
        "this name is reserved for the host",
        at,
      );
    }
    r.name();
    const kindAt = r.at;
    const kind = r.u8();
    if (kind === 0) m.functions.push(r.index("type", m.types.length));
    else if (kind === 1) m.tables.push(readTable(r, m.types.length));
    else if (kind === 2) m.memories.push(readLimits(r, "memory"));
    else if (kind === 3) m.globals.push(readGlobal(r, m.types.length));
    else if (kind === 4) m.tags.push(readTag(r, m.types));
    else throw r.invalid(`import kind ${kind}`, "0 to 4 was expected", kindAt);
  });
}

function readTables(r: Reader, m: Module): void {
  readVector(r, "tables", () => {
    if (r.bytes[r.at] !== 0x40) {
      m.tables.push(readTable(r, m.types.length));
      return;
    }
    r.skip(1);
    if (r.u8() !== 0) throw r.invalid("table flag", "0 was expected", r.at - 1);
    const table = readTable(r, m.types.length);
    const start = r.at;
    copyExpression(r, m);
    m.tables.push({ ...table, init: { start, end: r.at } });
  });
}

/** Decodes everything but code. */
export function decodeModule(bytes: Uint8Array): Module {
  const r = new Reader(bytes);
  const header = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];
  if (header.some((byte, i) => bytes[i] !== byte)) {
    throw r.invalid("header", "a core module of version 1 was expected");
  }
  r.at = header.length;
  const sections = new Map<number, Range>();
  let names: Range | undefined;
  let previous = -1;
  while (r.at < r.end) {
    const at = r.at;
    const id = r.u8();
    const length = r.u32();
    const start = r.at;
    r.skip(length);
    const range = { start, end: r.at };
    if (id === SECTION.CUSTOM) {
      const inside = new Reader(bytes, range.start, range.end);
      if (inside.name() === "name") names ??= { start: inside.at, end: range.end };
      continue;
    }
    const order = SECTION_ORDER.indexOf(id);
    if (order < 0) throw r.unsupported(`section ${id}`, "this section is not known", at);
    if (order <= previous) {
      throw r.invalid(`section ${id}`, "sections must be in order and appear once", at);
    }
    previous = order;
    sections.set(id, range);
  }

  const types: FunctionType[] = [];
  const functions: number[] = [];
  const tables: TableType[] = [];
  const memories: SizeLimits[] = [];
  const globals: boolean[] = [];
  const tags: number[] = [];
  const m: Module = {
    bytes,
    types,
    functions,
    tables,
    memories,
    globals,
    tags,
    importedFunctions: 0,
    importedTables: 0,
    importedMemories: 0,
    importedGlobals: 0,
    elements: 0,
    dataSegments: 0,
    sections,
    names,
  };
  const within = (id: number, read: (r: Reader) => void) => {
    const range = sections.get(id);
    if (range) read(new Reader(bytes, range.start, range.end));
  };
  within(SECTION.TYPE, (r) => readTypes(r, m));
  within(SECTION.IMPORT, (r) => readImports(r, m));
  const imported = {
    importedFunctions: functions.length,
    importedTables: tables.length,
    importedMemories: memories.length,
    importedGlobals: globals.length,
  };
  within(
    SECTION.FUNCTION,
    (r) => readVector(r, "functions", () => functions.push(r.index("type", types.length))),
  );
  // Initial values of tables may only name imported globals, which are known by now.
  within(SECTION.TABLE, (r) => readTables(r, m));
  within(
    SECTION.MEMORY,
    (r) => readVector(r, "memories", () => memories.push(readLimits(r, "memory")), MEMORIES_MAX),
  );
  within(SECTION.TAG, (r) => readVector(r, "tags", () => tags.push(readTag(r, types))));
  within(SECTION.GLOBAL, (r) =>
    readVector(r, "globals", () => {
      const v128 = readGlobal(r, types.length);
      copyExpression(r, m);
      globals.push(v128);
    }));
  let elements = 0;
  let dataSegments = 0;
  within(SECTION.ELEMENT, (r) => elements = r.count("element segments"));
  within(SECTION.DATA_COUNT, (r) => {
    dataSegments = r.u32();
    if (r.at !== r.end) throw r.invalid("data count", "nothing may follow it");
  });
  if (functions.length > ITEMS_MAX || globals.length > ITEMS_MAX) {
    throw r.unsupported("module", `at most ${ITEMS_MAX} functions or globals are supported`, 0);
  }
  return { ...m, ...imported, elements, dataSegments };
}

/** Refuses what stands behind the last item of a section, which the reader is at. */
export function requireEnd(r: Reader, of: string): void {
  if (r.at !== r.end) throw r.invalid(`${r.end - r.at} more bytes`, `the section of ${of} ended`);
}
