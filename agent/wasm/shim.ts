/**
 * The two core modules by which tools let a component's code call functions that cannot be made
 * before its memory is there: a *shim* with a table, and a function for each element that calls it,
 * and a *fixup* that fills the table.
 *
 * A module is one of them only if it is nothing else, so that who gives the code the functions
 * themselves leaves out both, and nothing changes.
 *
 * @see https://github.com/bytecodealliance/wasm-tools/blob/main/crates/wit-component/src/encoding.rs
 * @module
 */
import { Reader } from "./meter/binary.ts";
import { decodeModule, type Module, SECTION } from "./meter/module.ts";

/** What a shim passes on. */
export interface Shim {
  /** Name of the exported table. */
  readonly table: string;
  /** By the name of an exported function: the element that it calls, and its type. */
  readonly functions: ReadonlyMap<string, { readonly element: number; readonly type: string }>;
}

/** What a fixup puts into the table. */
export interface Fixup {
  /** Names of all imports: the module's, which is one for all, and the table's. */
  readonly module: string;
  readonly table: string;
  /** By element: the name of the imported function, and its type. */
  readonly elements: readonly { readonly name: string; readonly type: string }[];
}

const LOCAL_GET = 0x20;
const I32_CONST = 0x41;
const CALL_INDIRECT = 0x11;
const END = 0x0b;
const FUNCTION = 0;
const TABLE = 1;
const V128 = 0x7b;

const hasSections = (m: Module, ...ids: number[]) =>
  m.sections.size === ids.length && ids.every((id) => m.sections.has(id));

function open(m: Module, id: number): Reader {
  const { start, end } = m.sections.get(id)!;
  return new Reader(m.bytes, start, end);
}

/** A type of numbers in a form in which those of two modules can be compared. */
function typeOf(m: Module, index: number): string | undefined {
  const { paramBytes, resultBytes } = m.types[index]!;
  const params = m.bytes.subarray(paramBytes.start, paramBytes.end);
  const results = m.bytes.subarray(resultBytes.start, resultBytes.end);
  const isNumber = (byte: number) => byte >= V128 && byte <= 0x7f;
  return params.every(isNumber) && results.every(isNumber) ? `${params} ${results}` : undefined;
}

/** The element that a function calls, if that is all it does. */
function calledElement(m: Module, r: Reader, type: number): number | undefined {
  const end = r.u32() + r.at;
  if (r.u8() !== 0) return;
  for (let i = 0; i < m.types[type]!.params; i++) {
    if (r.u8() !== LOCAL_GET || r.u32() !== i) return;
  }
  if (r.u8() !== I32_CONST) return;
  const element = r.u32();
  // A signed number, which has its sign in the second bit of its last byte.
  if ((r.bytes[r.at - 1]! & 0x40) !== 0) return;
  if (r.u8() !== CALL_INDIRECT || r.u32() !== type || r.u32() !== 0) return;
  return r.u8() === END && r.at === end ? element : undefined;
}

/** A core module as a shim; undefined: it is none. Throws RealmError as `meter()` does. */
export function readShim(bytes: Uint8Array): Shim | undefined {
  const m = decodeModule(bytes);
  const { TYPE, FUNCTION: FUNCTIONS, TABLE: TABLES, EXPORT, CODE } = SECTION;
  if (!hasSections(m, TYPE, FUNCTIONS, TABLES, EXPORT, CODE) || m.tables.length !== 1) return;
  if (m.tables[0]!.init) return;
  const code = open(m, CODE);
  const count = code.u32();
  const called: { element: number; type: string }[] = [];
  for (let i = 0; i < count; i++) {
    const index = m.functions[i]!;
    const type = typeOf(m, index);
    const element = calledElement(m, code, index);
    if (element === undefined || type === undefined) return;
    called.push({ element, type });
  }
  const functions = new Map<string, { element: number; type: string }>();
  let table: string | undefined;
  const exports = open(m, EXPORT);
  for (let n = exports.u32(); n > 0; n--) {
    const name = exports.name();
    const kind = exports.u8();
    const index = exports.u32();
    if (kind === FUNCTION && called[index]) functions.set(name, called[index]);
    else if (kind === TABLE && table === undefined) table = name;
    else return;
  }
  return table === undefined ? undefined : { table, functions };
}

/** A core module as a fixup; undefined: it is none. Throws RealmError as `meter()` does. */
export function readFixup(bytes: Uint8Array): Fixup | undefined {
  const m = decodeModule(bytes);
  const { TYPE, IMPORT, ELEMENT } = SECTION;
  if (!hasSections(m, TYPE, IMPORT, ELEMENT) || m.tables.length !== 1) return;
  const imported: { name: string; type: string }[] = [];
  let module: string | undefined;
  let table: string | undefined;
  const imports = open(m, IMPORT);
  for (let n = imports.u32(); n > 0; n--) {
    const from = imports.name();
    if (from !== (module ??= from)) return;
    const name = imports.name();
    const kind = imports.u8();
    if (kind === FUNCTION) {
      const type = typeOf(m, imports.u32());
      if (type === undefined) return;
      imported.push({ name, type });
    } else if (kind === TABLE) {
      table = name;
      imports.skip(1); // the type of its elements, that of a shim's
      const hasMax = imports.u8();
      imports.u32();
      if (hasMax === 1) imports.u32();
      else if (hasMax !== 0) return;
    } else return;
  }
  const r = open(m, ELEMENT);
  // One segment: active, in table 0, from element 0, of functions.
  for (const byte of [1, 0, I32_CONST, 0, END]) if (r.u8() !== byte) return;
  const elements: { name: string; type: string }[] = [];
  for (let n = r.u32(); n > 0; n--) {
    const item = imported[r.u32()];
    if (!item) return;
    elements.push(item);
  }
  return module === undefined || table === undefined || r.at !== r.end
    ? undefined
    : { module, table, elements };
}
