import assert from "node:assert/strict";
import { bytesOf, textOf } from "../../kernel/byte_string.ts";
import type { CID } from "../../kernel/canonical.ts";
import { RealmError } from "../../kernel/error.ts";
import { eventAt, signEventSync } from "../../kernel/event.ts";
import { MemoryStore } from "../../store/memory_store.ts";
import { PAYLOAD_BYTES_MAX } from "./app_event.ts";
import { AppLog } from "./app_log.ts";
import {
  CHECKPOINT_EVENTS,
  inviteTo,
  isCheckpointDue,
  joinBy,
  nextEpoch,
  revocationsOf,
} from "./authoring.ts";
import { JOINS_MAX } from "./joined.ts";
import { decryptPayload, encryptPayload, sealEpoch } from "./payload_keys.ts";
import {
  allOf,
  ann,
  ben,
  cem,
  createTopic,
  dan,
  emptyLog,
  exchange,
  join,
  type Person,
  personOf,
  proposed,
  randomFrom,
  someCid,
  something,
  stranger,
  summary,
  verify,
} from "./topic_fake.ts";

/** Fails unless `act` throws a RealmError of this code, and gives its message. */
function refusal(act: () => unknown, code: string): string {
  let message = "";
  assert.throws(act, (error: unknown) => {
    assert.ok(error instanceof RealmError, String(error));
    message = error.message;
    return error.code === code;
  });
  return message;
}

function revoke(log: AppLog, by: Person, key: string, last?: CID | null): void {
  for (const said of revocationsOf(log, key, last)) log.write(said, by);
}

Deno.test("a topic is its creator's until others join", async () => {
  const log = createTopic();
  log.append(something(), ann);
  assert.equal(log.view!.creator, ann.key);
  assert.match(refusal(() => log.append(something(), ben), "refused"), /has no say in app\/say/);
  await join(log, ben);
  log.append(something(), ben);
  assert.deepEqual(
    [...log.view!.members.values()].map(({ key, role }) => [key, role]).sort(),
    [
      [ann.key, "creator"],
      [ben.key, "member"],
    ].sort(),
  );
  refusal(() => log.write({ kind: "checkpoint", digest: null }, ben), "refused");
  refusal(() => log.write(inviteTo(log, "member", randomFrom(9)).said, ben), "refused");
});

Deno.test("one joins with the secret of an invite while everybody else is away", async () => {
  const log = createTopic();
  const { said, seed } = inviteTo(log, "member", randomFrom(2));
  log.write(said, ann);
  const bens = emptyLog(log.topicId);
  refusal(() => bens.placeFor(ben.publicKey), "not-found");
  const invite = await personOf(seed);
  refusal(() => joinBy(bens, invite, ben.publicKey), "not-found");
  bens.offer(allOf(log));
  const proof = joinBy(bens, invite, ben.publicKey);
  // What is proven for ben is of no use to anybody else.
  const stolen = bens.offer([proposed(bens, stranger, proof)]);
  assert.deepEqual([stolen.accepted.length, stolen.refused[0]!.code], [0, "corrupt"]);
  bens.write(proof, ben);
  bens.append(something(), ben);
  exchange(log, bens);
  assert.deepEqual(summary(log), summary(bens));
  assert.equal(log.view!.members.get(ben.key)!.role, "member");
});

Deno.test("nothing of another topic, of no genesis, or out of form enters", () => {
  const log = createTopic();
  const other = createTopic({}, { random: randomFrom(77) });
  assert.notEqual(log.topicId.toString(), other.topicId.toString());
  const [genesis] = allOf(other);
  const empty = emptyLog(log.topicId);
  const first = log.append(something(), ann);
  assert.equal(empty.offer([first]).refused[0]!.code, "unclaimed");
  assert.equal(empty.offer([genesis!]).refused[0]!.code, "corrupt");
  assert.equal(log.offer([genesis!]).refused[0]!.code, "corrupt");
  const wrong = [
    { type: "app/say", payload: 3 },
    { type: "app/say", payload: new Uint8Array(PAYLOAD_BYTES_MAX + 1) },
    { type: "app/say", payload: bytesOf("x"), keyEpoch: 1 },
    { type: "realm/upgrade", payload: { bundle: bytesOf("x") } },
    { type: "realm/invite", payload: { key: ben.publicKey, role: "king", sealed: null } },
    { type: "realm/leave", payload: {} },
    { type: "realm/app", payload: {} },
    { type: "realm/revoke", payload: { key: ann.publicKey, last: null } },
    { type: "realm/revoke", payload: { key: ben.publicKey, last: first.id } },
    { type: "realm/join", payload: { invite: first.id, proof: new Uint8Array(64) } },
    { type: "realm/epoch", payload: { epoch: 0 } },
  ];
  for (const content of wrong) {
    const { accepted, refused } = log.offer([proposed(log, ann, content)]);
    assert.deepEqual([accepted.length, refused[0]?.code], [0, "corrupt"], content.type);
  }
  const forged = { ...first, signature: new Uint8Array(64).fill(1) };
  assert.equal(
    emptyLog(log.topicId).offer([...allOf(log).slice(0, 1), forged]).refused[0]!.code,
    "bad-signature",
  );
});

