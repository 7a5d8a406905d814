import assert from "node:assert/strict";
import { RealmError } from "../kernel/error.ts";
import { testBlobs } from "./blobs_conformance.ts";
import { DiskBlobs } from "./disk_blobs.ts";

const ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const bytes = (text: string) => new TextEncoder().encode(text);
const pathOf = (folder: string, digest: string) =>
  `${folder}/${digest.slice(0, 2)}/${digest.slice(2, 4)}/${digest}`;

async function inFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "realm-blobs-" });
  try {
    await run(`${folder}/blobs`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

testBlobs("DiskBlobs", async () => {
  const folder = await Deno.makeTempDir({ prefix: "realm-blobs-" });
  return {
    blobs: await DiskBlobs.open(folder),
    damage: (digest, bytes) => Deno.writeFile(pathOf(folder, digest), bytes),
    cleanUp: () => Deno.remove(folder, { recursive: true }),
  };
});

Deno.test("DiskBlobs keeps its files from other users", () =>
  inFolder(async (folder) => {
    await (await DiskBlobs.open(folder)).put(bytes("abc"));
    const mode = async (path: string) => (await Deno.lstat(path)).mode! & 0o777;
    assert.equal(await mode(folder), 0o700);
    assert.equal(await mode(`${folder}/ba`), 0o700);
    assert.equal(await mode(pathOf(folder, ABC)), 0o600);
  }));

Deno.test("DiskBlobs.open() removes interrupted writes and keeps blobs", () =>
  inFolder(async (folder) => {
    await (await DiskBlobs.open(folder)).put(bytes("abc"));
    await Deno.writeTextFile(`${folder}/tmp/half`, "ab");
    const reopened = await DiskBlobs.open(folder);
    assert.deepEqual(await Array.fromAsync(Deno.readDir(`${folder}/tmp`)), []);
    assert.deepEqual(await reopened.get(ABC), bytes("abc"));
  }));

Deno.test("DiskBlobs sets damaged bytes aside and leaves no temporary file", () =>
  inFolder(async (folder) => {
    const blobs = await DiskBlobs.open(folder);
    await blobs.put(bytes("abc"));
    await Deno.writeFile(pathOf(folder, ABC), bytes("abX"));
    await assert.rejects(blobs.get(ABC), RealmError);
    assert.deepEqual(await Deno.readFile(`${folder}/corrupt/${ABC}`), bytes("abX"));
    assert.deepEqual(await Array.fromAsync(Deno.readDir(`${folder}/tmp`)), []);
    assert.deepEqual(await Array.fromAsync(blobs.list()), []);
  }));

Deno.test("DiskBlobs passes over files that are not blobs", () =>
  inFolder(async (folder) => {
    const blobs = await DiskBlobs.open(folder);
    await blobs.put(bytes("abc"));
    await Deno.writeTextFile(`${folder}/ba/78/notes.txt`, "x");
    await Deno.writeTextFile(`${folder}/ba/78/${"0".repeat(64)}`, "misplaced");
    assert.deepEqual(await Array.fromAsync(blobs.list()), [ABC]);
  }));

Deno.test("DiskBlobs says which blob could not be written, and why", () =>
  inFolder(async (folder) => {
    const blobs = await DiskBlobs.open(folder);
    await Deno.writeTextFile(`${folder}/ba`, "a file where a folder must be");
    await assert.rejects(
      blobs.put(bytes("abc")),
      (error) =>
        error instanceof RealmError && error.code === "failed" && error.message.includes(ABC),
    );
    assert.deepEqual(await Array.fromAsync(Deno.readDir(`${folder}/tmp`)), []);
  }));

Deno.test("DiskBlobs.open() keeps what was begun, for a week", () =>
  inFolder(async (folder) => {
    const partial = await (await DiskBlobs.open(folder)).begin(ABC, 3);
    await partial.write(0, bytes("abc"));
    partial.close();
    const reopened = await DiskBlobs.open(folder);
    assert.deepEqual(await Array.fromAsync(reopened.list()), []);
    const begun = await reopened.begun(ABC);
    assert.deepEqual(await begun!.read(0, 9), bytes("abc"));
    begun!.close();
    const old = Date.now() / 1000 - 8 * 24 * 3600;
    await Deno.utime(`${folder}/partial/${ABC}-3`, old, old);
    assert.equal(await (await DiskBlobs.open(folder)).begun(ABC), undefined);
  }));
