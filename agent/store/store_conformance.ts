/**
 * What every {@link Store} must do, as tests. Each implementation runs this one suite, which is
 * what lets the memory store stand in for the real one in simulations.
 *
 * @module
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import type { Store, StoreOp } from "../kernel/ports.ts";

/** How the suite gets an empty store and, where there is something to reopen, opens it again. */
export interface StoreSubject {
  open(): Store;
  /** Opens what an earlier {@link open} left, after it was closed. Missing: not durable. */
  reopen?(): Store;
  cleanUp(): void;
}

const bytes = (text: string) => new TextEncoder().encode(text);
const pairs = (store: Store, prefix = "") =>
  [...store.scan(prefix)].map(([key, value]) => [key, new TextDecoder().decode(value)]);

/** Registers the suite; `subject` is called once for each test. */
export function testStore(name: string, subject: () => StoreSubject): void {
  const test = (title: string, run: (store: Store, subject: StoreSubject) => void) =>
    Deno.test(`${name}: ${title}`, () => {
      const s = subject();
      const store = s.open();
      try {
        run(store, s);
      } finally {
        store.close();
        s.cleanUp();
      }
    });

  test("get() gives what write() put, and nothing for other keys", (store) => {
    store.write([{ put: "a/1", value: bytes("one") }, { put: "a/2", value: new Uint8Array() }]);
    assert.deepEqual(store.get("a/1"), bytes("one"));
    assert.deepEqual(store.get("a/2"), new Uint8Array());
    assert.equal(store.get("a/3"), undefined);
    assert.equal(store.get("a/"), undefined);
  });

  test("write() applies its operations in order", (store) => {
    store.write([
      { put: "k", value: bytes("first") },
      { put: "k", value: bytes("second") },
      { put: "gone", value: bytes("x") },
      { delete: "gone" },
      { delete: "never was" },
    ]);
    assert.deepEqual(pairs(store), [["k", "second"]]);
  });

  test("write() is all or nothing", (store) => {
    store.write([{ put: "kept", value: bytes("v") }]);
    assert.throws(() =>
      store.write([{ put: "half", value: bytes("x") }, { delete: "kept" }, {
        put: "ill-formed \ud800",
        value: bytes("x"),
      }])
    );
    // Found only while writing, after the first operations went through.
    const notBytes = null as unknown as Uint8Array;
    assert.throws(() =>
      store.write([{ put: "half", value: bytes("x") }, { delete: "kept" }, {
        put: "k",
        value: notBytes,
      }])
    );
    assert.deepEqual(pairs(store), [["kept", "v"]]);
    store.write([{ put: "after", value: bytes("y") }]);
    assert.deepEqual(pairs(store), [["after", "y"], ["kept", "v"]]);
  });

  test("keys that are empty, overlong or ill-formed are refused", (store) => {
    for (const key of ["", "k".repeat(1025), "\udc00"]) {
      assert.throws(() => store.write([{ put: key, value: bytes("x") }]), TypeError);
      assert.throws(() => store.get(key), TypeError);
    }
    assert.deepEqual(pairs(store), []);
  });

  test("scan() gives the prefix only, in byte order of UTF-8", (store) => {
    // U+FF5E sorts after U+1F600 in UTF-16 and before it in UTF-8.
    const keys = ["p/b", "p/", "p/\u{1f600}", "p/\uff5e", "p/\ufeff", "p/a\0b", "p/a", "p", "q/a"];
    store.write(keys.map((key) => ({ put: key, value: bytes(key) })));
    const inPrefix = ["p/", "p/a", "p/a\0b", "p/b", "p/\ufeff", "p/\uff5e", "p/\u{1f600}"];
    assert.deepEqual(pairs(store, "p/"), inPrefix.map((key) => [key, key]));
    assert.deepEqual(pairs(store, "\ufeff"), []);
    assert.equal(pairs(store).length, keys.length);
  });

  test("scan() gives pages, of which one begins behind the last", (store) => {
    const keys = ["o/z", "p/", "p/a", "p/a\0", "p/a\0b", "p/ab", "p/\uff5e", "p/\u{1f600}", "q"];
    store.write(keys.map((key) => ({ put: key, value: bytes(key) })));
    const page = (after: string | undefined, limit: number) =>
      [...store.scan("p/", { after, limit })].map(([key, value]) => {
        assert.deepEqual(value, bytes(key));
        return key;
      });
    const wanted = keys.slice(1, -1);
    for (let limit = 1; limit <= wanted.length + 1; limit++) {
      const found: string[] = [];
      for (let next = page(undefined, limit); next.length > 0; next = page(found.at(-1), limit)) {
        assert.ok(next.length <= limit);
        found.push(...next);
      }
      assert.deepEqual(found, wanted);
    }
    assert.deepEqual(page("p/a\0a", 2), ["p/a\0b", "p/ab"]); // it is not there itself
  });

  test("scan() gives pages of any bytes, which are the caller's", (store) => {
    const values = [[], [0], [0xff, 0, 0xfe], [0xc3], [], [0x41, 0], [0xef, 0xbb, 0xbf, 0x2c]]
      .map((value) => Uint8Array.from(value));
    store.write(values.map((value, i) => ({ put: `v/${i}`, value })));
    const page = [...store.scan("v/", { limit: 10 })];
    assert.deepEqual(page, values.map((value, i) => [`v/${i}`, value]));
    for (const [, value] of page) value.fill(1);
    assert.deepEqual(
      [...store.scan("v/", { limit: 2 })].map(([, value]) => value),
      values.slice(0, 2),
    );
    assert.deepEqual([...store.scan("v/", { after: "v/6", limit: 10 })], []);
  });

  test("keys() gives what scan() does", (store) => {
    const keys = ["p/", "p/a\0b", "p/a", "p/\uff5e", "p/\u{1f600}", "q/a"];
    store.write(keys.map((key) => ({ put: key, value: bytes(key) })));
    for (const prefix of ["", "p/", "p/a", "r"]) {
      assert.deepEqual([...store.keys(prefix)], pairs(store, prefix).map(([key]) => key));
    }
  });

  test("scan() is a snapshot", (store) => {
    store.write(["a", "b", "c"].map((key) => ({ put: key, value: bytes("old") })));
    const seen: string[] = [];
    for (const [key] of store.scan("")) {
      seen.push(key);
      store.write([{ delete: "b" }, { put: "d", value: bytes("new") }]);
    }
    assert.deepEqual(seen, ["a", "b", "c"]);
    assert.deepEqual(pairs(store).map(([key]) => key), ["a", "c", "d"]);
  });

  test("values are copied in and out", (store) => {
    const backing = bytes("xvalue");
    store.write([{ put: "k", value: backing.subarray(1) }]);
    backing.fill(0);
    assert.deepEqual(store.get("k"), bytes("value"));
    store.get("k")!.fill(0);
    for (const [, value] of store.scan("k")) value.fill(0);
    assert.deepEqual(store.get("k"), bytes("value"));
  });

  test("a closed store is not used further, and may be closed twice", (store) => {
    store.close();
    store.close();
    assert.throws(() => store.get("a"), /closed/);
    assert.throws(() => store.scan(""), /closed/);
    assert.throws(() => store.keys(""), /closed/);
    assert.throws(() => store.write([]), /closed/);
  });

  test("any history gives what a plain map gives, also after reopening", (store, s) => {
    const key = fc.string({ unit: "grapheme", minLength: 1, maxLength: 3 });
    const op: fc.Arbitrary<StoreOp> = fc.oneof(
      fc.record({ put: key, value: fc.uint8Array({ maxLength: 8 }) }),
      fc.record({ delete: key }),
    );
    const model = new Map<string, string>();
    fc.assert(
      fc.property(fc.array(op, { maxLength: 12 }), key, (ops, prefix) => {
        store.write(ops);
        for (const o of ops) {
          if ("put" in o) model.set(o.put, o.value.toHex());
          else model.delete(o.delete);
        }
        assert.deepEqual(contents(store, prefix), expected(model, prefix));
      }),
      { numRuns: Deno.env.get("SLOW") ? 2000 : 60 },
    );
    if (s.reopen === undefined) return;
    store.close();
    const reopened = s.reopen();
    try {
      assert.deepEqual(contents(reopened, ""), expected(model, ""));
    } finally {
      reopened.close();
    }
  });
}

function contents(store: Store, prefix: string): [string, string][] {
  return [...store.scan(prefix)].map(([key, value]) => [key, value.toHex()]);
}

function expected(model: Map<string, string>, prefix: string): [string, string][] {
  const order = ([a]: [string, string], [b]: [string, string]) => {
    const x = bytes(a).toHex();
    const y = bytes(b).toHex();
    return x < y ? -1 : x > y ? 1 : 0;
  };
  return [...model].filter(([key]) => key.startsWith(prefix)).sort(order);
}
