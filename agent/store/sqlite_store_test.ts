import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { RealmError } from "../kernel/error.ts";
import { SqliteStore } from "./sqlite_store.ts";
import { testStore } from "./store_conformance.ts";

function inFolder(run: (folder: string) => void): void {
  const folder = Deno.makeTempDirSync({ prefix: "realm-store-" });
  try {
    run(folder);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

testStore("SqliteStore", () => {
  const folder = Deno.makeTempDirSync({ prefix: "realm-store-" });
  const open = () => new SqliteStore(`${folder}/state.db`);
  return { open, reopen: open, cleanUp: () => Deno.removeSync(folder, { recursive: true }) };
});

Deno.test("SqliteStore keeps its files from other users", () =>
  inFolder((folder) => {
    const store = new SqliteStore(`${folder}/state.db`);
    store.write([{ put: "k", value: new Uint8Array(1) }]);
    const files = [...Deno.readDirSync(folder)].map((entry) => entry.name);
    assert.ok(files.includes("state.db-wal"));
    for (const file of files) {
      assert.equal(Deno.statSync(`${folder}/${file}`).mode! & 0o777, 0o600, file);
    }
    store.close();
  }));

Deno.test("SqliteStore refuses a second holder of its file", () =>
  inFolder((folder) => {
    const store = new SqliteStore(`${folder}/state.db`);
    assert.throws(
      () => new SqliteStore(`${folder}/state.db`),
      (error) =>
        error instanceof RealmError && error.code === "failed" &&
        /another process/.test(error.message),
    );
    store.close();
    new SqliteStore(`${folder}/state.db`).close();
  }));

Deno.test("SqliteStore tells what is not a store from what is", () =>
  inFolder((folder) => {
    const refused = (path: string, code: string) =>
      assert.throws(
        () => new SqliteStore(path),
        (error) => error instanceof RealmError && error.code === code && error.hint !== undefined,
      );

    Deno.writeTextFileSync(`${folder}/text`, "this is a text file and no database ".repeat(40));
    refused(`${folder}/text`, "corrupt");

    const other = new DatabaseSync(`${folder}/other.db`);
    other.exec("CREATE TABLE t (x)");
    other.close();
    refused(`${folder}/other.db`, "corrupt");

    new SqliteStore(`${folder}/newer.db`).close();
    const newer = new DatabaseSync(`${folder}/newer.db`);
    newer.exec("PRAGMA user_version = 2");
    newer.close();
    refused(`${folder}/newer.db`, "unsupported");

    assert.throws(
      () => new SqliteStore(`${folder}/missing/state.db`),
      (error) => error instanceof RealmError && error.code === "failed",
    );
  }));

Deno.test("SqliteStore reports damaged pages as corrupt", () =>
  inFolder((folder) => {
    const path = `${folder}/state.db`;
    const store = new SqliteStore(path);
    const value = new Uint8Array(2000);
    store.write(Array.from({ length: 200 }, (_, i) => ({ put: `k/${i}`, value })));
    store.close();
    const file = Deno.readFileSync(path);
    file.fill(0x5a, 4096);
    Deno.writeFileSync(path, file);
    assert.throws(
      () => {
        const damaged = new SqliteStore(path);
        try {
          [...damaged.scan("")];
        } finally {
          damaged.close();
        }
      },
      (error) => error instanceof RealmError && error.code === "corrupt",
    );
  }));
