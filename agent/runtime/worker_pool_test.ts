import assert from "node:assert/strict";
import type { Mount } from "../kernel/ports.ts";
import type { GuestWorker } from "./spawn.ts";
import { WorkerPool } from "./worker_pool.ts";

const mount = (hostPath: string, writable: boolean): Mount => ({
  hostPath,
  guestPath: "/",
  writable,
});

/** A pool of workers that only count. */
function pool(wanted: number, refill = false, now = () => 0, first?: GuestWorker) {
  const spawned: (GuestWorker & { readonly mounts: readonly Mount[]; ended: boolean })[] = [];
  const spawn = (mounts: readonly Mount[]) => {
    const worker = {
      mounts,
      ended: false,
      onmessage: null,
      onerror: null,
      onmessageerror: null,
      postMessage() {},
      terminate() {
        worker.ended = true;
      },
    };
    spawned.push(worker);
    return worker;
  };
  return { pool: new WorkerPool({ spawn, wanted, refill, now, first }), spawned };
}

Deno.test("WorkerPool gives back what was used last, where the permissions are the same", () => {
  const { pool: workers, spawned } = pool(1);
  const reads = [mount("/a", false)];
  const first = workers.take(reads);
  workers.give(first, reads);
  assert.equal(workers.take(reads), first);
  workers.give(first, reads);
  for (
    const others of [[mount("/a", true)], [mount("/b", false)], [...reads, mount("/b", false)]]
  ) {
    assert.notEqual(workers.take(others), first);
  }
  assert.equal(workers.take([]), spawned[0], "the one that was there from the start");
  assert.notEqual(workers.take([]), first);
  workers.close();
  assert.equal((first as typeof spawned[0]).ended, true);
});

Deno.test("WorkerPool takes one that was started before for one of the wanted", () => {
  const first = pool(1).spawned[0]!;
  const { pool: workers, spawned } = pool(2, false, () => 0, first);
  assert.equal(spawned.length, 1);
  assert.equal(workers.take([mount("/a", false)]), spawned[1], "it has no permissions");
  const taken = [workers.take([]), workers.take([])];
  assert(taken.includes(first));
  assert.equal(spawned.length, 2);
  for (const worker of taken) workers.give(worker, []);
  workers.close();
  assert.equal(spawned[0]!.ended, true);
  assert.equal(first.ended, false, "it ends with the program");
  const failing = pool(1, false, () => 0, pool(1).spawned[0]!);
  failing.pool.init.first!.onerror!(new ErrorEvent("error", { message: "early" }));
  assert.notEqual(failing.pool.take([]), failing.pool.init.first, "one that failed is not given");
  failing.pool.close();
  workers.close();
});

Deno.test("WorkerPool keeps no more idle Workers than it may, and none that failed", () => {
  const { pool: workers, spawned } = pool(1);
  const taken = Array.from({ length: 12 }, () => workers.take([]));
  for (const worker of taken) workers.give(worker, []);
  const ended = () => spawned.flatMap((each, i) => each.ended ? [i] : []);
  assert.deepEqual(ended(), [0, 1, 2], "one is wanted, eight are spare, the oldest go");
  spawned[11]!.onerror!(new ErrorEvent("error", { message: "late" }));
  assert.equal(spawned[11]!.ended, true);
  assert.equal(workers.take([]), spawned[10]);
  workers.close();
  workers.give(spawned[10]!, []);
  assert(spawned.every((each) => each.ended));
});

Deno.test("WorkerPool gives none that failed before it was ever taken", () => {
  const { pool: workers, spawned } = pool(2);
  spawned[1]!.onerror!(new ErrorEvent("error", { message: "early" }));
  spawned[0]!.onmessageerror!(new MessageEvent("messageerror"));
  assert.ok(spawned.every((each) => each.ended));
  assert.equal(workers.take([]), spawned[2]);
  workers.close();
});

Deno.test("WorkerPool ends spare Workers that nobody took for ten minutes", () => {
  let now = 0;
  const { pool: workers, spawned } = pool(1, false, () => now);
  const taken = Array.from({ length: 4 }, () => workers.take([]));
  const giveAt = (atMs: number, index: number) => {
    now = atMs;
    workers.give(taken[index]!, []);
    return spawned.flatMap((each, i) => each.ended ? [i] : []);
  };
  assert.deepEqual(giveAt(0, 0), []);
  assert.deepEqual(giveAt(300_000, 1), []);
  assert.deepEqual(giveAt(599_999, 2), []);
  assert.deepEqual(giveAt(600_000, 3), [0]);
  workers.take([]);
  assert.deepEqual(giveAt(1_200_000, 3), [0, 1, 2]);
  workers.close();
});

Deno.test("WorkerPool replaces what was taken, unless it comes back first", async () => {
  const { pool: workers, spawned } = pool(2, true);
  assert.equal(spawned.length, 2);
  const a = workers.take([]);
  workers.give(a, []);
  workers.take([]);
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.equal(spawned.length, 3);
  workers.close();
});
