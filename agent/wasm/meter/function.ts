/**
 * Writes one function with its metering: charges and checks of fuel, depth of the call stack,
 * renumbered indices, and calls in place of bulk and growing instructions.
 *
 * *Fuel.* The counter lives in the imported global "fuel" and, while a function works with it, in
 * a local. Where several ways join, both must agree on which of the two holds the truth: the local
 * in functions with loops, so that loops do not touch memory, the global in others. Before
 * anything that leaves the function (call, throw, return) the global holds it.
 *
 * *Loops.* In a short loop most of what metering costs is the check. So short loops are unrolled where
 * no way leads from a call or a loop inside back to their head: only the first copy of the body checks.
 * In all but the last, the branch back becomes a way out where its condition does not hold; one without
 * a condition is left out:
 *
 * ```wat
 * block $exit
 *   loop $head
 *     (charge and check) body condition i32.eqz if (give back) br $exit end
 *     body condition i32.eqz if (give back) br $exit end
 *     ...
 *     body condition br_if $head
 *   end
 * end
 * ```
 *
 * All copies are charged at once at the head ({@link Prepayment}); the check compares with what is
 * left of the fuel without what is paid ahead, and the host sees the fuel without it. So checks
 * find the slice used up in the same round, and programs cost the same, as if each place charged for
 * itself.
 *
 * *Stack.* A function that calls takes its frame from the global "stack" at its entry, keeps the
 * rest in a local, and gives the frame back at every way out. A handler sets the global from the
 * local again: what the throwing callees had taken is given back there.
 *
 * @module
 */
import { Reader, type Writer } from "./binary.ts";
import { type Body, FLAG, PLACE, UNROLLED_COPIES } from "./body.ts";
import { has } from "./flow.ts";
import type { Module } from "./module.ts";
import { OP } from "./opcodes.ts";
import { type Outline, type Plan, type Way, writeZero } from "./outline.ts";
import { Prepayment } from "./prepay.ts";
import type { Routines } from "./routines.ts";

/** Bytes that every call takes besides its locals and operands. */
const CALL_BYTES = 64;
/** Functions that call nothing take from the stack only when their frame is larger. */
const LEAF_FRAME_BYTES_MAX = 1024;
/** Functions that call nothing and cost less are charged, and checked by their callers. */
const LEAF_UNITS_MAX = 64;
/** The frame of an outlined loop that calls nothing need not be paid up to this size. */
const LEAF_OUTLINE_BYTES_MAX = 4096;

const VOID = 0x40;
const I32 = 0x7f;
const I32_EQZ = 0x45;
const I32_EQ = 0x46;
const I32_LT_S = 0x48;
const I32_ADD = 0x6a;
const I32_SUB = 0x6b;
const I32_OR = 0x72;

/** Where the number of units left is to be found. */
const GLOBAL = 0;
const BOTH = 1;
const LOCAL = 2;

