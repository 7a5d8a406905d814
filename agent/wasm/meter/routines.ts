/**
 * The functions that the rewriter appends to a module: the slow paths of the checks, and one for
 * each kind of bulk operation and growth that the module uses.
 *
 * Bulk operations keep the meaning of the specification to the letter: nothing is written when any
 * part is out of bounds, overlapping copies come out right, and the instruction that traps is the
 * original one. Up to one chunk they are charged and run as they are; longer ones are first proven
 * to be in bounds and then run chunk by chunk, each charged and checked. The fuel goes in and out as
 * an operand: a store and a load of the global around each would cost more than a short copy. Short
 * copies inside a memory are loads and stores: V8 calls out for the instruction.
 *
 * @module
 */
import { Writer } from "./binary.ts";
import { type Module, type Range } from "./module.ts";
import { OP } from "./opcodes.ts";

/** Bytes of memory, and elements of tables, that are worked on between two checks. */
const CHUNK_BYTES = 65_536;
const CHUNK_ELEMENTS = 4096;
/** Bytes that a copy does by loads and stores. */
const SHORT_BYTES_MAX = 64;
/** Bytes of memory for one unit of fuel, as a power of two. */
const BYTES_PER_UNIT_LOG2 = 4;
/** Units for a page of grown memory, as a power of two. */
const UNITS_PER_PAGE_LOG2 = 6;
const PAGES_MAX = 65_536;
/** No engine lets a table have more elements. */
const ELEMENTS_MAX = 10_000_000;

/** What the global "stack" is set to when a guest used it up; it stays far below zero. */
export const STACK_EXHAUSTED = -0x40000000;

const I32 = 0x7f;
const VOID = 0x40;
const I32_EQZ = 0x45;
const I32_LT_S = 0x48;
const I32_LT_U = 0x49;
const I32_GT_U = 0x4b;
const I32_LE_U = 0x4d;
const I32_GE_S = 0x4e;
const I64_GT_U = 0x56;
const I32_ADD = 0x6a;
const I32_SUB = 0x6b;
const I32_AND = 0x71;
const I32_OR = 0x72;
const I32_SHL = 0x74;
const I32_SHR_U = 0x76;
const I64_ADD = 0x7c;
const I64_SHL = 0x86;
const I64_EXTEND_I32_U = 0xad;
const I64_SHR_U = 0x88;
const I64_EQZ = 0x50;
const I64_CONST = 0x42;

/** Indices of what the rewriter adds to the import section, in the rewritten module. */
export interface Imports {
  readonly fuel: number;
  readonly stack: number;
  readonly outline: number;
  readonly refuel: number;
  readonly grow: number;
}

/** A function to be appended. */
interface Routine {
  readonly name: string;
  type: number;
  /** Locals and code, without the length. */
  body: Uint8Array;
}

const keyOf = (type: Uint8Array) => String.fromCharCode(...type);

/** What {@link Routines} hold at a time. */
export interface Mark {
  readonly routines: number;
  readonly types: number;
}

/** Collects the functions and types to be appended to one module. */
export class Routines {
  readonly routines: Routine[] = [];
  /** Function types to be appended, encoded. */
  readonly types: Uint8Array[] = [];
  readonly #typeIndices = new Map<string, number>();
  readonly #routineIndices = new Map<string, number>();

  /** `firstFunction` is the index that the first routine will have. */
  constructor(
    readonly module: Module,
    readonly imports: Imports,
    readonly firstFunction: number,
  ) {}

  /** Index of a function type; the ranges name bytes of the module, or bytes are given. */
  type(
    params: readonly (Range | number)[],
    results: readonly (Range | number)[],
    n?: number,
  ): number {
    const w = new Writer(32).u8(0x60);
    for (
      const [list, count] of [[params, params.length], [results, n ?? results.length]] as const
    ) {
      w.u32(count);
      for (const item of list) {
        if (typeof item === "number") w.u8(item);
        else w.copy(this.module.bytes, item.start, item.end);
      }
    }
    const bytes = w.bytes();
    const key = keyOf(bytes);
    let index = this.#typeIndices.get(key);
    if (index === undefined) {
      index = this.module.types.length + this.types.length;
      this.types.push(bytes);
      this.#typeIndices.set(key, index);
    }
    return index;
  }

