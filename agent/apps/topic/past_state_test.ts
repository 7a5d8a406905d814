import assert from "node:assert/strict";
import { bytesOf, textOf } from "../../kernel/byte_string.ts";
import { RealmError } from "../../kernel/error.ts";
import { Replay } from "../replay.ts";
import { AppLog } from "./app_log.ts";
import { replayParts } from "./app_replay.ts";
import { revocationsOf } from "./authoring.ts";
import { forkAt, pastState } from "./past_state.ts";
import {
  allOf,
  ann,
  ben,
  cem,
  createTopic,
  emptyLog,
  exchange,
  guestOf,
  join,
  randomFrom,
  someCid,
  verify,
} from "./topic_fake.ts";
import { baseSnapshot, SnapshotStore } from "./topic_snapshot.ts";
import { MemoryStore } from "../../store/memory_store.ts";

const ABI = 1;
const init = { guestOf };
const say = (text: string) => ({ type: "app/say", payload: bytesOf(text) });

for (const isEncrypted of [false, true]) {
  Deno.test(`a fork begins with the state of an event, encrypted: ${isEncrypted}`, async () => {
    const log = createTopic({ isEncrypted, params: new Map([["limit", bytesOf("7")]]) });
    await join(log, ben);
    log.append(say("one"), ann);
    const next = someCid("next");
    log.write({ kind: "upgrade", bundle: next }, ann);
    const at = log.topic!.get(log.append(say("two"), ben).id)!;
    const { genesis, past } = forkAt(log, at, ABI, init);
    log.append(say("three"), ben);
    assert.ok(genesis.bundle.equals(next));
    const signing = { signer: ben, random: randomFrom(4) };
    const store = new MemoryStore();
    const fork = AppLog.create({ store, verify, openers: [ben.opener] }, genesis, signing);
    assert.equal(fork.view!.creator, ben.key);
    assert.throws(() => replayParts(fork, init), (e) => (e as RealmError).code === "not-found");
    const snapshots = new SnapshotStore(store);
    snapshots.save(baseSnapshot(past, genesis.fork!, ABI), "base", 0);
    const state = snapshots.state(snapshots.find(genesis.fork!.digest)!);
    const replay = new Replay(replayParts(fork, { guestOf, state })!);
    fork.follow(replay);
    replay.update(0);
    assert.deepEqual(replay.state.digest(ABI), genesis.fork!.digest);
    assert.equal(replay.bundle, next.toString());
    assert.equal(textOf(replay.state.get(ben.publicKey)!), "app/saytwo");
    fork.append(say("mine"), ben);
    replay.update(0);
    assert.equal(textOf(replay.state.get(ben.publicKey)!), "app/saymine");
    assert.equal(textOf(replay.state.get(ann.publicKey)!), "app/sayone");
    // A fork of the fork needs what that began with.
    const again = fork.topic!.heads[0]!;
    const second = forkAt(fork, again, ABI, { guestOf, state: past.state });
    assert.deepEqual(second.past.state.digest(ABI), replay.state.digest(ABI));
    assert.throws(() => forkAt(fork, again, ABI, init), /is not here/);
  });
}

Deno.test("the state of an event is the same whatever else there is", async () => {
  const log = createTopic();
  await join(log, ben);
  await join(log, cem);
  const away = emptyLog(log.topicId);
  away.offer(allOf(log));
  const event = log.append(say("one"), cem);
  const at = () => pastState(log, [log.topic!.get(event.id)!], init).state.digest(ABI);
  const before = at();
  // An event beside it that sorts before it, and a revocation that makes it void.
  for (let i = 0; i < 3; i++) away.append(say(`late ${i}`), ben);
  for (const said of revocationsOf(away, cem.key, null)) away.write(said, ann);
  exchange(log, away);
  assert.deepEqual(at(), before);
  const found = log.topic!.get(event.id)!;
  assert.ok(!log.topic!.isKept(found));
  assert.deepEqual(at(), before);
  const lacking = { guestOf: () => undefined };
  assert.throws(
    () => pastState(log, [log.topic!.get(event.id)!], lacking),
    /bundle .* is not here/,
  );
  const replay = new Replay(replayParts(log, init)!);
  replay.update(0);
  assert.notDeepEqual(replay.state.digest(ABI), before);
});
