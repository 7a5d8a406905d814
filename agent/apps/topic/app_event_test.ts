import assert from "node:assert/strict";
import { encodeSigned, signedEventIn } from "../../kernel/event.ts";
import { readAppEvent } from "./app_event.ts";
import { allOf, ben, createTopic, join } from "./topic_fake.ts";

/** Every piece of memory that a value is in. */
function buffersOf(value: unknown): Set<ArrayBufferLike> {
  if (value instanceof Uint8Array) return new Set([value.buffer]);
  if (typeof value !== "object" || value === null) return new Set();
  const parts = value instanceof Map ? [...value].flat() : Object.values(value);
  return new Set(parts.flatMap((part) => [...buffersOf(part)]));
}

Deno.test("readAppEvent() keeps nothing of the memory that many events were read in", async () => {
  const params = new Map([["title", Uint8Array.of(1, 2, 3)]]);
  const log = createTopic({ params, isEncrypted: true });
  await join(log, ben);
  const kinds = new Set<string>();
  for (const signed of allOf(log)) {
    const encoded = encodeSigned(signed);
    const page = new Uint8Array(1_000_000);
    page.set(encoded, 500_000);
    const { event } = signedEventIn(page.subarray(500_000, 500_000 + encoded.length));
    const said = readAppEvent(event);
    assert.ok(!buffersOf(said).has(page.buffer), said.kind);
    kinds.add(said.kind);
  }
  assert.deepEqual([...kinds].sort(), ["app", "epoch", "invite", "join"]);
});