  #routine(name: string, build: () => { type: number; code: Writer }): number {
    let index = this.#routineIndices.get(name);
    if (index === undefined) {
      const { type, code } = build();
      index = this.firstFunction + this.routines.length;
      this.routines.push({ name, type, body: code.bytes() });
      this.#routineIndices.set(name, index);
    }
    return index;
  }

  /** The index of one more function, whose type and body follow. */
  reserve(name: string): number {
    return this.firstFunction + this.routines.push({ name, type: 0, body: new Uint8Array(0) }) - 1;
  }

  /** A function for which {@link reserve} gave the index. */
  reserved(index: number): Routine {
    return this.routines[index - this.firstFunction]!;
  }

  /** What there is now, for {@link rollback}. */
  mark(): Mark {
    return { routines: this.routines.length, types: this.types.length };
  }

  /** Forgets what came since; its indices will be given again. */
  rollback(mark: Mark): void {
    while (this.routines.length > mark.routines) {
      const { name } = this.routines.pop()!;
      const index = this.firstFunction + this.routines.length;
      if (this.#routineIndices.get(name) === index) this.#routineIndices.delete(name);
    }
    while (this.types.length > mark.types) this.#typeIndices.delete(keyOf(this.types.pop()!));
  }

  /** `() -> ()`: asks the host for fuel; traps when it gives none. */
  pause(): number {
    return this.#routine("realm.pause", () => {
      const code = new Writer(16).u8(0).op(OP.CALL, this.imports.refuel);
      code.u8(OP.IF, VOID, OP.UNREACHABLE, OP.END, OP.END);
      return { type: this.type([], []), code };
    });
  }

  /**
   * `() -> ()`: at the entry of a function, when "fuel" or "stack" is below zero. An exhausted
   * stack is marked by {@link STACK_EXHAUSTED} and traps.
   */
  enter(): number {
    const pause = this.pause();
    return this.#routine("realm.enter", () => {
      const { fuel, stack } = this.imports;
      const code = new Writer(64).u8(0);
      code.op(OP.GLOBAL_GET, stack).u8(OP.I32_CONST, 0, I32_LT_S, OP.IF, VOID);
      code.u8(OP.I32_CONST).s32(STACK_EXHAUSTED).op(OP.GLOBAL_SET, stack);
      code.u8(OP.UNREACHABLE, OP.END);
      code.op(OP.GLOBAL_GET, fuel).u8(OP.I32_CONST, 0, I32_LT_S, OP.IF, VOID);
      code.op(OP.CALL, pause).u8(OP.END, OP.END);
      return { type: this.type([], []), code };
    });
  }

  /**
   * `(bytes) -> may`: at the head of a loop that is outlined, when "fuel" may be below zero. Takes
   * the bytes from "outline", and gives 1 when there were as many.
   */
  outline(): number {
    const enter = this.enter();
    return this.#routine("realm.outline", () => {
      const { outline } = this.imports;
      const code = new Writer(64).u8(1, 1, I32).op(OP.CALL, enter);
      code.op(OP.GLOBAL_GET, outline).u8(OP.LOCAL_GET, 0, I32_SUB, OP.LOCAL_TEE, 1);
      code.u8(OP.I32_CONST, 0, I32_LT_S, OP.IF, VOID, OP.I32_CONST, 0, OP.RETURN, OP.END);
      code.u8(OP.LOCAL_GET, 1).op(OP.GLOBAL_SET, outline).u8(OP.I32_CONST, 1, OP.END);
      return { type: this.type([I32], [I32]), code };
    });
  }

  /**
   * The routine that stands for a bulk or growing instruction with these immediates. One for a bulk
   * operation takes the fuel besides, and gives what is left; one that grows takes it from the
   * global, since the host is asked.
   */
  forInstruction(op: number, a: number, b: number): number {
    switch (op) {
      case OP.MEMORY_FILL:
        return this.#bulk(
          `realm.memory.fill ${a}`,
          I32,
          bytesOf(a),
          undefined,
          (w) => w.op(0xfc, 11).u32(a),
        );
      case OP.MEMORY_COPY:
        return this.#bulk(
          `realm.memory.copy ${a} ${b}`,
          I32,
          bytesOf(a),
          { size: bytesOf(b).size, overlaps: a === b },
          (w) => w.op(0xfc, 10).u32(a).u32(b),
          { to: a, from: b },
        );
      case OP.MEMORY_INIT:
        return this.#bulk(
          `realm.memory.init ${a} ${b}`,
          I32,
          bytesOf(b),
          { overlaps: false },
          (w) => w.op(0xfc, 8).u32(a).u32(b),
        );
      case OP.TABLE_FILL: {
        const type = this.module.tables[a]!.type;
        return this.#bulk(
          `realm.table.fill ${a}`,
          type,
          elementsOf(a),
          undefined,
          (w) => w.op(0xfc, 17).u32(a),
        );
      }
      case OP.TABLE_COPY:
        return this.#bulk(
          `realm.table.copy ${a} ${b}`,
          I32,
          elementsOf(a),
          { size: elementsOf(b).size, overlaps: a === b },
          (w) => w.op(0xfc, 14).u32(a).u32(b),
        );
      case OP.TABLE_INIT:
        return this.#bulk(
          `realm.table.init ${a} ${b}`,
          I32,
          elementsOf(b),
          { overlaps: false },
          (w) => w.op(0xfc, 12).u32(a).u32(b),
        );
      case OP.MEMORY_GROW:
        return this.#memoryGrow(a);
      default:
        return this.#tableGrow(a);
    }
  }

  /**
   * Code that takes an amount from the fuel, which is in a local, and asks for more below zero;
   * "fuel" is used for that alone.
   */
  #pay(w: Writer, local: number, amount: (w: Writer) => void): void {
    const { fuel } = this.imports;
    w.op(OP.LOCAL_GET, local);
    amount(w);
    w.u8(I32_SUB).op(OP.LOCAL_TEE, local).u8(OP.I32_CONST, 0, I32_LT_S, OP.IF, VOID);
    w.op(OP.LOCAL_GET, local).op(OP.GLOBAL_SET, fuel).op(OP.CALL, this.pause());
    w.op(OP.GLOBAL_GET, fuel).op(OP.LOCAL_SET, local).u8(OP.END);
  }

  /**
   * A bulk operation `(to, second, length, fuel) -> fuel`. `second` is a value to fill with when there is
   * no `source`, else an offset into a memory or table of `size`, or into a segment: the
   * instruction itself, with length zero, then says whether the offset is in bounds.
   */
  #bulk(
    name: string,
    second: Range | number,
    unit: Unit,
    source: { size?: (w: Writer) => void; overlaps: boolean } | undefined,
    instruction: (w: Writer) => void,
    memories?: { to: number; from: number },
  ): number {
    return this.#routine(name, () => {
      const TO = 0, SECOND = 1, LENGTH = 2, FUEL = 3;
      const w = new Writer(256).u8(0);
      const get = (...locals: number[]) => {
        for (const local of locals) w.op(OP.LOCAL_GET, local);
      };
      const constant = (value: number) => w.u8(OP.I32_CONST).s32(value);
      const longerThanChunk = () => {
        get(LENGTH);
        constant(unit.chunk).u8(I32_GT_U);
      };
      /** The sum of an offset and the length, which may need 33 bits. */
      const endOf = (offset: number) => {
        get(offset);
        w.u8(I64_EXTEND_I32_U);
        get(LENGTH);
        w.u8(I64_EXTEND_I32_U, I64_ADD);
      };
      /** Consumes a condition: out of bounds, the instruction traps by itself. */
      const trapIf = () => {
        w.u8(OP.IF, VOID);
        get(TO, SECOND, LENGTH);
        instruction(w);
        w.u8(OP.UNREACHABLE, OP.END);
      };
      /** One chunk at the given offsets, of the size that is on the operand stack's top. */
      const payChunk = () => this.#pay(w, FUEL, () => constant(unit.chunk >>> unit.perUnitLog2));
      const advance = (local: number, operator: number) => {
        get(local);
        constant(unit.chunk).u8(operator).op(OP.LOCAL_SET, local);
      };

      /** At most one chunk: every unit begun is paid. */
      const payRest = () =>
        this.#pay(w, FUEL, () => {
          get(LENGTH);
          if (unit.perUnitLog2 === 0) return;
          constant((1 << unit.perUnitLog2) - 1).u8(I32_ADD);
          constant(unit.perUnitLog2).u8(I32_SHR_U);
        });
      if (memories) {
        // Offsets below 2 GiB: what is added to them does not wrap around.
        get(LENGTH);
        constant(SHORT_BYTES_MAX).u8(I32_LE_U);
        get(TO, SECOND);
        w.u8(I32_OR);
        constant(0).u8(I32_GE_S, I32_AND, OP.IF, VOID);
        payRest();
        writeShortCopy(w, memories.to, memories.from, () => {
          get(TO, SECOND, LENGTH);
          instruction(w);
        });
        get(FUEL);
        w.u8(OP.RETURN, OP.END);
      }
      longerThanChunk();
      w.u8(OP.IF, VOID);
      endOf(TO);
      unit.size(w);
      w.u8(I64_GT_U);
      trapIf();
      if (source?.size) {
        endOf(SECOND);
        source.size(w);
        w.u8(I64_GT_U);
        trapIf();
      } else if (source) {
        endOf(SECOND);
        w.u8(I64_CONST, 32, I64_SHR_U, I64_EQZ, I32_EQZ);
        trapIf();
        constant(0);
        get(SECOND, LENGTH);
        w.u8(I32_ADD);
        constant(0);
        instruction(w);
      }
      if (source?.overlaps) {
        // Backwards when the source lies in front: its end would be overwritten otherwise.
        get(SECOND, TO);
        w.u8(I32_LT_U, OP.IF, VOID, OP.LOOP, VOID);
        payChunk();
        advance(LENGTH, I32_SUB);
        for (const offset of [TO, SECOND]) {
          get(offset, LENGTH);
          w.u8(I32_ADD);
        }
        constant(unit.chunk);
        instruction(w);
        longerThanChunk();
        w.u8(OP.BR_IF, 0, OP.END, OP.ELSE);
      }
      w.u8(OP.LOOP, VOID);
      payChunk();
      get(TO, SECOND);
      constant(unit.chunk);
      instruction(w);
      advance(TO, I32_ADD);
      if (source) advance(SECOND, I32_ADD);
      advance(LENGTH, I32_SUB);
      longerThanChunk();
      w.u8(OP.BR_IF, 0, OP.END);
      if (source?.overlaps) w.u8(OP.END);
      w.u8(OP.END);

      payRest();
      get(TO, SECOND, LENGTH);
      instruction(w);
      get(FUEL);
      w.u8(OP.END);
      return { type: this.type([I32, second, I32, I32], [I32]), code: w };
    });
  }

  /** `(pages) -> previous pages or -1`. */
  #memoryGrow(memory: number): number {
    return this.#routine(`realm.memory.grow ${memory}`, () => {
      const w = new Writer(128).u8(1, 2, I32);
      const size = () => w.op(OP.MEMORY_SIZE, memory);
      this.#grow(w, 0, 0, 1, PAGES_MAX, UNITS_PER_PAGE_LOG2, size, () => {
        w.op(OP.LOCAL_GET, 0).op(OP.MEMORY_GROW, memory);
      });
      return { type: this.type([I32], [I32]), code: w };
    });
  }

  /** `(initial value, elements) -> previous elements or -1`. */
  #tableGrow(table: number): number {
    return this.#routine(`realm.table.grow ${table}`, () => {
      const w = new Writer(128).u8(1, 2, I32);
      const size = () => w.op(0xfc, 16).u32(table);
      this.#grow(w, 1, 1, 2, ELEMENTS_MAX, 0, size, () => {
        w.op(OP.LOCAL_GET, 0).op(OP.LOCAL_GET, 1).op(0xfc, 15).u32(table);
      });
      return { type: this.type([this.module.tables[table]!.type, I32], [I32]), code: w };
    });
  }

  #grow(
    w: Writer,
    kind: number,
    units: number,
    result: number,
    unitsMax: number,
    costLog2: number,
    size: () => void,
    grow: () => void,
  ): void {
    const { fuel } = this.imports;
    const left = result + 1;
    const refuse = () => w.u8(OP.IF, VOID, OP.I32_CONST, 0x7f, OP.RETURN, OP.END);
    // Growing by nothing asks for the size.
    w.op(OP.LOCAL_GET, units).u8(I32_EQZ, OP.IF, VOID);
    size();
    w.u8(OP.RETURN, OP.END);
    w.op(OP.LOCAL_GET, units).u8(OP.I32_CONST).s32(unitsMax).u8(I32_GT_U);
    refuse();
    w.u8(OP.I32_CONST, kind).op(OP.LOCAL_GET, units).op(OP.CALL, this.imports.grow);
    refuse();
    w.op(OP.GLOBAL_GET, fuel).op(OP.LOCAL_SET, left);
    this.#pay(w, left, () => w.op(OP.LOCAL_GET, units).u8(OP.I32_CONST, costLog2, I32_SHL));
    w.op(OP.LOCAL_GET, left).op(OP.GLOBAL_SET, fuel);
    grow();
    w.op(OP.LOCAL_TEE, result).u8(OP.I32_CONST, 0x7f, 0x46, OP.IF, VOID);
    w.u8(OP.I32_CONST, kind, OP.I32_CONST, 0).op(OP.LOCAL_GET, units).u8(I32_SUB);
    w.op(OP.CALL, this.imports.grow).u8(0x1a, OP.END);
    w.op(OP.LOCAL_GET, result).u8(OP.END);
  }
}

