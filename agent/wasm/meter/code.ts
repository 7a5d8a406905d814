/**
 * Writes the code of a module, function by function, and how far each is copied for speed.
 *
 * Loops are copied so that they run quicker: unrolled, and into functions of their own. Short functions
 * with loops in one another become thirty times as large by that, and more. So there is a budget: a
 * function for which it does not suffice is written with fewer copies, at last with none. What it does,
 * what it costs in fuel, and the frame it takes from "stack" are the same in every way: only its speed
 * depends on how large the code has become.
 *
 * @module
 */
import { Reader, Writer } from "./binary.ts";
import type { Body } from "./body.ts";
import { BodyDecoder } from "./body_decoder.ts";
import { FunctionEmitter } from "./function.ts";
import { ITEMS_MAX, type Module, type Renumbering, requireEnd, SECTION } from "./module.ts";
import { type Plan, planOutlines, withoutOutlines } from "./outline.ts";
import { neverUnroll, Prepayment, settleUnrolled, settleUnrolledAround } from "./prepay.ts";
import type { Mark, Routines } from "./routines.ts";

/** Bytes that V8 takes for one function. */
const FUNCTION_BYTES_MAX = 7_654_321;
/**
 * Loops are copied while the code is at most so many times as large as the module, and some. What
 * compilers write stays at a third of that.
 */
const COPYING_TIMES_MAX = 8;
const COPYING_BYTES_FREE = 16_384;
/** So much of it is kept for each byte of the functions to come, about what they take without copies. */
const RESERVED_TIMES = 6;
/** Types that are added for copies; V8 keeps them for good. */
const ADDED_TYPES_MAX = 10_000;
/** Bytes of code that are kept together. */
const CHUNK_BYTES = 1 << 20;

/** Where the code of a rewritten function comes from. */
export interface WrittenFunction {
  /** In the rewritten module. */
  readonly index: number;
  /** In the module as it was. */
  readonly original: number;
  /**
   * Triples: an offset from the start of the function written, the offset in the original module
   * that it stands for, and 1 where the code up to the next triple is a copy, byte by byte, 0 where
   * it all stands for that one instruction. The first member is ascending.
   */
  readonly segments: readonly number[];
  /**
   * It has a copy of a loop of the original. Who called it stands for the same place, at the head of
   * the loop, and is to be left out of a backtrace.
   */
  readonly isOutlined: boolean;
}

/** What {@link writeCode} may do. */
export interface CodeOptions {
  /** Bytes of the code, all in all. */
  readonly bytesMax: number;
  /** Bytes of the code up to which loops are copied; else as many as the module's length gives. */
  readonly copyingBytesMax?: number | undefined;
  readonly onFunction?: ((written: WrittenFunction) => void) | undefined;
}

/**
 * Tells engines that the slow paths of checks are hardly ever taken, so that they keep them out of
 * the way. Specification: https://github.com/WebAssembly/branch-hinting
 */
export class BranchHints {
  readonly #functions = new Writer(4096);
  #count = 0;

  /** Adds the offsets, from the start of its body, of a function's unlikely branches. */
  add(functionIndex: number, unlikely: readonly number[]): void {
    if (unlikely.length === 0) return;
    this.#count++;
    this.#functions.u32(functionIndex).u32(unlikely.length);
    for (const offset of unlikely) this.#functions.u32(offset).u8(1, 0);
  }

