import fc from "fast-check";
import assert from "node:assert/strict";
import type { Primitive, TypeDef, TypeRef } from "./value_types.ts";
import { type Border, Codecs, type CoreValue, Flat } from "./values.ts";

/** A guest of 64 KiB whose allocator goes up. */
function border(): Border & { readonly lifted: number[] } {
  const memory = new ArrayBuffer(65_536);
  let top = 4096;
  const objects: unknown[] = [];
  const lifted: number[] = [];
  return {
    lifted,
    view: new DataView(memory),
    bytes: new Uint8Array(memory),
    alloc(align, size) {
      const at = Math.ceil(top / align) * align;
      top = at + size;
      return at;
    },
    lift: (bytes) => void lifted.push(bytes),
    takeOwn: (_, index) => objects[index],
    borrow: (_, index) => objects[index],
    give: (_, value) => objects.push(value) - 1,
    takeEnd: (_, index) => objects[index],
    giveEnd: (_, value) => objects.push(value) - 1,
  };
}

const NUMBERS: readonly [Primitive, fc.Arbitrary<unknown>][] = [
  ["bool", fc.boolean()],
  ["s8", fc.integer({ min: -128, max: 127 })],
  ["u8", fc.integer({ min: 0, max: 255 })],
  ["s16", fc.integer({ min: -32768, max: 32767 })],
  ["u16", fc.integer({ min: 0, max: 65535 })],
  ["s32", fc.integer()],
  ["u32", fc.integer({ min: 0, max: 0xffff_ffff })],
  ["s64", fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })],
  ["u64", fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })],
  ["f32", fc.float({ noNaN: true })],
  ["f64", fc.double({ noNaN: true })],
  ["char", fc.constantFrom("a", "é", "€", "😀")],
  ["string", fc.string({ unit: "grapheme", maxLength: 20 })],
];

type Typed = { readonly types: readonly TypeDef[]; readonly ref: TypeRef; readonly value: unknown };

/** A type and a value of it. `types` of parts are put after one another. */
const typed: fc.Arbitrary<Typed> = fc.letrec<{ any: Typed }>((tie) => ({
  any: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.oneof(...NUMBERS.map(([ref, of]) => of.map((value): Typed => ({ types: [], ref, value })))),
    fc.uint8Array({ maxLength: 30 }).map((value): Typed => ({
      types: [{ kind: "list", of: "u8" }],
      ref: 0,
      value,
    })),
    tie("any").map((of) =>
      wrap(
        [of],
        ([ref]) => ({ kind: "list", of: ref! }),
        of.ref === "u8" ? Uint8Array.of(of.value as number) : [of.value, of.value],
      )
    ),
    fc.array(tie("any"), { minLength: 1, maxLength: 4 }).map((parts) =>
      wrap(parts, (refs) => ({ kind: "tuple", of: refs }), parts.map(({ value }) => value))
    ),
    fc.array(tie("any"), { minLength: 1, maxLength: 4 }).map((parts) =>
      wrap(
        parts,
        (refs) => ({ kind: "record", fields: refs.map((ref, i) => [`field-${"abcd"[i]}`, ref]) }),
        Object.fromEntries(parts.map(({ value }, i) => [`field${"ABCD"[i]}`, value])),
      )
    ),
    fc.tuple(fc.array(tie("any"), { minLength: 1, maxLength: 4 }), fc.nat()).map(([parts, n]) => {
      const i = n % parts.length;
      return wrap(
        parts,
        (refs) => ({ kind: "variant", cases: refs.map((ref, i) => [`case-${i}`, ref]) }),
        { tag: `case-${i}`, val: parts[i]!.value },
      );
    }),
    fc.tuple(tie("any"), tie("any"), fc.boolean()).map(([ok, err, isOk]) =>
      wrap([ok, err], ([ok, err]) => ({ kind: "result", ok: ok!, err: err! }), {
        tag: isOk ? "ok" : "err",
        val: isOk ? ok.value : err.value,
      })
    ),
    tie("any").filter(({ value }) => value !== undefined).map((of) =>
      wrap([of], ([ref]) => ({ kind: "option", of: ref! }), of.value)
    ),
    fc.constant<Typed>({
      types: [{
        kind: "flags",
        names: Array.from({ length: 20 }, (_, i) => `f-${"abcdefghijklmnopqrst"[i]}`),
      }],
      ref: 0,
      value: Object.fromEntries(
        [..."ABCDEFGHIJKLMNOPQRST"].map((letter, i) => [`f${letter}`, i % 3 === 0]),
      ),
    }),
    fc.constant<Typed>({ types: [{ kind: "enum", names: ["a", "b-c"] }], ref: 0, value: "b-c" }),
  ),
})).any;

