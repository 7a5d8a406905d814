/**
 * What a {@link KeyValueStore} must do over every backend, as tests.
 *
 * @module
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import {
  answerKeyValue,
  BATCH_MAX,
  KEY_BYTES_MAX,
  type KeyValueBackend,
  KeyValueStore,
  PAGE_KEYS_MAX,
  PAIR_OVERHEAD_BYTES,
  STORE_BYTES_MAX,
  VALUE_BYTES_MAX,
} from "../kernel/key_value.ts";

/** How the suite gets an empty backend and, where it is durable, opens it again. */
export interface KeyValueSubject {
  open(): KeyValueBackend;
  reopen?(): KeyValueBackend;
  cleanUp(): void;
}

const bytes = (text: string) => new TextEncoder().encode(text);
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const text = (value: Uint8Array | undefined) => value && decoder.decode(value);
const limit = { code: "limit-exceeded" };
const refused = { code: "refused" };

function listAll(store: KeyValueStore): string[] {
  const keys: string[] = [];
  let cursor: number | undefined = 0;
  while (cursor !== undefined) {
    const page = store.list(cursor);
    assert.ok(page.keys.length <= PAGE_KEYS_MAX);
    keys.push(...page.keys);
    cursor = page.cursor;
  }
  return keys;
}

/** Registers the suite; `subject` is called once for each test. */
export function testKeyValue(name: string, subject: () => KeyValueSubject): void {
  const test = (
    title: string,
    run: (store: KeyValueStore, reopened: (() => KeyValueStore) | undefined) => void,
  ) =>
    Deno.test(`${name}: ${title}`, () => {
      const s = subject();
      let store = new KeyValueStore(s.open());
      const { reopen } = s;
      try {
        run(
          store,
          reopen && (() => {
            store.close();
            return store = new KeyValueStore(reopen());
          }),
        );
      } finally {
        store.close();
        s.cleanUp();
      }
    });

  test("get() gives what set() set, and nothing for other keys", (store) => {
    store.set([["a", bytes("1")], ["", bytes("empty key")], ["b", new Uint8Array()]]);
    assert.deepEqual(store.get(["b", "a", "c", ""]).map(text), ["", "1", undefined, "empty key"]);
    assert.equal(store.has("b"), true);
    assert.equal(store.has("c"), false);
    store.delete(["a", "never was", "a"]);
    assert.equal(store.has("a"), false);
  });

  test("keys with NUL, a byte order mark or many planes are themselves", (store) => {
    const keys = ["a\0b", "\ufeffk", "k", "\u{1f600}", "a"];
    store.set(keys.map((key) => [key, bytes(key)]));
    assert.deepEqual(store.get(keys).map(text), keys);
    assert.deepEqual(listAll(store), keys);
  });

  test("set() of a list is all or nothing, and the last of a key counts", (store) => {
    store.set([["k", bytes("1")], ["k", bytes("2")]]);
    assert.equal(text(store.get(["k"])[0]), "2");
    const long = "x".repeat(KEY_BYTES_MAX + 1);
    assert.throws(() => store.set([["k", bytes("3")], [long, bytes("x")]]), limit);
    assert.equal(text(store.get(["k"])[0]), "2");
  });

  test("values are copied in and out", (store) => {
    const backing = bytes("xvalue");
    store.set([["k", backing.subarray(1)]]);
    backing.fill(0);
    store.get(["k"])[0]!.fill(0);
    assert.equal(text(store.get(["k"])[0]), "value");
  });

  test("list() pages through all keys once, also when they change meanwhile", (store) => {
    const keys = Array.from({ length: 2 * PAGE_KEYS_MAX + 1 }, (_, i) => `k${i}`);
    store.set(keys.map((key) => [key, bytes("v")]));
    assert.deepEqual(listAll(store), keys);
    const first = store.list(0);
    assert.equal(first.keys.length, PAGE_KEYS_MAX);
    store.delete([first.keys.at(-1)!, keys.at(-1)!]);
    store.set([[keys[0]!, bytes("changed")], ["new", bytes("v")]]);
    const rest = [...store.list(first.cursor!).keys];
    assert.deepEqual(rest, [...keys.slice(PAGE_KEYS_MAX, -1), "new"].slice(0, PAGE_KEYS_MAX));
    assert.deepEqual(store.list(Number.MAX_SAFE_INTEGER), { keys: [] });
  });

  test("a page that is exactly full has no cursor", (store) => {
    store.set(Array.from({ length: PAGE_KEYS_MAX }, (_, i) => [`${i}`, bytes("")]));
    assert.equal(store.list(0).cursor, undefined);
  });

  test("increment() adds exactly, in 64 bits", (store) => {
    assert.equal(store.increment("n", 5n), 5n);
    assert.equal(store.increment("n", -7n), -2n);
    assert.equal(text(store.get(["n"])[0]), "-2");
    store.set([["n", bytes("9007199254740993")]]);
    assert.equal(store.increment("n", 1n), 9007199254740994n);
    store.set([["n", bytes(String(2n ** 63n - 1n))]]);
    assert.throws(() => store.increment("n", 1n), refused);
    assert.equal(text(store.get(["n"])[0]), "9223372036854775807");
    for (const not of ["", "x", "1.5", " 1", "1 ", "+1", "9".repeat(20), "0".repeat(40)]) {
      store.set([["n", bytes(not)]]);
      assert.throws(() => store.increment("n", 1n), refused, not);
      assert.equal(text(store.get(["n"])[0]), not);
    }
  });

  test("swap() sets only what did not change since it was read", (store) => {
    const absent = store.read("k");
    assert.equal(absent.value, undefined);
    assert.equal(store.swap("k", absent.version, bytes("1")), true);
    assert.equal(store.swap("k", absent.version, bytes("2")), false);
    const one = store.read("k");
    store.set([["k", bytes("other")], ["k", bytes("1")]]);
    assert.equal(store.swap("k", one.version, bytes("2")), false, "the same value, written again");
    const again = store.read("k");
    assert.equal(store.swap("k", again.version, bytes("3")), true);
    assert.equal(text(store.get(["k"])[0]), "3");
    const three = store.read("k");
    store.delete(["k"]);
    assert.equal(store.swap("k", three.version, bytes("4")), false, "it is gone");
    store.set([["k", bytes("3")]]);
    assert.equal(store.swap("k", three.version, bytes("4")), false, "it is another");
  });

  test("what is too large is refused, and changes nothing", (store) => {
    const value = new Uint8Array(VALUE_BYTES_MAX);
    store.set([["k".repeat(KEY_BYTES_MAX), value]]);
    const { size } = store;
    assert.equal(size.bytes, KEY_BYTES_MAX + VALUE_BYTES_MAX + PAIR_OVERHEAD_BYTES);
    const over = new Uint8Array(VALUE_BYTES_MAX + 1);
    const long = "é".repeat(KEY_BYTES_MAX / 2 + 1);
    const list = <T>(item: T, length = BATCH_MAX + 1) => new Array<T>(length).fill(item);
    for (
      const act of [
        () => store.set([["v", over]]),
        () => store.swap("v", 0, over),
        () => store.set([[long, value]]),
        () => store.has(long),
        () => store.read(long),
        () => store.get([long]),
        () => store.delete([long]),
        () => store.increment(long, 1n),
        () => store.swap(long, 0, value),
        () => store.get(list("a")),
        () => store.delete(list("a")),
        () => store.set(list(["a", bytes("v")])),
        () => store.set(list(["a", value], 5)),
        () => store.get(list("k".repeat(KEY_BYTES_MAX), 5)),
      ]
    ) assert.throws(act, limit, String(act));
    assert.deepEqual(store.size, size);
  });

  test("the store has a size, given back by what is deleted", (store) => {
    const value = new Uint8Array(VALUE_BYTES_MAX - PAIR_OVERHEAD_BYTES - 2);
    const keys = Array.from({ length: STORE_BYTES_MAX / VALUE_BYTES_MAX }, (_, i) => `${10 + i}`);
    for (const key of keys) store.set([[key, value]]);
    assert.equal(store.size.bytes, STORE_BYTES_MAX);
    assert.throws(() => store.set([["more", bytes("")]]), limit);
    assert.throws(() => store.increment("more", 1n), limit);
    store.set([[keys[0]!, value.subarray(1)]]);
    store.delete([keys[1]!]);
    store.set([["more", bytes("")]]);
  });

  test("answerKeyValue() takes nothing but requests", (store) => {
    assert.deepEqual(answerKeyValue(store, { op: "increment", key: "n", delta: 2n }), { ok: 2n });
    assert.deepEqual(answerKeyValue(store, { op: "has", key: "n" }), { ok: true });
    const { error } = answerKeyValue(store, { op: "has", key: "x".repeat(2000) }) as {
      error: string;
    };
    assert.match(error, /2000.*1024/);
    for (
      const request of [
        undefined,
        null,
        "has",
        { op: "constructor" },
        { op: "close" },
        { op: "has", key: 1 },
        { op: "has", key: "\ud800" },
        { op: "get", keys: "abc" },
        { op: "get", keys: { length: 1e9 } },
        { op: "set", pairs: [["k", "text"]] },
        { op: "list", cursor: -1 },
        { op: "list", cursor: 0.5 },
        { op: "increment", key: "n", delta: 1 },
        { op: "increment", key: "n", delta: 2n ** 64n },
        { op: "swap", key: "n", version: NaN, value: bytes("") },
      ]
    ) assert.throws(() => answerKeyValue(store, request), TypeError);
  });

  test("any history gives what a plain map gives, also after reopening", (store, reopened) => {
    const key = fc.constantFrom("a", "b", "c", "\u{10000}");
    const value = fc.uint8Array({ maxLength: 4 });
    const op = fc.oneof(
      fc.record({ op: fc.constant("set" as const), pairs: fc.array(fc.tuple(key, value)) }),
      fc.record({ op: fc.constant("delete" as const), keys: fc.array(key) }),
      fc.record({ op: fc.constant("swap" as const), key, value, stale: fc.boolean() }),
    );
    const model = new Map<string, string>();
    let current = store;
    const check = () => {
      const found = Object.fromEntries(
        listAll(current).map((k) => [k, current.get([k])[0]!.toHex()]),
      );
      assert.deepEqual(found, Object.fromEntries(model));
      const size = [...model].reduce(
        (sum, [k, v]) => sum + bytes(k).length + v.length / 2 + PAIR_OVERHEAD_BYTES,
        0,
      );
      assert.deepEqual(current.size, { keys: model.size, bytes: size });
    };
    fc.assert(
      fc.property(fc.array(op, { maxLength: 10 }), (ops) => {
        for (const o of ops) {
          if (o.op === "set") {
            current.set(o.pairs);
            for (const [k, v] of o.pairs) model.set(k, v.toHex());
          } else if (o.op === "delete") {
            current.delete(o.keys);
            for (const k of o.keys) model.delete(k);
          } else {
            const { version } = current.read(o.key);
            assert.equal(current.swap(o.key, o.stale ? version + 1 : version, o.value), !o.stale);
            if (!o.stale) model.set(o.key, o.value.toHex());
          }
        }
        check();
      }),
      { numRuns: Deno.env.get("SLOW") ? 2000 : 60 },
    );
    if (!reopened) return;
    current = reopened();
    check();
    const { version } = current.read("a");
    current.set([["a", bytes("x")]]);
    assert.ok(current.read("a").version > version, "versions go on");
  });
}
