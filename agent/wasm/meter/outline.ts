/**
 * Loops that go on in functions of their own.
 *
 * An engine that has a quick and a thorough compiler runs a function in the quick one's code until
 * it is called again: a loop that takes long never gets to run in better code. So where a loop's
 * check finds the slice used up, the rest of the loop is left to a copy of it, a function that
 * calls itself in place of itself (a tail call) at the end of every slice:
 *
 * ```wat
 * loop $head
 *   (charge)
 *   fuel < 0 if
 *     (refuel)
 *     (call $outlined (local.get …)…)       ;; the locals that are alive, as they are
 *     (local.set $way) (local.set …)…       ;; and as they have become
 *     (br …)                                ;; to where the loop was left to
 *   end
 *   …
 * ```
 *
 * At the head of a loop without parameters everything is in locals: operands below stay with the
 * caller. The copy charges as the loop itself, so fuel does not depend on where slices end.
 *
 * Where an inner loop goes on that way, the local "mark" makes the next head of the loop around it
 * take the same way, so that in the end the outermost loop is one that runs in a copy.
 *
 * Here is decided which loops, and what their functions take and give. Left alone are loops with
 * parameters or tail calls, and functions that handle exceptions: locals that change in a copy
 * would be lost to a handler outside. In a function that calls itself only the outermost loops are
 * outlined: the next call of it runs in better code anyway, and the ways back from many copies cost
 * the quick partitions of a sort a quarter of their speed.
 *
 * @module
 */
import { type Body, FLAG, UNROLLED_COPIES } from "./body.ts";
import { Reader, type Writer } from "./binary.ts";
import { has, type Loop } from "./flow.ts";
import type { Module, Range } from "./module.ts";
import { OP } from "./opcodes.ts";
import type { Routines } from "./routines.ts";

/** Locals of a function whose loops are outlined, and values that a way out of one takes. */
const LOCALS_MAX = 800;
const VALUES_MAX = 64;
/** Outlined loops in one another: each copies all that is inside. */
const NESTED_MAX = 4;
/** Bytes that are copied at most: so many times those of the function, and some. */
const COPIED_TIMES_MAX = 3;
const COPIED_BYTES_MAX = 1 << 19;
const CALL_BYTES = 64;
const I32 = 0x7f;
const VOID = 0x40;

/** A way out. */
export interface Way {
  /** Depth of the label; -1 where control falls out of the loop's end. */
  readonly target: number;
  /** Types of the values that it takes. */
  readonly types: readonly number[];
  /** For each of them, its place in {@link Plan.slots}. */
  readonly slots: readonly number[];
  /** Locals that are alive there. */
  readonly live: Int32Array;
}

/** A loop and the function that has its copy. */
export interface Outline {
  readonly loop: Loop;
  /** The outlined loop around it. */
  readonly parent: Outline | undefined;
  /** Index of the function in the rewritten module. */
  readonly index: number;
  /** Locals that the function has, from the first on, and how many of them are parameters. */
  readonly locals: number;
  readonly params: number;
  /** Locals that it is given as they are; the others start as zero. */
  readonly taken: Int32Array;
  /** Locals that it gives back. */
  readonly given: readonly number[];
  readonly ways: readonly Way[];
  /** Bytes, about, of a call of the function. */
  readonly callBytes: number;
}

/** What is outlined of one function. */
export interface Plan {
  /** By the event of their loops, outer ones first. */
  readonly outlines: ReadonlyMap<number, Outline>;
  /** Types of the function's locals, parameters first. */
  readonly types: Uint8Array;
  /** Types of the values that ways out take, in all of the function; they have locals of their own. */
  readonly slots: readonly number[];
  /** Upper bound of the bytes that the frame of one of the functions takes. */
  readonly frameBytes: number;
  /** What the frame of the function itself takes more, whether its loops are outlined or not. */
  readonly ownFrameBytes: number;
}

const NOTHING: Plan = {
  outlines: new Map(),
  types: new Uint8Array(0),
  slots: [],
  frameBytes: 0,
  ownFrameBytes: 0,
};

/** The plan when none of its loops is outlined, with the same frame: what a call takes is no matter of speed. */
export function withoutOutlines({ ownFrameBytes }: Plan): Plan {
  return { ...NOTHING, ownFrameBytes };
}

