/**
 * Values that come and go all the time, each under a number.
 *
 * A `Map` or `Set` is made anew when enough was deleted from it, and V8 keeps the former one linked
 * to the next. Once one of these lies in the old generation, every later one and all that was in
 * them survives each small collection: with a request in every entry that was half of all memory
 * that was ever used, and pauses of 20 ms. Here places are used again and nothing is linked.
 *
 * @module
 */

const INDEX_BITS = 20;
const INDEX_MASK = (1 << INDEX_BITS) - 1;
const GENERATION_MAX = (1 << (31 - INDEX_BITS)) - 1;

/** The place of a number among all that are in use, for who keeps something for each elsewhere. */
export function placeOf(id: number): number {
  return id & INDEX_MASK;
}

/** At most 2^20 values. */
export class Slots<T> {
  readonly #values: (T | undefined)[] = [];
  readonly #ids: number[] = [];
  readonly #free: number[] = [];

  /** How many there are. */
  get size(): number {
    return this.#values.length - this.#free.length;
  }

  /** Keeps a value; its number is from 0 to 2^31 - 1 and not given again soon. */
  add(value: T): number {
    const free = this.#free.pop();
    if (free === undefined) {
      const index = this.#values.push(value) - 1;
      if (index > INDEX_MASK) {
        throw new RangeError(`Cannot keep more than ${INDEX_MASK + 1} values`);
      }
      this.#ids.push(index);
      return index;
    }
    this.#values[free] = value;
    return this.#ids[free]!;
  }

  /** The value of that number, if it is there. */
  get(id: number): T | undefined {
    const index = placeOf(id);
    return this.#ids[index] === id ? this.#values[index] : undefined;
  }

  /** Lets go of a value; what it was. */
  delete(id: number): T | undefined {
    const value = this.get(id);
    if (value === undefined) return undefined;
    const index = placeOf(id);
    this.#values[index] = undefined;
    const generation = id >> INDEX_BITS;
    this.#ids[index] = generation === GENERATION_MAX ? index : id + (1 << INDEX_BITS);
    this.#free.push(index);
    return value;
  }

  /** Calls `each` for every value and its number; it may delete. */
  forEach(each: (value: T, id: number) => void): void {
    for (let index = 0; index < this.#values.length; index++) {
      const value = this.#values[index];
      if (value !== undefined) each(value, this.#ids[index]!);
    }
  }

  /** Lets go of all. */
  clear(): void {
    this.forEach((_, id) => this.delete(id));
  }
}
