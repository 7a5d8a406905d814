/**
 * A {@link Store} in one SQLite file: write-ahead log, a sync of the disk for every write.
 *
 * About 2,000 writes a second on an ordinary disk, so callers put what belongs together into one
 * write. The file is held exclusively: a second agent on the same data folder is refused instead
 * of quietly sharing it.
 *
 * @module
 */
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { RealmError } from "../kernel/error.ts";
import type { Store, StoreOp } from "../kernel/ports.ts";
import { checkKey } from "./store_key.ts";

/** "RLMS": tells our files from other SQLite files (`file(1)` shows it). */
const APPLICATION_ID = 0x524c4d53;
/** Version of the layout; a file with a higher one is left alone. */
const LAYOUT_VERSION = 1;

const encoder = new TextEncoder();
// A key may begin with U+FEFF; decoding must not drop it as a byte order mark.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * Keys are stored as their UTF-8 bytes, so that the order is that of bytes and a NUL in a key is
 * an ordinary character.
 */
export class SqliteStore implements Store {
  readonly #database: DatabaseSync;
  readonly #get: StatementSync;
  readonly #scan: StatementSync;
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
    createPrivate(path);
    let database: DatabaseSync | undefined;
    try {
      database = new DatabaseSync(path);
      prepareLayout(database, path);
      this.#get = database.prepare("SELECT value FROM pairs WHERE key = ?");
      this.#scan = database.prepare(
        "SELECT key, value FROM pairs WHERE key >= ? AND key < ? ORDER BY key",
      );
      this.#put = database.prepare("INSERT OR REPLACE INTO pairs (key, value) VALUES (?, ?)");
      this.#delete = database.prepare("DELETE FROM pairs WHERE key = ?");
    } catch (error) {
      database?.close();
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
  scan(prefix: string): Iterable<readonly [string, Uint8Array]> {
    const from = encoder.encode(prefix);
    // 0xff is in no UTF-8 text, so this is past every key that starts with the prefix.
    const to = new Uint8Array(from.length + 1);
    to.set(from);
    to[from.length] = 0xff;
    return this.#guard(
      "read",
      () =>
        this.#scan.all(from, to).map((row) =>
          [decoder.decode(row.key as Uint8Array), row.value as Uint8Array] as const
        ),
    );
  }

  write(ops: readonly StoreOp[]): void {
    for (const op of ops) checkKey("put" in op ? op.put : op.delete);
    this.#guard("write", () => {
      this.#database.exec("BEGIN IMMEDIATE");
      try {
        for (const op of ops) {
          if ("put" in op) this.#put.run(encoder.encode(op.put), op.value);
          else this.#delete.run(encoder.encode(op.delete));
        }
        this.#database.exec("COMMIT");
      } catch (error) {
        // A full disk may already have rolled back; the first error is the one to tell.
        if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
        throw error;
      }
    });
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

/** SQLite would create the file by the umask; its log inherits the mode of the file. */
function createPrivate(path: string): void {
  try {
    Deno.openSync(path, { write: true, createNew: true, mode: 0o600 }).close();
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return;
    throw new RealmError("failed", `Cannot create store "${path}": ${(error as Error).message}`, {
      cause: error,
    });
  }
}

function prepareLayout(database: DatabaseSync, path: string): void {
  database.exec(`
    PRAGMA locking_mode = EXCLUSIVE;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA trusted_schema = OFF;
  `);
  const applicationId = pragma(database, "application_id");
  const version = pragma(database, "user_version");
  const tables = database.prepare("SELECT count(*) AS count FROM sqlite_schema").get()!.count;
  const isNew = applicationId === 0 && version === 0 && tables === 0;
  if (!isNew && applicationId !== APPLICATION_ID) {
    throw new RealmError(
      "corrupt",
      `Cannot open store "${path}": an SQLite file of another program, wanted a realm store`,
      { hint: "Choose another data folder with --data" },
    );
  }
  if (version > LAYOUT_VERSION) {
    throw new RealmError(
      "unsupported",
      `Cannot open store "${path}": layout ${version}, wanted at most ${LAYOUT_VERSION}`,
      { hint: "Run the newer realm that wrote it" },
    );
  }
  if (!isNew) return;
  // One transaction: a crash in between leaves an empty file, not half a layout.
  database.exec(`
    BEGIN IMMEDIATE;
    CREATE TABLE pairs (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    PRAGMA application_id = ${APPLICATION_ID};
    PRAGMA user_version = ${LAYOUT_VERSION};
    COMMIT;
  `);
}

function pragma(database: DatabaseSync, name: string): number {
  return Number(database.prepare(`PRAGMA ${name}`).get()![name]);
}

/** node:sqlite gives no SQLite result code, only its fixed English text. */
function storeError(action: string, path: string, error: unknown): unknown {
  if (error instanceof RealmError || error instanceof TypeError) return error;
  const reason = error instanceof Error ? error.message : String(error);
  if (/not a database|malformed|unsupported file format/.test(reason)) {
    return new RealmError("corrupt", `Cannot ${action} store "${path}": ${reason}`, {
      hint: "Move the file away; the agent then starts with an empty store",
      cause: error,
    });
  }
  if (/database is locked/.test(reason)) {
    return new RealmError("failed", `Cannot ${action} store "${path}": another process holds it`, {
      hint: "Stop the other agent, or choose another data folder with --data",
      cause: error,
    });
  }
  return new RealmError("failed", `Cannot ${action} store "${path}": ${reason}`, { cause: error });
}
