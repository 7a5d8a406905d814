/**
 * Random WebAssembly modules for testing the metering rewriter: valid, always ending, and each
 * accompanied by its own oracle.
 *
 * Every function is written twice at once: plain, and with an `i64` counter that is raised by the
 * price of each instruction in front of it, one instruction at a time. The counter is exported as
 * "count"; the rewriter's fuel must agree with it whenever the code did not trap.
 *
 * Programs end because loops count down and because every function gives up once the exported
 * global "budget" is used up. The same seed gives the same module.
 *
 * @module
 */
import { Writer } from "../agent/wasm/meter/binary.ts";
import { ACCESSES, type Operation, OPERATIONS } from "./wasm_operations.ts";

/** What a module may contain. Exceptions come in two encodings that one module cannot mix. */
export interface Features {
  readonly exceptions: "none" | "legacy" | "exnref";
  readonly simd: boolean;
  /** Vector instructions of which engines may give different results; nothing depends on those. */
  readonly relaxedSimd: boolean;
  readonly tailCalls: boolean;
  readonly memories: 1 | 2 | 3;
}

/** A generated module. */
export interface Generated {
  readonly seed: number;
  readonly features: Features;
  readonly plain: Uint8Array<ArrayBuffer>;
  /** The same, counting instruction by instruction into the exported global "count". */
  readonly counted: Uint8Array<ArrayBuffer>;
  /** Exported functions with arguments to call them with, as they are encoded in JSON. */
  readonly calls: readonly Call[];
}

/** A call of an exported function; types are names of the text format. */
export interface Call {
  readonly name: string;
  readonly args: readonly Argument[];
  readonly params: readonly string[];
  readonly results: readonly string[];
}

/** An argument: a number, the digits of an i64, or a null reference. */
export type Argument = number | { readonly i64: string } | null;

const I32 = 0x7f, I64 = 0x7e, F32 = 0x7d, F64 = 0x7c, V128 = 0x7b, FUNCREF = 0x70, EXTERNREF = 0x6f;
const VOID = 0x40;
const TYPE_NAME: Record<number, string> = {
  [I32]: "i32",
  [I64]: "i64",
  [F32]: "f32",
  [F64]: "f64",
  [FUNCREF]: "funcref",
  [EXTERNREF]: "externref",
};
type Type = number;

interface Signature {
  readonly params: readonly Type[];
  readonly results: readonly Type[];
}

interface Label {
  /** Types that a branch to it takes. */
  readonly types: readonly Type[];
  /** Local that counts down, when the label is the head of a loop whose counter must be positive. */
  readonly counter?: number;
  /** The label is a `catch` block of the legacy encoding. */
  caught?: boolean;
}

/** A small generator of numbers, seeded (mulberry32). */
export class Dice {
  #state: number;
  constructor(seed: number) {
    this.#state = seed | 0;
  }
  /** A number of 32 random bits. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t ^ (t >>> 14)) >>> 0;
  }
  /** At least 0 and below `n`. */
  below(n: number): number {
    return this.next() % n;
  }
  /** True once in `n` times. */
  oneIn(n: number): boolean {
    return this.below(n) === 0;
  }
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }
}

const BUDGET = 0, COUNTERS = 3;
/** Globals that the program itself uses, behind the budget. */
const VARIABLES: readonly Type[] = [I32, I64];
const TABLE_SIZE = 8;
/** Instructions by what they give, apart from those of vectors. */
function operationsFor(type: Type, withVectors: boolean): Operation[] {
  return OPERATIONS.filter((o) =>
    o.result === type && !o.isRelaxed && (withVectors || !o.params.includes(V128))
  );
}
const CHOICES = [false, true].map((withVectors) =>
  new Map([I32, I64, F32, F64, V128].map((type) => [type, operationsFor(type, withVectors)]))
);
const RELAXED = OPERATIONS.filter((o) => o.isRelaxed);

/** Numbers of the statements that hold neither loops nor calls nor bulk operations. */
const SHORT_LOOP_STATEMENTS = [0, 3, 7, 10, 11, 13, 14, 15, 16];
const PAGES = 2;

/** Writes one function in both forms. */
class FunctionWriter {
  readonly plain = new Writer();
  readonly counted = new Writer();
  readonly locals: Type[];
  readonly labels: Label[] = [];
  /** Statements that may still be generated; keeps functions small. */
  size = 60;
  /** Local of the counting form; the program must not see it. */
  scratch = 0;
  inShortLoop = false;
  /** How many labels are outside of the short loop that this is in. */
  shortLoopAt = 0;
  /** Locals that are assigned to; those that count loops down are not among them. */
  readonly variables: number[] = [];
  /** By type, a local that is used for a moment. */
  readonly #spare = new Map<Type, number>();

  constructor(readonly g: Generator, readonly signature: Signature, readonly dice: Dice) {
    this.locals = [...signature.params];
  }

  /** Bytes that cost nothing. */
  free(...bytes: number[]): void {
    this.plain.u8(...bytes);
    this.counted.u8(...bytes);
  }

  /** An unsigned immediate. */
  index(value: number): void {
    this.plain.u32(value);
    this.counted.u32(value);
  }