Deno.test("what is stored is there again, and what is damaged is told", async () => {
  const store = new MemoryStore();
  const log = createTopic({ params: new Map([["limit", bytesOf("7")]]) }, { store });
  await join(log, ben);
  log.append(something(), ben);
  assert.deepEqual([...log.stored()], []);
  const all = allOf(log);
  assert.ok(all.every(({ id }) => log.isStored(id) && log.storedAtMs(id) === 0));
  const again = AppLog.open({ store, verify, topic: log.topicId });
  assert.deepEqual(summary(again), summary(log));
  assert.deepEqual(allOf(again), all);
  const init = { store, verify, topic: someCid("another") };
  assert.match(refusal(() => AppLog.open(init), "corrupt"), /is another/);
  const [[key, value]] = [...store.scan("event/")].slice(-1) as [[string, Uint8Array]];
  const changed = value.slice();
  changed[60]! ^= 1;
  store.write([{ put: key, value: changed }]);
  refusal(() => AppLog.open({ ...init, topic: log.topicId }), "corrupt");
});

Deno.test("a revocation voids what its author wrote after it, wherever it lies", async () => {
  const log = createTopic();
  await join(log, ben);
  await join(log, cem);
  const kept = log.append(something(), ben);
  const away = emptyLog(log.topicId);
  away.offer(allOf(log));
  const late = away.append(something(), ben);
  const seen = away.append(something(), cem);
  const later = away.append(something(), ben);
  revoke(log, ann, ben.key);
  const { refused } = log.offer([late]);
  assert.equal(refused[0]!.code, "void");
  exchange(log, away);
  assert.deepEqual(summary(log), summary(away));
  for (const each of [log, away]) {
    const topic = each.topic!;
    assert.ok(topic.counts(topic.get(kept.id)!));
    // It stays because cem's event needs it, and does not count.
    assert.ok(topic.isKept(topic.get(late.id)!) && !topic.counts(topic.get(late.id)!));
    assert.ok(topic.counts(topic.get(seen.id)!));
    assert.ok(topic.get(later.id) === undefined || !topic.isKept(topic.get(later.id)!));
    assert.equal(each.view!.members.get(ben.key), undefined);
    assert.equal(each.view!.revocations[0]!.lastSeq, kept.event.seq);
  }
  refusal(() => log.append(something(), ben), "refused");
  // Not even on a branch that nobody has seen.
  const place = away.placeFor(ben.publicKey);
  const back = { ...place, heads: [{ id: kept.id, lamport: kept.event.lamport }] };
  const branch = signEventSync(
    eventAt(
      ben.publicKey,
      { ...back, previous: { id: kept.id, seq: kept.event.seq } },
      something(),
    ),
    ben,
  );
  assert.equal(log.offer([branch]).accepted.length, 0);
  assert.ok(log.topic!.counts(log.topic!.get(kept.id)!));
});

Deno.test("who left writes nothing more, and may join again", async () => {
  const log = createTopic();
  await join(log, ben);
  log.append(something(), ben);
  log.write({ kind: "leave" }, ben);
  assert.equal(log.view!.members.has(ben.key), false);
  refusal(() => log.append(something(), ben), "refused");
  await join(log, ben, "keeper");
  assert.equal(log.view!.members.get(ben.key)!.role, "keeper");
  refusal(() => log.append(something(), ben), "refused");
  log.write({ kind: "leave" }, ben);
});

Deno.test("admins invite and revoke members, and only the creator revokes admins", async () => {
  const log = createTopic();
  await join(log, ben, "admin");
  await join(log, cem, "admin");
  await join(log, dan, "member", ben);
  log.append(something(), dan);
  revoke(log, ben, cem.key);
  revoke(log, cem, ben.key);
  assert.equal(log.view!.members.get(ben.key)!.role, "admin");
  assert.equal(log.view!.members.get(cem.key)!.role, "admin");
  revoke(log, cem, dan.key);
  assert.equal(log.view!.members.has(dan.key), false);
  // With the admin goes what the admin did after that, and dan is back.
  const [newest] = log.topic!.tipsOf(cem.publicKey);
  const before = newest!.prev!.prev!.prev!.prev!;
  revoke(log, ann, cem.key, before.id);
  assert.equal(log.view!.members.has(cem.key), false);
  assert.equal(log.view!.members.get(dan.key)!.role, "member");
  // Ben goes, with everybody whom he invited after the event that is his last.
  revoke(log, ann, ben.key, null);
  assert.deepEqual([...log.view!.members.keys()], [ann.key]);
});

