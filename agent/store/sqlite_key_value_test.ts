import assert from "node:assert/strict";
import { answerKeyValue, KeyValueStore } from "../kernel/key_value.ts";
import { testKeyValue } from "./key_value_conformance.ts";
import { SqliteKeyValue } from "./sqlite_key_value.ts";
import { SqliteStore } from "./sqlite_store.ts";

testKeyValue("SqliteKeyValue", () => {
  const folder = Deno.makeTempDirSync({ prefix: "realm-key-value-" });
  const open = () => new SqliteKeyValue(`${folder}/default.sqlite`);
  return { open, reopen: open, cleanUp: () => Deno.removeSync(folder, { recursive: true }) };
});

Deno.test("SqliteKeyValue is held by one, private, and no other kind of store", () => {
  const folder = Deno.makeTempDirSync({ prefix: "realm-key-value-" });
  try {
    const path = `${folder}/default.sqlite`;
    const backend = new SqliteKeyValue(path);
    assert.equal(Deno.statSync(path).mode! & 0o777, 0o600);
    assert.throws(() => new SqliteKeyValue(path), { code: "failed", message: /another process/ });
    backend.close();
    assert.throws(() => new SqliteStore(path), { code: "corrupt" });
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("answerKeyValue() tells a guest nothing of the host when the store fails", () => {
  const folder = Deno.makeTempDirSync({ prefix: "realm-key-value-" });
  try {
    const store = new KeyValueStore(new SqliteKeyValue(`${folder}/default.sqlite`));
    store.close();
    const answer = answerKeyValue(store, { op: "has", key: "k" });
    assert.deepEqual(answer, { error: "the store cannot be used now" });
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});
