/**
 * What was put there last: as many bytes of it as a bound, and at least half as many.
 *
 * In two parts, of which the older goes as a whole when the newer is full: to take the oldest out of one
 * `Map` for each that comes looks at the places of all that were taken out before.
 *
 * @module
 */

interface Kept<Value> {
  readonly value: Value;
  readonly bytes: number;
}

/** See the module. */
export class Recent<Key, Value> {
  #newer = new Map<Key, Kept<Value>>();
  #older = new Map<Key, Kept<Value>>();
  #bytes = 0;

  constructor(readonly bytesMax: number) {}

  get(key: Key): Value | undefined {
    return (this.#newer.get(key) ?? this.#older.get(key))?.value;
  }

  /** Keeps a value of so many bytes for a while. */
  put(key: Key, value: Value, bytes: number): void {
    this.#bytes += bytes - (this.#newer.get(key)?.bytes ?? 0);
    this.#newer.set(key, { value, bytes });
    if (this.#bytes <= this.bytesMax / 2) return;
    this.#older = this.#newer;
    this.#newer = new Map();
    this.#bytes = 0;
  }
}
