import assert from "node:assert/strict";
import fc from "fast-check";
import { RealmError } from "../../kernel/error.ts";
import { Reader, Writer } from "./binary.ts";

Deno.test("Reader reads the integers that Writer wrote", () => {
  fc.assert(fc.property(fc.array(fc.nat(0xffffffff)), (values) => {
    const w = new Writer(1);
    for (const value of values) w.u32(value);
    const r = new Reader(w.bytes());
    assert.deepEqual(values.map(() => r.u32()), values);
    assert.equal(r.at, r.end);
  }));
});

Deno.test("Writer encodes signed integers as engines read them", () => {
  fc.assert(fc.property(fc.integer({ min: -0x80000000, max: 0x7fffffff }), (value) => {
    const w = new Writer().u8(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);
    w.u8(6).appendSized(new Writer().u8(1, 0x7f, 0, 0x41).s32(value).u8(0x0b));
    w.u8(7).appendSized(new Writer().u8(1).name("g").u8(3, 0));
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(w.bytes()));
    assert.equal((exports.g as WebAssembly.Global).value, value);
  }));
});

Deno.test("Reader refuses integers that are too long, and lengths that are not there", () => {
  const refused: [number[], (r: Reader) => unknown][] = [
    [[], (r) => r.u8()],
    [[0x80], (r) => r.u32()],
    [[0xff, 0xff, 0xff, 0xff, 0x10], (r) => r.u32()],
    [[0x80, 0x80, 0x80, 0x80, 0x80, 0x00], (r) => r.u32()],
    [[0x80, 0x80, 0x80, 0x80, 0x80, 0x00], (r) => r.skipLeb(5)],
    [[3, 0, 0], (r) => r.name()],
    [[3, 0, 0], (r) => r.count("items")],
    [[3], (r) => r.index("item", 3)],
  ];
  for (const [bytes, read] of refused) {
    const r = new Reader(new Uint8Array(bytes));
    assert.throws(() => read(r), (e) => e instanceof RealmError && e.code === "invalid-module");
  }
  assert.equal(new Reader(new Uint8Array([0xff, 0xff, 0xff, 0xff, 0x0f])).u32(), 0xffffffff);
  // Longer than needed, as linkers write them.
  assert.equal(new Reader(new Uint8Array([0x83, 0x80, 0x80, 0x80, 0x00])).u32(), 3);
});
