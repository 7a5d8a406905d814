import assert from "node:assert/strict";
import fc from "fast-check";
import {
  type CborValue,
  CID,
  cidOf,
  decodeCanonical,
  DEPTH_MAX,
  encodeCanonical,
  idText,
  isCanonicalCid,
  sha256HexSync,
  signedBytes,
} from "./canonical.ts";
import { create as createDigest } from "multiformats/hashes/digest";
import { RealmError } from "./error.ts";

const numRuns = Deno.env.get("SLOW") ? 20_000 : 300;
const bytes = (hex: string) =>
  Uint8Array.from(hex.replaceAll(" ", "").match(/../g) ?? [], (b) => parseInt(b, 16));
const text = fc.string({ unit: "binary" }).map((s) => s.toWellFormed());

const { value } = fc.letrec<{ value: CborValue }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    fc.constant(null),
    fc.boolean(),
    fc.maxSafeInteger(),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((n) => n === 0 ? 0 : n),
    fc.bigInt({ min: 2n ** 53n, max: 2n ** 64n - 1n }),
    text,
    fc.uint8Array().map((b) => new Uint8Array(b)),
    fc.uint8Array().map((b) => cidOf(b)),
    fc.array(tie("value")),
    fc.dictionary(text, tie("value"), { noNullPrototype: true }),
  ),
}));

function refusedAsCorrupt(encoded: Uint8Array): void {
  assert.throws(
    () => decodeCanonical(encoded),
    (error) => error instanceof RealmError && error.code === "corrupt",
  );
}

Deno.test("decodeCanonical() inverts encodeCanonical()", () => {
  fc.assert(
    fc.property(value, (v) => {
      const encoded = encodeCanonical(v);
      const decoded = decodeCanonical(encoded);
      assert.deepEqual(decoded, v);
      assert.deepEqual(encodeCanonical(decoded), encoded);
    }),
    { numRuns },
  );
});

Deno.test("encodeCanonical() does not depend on the order of keys", () => {
  assert.deepEqual(encodeCanonical({ bb: 1, a: 2 }), bytes("a2 6161 02 626262 01"));
  assert.deepEqual(encodeCanonical({ a: 2, bb: 1 }), encodeCanonical({ bb: 1, a: 2 }));
});

Deno.test("decodeCanonical() refuses every other encoding of a value", () => {
  const cases: Record<string, string> = {
    "an integer in more bytes than needed": "18 01",
    "a length in more bytes than needed": "78 01 61",
    "unsorted keys": "a2 6162 01 6161 02",
    "keys sorted by bytes instead of by length first": "a2 626161 01 6162 02",
    "a repeated key": "a2 6161 01 6161 02",
    "half a float": "f9 3c00",
    "a float32": "fa 3fc00000",
    "a float without a fraction": "fb 3ff0000000000000",
    "minus zero": "fb 8000000000000000",
    "NaN": "fb 7ff8000000000000",
    "infinity": "fb 7ff0000000000000",
    "undefined": "f7",
    "an indefinite length": "9f 01 ff",
    "a tag other than 42": "c1 01",
    "a link without its zero byte": "d8 2a 41 01",
    "a key that is not text": "a1 01 01",
    "broken UTF-8": "61 ff",
    "bytes after the value": "01 01",
    "no bytes": "",
    "an array that ends early": "82 01",
    "an array of 4 billion": "9a ffffffff",
    "a string of 2^64 - 1 bytes": "7b ffffffffffffffff",
  };
  for (const [name, hex] of Object.entries(cases)) {
    assert.throws(
      () => decodeCanonical(bytes(hex)),
      (error) => error instanceof RealmError && error.code === "corrupt",
      name,
    );
  }
});

Deno.test("decodeCanonical() bounds the nesting of arrays, maps and tags", () => {
  const nested = (head: string, depth: number) => bytes(head.repeat(depth) + "00");
  assert.doesNotThrow(() => decodeCanonical(nested("81", DEPTH_MAX)));
  assert.throws(() => decodeCanonical(nested("81", DEPTH_MAX + 1)), /nested deeper/);
  for (const head of ["81", "a16161", "d82a"]) refusedAsCorrupt(nested(head, 50_000));
});

Deno.test("decodeCanonical() answers any bytes with a value or RealmError corrupt", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (encoded) => {
      let decoded: CborValue;
      try {
        decoded = decodeCanonical(encoded);
      } catch (error) {
        assert.ok(error instanceof RealmError && error.code === "corrupt", String(error));
        return;
      }
      assert.deepEqual(encodeCanonical(decoded), new Uint8Array(encoded));
    }),
    { numRuns: 5 * numRuns },
  );
});

Deno.test("encodeCanonical() refuses what has no encoding", () => {
  const deep = () => {
    let v: CborValue = 0;
    for (let i = 0; i < DEPTH_MAX + 1; i++) v = [v];
    return v;
  };
  const cases = [NaN, Infinity, "\ud800", { "\udc00": 1 }, deep(), 2n ** 64n, { a: undefined }];
  for (const v of cases) assert.throws(() => encodeCanonical(v as CborValue), TypeError);
});

Deno.test("idText() is the text of a CID", () => {
  fc.assert(
    fc.property(fc.uint8Array(), fc.uint8Array({ minLength: 1, maxLength: 70 }), (data, digest) => {
      const raw = CID.createV1(0x55, createDigest(0, digest));
      for (const cid of [cidOf(data), raw]) assert.equal(idText(cid), cid.toString());
    }),
    { numRuns },
  );
});

Deno.test("cidOf() is the CID of the dag-cbor specification's fixtures", () => {
  // The empty map, from https://github.com/ipld/codec-fixtures (map-0).
  const cid = cidOf(encodeCanonical({}));
  assert.equal(cid.toString(), "bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua");
  assert.ok(isCanonicalCid(cid));
  assert.ok(!isCanonicalCid(CID.createV1(0x55, cid.multihash)));
});

Deno.test("sha256HexSync() and signedBytes() are what their names say", () => {
  const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
  assert.equal(sha256HexSync(new Uint8Array()), empty);
  const signed = signedBytes("realm/event/1", Uint8Array.of(7));
  assert.deepEqual(signed, new TextEncoder().encode("realm/event/1\0\x07"));
});
