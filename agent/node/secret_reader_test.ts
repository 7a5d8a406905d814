import assert from "node:assert/strict";
import { secretReader } from "./secret_reader.ts";

function setUp() {
  const records = new Map<string, { event: string; sealed: Uint8Array }>();
  const opened: number[] = [];
  const said: string[] = [];
  const read = secretReader({
    record: (name) => records.get(name),
    open: (_name, sealed) => {
      opened.push(sealed[0]!);
      return sealed[0] === 0 ? Promise.reject(new Error("no key")) : Promise.resolve(sealed);
    },
    notice: (text) => said.push(text),
  });
  const set = (event: string, value: number) =>
    records.set("a", { event, sealed: Uint8Array.of(value) });
  return { read, set, records, opened, said };
}

Deno.test("secretReader() opens a value once, however often it is read", async () => {
  const { read, set, opened, said } = setUp();
  set("e1", 7);
  for (const value of await Promise.all([read("a"), read("a"), read("a")])) {
    assert.deepEqual(value, Uint8Array.of(7));
    structuredClone(value, { transfer: [value!.buffer] }); // as it may be on its way to the guest
  }
  assert.deepEqual(await read("a"), Uint8Array.of(7));
  assert.deepEqual([opened, said], [[7], ["secret a was read (set by event e1)"]]);
});

Deno.test("secretReader() reads a new value at once, and nothing of one that was taken away", async () => {
  const { read, set, records, opened, said } = setUp();
  assert.equal(await read("a"), undefined);
  set("e1", 7);
  assert.deepEqual(await read("a"), Uint8Array.of(7));
  set("e2", 8);
  assert.deepEqual(await read("a"), Uint8Array.of(8));
  records.clear();
  assert.equal(await read("a"), undefined);
  assert.equal(await read("a"), undefined);
  assert.deepEqual(opened, [7, 8]);
  assert.equal(said.length, 4);
});

Deno.test("secretReader() tries once to open what it cannot", async () => {
  const { read, set, opened, said } = setUp();
  set("e1", 0);
  await assert.rejects(read("a"), /no key/);
  await assert.rejects(read("a"), /no key/);
  assert.deepEqual([opened.length, said.length], [1, 1]);
  set("e2", 9);
  assert.deepEqual(await read("a"), Uint8Array.of(9));
});
