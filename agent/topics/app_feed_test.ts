import assert from "node:assert/strict";
import { AppFeed } from "./app_feed.ts";
import type { AppLog } from "../apps/topic/app_log.ts";
import {
  ann,
  ben,
  createTopic,
  emptyLog,
  join,
  proposed,
  something,
} from "../apps/topic/topic_fake.ts";
import { eventsIn } from "../kernel/event_batch.ts";
import { MemoryStore } from "../store/memory_store.ts";

/** Lets everything happen that waits for nothing outside. */
const settled = () => new Promise((resolve) => setTimeout(resolve, 0));

function write(log: AppLog, count: number): string[] {
  return Array.from({ length: count }, () => log.append(something(), ann).id.toString());
}

function follow(log: AppLog, feed: AppFeed): void {
  log.follow({ added: (event) => feed.added(event), judged() {}, stored: () => feed.stored() });
}

Deno.test("AppFeed hands on everything in order, and no more while one message is on its way", async () => {
  const log = createTopic();
  const first = [log.topicId.toString(), ...write(log, 700)];
  log.flush(0);
  const taken: string[] = [];
  let release: (() => void) | undefined;
  let most = 0;
  const feed = new AppFeed({
    log,
    take: (events) => {
      assert.equal(release, undefined, "two messages at once");
      most = Math.max(most, events.ends.length);
      taken.push(...eventsIn(events).map(({ id }) => id.toString()));
      return new Promise<void>((resolve) => {
        release = () => {
          release = undefined;
          resolve();
        };
      });
    },
    failed: (error) => assert.fail(`${error}`),
  });
  follow(log, feed);
  const started = feed.start();
  const later = write(log, 1_500);
  log.flush(0);
  await settled();
  assert.equal(feed.handed, undefined);
  assert.ok(taken.length <= 512);
  let isCaughtUp = false;
  void feed.caughtUp().then(() => isCaughtUp = true);
  const more: string[] = [];
  for (let messages = 0; release !== undefined; messages++) {
    assert.ok(messages < 100);
    release();
    await settled();
    // Nobody waits for what came after.
    if (messages === 2) {
      more.push(...write(log, 10));
      log.flush(0);
    }
  }
  await started;
  assert.ok(isCaughtUp);
  assert.equal(most, 512);
  assert.deepEqual(taken, [...first, ...later, ...more]);
  assert.equal(feed.handed, taken.length);
  await feed.caughtUp();
});

Deno.test("AppFeed reads what is stored as it hands it on, and nothing twice that is stored meanwhile", async () => {
  const store = new MemoryStore();
  const log = createTopic({}, { store });
  await join(log, ben);
  const before = [...log.topic!.order()].map(({ id }) => id.toString());
  // On a branch, so that it comes before others that are there.
  const late = proposed(log, ben, something());
  const stored = [...before, ...write(log, 700)];
  log.flush(0);
  let pages = 0;
  const scan = store.scan.bind(store);
  store.scan = (prefix, page) => {
    assert.ok(page !== undefined && page.limit <= 64);
    pages++;
    return scan(prefix, page);
  };
  const taken: string[] = [];
  const came: string[] = [];
  const copy = emptyLog(log.topicId);
  const feed = new AppFeed({
    log,
    take: async (events) => {
      const signed = eventsIn(events);
      copy.take(signed); // parents first
      taken.push(...signed.map(({ id }) => id.toString()));
      if (came.length > 0) return;
      assert.ok(pages <= 9, "everything was read before the first message went");
      log.offer([late]);
      came.push(late.id.toString(), ...write(log, 200));
      log.flush(0);
      await settled();
    },
    failed: (error) => assert.fail(`${error}`),
  });
  follow(log, feed);
  await feed.start();
  await feed.caughtUp();
  assert.deepEqual(taken.slice(0, stored.length).sort(), stored.sort());
  assert.deepEqual(taken.slice(stored.length), came);
});

Deno.test("AppFeed tells that its taker failed, and keeps nobody waiting", async () => {
  const log = createTopic();
  log.flush(0);
  const failures: string[] = [];
  let isBroken = false;
  const feed = new AppFeed({
    log,
    take: async () => {
      await Promise.resolve();
      if (isBroken) throw new Error("the Worker ended");
    },
    failed: (error) => void failures.push((error as Error).message),
  });
  follow(log, feed);
  await feed.start();
  await settled();
  isBroken = true;
  write(log, 1);
  log.flush(0);
  await feed.caughtUp();
  assert.deepEqual(failures, ["the Worker ended"]);
  write(log, 1);
  await feed.caughtUp();
  assert.deepEqual(failures, ["the Worker ended"]);
});

Deno.test("AppFeed hands nothing on that is not durable, and all when it is", async () => {
  const store = new MemoryStore();
  const log = createTopic({}, { store });
  log.flush(0);
  const taken: string[] = [];
  const feed = new AppFeed({
    log,
    take: async (events) => {
      const ids = eventsIn(events).map(({ id }) => id);
      assert.ok(ids.every((id) => log.isStored(id)));
      taken.push(...ids.map((id) => id.toString()));
      await settled();
    },
    failed: (error) => assert.fail(`${error}`),
  });
  follow(log, feed);
  const first = write(log, 3); // while it starts
  await feed.start();
  assert.deepEqual([taken, feed.handed], [[log.topicId.toString()], undefined]);
  log.flush(0);
  const second = write(log, 600);
  await settled();
  await settled();
  assert.deepEqual(taken.slice(1), first);
  const { write: put } = store;
  store.write = () => {
    throw new Error("the disk is full");
  };
  assert.throws(() => log.flush(0), /disk is full/);
  await settled();
  assert.deepEqual(taken.slice(1), first);
  store.write = put;
  log.flush(0);
  const last = write(log, 1);
  for (let i = 0; taken.length < 604 && i < 100; i++) await settled();
  assert.deepEqual(taken.slice(1), [...first, ...second]);
  log.flush(0);
  await feed.caughtUp();
  assert.deepEqual(taken.slice(604), last);
  await settled();
  assert.equal(feed.handed, 605);
});