  #count(price: number): void {
    const { counter } = this.g;
    this.counted.op(0x23, counter).u8(0x42).s32(price).u8(0x7c).op(0x24, counter);
  }

  /** One instruction of price 1. */
  op(...bytes: number[]): void {
    this.#count(1);
    this.free(...bytes);
  }

  opIndex(opcode: number, index: number): void {
    this.op(opcode);
    this.index(index);
  }

  constant(value: number): void {
    this.op(0x41);
    this.plain.s32(value);
    this.counted.s32(value);
  }

  /** Counts `(top of the operand stack + add) >> shift` more, and leaves the operand. */
  countOperand(add: number, shift: number, left = 0): void {
    const { counter } = this.g;
    this.counted.op(0x22, this.scratch).op(0x23, counter).op(0x20, this.scratch);
    this.counted.u8(0x41).s32(add).u8(0x6a, 0x41, shift, 0x76, 0x41, left, 0x74);
    // The operand is below: add the price to the counter and drop to it.
    this.counted.u8(0xad, 0x7c).op(0x24, counter);
  }

  local(type: Type): number {
    this.locals.push(type);
    return this.locals.length - 1;
  }

  // Expressions: each leaves one value.

  expression(type: Type, depth: number): void {
    const { dice } = this;
    if (depth <= 0 || dice.oneIn(4)) return this.leaf(type);
    const choice = dice.below(14);
    if (choice === 0) return this.choose(type, depth);
    if (choice === 1) return this.blockExpression(type, depth);
    if (choice === 2) {
      this.expression(type, depth - 1);
      this.expression(type, depth - 1);
      this.expression(I32, depth - 1);
      if (type < V128 || dice.oneIn(2)) this.op(0x1c, 1, type);
      else this.op(0x1b);
      return;
    }
    if (choice === 3 && !this.inShortLoop && this.callFor(type, depth)) return;
    if (choice === 4) return this.tee(type, depth);
    if (choice === 5) return this.load(type, depth);
    if (type < V128) return this.leaf(type);
    if (type === I32 && choice === 6) return this.i32(depth);
    this.operation(dice.pick(CHOICES[Number(this.g.features.simd)]!.get(type)!), depth);
  }

  /** An opcode as {@link Operation} numbers them. */
  opcode(op: number): void {
    if (op < 0x100) return this.op(op);
    this.op(op < 0x200 ? 0xfc : 0xfd);
    this.index(op & (op < 0x200 ? 0xff : 0x1ff));
  }

  /** Operands and an instruction; a result that may be any NaN becomes one and the same. */
  operation(
    { op, params, result, lanes, laneBytes, traps, mayBeNaN }: Operation,
    depth: number,
  ): void {
    const { dice } = this;
    for (const [i, param] of params.entries()) {
      // Division by zero only now and then, and numbers that are too large.
      const guarded = traps && !dice.oneIn(40);
      if (guarded && (param === F32 || param === F64)) this.float(param);
      else this.expression(param, depth - 1);
      if (!guarded || i === 0 || param !== I32 && param !== I64) continue;
      if (param === I32) this.constant(1);
      else this.op(0x42, 1);
      this.op(param === I32 ? 0x72 : 0x84);
    }
    this.opcode(op);
    for (let i = 0; i < laneBytes; i++) this.free(dice.below(lanes));
    if (mayBeNaN) this.canonical(result, op);
  }

  spare(type: Type): number {
    let local = this.#spare.get(type);
    if (local === undefined) this.#spare.set(type, local = this.local(type));
    return local;
  }

  /** Engines and their compilers may differ in the payload of a NaN. */
  canonical(type: Type, op: number): void {
    const local = this.spare(type);
    const isF64 = type === F64 ||
      op === 0x25f || op >= 0x2ec || [0x274, 0x275, 0x27a, 0x294].includes(op);
    const nan = isF64 ? [0, 0, 0, 0, 0, 0, 0xf8, 0x7f] : [0, 0, 0xc0, 0x7f];
    this.opIndex(0x21, local);
    this.opIndex(0x20, local);
    if (type === F32) this.op(0x43, ...nan);
    else if (type === F64) this.op(0x44, ...nan);
    else this.op(0xfd, 12, ...nan, ...nan, ...(isF64 ? [] : [...nan, ...nan]));
    this.opIndex(0x20, local);
    this.opIndex(0x20, local);
    if (type === F32) this.op(0x5b);
    else if (type === F64) this.op(0x61);
    else this.op(0xfd, isF64 ? 0x47 : 0x41);
    if (type === V128) this.op(0xfd, 0x52);
    else this.op(0x1b);
  }

  float(type: Type): void {
    if (type === F32) this.op(0x43, 0, 0, this.dice.below(128), 0x3f + this.dice.below(4));
    else this.op(0x44, 0, 0, 0, 0, 0, this.dice.below(256), 0xe0 + this.dice.below(16), 0x3f);
  }

  /** A value that is kept in a local besides, where there is one of the type. */
  tee(type: Type, depth: number): void {
    this.expression(type, depth - 1);
    const found = this.variables.filter((i) => this.locals[i] === type);
    if (found.length > 0) this.opIndex(0x22, this.dice.pick(found));
  }

  /** A load of this type. */
  load(type: Type, depth: number): void {
    const { dice } = this;
    const found = ACCESSES.filter((a) => a.type === type && !a.isStore);
    if (found.length === 0) return this.leaf(type);
    const { op, align, lanes } = dice.pick(found);
    this.address(depth);
    if (lanes > 0) this.expression(V128, depth - 1);
    this.opcode(op);
    this.memarg(dice.below(align + 1));
    if (lanes > 0) this.free(dice.below(lanes));
  }

  leaf(type: Type): void {
    const { dice } = this;
    const candidates = this.locals.flatMap((t, i) => t === type && i !== this.scratch ? [i] : []);
    if (candidates.length > 0 && !dice.oneIn(3)) return this.opIndex(0x20, dice.pick(candidates));
    switch (type) {
      case I32:
        if (dice.oneIn(5)) return this.opIndex(0x23, BUDGET + 1);
        if (dice.oneIn(12)) return this.op(0x3f, dice.below(this.g.features.memories));
        if (dice.oneIn(20)) return this.op(0xfc, 16, dice.below(2));
        return this.constant(dice.oneIn(3) ? dice.next() | 0 : dice.below(20) - 3);
      case I64:
        if (dice.oneIn(4)) return this.opIndex(0x23, BUDGET + 2);
        this.op(0x42);
        return this.index(dice.below(60));
      case F32:
      case F64:
        return this.float(type);
      case V128:
        return this.op(0xfd, 12, ...Array.from({ length: 16 }, () => dice.below(256)));
      case FUNCREF:
        if (dice.oneIn(2)) return this.opIndex(0xd2, dice.below(this.g.functionCount));
        return this.op(0xd0, FUNCREF);
      default:
        return this.op(0xd0, type);
    }
  }

  /** An address that is nearly always in bounds. */
  address(depth: number): void {
    this.expression(I32, depth - 1);
    if (this.dice.oneIn(60)) return;
    this.constant(0xffff);
    this.op(0x71);
  }

  memarg(align: number): void {
    const memory = this.dice.below(this.g.features.memories);
    if (memory > 0) this.free(align | 0x40, memory);
    else this.free(align);
    this.index(this.dice.below(64));
  }

  i32(depth: number): void {
    const { dice } = this;
    if (dice.oneIn(2) && !this.inShortLoop) return this.grow();
    this.expression(dice.pick([FUNCREF, EXTERNREF]), depth - 1);
    this.op(0xd1);
  }

  grow(): void {
    const { dice } = this;
    if (dice.oneIn(2)) {
      this.constant(dice.below(3));
      this.countOperand(0, 0, 6);
      this.op(0x40, dice.below(this.g.features.memories));
    } else {
      this.expression(FUNCREF, 1);
      this.constant(dice.below(5));
      this.countOperand(0, 0);
      this.op(0xfc, 15, 0);
    }
  }

  blockType(params: readonly Type[], results: readonly Type[]): void {
    if (params.length === 0 && results.length === 0) return this.free(VOID);
    if (params.length === 0 && results.length === 1) return this.free(results[0]!);
    this.index(this.g.type({ params, results }));
  }

  choose(type: Type, depth: number): void {
    this.expression(I32, depth - 1);
    this.op(0x04);
    this.blockType([], [type]);
    this.labels.push({ types: [type] });
    this.arm([type], depth);
    this.free(0x05);
    this.arm([type], depth);
    this.labels.pop();
    this.free(0x0b);
  }

  /** Statements and the values that the innermost construct ends with, or a way out of it. */
  arm(types: readonly Type[], depth: number): void {
    if (this.dice.oneIn(2)) this.statement(depth - 1);
    if (this.dice.oneIn(6) && this.leave(depth)) return;
    for (const type of types) this.expression(type, depth - 1);
  }

  blockExpression(type: Type, depth: number): void {
    const { dice } = this;
    if (dice.oneIn(4) && !this.inShortLoop) return this.loop(depth, [type]);
    if (dice.oneIn(3)) {
      // Several values in and out.
      const params = [I32, type];
      this.expression(I32, depth - 1);
      this.expression(type, depth - 1);
      this.free(0x02);
      this.blockType(params, [type, I32]);
      this.labels.push({ types: [type, I32] });
      const kept = this.local(type);
      this.opIndex(0x21, kept);
      this.op(0x1a);
      this.arm([type, I32], depth);
      this.labels.pop();
      this.free(0x0b);
      this.op(0x1a);
      return;
    }
    this.free(0x02);
    this.blockType([], [type]);
    this.labels.push({ types: [type] });
    this.arm([type], depth);
    if (dice.oneIn(2)) {
      this.expression(I32, depth - 1);
      this.opIndex(0x0d, 0);
    }
    this.labels.pop();
    this.free(0x0b);
  }

  /** A call of some function with one result of this type; false if there is none. */
  callFor(type: Type, depth: number): boolean {
    const found = this.g.signatures.flatMap((s, i) =>
      s.results.length === 1 && s.results[0] === type ? [i] : []
    );
    if (found.length === 0) return false;
    this.call(this.dice.pick(found), depth);
    return true;
  }

  call(callee: number, depth: number, tail = false): void {
    const { dice, g } = this;
    const signature = g.signatures[callee]!;
    for (const param of signature.params) this.expression(param, Math.min(depth - 1, 2));
    const how = callee < TABLE_SIZE ? dice.below(3) : 0;
    if (how === 0) this.opIndex(tail ? 0x12 : 0x10, callee);
    else if (how === 1) {
      this.constant(callee);
      this.op(tail ? 0x13 : 0x11);
      this.index(g.signatureTypes[callee]!);
      this.free(0);
    } else {
      this.opIndex(0xd2, callee);
      if (g.typedReferences) {
        this.op(tail ? 0x15 : 0x14);
        this.index(g.signatureTypes[callee]!);
      } else {
        this.op(0x1a);
        this.opIndex(tail ? 0x12 : 0x10, callee);
      }
    }
  }

  // Statements: they leave nothing. They return without a word when there is no room left.

  statements(depth: number): void {
    for (let n = this.dice.below(4); n >= 0; n--) this.statement(depth);
  }

  statement(depth: number): void {
    const { dice, g } = this;
    if (--this.size < 0 || depth < 0) return;
    switch (this.inShortLoop ? dice.pick(SHORT_LOOP_STATEMENTS) : dice.below(19)) {
      case 0:
        return this.ifStatement(depth);
      case 1:
      case 2:
        return this.loop(depth);
      case 3:
        return this.block(depth);
      case 4:
      case 5:
        return this.bulk(depth);
      case 6: {
        const callee = dice.below(g.functionCount);
        this.call(callee, depth);
        for (const _ of g.signatures[callee]!.results) this.op(0x1a);
        return;
      }
      case 7:
        return this.branchIf(depth);
      case 8:
        if (g.features.exceptions !== "none") return this.handler(depth);
        return this.store(depth);
      case 9:
        if (g.features.exceptions !== "none" && dice.oneIn(4)) return this.throwIf(depth);
        return this.store(depth);
      case 10:
      case 11:
        return this.store(depth);
      case 12:
        return this.table(depth);
      case 13:
        return this.free(0x01);
      case 16:
        if (!g.features.relaxedSimd) return this.assign(depth);
        this.operation(dice.pick(RELAXED), Math.min(depth, 2));
        return this.op(0x1a);
      case 17:
        return this.references(depth);
      case 18:
        return this.jumps(depth);
      default:
        return this.assign(depth);
    }
  }

  throwIf(depth: number): void {
    this.expression(I32, depth - 1);
    this.op(0x04, VOID);
    this.labels.push({ types: [] });
    this.expression(I32, 1);
    this.op(0x08, 0);
    this.labels.pop();
    this.free(0x0b);
  }

  assign(depth: number): void {
    const { dice } = this;
    if (dice.oneIn(3)) {
      const i = dice.below(VARIABLES.length);
      this.expression(VARIABLES[i]!, depth);
      return this.opIndex(0x24, BUDGET + 1 + i);
    }
    if (this.variables.length === 0) return this.store(depth);
    const i = dice.pick(this.variables);
    this.expression(this.locals[i]!, depth);
    this.opIndex(0x21, i);
  }

  store(depth: number): void {
    const { dice } = this;
    const { op, type, align, lanes } = dice.pick(
      ACCESSES.filter((a) => a.isStore && (a.type !== V128 || this.g.features.simd)),
    );
    this.address(depth);
    this.expression(type, depth - 1);
    this.opcode(op);
    this.memarg(dice.below(align + 1));
    if (lanes > 0) this.free(dice.below(lanes));
  }

  /** A reference that is null or not, by every way of asking. */
  references(depth: number): void {
    const { dice, g } = this;
    if (!g.typedReferences) return this.table(depth);
    switch (dice.below(3)) {
      case 0:
        this.opIndex(0xd2, dice.below(g.functionCount));
        this.op(0xd4);
        return this.op(0x1a);
      case 1:
        this.free(0x02, VOID);
        this.labels.push({ types: [] });
        this.expression(FUNCREF, 1);
        this.opIndex(0xd5, 0);
        this.op(0x1a);
        this.statements(depth - 1);
        break;
      default:
        this.free(0x02, FUNCREF);
        this.labels.push({ types: [FUNCREF] });
        this.expression(FUNCREF, 1);
        this.opIndex(0xd6, 0);
        this.statements(depth - 1);
        this.expression(FUNCREF, 1);
        this.labels.pop();
        this.free(0x0b);
        return this.op(0x1a);
    }
    this.labels.pop();
    this.free(0x0b);
  }

  /** A `br_table` that goes back to heads of loops as long as all of them may go round again. */
  jumps(depth: number): void {
    const { dice } = this;
    this.free(0x02, VOID);
    this.labels.push({ types: [] });
    this.statements(depth - 1);
    const to = this.labels.flatMap(({ types, caught }, i) =>
      types.length === 0 && !caught ? [this.labels.length - 1 - i] : []
    );
    const chosen = Array.from({ length: 1 + dice.below(5) }, () => dice.pick(to));
    this.expression(I32, 1);
    this.constant(7);
    this.op(0x71);
    this.constant(chosen.length);
    this.constant(1);
    for (const label of new Set(chosen)) {
      const { counter } = this.labels[this.labels.length - 1 - label]!;
      if (counter === undefined) continue;
      this.opIndex(0x20, counter);
      this.constant(0);
      this.op(0x4a);
      this.op(0x71);
    }
    this.op(0x1b);
    this.op(0x0e, chosen.length, ...chosen, 0);
    this.labels.pop();
    this.free(0x0b);
  }

  /** `length` bytes or elements, nearly always in bounds. */
  bulk(depth: number): void {
    const { dice, g } = this;
    const { memories } = g.features;
    const memory = dice.below(memories);
    const short = (max: number) => {
      this.expression(I32, Math.min(depth - 1, 1));
      this.constant(max);
      this.op(0x71);
    };
    const length = () => this.constant(dice.oneIn(6) ? dice.below(90_000) : dice.below(300));
    switch (dice.below(8)) {
      case 0:
        short(0x7fff);
        this.expression(I32, 1);
        length();
        this.countOperand(15, 4);
        return this.op(0xfc, 11, memory);
      case 1:
        short(0x7fff);
        short(0x7fff);
        length();
        this.countOperand(15, 4);
        return this.op(0xfc, 10, memory, dice.below(memories));
      case 2:
        short(0x7fff);
        short(15);
        this.constant(dice.below(40));
        this.countOperand(15, 4);
        return this.op(0xfc, 8, 0, memory);
      case 3:
        short(3);
        this.expression(FUNCREF, 1);
        this.constant(dice.below(6));
        this.countOperand(0, 0);
        return this.op(0xfc, 17, 1);
      case 4:
        short(3);
        short(3);
        this.constant(dice.below(6));
        this.countOperand(0, 0);
        return this.op(0xfc, 14, 1, dice.below(2));
      case 5:
        short(3);
        short(1);
        this.constant(dice.below(4));
        this.countOperand(0, 0);
        return this.op(0xfc, 12, 1, 1);
      case 6:
        if (!dice.oneIn(8)) return this.store(depth);
        return this.op(...dice.pick([[0xfc, 9, 0], [0xfc, 13, 1]]));
      default:
        this.grow();
        return this.op(0x1a);
    }
  }

  table(depth: number): void {
    this.expression(I32, depth - 1);
    this.constant(3);
    this.op(0x71);
    if (this.dice.oneIn(2)) {
      this.op(0x25, 1);
      this.op(0x1a);
    } else {
      this.expression(FUNCREF, 1);
      this.op(0x26, 1);
    }
  }

  ifStatement(depth: number): void {
    this.expression(I32, depth);
    this.op(0x04, VOID);
    this.labels.push({ types: [] });
    this.statements(depth - 1);
    if (this.dice.oneIn(3)) this.leave(depth);
    if (this.dice.oneIn(2)) {
      this.free(0x05);
      this.statements(depth - 1);
    }
    this.labels.pop();
    this.free(0x0b);
  }

  block(depth: number): void {
    this.free(0x02, VOID);
    this.labels.push({ types: [] });
    this.statements(depth - 1);
    if (this.dice.oneIn(2)) this.leave(depth);
    this.labels.pop();
    this.free(0x0b);
  }

  /** A loop that gives values of these types when it ends. */
  loop(depth: number, results: readonly Type[] = []): void {
    if (results.length === 0 && this.dice.oneIn(2)) return this.shortLoop();
    const counter = this.local(I32);
    const { dice } = this;
    // Its head may take values, too.
    const params = dice.oneIn(3)
      ? Array.from({ length: 1 + dice.below(2) }, () => dice.pick(this.g.valueTypes))
      : [];
    for (const param of params) this.expression(param, 1);
    this.constant(1 + dice.below(5));
    this.opIndex(0x21, counter);
    this.free(0x03);
    this.blockType(params, results);
    this.labels.push({ types: params, counter });
    for (const param of params.toReversed()) {
      const kept = this.local(param);
      this.variables.push(kept);
      this.opIndex(0x21, kept);
    }
    this.opIndex(0x20, counter);
    this.constant(1);
    this.op(0x6b);
    this.opIndex(0x21, counter);
    this.statements(depth - 1);
    if (!dice.oneIn(8)) {
      for (const param of params) this.expression(param, 1);
      this.opIndex(0x20, counter);
      this.constant(0);
      this.op(0x4a);
      this.opIndex(0x0d, 0);
      for (const _ of params) this.op(0x1a);
    }
    for (const type of results) this.expression(type, depth - 1);
    this.labels.pop();
    this.free(0x0b);
  }

  /**
   * A loop that ends in a branch to its head, without loops or calls but where it is left for good: one
   * that may be unrolled. Where it is left, statements are so deep.
   */
  shortLoop(depth = 2): void {
    const { dice, inShortLoop, shortLoopAt } = this;
    const counter = this.local(I32);
    const isLeftAtTail = dice.oneIn(2);
    this.constant(1 + dice.below(13));
    this.opIndex(0x21, counter);
    if (!isLeftAtTail) {
      this.free(0x02, VOID);
      this.labels.push({ types: [] });
    }
    this.free(0x03, VOID);
    this.labels.push({ types: [], counter });
    this.inShortLoop = true;
    this.shortLoopAt = this.labels.length - 1;
    this.opIndex(0x20, counter);
    this.constant(1);
    this.op(0x6b);
    this.opIndex(0x21, counter);
    this.statements(1);
    if (dice.oneIn(4)) this.leaveLoopIf(counter, 0);
    if (dice.oneIn(2)) this.leaveLoopIf(counter, depth);
    if (dice.oneIn(4)) this.statements(0);
    this.opIndex(0x20, counter);
    this.constant(0);
    if (isLeftAtTail) {
      this.op(0x4a);
      this.opIndex(0x0d, 0);
    } else {
      this.op(0x4c);
      this.opIndex(0x0d, 1);
      this.statements(0);
      this.opIndex(0x0c, 0);
    }
    this.inShortLoop = inShortLoop;
    this.shortLoopAt = shortLoopAt;
    this.labels.pop();
    this.free(0x0b);
    if (isLeftAtTail) return;
    this.labels.pop();
    this.free(0x0b);
  }

  /**
   * In some round, if there are so many, the short loop is left for good, after statements of any kind
   * that are so deep: for a block around it, from the function, or by a trap.
   */
  leaveLoopIf(counter: number, depth: number): void {
    const { dice, inShortLoop } = this;
    this.opIndex(0x20, counter);
    this.constant(dice.below(9));
    this.op(0x46);
    this.op(0x04, VOID);
    this.labels.push({ types: [] });
    if (depth > 0) {
      this.inShortLoop = false;
      this.statements(depth);
      // What was found may take its own loop, which is unrolled, too.
      if (dice.oneIn(2)) this.shortLoop(depth - 1);
      this.inShortLoop = inShortLoop;
    }
    const outside = this.labels.flatMap(({ types, caught, counter }, i) =>
      i < this.shortLoopAt && types.length === 0 && !caught && counter === undefined
        ? [this.labels.length - 1 - i]
        : []
    );
    const how = dice.below(16);
    if (how === 0) this.op(0x00);
    else if (how < 6 && outside.length > 0) this.opIndex(0x0c, dice.pick(outside));
    else if (how < 9 && outside.length > 0) {
      this.expression(I32, 1);
      this.op(0x0e, 2, dice.pick(outside), dice.pick(outside), dice.pick(outside));
    } else {
      if (how > 12) {
        this.expression(I32, 1);
        this.op(0x04, VOID);
        this.labels.push({ types: [] });
        this.return();
        this.labels.pop();
        this.free(0x0b);
      }
      this.return();
    }
    this.labels.pop();
    this.free(0x0b);
  }

  /** Any values, with which the function returns. */
  return(): void {
    for (const type of this.signature.results) this.expression(type, 1);
    this.op(0x0f);
  }

  /** Values for a branch to the label and the condition that keeps it from looping for ever. */
  branchIf(depth: number): void {
    if (this.labels.length === 0) return;
    const to = this.dice.below(this.labels.length);
    const label = this.labels[this.labels.length - 1 - to]!;
    for (const type of label.types) this.expression(type, 1);
    if (label.counter !== undefined) {
      this.opIndex(0x20, label.counter);
      this.constant(0);
      this.op(0x4a);
    } else this.expression(I32, Math.min(depth, 2));
    this.opIndex(0x0d, to);
    for (const _ of label.types) this.op(0x1a);
  }

  /** Leaves the innermost construct by a jump; false when it did not. Dead code may follow. */
  leave(depth: number): boolean {
    const { dice, g } = this;
    const kind = dice.below(6);
    if (kind === 0) this.return();
    else if (kind === 1 && g.features.tailCalls) {
      const same = g.signatures.flatMap((s, i) =>
        String(s.results) === String(this.signature.results) ? [i] : []
      );
      this.call(dice.pick(same), depth, true);
    } else if (kind === 2 && dice.oneIn(12)) {
      this.op(0x00);
    } else {
      // Forwards only: a loop head may be branched to only under its condition.
      const forward = this.labels.flatMap((label, i) =>
        label.counter === undefined ? [this.labels.length - 1 - i] : []
      );
      if (forward.length === 0) return false;
      const to = dice.pick(forward);
      const { types } = this.labels[this.labels.length - 1 - to]!;
      const alike = forward.filter((i) =>
        String(this.labels[this.labels.length - 1 - i]!.types) === String(types)
      );
      for (const type of types) this.expression(type, 1);
      if (dice.oneIn(2)) this.opIndex(0x0c, to);
      else {
        this.expression(I32, 1);
        this.op(0x0e, 2, dice.pick(alike), dice.pick(alike), to);
      }
    }
    if (dice.oneIn(3)) this.statement(depth - 1);
    // Code that is not reached may take operands from nowhere.
    if (dice.oneIn(4)) this.op(0x6a, 0x1a);
    if (dice.oneIn(4)) this.op(0xfc, 11, 0);
    return true;
  }

  handler(depth: number): void {
    const { dice } = this;
    if (this.g.features.exceptions === "exnref") {
      // block (result i32): catch -> its label; both ways leave one i32.
      const all = dice.oneIn(3), reference = dice.oneIn(3);
      const types = [...(all ? [] : [I32]), ...(reference ? [0x69] : [])];
      this.free(0x02);
      this.blockType([], types);
      this.labels.push({ types });
      this.free(0x1f, VOID, 1, (all ? 2 : 0) + (reference ? 1 : 0), ...(all ? [] : [0]), 0);
      this.labels.push({ types: [] });
      this.statements(depth - 1);
      if (dice.oneIn(2)) this.throwIf(1);
      this.labels.pop();
      this.free(0x0b);
      // Nothing was thrown: leave by another way, around the handler.
      for (const type of types) {
        if (type === I32) this.constant(3);
        else this.op(0xd0, 0x69);
      }
      this.labels.pop();
      this.free(0x0b);
      for (const type of types.toReversed()) {
        if (type === I32 || !dice.oneIn(3)) this.op(0x1a);
        else {
          // Thrown once more, if anything was.
          const kept = this.local(0x69);
          this.opIndex(0x22, kept);
          this.op(0xd1);
          this.op(0x45);
          this.op(0x04, VOID);
          this.opIndex(0x20, kept);
          this.op(0x0a);
          this.free(0x0b);
        }
      }
      return;
    }
    this.free(0x06, VOID);
    this.labels.push({ types: [] });
    this.statements(depth - 1);
    if (dice.oneIn(2)) this.throwIf(1);
    const how = dice.below(4);
    if (how === 0) {
      this.labels.pop();
      this.free(0x18);
      this.index(dice.below(this.labels.length));
      return;
    }
    const label = this.labels[this.labels.length - 1]!;
    label.caught = true;
    if (how !== 1) {
      this.free(0x07, 0);
      this.op(0x1a);
      this.statements(depth - 1);
    }
    if (how !== 2) {
      this.free(0x19);
      this.statements(depth - 1);
      if (dice.oneIn(3)) this.op(0x09, 0);
    }
    this.labels.pop();
    this.free(0x0b);
  }

  /** The whole function. */
  write(): void {
    this.scratch = this.local(I32);
    for (let i = 0; i < this.signature.params.length; i++) this.variables.push(i);
    for (let n = this.dice.below(6); n > 0; n--) {
      this.variables.push(this.local(this.dice.pick(this.g.valueTypes)));
    }
    // Give up when the budget is used up.
    this.opIndex(0x23, BUDGET);
    this.op(0x45);
    this.op(0x04, VOID);
    this.labels.push({ types: this.signature.results }, { types: [] });
    for (const type of this.signature.results) this.leaf(type);
    this.op(0x0f);
    this.labels.pop();
    this.free(0x0b);
    this.opIndex(0x23, BUDGET);
    this.constant(1);
    this.op(0x6b);
    this.opIndex(0x24, BUDGET);
    this.statements(4);
    if (this.dice.oneIn(5)) this.leave(2);
    for (const type of this.signature.results) this.expression(type, 3);
    this.free(0x0b);
  }

  /** Declared locals and code. */
  body(code: Writer): Uint8Array {
    const w = new Writer();
    const declared = this.locals.slice(this.signature.params.length);
    w.u32(declared.length);
    for (const type of declared) w.u8(1, type);
    return w.append(code).bytes();
  }
}