/** A type of parts: their types first, with their references moved. */
function wrap(parts: readonly Typed[], make: (refs: TypeRef[]) => TypeDef, value: unknown): Typed {
  const types: TypeDef[] = [];
  const refs = parts.map((part) => {
    const from = types.length;
    const move = (ref: unknown) => typeof ref === "number" ? ref + from : ref;
    for (const type of part.types) {
      types.push(
        JSON.parse(
          JSON.stringify(type),
          (_, v) => typeof v === "number" ? move(v) : v,
        ) as TypeDef,
      );
    }
    return move(part.ref) as TypeRef;
  });
  const ref = types.push(make(refs)) - 1;
  return { types, ref, value };
}

/** What an option of an option would be is not: a value of it is no longer what it was. */
const isPlain = ({ types }: Typed) =>
  !types.some((type) =>
    type.kind === "option" && typeof type.of === "number" && types[type.of]!.kind === "option"
  );

Deno.test("values pass through memory and through core values as they are", () => {
  fc.assert(
    fc.property(typed.filter(isPlain), ({ types, ref, value }) => {
      const codec = new Codecs(types as TypeDef[]).of(ref);
      const guest = border();
      codec.store(guest, 64 * codec.align, value);
      assert.deepEqual(codec.load(guest, 64 * codec.align), value);
      if (!codec.flat) return;
      const flat: CoreValue[] = [];
      codec.lower(guest, value, flat);
      assert.equal(flat.length, codec.flat.length);
      flat.forEach((v, i) => assert.equal(typeof v === "bigint", codec.flat![i] === "i64"));
      assert.deepEqual(codec.lift(guest, new Flat(flat)), value);
    }),
    { numRuns: 300 },
  );
});

const codecOf = (...types: TypeDef[]) => new Codecs(types as TypeDef[]).of(types.length - 1);

Deno.test("types are laid out as the canonical ABI says", () => {
  const layout = (...types: TypeDef[]) => {
    const { size, align, flat } = codecOf(...types);
    return [size, align, flat?.join(" ")];
  };
  assert.deepEqual(layout({ kind: "record", fields: [["a", "u8"], ["b", "u64"], ["c", "u16"]] }), [
    24,
    8,
    "i32 i64 i32",
  ]);
  assert.deepEqual(layout({ kind: "result", ok: "f32", err: "u64" }), [16, 8, "i32 i64"]);
  assert.deepEqual(layout({ kind: "variant", cases: [["a", "f32"], ["b", "u32"]] }), [
    8,
    4,
    "i32 i32",
  ]);
  assert.deepEqual(layout({ kind: "option", of: "string" }), [12, 4, "i32 i32 i32"]);
  assert.deepEqual(layout({ kind: "flags", names: ["a"] }), [1, 1, "i32"]);
  const nine = Array.from({ length: 9 }, () => "string" as const);
  assert.deepEqual(layout({ kind: "tuple", of: nine }), [72, 4, undefined]);
});

Deno.test("what a guest may not give is refused", () => {
  const guest = border();
  const list = codecOf({ kind: "list", of: "u32" });
  const at = (pointer: number, length: number) => {
    guest.view.setUint32(0, pointer, true);
    guest.view.setUint32(4, length, true);
    return guest;
  };
  assert.throws(() => list.load(at(65_533, 1), 0), /65533 is not aligned to 4/);
  assert.throws(() => list.load(at(65_532, 2), 0), /65532 is out of bounds/);
  assert.throws(() => list.load(at(0, 0xffff_ffff), 0), /0 is out of bounds/);
  const string = new Codecs([]).of("string");
  assert.throws(() => string.load(at(65_535, 2), 0), /65535 is out of bounds/);
  const char = new Codecs([]).of("char");
  assert.throws(() => char.lift(guest, new Flat([0xd800])), /55296 is no character/);
  assert.throws(() => char.lift(guest, new Flat([0x110000])), /is no character/);
  const choice = codecOf({ kind: "enum", names: ["a", "b"] });
  assert.throws(() => choice.lift(guest, new Flat([2])), /a variant has 2 cases, not 2/);
  assert.throws(() => choice.lift(guest, new Flat([-1])), /a variant has 2 cases/);
  assert.deepEqual(guest.lifted, [], "nothing was counted, and nothing copied");
  guest.bytes.set([0xc3, 0x28], 16);
  assert.throws(() => string.load(at(16, 2), 0), TypeError);
});

Deno.test("what a guest gives is counted before it is copied", () => {
  const guest = border();
  const codec = codecOf({ kind: "list", of: "u8" }, { kind: "list", of: 0 });
  codec.store(guest, 0, [new Uint8Array(10), new Uint8Array(20)]);
  codec.load(guest, 0);
  assert.deepEqual(guest.lifted, [16, 10, 20]);
});
