/**
 * What a core module has of the parts of WebAssembly that not every guest may use: floats, vectors
 * and exceptions, wherever they stand: signatures, globals, locals, constants and instructions, in
 * functions that nothing calls too.
 *
 * Offsets are bytes from the start of the module. Reads every section that can hold such a part, and
 * refuses what it does not know (RealmError `invalid-module` or `unsupported`), shared memories,
 * atomics and types of the garbage collector among it. Does not validate: the engine does.
 *
 * @module
 */
import { Reader } from "./meter/binary.ts";
import { decodeModule, type Module, type Range, SECTION } from "./meter/module.ts";
import { IMM, IMMEDIATE, NAME, OP, refusal } from "./meter/opcodes.ts";

/** A part of WebAssembly that a guest may be refused. */
export type Feature = "float" | "vector" | "exception";

/** Where a feature is used. */
export interface Use {
  readonly feature: Feature;
  /** `instruction f32.add`, `type f64`. */
  readonly what: string;
  /** Byte of the module. */
  readonly at: number;
  /** Index of the function; undefined outside of code. */
  readonly function: number | undefined;
}

const EXCEPTIONS: ReadonlySet<number> = new Set([
  OP.TRY,
  OP.CATCH,
  OP.THROW,
  OP.RETHROW,
  OP.THROW_REF,
  OP.DELEGATE,
  OP.CATCH_ALL,
  OP.TRY_TABLE,
]);
/** Opcodes behind the prefix of vectors, of whatever lanes. */
const VECTORS = 0x200;

/** What an opcode of the table is of; undefined where every guest may use it. */
export function featureOf(opcode: number): Feature | undefined {
  if (opcode >= VECTORS) return "vector";
  if (EXCEPTIONS.has(opcode)) return "exception";
  return /f32|f64/.test(NAME[opcode]!) ? "float" : undefined;
}

const TYPES: Readonly<Record<number, readonly [Feature, string]>> = {
  0x7d: ["float", "type f32"],
  0x7c: ["float", "type f64"],
  0x7b: ["vector", "type v128"],
  0x69: ["exception", "type exnref"],
  0x74: ["exception", "type nullexnref"],
};
const REF = 0x64;
const REF_NULL = 0x63;

/** Calls back for every use of a feature, in no order that means anything. */
class Scanner {
  #function: number | undefined;

  constructor(readonly module: Module, readonly r: Reader, readonly found: (use: Use) => void) {}

  #use(feature: Feature, what: string, at: number): void {
    this.found({ feature, what, at, function: this.#function });
  }

  /** A heap type, or the index of one: a signed integer of 33 bits. */
  #heapType(): void {
    const at = this.r.at;
    const byte = this.r.bytes[at]!;
    this.r.skipLeb(5);
    const type = TYPES[byte];
    if (type?.[0] === "exception") this.#use(type[0], type[1], at);
  }