/** Generates one module. */
class Generator {
  readonly signatures: Signature[] = [];
  /** Type index of every function. */
  readonly signatureTypes: number[] = [];
  readonly types: Signature[] = [];
  readonly functionCount: number;
  readonly valueTypes: readonly Type[];
  readonly typedReferences: boolean;
  /** Index of the global that counts. */
  readonly counter = COUNTERS;

  constructor(readonly dice: Dice, readonly features: Features) {
    this.typedReferences = features.exceptions === "exnref";
    const types = [
      I32,
      I32,
      I64,
      F32,
      F64,
      ...(features.simd ? [V128, V128] : []),
      FUNCREF,
      EXTERNREF,
    ];
    this.valueTypes = types;
    // Function 0 is imported: (i32) -> i32.
    this.signatures.push({ params: [I32], results: [I32] });
    const n = 2 + dice.below(5);
    for (let i = 0; i < n; i++) {
      const some = (max: number) => Array.from({ length: dice.below(max) }, () => dice.pick(types));
      this.signatures.push(
        i === 0 ? { params: [], results: [] } : { params: some(4), results: some(4) },
      );
    }
    this.functionCount = this.signatures.length;
    for (const signature of this.signatures) this.signatureTypes.push(this.type(signature));
  }

  type(signature: Signature): number {
    const same = this.types.findIndex((t) =>
      String(t.params) === String(signature.params) &&
      String(t.results) === String(signature.results)
    );
    return same >= 0 ? same : this.types.push(signature) - 1;
  }

