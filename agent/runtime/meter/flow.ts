/**
 * What a function does with its locals and where its control goes, and from that which locals are
 * alive where: what has to be handed to a loop that goes on in a function of its own, and back.
 *
 * The flow is noted front to back while the function is decoded, and read back to front, as often as
 * it takes until nothing changes: once, and once more for each level of loops. All work is bounded;
 * a function past the bounds is said to be unknown. Handlers of exceptions are not understood here.
 *
 * Depths of labels are counted from the function's, which is 0. Sets of locals are bits, 32 in an
 * element.
 *
 * @module
 */

/** A way out of a loop: a branch to a label outside of it, or a return, which is label 0. */
export interface Exit {
  /** Depth of the label. */
  readonly target: number;
  /** Where the type of its block stands; -1 for the function. */
  readonly typeAt: number;
  /** The label is a loop's head: it takes the parameters of the block, not its results. */
  readonly isLoop: boolean;
  /** Locals that are alive there. */
  live: Int32Array;
}

/** A loop of the function. */
export interface Loop {
  readonly number: number;
  /** Events of its `loop` and of its `end`; the latter is -1 when nothing branches to its head. */
  readonly event: number;
  end: number;
  readonly depth: number;
  /** Where the type of its block stands. */
  readonly typeAt: number;
  /** The loop around it. */
  readonly parent: Loop | undefined;
  readonly exits: Exit[];
  /** It has parameters, or holds what may only be in the function itself. */
  forbidden: boolean;
  /** Control may reach its end. */
  fallsThrough: boolean;
  /** It holds other loops. */
  nests: boolean;
  /** It calls functions of the guest or the host. */
  calls: boolean;
  /** Locals that are alive at its head, behind its end, and that it reads or writes. */
  headLive: Int32Array;
  endLive: Int32Array;
  used: Int32Array;
  written: Int32Array;
}

const NESTED_LOOPS_MAX = 12;
const LOOPS_MAX = 2000;
const EXITS_MAX = 64;
const DEPTH_MAX = 2000;
const PASSES_MAX = NESTED_LOOPS_MAX + 4;
/** Length of the flow times elements of a set. */
const WORK_MAX = 1 << 24;

const READ = 0, WRITE = 1, BRANCH = 2, STOP = 3, OPEN = 4, ELSE = 5, CLOSE = 6;
const KIND_SHIFT = 27;
const ARGUMENT = (1 << KIND_SHIFT) - 1;
/** Arguments of CLOSE: the kind of the construct, or the number of a loop behind them. */
const BLOCK = 0, IF = 1, LOOPS = 2;

const NONE = new Int32Array(0);

/** Whether `i` is in the set. */
export function has(set: Int32Array, i: number): boolean {
  return (set[i >> 5]! >>> (i & 31) & 1) !== 0;
}

/** Adds `from` to `to`, and tells whether that changed it. */
function unite(to: Int32Array, from: Int32Array): boolean {
  let changed = 0;
  for (let w = 0; w < to.length; w++) {
    const before = to[w]!;
    changed |= (to[w] = before | from[w]!) ^ before;
  }
  return changed !== 0;
}

/** Reused from function to function. */
export class Flow {
  #entries = new Int32Array(1024);
  #length = 0;
  #depth = -1;
  #depthMax = 0;
  readonly loops: Loop[] = [];
  readonly #open: Loop[] = [];
  #isKnown = true;

  /** Starts a function. */
  clear(): void {
    this.#length = this.#depthMax = 0;
    this.#depth = -1;
    this.#isKnown = true;
    this.loops.length = this.#open.length = 0;
  }

