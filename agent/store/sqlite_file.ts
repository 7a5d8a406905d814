/**
 * SQLite files of realm: private to this user, held by one process, told apart by their number.
 *
 * @module
 */
import { DatabaseSync } from "node:sqlite";
import { RealmError } from "../kernel/error.ts";

/** What a kind of file is known by, and how it begins. */
export interface SqliteFormat {
  /** Tells our files from other SQLite files (`file(1)` shows it). */
  readonly applicationId: number;
  /** Version of the layout; a file with a higher one is left alone. */
  readonly version: number;
  /** Makes the tables of a new file. */
  readonly tables: string;
  /** `FULL`: a write survives a power cut; `NORMAL`: a killed process. Neither harms the file. */
  readonly sync: "FULL" | "NORMAL";
}

/**
 * Opens or creates the file (mode 0600) in a folder that exists.
 *
 * Throws RealmError `corrupt` for a file of another kind, `unsupported` for one made by a later
 * version, `failed` when another process holds it or it cannot be opened.
 */
export function openSqlite(path: string, format: SqliteFormat): DatabaseSync {
  createPrivate(path);
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path);
    prepareLayout(database, path, format);
    return database;
  } catch (error) {
    database?.close();
    throw storeError("open", path, error);
  }
}

/** SQLite would create the file by the umask; its log inherits the mode of the file. */
function createPrivate(path: string): void {
  try {
    Deno.openSync(path, { write: true, createNew: true, mode: 0o600 }).close();
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return;
    throw storeError("create", path, error);
  }
}

function prepareLayout(database: DatabaseSync, path: string, format: SqliteFormat): void {
  database.exec(`
    PRAGMA locking_mode = EXCLUSIVE;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = ${format.sync};
    PRAGMA trusted_schema = OFF;
  `);
  const applicationId = pragma(database, "application_id");
  const version = pragma(database, "user_version");
  const tables = database.prepare("SELECT count(*) AS count FROM sqlite_schema").get()!.count;
  const isNew = applicationId === 0 && version === 0 && tables === 0;
  if (!isNew && applicationId !== format.applicationId) {
    throw new RealmError(
      "corrupt",
      `Cannot open store "${path}": an SQLite file of another program, wanted one of realm's`,
      { hint: "Choose another data folder with --data" },
    );
  }
  if (version > format.version) {
    throw new RealmError(
      "unsupported",
      `Cannot open store "${path}": layout ${version}, wanted at most ${format.version}`,
      { hint: "Run the newer realm that wrote it" },
    );
  }
  if (!isNew) return;
  // One transaction: a crash in between leaves an empty file, not half a layout.
  database.exec(`
    BEGIN IMMEDIATE;
    ${format.tables};
    PRAGMA application_id = ${format.applicationId};
    PRAGMA user_version = ${format.version};
    COMMIT;
  `);
}

function pragma(database: DatabaseSync, name: string): number {
  return Number(database.prepare(`PRAGMA ${name}`).get()![name]);
}

/** Does all of `act` or nothing. */
export function transact<T>(database: DatabaseSync, act: () => T): T {
  database.exec("BEGIN IMMEDIATE");
  try {
    const result = act();
    database.exec("COMMIT");
    return result;
  } catch (error) {
    // A full disk may already have rolled back; the first error is the one to tell.
    if (database.isTransaction) database.exec("ROLLBACK");
    throw error;
  }
}

/** The RealmError for what SQLite threw; others are given back as they are.
 *
 * node:sqlite gives no SQLite result code, only its fixed English text.
 */
export function storeError(action: string, path: string, error: unknown): unknown {
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
  return new RealmError("failed", `Cannot ${action} store "${path}": ${reason}`, {
    hint: /disk is full/.test(reason)
      ? "Make room on its file system"
      : "Run realm doctor, which looks at the folder, the disk and the machine",
    cause: error,
  });
}
