import assert from "node:assert/strict";
import type { Pipe } from "../../kernel/ports.ts";
import { sourceService } from "./process_replica.ts";

/** A pipe whose other side takes nothing until it is let go. */
function stuckPipe() {
  const taken = Promise.withResolvers<boolean>();
  const pipe: Pipe = {
    signal: new AbortController().signal,
    read: () => Promise.resolve(null),
    write: () => taken.promise,
    end() {},
    fail() {},
    stopReading() {},
  };
  return { pipe, drop: () => taken.resolve(false) };
}

Deno.test("sourceService() holds the component for one call at a time", async () => {
  let asked = 0;
  const service = sourceService(() => {
    asked++;
    return Promise.resolve(new Uint8Array(1_000_000));
  });
  const first = stuckPipe();
  assert.equal(await service.call(null, first.pipe), true);
  assert.equal(await service.call(null, stuckPipe().pipe), false);
  assert.equal(asked, 1);
  first.drop();
  await new Promise((resolve) => setTimeout(resolve));
  assert.equal(await service.call(null, stuckPipe().pipe), true);
});

Deno.test("sourceService() says that there is nothing, and may be asked again", async () => {
  const service = sourceService(() => Promise.reject(new Error("gone")));
  assert.equal(await service.call(null, stuckPipe().pipe), false);
  const empty = sourceService(() => Promise.resolve(undefined));
  assert.equal(await empty.call(null, stuckPipe().pipe), false);
  assert.equal(await empty.call(null, stuckPipe().pipe), false);
});