/** Loads and stores that a short copy is made of: their opcodes and how many bytes they move. */
const MOVES = [
  { load: [0x28], store: [0x36], bytes: 4 },
  { load: [0x29], store: [0x37], bytes: 8 },
  { load: [0xfd, 0], store: [0xfd, 11], bytes: 16 },
] as const;

/**
 * Copies at most {@link SHORT_BYTES_MAX} bytes between offsets (locals 0 and 1, length in local 2).
 * All is loaded before anything is stored, and what lies highest is stored first: it is the one that
 * traps when something is out of bounds.
 */
function writeShortCopy(w: Writer, to: number, from: number, shortest: () => void): void {
  const access = (opcode: readonly number[], memory: number, offset: number) => {
    w.u8(...opcode);
    if (memory === 0) w.u8(0).u32(offset);
    else w.u8(0x40).u32(memory).u32(offset);
  };
  /** As many pieces from the start and as many up to the end, which may overlap. */
  const copy = ({ load, store, bytes }: typeof MOVES[number], pieces: number) => {
    const offsets = Array.from({ length: pieces }, (_, i) => i * bytes);
    for (const fromEnd of [false, true]) {
      for (const offset of offsets) {
        for (const local of [0, 1]) {
          w.op(OP.LOCAL_GET, local);
          if (fromEnd) {
            w.op(OP.LOCAL_GET, 2).u8(I32_ADD, OP.I32_CONST).s32(pieces * bytes).u8(I32_SUB);
          }
        }
        access(load, from, offset);
      }
    }
    for (const offset of [...offsets, ...offsets].toReversed()) access(store, to, offset);
  };
  for (const move of MOVES) {
    w.op(OP.LOCAL_GET, 2).u8(OP.I32_CONST).s32(move.bytes).u8(I32_LT_U, OP.IF, VOID);
    if (move === MOVES[0]) shortest();
    else copy(MOVES[MOVES.indexOf(move) - 1]!, 1);
    w.u8(OP.ELSE);
  }
  w.op(OP.LOCAL_GET, 2).u8(OP.I32_CONST).s32(SHORT_BYTES_MAX / 2).u8(I32_GT_U, OP.IF, VOID);
  copy(MOVES[2], 2);
  w.u8(OP.ELSE);
  copy(MOVES[2], 1);
  w.u8(OP.END);
  for (const _ of MOVES) w.u8(OP.END);
}

/** What a bulk operation works on: its chunk, its price, and code that gives its size as i64. */
interface Unit {
  readonly chunk: number;
  readonly perUnitLog2: number;
  readonly size: (w: Writer) => void;
}

function bytesOf(memory: number): Unit {
  return {
    chunk: CHUNK_BYTES,
    perUnitLog2: BYTES_PER_UNIT_LOG2,
    size: (w) => w.op(OP.MEMORY_SIZE, memory).u8(I64_EXTEND_I32_U, I64_CONST, 16, I64_SHL),
  };
}

function elementsOf(table: number): Unit {
  return {
    chunk: CHUNK_ELEMENTS,
    perUnitLog2: 0,
    size: (w) => w.op(0xfc, 16).u32(table).u8(I64_EXTEND_I32_U),
  };
}
