import assert from "node:assert/strict";
import { bytesOf } from "../../kernel/byte_string.ts";
import { RealmError } from "../../kernel/error.ts";
import { MemoryStore } from "../../store/memory_store.ts";
import { type Guest, Replay } from "../replay.ts";
import { SnapshotReader } from "../state_snapshot.ts";
import { AppLog } from "./app_log.ts";
import { replayParts } from "./app_replay.ts";
import { pastState } from "./past_state.ts";
import { ann, ben, cem, createTopic, guestOf, join, verify } from "./topic_fake.ts";
import {
  decodeRecord,
  encodeRecord,
  PINNED_MAX,
  resumeFrom,
  SnapshotStore,
  takeSnapshot,
  ticketStateOf,
} from "./topic_snapshot.ts";

const ABI = 1;

/** Counts what it applies. */
function counting(): { guestOf: (bundle: string) => Guest; applied: number } {
  const counter = {
    applied: 0,
    guestOf: (bundle: string): Guest => {
      const guest = guestOf(bundle);
      return {
        ...guest,
        apply(event, writes) {
          counter.applied++;
          return guest.apply(event, writes);
        },
      };
    },
  };
  return counter;
}

async function filled(count: number) {
  const store = new MemoryStore();
  const log = createTopic({}, { store });
  await join(log, ben);
  await join(log, cem);
  const replay = new Replay(replayParts(log, { guestOf })!);
  log.follow(replay);
  fill(log, count);
  replay.update(0);
  log.flush(0);
  return { store, log, replay };
}

function fill(log: AppLog, count: number): void {
  for (let i = 0; i < count; i++) {
    const who = [ann, ben, cem][i % 3]!;
    log.append({ type: `app/say${i % 2}`, payload: new Uint8Array(100).fill(i) }, who);
  }
}

Deno.test("a start goes on from the newest snapshot and applies what came after it", async () => {
  const { store, log, replay } = await filled(60);
  const snapshots = new SnapshotStore(store);
  snapshots.save(takeSnapshot(log.topic!, replay, ABI), "newest", 1);
  fill(log, 7);
  replay.update(0);
  log.flush(0);

  const again = AppLog.open({ store, verify, topic: log.topicId });
  const [record] = snapshots.newest();
  const counter = counting();
  const { length } = record!;
  assert.equal(resumeFrom(snapshots.load(record!), () => undefined), undefined);
  const resume = resumeFrom(snapshots.load(record!), counter.guestOf)!;
  const resumed = new Replay({ ...replayParts(again, counter)!, resume });
  again.follow(resumed);
  resumed.update(0);
  assert.equal(counter.applied, 7);
  assert.deepEqual(resumed.state.digest(ABI), replay.state.digest(ABI));
  assert.equal(resumed.skipped, length);
  const recall = resumed.recall(ABI);
  let step = recall.next();
  while (!step.done) step = recall.next();
  assert.equal(step.value, true);
  assert.ok(resumed.log.every((event) => {
    const there = log.topic!.at(event.key)!;
    return JSON.stringify(resumed.outcomeOf(event)) === JSON.stringify(replay.outcomeOf(there));
  }));
});

Deno.test("a newcomer takes the state of its ticket from anybody, and checks it later", async () => {
  const { store, log, replay } = await filled(30);
  const snapshots = new SnapshotStore(store);
  const snapshot = takeSnapshot(log.topic!, replay, ABI);
  snapshots.save(snapshot, "pinned", 5);
  const ticket = ticketStateOf(snapshot.record);
  const heads = log.topic!.heads;
  fill(log, 5);
  replay.update(0);
  // What a peer sends: a record and chunks.
  const { record } = decodeRecord(encodeRecord(snapshots.find(ticket.digest)!));
  assert.deepEqual(ticketStateOf(record), ticket);
  const reader = new SnapshotReader(record.index, ABI, ticket.digest);
  for (const name of reader.missing) reader.take(snapshots.chunk(name)!);
  assert.deepEqual(reader.state().digest(ABI), ticket.digest);
  const past = pastState(log, heads, { guestOf });
  assert.deepEqual(past.state.digest(ABI), ticket.digest);
  assert.equal(snapshots.find(new Uint8Array(32)), undefined);
  assert.equal(snapshots.chunk("../event"), undefined);
});

Deno.test("snapshots share chunks, and those that nobody needs go", async () => {
  const { store, log, replay } = await filled(10);
  const snapshots = new SnapshotStore(store);
  const digests: Uint8Array[] = [];
  for (let i = 0; i < PINNED_MAX + 4; i++) {
    fill(log, 1);
    replay.update(0);
    const snapshot = takeSnapshot(log.topic!, replay, ABI, snapshots.known());
    snapshots.save(snapshot, "newest", i);
    // The very same once more brings no chunk.
    const twice = takeSnapshot(log.topic!, replay, ABI, snapshots.known());
    assert.equal(twice.chunks.size, 0);
    snapshots.save(twice, "pinned", i);
    digests.push(snapshot.record.digest);
  }
  assert.equal(snapshots.newest().length, 2);
  assert.deepEqual(digests.map((digest) => snapshots.find(digest) !== undefined), [
    ...Array(4).fill(false),
    ...Array(PINNED_MAX).fill(true),
  ]);
  // To know which chunks there are, none of them is loaded.
  const { scan } = store;
  store.scan = () => assert.fail("values are loaded");
  assert.equal(snapshots.known().size, PINNED_MAX);
  store.scan = scan;
  for (const digest of digests.slice(4)) {
    assert.deepEqual(snapshots.state(snapshots.find(digest)!).digest(ABI), digest);
  }
  const lacking = { record: snapshots.newest()[0]!, chunks: new Map() };
  assert.throws(() => new SnapshotStore(new MemoryStore()).save(lacking, "newest", 0), /missing/);
});

Deno.test("a snapshot that is damaged is told", async () => {
  const { store, log, replay } = await filled(10);
  const snapshots = new SnapshotStore(store);
  snapshots.save(takeSnapshot(log.topic!, replay, ABI), "newest", 0);
  const [record] = snapshots.newest();
  const [[key, chunk]] = [...store.scan("snapshot/chunk/")] as [[string, Uint8Array]];
  const corrupt = (error: unknown) => error instanceof RealmError && error.code === "corrupt";
  store.write([{ put: key, value: bytesOf("x") }]);
  assert.throws(() => snapshots.state(record!), corrupt);
  store.write([{ delete: key }]);
  assert.throws(() => snapshots.state(record!), corrupt);
  store.write([{ put: key, value: chunk }]);
  assert.ok(snapshots.state(record!).size > 0);
  for (const value of [bytesOf("x"), encodeRecord({ ...record!, bundle: "x".repeat(200) })]) {
    assert.throws(() => decodeRecord(value), corrupt);
  }
});
