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
const BLOCK = 0, IF = 1, IF_ELSE = 2, LOOPS = 3;

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
  #labels = new Int32Array(0);
  #elses = new Int32Array(0);
  #kinds = new Int32Array(0);
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
    const size = (this.#depthMax + 1) * words;
    if (this.#labels.length < size) {
      this.#labels = new Int32Array(2 * size);
      this.#elses = new Int32Array(2 * size);
      this.#kinds = new Int32Array(2 * size);
    }
    // By depth: what is alive at the label, and in front of the `else`, if there was one.
    const labels = this.#labels, elses = this.#elses, kinds = this.#kinds;
    const entries = this.#entries;
    const live = new Int32Array(words);
    const around: Loop[] = [];
    let loop: Loop | undefined;
    let depth = -1;
    let changed = false;
    for (let at = this.#length - 1; at >= 0; at--) {
      const entry = entries[at]!;
      const argument = entry & ARGUMENT;
      switch (entry >>> KIND_SHIFT) {
        case READ:
          live[argument >> 5]! |= 1 << (argument & 31);
          if (loop) loop.used[argument >> 5]! |= 1 << (argument & 31);
          break;
        case WRITE:
          live[argument >> 5]! &= ~(1 << (argument & 31));
          if (loop) loop.written[argument >> 5]! |= 1 << (argument & 31);
          break;
        case STOP:
          for (let w = 0; w < words; w++) live[w] = 0;
          break;
        case BRANCH:
          for (let w = 0; w < words; w++) live[w]! |= labels[argument * words + w]!;
          break;
        case ELSE:
          kinds[depth] = IF_ELSE;
          for (let w = 0; w < words; w++) {
            elses[depth * words + w] = live[w]!;
            live[w] = labels[depth * words + w]!;
          }
          break;
        case CLOSE: {
          kinds[++depth] = argument;
          if (argument < LOOPS) {
            for (let w = 0; w < words; w++) labels[depth * words + w] = live[w]!;
            break;
          }
          around.push(loop = this.loops[argument - LOOPS]!);
          loop.endLive.set(live);
          labels.set(loop.headLive, depth * words);
          for (const { target, live } of loop.exits) {
            live.set(labels.subarray(target * words, (target + 1) * words));
          }
          break;
        }
        default: {
          const kind = kinds[depth]!;
          if (kind === IF || kind === IF_ELSE) {
            const other = kind === IF ? labels : elses;
            for (let w = 0; w < words; w++) live[w]! |= other[depth * words + w]!;
          } else if (kind >= LOOPS) {
            const ended = around.pop()!;
            loop = around.at(-1);
            if (unite(ended.headLive, live)) changed = true;
            live.set(ended.headLive);
            unite(ended.used, ended.written);
            if (loop) {
              unite(loop.used, ended.used);
              unite(loop.written, ended.written);
            }
          }
          depth--;
        }
      }
    }
    return changed;
  }
}
