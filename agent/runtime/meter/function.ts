/**
 * Writes one function with its metering: charges and checks of fuel, depth of the call stack,
 * renumbered indices, and calls in place of bulk and growing instructions.
 *
 * *Fuel.* The counter lives in the imported global "fuel" and, while a function works with it, in
 * a local. Where several ways join, both must agree on which of the two holds the truth: the local
 * in functions with loops, so that loops do not touch memory, the global in others. Before
 * anything that leaves the function (call, throw, return) the global holds it.
 *
 * *Loops.* In a short loop most of what metering costs is the check. So short innermost loops are
 * unrolled: every copy of the body charges for itself, only the first one checks. In all but the
 * last, the branch back becomes a way out where its condition does not hold; one without a
 * condition is left out:
 *
 * ```wat
 * block $exit
 *   loop $head
 *     (charge and check) body condition i32.eqz br_if $exit
 *     (charge) body condition i32.eqz br_if $exit
 *     ...
 *     (charge) body condition br_if $head
 *   end
 * end
 * ```
 *
 * *Stack.* A function that calls takes its frame from the global "stack" at its entry, keeps the
 * rest in a local, and gives the frame back at every way out. A handler sets the global from the
 * local again: what the throwing callees had taken is given back there.
 *
 * @module
 */
import type { Writer } from "./binary.ts";
import { type Body, FLAG, PLACE } from "./body.ts";
import type { Module } from "./module.ts";
import { OP } from "./opcodes.ts";
import type { Routines } from "./routines.ts";

/** Bytes that every call takes besides its locals and operands. */
const CALL_BYTES = 64;
/** Functions that call nothing take from the stack only when their frame is larger. */
const LEAF_FRAME_BYTES_MAX = 1024;
/** Functions that call nothing and cost less are charged, and checked by their callers. */
const LEAF_UNITS_MAX = 64;
/** Copies of the body of a loop that is unrolled. */
const UNROLLED_COPIES = 4;

const VOID = 0x40;
const I32 = 0x7f;
const I32_EQZ = 0x45;
const I32_LT_S = 0x48;
const I32_ADD = 0x6a;
const I32_SUB = 0x6b;
const I32_OR = 0x72;

/** Where the number of units left is to be found. */
const GLOBAL = 0;
const BOTH = 1;
const LOCAL = 2;

/** How an index of the module is written in the rewritten one. */
export interface Indices {
  functionIndex(index: number): number;
  globalIndex(index: number): number;
}

/** Writes the functions of one module. */
export class FunctionEmitter {
  #w!: Writer;
  #body!: Body;
  /** Where the truth is now, and where it must be when ways join. */
  #truth = GLOBAL;
  #joined = GLOBAL;
  #fuelLocal = -1;
  #stackLocal = -1;
  #frameBytes = 0;
  /** The body is in a block of its own, and every way out leads through that block's end. */
  #wrapped = false;
  #truths = new Uint8Array(256);
  /** Code is being written inside of one more block, around the label of this depth; -1: it is not. */
  #blockDepth = -1;
  /** Offsets, in the function written last, of the `if`s that are hardly ever taken. */
  readonly unlikely: number[] = [];
  /** Of the function written last, see `WrittenFunction` of `meter.ts`; empty unless they are recorded. */
  segments: number[] = [];

  constructor(
    readonly module: Module,
    readonly indices: Indices,
    readonly routines: Routines,
    readonly recordsSegments = false,
  ) {}

