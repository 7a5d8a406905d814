/**
 * What every {@link Blobs} must do, as tests; memory and disk run this one suite.
 *
 * @module
 */
import assert from "node:assert/strict";
import { RealmError } from "../kernel/error.ts";
import type { Blobs } from "../kernel/ports.ts";

/** How the suite gets an empty blob store and damages what is in it. */
export interface BlobsSubject {
  readonly blobs: Blobs;
  /** Replaces the stored bytes behind the back of the blob store. */
  damage(digest: string, bytes: Uint8Array): Promise<void>;
  cleanUp(): Promise<void>;
}

const ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const bytes = (text: string) => new TextEncoder().encode(text);
const isCorrupt = (error: unknown) =>
  error instanceof RealmError && error.code === "corrupt" && error.message.includes(ABC);

/** Registers the suite; `subject` is called once for each test. */
export function testBlobs(name: string, subject: () => Promise<BlobsSubject>): void {
  const test = (title: string, run: (blobs: Blobs, subject: BlobsSubject) => Promise<void>) =>
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

  test("what is not a digest is refused", async (blobs) => {
    for (const digest of ["", "abc", ABC.toUpperCase(), ABC + "0", `../../${ABC}`, `${ABC}\n`]) {
      for (const call of ["get", "has", "delete"] as const) {
        await assert.rejects(
          blobs[call](digest),
          (error) => error instanceof RealmError && error.code === "usage",
          digest,
        );
      }
    }
  });
}
