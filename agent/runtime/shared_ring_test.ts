import assert from "node:assert/strict";
import fc from "fast-check";
import { ringMemory, RingReader, RingWriter } from "./shared_ring.ts";

const CAPACITY = 256;

/** Writes bytes that tell their place; whether there was room. */
function write(writer: RingWriter, seed: number, length: number): boolean {
  const at = writer.reserve(length);
  if (at < 0) return false;
  for (let i = 0; i < length; i++) writer.bytes[at + i] = seed + i;
  writer.commit(length);
  return true;
}

function readAll(reader: RingReader): number[][] {
  const records: number[][] = [];
  reader.drain((at, length) => {
    records.push([...reader.bytes.subarray(at, at + length)]);
    return true;
  });
  return records;
}

Deno.test("a ring gives every record once, whole and in order", () => {
  const step = fc.oneof(fc.nat(80), fc.constant("read" as const));
  fc.assert(fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
    const memory = ringMemory(CAPACITY);
    const writer = new RingWriter(memory);
    const reader = new RingReader(memory);
    let sent: number[][] = [];
    for (const [seed, step] of steps.entries()) {
      if (step !== "read") {
        const isWritten = write(writer, seed, step);
        if (isWritten) sent.push(Array.from({ length: step }, (_, i) => (seed + i) & 0xff));
        if (step > CAPACITY / 4) assert.equal(isWritten, false);
        if (sent.length === 0) assert.equal(isWritten, step + 4 <= CAPACITY / 4 - 3);
      } else {
        writer.flush();
        assert.deepEqual(readAll(reader), sent);
        sent = [];
      }
    }
  }));
});

Deno.test("what is not sent yet is not read, and what is refused stays", () => {
  const memory = ringMemory(CAPACITY);
  const writer = new RingWriter(memory);
  const reader = new RingReader(memory);
  write(writer, 1, 2);
  assert.deepEqual(readAll(reader), []);
  writer.flush();
  reader.drain(() => false);
  assert.deepEqual(readAll(reader), [[1, 2]]);
});

Deno.test("a writer with a bound sends so many while its turn goes on, the rest at its end", async () => {
  const memory = ringMemory(CAPACITY);
  const writer = new RingWriter(memory, 2);
  const reader = new RingReader(memory);
  write(writer, 1, 1);
  assert.deepEqual(readAll(reader), []);
  write(writer, 2, 1);
  write(writer, 3, 1);
  assert.deepEqual(readAll(reader), [[1], [2]]);
  await null;
  assert.deepEqual(readAll(reader), [[3]]);
});

Deno.test("a reader wakes for what is written, also while it is kept busy", async () => {
  const memory = ringMemory(CAPACITY);
  const writer = new RingWriter(memory);
  const reader = new RingReader(memory);
  const read: number[][] = [];
  const all = Promise.withResolvers<void>();
  // A wait for shared memory alone does not keep a thread alive.
  const alive = setInterval(() => {}, 1000);
  const ended = reader.listen(() => {
    read.push(...readAll(reader));
    // Written while it reads: it has to go on without being woken.
    if (read.length < 100) {
      write(writer, read.length, 1);
      writer.flush();
    } else all.resolve();
  });
  await all.promise;
  assert.deepEqual(read.map(([n]) => n), Array.from({ length: 100 }, (_, i) => i));
  reader.close();
  await ended;
  clearInterval(alive);
});

Deno.test("a record that cannot be is an error, not a read past the end", () => {
  for (const length of [-2, 300, 0x7fff_ffff, 64]) {
    const memory = ringMemory(CAPACITY);
    const writer = new RingWriter(memory);
    const reader = new RingReader(memory);
    write(writer, 0, 8);
    writer.flush();
    writer.words[0] = length;
    assert.throws(() => readAll(reader), /Cannot read shared memory/);
  }
});
