/**
 * A {@link Store} in one SQLite file: write-ahead log, a sync of the disk for every write.
 *
 * About 2,000 writes a second on an ordinary disk, so callers put what belongs together into one
 * write. The file is held exclusively: a second agent on the same data folder is refused instead
 * of quietly sharing it.
 *
 * @module
 */
import type { DatabaseSync, SQLOutputValue, StatementSync } from "node:sqlite";
import type { ScanPage, Store, StoreOp } from "../kernel/ports.ts";
import { openSqlite, type SqliteFormat, storeError, transact } from "./sqlite_file.ts";
import { checkKey } from "./store_key.ts";

const FORMAT: SqliteFormat = {
  applicationId: 0x524c4d53, // "RLMS"
  version: 1,
  tables: "CREATE TABLE pairs (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID",
  sync: "FULL",
};

const encoder = new TextEncoder();
// A key may begin with U+FEFF; decoding must not drop it as a byte order mark.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** As SQLite says it. */
const ALL: ScanPage = { limit: -1 };

/** The pairs of a page, one after another, and the lengths of each: null where there are none. */
type Page = Record<"keys" | "values", Uint8Array> & Record<"keyLengths" | "valueLengths", string>;

function parts(joined: Uint8Array, lengths: string): Uint8Array[] {
  let at = 0;
  return lengths.split(",").map((length) => joined.subarray(at, at += Number(length)));
}

function textOf(name: SQLOutputValue | undefined): string {
  return typeof name === "string" ? name : decoder.decode(name as Uint8Array);
}

/**
 * Keys are stored as their UTF-8 bytes, so that the order is that of bytes and a NUL in a key is
 * an ordinary character.
 */
export class SqliteStore implements Store {
  readonly #database: DatabaseSync;
  readonly #get: StatementSync;
  readonly #scan: StatementSync;
  readonly #page: StatementSync;
  readonly #keys: StatementSync;
  readonly #put: StatementSync;
  readonly #delete: StatementSync;
  readonly #path: string;

  /**
   * Opens or creates the file (mode 0600) in a folder that exists.
   *
   * Throws RealmError `corrupt` for a file that is not a store of ours, `unsupported` for one made
   * by a later version, `failed` when another process holds it or it cannot be opened.
   */
  constructor(path: string) {
    this.#path = path;
    const database = openSqlite(path, FORMAT);
    try {
      this.#get = database.prepare("SELECT value FROM pairs WHERE key = ?");
      // As text, which is read faster than bytes, unless a NUL in it would end it.
      const name = "CASE WHEN instr(key, x'00') THEN key ELSE CAST(key AS TEXT) END AS name";
      const range = "FROM pairs WHERE key >= ? AND key < ? ORDER BY key LIMIT ?";
      this.#scan = database.prepare(`SELECT ${name}, value ${range}`);
      // All of a page in one row: to make an object, a text and a piece of memory for each pair takes
      // longer than to find it. `group_concat` takes bytes as they are, NULs too.
      const joined = (column: string) =>
        `CAST(group_concat(${column}, '') AS BLOB) AS "${column}s", ` +
        `group_concat(length(${column})) AS "${column}Lengths"`;
      this.#page = database.prepare(
        `SELECT ${joined("key")}, ${joined("value")} FROM (SELECT key, value ${range})`,
      );
      this.#keys = database.prepare(`SELECT ${name} ${range}`);
      this.#put = database.prepare("INSERT OR REPLACE INTO pairs (key, value) VALUES (?, ?)");
      this.#delete = database.prepare("DELETE FROM pairs WHERE key = ?");
    } catch (error) {
      database.close();
      throw storeError("open", path, error);
    }
    this.#database = database;
  }

  get(key: string): Uint8Array | undefined {
    checkKey(key);
    return this.#guard("read", () => {
      const row = this.#get.get(encoder.encode(key));
      return row === undefined ? undefined : row.value as Uint8Array;
    });
  }

  /** The result is a snapshot: later writes, also those of the loop's body, do not change it. */
  scan(prefix: string, page?: ScanPage): Iterable<readonly [string, Uint8Array]> {
    if (page !== undefined) return this.#paged(prefix, page);
    return this.#rows(this.#scan, prefix, page)
      .map(({ name, value }) => [textOf(name), value as Uint8Array] as const);
  }

  /** {@link scan}, of a page; its values share one piece of memory. */
  #paged(prefix: string, page: ScanPage): (readonly [string, Uint8Array])[] {
    const [row] = this.#rows(this.#page, prefix, page) as Page[];
    if (row?.keys == null) return [];
    const keys = parts(row.keys, row.keyLengths);
    const values = parts(row.values, row.valueLengths);
    return values.map((value, i) => [decoder.decode(keys[i]), value] as const);
  }

  keys(prefix: string): Iterable<string> {
    return this.#rows(this.#keys, prefix).map(({ name }) => textOf(name));
  }

  #rows(
    select: StatementSync,
    prefix: string,
    { after, limit }: ScanPage = ALL,
  ): Record<string, SQLOutputValue>[] {
    const start = encoder.encode(prefix);
    // 0xff is in no UTF-8 text, so this is past every key that starts with the prefix.
    const to = Uint8Array.of(...start, 0xff);
    // The first text behind another is that with a NUL.
    const from = after === undefined ? start : encoder.encode(`${after}\0`);
    return this.#guard("read", () => select.all(from, to, limit));
  }

  write(ops: readonly StoreOp[]): void {
    for (const op of ops) checkKey("put" in op ? op.put : op.delete);
    this.#guard("write", () =>
      transact(this.#database, () => {
        for (const op of ops) {
          if ("put" in op) this.#put.run(encoder.encode(op.put), op.value);
          else this.#delete.run(encoder.encode(op.delete));
        }
      }));
  }

  close(): void {
    if (this.#database.isOpen) this.#database.close();
  }

  #guard<T>(action: string, act: () => T): T {
    if (!this.#database.isOpen) throw new Error("the store is closed");
    try {
      return act();
    } catch (error) {
      throw storeError(action, this.#path, error);
    }
  }
}
