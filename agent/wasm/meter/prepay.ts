/**
 * Fewer charges in the body of a loop that is unrolled.
 *
 * Charged place by place, a body with branches takes from the fuel behind each of them. Here a
 * round is paid at its head instead, all copies of the body at once, as if control went past every
 * `br_if` and took the cheaper arm of every `if`, so that the way straight on has no charges; any
 * other way pays or is given back the difference where it parts, and so is a way out of the loop:
 *
 * ```wat
 * loop $head                        ;; loop $head
 *   (charge 5)                      ;;   (charge 4 × 12)
 *   …  br_if $exit                  ;;   …  (if (then (charge -43) (br $exit)))
 *   (charge 4)                      ;;
 *   …  if (charge 6) … end          ;;   …  if (charge 6) … end
 *   (charge 3) …                    ;;   …
 * ```
 *
 * What is paid ahead at a place is a number that is known when the function is written: 0 where no
 * way leads to the tail, the fuel of one of the ways elsewhere, never less than 0. A loop that calls,
 * or holds a loop, is unrolled only where no way leads from there back to its head (a panic, what is
 * done with what was found). So wherever fuel can be seen while control goes on, it is what it would
 * be otherwise. (Moving charges along the edges of a graph by a number for each node: Ball and Larus,
 * "Optimally profiling and tracing programs", 1994.)
 *
 * Such an inner loop may be unrolled itself, in each of the copies, as far as the function does not
 * become too large by that. Else only the inner one is: what was found may take longer than finding
 * it.
 *
 * @module
 */
import { type Body, FLAG, PLACE, UNROLLED_COPIES } from "./body.ts";
import { OP } from "./opcodes.ts";
import type { Plan } from "./outline.ts";

/** Bytes of copies in copies: as many as the function has, and some. */
const COPIES_INSIDE_BYTES_FREE = 256;
/** Bytes, about, of the calls by which loops in one that is unrolled go on: each copy has them. */
const UNROLLED_CALL_BYTES_MAX = 256;
/** Stands for what is paid ahead where no way leads to the tail: nothing. */
const NO_WAY = -1;

const fuel = (ahead: number) => Math.max(ahead, 0);

/** The cheaper of two ways, of which one may be none. */
function cheapest(a: number, b: number): number {
  return a === NO_WAY ? b : b === NO_WAY ? a : Math.min(a, b);
}

/** What the events of one copy of a body charge; reused from loop to loop. */
export class Prepayment {
  /** By event: charged behind it in place of its cost; below zero, given back. */
  readonly behind: number[] = [];
  /** By event of a conditional branch: charged on its way when it is taken. */
  readonly taken: number[] = [];
  /** By depth of a label: what is to be paid ahead in front of its `end`. */
  readonly #ends: number[] = [];
  /** By event of an `if`: its `else`, and by that what its arm needs. */
  readonly #elses: number[] = [];
  readonly #needs: number[] = [];