  /** Writes the locals and code of the decoded function to `w`. */
  emit(body: Body, functionIndex: number, w: Writer): void {
    this.#w = w;
    this.#body = body;
    this.unlikely.length = 0;
    this.segments = [];
    const leaf = body.calls + body.tailCalls === 0;
    const checksEntry = !leaf || body.units > LEAF_UNITS_MAX;
    if (checksEntry) body.flags[0]! |= FLAG.CHECK;
    // A single charge is cheapest on the global itself.
    const onlyEntry = !checksEntry && body.loops === 0 && body.units === body.cost[0];
    this.#fuelLocal = onlyEntry ? -1 : body.locals;
    const bare = body.frameBytes + (onlyEntry ? 0 : 8);
    const pays = body.calls > 0 || bare > LEAF_FRAME_BYTES_MAX;
    this.#stackLocal = pays ? body.locals + (onlyEntry ? 0 : 1) : -1;
    this.#frameBytes = CALL_BYTES + bare + (pays ? 8 : 0);
    this.#joined = body.loops > 0 && body.tryTables === 0 ? LOCAL : GLOBAL;
    this.#truth = GLOBAL;
    const cleansUp = pays || this.#joined === LOCAL;
    this.#wrapped = cleansUp && (body.labelTargeted || body.returns > 1);
    if (this.#truths.length < body.events) this.#truths = new Uint8Array(body.opcode.length);

    const ours = (onlyEntry ? 0 : 1) + (pays ? 1 : 0);
    w.u32(body.localGroups + (ours > 0 ? 1 : 0));
    w.copy(this.module.bytes, body.localsStart, body.codeStart);
    if (ours > 0) w.u8(ours, I32);

    this.#segment(body.codeStart, 0);
    this.#entry(functionIndex);
    this.#events(1, body.events, body.codeStart);
  }

  /** Writes the events `[from, to)` and the code between; the code behind `copied` is still to be. */
  #events(from: number, to: number, copied: number): number {
    const body = this.#body;
    for (let e = from; e < to; e++) {
      this.#segment(copied, 1);
      this.#w.copy(this.module.bytes, copied, body.start[e]!);
      this.#segment(body.start[e]!, 0);
      copied = body.end[e]!;
      if (body.flags[e]! & FLAG.UNROLL) {
        this.#unrolled(e);
        e = body.b[e]!;
        // Behind the tail there is nothing but `end`.
        copied = body.end[e]! + 1;
      } else this.#event(e);
    }
    return copied;
  }

