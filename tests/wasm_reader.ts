/**
 * Reads core modules straight from the binary format, for tests that judge what the metering
 * rewriter wrote: nothing here is shared with the rewriter, so that a mistake of its decoder is not
 * repeated.
 *
 * Opcodes are one number: the byte itself, `0x100 + n` behind the prefix 0xFC, `0x200 + n` behind
 * 0xFD. Throws Error for bytes that it does not understand; modules are expected to be valid.
 * Specification: https://webassembly.github.io/spec/core/binary/index.html
 *
 * @module
 */

/** One instruction. `a` and `b` are its first two indices, or the value of an `i32.const`. */
export interface Instruction {
  readonly op: number;
  readonly start: number;
  readonly end: number;
  readonly a: number;
  readonly b: number;
  /** Of `br_table` all labels, of `try_table` those of its clauses. */
  readonly labels: readonly number[];
}

/** A function type: the encoded value types, one string of bytes each. */
export interface FunctionType {
  readonly params: readonly string[];
  readonly results: readonly string[];
}

/** An import; `type` is the encoded description behind its kind. */
export interface Import {
  readonly module: string;
  readonly name: string;
  readonly kind: number;
  readonly type: Uint8Array;
}

/** A defined function. */
export interface Code {
  readonly locals: readonly { readonly count: number; readonly type: string }[];
  /** Offset of the first instruction, and behind the last. */
  readonly start: number;
  readonly end: number;
  readonly instructions: readonly Instruction[];
}

/** Limits of a memory or table. */
export interface Limits {
  readonly min: number;
  readonly max: number | undefined;
}

/** A module. Index spaces hold what is imported first. */
export interface Wasm {
  readonly bytes: Uint8Array;
  readonly sections: ReadonlyMap<number, { readonly start: number; readonly end: number }>;
  readonly types: readonly FunctionType[];
  readonly imports: readonly Import[];
  /** Type index of each function. */
  readonly functions: readonly number[];
  readonly importedFunctions: number;
  readonly globals: number;
  readonly importedGlobals: number;
  readonly memories: readonly Limits[];
  readonly tables: readonly Limits[];
  readonly exports: readonly {
    readonly name: string;
    readonly kind: number;
    readonly index: number;
  }[];
  readonly codes: readonly Code[];
  /** Functions that may be called by reference: in element segments, and those of `ref.func`. */
  readonly referenced: ReadonlySet<number>;
}

/** What an opcode is followed by, as letters: see {@link Cursor.immediates}. */
function immediatesOf(op: number): string {
  if (op >= 0x28 && op <= 0x3e) return "m";
  if (op >= 0x45 && op <= 0xc4) return "";
  if (op >= 0x200) {
    const sub = op - 0x200;
    if (sub <= 11 || sub === 92 || sub === 93) return "m";
    if (sub === 12 || sub === 13) return "16";
    if (sub >= 21 && sub <= 34) return "1";
    if (sub >= 84 && sub <= 91) return "m1";
    if (sub <= 0x113) return "";
  }
  if (op >= 0x100 && op <= 0x107) return "";
  const found = IMMEDIATES[op];
  if (found === undefined) throw new Error(`opcode 0x${op.toString(16)}`);
  return found;
}

const IMMEDIATES: Record<number, string> = {
  0x00: "",
  0x01: "",
  0x02: "t",
  0x03: "t",
  0x04: "t",
  0x05: "",
  0x06: "t",
  0x07: "i",
  0x08: "i",
  0x09: "i",
  0x0a: "",
  0x0b: "",
  0x0c: "i",
  0x0d: "i",
  0x0e: "L",
  0x0f: "",
  0x10: "i",
  0x11: "ii",
  0x12: "i",
  0x13: "ii",
  0x14: "i",
  0x15: "i",
  0x18: "i",
  0x19: "",
  0x1a: "",
  0x1b: "",
  0x1c: "V",
  0x1f: "tC",
  0x20: "i",
  0x21: "i",
  0x22: "i",
  0x23: "i",
  0x24: "i",
  0x25: "i",
  0x26: "i",
  0x3f: "i",
  0x40: "i",
  0x41: "s",
  0x42: "S",
  0x43: "4",
  0x44: "8",
  0xd0: "h",
  0xd1: "",
  0xd2: "i",
  0xd4: "",
  0xd5: "i",
  0xd6: "i",
  0x108: "ii",
  0x109: "i",
  0x10a: "ii",
  0x10b: "i",
  0x10c: "ii",
  0x10d: "i",
  0x10e: "ii",
  0x10f: "i",
  0x110: "i",
  0x111: "i",
};

const NO_LABELS: readonly number[] = [];

class Cursor {
  labels: number[] = [];
  indices: number[] = [];
  readonly referenced = new Set<number>();
  constructor(readonly bytes: Uint8Array, public at: number) {}

  byte(): number {
    if (this.at >= this.bytes.length) throw new Error("the module ends too early");
    return this.bytes[this.at++]!;
  }

  u32(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.byte();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    throw new Error(`number at ${this.at}`);
  }

  /** A signed number of up to ten bytes; exact where it fits 32 bits. */
  signed(): number {
    let value = 0n;
    for (let shift = 0n;; shift += 7n) {
      const byte = this.byte();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return Number(BigInt.asIntN(Number(shift) + 7, value));
      if (shift > 63n) throw new Error(`number at ${this.at}`);
    }
  }

  name(): string {
    const length = this.u32();
    this.at += length;
    return new TextDecoder().decode(this.bytes.subarray(this.at - length, this.at));
  }

  /** The bytes of a value type. */
  valueType(): string {
    const start = this.at;
    const byte = this.byte();
    if (byte === 0x63 || byte === 0x64) this.signed();
    return String.fromCharCode(...this.bytes.subarray(start, this.at));
  }

