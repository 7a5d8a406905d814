/**
 * Virtual time: what happens when, in milliseconds from 0. Nothing waits; time is that of the next
 * thing to happen. Of two at one time the one that was planned first comes first.
 *
 * @module
 */

interface Planned {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
}

/** A binary heap of what is to happen. */
export class Timeline {
  readonly #heap: Planned[] = [];
  #order = 0;
  #nowMs = 0;
  /** Things that have happened. */
  steps = 0;

  get nowMs(): number {
    return this.#nowMs;
  }

  /** Plans something for later; the past is now. */
  at(atMs: number, run: () => void): void {
    const planned = { atMs: Math.max(atMs, this.#nowMs), order: this.#order++, run };
    const heap = this.#heap;
    let i = heap.push(planned) - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!isBefore(planned, heap[parent]!)) break;
      heap[i] = heap[parent]!;
      i = parent;
    }
    heap[i] = planned;
  }

  after(delayMs: number, run: () => void): void {
    this.at(this.#nowMs + delayMs, run);
  }

  /** Lets everything up to `untilMs` happen, or until `done` says so after a step. */
  runUntil(untilMs: number, done: () => boolean = () => false): void {
    while (this.#heap.length > 0 && this.#heap[0]!.atMs <= untilMs) {
      const { atMs, run } = this.#pop();
      this.#nowMs = atMs;
      this.steps += 1;
      run();
      if (done()) return;
    }
    this.#nowMs = Math.max(this.#nowMs, untilMs);
  }

  #pop(): Planned {
    const heap = this.#heap;
    const first = heap[0]!;
    const last = heap.pop()!;
    if (heap.length === 0) return first;
    let i = 0;
    while (true) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child += 1;
      if (!isBefore(heap[child]!, last)) break;
      heap[i] = heap[child]!;
      i = child;
    }
    heap[i] = last;
    return first;
  }
}

function isBefore(a: Planned, b: Planned): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}
