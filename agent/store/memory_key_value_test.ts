import assert from "node:assert/strict";
import { KEYS_MAX, KeyValueStore } from "../kernel/key_value.ts";
import { testKeyValue } from "./key_value_conformance.ts";
import { MemoryKeyValue } from "./memory_key_value.ts";

testKeyValue("MemoryKeyValue", () => ({ open: () => new MemoryKeyValue(), cleanUp: () => {} }));

Deno.test("KeyValueStore takes no key past the most, and still lets go of some", () => {
  const backend = new MemoryKeyValue();
  backend.put("a", new Uint8Array(1), 1);
  backend.totals = () => ({ keys: KEYS_MAX, bytes: 2, version: 1 });
  const store = new KeyValueStore(backend);
  const value = new Uint8Array(1);
  assert.throws(() => store.set([["b", value]]), { code: "limit-exceeded" });
  assert.equal(store.has("b"), false);
  store.set([["a", value]]);
  store.delete(["a"]);
  store.set([["b", value]]);
});
