import assert from "node:assert/strict";
import fc from "fast-check";
import { joined, ProtocolError } from "./link.ts";
import { pack, unpack } from "./plain.ts";

const viaJson = (value: unknown): unknown => {
  const bytes: Uint8Array[] = [];
  const plain = JSON.parse(JSON.stringify(pack(value, bytes)));
  return unpack(plain, joined(bytes));
};

Deno.test("unpack() gives what was packed: texts, numbers of each kind, bytes, lists and maps", () => {
  const value = fc.letrec((tie) => ({
    any: fc.oneof(
      { depthSize: "small", maxDepth: 6 },
      fc.string(),
      fc.double().map((number) => number + 0), // JSON knows no negative zero.
      fc.bigInt({ min: -(2n ** 64n), max: 2n ** 64n }),
      fc.constantFrom(null, undefined, true, false),
      fc.uint8Array({ maxLength: 20 }),
      fc.array(tie("any"), { maxLength: 4 }),
      fc.dictionary(fc.string(), tie("any"), { maxKeys: 4, noNullPrototype: true }),
    ),
  })).any;
  fc.assert(fc.property(value, (each) => {
    assert.deepEqual(viaJson(each), each);
  }));
  const all = { a: [1n, NaN, Infinity, undefined, null], b: Uint8Array.of(1, 2), c: { d: "e" } };
  assert.deepEqual(viaJson(all), all);
});

Deno.test("unpack() makes nothing but plain data, whatever comes", () => {
  const bytes = new Uint8Array(4);
  fc.assert(fc.property(fc.jsonValue(), (plain) => {
    try {
      const value = unpack(plain, bytes);
      if (typeof value === "object" && value !== null) {
        const { constructor } = value;
        assert.ok([Object, Array, Uint8Array].includes(constructor as never), String(constructor));
      }
    } catch (error) {
      assert.ok(error instanceof ProtocolError);
    }
  }));
  const polluting = unpack(["map", ["__proto__", ["map", ["x", 1]]]], bytes) as { x?: number };
  assert.equal(polluting.x, undefined);
  assert.equal(({} as { x?: number }).x, undefined);
  let deep: unknown = ["list"];
  let deeper: unknown = [];
  for (let i = 0; i < 100_000; i++) deeper = [deeper];
  for (const kind of ["big", "number", "bytes", "list", "map"]) {
    assert.throws(() => unpack([kind, deeper], bytes), ProtocolError, kind);
  }
  for (let i = 0; i < 100; i++) deep = ["list", deep];
  for (const wrong of [deep, ["bytes", 5], ["bytes", -1], ["big", "1e9"], ["new"], {}, [[]]]) {
    assert.throws(() => unpack(wrong, bytes), ProtocolError, JSON.stringify(wrong).slice(0, 40));
  }
});
