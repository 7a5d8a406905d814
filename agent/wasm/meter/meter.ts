/**
 * Rewrites a WebAssembly core module so that what it may use is limited and counted.
 *
 * The rewritten module has five more imports, at the end of the imports of their kinds. The host
 * gives the same five to all core modules of one component instance, so that one budget spans
 * them, and start functions are metered from their first instruction:
 *
 * | import | meaning |
 * | --- | --- |
 * | `"realm" "fuel"`: global (mut i32) | Units left in this slice. The host adds to it. |
 * | `"realm" "stack"`: global (mut i32) | Bytes of call depth left. {@link STACK_EXHAUSTED} when a call found too few and trapped. |
 * | `"realm" "outline"`: global (mut i32) | Bytes of call depth left for loops that go on in functions of their own. Only speed depends on it. |
 * | `"realm" "refuel"`: func () -> i32 | Called when a check finds "fuel" below zero. 0: go on; then "fuel" must not be below zero any more. Else the guest traps, and no handler of its can catch it. |
 * | `"realm" "grow"`: func (kind: i32, units: i32) -> i32 | Asks for `units` more pages (kind 0) or table elements (kind 1); 0 allows. A negative number gives back what could not be used; its result is ignored. |
 *
 * *Fuel.* Every executed instruction costs one unit; `nop`, `block`, `loop`, `else`, `end` and the
 * brackets of exception handlers are free. `memory.fill`, `copy` and `init` cost one more for each
 * 16 bytes begun, `table.fill`, `copy` and `init` for each element; growing that is allowed costs 64
 * per page or one per element. Units are charged before what they pay for, a stretch of straight
 * code at a time; so where a trap, or an exception of the host, cuts one short, its rest is paid
 * too. "fuel" is exact whenever the guest calls out or has returned. Behind a trap it is what was
 * last stored: in a function with loops up to a slice more than is left. Checks are at the entries of
 * functions, at loop heads, and between chunks of bulk operations; only functions that call
 * nothing and cost at most 64 have none. Short loops, whose rounds hold neither loops nor calls, are
 * unrolled and checked every few rounds, which are at most 1536 units apart. Where a check at a loop
 * head finds the slice used up, the loop goes on in a function that has a copy of it and calls itself
 * anew for every slice, so that an engine can run one long loop in better code as it becomes ready
 * (`outline.ts`). That takes neither fuel nor "stack". Where loops would make the code too large by that,
 * they are written once, which changes nothing but their speed (`code.ts`).
 *
 * *Stack.* A call costs `64 + 8 * (parameters + locals + operands at their highest)` bytes, 16 each
 * for vectors, locals of the rewriter included. Functions that call nothing and need less than a
 * KiB are free. What a call took is given back when it returns, and by handlers of exceptions in
 * the module. When an exception or trap leaves the guest, or when it is suspended and another
 * stack enters it, the host restores "stack" to what it was at its own call.
 *
 * *Sizes.* Declared maxima of memories and tables are lowered. Minima are not asked for by "grow":
 * the module says what an instance begins with (`instance_size.ts`), and the host charges that before
 * it makes one.
 *
 * *Lasting state.* A module that can be put back says so, and exports what that takes
 * (`lasting_state.ts`).
 *
 * Not supported, and refused: threads, garbage-collected types, 64-bit indices, stack switching,
 * custom page sizes, and anything else that is not known here.
 *
 * @module
 */
import { RealmError } from "../../kernel/error.ts";
import { joined, Reader, Writer } from "./binary.ts";
import { BranchHints, writeCode, type WrittenFunction } from "./code.ts";
import {
  copyExpression,
  decodeModule,
  type Module,
  readReferenceType,
  type Renumbering,
  requireEnd,
  RESERVED_MODULE,
  SECTION,
  SECTION_ORDER,
  type SizeLimits,
} from "./module.ts";
import { encodeSize, INSTANCE_SIZE, type InstanceSize } from "./instance_size.ts";
import { LASTING, RENEWABLE } from "./lasting_names.ts";
import { type LastingState, lastingState } from "./lasting_state.ts";
import { type Imports, Routines } from "./routines.ts";