  limits(): Limits {
    const flags = this.u32();
    if (flags > 1) throw new Error(`limits 0x${flags.toString(16)}`);
    return { min: this.u32(), max: flags & 1 ? this.u32() : undefined };
  }

  /** Reads immediates: `i`ndex, `L`abels, block `t`ype, catch `C`lauses, `V`alue types, heap type. */
  immediates(letters: string): void {
    switch (letters) {
      case "":
        return;
      case "16":
        this.at += 16;
        return;
    }
    for (const letter of letters) {
      switch (letter) {
        case "i":
          this.indices.push(this.u32());
          break;
        case "s":
          this.indices.push(this.signed());
          break;
        case "S":
        case "h":
          this.signed();
          break;
        case "t":
          if (this.bytes[this.at] === 0x63 || this.bytes[this.at] === 0x64) this.valueType();
          else this.signed();
          break;
        case "m":
          if (this.u32() & 0x40) this.u32();
          // An offset of a 64-bit memory may be longer.
          this.signed();
          break;
        case "V":
          for (let n = this.u32(); n > 0; n--) this.valueType();
          break;
        case "L":
          for (let n = this.u32(); n >= 0; n--) this.labels.push(this.u32());
          break;
        case "C":
          for (let n = this.u32(); n > 0; n--) {
            if (this.byte() < 2) this.u32();
            this.labels.push(this.u32());
          }
          break;
        default:
          this.at += Number(letter);
      }
    }
  }

  instruction(): Instruction {
    const start = this.at;
    let op = this.byte();
    if (op === 0xfc) op = 0x100 + this.u32();
    else if (op === 0xfd) op = 0x200 + this.u32();
    this.indices.length = 0;
    this.labels = [];
    this.immediates(immediatesOf(op));
    const [a = 0, b = 0] = this.indices;
    if (op === 0xd2) this.referenced.add(a);
    const labels = this.labels.length > 0 ? this.labels : NO_LABELS;
    return { op, start, end: this.at, a, b, labels };
  }

  expression(): void {
    while (this.instruction().op !== 0x0b);
  }
}

function readCode(r: Cursor, end: number): Code {
  const locals = [];
  for (let n = r.u32(); n > 0; n--) locals.push({ count: r.u32(), type: r.valueType() });
  const start = r.at;
  const instructions: Instruction[] = [];
  while (r.at < end) instructions.push(r.instruction());
  if (r.at !== end) throw new Error(`function ends at ${r.at}, not ${end}`);
  return { locals, start, end, instructions };
}

/** Reads a module. */
export function readWasm(bytes: Uint8Array): Wasm {
  const sections = new Map<number, { start: number; end: number }>();
  const r = new Cursor(bytes, 8);
  while (r.at < bytes.length) {
    const id = r.byte();
    const length = r.u32();
    if (id !== 0) sections.set(id, { start: r.at, end: r.at + length });
    r.at += length;
  }
  const each = <T>(id: number, read: (i: number) => T): T[] => {
    const section = sections.get(id);
    if (!section) return [];
    r.at = section.start;
    const items = Array.from({ length: r.u32() }, (_, i) => read(i));
    if (r.at !== section.end) throw new Error(`section ${id} ends at ${r.at}, not ${section.end}`);
    return items;
  };

  const types = each(1, () => {
    const form = r.byte();
    if (form !== 0x60) throw new Error(`type 0x${form.toString(16)}`);
    const list = () => Array.from({ length: r.u32() }, () => r.valueType());
    return { params: list(), results: list() };
  });
  const functions: number[] = [], memories: Limits[] = [], tables: Limits[] = [];
  let globals = 0;
  const imports = each(2, () => {
    const module = r.name(), name = r.name(), kind = r.byte(), start = r.at;
    if (kind === 0) functions.push(r.u32());
    else if (kind === 1) {
      r.valueType();
      tables.push(r.limits());
    } else if (kind === 2) memories.push(r.limits());
    else if (kind === 3) {
      r.valueType();
      r.byte();
      globals++;
    } else if (kind === 4) {
      r.byte();
      r.u32();
    } else throw new Error(`import kind ${kind}`);
    return { module, name, kind, type: bytes.subarray(start, r.at) };
  });
  const importedFunctions = functions.length, importedGlobals = globals;
  functions.push(...each(3, () => r.u32()));
  tables.push(...each(4, () => {
    const hasInit = bytes[r.at] === 0x40;
    if (hasInit) r.at += 2;
    r.valueType();
    const limits = r.limits();
    if (hasInit) r.expression();
    return limits;
  }));
  memories.push(...each(5, () => r.limits()));
  globals += each(6, () => {
    r.valueType();
    r.byte();
    r.expression();
  }).length;
  const exports = each(7, () => ({ name: r.name(), kind: r.byte(), index: r.u32() }));
  each(9, () => {
    const flags = r.u32();
    if (!(flags & 1)) {
      if (flags & 2) r.u32();
      r.expression();
    }
    const hasExpressions = (flags & 4) !== 0;
    if (flags & 3) {
      if (hasExpressions) r.valueType();
      else r.byte();
    }
    for (let n = r.u32(); n > 0; n--) {
      if (hasExpressions) r.expression();
      else r.referenced.add(r.u32());
    }
  });
  const codes = each(10, () => {
    const length = r.u32();
    return readCode(r, r.at + length);
  });
  if (codes.length !== functions.length - importedFunctions) throw new Error("functions lack code");
  return {
    bytes,
    sections,
    types,
    imports,
    functions,
    importedFunctions,
    globals,
    importedGlobals,
    memories,
    tables,
    exports,
    codes,
    referenced: r.referenced,
  };
}