  #valueType(): void {
    const { r } = this;
    const at = r.at;
    const byte = r.u8();
    const type = TYPES[byte];
    if (type) this.#use(type[0], type[1], at);
    else if (byte === REF || byte === REF_NULL) this.#heapType();
  }

  #valueTypes({ start, end }: Range): void {
    const { r } = this;
    for (r.at = start; r.at < end;) this.#valueType();
  }

  #limits(): void {
    const flags = this.r.u8();
    this.r.u32();
    if (flags & 1) this.r.u32();
  }

  #imports(): void {
    const { r } = this;
    for (let n = r.u32(); n > 0; n--) {
      r.name();
      r.name();
      const at = r.at;
      const kind = r.u8();
      if (kind === 0) r.u32();
      else if (kind === 1) {
        this.#valueType();
        this.#limits();
      } else if (kind === 2) this.#limits();
      else if (kind === 3) {
        this.#valueType();
        r.u8();
      } else {
        this.#use("exception", "tag", at);
        r.skip(1);
        r.u32();
      }
    }
  }

  #tables(): void {
    const { r, module: m } = this;
    for (const { type, init } of m.tables.slice(m.importedTables)) {
      r.at = type.start;
      this.#valueType();
      if (!init) continue;
      r.at = init.start;
      this.#expression();
    }
  }

  #globals(): void {
    const { r } = this;
    for (let n = r.u32(); n > 0; n--) {
      this.#valueType();
      r.u8();
      this.#expression();
    }
  }

  #elements(): void {
    const { r } = this;
    for (let n = r.u32(); n > 0; n--) {
      const at = r.at;
      const flags = r.u32();
      if (flags > 7) throw r.invalid(`element flags ${flags}`, "0 to 7 was expected", at);
      const isActive = (flags & 1) === 0;
      if (isActive && flags & 2) r.u32();
      if (isActive) this.#expression();
      const hasExpressions = (flags & 4) !== 0;
      if (flags & 3) {
        if (hasExpressions) this.#valueType();
        else r.u8();
      }
      for (let items = r.count("elements"); items > 0; items--) {
        if (hasExpressions) this.#expression();
        else r.u32();
      }
    }
  }

  #data(): void {
    const { r } = this;
    for (let n = r.u32(); n > 0; n--) {
      const at = r.at;
      const flags = r.u32();
      if (flags > 2) throw r.invalid(`data flags ${flags}`, "0 to 2 was expected", at);
      if (flags === 2) r.u32();
      if (flags !== 1) this.#expression();
      r.skip(r.u32());
    }
  }

  #code(): void {
    const { r, module: m } = this;
    const count = r.u32();
    if (count !== m.functions.length - m.importedFunctions) {
      throw r.invalid(`${count} bodies`, "as many as functions were expected");
    }
    for (let i = 0; i < count; i++) {
      const size = r.u32();
      const end = r.at + size;
      if (end > r.end) throw r.invalid(`body of ${size} bytes`, "it ends behind the section");
      this.#function = r.functionIndex = m.importedFunctions + i;
      for (let groups = r.count("groups of locals"); groups > 0; groups--) {
        r.u32();
        this.#valueType();
      }
      this.#expression();
      if (r.at !== end) throw r.invalid(`${end - r.at} more bytes`, "the function ended");
    }
    this.#function = undefined;
    r.functionIndex = -1;
  }

  /** Instructions up to and with the `end` that belongs to none of them. */
  #expression(): void {
    for (let depth = 1; depth > 0;) {
      const opcode = this.#instruction();
      if (opcode === OP.END || opcode === OP.DELEGATE) depth--;
      else if (
        opcode === OP.BLOCK || opcode === OP.LOOP || opcode === OP.IF || opcode === OP.TRY ||
        opcode === OP.TRY_TABLE
      ) depth++;
    }
  }

  #instruction(): number {
    const { r } = this;
    const at = r.at;
    let opcode = r.u8();
    if (opcode >= 0xfb) {
      const prefix = opcode;
      const sub = r.u32();
      opcode = prefix === 0xfc && sub < 0x100
        ? 0x100 + sub
        : prefix === 0xfd && sub < 0x200
        ? VECTORS + sub
        : -1;
      if (opcode < 0 || IMMEDIATE[opcode] === 0) {
        throw r.unsupported(`opcode 0x${prefix.toString(16)} ${sub}`, refusal(prefix), at);
      }
    }
    if (IMMEDIATE[opcode] === 0) {
      throw r.unsupported(`opcode 0x${opcode.toString(16)}`, refusal(opcode), at);
    }
    const feature = featureOf(opcode);
    if (feature) this.#use(feature, `instruction ${NAME[opcode]}`, at);
    this.#immediates(opcode);
    return opcode;
  }

  #immediates(opcode: number): void {
    const { r } = this;
    switch (IMMEDIATE[opcode]) {
      case IMM.NONE:
        return;
      case IMM.MEMARG:
        return this.#memarg();
      case IMM.MEMARG_LANE:
        this.#memarg();
        return r.skip(1);
      case IMM.LANE:
        return r.skip(1);
      case IMM.BYTES_4:
        return r.skip(4);
      case IMM.BYTES_8:
        return r.skip(8);
      case IMM.BYTES_16:
        return r.skip(16);
      case IMM.LEB32:
        return r.skipLeb(5);
      case IMM.LEB64:
        return r.skipLeb(10);
    }
    switch (opcode) {
      case OP.BLOCK:
      case OP.LOOP:
      case OP.IF:
      case OP.TRY:
        return this.#blockType();
      case OP.TRY_TABLE:
        this.#blockType();
        for (let n = r.count("handlers"); n > 0; n--) {
          if (r.u8() < 2) r.u32();
          r.u32();
        }
        return;
      case OP.ELSE:
      case OP.END:
      case OP.CATCH_ALL:
      case OP.THROW_REF:
      case OP.RETURN:
        return;
      case OP.BR_TABLE:
        for (let n = r.count("labels"); n > 0; n--) r.u32();
        r.u32();
        return;
      case OP.SELECT_T:
        for (let n = r.count("types"); n > 0; n--) this.#valueType();
        return;
      case OP.REF_NULL:
        return this.#heapType();
      case OP.CALL_INDIRECT:
      case OP.RETURN_CALL_INDIRECT:
      case OP.MEMORY_INIT:
      case OP.MEMORY_COPY:
      case OP.TABLE_INIT:
      case OP.TABLE_COPY:
        r.u32();
    }
    r.u32();
  }

  #memarg(): void {
    if (this.r.u32() & 64) this.r.u32();
    this.r.u32();
  }

  #blockType(): void {
    const { r } = this;
    const byte = r.bytes[r.at]!;
    if (byte === 0x40) r.skip(1);
    // A value type is a negative number of one byte, an index of a type is not negative.
    else if (byte === REF || byte === REF_NULL || (byte & 0xc0) === 0x40) this.#valueType();
    else r.skipLeb(5);
  }

  scan(): void {
    const { r, module: m } = this;
    for (const type of m.types) {
      this.#valueTypes(type.paramBytes);
      this.#valueTypes(type.resultBytes);
    }
    const within = (id: number, read: () => void) => {
      const range = m.sections.get(id);
      if (!range) return;
      r.at = range.start;
      r.end = range.end;
      read();
      if (r.at !== r.end) throw r.invalid(`${r.end - r.at} more bytes`, `section ${id} ended`);
    };
    within(SECTION.IMPORT, () => this.#imports());
    r.end = m.bytes.length;
    this.#tables();
    const tags = m.sections.get(SECTION.TAG);
    if (tags) this.#use("exception", "tag", tags.start);
    within(SECTION.GLOBAL, () => this.#globals());
    within(SECTION.ELEMENT, () => this.#elements());
    within(SECTION.CODE, () => this.#code());
    within(SECTION.DATA, () => this.#data());
  }
}

/** Calls `found` for every use of a {@link Feature} in a core module, which may throw. */
export function scanFeatures(bytes: Uint8Array, found: (use: Use) => void): Module {
  const module = decodeModule(bytes);
  new Scanner(module, new Reader(bytes), found).scan();
  return module;
}

const NAME_LENGTH_MAX = 80;

/** The name that a module gives to a function; what it says of itself is a claim of the guest. */
export function functionName({ bytes, names }: Module, index: number): string | undefined {
  if (!names) return;
  const r = new Reader(bytes, names.start, names.end);
  try {
    while (r.at < r.end) {
      const id = r.u8();
      const size = r.u32();
      const end = r.at + size;
      if (id !== 1) {
        r.skip(size);
        continue;
      }
      for (let n = r.count("names"); n > 0 && r.at < end; n--) {
        const at = r.u32();
        const name = r.name();
        if (at === index) return name.replace(/[^\x20-\x7e]/g, "?").slice(0, NAME_LENGTH_MAX);
      }
      return;
    }
  } catch {
    return; // names are only for people: malformed ones are none
  }
}