export type { WrittenFunction } from "./code.ts";
export { STACK_EXHAUSTED } from "./routines.ts";

/** Upper bounds for what a module declares, each for a single memory or table. */
export interface MeterOptions {
  /** Pages of 64 KiB. */
  readonly memoryPagesMax: number;
  readonly tableElementsMax: number;
  /** Bytes of its code when it is rewritten; {@link METERED_BYTES_MAX} unless there is another. */
  readonly bytesMax?: number;
  /** Bytes of its code up to which loops are copied, for tests; else the module's length gives them. */
  readonly copyingBytesMax?: number;
  /** Name of the rewritten module, which engines show in backtraces; else it keeps its own. */
  readonly name?: string;
  /** Called for every function of the module as it is written; to find back from a backtrace. */
  readonly onFunction?: (written: WrittenFunction) => void;
}

/** A rewritten module. */
export interface Metered {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** What an instance of it begins with; the module has it, too. */
  readonly size: InstanceSize;
  /** How many types it defines. V8 keeps them for good. */
  readonly types: number;
}

/** What V8 and realm keep for an instance: for itself, and for each of what it has. */
const HOST_BYTES = {
  instance: 4096,
  function: 16,
  global: 16,
  /** An import or export: functions and objects on both sides of the border. */
  border: 256,
  element: 8,
  /** Room for addresses, and tables of the operating system for it. */
  memory: 256 * 1024,
};

/** Imports that are added, by kind. */
const ADDED_FUNCTIONS = 2;
const ADDED_GLOBALS = ["fuel", "stack", "outline"];
/** Bytes of a module's code with its metering, and of all rewritten modules of a component. */
export const METERED_BYTES_MAX = 256 * 1024 * 1024;
const KIND_FUNCTION = 0;
const KIND_MEMORY = 2;
const KIND_GLOBAL = 3;
const I32 = 0x7f;
const MUTABLE = 1;

/**
 * Rewrites a core module as the module's description says.
 *
 * Takes time and memory linear in the length of the module. Throws RealmError `invalid-module`,
 * `unsupported`, or `memory-limit` when a minimum is above its bound. The engine still validates
 * the result: types of operands are not checked here.
 */
export function meter(bytes: Uint8Array, options: MeterOptions): Metered {
  const m = decodeModule(bytes);
  const indices: Renumbering = {
    functionIndex: (i) => i < m.importedFunctions ? i : i + ADDED_FUNCTIONS,
    globalIndex: (i) => i < m.importedGlobals ? i : i + ADDED_GLOBALS.length,
  };
  const imports: Imports = {
    fuel: m.importedGlobals,
    stack: m.importedGlobals + 1,
    outline: m.importedGlobals + 2,
    refuel: m.importedFunctions,
    grow: m.importedFunctions + 1,
  };
  const routines = new Routines(m, imports, m.functions.length + ADDED_FUNCTIONS);
  const refuelType = routines.type([], [I32]);
  const growType = routines.type([I32, I32], [I32]);

  // Code is written first: it decides which types and functions are appended.
  const hints = new BranchHints();
  const { code, changesLast } = writeCode(m, indices, routines, hints, {
    bytesMax: METERED_BYTES_MAX,
    ...options,
  });
  const lasting = changesLast ? undefined : lastingState(m);
  let elements = 0;
  const sections: Record<number, () => Writer | readonly Writer[] | undefined> = {
    [SECTION.TYPE]: () => writeTypes(m, routines),
    [SECTION.IMPORT]: () => writeImports(m, refuelType, growType),
    [SECTION.FUNCTION]: () => writeFunctions(m, routines),
    [SECTION.TABLE]: () => writeTables(m, options.tableElementsMax, indices),
    [SECTION.MEMORY]: () => writeMemories(m, options.memoryPagesMax),
    [SECTION.GLOBAL]: () => writeGlobals(m, indices),
    [SECTION.EXPORT]: () => writeExports(m, indices, lasting),
    [SECTION.START]: () => writeStart(m, indices),
    [SECTION.ELEMENT]: () => writeElements(m, indices, (count) => elements += count),
    [SECTION.CODE]: () => code,
    [SECTION.DATA]: () => writeData(m, indices),
  };
  const out = [new Writer(8).copy(bytes, 0, 8)];
  const add = (id: number, content: Writer | readonly Writer[]) => {
    const parts = content instanceof Writer ? [content] : content;
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    out.push(new Writer(8).u8(id).u32(length), ...parts);
  };
  for (const id of SECTION_ORDER) {
    const write = sections[id];
    const content = write ? write() : sectionOf(m, id);
    if (id === SECTION.CODE && content) add(SECTION.CUSTOM, hints.section());
    if (content) add(id, content);
  }
  if (lasting) add(SECTION.CUSTOM, new Writer(32).name(RENEWABLE));
  const names = writeNames(m, indices, routines, options.name);
  if (names) add(SECTION.CUSTOM, names);
  const size = sizeOfInstance(m, elements);
  add(SECTION.CUSTOM, new Writer(32).name(INSTANCE_SIZE).copy(encodeSize(size)));
  return { bytes: joined(out), size, types: m.types.length + routines.types.length };
}

