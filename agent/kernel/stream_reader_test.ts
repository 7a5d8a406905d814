import assert from "node:assert/strict";
import fc from "fast-check";
import { RealmError } from "./error.ts";
import { StreamReader } from "./stream_reader.ts";

/** A stream of these chunks and nothing more. */
function streamOf(chunks: Uint8Array[]) {
  const rest = [...chunks];
  return { peer: "p", protocol: "/x", read: async () => rest.shift() ?? null };
}

Deno.test("StreamReader gives the same bytes however they were cut", async () => {
  const lengths = fc.array(fc.nat(9), { maxLength: 20 });
  await fc.assert(fc.asyncProperty(lengths, lengths, async (sent, asked) => {
    let value = 0;
    const chunks = sent.map((length) => Uint8Array.from({ length }, () => value++));
    const reader = new StreamReader(streamOf(chunks));
    let at = 0;
    for (const length of asked) {
      const enough = at + length <= value;
      if (!enough && at < value) {
        const isCorrupt = (error: unknown) =>
          error instanceof RealmError && error.code === "corrupt";
        await assert.rejects(reader.read(length), isCorrupt);
        return;
      }
      const got = await reader.read(length);
      if (!enough) return assert.equal(got, null);
      assert.deepEqual([...got!], Array.from({ length }, (_, i) => at + i));
      at += length;
    }
  }));
});
