/**
 * A decoded function body: a list of *events*, where control moves or what has to be renumbered, and what
 * each stretch of code between them costs. `body_decoder.ts` makes it.
 *
 * @module
 */
import { Flow } from "./flow.ts";

/** Opcode of an event that stands for no instruction: the entry, and checks put into long runs. */
export const PLACE = 0xffff;
/** Copies of the body of a loop that is unrolled. */
export const UNROLLED_COPIES = 4;

/** Bits of {@link Body.flags}. */
export const FLAG = {
  /** Control never gets here. */
  DEAD: 1,
  /** The fuel that is left is compared with zero here. */
  CHECK: 2,
  /** Control arrives here by several ways: at an end, or at a loop head that is branched to. */
  JOIN: 4,
  /** An exception caught by a `try_table` arrives here. */
  CAUGHT: 8,
  /** An `if` that has an `else`. */
  HAS_ELSE: 16,
  /**
   * A loop that may be unrolled: it has neither parameters nor results, holds no handler, throws
   * nothing, and ends in a `br` or `br_if` back to its head.
   */
  UNROLL: 32,
  /** The end of a loop that is branched to. */
  LOOP_END: 64,
  /** A branch that takes operands along. */
  VALUES: 128,
} as const;

/** Growing columns, one row per event; reused from function to function. */
export class Body {
  /** Rows in use. Row 0 is the entry. */
  events = 0;
  opcode = new Uint16Array(256);
  /** Offset of the first byte of the instruction, and behind its last. */
  start = new Int32Array(256);
  end = new Int32Array(256);
  /**
   * First index of the instruction; for branches to one label how far up it is; for `else` the event
   * of its `if`, for `return` and `br_table` their depth, for a loop, an `if` and an `end` the depth of
   * the label.
   */
  a = new Int32Array(256);
  /**
   * Second index of the instruction; for branches to one label its depth, for `br_table` that of the
   * innermost of its labels, for a loop to be unrolled the event of the branch that is its tail.
   * Depths are counted from the function's 0.
   */
  b = new Int32Array(256);
  /** Units charged behind the event. */
  cost = new Int32Array(256);
  flags = new Uint8Array(256);

  /** Bytes `[localsStart, codeStart)` hold the declarations of locals, without their count. */
  localsStart = 0;
  codeStart = 0;
  localGroups = 0;
  /** Parameters and declared locals. */
  locals = 0;
  params = 0;
  /** Bytes of parameters, locals and operands at their highest. */
  frameBytes = 0;
  calls = 0;
  tailCalls = 0;
  returns = 0;
  loops = 0;
  tryTables = 0;
  /** Handlers of exceptions, of both encodings. */
  handlers = 0;
  /** Sum of all costs. */
  units = 0;
  /** A branch leaves the function by its label. */
  labelTargeted = false;
  readonly flow = new Flow();

  /** Appends a row and returns its number. */
  push(opcode: number, start: number, end: number, a: number, b: number, flags: number): number {
    if (this.events === this.opcode.length) this.#grow();
    const e = this.events++;
    this.opcode[e] = opcode;
    this.start[e] = start;
    this.end[e] = end;
    this.a[e] = a;
    this.b[e] = b;
    this.cost[e] = 0;
    this.flags[e] = flags;
    return e;
  }

  #grow(): void {
    const size = this.opcode.length * 2;
    const larger = <T extends { set(from: T): void }>(to: T, from: T): T => {
      to.set(from);
      return to;
    };
    this.opcode = larger(new Uint16Array(size), this.opcode);
    this.start = larger(new Int32Array(size), this.start);
    this.end = larger(new Int32Array(size), this.end);
    this.a = larger(new Int32Array(size), this.a);
    this.b = larger(new Int32Array(size), this.b);
    this.cost = larger(new Int32Array(size), this.cost);
    this.flags = larger(new Uint8Array(size), this.flags);
  }
}