function sizeOfInstance(m: Module, elements: number): InstanceSize {
  const sum = (defined: readonly SizeLimits[]) => defined.reduce((n, item) => n + item.min, 0);
  const memories = m.memories.slice(m.importedMemories);
  const border = [SECTION.IMPORT, SECTION.EXPORT]
    .reduce((count, id) => count + (open(m, id)?.count ?? 0), 0);
  return {
    memoryPages: sum(memories),
    tableElements: sum(m.tables.slice(m.importedTables)),
    hostBytes: HOST_BYTES.instance + HOST_BYTES.function * m.functions.length +
      HOST_BYTES.global * m.globals.length + HOST_BYTES.border * border +
      HOST_BYTES.element * elements + HOST_BYTES.memory * memories.length,
  };
}

/** A copy of a section as it is, if it is there. */
function sectionOf(m: Module, id: number): Writer | undefined {
  const range = m.sections.get(id);
  return range && new Writer(range.end - range.start).copy(m.bytes, range.start, range.end);
}

/** A reader of a section, behind its count. */
function open(m: Module, id: number): { r: Reader; count: number } | undefined {
  const range = m.sections.get(id);
  if (!range) return undefined;
  const r = new Reader(m.bytes, range.start, range.end);
  return { r, count: r.u32() };
}

/** Copies a vector section and puts `added` items, already encoded, behind its own. */
function extend(m: Module, id: number, count: number, added: number): Writer {
  const section = open(m, id);
  const w = new Writer().u32(count + added);
  if (section) w.copy(m.bytes, section.r.at, section.r.end);
  return w;
}

function writeTypes(m: Module, routines: Routines): Writer {
  const w = extend(m, SECTION.TYPE, m.types.length, routines.types.length);
  for (const type of routines.types) w.copy(type);
  return w;
}

function writeImports(m: Module, refuelType: number, growType: number): Writer {
  const count = open(m, SECTION.IMPORT)?.count ?? 0;
  const w = extend(m, SECTION.IMPORT, count, ADDED_GLOBALS.length + ADDED_FUNCTIONS);
  for (const name of ADDED_GLOBALS) {
    w.name(RESERVED_MODULE).name(name).u8(KIND_GLOBAL, I32, MUTABLE);
  }
  w.name(RESERVED_MODULE).name("refuel").op(KIND_FUNCTION, refuelType);
  w.name(RESERVED_MODULE).name("grow").op(KIND_FUNCTION, growType);
  return w;
}

function writeFunctions(m: Module, routines: Routines): Writer {
  const count = m.functions.length - m.importedFunctions;
  const w = extend(m, SECTION.FUNCTION, count, routines.routines.length);
  for (const routine of routines.routines) w.u32(routine.type);
  return w;
}

