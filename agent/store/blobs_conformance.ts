/**
 * What every {@link Blobs} must do, as tests; memory and disk run this one suite.
 *
 * @module
 */
import assert from "node:assert/strict";
import { RealmError } from "../kernel/error.ts";
import type { BlobPieces, Blobs } from "../kernel/ports.ts";

/** How the suite gets an empty blob store and damages what is in it. */
export interface BlobsSubject {
  readonly blobs: Blobs & BlobPieces;
  /** Replaces the stored bytes behind the back of the blob store. */
  damage(digest: string, bytes: Uint8Array): Promise<void>;
  cleanUp(): Promise<void>;
}

const ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const bytes = (text: string) => new TextEncoder().encode(text);
const hasCode = (code: string) => (error: unknown) =>
  error instanceof RealmError && error.code === code;
const isCorrupt = (error: unknown) =>
  error instanceof RealmError && error.code === "corrupt" && error.message.includes(ABC);

/** Registers the suite; `subject` is called once for each test. */
export function testBlobs(name: string, subject: () => Promise<BlobsSubject>): void {
  const test = (
    title: string,
    run: (blobs: Blobs & BlobPieces, subject: BlobsSubject) => Promise<void>,
  ) =>
    Deno.test(`${name}: ${title}`, async () => {
      const s = await subject();
      try {
        await run(s.blobs, s);
      } finally {
        await s.cleanUp();
      }
    });

  test("put() names bytes by their sha256, get() gives them back", async (blobs) => {
    assert.equal(await blobs.put(bytes("abc")), ABC);
    assert.equal(await blobs.put(new Uint8Array()), EMPTY);
    assert.deepEqual(await blobs.get(ABC), bytes("abc"));
    assert.deepEqual(await blobs.get(EMPTY), new Uint8Array());
  });

  test("get() and has() know what is not there", async (blobs) => {
    assert.equal(await blobs.get(ABC), undefined);
    assert.equal(await blobs.has(ABC), false);
    await blobs.put(bytes("abc"));
    assert.equal(await blobs.has(ABC), true);
    assert.equal(await blobs.has(EMPTY), false);
  });

  test("storing twice is storing once, also at the same time", async (blobs) => {
    const digests = await Promise.all(Array.from({ length: 8 }, () => blobs.put(bytes("abc"))));
    assert.deepEqual(new Set(digests), new Set([ABC]));
    assert.deepEqual(await Array.fromAsync(blobs.list()), [ABC]);
    assert.deepEqual(await blobs.get(ABC), bytes("abc"));
  });

  test("list() gives every name once, delete() takes one away", async (blobs) => {
    const texts = Array.from({ length: 40 }, (_, i) => `blob ${i}`);
    const digests = await Promise.all(texts.map((text) => blobs.put(bytes(text))));
    assert.deepEqual(await Array.fromAsync(blobs.list()), digests.toSorted());
    await blobs.delete(digests[7]!);
    await blobs.delete(digests[7]!);
    assert.equal(await blobs.get(digests[7]!), undefined);
    assert.deepEqual(
      await Array.fromAsync(blobs.list()),
      digests.filter((_, i) => i !== 7).toSorted(),
    );
  });

  test("get() refuses damaged bytes once, then they are gone", async (blobs, s) => {
    for (const damaged of ["abd", "ab", "", "abcd"]) {
      await blobs.put(bytes("abc"));
      await s.damage(ABC, bytes(damaged));
      await assert.rejects(blobs.get(ABC), isCorrupt);
      assert.equal(await blobs.get(ABC), undefined);
    }
  });

  test("put() mends what was damaged", async (blobs, s) => {
    await blobs.put(bytes("abc"));
    await s.damage(ABC, bytes("abX"));
    await blobs.put(bytes("abc"));
    assert.deepEqual(await blobs.get(ABC), bytes("abc"));
  });

  test("bytes are copied in and out", async (blobs) => {
    const backing = bytes("xabc");
    await blobs.put(backing.subarray(1));
    backing.fill(0);
    (await blobs.get(ABC))!.fill(0);
    assert.deepEqual(await blobs.get(ABC), bytes("abc"));
  });

  test("size() and read() give pieces of what is there", async (blobs) => {
    await blobs.put(bytes("abc"));
    assert.equal(await blobs.size(ABC), 3);
    assert.equal(await blobs.size(EMPTY), undefined);
    const read = async (offset: number, length: number) =>
      new TextDecoder().decode(await blobs.read(ABC, offset, length));
    assert.equal(await read(0, 3), "abc");
    assert.equal(await read(1, 1), "b");
    assert.equal(await read(1, 9), "bc");
    assert.equal(await read(3, 1), "");
    await assert.rejects(blobs.read(EMPTY, 0, 1), hasCode("not-found"));
  });

  test("begin() makes a blob of pieces in any order, notes behind it are gone", async (blobs) => {
    assert.equal(await blobs.begun(ABC), undefined);
    const partial = await blobs.begin(ABC, 3);
    await partial.write(3, bytes("notes"));
    await partial.write(1, bytes("bc"));
    assert.equal(await blobs.has(ABC), false);
    partial.close();
    const again = await blobs.begun(ABC);
    assert.equal(again!.size, 3);
    assert.deepEqual(await again!.read(1, 99), bytes("bcnotes"));
    await again!.write(0, bytes("a"));
    await again!.finish();
    assert.deepEqual(await blobs.get(ABC), bytes("abc"));
    assert.equal(await blobs.begun(ABC), undefined);
    assert.deepEqual(await Array.fromAsync(blobs.list()), [ABC]);
  });

  test("finish() refuses pieces of another blob, delete() forgets them", async (blobs) => {
    const wrong = await blobs.begin(ABC, 3);
    await wrong.write(0, bytes("abd"));
    await assert.rejects(wrong.finish(), hasCode("digest-mismatch"));
    const short = await blobs.begin(ABC, 3);
    await short.write(0, bytes("ab"));
    await assert.rejects(short.finish(), hasCode("digest-mismatch"));
    await (await blobs.begin(ABC, 3)).delete();
    assert.equal(await blobs.begun(ABC), undefined);
    assert.equal(await blobs.has(ABC), false);
    const empty = await blobs.begin(EMPTY, 0);
    await empty.finish();
    assert.equal(await blobs.size(EMPTY), 0);
  });

  test("what is not a digest is refused", async (blobs) => {
    for (const digest of ["", "abc", ABC.toUpperCase(), ABC + "0", `../../${ABC}`, `${ABC}\n`]) {
      for (const call of ["get", "has", "delete"] as const) {
        await assert.rejects(
          blobs[call](digest),
          (error) => error instanceof RealmError && error.code === "usage",
          digest,
        );
      }
      await assert.rejects(blobs.size(digest), hasCode("usage"));
      await assert.rejects(blobs.read(digest, 0, 1), hasCode("usage"));
      await assert.rejects(blobs.begun(digest), hasCode("usage"));
      await assert.rejects(blobs.begin(digest, 1), hasCode("usage"));
    }
  });
}