  /** A whole loop, several bodies instead of one. */
  #unrolled(loop: number): void {
    const body = this.#body;
    const w = this.#w;
    const tail = body.b[loop]!;
    const isConditional = body.opcode[tail] === OP.BR_IF;
    this.#agree();
    if (isConditional) {
      w.u8(OP.BLOCK, VOID);
      this.#blockDepth = body.a[loop]!;
    }
    this.#original(loop);
    for (let copy = 1; copy <= UNROLLED_COPIES; copy++) {
      this.#truth = this.#joined;
      this.#charge(loop, copy === 1);
      const copied = this.#events(loop + 1, tail, body.end[loop]!);
      this.#segment(copied, 1);
      w.copy(this.module.bytes, copied, body.start[tail]!);
      this.#segment(body.start[tail]!, 0);
      this.#agree();
      if (copy === UNROLLED_COPIES) this.#original(tail);
      else if (isConditional) w.u8(I32_EQZ, OP.BR_IF, 1);
    }
    w.u8(OP.END);
    this.#blockDepth = -1;
    if (!isConditional) return;
    w.u8(OP.END);
    this.#truth = this.#joined;
    this.#charge(tail);
  }

  /** What is written from here on stands for code of the module at `offset`. */
  #segment(offset: number, isCopy: 0 | 1): void {
    if (this.recordsSegments) this.segments.push(this.#w.length, offset, isCopy);
  }

  #entry(functionIndex: number): void {
    const w = this.#w;
    const check = (this.#body.flags[0]! & FLAG.CHECK) !== 0;
    if (this.#stackLocal < 0) {
      this.#charge(0);
    } else {
      const { fuel, stack } = this.routines.imports;
      w.op(OP.GLOBAL_GET, stack).u8(OP.I32_CONST).s32(this.#frameBytes).u8(I32_SUB);
      w.op(OP.LOCAL_TEE, this.#stackLocal).op(OP.GLOBAL_SET, stack);
      if (check) {
        // Fuel and stack share one test: the sign of either.
        w.op(OP.GLOBAL_GET, fuel).u8(OP.I32_CONST).s32(this.#body.cost[0]!).u8(I32_SUB);
        w.op(OP.LOCAL_TEE, this.#fuelLocal).op(OP.LOCAL_GET, this.#stackLocal);
        w.u8(I32_OR);
        this.#ifNegative();
        w.op(OP.LOCAL_GET, this.#fuelLocal).op(OP.GLOBAL_SET, fuel);
        w.op(OP.CALL, this.routines.enter());
        w.op(OP.GLOBAL_GET, fuel).op(OP.LOCAL_SET, this.#fuelLocal).u8(OP.END);
        this.#truth = LOCAL;
      } else {
        w.op(OP.LOCAL_GET, this.#stackLocal);
        this.#ifNegative();
        w.op(OP.CALL, this.routines.enter()).u8(OP.END);
        this.#charge(0);
      }
    }
    if (this.#wrapped) {
      const type = this.module.types[this.module.functions[functionIndex]!]!;
      w.u8(OP.BLOCK);
      if (type.results === 0) w.u8(VOID);
      else if (type.results === 1) {
        w.copy(this.module.bytes, type.resultBytes.start, type.resultBytes.end);
      } else w.s32(this.routines.type([], [type.resultBytes], type.results));
    }
  }

  /** Charges what belongs to the event, and checks if it asks for it. */
  #charge(e: number, check = (this.#body.flags[e]! & FLAG.CHECK) !== 0): void {
    const w = this.#w;
    const { fuel } = this.routines.imports;
    const units = this.#body.cost[e]!;
    if (units === 0 && !check) return;
    const local = this.#fuelLocal;
    if (local < 0) {
      w.op(OP.GLOBAL_GET, fuel).u8(OP.I32_CONST).s32(units).u8(I32_SUB).op(OP.GLOBAL_SET, fuel);
      return;
    }
    if (this.#truth === GLOBAL) w.op(OP.GLOBAL_GET, fuel);
    else w.op(OP.LOCAL_GET, local);
    if (units > 0) w.u8(OP.I32_CONST).s32(units).u8(I32_SUB);
    this.#truth = LOCAL;
    if (!check) {
      w.op(OP.LOCAL_SET, local);
      return;
    }
    w.op(OP.LOCAL_TEE, local);
    this.#ifNegative();
    w.op(OP.LOCAL_GET, local).op(OP.GLOBAL_SET, fuel).op(OP.CALL, this.routines.pause());
    w.op(OP.GLOBAL_GET, fuel).op(OP.LOCAL_SET, local).u8(OP.END);
  }

  /** Opens an `if` that is taken when the operand is below zero, which is rare. */
  #ifNegative(): void {
    this.#w.u8(OP.I32_CONST, 0, I32_LT_S);
    this.unlikely.push(this.#w.length);
    this.#w.u8(OP.IF, VOID);
  }

  /** Makes the global hold the truth. */
  #spill(): void {
    if (this.#truth !== LOCAL) return;
    this.#w.op(OP.LOCAL_GET, this.#fuelLocal).op(OP.GLOBAL_SET, this.routines.imports.fuel);
    this.#truth = BOTH;
  }

  /** Makes the truth be where ways that join expect it. */
  #agree(): void {
    if (this.#joined === GLOBAL) this.#spill();
    else if (this.#truth === GLOBAL) {
      this.#w.op(OP.GLOBAL_GET, this.routines.imports.fuel).op(OP.LOCAL_SET, this.#fuelLocal);
      this.#truth = BOTH;
    }
  }

  /** Gives the frame back. */
  #leave(): void {
    if (this.#stackLocal < 0) return;
    this.#w.op(OP.LOCAL_GET, this.#stackLocal).u8(OP.I32_CONST).s32(this.#frameBytes);
    this.#w.u8(I32_ADD).op(OP.GLOBAL_SET, this.routines.imports.stack);
  }

  /** Behind a caught exception: gives back what the callees had taken. */
  #recover(): void {
    if (this.#stackLocal < 0) return;
    this.#w.op(OP.LOCAL_GET, this.#stackLocal).op(OP.GLOBAL_SET, this.routines.imports.stack);
  }

  #event(e: number): void {
    const body = this.#body;
    const w = this.#w;
    const op = body.opcode[e]!;
    const flags = body.flags[e]!;
    const live = !(flags & FLAG.DEAD);
    const a = body.a[e]!;
    switch (op) {
      case PLACE:
        break;
      case OP.GLOBAL_GET:
      case OP.GLOBAL_SET:
        w.op(op, this.indices.globalIndex(a));
        return;
      case OP.REF_FUNC:
        w.op(op, this.indices.functionIndex(a));
        return;
      case OP.CALL:
        if (live) this.#spill();
        w.op(op, this.indices.functionIndex(a));
        this.#truth = GLOBAL;
        break;
      case OP.CALL_INDIRECT:
      case OP.CALL_REF:
        if (live) this.#spill();
        this.#original(e);
        this.#truth = GLOBAL;
        break;
      case OP.RETURN_CALL:
      case OP.RETURN_CALL_INDIRECT:
      case OP.RETURN_CALL_REF:
        if (live) {
          this.#spill();
          this.#leave();
        }
        if (op === OP.RETURN_CALL) w.op(op, this.indices.functionIndex(a));
        else this.#original(e);
        return;
      case OP.RETURN:
        if (!live) this.#original(e);
        else if (this.#wrapped) {
          this.#agree();
          w.op(OP.BR, a + (this.#blockDepth >= 0 ? 1 : 0));
        } else {
          this.#spill();
          this.#leave();
          w.u8(OP.RETURN);
        }
        return;
      case OP.THROW:
      case OP.RETHROW:
      case OP.THROW_REF:
        if (live) this.#spill();
        this.#original(e);
        return;
      case OP.LOOP:
        if (live && flags & FLAG.JOIN) this.#agree();
        this.#original(e);
        if (flags & FLAG.JOIN) this.#truth = this.#joined;
        if (flags & FLAG.CAUGHT) this.#recover();
        break;
      case OP.IF:
        if (live && !(flags & FLAG.HAS_ELSE)) this.#agree();
        this.#original(e);
        this.#truths[e] = this.#truth;
        break;
      case OP.ELSE:
        // DEAD says that the arm before is; the arm behind lives when its `if` does.
        if (live) this.#agree();
        this.#original(e);
        this.#truth = this.#truths[a]!;
        break;
      case OP.CATCH:
      case OP.CATCH_ALL:
        if (live) this.#agree();
        this.#original(e);
        this.#truth = GLOBAL;
        this.#recover();
        break;
      case OP.END:
      case OP.DELEGATE:
        if (e === body.events - 1) {
          this.#exit(live);
          return;
        }
        if (live && flags & FLAG.JOIN) this.#agree();
        this.#original(e);
        if (flags & FLAG.JOIN) this.#truth = this.#joined;
        if (flags & FLAG.CAUGHT) this.#recover();
        break;
      case OP.BR:
      case OP.BR_IF:
        if (live) this.#agree();
        if (body.b[e]! < this.#blockDepth) w.op(op, a + 1);
        else this.#original(e);
        break;
      case OP.BR_TABLE:
      case OP.BR_ON_NULL:
      case OP.BR_ON_NON_NULL:
        if (live) this.#agree();
        this.#original(e);
        break;
      case OP.MEMORY_GROW:
      case OP.TABLE_GROW:
        if (live) this.#spill();
        w.op(OP.CALL, this.routines.forInstruction(op, a, 0));
        this.#truth = GLOBAL;
        return;
      default:
        if (live) this.#bulk(op, a, body.b[e]!);
        else this.#original(e);
        return;
    }
    this.#charge(e);
  }

  /** A routine in place of a bulk instruction: it takes the fuel and gives what is left. */
  #bulk(op: number, a: number, b: number): void {
    const w = this.#w;
    const { fuel } = this.routines.imports;
    const local = this.#fuelLocal;
    if (local < 0 || this.#truth === GLOBAL) w.op(OP.GLOBAL_GET, fuel);
    else w.op(OP.LOCAL_GET, local);
    w.op(OP.CALL, this.routines.forInstruction(op, a, b));
    if (local < 0) w.op(OP.GLOBAL_SET, fuel);
    else {
      w.op(OP.LOCAL_SET, local);
      this.#truth = LOCAL;
    }
  }

  /** The end of the function. `live` tells whether control falls through to it. */
  #exit(live: boolean): void {
    const w = this.#w;
    if (this.#wrapped) {
      if (live) this.#agree();
      w.u8(OP.END);
      this.#truth = this.#joined;
    }
    if (live || this.#wrapped) {
      this.#spill();
      this.#leave();
    }
    w.u8(OP.END);
  }

  #original(e: number): void {
    this.#w.copy(this.module.bytes, this.#body.start[e]!, this.#body.end[e]!);
  }
}