function writeLimits(w: Writer, limits: SizeLimits, max: number, kind: string): void {
  if (limits.min > max) {
    throw new RealmError(
      "memory-limit",
      `Cannot meter module: ${kind} of ${limits.min}, at most ${max} are allowed`,
    );
  }
  w.u8(1).u32(limits.min).u32(Math.min(limits.max ?? max, max));
}

function writeTables(m: Module, elementsMax: number, indices: Renumbering): Writer | undefined {
  const tables = m.tables.slice(m.importedTables);
  if (tables.length === 0) return sectionOf(m, SECTION.TABLE);
  const w = new Writer().u32(tables.length);
  for (const table of tables) {
    if (table.init) w.u8(0x40, 0);
    w.copy(m.bytes, table.type.start, table.type.end);
    writeLimits(w, table, Math.min(elementsMax, 0xffffffff), "table elements");
    if (table.init) {
      copyExpression(new Reader(m.bytes, table.init.start, table.init.end), m, w, indices);
    }
  }
  return w;
}

function writeMemories(m: Module, pagesMax: number): Writer | undefined {
  const memories = m.memories.slice(m.importedMemories);
  if (memories.length === 0) return sectionOf(m, SECTION.MEMORY);
  const w = new Writer().u32(memories.length);
  for (const memory of memories) writeLimits(w, memory, Math.min(pagesMax, 65536), "memory pages");
  return w;
}

function writeGlobals(m: Module, indices: Renumbering): Writer | undefined {
  const section = open(m, SECTION.GLOBAL);
  if (!section) return undefined;
  const { r, count } = section;
  const w = new Writer().u32(count);
  for (let i = 0; i < count; i++) {
    const start = r.at;
    skipValueType(r, m);
    r.skip(1);
    w.copy(m.bytes, start, r.at);
    copyExpression(r, m, w, indices);
  }
  return w;
}

/** The types of globals were checked when the module was decoded. */
function skipValueType(r: Reader, m: Module): void {
  const byte = r.bytes[r.at]!;
  if (byte >= 0x7b && byte <= 0x7f) r.skip(1);
  else readReferenceType(r, m.types.length);
}

function writeExports(
  m: Module,
  indices: Renumbering,
  lasting: LastingState | undefined,
): Writer | undefined {
  const range = m.sections.get(SECTION.EXPORT);
  const { memories, globals } = lasting ?? { memories: [], globals: [] };
  const added = memories.length + globals.length;
  if (!range && added === 0) return undefined;
  const r = range && new Reader(m.bytes, range.start, range.end);
  const count = r?.count("exports") ?? 0;
  const w = new Writer((r ? r.end - r.at : 0) + 32 * added).u32(count + added);
  const spaces = [m.functions, m.tables, m.memories, m.globals, m.tags];
  for (let i = 0; r && i < count; i++) {
    const start = r.at;
    r.skip(r.u32());
    const at = r.at;
    const kind = r.u8();
    const space = spaces[kind];
    if (!space) throw r.invalid(`export kind ${kind}`, "0 to 4 was expected", at);
    w.copy(m.bytes, start, r.at);
    const index = r.index("export", space.length);
    if (kind === KIND_FUNCTION) w.u32(indices.functionIndex(index));
    else if (kind === KIND_GLOBAL) w.u32(indices.globalIndex(index));
    else w.u32(index);
  }
  if (r) requireEnd(r, "exports");
  for (const i of memories) w.name(`${LASTING}memory ${i}`).u8(KIND_MEMORY).u32(i);
  for (const i of globals) {
    w.name(`${LASTING}global ${i}`).u8(KIND_GLOBAL).u32(indices.globalIndex(i));
  }
  return w;
}

function writeStart(m: Module, indices: Renumbering): Writer | undefined {
  const range = m.sections.get(SECTION.START);
  if (!range) return undefined;
  const r = new Reader(m.bytes, range.start, range.end);
  const index = r.index("function", m.functions.length);
  requireEnd(r, "start function");
  return new Writer().u32(indices.functionIndex(index));
}