  /** The content of the custom section, which stands in front of the code. */
  section(): readonly Writer[] {
    return [new Writer(64).name("metadata.code.branch_hint").u32(this.#count), this.#functions];
  }
}

/** Function bodies behind their lengths, in chunks: one buffer that grows is held twice as it does. */
class Bodies {
  readonly chunks: Writer[] = [];

  add(body: Writer | Uint8Array): void {
    let last = this.chunks.at(-1);
    if (!last || last.length + body.length > CHUNK_BYTES) {
      last = new Writer(Math.min(CHUNK_BYTES, 2 * body.length + 1024));
      this.chunks.push(last);
    }
    if (body instanceof Writer) last.appendSized(body);
    else last.u32(body.length).copy(body);
  }
}

/** A function as it was written, and what is to be told of it. */
interface Written {
  readonly index: number;
  readonly unlikely: readonly number[];
  readonly segments: readonly number[];
}

class CodeWriter {
  readonly #emitter: FunctionEmitter;
  readonly #prepayment = new Prepayment();
  readonly #body = new Writer(4096);
  readonly #outlinedBody = new Writer(4096);
  readonly #bodies = new Bodies();
  readonly #outlined: Omit<Written, "segments">[] = [];
  readonly #copyingBytesMax: number;
  #bytes = 0;

  constructor(
    readonly module: Module,
    readonly indices: Renumbering,
    readonly routines: Routines,
    readonly hints: BranchHints,
    readonly options: CodeOptions,
  ) {
    this.#emitter = new FunctionEmitter(
      module,
      indices,
      routines,
      options.onFunction !== undefined,
    );
    this.#copyingBytesMax = options.copyingBytesMax ??
      COPYING_TIMES_MAX * module.bytes.length + COPYING_BYTES_FREE;
  }

  /** Writes the function that was decoded from the bytes `[start, r.end)`; `bytesAfter` are to come. */
  add(decoded: Body, functionIndex: number, r: Reader, start: number, bytesAfter: number): void {
    const { routines, module: m } = this;
    const mark = routines.mark();
    settleUnrolled(decoded, this.#prepayment);
    let plan = planOutlines(decoded, m, functionIndex, routines);
    settleUnrolledAround(decoded, plan);
    const room = this.#copyingBytesMax - this.#bytes - RESERVED_TIMES * bytesAfter;
    let written: Written[] = [], bytes = Infinity;
    const emit = () => {
      written = this.#emit(decoded, functionIndex, plan);
      bytes = this.#bytesSince(mark);
    };
    const isTooLarge = () =>
      bytes > room || routines.types.length > ADDED_TYPES_MAX ||
      routines.firstFunction + routines.routines.length > ITEMS_MAX;
    // No way makes a function shorter.
    if (room >= r.end - start) {
      emit();
      if (isTooLarge() && neverUnroll(decoded)) emit();
    }
    if (bytes === Infinity || isTooLarge() && plan.outlines.size > 0) {
      neverUnroll(decoded);
      routines.rollback(mark);
      plan = withoutOutlines(plan);
      emit();
    }
    if (bytes === Infinity) {
      throw r.unsupported(
        `function of ${r.end - start} bytes`,
        "it is too large when metered",
        start,
      );
    }
    this.#bytes += bytes;
    if (this.#bytes > this.options.bytesMax) {
      throw r.unsupported(
        `code of a module of ${m.bytes.length} bytes`,
        `it is ${this.#bytes} bytes and more when metered, at most ${this.options.bytesMax} are allowed`,
        start,
      );
    }
    this.#keep(functionIndex, written);
  }

  /** Writes the function and those that its loops go on in, in place of what they were before. */
  #emit(decoded: Body, functionIndex: number, plan: Plan): Written[] {
    const emitter = this.#emitter;
    const told = (index: number) => ({
      index,
      unlikely: emitter.unlikely,
      segments: emitter.segments,
    });
    emitter.emit(decoded, functionIndex, plan, this.#body.clear());
    const written: Written[] = [told(this.indices.functionIndex(functionIndex))];
    for (const outline of plan.outlines.values()) {
      emitter.emitOutlined(outline, this.#outlinedBody.clear());
      this.routines.reserved(outline.index).body = this.#outlinedBody.bytes();
      written.push(told(outline.index));
    }
    return written;
  }

  /** What was written for one function; Infinity where engines would refuse it. */
  #bytesSince(mark: Mark): number {
    const { routines, types } = this.routines;
    let bytes = this.#body.length;
    let longest = bytes;
    for (const { body } of routines.slice(mark.routines)) {
      bytes += body.length;
      longest = Math.max(longest, body.length);
    }
    for (const type of types.slice(mark.types)) bytes += type.length;
    return longest > FUNCTION_BYTES_MAX ? Infinity : bytes;
  }

  #keep(original: number, written: readonly Written[]): void {
    const [first, ...outlined] = written;
    this.#bodies.add(this.#body);
    this.hints.add(first!.index, first!.unlikely);
    for (const { index, unlikely } of outlined) this.#outlined.push({ index, unlikely });
    for (const { index, segments } of written) {
      this.options.onFunction?.({ index, original, segments, isOutlined: index !== first!.index });
    }
  }

  /** The content of the section, when all of so many functions are written. */
  section(count: number): readonly Writer[] {
    const { routines } = this.routines;
    for (const { index, unlikely } of this.#outlined) this.hints.add(index, unlikely);
    for (const routine of routines) {
      this.#bodies.add(routine.body);
      // Not held twice.
      routine.body = NOTHING;
    }
    return [new Writer(8).u32(count + routines.length), ...this.#bodies.chunks];
  }
}

const NOTHING = new Uint8Array(0);

/**
 * The content of the code section, in parts, and whether no instruction of it changes what lasts
 * (`lasting_state.ts`). Adds the functions and types that it needs to `routines`.
 */
export function writeCode(
  m: Module,
  indices: Renumbering,
  routines: Routines,
  hints: BranchHints,
  options: CodeOptions,
): { code: readonly Writer[]; changesLast: boolean } {
  const range = m.sections.get(SECTION.CODE);
  const defined = m.functions.length - m.importedFunctions;
  const r = new Reader(m.bytes, range?.start ?? 0, range?.end ?? 0);
  const count = range ? r.count("function bodies") : 0;
  if (count !== defined) throw r.invalid(`${count} function bodies`, `${defined} were declared`);
  const decoder = new BodyDecoder(m, r);
  const writer = new CodeWriter(m, indices, routines, hints, options);
  for (let i = 0; i < count; i++) {
    const index = m.importedFunctions + i;
    const length = r.u32();
    const end = r.at + length;
    if (end > range!.end) throw r.invalid(`function of ${length} bytes`, "the section is shorter");
    const start = r.at;
    r.end = end;
    r.functionIndex = index;
    writer.add(decoder.decode(index), index, r, start, range!.end - end);
    r.functionIndex = -1;
    r.end = range!.end;
  }
  if (range) requireEnd(r, "function bodies");
  return { code: writer.section(count), changesLast: decoder.changesLast };
}
