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

Deno.test("WorkerPool ends spare Workers that nobody took for a minute", () => {
  let now = 0;
  const { pool: workers, spawned } = pool(1, false, () => now);
  const taken = Array.from({ length: 4 }, () => workers.take([]));
  const giveAt = (atMs: number, index: number) => {
    now = atMs;
    workers.give(taken[index]!, []);
    return spawned.flatMap((each, i) => each.ended ? [i] : []);
  };
  assert.deepEqual(giveAt(0, 0), []);
  assert.deepEqual(giveAt(30_000, 1), []);
  assert.deepEqual(giveAt(59_999, 2), []);
  assert.deepEqual(giveAt(60_000, 3), [0]);
  workers.take([]);
  assert.deepEqual(giveAt(120_000, 3), [0, 1, 2]);
  workers.close();
});

Deno.test("WorkerPool keeps spare Workers for longer where those that ended are needed again", () => {
  let now = 0;
  const { pool: workers, spawned } = pool(1, false, () => now);
  /** Three are needed at once, and one after a while; how many were spawned for that, and ended. */
  const peak = (afterMs: number) => {
    const count = () => [spawned.length, spawned.filter(({ ended }) => ended).length] as const;
    const before = count();
    const taken = [workers.take([]), workers.take([]), workers.take([])];
    for (const worker of taken) workers.give(worker, []);
    now += afterMs;
    workers.give(workers.take([]), []);
    return count().map((n, i) => n - before[i]!);
  };
  assert.deepEqual(peak(60_000), [2, 2], "for a minute");
  assert.deepEqual(peak(119_999), [2, 0], "they were needed again: for two");
  assert.deepEqual(peak(120_000), [0, 2]);
  assert.deepEqual(peak(239_999), [2, 0], "for four");
  for (let i = 0; i < 10; i++) peak(3_600_000);
  assert.deepEqual(peak(3_600_000), [2, 2], "for an hour at most");
  workers.close();
});

Deno.test("WorkerPool keeps spare Workers no longer for those that were too many, or needed late", () => {
  let now = 0;
  const { pool: workers, spawned } = pool(1, false, () => now);
  /** So many at once, then one after a while; how many of those that were idle ended by then. */
  const peak = (count: number, afterMs: number) => {
    const taken = Array.from({ length: count }, () => workers.take([]));
    for (const worker of taken) workers.give(worker, []);
    const ended = () => spawned.filter((each) => each.ended).length;
    const before = ended();
    now += afterMs;
    workers.give(workers.take([]), []);
    return ended() - before;
  };
  for (let i = 0; i < 8; i++) assert.equal(peak(12, 10_000), 0, "three of each end by number");
  assert.equal(peak(3, 60_000), 8, "a minute, still");
  assert.equal(peak(3, 119_999), 0, "needed at once: two");
  assert.equal(peak(3, 120_000), 2);
  now += 120_001;
  assert.equal(peak(3, 60_000), 2, "needed later than after two more: one again");
  now += 60_001;
  assert.equal(peak(3, 59_999), 0, "and never less");
  workers.close();
});

Deno.test("WorkerPool keeps spare Workers no longer for others than could have used those that ended", () => {
  let now = 0;
  const { pool: workers, spawned } = pool(1, false, () => now);
  for (let i = 0; i < 8; i++) {
    const folder = [mount(`/${i}`, true)];
    workers.give(workers.take(folder), folder);
    now += 60_000;
    workers.give(workers.take([]), []);
    assert.ok(spawned.at(-1)!.ended, `${i}`);
  }
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