Deno.test("who becomes admin is beyond what admins revoked, whichever came first", async () => {
  const log = createTopic();
  await join(log, ben, "admin");
  await join(log, cem);
  const said = log.append(something(), cem);
  const away = emptyLog(log.topicId);
  away.offer(allOf(log));
  // Here cem becomes admin, there an admin revokes him.
  await join(log, cem, "admin");
  const later = log.append(something(), cem);
  for (const each of revocationsOf(away, cem.key, null)) away.write(each, ben);
  assert.ok(!away.topic!.counts(away.topic!.get(said.id)!));
  const other = emptyLog(log.topicId);
  other.offer(allOf(away));
  other.offer(allOf(log));
  exchange(log, away);
  for (const each of [log, away, other]) {
    assert.deepEqual(summary(each), summary(log));
    for (const { id } of [said, later]) assert.ok(each.topic!.counts(each.topic!.get(id)!));
    assert.equal(each.view!.members.get(cem.key)!.role, "admin");
  }
});

Deno.test("an invite that was revoked admits nobody more", async () => {
  const log = createTopic();
  const { said, seed } = inviteTo(log, "member", randomFrom(3));
  log.write(said, ann);
  const invite = await personOf(seed);
  log.write(joinBy(log, invite, ben.publicKey), ben);
  const away = emptyLog(log.topicId);
  away.offer(allOf(log));
  away.write(joinBy(away, invite, cem.publicKey), cem);
  away.append(something(), cem);
  revoke(log, ann, invite.key);
  refusal(() => joinBy(log, invite, dan.publicKey), "refused");
  exchange(log, away);
  assert.deepEqual(summary(log), summary(away));
  assert.deepEqual([...log.view!.members.keys()].sort(), [ann.key, ben.key].sort());
});

Deno.test("payloads are encrypted to who takes part", async () => {
  const log = createTopic({ isEncrypted: true });
  const opener = await join(log, ben);
  await join(log, cem);
  await join(log, dan, "keeper");
  const bens = emptyLog(log.topicId, [ben.opener, opener]);
  const keepers = emptyLog(log.topicId, [dan.opener]);
  const read = (of: AppLog, id: typeof log.topicId) => {
    of.offer(allOf(log));
    return decryptPayload(of.keys, of.topicId, of.read(of.topic!.get(id)!).event);
  };
  const said = log.append({ type: "app/say", payload: bytesOf("hello") }, ann);
  assert.ok(!textOf(said.bytes).includes("hello"));
  assert.deepEqual(read(bens, said.id), { kind: "plain", payload: bytesOf("hello") });
  assert.deepEqual(read(keepers, said.id), { kind: "locked" });
  // Without the invite's secret he reads what comes from the next epoch on, and all before.
  const plain = emptyLog(log.topicId, [ben.opener]);
  assert.deepEqual(read(plain, said.id), { kind: "locked" });
  log.write(nextEpoch(log, randomFrom(4)), ann);
  assert.deepEqual(read(plain, said.id), { kind: "plain", payload: bytesOf("hello") });
  // Who was removed reads nothing later.
  revoke(log, ann, ben.key);
  log.write(nextEpoch(log, randomFrom(5)), ann);
  const later = log.append({ type: "app/say", payload: bytesOf("gone?") }, ann);
  assert.equal(later.event.keyEpoch, 3);
  assert.deepEqual(read(bens, later.id), { kind: "locked" });
  assert.deepEqual(read(emptyLog(log.topicId, [cem.opener]), later.id), {
    kind: "plain",
    payload: bytesOf("gone?"),
  });
  // A payload belongs to its event, and to an epoch that its author saw.
  const copied = { ...later.event, author: cem.publicKey };
  assert.deepEqual(decryptPayload(log.keys, log.topicId, copied), { kind: "unreadable" });
  const plainText = proposed(log, ann, something());
  assert.equal(log.offer([plainText]).refused[0]!.code, "corrupt");
  const noEpoch = proposed(log, ann, { ...later.event, keyEpoch: 9 });
  assert.equal(log.offer([noEpoch]).refused[0]!.code, "corrupt");
});

