import assert from "node:assert/strict";
import { BATCH_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX } from "../../kernel/key_value.ts";
import { createFixture } from "./context_fixture.ts";

Deno.test("a call that is larger than a store takes does not travel to the agent", async () => {
  let asked = 0;
  const agent = {
    call: () => {
      asked++;
      throw new Error("asked");
    },
  };
  const { get } = createFixture({ keyvalue: true }, { agent });
  const bucket = get("wasi:keyvalue/store").open("default");
  const { setMany, getMany, deleteMany } = get("wasi:keyvalue/batch");
  const { increment } = get("wasi:keyvalue/atomics");
  const [long, large] = ["k".repeat(KEY_BYTES_MAX + 1), new Uint8Array(VALUE_BYTES_MAX + 1)];
  const value = new Uint8Array(VALUE_BYTES_MAX);
  const calls: [() => Promise<unknown>, RegExp][] = [
    [() => bucket.set("k", large), /value's length/],
    [() => bucket.set(long, value), /key's length/],
    [() => bucket.get(long), /key's length/],
    [() => bucket.exists(long), /key's length/],
    [() => bucket.delete(long), /key's length/],
    [() => increment(bucket, long, 1n), /key's length/],
    [() => setMany(bucket, Array(128).fill(["k", value])), /list's length in bytes/],
    [() => getMany(bucket, Array(BATCH_MAX + 1).fill("k")), /length of the list/],
    [() => deleteMany(bucket, Array(BATCH_MAX + 1).fill("k")), /length of the list/],
  ];
  for (const [call, wanted] of calls) {
    await assert.rejects(call, (error: { tag: string; val: string }) => {
      assert.equal(error.tag, "other");
      assert.match(error.val, wanted);
      return true;
    });
  }
  assert.equal(asked, 0);
  await assert.rejects(() => bucket.set("k", value), /asked/);
});
