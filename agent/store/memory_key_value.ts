/**
 * Pairs of a key-value store in memory: the twin of the SQLite ones, for tests and simulation.
 *
 * @module
 */
import type { KeyValueBackend, KeyValueEntry } from "../kernel/key_value.ts";

interface Row extends KeyValueEntry {
  readonly number: number;
}

/** See the module. */
export class MemoryKeyValue implements KeyValueBackend {
  #rows = new Map<string, Row>();
  #last = 0;

  transact<T>(act: () => T): T {
    const before = new Map(this.#rows);
    try {
      return act();
    } catch (error) {
      this.#rows = before;
      throw error;
    }
  }

  find(key: string): KeyValueEntry | undefined {
    const row = this.#rows.get(key);
    return row && { value: row.value.slice(), version: row.version };
  }

  sizeOf(key: string): number | undefined {
    return this.#rows.get(key)?.value.length;
  }

  put(key: string, value: Uint8Array, version: number): void {
    const number = this.#rows.get(key)?.number ?? ++this.#last;
    this.#rows.set(key, { value: value.slice(), version, number });
  }

  remove(key: string): void {
    this.#rows.delete(key);
  }

  page(after: number, keysMax: number): { number: number; key: string }[] {
    return [...this.#rows]
      .map(([key, { number }]) => ({ number, key }))
      .filter(({ number }) => number > after)
      .sort((a, b) => a.number - b.number)
      .slice(0, keysMax);
  }

  totals(): { keys: number; bytes: number; version: number } {
    let bytes = 0;
    let version = 0;
    for (const [key, row] of this.#rows) {
      bytes += new TextEncoder().encode(key).length + row.value.length;
      version = Math.max(version, row.version);
    }
    return { keys: this.#rows.size, bytes, version };
  }

  close(): void {}
}
