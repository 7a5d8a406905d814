import fc from "fast-check";
import assert from "node:assert/strict";
import type { StoreOp } from "../../kernel/ports.ts";
import { MemoryStore } from "../../store/memory_store.ts";
import { namespaced } from "./namespace.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const APPS = ["a", "aa", "a-a", "b"];
const TOPICS = ["t", "tt", "a"];
/** Keys that try to look like those of others. */
const key = fc.oneof(
  fc.constantFrom("", "/", "a/t/k", "../b/t/k", "t/k", "\0", "\u{10ffff}", "a/", "/a", "t"),
  fc.string({ unit: "grapheme", maxLength: 6 }),
);
const write = fc.record({
  app: fc.constantFrom(...APPS),
  topic: fc.constantFrom(...TOPICS),
  key,
  isDelete: fc.boolean(),
});

Deno.test("namespaced() keeps apart what apps and topics write, whatever their keys are", () => {
  fc.assert(
    fc.property(fc.array(write, { maxLength: 30 }), key, (writes, prefix) => {
      const store = new MemoryStore();
      const models = new Map<string, Map<string, string>>();
      for (const [i, { app, topic, key, isDelete }] of writes.entries()) {
        const at = `${app} ${topic}`;
        const model = models.get(at) ?? new Map<string, string>();
        models.set(at, model);
        const op: StoreOp = isDelete ? { delete: key } : { put: key, value: bytes(`${at} ${i}`) };
        namespaced(store, ["app", app, topic]).write([op]);
        if (isDelete) model.delete(key);
        else model.set(key, `${at} ${i}`);
      }
      for (const app of APPS) {
        for (const topic of TOPICS) {
          const namespace = namespaced(store, ["app", app, topic]);
          const model = models.get(`${app} ${topic}`) ?? new Map<string, string>();
          const wanted = [...model].filter(([key]) => key.startsWith(prefix));
          const found = [...namespace.scan(prefix)].map(([key, value]) =>
            [key, new TextDecoder().decode(value)] as const
          );
          assert.deepEqual(new Map(found), new Map(wanted));
          assert.equal(found.length, wanted.length);
          for (const [key, value] of model) assert.deepEqual(namespace.get(key), bytes(value));
        }
      }
    }),
  );
});

Deno.test("namespaced() takes no name that could reach into another", () => {
  for (const name of ["", "a/b", "..", "a\0", "é"]) {
    assert.throws(() => namespaced(new MemoryStore(), ["app", name]), /no name of a namespace/);
  }
});
