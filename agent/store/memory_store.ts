/**
 * A {@link Store} in memory: the twin of the SQLite one for tests and simulation.
 *
 * Same order, same atomicity, same copies in and out; durable for as long as the object lives.
 *
 * @module
 */
import type { ScanPage, Store, StoreOp } from "../kernel/ports.ts";
import { checkKey, compareKeys } from "./store_key.ts";

/** Keeps every pair in a map; a scan sorts what it returns. */
export class MemoryStore implements Store {
  readonly #pairs = new Map<string, Uint8Array>();
  #open = true;

  get(key: string): Uint8Array | undefined {
    this.#checkOpen();
    return this.#pairs.get(checkKey(key))?.slice();
  }

  scan(prefix: string, page?: ScanPage): Iterable<readonly [string, Uint8Array]> {
    const keys = this.#sorted(prefix, page?.after).slice(0, page?.limit);
    return keys.map((key) => [key, this.#pairs.get(key)!.slice()] as const);
  }

  keys(prefix: string): Iterable<string> {
    return this.#sorted(prefix);
  }

  #sorted(prefix: string, after?: string): string[] {
    this.#checkOpen();
    return [...this.#pairs.keys()]
      .filter((key) =>
        key.startsWith(prefix) && (after === undefined || compareKeys(key, after) > 0)
      )
      .sort(compareKeys);
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
