/**
 * What was put there last: as many bytes of it as a bound, and at least half as many.
 *
 * In two parts, of which the older goes as a whole when the newer is full: to take the oldest out of one
 * `Map` for each that comes looks at the places of all that were taken out before.
 *
 * @module
 */

/** See the module. */
export class Recent<Key, Value> {
  #newer = new Map<Key, Value>();
  #older = new Map<Key, Value>();
  #bytes = 0;

  constructor(readonly bytesMax: number) {}

  get(key: Key): Value | undefined {
    return this.#newer.get(key) ?? this.#older.get(key);
  }

  /** Keeps a value of so many bytes for a while. */
  put(key: Key, value: Value, bytes: number): void {
    if (!this.#newer.has(key)) this.#bytes += bytes;
    this.#newer.set(key, value);
    if (this.#bytes <= this.bytesMax / 2) return;
    this.#older = this.#newer;
    this.#newer = new Map();
    this.#bytes = 0;
  }
}