/** Writes the instruction that gives a local's first value. */
export function writeZero(w: Writer, type: number): void {
  switch (type) {
    case I32:
      w.u8(OP.I32_CONST, 0);
      return;
    case 0x7e:
      w.u8(0x42, 0);
      return;
    case 0x7d:
      w.u8(0x43, 0, 0, 0, 0);
      return;
    case 0x7c:
      w.u8(0x44, 0, 0, 0, 0, 0, 0, 0, 0);
      return;
    case 0x7b:
      w.u8(0xfd, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
      return;
    default:
      w.u8(OP.REF_NULL, type);
  }
}

/** Types of one byte each: numbers, vectors, nullable references. undefined if there are others. */
function simpleTypes(bytes: Uint8Array, { start, end }: Range): Uint8Array | undefined {
  const types = bytes.subarray(start, end);
  return types.every((type) => type >= 0x69) ? types : undefined;
}

function localTypes(m: Module, body: Body, params: Range): Uint8Array | undefined {
  const types = new Uint8Array(body.locals);
  const own = simpleTypes(m.bytes, params);
  if (!own) return undefined;
  types.set(own);
  const r = new Reader(m.bytes, body.localsStart, body.codeStart);
  for (let at = own.length; r.at < r.end;) {
    const count = r.u32();
    const type = r.u8();
    if (type < 0x69) return undefined;
    types.fill(type, at, at + count);
    at += count;
  }
  return types;
}

/** Types that a branch takes to the label of a block whose type stands at `typeAt`. */
function labelTypes(m: Module, typeAt: number, isLoop: boolean, results: Range) {
  if (typeAt < 0) return simpleTypes(m.bytes, results);
  const byte = m.bytes[typeAt]!;
  if (byte === VOID) return new Uint8Array(0);
  if (byte >= 0x40 && byte < 0x80) {
    if (isLoop) return new Uint8Array(0);
    return byte >= 0x69 ? m.bytes.subarray(typeAt, typeAt + 1) : undefined;
  }
  const type = m.types[new Reader(m.bytes, typeAt).u32()]!;
  return simpleTypes(m.bytes, isLoop ? type.paramBytes : type.resultBytes);
}

/** The places of values of these types in `slots`, which grows as needed. */
function slotsOf(types: Iterable<number>, slots: number[]): number[] {
  const taken: number[] = [];
  for (const type of types) {
    let slot = slots.findIndex((other, i) => other === type && !taken.includes(i));
    if (slot < 0) slot = slots.push(type) - 1;
    taken.push(slot);
  }
  return taken;
}

/** Whether a function calls itself by its number. */
function callsItself({ events, opcode, a, flags }: Body, functionIndex: number): boolean {
  for (let e = 0; e < events; e++) {
    if (opcode[e] === OP.CALL && a[e] === functionIndex && !(flags[e]! & FLAG.DEAD)) return true;
  }
  return false;
}

/** Decides what is outlined of a function that was just decoded, and reserves its functions. */
export function planOutlines(
  body: Body,
  m: Module,
  functionIndex: number,
  routines: Routines,
): Plan {
  const { flow } = body;
  const wanted = flow.loops.some((loop) => !loop.forbidden && loop.end >= 0);
  if (!wanted || body.handlers > 0 || body.locals > LOCALS_MAX) return NOTHING;
  const type = m.types[m.functions[functionIndex]!]!;
  const types = localTypes(m, body, type.paramBytes);
  if (!types || !flow.solve(body.locals)) return NOTHING;

  const outlines = new Map<number, Outline>();
  const slots: number[] = [];
  const end = body.end[body.events - 1]!;
  let left = Math.min(COPIED_BYTES_MAX, COPIED_TIMES_MAX * (end - body.codeStart) + 1024);
  const nestedMax = callsItself(body, functionIndex) ? 1 : NESTED_MAX;
  for (const loop of flow.loops) {
    if (loop.forbidden || loop.end < 0) continue;
    let parent: Outline | undefined, nested = 0;
    for (let outer = loop.parent; outer; outer = outer.parent) {
      const outline = outlines.get(outer.event);
      if (!outline) continue;
      parent ??= outline;
      nested++;
    }
    const bytes = body.end[loop.end]! - body.start[loop.event]!;
    if (nested === nestedMax || bytes > left) continue;
    const ways: Way[] = [];
    const slotsBefore = slots.length;
    const add = (target: number, typeAt: number, isLoop: boolean, live: Int32Array) => {
      const values = labelTypes(m, typeAt, isLoop, type.resultBytes);
      if (!values || values.length > VALUES_MAX) return false;
      const places = slotsOf(values, slots);
      ways.push({ target, types: [...values], slots: places, live });
      return slots.length <= VALUES_MAX;
    };
    const isKnown = (!loop.fallsThrough || add(-1, loop.typeAt, false, loop.endLive)) &&
      loop.exits.every((e) => add(e.target, e.typeAt, e.isLoop, e.live));
    const shape = shapeOf(body, loop, ways);
    const callBytes = callBytesOf(shape, types, slots);
    // Here, in the functions of the loops around it, and in its own.
    const calls = (nested + 2) * timesUnrolled(body, loop);
    const written = bytes + calls * callBytes + bytesBeside(shape, types, slots);
    if (!isKnown || written > left) {
      slots.length = slotsBefore;
      continue;
    }
    left -= written;
    outlines.set(loop.event, {
      ...shape,
      parent,
      callBytes,
      index: routines.reserve("realm.loop"),
    });
  }
  if (outlines.size === 0) return NOTHING;
  // Slots are shared by all: only now it is known what the functions give.
  for (const { index, params, given } of outlines.values()) {
    routines.reserved(index).type = routines.type([...types.subarray(0, params)], [
      ...given.map((local) => types[local]!),
      ...slots,
      I32,
    ]);
  }
  // Operands for the call and what it returns lie on the stack beside the frame itself.
  const frameBytes = CALL_BYTES + 3 * body.frameBytes + 32 * (slots.length + 2);
  const ownFrameBytes = 16 * (slots.length + 1);
  return { outlines, types, slots, frameBytes, ownFrameBytes };
}

type Shape = Omit<Outline, "parent" | "index" | "callBytes">;

function shapeOf(body: Body, loop: Loop, ways: readonly Way[]): Shape {
  const taken = loop.headLive.map((bits, w) => bits & loop.used[w]!);
  const given: number[] = [];
  let locals = 0, params = 0;
  for (let i = 0; i < body.locals; i++) {
    if (!has(loop.used, i)) continue;
    locals = i + 1;
    if (has(taken, i)) params = i + 1;
    if (has(loop.written, i) && ways.some(({ live }) => has(live, i))) given.push(i);
  }
  return { loop, locals, params, taken, given, ways };
}

/** How often a loop is written where those around it are unrolled, which they may be. */
function timesUnrolled(body: Body, { parent }: Loop): number {
  let times = 1;
  for (let outer = parent; outer; outer = outer.parent) {
    if (body.flags[outer.event]! & FLAG.UNROLL) times *= UNROLLED_COPIES;
  }
  return times;
}

/** Bytes, about, of what gives a local of this type as it is, or the first value of one. */
const valueBytes = (types: Uint8Array, type: number) =>
  type === 0x7b ? 18 : type === 0x7c ? 9 : type === 0x7d ? 5 : accessBytes(types);

/** Bytes, about, of an instruction that names one of the locals. */
const accessBytes = (types: Uint8Array) => types.length < 100 ? 2 : 3;

function callBytesOf(
  { params, given, ways }: Shape,
  types: Uint8Array,
  slots: readonly number[],
): number {
  const access = accessBytes(types);
  let bytes = 24 + access * (given.length + slots.length);
  for (const type of types.subarray(0, params)) bytes += valueBytes(types, type);
  for (const way of ways) bytes += 10 + access * way.slots.length;
  return bytes;
}

/** Bytes, about, of what the function has beside the copy of the loop and calls of itself. */
function bytesBeside(
  { locals, params, given, ways }: Shape,
  types: Uint8Array,
  slots: readonly number[],
): number {
  let values = 0;
  for (const local of given) values += valueBytes(types, types[local]!);
  for (const type of slots) values += valueBytes(types, type);
  return 2 * (locals - params) + ways.length * (8 + values);
}
