import assert from "node:assert/strict";
import { AppFeed, openHandingOn } from "./app_feed.ts";
import { AppLog } from "../apps/topic/app_log.ts";
import {
  ann,
  ben,
  createTopic,
  emptyLog,
  join,
  proposed,
  something,
  verify,
} from "../apps/topic/topic_fake.ts";
import type { CID } from "../kernel/canonical.ts";
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

/** A topic of so many events beside the genesis, stored; what is stored of it. */
function storedTopic(count: number): { store: MemoryStore; topic: CID; ids: string[] } {
  const store = new MemoryStore();
  const log = createTopic({}, { store });
  const ids = [log.topicId.toString(), ...write(log, count)];
  log.flush(0);
  return { store, topic: log.topicId, ids };
}

Deno.test("openHandingOn hands on what was checked while the rest is opened", async () => {
  const { store, topic, ids } = storedTopic(1_500);
  const opening = AppLog.opening({ store, verify, topic });
  const taken: string[] = [];
  const sizes: number[] = [];
  const handed = await openHandingOn(opening, () => async (events) => {
    taken.push(...eventsIn(events).map(({ id }) => id.toString()));
    sizes.push(opening.log.topic!.size);
    await settled();
  });
  assert.equal(handed, 1_501);
  assert.deepEqual(taken, ids);
  // The one after a full message was checked before it goes.
  assert.deepEqual(sizes, [513, 1_025, 1_501]);
  const feed = new AppFeed({
    log: opening.log,
    handed,
    take: () => assert.fail("it was handed on before"),
    failed: (error) => assert.fail(`${error}`),
  });
  await feed.start();
  assert.equal(feed.handed, 1_501);
});

Deno.test("openHandingOn waits for its taker where megabytes are on their way", async () => {
  const store = new MemoryStore();
  const log = createTopic({}, { store });
  const large = { type: "note", payload: new Uint8Array(256 * 1024) };
  for (let i = 0; i < 80; i++) log.append(large, ann);
  log.flush(0);
  const opening = AppLog.opening({ store, verify, topic: log.topicId });
  let onTheirWay = 0;
  let most = 0;
  const waiting: (() => void)[] = [];
  const opened = openHandingOn(opening, () => async ({ bytes: { length } }) => {
    most = Math.max(most, onTheirWay += length);
    await new Promise<void>((resolve) => waiting.push(resolve));
    onTheirWay -= length;
  });
  await settled();
  assert.ok(opening.log.topic!.size < 80, "all was read though nothing was taken");
  const release = setInterval(() => waiting.shift()?.(), 0);
  assert.equal(await opened, 81);
  clearInterval(release);
  assert.ok(most <= 10 * 1024 * 1024, `${most} bytes were on their way`);
});

Deno.test("openHandingOn opens a log that nobody takes, is little, or whose taker fails", async () => {
  const { store, topic } = storedTopic(700);
  const open = () => AppLog.opening({ store, verify, topic });
  const unwanted = open();
  assert.equal(await openHandingOn(unwanted, () => undefined), undefined);
  const failing = open();
  const fails = () => Promise.reject(new Error("the Worker ended"));
  assert.equal(await openHandingOn(failing, () => fails), undefined);
  for (const { log } of [unwanted, failing]) assert.equal(log.topic!.size, 701);
  const little = storedTopic(100);
  const opening = AppLog.opening({ store: little.store, verify, topic: little.topic });
  const handed = await openHandingOn(opening, () => assert.fail("it is one message"));
  assert.deepEqual([handed, opening.log.topic!.size], [undefined, 101]);
});

Deno.test("openHandingOn hands on nothing that is damaged", async () => {
  const { store, topic, ids } = storedTopic(1_200);
  const [name, value] = [...store.scan("event/")][1_100]!;
  store.write([{ put: name, value: value.with(value.length >> 1, value[value.length >> 1]! ^ 1) }]);
  const taken: string[] = [];
  await assert.rejects(
    openHandingOn(AppLog.opening({ store, verify, topic }), () => (events) => {
      taken.push(...eventsIn(events).map(({ id }) => id.toString()));
      return Promise.resolve();
    }),
    { code: "corrupt" },
  );
  assert.deepEqual(taken, ids.slice(0, 1_024));
});