Deno.test("a member encrypts nothing to a key that it made for itself", async () => {
  const log = createTopic({ isEncrypted: true });
  await join(log, ben);
  const bens = emptyLog(log.topicId, [ben.opener]);
  log.write(nextEpoch(log, randomFrom(4)), ann);
  bens.offer(allOf(log));
  const random = randomFrom(5);
  const first = bens.membership!.newestEpoch(bens.topic!.heads)!;
  const said = sealEpoch(first.epoch + 1, [ben.key], bens.keys.get(first.id), random);
  const epoch = proposed(log, ben, said);
  const { id, event: { seq, lamport } } = epoch;
  bens.keys.learn(said);
  const type = "app/say";
  const bound = { author: ben.publicKey, seq: seq + 1, type };
  const payload = encryptPayload(bens.keys.get(said.id)!, log.topicId, bound, bytesOf("mine"));
  const place = { topic: log.topicId, heads: [{ id, lamport }], previous: { id, seq } };
  const content = { type, payload, keyEpoch: said.epoch };
  const locked = signEventSync(eventAt(ben.publicKey, place, content), ben);
  // Else whoever cannot open it would wait for ever before it, and apply nothing.
  const { accepted, refused } = log.offer([epoch, locked]);
  assert.deepEqual(accepted, []);
  assert.match(refused[0]!.problem, /its author is no admin/);
  assert.equal(log.topic!.get(locked.id), undefined);
  // An admin's is taken.
  await join(log, cem, "admin");
  const cems = proposed(log, cem, nextEpoch(log, random));
  assert.equal(log.offer([cems]).accepted.length, 1);
});

Deno.test("a revocation by who never was admin makes nobody judge everything again", async () => {
  const log = createTopic();
  await join(log, ben);
  await join(log, cem);
  const topic = log.topic!;
  const judge = topic.judge.bind(topic);
  let times = 0;
  topic.judge = (isVoid) => {
    times++;
    return judge(isVoid);
  };
  const noRight = proposed(log, ben, { kind: "revoke", key: cem.key, last: null });
  const { id, event: { seq, lamport } } = noRight;
  const place = { topic: log.topicId, heads: [{ id, lamport }], previous: { id, seq } };
  const after = signEventSync(eventAt(ben.publicKey, place, something()), ben);
  assert.equal(log.offer([noRight, after]).accepted.length, 2);
  assert.ok(log.view!.members.has(cem.key));
  assert.equal(times, 0);
  revoke(log, ann, cem.key);
  assert.ok(!log.view!.members.has(cem.key) && times > 0);
});

Deno.test("a key joins so often and no more", async () => {
  const log = createTopic();
  const { said, seed } = inviteTo(log, "member", randomFrom(3));
  log.write(said, ann);
  const join = joinBy(log, await personOf(seed), ben.publicKey);
  for (let i = 0; i < JOINS_MAX; i++) {
    log.write(join, ben);
    if (i + 1 < JOINS_MAX) log.write({ kind: "leave" }, ben);
  }
  const more = proposed(log, ben, join);
  assert.match(log.offer([more]).refused[0]!.problem, /joined too often/);
  assert.equal(log.view!.members.get(ben.key)!.role, "member");
  log.append(something(), ben);
});

Deno.test("a checkpoint is the creator's to write first, then the admins', and no one else's", async () => {
  const log = createTopic();
  await join(log, ben, "admin");
  await join(log, cem, "admin");
  await join(log, dan);
  const [second, third] = [ben, cem].sort((a, b) => a.key < b.key ? -1 : 1) as [Person, Person];
  const due = (open: number) =>
    [ann, second, third, dan, stranger].map(({ publicKey }) =>
      isCheckpointDue(log, publicKey, open)
    );
  assert.deepEqual(due(CHECKPOINT_EVENTS - 1), [false, false, false, false, false]);
  assert.deepEqual(due(CHECKPOINT_EVENTS), [true, false, false, false, false]);
  assert.deepEqual(due(2 * CHECKPOINT_EVENTS), [true, true, false, false, false]);
  assert.deepEqual(due(3 * CHECKPOINT_EVENTS), [true, true, true, false, false]);
  assert.equal(isCheckpointDue(emptyLog(log.topicId), ann.publicKey, 1e6), false);
});

Deno.test("nobody is blamed for what others had sent before", async () => {
  const log = createTopic();
  await join(log, ben);
  const here = emptyLog(log.topicId);
  here.offer(allOf(log));
  const good = log.append(something(), ann);
  const place = log.placeFor(ben.publicKey);
  const heads = place.heads.map(({ id }) => ({ id, lamport: 77 }));
  const wrong = signEventSync(eventAt(ben.publicKey, { ...place, heads }, something()), ben);
  assert.deepEqual(here.offer([wrong]).missing.map(String), [String(good.id)]);
  const { accepted, refused } = here.offer([good]);
  assert.deepEqual([accepted.length, refused], [1, []]);
  // Who sends both is to blame, and who sends it again.
  const other = emptyLog(log.topicId);
  other.offer(allOf(log).slice(0, -1));
  for (const offered of [other.offer([wrong, good]), here.offer([wrong])]) {
    assert.deepEqual(offered.refused.map(({ code }) => code), ["corrupt"]);
  }
});
