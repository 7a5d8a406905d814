/**
 * Our reader and writer beside `@ipld/dag-cbor`: what that writes again as it was is canonical.
 *
 * @module
 */
import assert from "node:assert/strict";
import * as dagCbor from "@ipld/dag-cbor";
import fc from "fast-check";
import { CborError, type CborValue, CID, cidOfDigest, readCbor, writeCbor } from "./cbor.ts";

const numRuns = Deno.env.get("SLOW") ? 100_000 : 2000;

/** The value that the library reads, if it writes it as it was. */
function asLibrary(bytes: Uint8Array): { value: CborValue } | undefined {
  try {
    const value = dagCbor.decode<CborValue>(bytes);
    const again = dagCbor.encode(value);
    const isSame = again.length === bytes.length && again.every((byte, i) => byte === bytes[i]);
    return isSame ? { value } : undefined;
  } catch {
    return undefined;
  }
}

function asOurs(bytes: Uint8Array): { value: CborValue } | undefined {
  try {
    return { value: readCbor(bytes) };
  } catch (error) {
    if (error instanceof CborError) return undefined;
    throw error;
  }
}

// The library drops a byte order mark at the start of a text and so cannot read what it wrote.
const text = fc.string({ unit: "binary" }).map((s) => s.toWellFormed().replaceAll("\ufeff", ""));
const { value } = fc.letrec<{ value: CborValue }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    fc.constantFrom(null, true, false, 0, 23, 24, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32),
    fc.maxSafeInteger(),
    fc.constantFrom(-1, -24, -25, -(2 ** 32), -(2 ** 32) - 1, Number.MIN_SAFE_INTEGER),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((n) => n === 0 ? 0 : n),
    fc.bigInt({ min: -(2n ** 64n), max: 2n ** 64n - 1n }),
    text,
    fc.uint8Array({ maxLength: 300 }).map((b) => new Uint8Array(b)),
    fc.uint8Array({ minLength: 32, maxLength: 32 }).map(cidOfDigest),
    fc.array(tie("value")),
    fc.dictionary(
      fc.oneof(text, fc.constantFrom("/", "__proto__", "a", "aa")),
      tie("value"),
      {
        noNullPrototype: true,
      },
    ),
  ),
}));

/** A byte that may matter: heads, lengths, and what they are about. */
const byte = fc.oneof(
  fc.constantFrom(0x00, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x20, 0x3b, 0x40, 0x58, 0x60, 0x61, 0x62),
  fc.constantFrom(
    0x80,
    0x81,
    0x9f,
    0xa0,
    0xa1,
    0xa2,
    0xbf,
    0xd8,
    0x2a,
    0xf4,
    0xf6,
    0xf7,
    0xf9,
    0xfb,
  ),
  fc.nat(255),
);

Deno.test("writeCbor() writes what @ipld/dag-cbor writes", () => {
  fc.assert(
    fc.property(value, (v) => assert.deepEqual(writeCbor(v), new Uint8Array(dagCbor.encode(v)))),
    { numRuns },
  );
});

Deno.test("readCbor() reads what @ipld/dag-cbor reads and writes again as it was, and nothing else", () => {
  let taken = 0;
  const compare = (bytes: Uint8Array) => {
    const theirs = asLibrary(bytes);
    const ours = asOurs(bytes);
    assert.deepEqual(ours, theirs, bytes.toHex());
    if (ours !== undefined) taken++;
  };
  const edit = fc.record({
    at: fc.nat(),
    byte,
    cuts: fc.nat(2),
    adds: fc.array(byte, { maxLength: 2 }),
  });
  fc.assert(
    fc.property(value, fc.array(edit, { maxLength: 3 }), (v, edits) => {
      let bytes = [...dagCbor.encode(v)];
      for (const { at, byte, cuts, adds } of edits) {
        const place = at % bytes.length;
        if (cuts === 0 && adds.length === 0) bytes[place] = byte;
        else bytes.splice(place, cuts, ...adds);
        if (bytes.length === 0) bytes = [byte];
      }
      if (
        !new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(bytes)).includes(
          "\ufeff",
        )
      ) {
        compare(Uint8Array.from(bytes));
      }
    }),
    { numRuns: 3 * numRuns },
  );
  fc.assert(
    fc.property(fc.array(byte, { maxLength: 12 }), (bytes) => compare(Uint8Array.from(bytes))),
    { numRuns: 3 * numRuns },
  );
  assert.ok(taken > numRuns, `${taken} were canonical`);
});

Deno.test("readCbor() reads a text that begins with a byte order mark, and keys that look like code", () => {
  for (const v of ["\ufeffx", { ["__proto__"]: 1, constructor: null }, { "\ufeff": "\ufeff" }]) {
    assert.deepEqual(readCbor(writeCbor(v)), v);
  }
});

Deno.test("readCbor() takes no map for a link, and no link that is written otherwise", () => {
  const posing = (v: unknown) => {
    const fields = ["/", "bytes"].sort((a, b) => a.length - b.length);
    return Uint8Array.of(
      0xa2,
      ...fields.flatMap((name) => [...writeCbor(name), ...writeCbor(v as CborValue)]),
    );
  };
  for (const v of [1, "x", true]) {
    assert.throws(() => writeCbor({ "/": v, bytes: v }), CborError);
  }
  for (const v of [1, "x", true]) assert.throws(() => readCbor(posing(v)), CborError);
  assert.deepEqual(readCbor(posing(null)), { "/": null, bytes: null });
  const link = writeCbor(cidOfDigest(new Uint8Array(32).fill(7)));
  // The version as a varint of two bytes, and of links that are none of ours, identity and raw.
  const long = Uint8Array.of(0xd8, 0x2a, 0x58, link.length - 3, 0, 0x81, 0, ...link.subarray(6));
  assert.throws(() => readCbor(long), CborError);
  const raw = CID.createV1(0x55, cidOfDigest(new Uint8Array(32)).multihash);
  assert.deepEqual(readCbor(writeCbor(raw)), raw);
});

Deno.test("what readCbor() returns shares no memory with what it was given", () => {
  const bytes = writeCbor([
    Uint8Array.of(1, 2, 3),
    cidOfDigest(new Uint8Array(32).fill(9)),
    "text",
  ]);
  const read = readCbor(bytes);
  const before = structuredClone(writeCbor(read));
  bytes.fill(0xff);
  assert.deepEqual(writeCbor(read), before);
});

Deno.test("cidOfDigest() makes links that stay what they are, however many come after", () => {
  // Digests that begin alike take one another's place among those that are known.
  const digestOf = (i: number) => {
    const digest = new Uint8Array(32).fill(i % 3);
    new DataView(digest.buffer).setUint32(28, i);
    return digest;
  };
  const made = Array.from({ length: 1000 }, (_, i) => cidOfDigest(digestOf(i)));
  for (const [i, cid] of made.entries()) {
    assert.deepEqual(cid.multihash.digest, digestOf(i));
    assert.deepEqual(CID.decode(cid.bytes), cid);
    assert.deepEqual(CID.decode(Uint8Array.of(1, 0x71, ...cid.multihash.bytes)), cid);
  }
});