  module(
    functions: readonly FunctionWriter[],
    counted: boolean,
    start: boolean,
  ): Uint8Array<ArrayBuffer> {
    const { features } = this;
    const out = new Writer().u8(0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00);
    const section = (id: number, items: readonly ((w: Writer) => void)[]) => {
      const w = new Writer().u32(items.length);
      for (const item of items) item(w);
      out.u8(id).appendSized(w);
    };
    const tag = this.type({ params: [I32], results: [] });
    section(
      1,
      this.types.map(({ params, results }) => (w) => {
        w.u8(0x60).u32(params.length).u8(...params).u32(results.length).u8(...results);
      }),
    );
    section(2, [(w) => w.name("env").name("h").op(0, this.signatureTypes[0]!)]);
    section(3, functions.map((_, i) => (w) => w.u32(this.signatureTypes[i + 1]!)));
    section(4, [
      (w) => w.u8(FUNCREF, 1).u32(TABLE_SIZE).u32(20),
      (w) => w.u8(FUNCREF, 1).u32(TABLE_SIZE).u32(20),
    ]);
    section(5, Array.from({ length: features.memories }, () => (w) => w.u8(1).u32(PAGES).u32(6)));
    if (features.exceptions !== "none") section(13, [(w) => w.u8(0).u32(tag)]);
    section(6, [
      (w) => w.u8(I32, 1, 0x41).s32(100).u8(0x0b),
      (w) => w.u8(I32, 1, 0x41, 5, 0x0b),
      (w) => w.u8(I64, 1, 0x42, 7, 0x0b),
      ...(counted ? [(w: Writer) => w.u8(I64, 1, 0x42, 0, 0x0b)] : []),
    ]);
    const exports: ((w: Writer) => void)[] = functions.flatMap((f, i) =>
      callable(f.signature) ? [(w: Writer) => w.name(`f${i + 1}`).op(0, i + 1)] : []
    );
    for (let i = 0; i < features.memories; i++) exports.push((w) => w.name(`m${i}`).op(2, i));
    const globals = ["budget", "v0", "v1", ...(counted ? ["count"] : [])];
    for (const [i, name] of globals.entries()) exports.push((w) => w.name(name).op(3, i));
    exports.push((w) => w.name("t1").op(1, 1));
    section(7, exports);
    if (start) out.u8(8).appendSized(new Writer().u32(1));
    const all = Array.from({ length: Math.min(this.functionCount, TABLE_SIZE) }, (_, i) => i);
    section(9, [
      (w) => w.u8(0, 0x41, 0, 0x0b).u32(all.length).u8(...all),
      (w) => w.u8(1, 0, 3, 1, 0, 1),
      // Functions that `ref.func` names must be declared.
      (w) =>
        w.u8(3, 0).u32(this.functionCount).u8(
          ...Array.from({ length: this.functionCount }, (_, i) => i),
        ),
    ]);
    out.u8(12).appendSized(new Writer().u32(2));
    section(
      10,
      functions.map((f) => (w) => {
        const body = f.body(counted ? f.counted : f.plain);
        w.u32(body.length).copy(body);
      }),
    );
    section(11, [
      (w) => w.u8(1).u32(32).u8(...Array.from({ length: 32 }, (_, i) => i * 7)),
      (w) => w.u8(0, 0x41, 8, 0x0b).u32(3).u8(1, 2, 3),
    ]);
    return out.bytes();
  }
}

