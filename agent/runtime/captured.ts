/**
 * The host's objects that an instance has handles of, one table for each kind of resource.
 *
 * jco keeps them in a `Map` under numbers that only rise. A `Map` is made anew when enough was
 * deleted from it, and V8 links the former one to the next (see `kernel/slots.ts`); and a number
 * past 2^30 would be read as the mark that jco adds to it. Here numbers are given again.
 *
 * @module
 */

/** Values under numbers from 1. */
export class Captured {
  /** A value, or the number of the next place that is free; place 0 is in no use. */
  readonly #values: (object | number)[] = [0, 2, 3, 0];
  /**
   * The first place that is free; 0 for none. Few guests need many at once: an array that grows
   * gets room for 16 more than it has, in each kind of each idle instance.
   */
  #free = 1;

  /** Keeps a value under a number that no other has. */
  add(value: object): number {
    const free = this.#free;
    if (free === 0) return this.#values.push(value) - 1;
    this.#free = this.#values[free] as number;
    this.#values[free] = value;
    return free;
  }

  /** The value of that number, if it is there. */
  get(number: number): object | undefined {
    const value = this.#values[number];
    return typeof value === "object" ? value : undefined;
  }

  /** Lets go of a value. */
  delete(number: number): void {
    if (typeof this.#values[number] !== "object") return;
    this.#values[number] = this.#free;
    this.#free = number;
  }
}
