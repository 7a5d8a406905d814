import assert from "node:assert/strict";
import { setImmediate } from "node:timers";
import { FrameQueue, UNVERIFIED_BYTES_MAX } from "./frame_queue.ts";

Deno.test("FrameQueue has frames taken in their order, whatever is found out first", async () => {
  const queue = new FrameQueue();
  const taken: string[] = [];
  const first = Promise.withResolvers<string>();
  assert.equal(queue.push(1, first.promise, (found) => void taken.push(found)), undefined);
  queue.push(1, Promise.resolve("second"), (found) => void taken.push(found));
  await Promise.resolve();
  assert.ok(!queue.isEmpty);
  assert.deepEqual(taken, []);
  first.resolve("first");
  await queue.emptied();
  assert.deepEqual(taken, ["first", "second"]);
  assert.ok(queue.isEmpty);
  await queue.emptied();
});

Deno.test("FrameQueue lets no more come than there is room for", async () => {
  const queue = new FrameQueue();
  const found = Array.from({ length: 4 }, () => Promise.withResolvers<void>());
  const taken: number[] = [];
  const half = UNVERIFIED_BYTES_MAX / 2;
  const rooms = found.map(({ promise }, i) => queue.push(half, promise, () => void taken.push(i)));
  assert.deepEqual(rooms.map((room) => room === undefined), [true, true, false, false]);
  found[0]!.resolve();
  await rooms[2];
  assert.deepEqual(taken, [0]);
  for (const { resolve } of found) resolve();
  await queue.emptied();
  assert.deepEqual(taken, [0, 1, 2, 3]);
});

Deno.test("FrameQueue lets what takes many turns of the event loop come to its end", async () => {
  const queue = new FrameQueue();
  let taken = 0, isOver = false;
  for (let i = 0; i < 30; i++) {
    queue.push(1, Promise.resolve(), () => {
      taken++;
      for (const from = performance.now(); performance.now() - from < 10;);
    });
  }
  const turns = (async () => {
    for (let turn = 0; turn < 24 && !isOver; turn++) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    return taken;
  })();
  await queue.emptied();
  isOver = true;
  assert.equal(taken, 30);
  assert.ok(await turns < 10, "each turn of the other came after a slice of frames");
});