  #note(kind: number, argument: number): void {
    if (this.#length === this.#entries.length) {
      const larger = new Int32Array(2 * this.#length);
      larger.set(this.#entries);
      this.#entries = larger;
    }
    this.#entries[this.#length++] = kind << KIND_SHIFT | argument;
  }

  read(local: number): void {
    this.#note(READ, local);
  }

  write(local: number): void {
    this.#note(WRITE, local);
  }

  /** A branch that may be taken, to the label at `target`; for `typeAt` and `isLoop` see {@link Exit}. */
  branch(target: number, typeAt: number, isLoop: boolean): void {
    this.#note(BRANCH, target);
    for (let i = this.#open.length - 1; i >= 0; i--) {
      const loop = this.#open[i]!;
      if (loop.depth <= target) return;
      if (loop.forbidden || loop.exits.some((exit) => exit.target === target)) continue;
      if (loop.exits.length === EXITS_MAX) loop.forbidden = true;
      else loop.exits.push({ target, typeAt, isLoop, live: NONE });
    }
  }

  /** Control does not get past here. */
  stop(): void {
    this.#note(STOP, 0);
  }

  /** A construct begins; the first one is the function. */
  open(): void {
    this.#note(OPEN, 0);
    if (++this.#depth > this.#depthMax) this.#depthMax = this.#depth;
  }

  /** The construct that began last is a loop. */
  openLoop(event: number, typeAt: number, isAllowed: boolean): void {
    if (this.#open.length === NESTED_LOOPS_MAX || this.loops.length === LOOPS_MAX) {
      this.#isKnown = false;
      return;
    }
    const loop: Loop = {
      number: this.loops.length,
      event,
      end: -1,
      depth: this.#depth,
      typeAt,
      parent: this.#open.at(-1),
      exits: [],
      forbidden: !isAllowed,
      fallsThrough: false,
      nests: false,
      calls: false,
      headLive: NONE,
      endLive: NONE,
      used: NONE,
      written: NONE,
    };
    this.loops.push(loop);
    this.#open.push(loop);
  }

  /** A call. */
  call(): void {
    for (const loop of this.#open) loop.calls = true;
  }

  /** The loops around this place have to stay in the function. */
  forbid(): void {
    for (const loop of this.#open) loop.forbidden = true;
  }

  else(): void {
    this.#note(ELSE, 0);
  }

  /** The construct ends. Gives the loop that it was. */
  close(isIf: boolean): Loop | undefined {
    const depth = this.#depth--;
    const loop = this.#open.at(-1)?.depth === depth ? this.#open.pop() : undefined;
    if (loop?.parent) loop.parent.nests = true;
    this.#note(CLOSE, loop ? LOOPS + loop.number : isIf ? IF : BLOCK);
    return loop;
  }

  /** Finds what is alive where in a function of so many locals; false when that would take too long. */
  solve(locals: number): boolean {
    const words = (locals + 31) >> 5;
    if (!this.#isKnown || this.#length * words > WORK_MAX || this.#depthMax > DEPTH_MAX) {
      return false;
    }
    for (const loop of this.loops) {
      loop.headLive = new Int32Array(words);
      loop.endLive = new Int32Array(words);
      loop.used = new Int32Array(words);
      loop.written = new Int32Array(words);
      for (const exit of loop.exits) exit.live = new Int32Array(words);
    }
    for (let pass = 0; pass < PASSES_MAX; pass++) if (!this.#pass(words)) return true;
    return false;
  }

  /** Reads the flow back to front, and tells whether more became alive at the head of a loop. */
  #pass(words: number): boolean {
    const size = this.#depthMax + 1;
    /** By depth: what is alive behind the end of the construct, and in front of its `else`. */
    const ends = Array.from({ length: size }, () => new Int32Array(words));
    const elses: (Int32Array | undefined)[] = new Array(size).fill(undefined);
    const kinds = new Int32Array(size);
    const around: Loop[] = [];
    const live = new Int32Array(words);
    let depth = -1;
    let changed = false;
    for (let at = this.#length - 1; at >= 0; at--) {
      const entry = this.#entries[at]!;
      const argument = entry & ARGUMENT;
      switch (entry >>> KIND_SHIFT) {
        case READ:
          live[argument >> 5]! |= 1 << (argument & 31);
          if (around.length > 0) around.at(-1)!.used[argument >> 5]! |= 1 << (argument & 31);
          break;
        case WRITE:
          live[argument >> 5]! &= ~(1 << (argument & 31));
          if (around.length > 0) around.at(-1)!.written[argument >> 5]! |= 1 << (argument & 31);
          break;
        case STOP:
          live.fill(0);
          break;
        case BRANCH: {
          const loop = this.loops[kinds[argument]! - LOOPS];
          unite(live, loop ? loop.headLive : ends[argument]!);
          break;
        }
        case ELSE:
          elses[depth] = live.slice();
          live.set(ends[depth]!);
          break;
        case CLOSE: {
          depth++;
          kinds[depth] = argument;
          ends[depth]!.set(live);
          elses[depth] = undefined;
          const loop = this.loops[argument - LOOPS];
          if (!loop) break;
          loop.endLive.set(live);
          for (const exit of loop.exits) {
            const target = this.loops[kinds[exit.target]! - LOOPS];
            exit.live.set(target ? target.headLive : ends[exit.target]!);
          }
          around.push(loop);
          break;
        }
        default: {
          const kind = kinds[depth]!;
          const loop = this.loops[kind - LOOPS];
          if (kind === IF) unite(live, elses[depth] ?? ends[depth]!);
          if (loop) {
            if (unite(loop.headLive, live)) changed = true;
            unite(loop.used, loop.written);
            if (loop.parent) {
              unite(loop.parent.used, loop.used);
              unite(loop.parent.written, loop.written);
            }
            live.set(loop.headLive);
            around.pop();
          }
          depth--;
        }
      }
    }
    return changed;
  }
}