function writeElements(
  m: Module,
  indices: Renumbering,
  counted: (elements: number) => void,
): Writer | undefined {
  const section = open(m, SECTION.ELEMENT);
  if (!section) return undefined;
  const { r, count } = section;
  const w = new Writer(r.end - r.at).u32(count);
  for (let i = 0; i < count; i++) {
    const start = r.at;
    const flags = r.u32();
    if (flags > 7) throw r.invalid(`element segment flags ${flags}`, "0 to 7 was expected", start);
    const passive = (flags & 1) !== 0,
      explicit = (flags & 2) !== 0,
      expressions = (flags & 4) !== 0;
    if (!passive && explicit) r.index("table", m.tables.length);
    w.copy(m.bytes, start, r.at);
    if (!passive) copyExpression(r, m, w, indices);
    const typeAt = r.at;
    if (passive || explicit) {
      if (expressions) readReferenceType(r, m.types.length);
      else if (r.u8() !== 0) throw r.invalid("element kind", "0 was expected", typeAt);
    }
    w.copy(m.bytes, typeAt, r.at);
    const elements = r.count("elements");
    counted(elements);
    w.u32(elements);
    for (let j = 0; j < elements; j++) {
      if (expressions) copyExpression(r, m, w, indices);
      else w.u32(indices.functionIndex(r.index("function", m.functions.length)));
    }
  }
  requireEnd(r, "element segments");
  return w;
}

function writeData(m: Module, indices: Renumbering): Writer | undefined {
  const range = m.sections.get(SECTION.DATA);
  if (!range) return undefined;
  const r = new Reader(m.bytes, range.start, range.end);
  const count = r.count("data segments");
  const w = new Writer(range.end - range.start).u32(count);
  for (let i = 0; i < count; i++) {
    const start = r.at;
    const flags = r.u32();
    if (flags > 2) throw r.invalid(`data segment flags ${flags}`, "0 to 2 was expected", start);
    if (flags === 2) r.index("memory", m.memories.length);
    w.copy(m.bytes, start, r.at);
    if (flags !== 1) copyExpression(r, m, w, indices);
    const content = r.at;
    r.skip(r.u32());
    w.copy(m.bytes, content, r.at);
  }
  requireEnd(r, "data segments");
  return w;
}

/**
 * The `name` section with the names of the module and of its functions, for backtraces. Only the
 * name that was asked for when the module has none, or some that cannot be read: engines ignore
 * those.
 */
function writeNames(
  m: Module,
  indices: Renumbering,
  routines: Routines,
  name: string | undefined,
): Writer | undefined {
  const MODULE = 0, FUNCTIONS = 1;
  const named = new Writer(64).name("name");
  if (name !== undefined) named.u8(MODULE).appendSized(new Writer(64).name(name));
  const given = name === undefined ? undefined : named;
  if (!m.names) return given;
  const r = new Reader(m.bytes, m.names.start, m.names.end);
  const w = new Writer(m.names.end - m.names.start + 64).append(named);
  try {
    while (r.at < r.end) {
      const id = r.u8();
      const length = r.u32();
      const start = r.at;
      r.skip(length);
      if (id === MODULE && !given) w.u8(id).u32(length).copy(m.bytes, start, r.at);
      if (id !== FUNCTIONS) continue;
      const inside = new Reader(m.bytes, start, r.at);
      const count = inside.count("names");
      const names = new Writer(length + 64).u32(count + routines.routines.length);
      for (let i = 0; i < count; i++) {
        names.u32(indices.functionIndex(inside.index("function", m.functions.length)));
        const at = inside.at;
        inside.skip(inside.u32());
        names.copy(m.bytes, at, inside.at);
      }
      for (const [i, routine] of routines.routines.entries()) {
        names.u32(routines.firstFunction + i).name(routine.name);
      }
      w.u8(id).appendSized(names);
    }
  } catch {
    return given;
  }
  return w;
}