  /**
   * Fills in what the events between a loop that may be unrolled and its tail charge, when at the tail
   * `ahead` is to be paid for what follows. Gives what is to be paid at the head, its cost included;
   * `undefined` when a round may hold what must not be paid ahead: then it cannot be unrolled.
   */
  plan(body: Body, loop: number, ahead: number): number | undefined {
    const { opcode, flags, cost, a, b } = body;
    const depth = a[loop]!;
    const toLabel = (target: number) => target > depth ? this.#ends[target]! : NO_WAY;
    let now = ahead;
    /** A branch before the tail goes to the head. */
    let continues = false;
    /** What must not be paid ahead is on a way out. */
    let holdsMore = false;
    for (let e = b[loop]! - 1; e > loop; e--) {
      const op = opcode[e]!;
      // At an `end` and an `else`, what is dead is only what falls through to them.
      const live = !(flags[e]! & FLAG.DEAD);
      const units = cost[e]!;
      const need = now === NO_WAY ? NO_WAY : units + now;
      let before = need;
      this.behind[e] = this.taken[e] = 0;
      if (!live && op !== OP.END && op !== OP.ELSE) continue;
      switch (op) {
        case OP.END:
          this.#ends[a[e]!] = need;
          break;
        case OP.ELSE: {
          const opening = a[e]!;
          if (flags[opening]! & FLAG.DEAD) continue;
          this.#elses[opening] = e;
          this.#needs[e] = need;
          // What its arm is given is known at the `if`.
          this.behind[e] = units + fuel(now);
          now = live ? this.#ends[a[opening]!]! : NO_WAY;
          continue;
        }
        case OP.IF:
          // Without another arm there is no place on the way around.
          before = need === NO_WAY ? this.#ends[a[e]!]! : fuel(this.#ends[a[e]!]!);
          if (flags[e]! & FLAG.HAS_ELSE) {
            const other = this.#elses[e]!;
            before = cheapest(need, this.#needs[other]!);
            this.behind[other]! -= fuel(before);
          }
          break;
        case OP.BR_TABLE:
          // Only out of the loop: there is no place on its ways for a charge.
          if (b[e]! >= depth) return undefined;
          now = NO_WAY;
          continue;
        case OP.BR:
        case OP.RETURN:
          continues ||= op === OP.BR && b[e] === depth;
          now = op === OP.BR ? toLabel(b[e]!) : NO_WAY;
          continue;
        case OP.BR_IF: {
          const there = toLabel(b[e]!);
          continues ||= b[e] === depth;
          // Operands that it takes along cannot be put around a charge.
          if (need === NO_WAY) before = there;
          else if (flags[e]! & FLAG.VALUES) before = fuel(there);
          this.taken[e] = fuel(there) - fuel(before);
          break;
        }
        case PLACE:
        case OP.GLOBAL_GET:
        case OP.GLOBAL_SET:
        case OP.REF_FUNC:
          break;
        default:
          // A call, a loop, a bulk or growing instruction.
          if (now !== NO_WAY) return undefined;
          holdsMore = true;
      }
      this.behind[e] = units + fuel(now) - fuel(before);
      now = live ? before : NO_WAY;
    }
    return holdsMore && continues ? undefined : cost[loop]! + fuel(now);
  }
}

/** Bytes of a loop that may be unrolled, with the copies that there will be of loops inside. */
function bytesInside(body: Body, loop: number): number {
  const { flags, end, b } = body;
  const tail = b[loop]!;
  let bytes = end[tail]! - end[loop]!;
  for (let e = loop + 1; e < tail; e++) {
    if (!(flags[e]! & FLAG.UNROLL)) continue;
    bytes += (UNROLLED_COPIES - 1) * bytesInside(body, e);
    e = b[e]!;
  }
  return bytes;
}

/** Decides which of the loops that may be unrolled are not, and takes the flag from them. */
export function settleUnrolled(body: Body, prepayment: Prepayment): void {
  const { flags, end, b } = body;
  for (let e = 0; e < body.events; e++) {
    if (flags[e]! & FLAG.UNROLL && prepayment.plan(body, e, 0) === undefined) {
      flags[e]! &= ~FLAG.UNROLL;
    }
  }
  let left = end[body.events - 1]! - body.codeStart + COPIES_INSIDE_BYTES_FREE;
  // Inner ones first: what is inside counts as it will be.
  for (let e = body.events - 1; e >= 0; e--) {
    if (!(flags[e]! & FLAG.UNROLL)) continue;
    const copied = UNROLLED_COPIES * (bytesInside(body, e) - (end[b[e]!]! - end[e]!));
    if (copied > left) flags[e]! &= ~FLAG.UNROLL;
    else left -= copied;
  }
}

/** Once it is known which loops are outlined: takes the flag from those around too many of them. */
export function settleUnrolledAround(body: Body, { outlines }: Plan): void {
  if (outlines.size === 0) return;
  for (let e = 0; e < body.events; e++) {
    if (!(body.flags[e]! & FLAG.UNROLL)) continue;
    let callBytes = 0;
    for (let inside = e + 1; inside < body.b[e]!; inside++) {
      callBytes += outlines.get(inside)?.callBytes ?? 0;
    }
    if (callBytes > UNROLLED_CALL_BYTES_MAX) body.flags[e]! &= ~FLAG.UNROLL;
  }
}

/** Takes the flag from all loops, and tells whether one had it. */
export function neverUnroll({ events, flags }: Body): boolean {
  let any = 0;
  for (let e = 0; e < events; e++) {
    any |= flags[e]! & FLAG.UNROLL;
    flags[e]! &= ~FLAG.UNROLL;
  }
  return any !== 0;
}
