/**
 * A {@link Store} in memory: the twin of the SQLite one for tests and simulation.
 *
 * Same order, same atomicity, same copies in and out; durable for as long as the object lives.
 *
 * @module
 */
import type { Store, StoreOp } from "../kernel/ports.ts";
import { checkKey, compareKeys } from "./store_key.ts";

/** Keeps every pair in a map; a scan sorts what it returns. */
export class MemoryStore implements Store {
  readonly #pairs = new Map<string, Uint8Array>();
  #open = true;

  get(key: string): Uint8Array | undefined {
    this.#checkOpen();
    return this.#pairs.get(checkKey(key))?.slice();
  }

  scan(prefix: string): Iterable<readonly [string, Uint8Array]> {
    this.#checkOpen();
    return [...this.#pairs]
      .filter(([key]) => key.startsWith(prefix))
      .sort(([a], [b]) => compareKeys(a, b))
      .map(([key, value]) => [key, value.slice()] as const);
  }

  write(ops: readonly StoreOp[]): void {
    this.#checkOpen();
    // All that can throw happens before the first change.
    const copies = ops.map((op) =>
      "put" in op
        ? { key: checkKey(op.put), value: op.value.slice() }
        : { key: checkKey(op.delete), value: undefined }
    );
    for (const { key, value } of copies) {
      if (value === undefined) this.#pairs.delete(key);
      else this.#pairs.set(key, value);
    }
  }

  close(): void {
    this.#open = false;
  }

  #checkOpen(): void {
    if (!this.#open) throw new Error("the store is closed");
  }
}