function isBranch(op: number): boolean {
  return op >= OP.BR && op <= OP.RETURN || op === OP.BR_ON_NULL || op === OP.BR_ON_NON_NULL;
}

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
  /** What "outline" was at the entry, in functions that handle exceptions. */
  #roomLocal = -1;
  /** The first of the locals for outlining: "mark", "way", and the values of ways out. */
  #outlineLocals = -1;
  #frameBytes = 0;
  #plan!: Plan;
  /** The loop that is being written as a function of its own. */
  #root: Outline | undefined;
  /** The body is in a block of its own, and every way out leads through that block's end. */
  #wrapped = false;
  #truths = new Uint8Array(256);
  /** What the copies of a body that is unrolled charge, and the one that is being written. */
  readonly #copies = Array.from({ length: UNROLLED_COPIES }, () => new Prepayment());
  #copy: Prepayment | undefined;
  /** Depths of the labels around which one more block is open. */
  readonly #blocks: number[] = [];
  /** Offsets, in the function written last, of the `if`s that are hardly ever taken. */
  unlikely: number[] = [];
  /** Of the function written last, see `WrittenFunction` of `meter.ts`; empty unless they are recorded. */
  segments: number[] = [];

  constructor(
    readonly module: Module,
    readonly indices: Indices,
    readonly routines: Routines,
    readonly recordsSegments = false,
  ) {}

  /** Writes the locals and code of the decoded function to `w`. */
  emit(body: Body, functionIndex: number, plan: Plan, w: Writer): void {
    this.#w = w;
    this.#body = body;
    this.#plan = plan;
    this.#root = undefined;
    this.unlikely = [];
    this.segments = [];
    const leaf = body.calls + body.tailCalls === 0;
    const checksEntry = !leaf || body.units > LEAF_UNITS_MAX;
    if (checksEntry) body.flags[0]! |= FLAG.CHECK;
    // A single charge is cheapest on the global itself.
    const onlyEntry = !checksEntry && body.loops === 0 && body.units === body.cost[0];
    this.#fuelLocal = onlyEntry ? -1 : body.locals;
    const bare = body.frameBytes + (onlyEntry ? 0 : 8);
    const pays = body.calls > 0 || bare > LEAF_FRAME_BYTES_MAX;
    let ours = onlyEntry ? 0 : 1;
    this.#stackLocal = pays ? body.locals + ours++ : -1;
    this.#roomLocal = pays && body.handlers > 0 ? body.locals + ours++ : -1;
    this.#outlineLocals = body.locals + ours;
    if (plan.outlines.size > 0) ours += 2;
    this.#frameBytes = CALL_BYTES + bare + (pays ? 8 : 0) + (this.#roomLocal < 0 ? 0 : 8) +
      plan.ownFrameBytes;
    this.#joined = body.loops > 0 && body.tryTables === 0 ? LOCAL : GLOBAL;
    this.#truth = GLOBAL;
    const cleansUp = pays || this.#joined === LOCAL;
    this.#wrapped = cleansUp && (body.labelTargeted || body.returns > 1);
    if (this.#truths.length < body.events) this.#truths = new Uint8Array(body.opcode.length);

    w.u32(body.localGroups + (ours > 0 ? 1 : 0) + plan.slots.length);
    w.copy(this.module.bytes, body.localsStart, body.codeStart);
    if (ours > 0) w.u8(ours, I32);
    for (const type of plan.slots) w.u8(1, type);

    this.#segment(body.codeStart, 0);
    this.#entry(functionIndex);
    this.#events(1, body.events, body.codeStart);
  }

  /**
   * Writes the function that one of the loops of the function written last goes on in. It begins
   * behind the check at the loop's head, and gives locals, values, and the number of the way out.
   */
  emitOutlined(outline: Outline, w: Writer): void {
    const { loop, ways, locals, params } = outline;
    const { types, slots } = this.#plan;
    const body = this.#body;
    this.#w = w;
    this.#root = outline;
    this.unlikely = [];
    this.segments = [];
    this.#wrapped = false;
    this.#stackLocal = this.#roomLocal = -1;
    this.#fuelLocal = locals;
    this.#outlineLocals = locals + 1;

    w.u32(locals - params + 1 + slots.length);
    for (const type of types.subarray(params, locals)) w.u8(1, type);
    w.u8(3, I32);
    for (const type of slots) w.u8(1, type);

    // The head charges once more for the round that is already paid.
    w.op(OP.GLOBAL_GET, this.routines.imports.fuel).u8(OP.I32_CONST).s32(body.cost[loop.event]!);
    w.u8(I32_ADD).op(OP.LOCAL_SET, this.#fuelLocal);
    this.#truth = LOCAL;
    this.#segment(body.start[loop.event]!, 0);
    for (const { target, types } of ways.toReversed()) {
      if (target >= 0) this.#block(types);
    }
    const copied = this.#events(loop.event, loop.end, body.start[loop.event]!);
    if (!(body.flags[loop.event]! & FLAG.UNROLL)) {
      this.#segment(copied, 1);
      w.copy(this.module.bytes, copied, body.start[loop.end]!);
      this.#segment(body.start[loop.end]!, 0);
      if (loop.fallsThrough) this.#agree();
      w.u8(OP.END);
    }
    if (!loop.fallsThrough) w.u8(OP.UNREACHABLE);
    for (const [i, way] of ways.entries()) {
      if (way.target >= 0) w.u8(OP.END);
      this.#truth = LOCAL;
      for (const slot of way.slots.toReversed()) w.op(OP.LOCAL_SET, this.#slotLocal(slot));
      this.#spill();
      for (const local of outline.given) {
        if (has(way.live, local)) w.op(OP.LOCAL_GET, local);
        else writeZero(w, types[local]!);
      }
      for (const [slot, type] of slots.entries()) {
        if (way.slots.includes(slot)) w.op(OP.LOCAL_GET, this.#slotLocal(slot));
        else writeZero(w, type);
      }
      w.u8(OP.I32_CONST).s32(i).u8(OP.RETURN);
    }
    w.u8(OP.END);
  }

  get #mark(): number {
    return this.#outlineLocals;
  }

  get #way(): number {
    return this.#outlineLocals + 1;
  }

  #slotLocal(slot: number): number {
    return this.#outlineLocals + 2 + slot;
  }

  /** Opens a block that gives values of these types. */
  #block(types: readonly number[]): void {
    this.#w.u8(OP.BLOCK);
    if (types.length === 0) this.#w.u8(VOID);
    else if (types.length === 1) this.#w.u8(types[0]!);
    else this.#w.s32(this.routines.type([], types));
  }

  /** How far up the label of depth `target` is from where it is `up` in the original. */
  #label(up: number, target: number): number {
    const root = this.#root;
    if (root && target < root.loop.depth) {
      const outside = root.ways.filter((way) => way.target >= 0);
      const way = outside.findIndex((way) => way.target === target);
      return up + target - root.loop.depth + way + 1 + this.#blocks.length;
    }
    let label = up;
    for (const depth of this.#blocks) if (depth > target) label++;
    return label;
  }

  /**
   * Behind the charge at the head of a loop that is outlined, with what is left as an operand: at the
   * end of the slice the loop goes on elsewhere. Of the charge, so much is paid `ahead`.
   */
  #outlined(outline: Outline, ahead: number): void {
    const { loop, ways } = outline;
    const { types, slots, frameBytes } = this.#plan;
    const { routines } = this;
    const { fuel, outline: room } = routines.imports;
    const w = this.#w;
    // In a loop that is unrolled no way leads from a loop inside back to the head.
    const isMarked = loop.nests && !(this.#body.flags[loop.event]! & FLAG.UNROLL);
    if (isMarked) w.op(OP.LOCAL_GET, this.#mark).u8(I32_OR);
    this.#ifBelow(-ahead);
    this.#store(ahead);
    const call = (op: number) => {
      for (let local = 0; local < outline.params; local++) {
        if (has(outline.taken, local)) w.op(OP.LOCAL_GET, local);
        else writeZero(w, types[local]!);
      }
      w.op(op, outline.index);
    };
    if (outline === this.#root) {
      w.op(OP.CALL, routines.enter());
      call(OP.RETURN_CALL);
      w.u8(OP.END);
      return;
    }
    const mark = (value: number) => w.u8(OP.I32_CONST).s32(value).op(OP.LOCAL_SET, this.#mark);
    if (isMarked) mark(0);
    // Without calls it is the last frame: there is always room for one that is small.
    const isFree = !loop.calls && frameBytes <= LEAF_OUTLINE_BYTES_MAX;
    if (isFree) w.op(OP.CALL, routines.enter());
    else w.u8(OP.I32_CONST).s32(frameBytes).op(OP.CALL, routines.outline()).u8(OP.IF, VOID);
    call(OP.CALL);
    w.op(OP.LOCAL_SET, this.#way);
    for (let slot = slots.length - 1; slot >= 0; slot--) w.op(OP.LOCAL_SET, this.#slotLocal(slot));
    for (const local of outline.given.toReversed()) w.op(OP.LOCAL_SET, local);
    if (!isFree) {
      w.op(OP.GLOBAL_GET, room).u8(OP.I32_CONST).s32(frameBytes).u8(I32_ADD);
      w.op(OP.GLOBAL_SET, room);
    }
    w.op(OP.GLOBAL_GET, fuel).op(OP.LOCAL_SET, this.#fuelLocal);
    if (outline.parent) mark(-0x80000000);
    for (const [i, way] of ways.entries()) {
      const isLast = i === ways.length - 1;
      if (!isLast) {
        w.op(OP.LOCAL_GET, this.#way).u8(OP.I32_CONST).s32(i).u8(I32_EQ, OP.IF, VOID);
      }
      this.#goOut(loop.depth, way, (isFree ? 1 : 2) + (isLast ? 0 : 1));
      if (!isLast) w.u8(OP.END);
    }
    if (ways.length === 0) w.u8(OP.UNREACHABLE);
    if (!isFree) {
      w.u8(OP.END);
      this.#load(ahead);
    }
    w.u8(OP.END);
  }

  /** Leaves a loop of this depth from `inside` as many constructs as are open in its head. */
  #goOut(depth: number, { target, slots }: Way, inside: number): void {
    const w = this.#w;
    for (const slot of slots) w.op(OP.LOCAL_GET, this.#slotLocal(slot));
    if (target === 0 && !this.#root && !this.#wrapped) {
      this.#leave();
      w.u8(OP.RETURN);
    } else w.op(OP.BR, inside + (target < 0 ? 1 : this.#label(depth - target, target)));
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
        // Behind the tail there is nothing but the end of the loop.
        e = body.b[e]! + 1;
        copied = body.end[e]!;
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
    // What must have been paid when control is at the head, and at the tail of each copy.
    const paid = [0];
    for (const copy of this.#copies.toReversed()) paid.unshift(copy.plan(body, loop, paid[0]!)!);
    // In the global, each charge would be written to memory anyway.
    const prepays = this.#joined === LOCAL;
    // Nothing is paid ahead at the head of a loop in one that is unrolled.
    const around = this.#copy;
    this.#copy = undefined;
    this.#agree();
    if (isConditional) {
      w.u8(OP.BLOCK, VOID);
      this.#blocks.push(body.a[loop]!);
    }
    this.#original(loop);
    for (let copy = 0; copy < UNROLLED_COPIES; copy++) {
      this.#truth = this.#joined;
      if (copy === 0) this.#charge(loop, true, prepays ? paid[0]! - body.cost[loop]! : 0);
      else if (!prepays) this.#charge(loop, false);
      if (prepays) this.#copy = this.#copies[copy];
      const copied = this.#events(loop + 1, tail, body.end[loop]!);
      this.#segment(copied, 1);
      w.copy(this.module.bytes, copied, body.start[tail]!);
      this.#segment(body.start[tail]!, 0);
      this.#copy = undefined;
      this.#agree();
      if (copy === UNROLLED_COPIES - 1) this.#original(tail);
      else if (isConditional) {
        w.u8(I32_EQZ);
        this.#branchIf(1, prepays ? -paid[copy + 1]! : 0);
      }
    }
    w.u8(OP.END);
    this.#copy = around;
    if (!isConditional) return;
    w.u8(OP.END);
    this.#blocks.pop();
    this.#truth = this.#joined;
    // What follows the loop is paid by the function that it is in.
    if (this.#root?.loop.event !== loop) this.#charge(tail);
  }

  /** What is written from here on stands for code of the module at `offset`. */
  #segment(offset: number, isCopy: 0 | 1): void {
    if (this.recordsSegments) this.segments.push(this.#w.length, offset, isCopy);
  }

  #entry(functionIndex: number): void {
    const w = this.#w;
    const check = (this.#body.flags[0]! & FLAG.CHECK) !== 0;
    if (this.#roomLocal >= 0) {
      w.op(OP.GLOBAL_GET, this.routines.imports.outline).op(OP.LOCAL_SET, this.#roomLocal);
    }
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
        this.#ifBelow();
        w.op(OP.LOCAL_GET, this.#fuelLocal).op(OP.GLOBAL_SET, fuel);
        w.op(OP.CALL, this.routines.enter());
        w.op(OP.GLOBAL_GET, fuel).op(OP.LOCAL_SET, this.#fuelLocal).u8(OP.END);
        this.#truth = LOCAL;
      } else {
        w.op(OP.LOCAL_GET, this.#stackLocal);
        this.#ifBelow();
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

  /** Charges what belongs to the event, and so much `ahead`, and checks if it asks for it. */
  #charge(e: number, check = (this.#body.flags[e]! & FLAG.CHECK) !== 0, ahead = 0): void {
    const w = this.#w;
    const { fuel } = this.routines.imports;
    const units = this.#copy ? this.#copy.behind[e]! : this.#body.cost[e]! + ahead;
    if (units === 0 && !check) return;
    const local = this.#fuelLocal;
    if (local < 0) {
      w.op(OP.GLOBAL_GET, fuel).u8(OP.I32_CONST).s32(units).u8(I32_SUB).op(OP.GLOBAL_SET, fuel);
      return;
    }
    if (this.#truth === GLOBAL) w.op(OP.GLOBAL_GET, fuel);
    else w.op(OP.LOCAL_GET, local);
    if (units !== 0) w.u8(OP.I32_CONST).s32(units).u8(I32_SUB);
    this.#truth = LOCAL;
    if (!check) {
      w.op(OP.LOCAL_SET, local);
      return;
    }
    w.op(OP.LOCAL_TEE, local);
    const outline = this.#plan.outlines.get(e);
    if (outline) return this.#outlined(outline, ahead);
    this.#ifBelow(-ahead);
    this.#store(ahead);
    w.op(OP.CALL, this.routines.pause());
    this.#load(ahead);
    w.u8(OP.END);
  }

  /** Stores the fuel in the global, without what is paid `ahead`. */
  #store(ahead: number): void {
    const w = this.#w.op(OP.LOCAL_GET, this.#fuelLocal);
    if (ahead > 0) w.u8(OP.I32_CONST).s32(ahead).u8(I32_ADD);
    w.op(OP.GLOBAL_SET, this.routines.imports.fuel);
  }

  /** Loads the fuel from the global, and pays `ahead` of it. */
  #load(ahead: number): void {
    const w = this.#w.op(OP.GLOBAL_GET, this.routines.imports.fuel);
    if (ahead > 0) w.u8(OP.I32_CONST).s32(ahead).u8(I32_SUB);
    w.op(OP.LOCAL_SET, this.#fuelLocal);
  }

  /** A conditional branch without operands, `units` charged on its way. */
  #branchIf(label: number, units: number): void {
    const w = this.#w;
    if (units === 0) w.op(OP.BR_IF, label);
    else {
      w.u8(OP.IF, VOID).op(OP.LOCAL_GET, this.#fuelLocal).u8(OP.I32_CONST).s32(units);
      w.u8(I32_SUB).op(OP.LOCAL_SET, this.#fuelLocal).op(OP.BR, label + 1).u8(OP.END);
    }
  }

  /** Opens an `if` that is taken when the operand is below `least`, which is rare. */
  #ifBelow(least = 0): void {
    this.#w.u8(OP.I32_CONST).s32(least).u8(I32_LT_S);
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
    const { stack, outline } = this.routines.imports;
    this.#w.op(OP.LOCAL_GET, this.#stackLocal).op(OP.GLOBAL_SET, stack);
    if (this.#roomLocal >= 0) this.#w.op(OP.LOCAL_GET, this.#roomLocal).op(OP.GLOBAL_SET, outline);
  }

  #event(e: number): void {
    const body = this.#body;
    const w = this.#w;
    const op = body.opcode[e]!;
    const flags = body.flags[e]!;
    const live = !(flags & FLAG.DEAD);
    const a = body.a[e]!;
    if (!live && this.#root && isBranch(op)) {
      // Its label may not be here.
      w.u8(OP.UNREACHABLE);
      return;
    }
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
        else if (this.#wrapped || this.#root) {
          this.#agree();
          w.op(OP.BR, this.#label(a, 0));
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
        this.#openLoop(e);
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
        if (flags & FLAG.LOOP_END) {
          this.#closeLoop(e, live);
          return;
        }
        if (live && flags & FLAG.JOIN) this.#agree();
        this.#original(e);
        if (flags & FLAG.JOIN) this.#truth = this.#joined;
        if (flags & FLAG.CAUGHT) this.#recover();
        break;
      case OP.BR:
      case OP.BR_IF:
      case OP.BR_ON_NULL:
      case OP.BR_ON_NON_NULL:
        if (live) this.#agree();
        if (live && op === OP.BR_IF && this.#copy) {
          this.#branchIf(this.#label(a, body.b[e]!), this.#copy.taken[e]!);
        } else w.op(op, this.#label(a, body.b[e]!));
        break;
      case OP.BR_TABLE:
        if (live) this.#agree();
        this.#table(e);
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

  /** A `br_table` with its labels as they are here. */
  #table(e: number): void {
    const body = this.#body;
    const w = this.#w;
    const depth = body.a[e]!;
    if (!this.#root && this.#blocks.length === 0) return this.#original(e);
    const r = new Reader(this.module.bytes, body.start[e]! + 1, body.end[e]!);
    const count = r.u32();
    w.op(OP.BR_TABLE, count);
    for (let i = 0; i <= count; i++) {
      const up = r.u32();
      w.u32(this.#label(up, depth - up));
    }
  }

  /** Where a loop is outlined, the way to behind its end leads through a block around it. */
  #openLoop(e: number): void {
    const body = this.#body;
    const outline = this.#plan.outlines.get(e);
    if (outline && outline !== this.#root && outline.loop.fallsThrough) {
      // Both have the same type, since there are no parameters.
      this.#w.u8(OP.BLOCK).copy(this.module.bytes, body.start[e]! + 1, body.end[e]!);
      this.#blocks.push(body.a[e]!);
    }
    this.#original(e);
  }

  #closeLoop(e: number, live: boolean): void {
    const hasBlock = this.#blocks.at(-1) === this.#body.a[e]!;
    if (hasBlock && live) this.#agree();
    this.#original(e);
    if (!hasBlock) return;
    this.#w.u8(OP.END);
    this.#blocks.pop();
    this.#truth = this.#joined;
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
      // An exception may have been caught to here.
      if (this.#body.handlers > 0) this.#recover();
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
