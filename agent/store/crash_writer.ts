/**
 * The process that the crash test kills: writes for ever to the folder in its first argument and
 * says on standard output, as a line each, what is durable.
 *
 * Step `i` writes `pair/i/a` and `pair/i/b`, deletes those of step `i - KEPT`, and sets `last`, in
 * one write; every fourth step stores a blob first and names it in the write, and forgets that of
 * step `i - KEPT`.
 *
 * @module
 */
import { DiskBlobs } from "./disk_blobs.ts";
import { SqliteStore } from "./sqlite_store.ts";

/** How many steps back the pairs are kept. */
export const KEPT = 48;

/** Content of step `i`: up to 40 kB, so that writes span many pages. */
export function contentOf(i: number): Uint8Array {
  return new Uint8Array((i * 7919) % 40_000 + 1).fill(i);
}

/** Content of the blob of step `i`: 1 MB, so that a kill falls into the middle of writing it. */
export function blobOf(i: number): Uint8Array {
  return new Uint8Array(new Uint32Array(250_000).fill(i).buffer);
}

if (import.meta.main) {
  const folder = Deno.args[0]!;
  const encoder = new TextEncoder();
  // Before the files are touched: the test also kills while they are created or recovered.
  Deno.stdout.writeSync(encoder.encode("start\n"));
  const store = new SqliteStore(`${folder}/state.db`);
  const blobs = await DiskBlobs.open(`${folder}/blobs`);
  const lastBytes = store.get("last");
  const last = lastBytes === undefined ? 0 : Number(new TextDecoder().decode(lastBytes));
  Deno.stdout.writeSync(encoder.encode(`open ${last}\n`));
  for (let i = last + 1;; i++) {
    const value = contentOf(i);
    const digest = i % 4 === 0 ? await blobs.put(blobOf(i)) : "";
    const old = store.get(`blob/${i - KEPT}`);
    store.write([
      { put: `pair/${i}/a`, value },
      { put: "last", value: encoder.encode(String(i)) },
      { put: `pair/${i}/b`, value },
      ...(digest === "" ? [] : [{ put: `blob/${i}`, value: encoder.encode(digest) }]),
      { delete: `pair/${i - KEPT}/a` },
      { delete: `pair/${i - KEPT}/b` },
      { delete: `blob/${i - KEPT}` },
    ]);
    Deno.stdout.writeSync(encoder.encode(`done ${i}\n`));
    if (old !== undefined) await blobs.delete(new TextDecoder().decode(old));
  }
}