/** Whether a host can call it: vectors do not cross. */
function callable(signature: Signature): boolean {
  return ![...signature.params, ...signature.results].includes(V128);
}

/** The module of this seed. */
export function generate(seed: number): Generated {
  const dice = new Dice(seed);
  const simd = dice.oneIn(2);
  const features: Features = {
    exceptions: dice.pick(["none", "none", "legacy", "exnref"]),
    simd,
    relaxedSimd: simd && dice.oneIn(3),
    tailCalls: dice.oneIn(2),
    memories: dice.oneIn(3) ? dice.pick([2, 3]) : 1,
  };
  const g = new Generator(dice, features);
  // Types are added while functions are written, and needed by later ones.
  g.type({ params: [I32], results: [] });
  const functions = g.signatures.slice(1).map((signature) =>
    new FunctionWriter(g, signature, dice)
  );
  for (const f of functions) f.write();
  const start = dice.oneIn(4);
  const calls = functions.flatMap((f, i) =>
    callable(f.signature)
      ? [{
        name: `f${i + 1}`,
        args: f.signature.params.map((type) => argument(type, dice)),
        params: f.signature.params.map((type) => TYPE_NAME[type]!),
        results: f.signature.results.map((type) => TYPE_NAME[type]!),
      }]
      : []
  );
  return {
    seed,
    features,
    plain: g.module(functions, false, start),
    counted: g.module(functions, true, start),
    calls: [...calls, ...calls],
  };
}

function argument(type: Type, dice: Dice): Argument {
  if (type === FUNCREF || type === EXTERNREF) return null;
  if (type === I64) return { i64: String(dice.next()) };
  return type === I32 ? dice.next() | 0 : dice.below(1000) / 8;
}
