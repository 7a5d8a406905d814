/**
 * Pairs of one component's key-value store in an SQLite file of its own.
 *
 * What was written survives a killed agent; a power cut may take the last moments, never the file:
 * a sync of the disk for every write would stop the agent's thread for as long as a disk takes.
 *
 * @module
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { KeyValueBackend, KeyValueEntry } from "../kernel/key_value.ts";
import { openSqlite, type SqliteFormat, storeError, transact } from "./sqlite_file.ts";

const FORMAT: SqliteFormat = {
  applicationId: 0x524c4d4b, // "RLMK"
  version: 1,
  tables: `CREATE TABLE pairs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    key BLOB NOT NULL UNIQUE,
    value BLOB NOT NULL,
    version INTEGER NOT NULL
  ) STRICT`,
  sync: "NORMAL",
};

const STATEMENTS = {
  find: "SELECT value, version FROM pairs WHERE key = ?",
  size: "SELECT length(value) AS size FROM pairs WHERE key = ?",
  put: `INSERT INTO pairs (key, value, version) VALUES (?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version`,
  remove: "DELETE FROM pairs WHERE key = ?",
  page: "SELECT number, key FROM pairs WHERE number > ? ORDER BY number LIMIT ?",
  totals: `SELECT count(*) AS keys, coalesce(sum(length(key) + length(value)), 0) AS bytes,
    coalesce(max(version), 0) AS version FROM pairs`,
} as const;

const encoder = new TextEncoder();
// A key may begin with U+FEFF; decoding must not drop it as a byte order mark.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** See the module. */
export class SqliteKeyValue implements KeyValueBackend {
  readonly #database: DatabaseSync;
  readonly #statements: Readonly<Record<keyof typeof STATEMENTS, StatementSync>>;

  /** Opens or creates the file; throws as {@link openSqlite}. */
  constructor(readonly path: string) {
    const database = openSqlite(path, FORMAT);
    try {
      this.#statements = Object.fromEntries(
        Object.entries(STATEMENTS).map(([name, sql]) => [name, database.prepare(sql)]),
      ) as Record<keyof typeof STATEMENTS, StatementSync>;
    } catch (error) {
      database.close();
      throw storeError("open", path, error);
    }
    this.#database = database;
  }

  transact<T>(act: () => T): T {
    return this.#guard("write", () => transact(this.#database, act));
  }

  find(key: string): KeyValueEntry | undefined {
    return this.#guard("read", () => {
      const row = this.#statements.find.get(encoder.encode(key));
      return row && { value: row.value as Uint8Array, version: Number(row.version) };
    });
  }

  sizeOf(key: string): number | undefined {
    return this.#guard("read", () => {
      const row = this.#statements.size.get(encoder.encode(key));
      return row && Number(row.size);
    });
  }

  put(key: string, value: Uint8Array, version: number): void {
    this.#guard("write", () => this.#statements.put.run(encoder.encode(key), value, version));
  }

  remove(key: string): void {
    this.#guard("write", () => this.#statements.remove.run(encoder.encode(key)));
  }

  page(after: number, keysMax: number): { number: number; key: string }[] {
    return this.#guard("read", () =>
      this.#statements.page.all(after, keysMax).map((row) => ({
        number: Number(row.number),
        key: decoder.decode(row.key as Uint8Array),
      })));
  }

  totals(): { keys: number; bytes: number; version: number } {
    return this.#guard("read", () => {
      const { keys, bytes, version } = this.#statements.totals.get()!;
      return { keys: Number(keys), bytes: Number(bytes), version: Number(version) };
    });
  }

  close(): void {
    if (this.#database.isOpen) this.#database.close();
  }

  #guard<T>(action: string, act: () => T): T {
    try {
      return act();
    } catch (error) {
      throw storeError(action, this.path, error);
    }
  }
}
