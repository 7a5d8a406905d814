import assert from "node:assert/strict";
import { ASIDE_MAX } from "../../kernel/aside.ts";
import type { CID } from "../../kernel/canonical.ts";
import { RealmError } from "../../kernel/error.ts";
import { MemoryStore } from "../../store/memory_store.ts";
import { AppLog } from "./app_log.ts";
import { behaviorOf, inviteTo, joinBy, revocationsOf } from "./authoring.ts";
import { BEHAVIORS_MAX, JOINS_MAX } from "./joined.ts";
import type { TopicQuota } from "./topic_quota.ts";
import {
  allOf,
  ann,
  ben,
  cem,
  chain,
  createTopic,
  dan,
  eva,
  exchange,
  join,
  type Person,
  personOf,
  proposed,
  randomFrom,
  something,
  summary,
  verify,
} from "./topic_fake.ts";

function logOf({ topicId: topic }: AppLog, quota: Partial<TopicQuota> = {}): AppLog {
  const store = new MemoryStore();
  return AppLog.open({ store, verify, topic, quota: { events: 1e6, bytes: 1e9, ...quota } });
}

/** A log with a quota that has all that another one has. */
function copyOf(log: AppLog, quota: Partial<TopicQuota> = {}): AppLog {
  const copy = logOf(log, quota);
  copy.offer(allOf(log));
  return copy;
}

function revoke(log: AppLog, key: string, last?: { readonly id: CID }): void {
  for (const said of revocationsOf(log, key, last?.id)) log.write(said, ann);
}

function isFull(error: unknown): boolean {
  return error instanceof RealmError && error.code === "limit-exceeded";
}

Deno.test("a topic that is full takes no more events of the app, and says so", async () => {
  const whole = createTopic();
  await join(whole, ben);
  for (let i = 0; i < 30; i++) whole.append(something(), ann);
  const events = allOf(whole);
  const store = new MemoryStore();
  const { topicId: topic } = whole;
  const quota = { events: 20, bytes: 1e6 };
  const full = AppLog.open({ store, verify, topic, quota });
  for (const event of events) {
    const { accepted, refused } = full.offer([event]);
    assert.equal(accepted.length + refused.length, 1);
    if (full.topic!.size < 20) assert.deepEqual(full.fullness, []);
    if (refused[0] !== undefined) assert.equal(refused[0].code, "full");
  }
  assert.equal(full.topic!.size, 20);
  assert.match(full.fullness.join(), /it has 20 events, and may have 20/);
  assert.equal(full.offer(events.slice(0, 20)).known, 20); // it has these
  assert.throws(() => full.append(something(), ann), isFull);
  // Somebody can still be taken out.
  revoke(full, ben.key);
  assert.equal(full.view!.members.has(ben.key), false);
  // What is there is read again, whatever it may have now.
  full.flush(0);
  const small = AppLog.open({ store, verify, topic, quota: { ...quota, events: 2 } });
  assert.equal(small.topic!.size, full.topic!.size);
  const heavy = logOf(whole, { bytes: events[0]!.bytes.length + events[1]!.bytes.length });
  heavy.offer(events.slice(0, 2));
  assert.match(heavy.fullness.join(), /bytes, and may have/);
  assert.equal(heavy.offer(events.slice(4, 5)).refused[0]!.code, "full");
});

Deno.test("a member fills its share of a topic, and no more of it", async () => {
  const log = createTopic();
  await join(log, ben);
  await join(log, cem);
  const here = copyOf(log, { events: 40 });
  const { refused } = here.offer(chain(log, ben, 20));
  assert.deepEqual(refused, []);
  assert.deepEqual(here.fullness.length, 1);
  assert.match(here.fullness[0]!, new RegExp(`${ben.key} has 21 events .* may have 20`));
  assert.throws(() => here.append(something(), ben), isFull);
  here.append(something(), cem);
  here.append(something(), ann);
  for (const event of chain(log, ben, 5, here.placeFor(ben.publicKey))) {
    assert.equal(here.offer([event]).refused[0]!.code, "full");
  }
});

Deno.test("what the behaviors of a member write counts to its share", async () => {
  const log = createTopic();
  await join(log, ben);
  await join(log, cem);
  const store = new MemoryStore();
  const init = { store, verify, topic: log.topicId, quota: { events: 40, bytes: 1e9 } };
  const here = AppLog.open(init);
  here.offer(allOf(log));
  const actsFor = (person: typeof ben, key: typeof ben) =>
    behaviorOf(log.topicId, person, key.publicKey);
  here.write(actsFor(ben, dan), dan);
  for (const by of [ben, dan]) for (let i = 0; i < 9; i++) here.append(something(), by);
  for (const open of [() => here, () => AppLog.open(init)]) {
    const full = open();
    assert.match(full.fullness.join(), new RegExp(`^${ben.key} has 20 events .* may have 20`));
    for (const by of [ben, dan]) assert.throws(() => full.append(something(), by), isFull);
    assert.throws(() => full.write(actsFor(ben, eva), eva), isFull);
    const { refused } = full.offer([proposed(full, eva, actsFor(ben, eva))]);
    assert.deepEqual(refused.map(({ code }) => code), ["full"]);
    full.append(something(), cem);
    full.flush(0);
  }
  // Who is out of reach of that is the creator.
  const wide = copyOf(log, { events: 40 });
  wide.write(actsFor(ann, dan), dan);
  for (let i = 0; i < 24; i++) wide.append(something(), dan);
});

Deno.test("so many keys act for one person and no more, on branches too", async () => {
  const log = createTopic();
  await join(log, ben);
  const keys = await Promise.all(
    Array.from({ length: BEHAVIORS_MAX + 2 }, (_, i) => personOf(new Uint8Array(32).fill(100 + i))),
  );
  const behaviors = keys.map((key) =>
    proposed(log, key, behaviorOf(log.topicId, ben, key.publicKey))
  );
  const wide = copyOf(log);
  const refused = behaviors.flatMap((each) => wide.offer([each]).refused);
  assert.deepEqual(refused.map(({ code }) => code), ["full", "full"]);
  const [first, ...others] = keys as [Person, ...Person[]];
  const say = (key: Person) => log.write(behaviorOf(log.topicId, ben, key.publicKey), key);
  say(first);
  log.write({ kind: "leave" }, first);
  for (const key of others.slice(1, BEHAVIORS_MAX)) say(key);
  assert.throws(() => say(others[0]!), /its person has too many behaviors/);
  say(first); // it is one of these
  // Nor is one taken on which something rests, as what others have on branches is.
  const more = proposed(log, others[0]!, behaviorOf(log.topicId, ben, others[0]!.publicKey));
  assert.throws(() => log.take([more]), /its person has too many behaviors/);
});

Deno.test("who has had its share can leave, and does not fill the topic by leaving on branches", async () => {
  const log = createTopic();
  await join(log, ben);
  const here = copyOf(log, { events: 40 });
  const said = { kind: "leave" } as const;
  const leave = proposed(log, ben, said);
  here.offer(chain(log, ben, 20));
  assert.throws(() => here.append(something(), ben), isFull);
  here.write(said, ben);
  assert.equal(here.view!.members.has(ben.key), false);

  const wide = copyOf(log, { events: 400 });
  wide.offer(chain(log, ben, 200));
  wide.offer([leave]);
  // Each on another event of the creator's, so that none has another in its past.
  const refused = Array.from({ length: JOINS_MAX + 6 }, () => {
    log.append(something(), ann);
    for (const event of allOf(log)) wide.offer([event]);
    return wide.offer([proposed(log, ben, said)]).refused;
  }).flat();
  assert.equal(refused.length, 7);
  for (const { code, problem } of refused) {
    assert.equal(code, "full");
    assert.match(problem, /may have 200/);
  }
});

Deno.test("a topic that a revocation freed is as free when it is opened again", async () => {
  const log = createTopic();
  await join(log, ben);
  const { topicId: topic } = log;
  const before = log.topic!.newestOf(ben.publicKey);
  const store = new MemoryStore();
  const init = { store, verify, topic, quota: { events: 40, bytes: 1e6 } };
  const here = AppLog.open(init); // which has nothing yet
  here.offer(allOf(log));
  for (let i = 0; i < 17; i++) here.append(something(), ann);
  here.offer(chain(log, ben, 20));
  assert.match(here.fullness.join(), /it has 40 events/);
  revoke(log, ben.key, before); // and nothing rests on what it takes away
  here.offer(allOf(log));
  assert.deepEqual(here.fullness, []);
  here.flush(0);
  const again = AppLog.open(init);
  assert.deepEqual(again.fullness, []);
  again.append(something(), ann);
  assert.equal(again.topic!.size, here.topic!.size + 1);
});

Deno.test("what an event rests on is taken though its author has had its share", async () => {
  const log = createTopic();
  await join(log, ben);
  await join(log, cem);
  const here = copyOf(log, { events: 40 });
  log.offer(chain(log, ben, 25));
  const [last] = allOf(log).slice(-1);
  const before = here.topic!.size;
  // One by one, since a call may go a little beyond the share.
  for (const event of allOf(log)) here.offer([event]);
  assert.equal(here.topic!.size, before + 19);
  const on = log.append(something(), cem);
  const offered = here.offer([on]);
  assert.deepEqual([offered.isAgain, offered.accepted.length], [true, 0]);
  assert.ok(offered.missing.some((id) => id.equals(last!.id)));
  exchange(log, here);
  assert.deepEqual(summary(here), summary(log));
});

Deno.test("a revocation enters where a member filled the topic with other events", async () => {
  const log = createTopic();
  await join(log, ben);
  await join(log, cem);
  const full = copyOf(log, { events: 60 });
  for (let i = 0; i < 26; i++) full.append(something(), cem);
  // It tells each something else, and others go on from there.
  for (const event of chain(log, ben, 29)) full.offer([event]);
  assert.throws(() => full.append(something(), cem), isFull);
  log.offer(chain(log, ben, 29));
  for (let i = 0; i < 20; i++) log.append(something(), ann);
  revoke(log, ben.key);
  exchange(log, full);
  for (const each of [log, full]) assert.equal(each.view!.members.has(ben.key), false);
  assert.deepEqual(summary(full), summary(log));
  assert.equal(full.fullness.length, 1);
});

Deno.test("a revocation enters where all is full, and others go on from what it takes away", async () => {
  const log = createTopic();
  await join(log, ben);
  await join(log, cem);
  const before = log.topic!.newestOf(ben.publicKey);
  const [one, other] = [copyOf(log, { events: 60 }), copyOf(log, { events: 60 })];
  for (const event of chain(log, ben, 29)) one.offer([event]);
  for (const event of chain(log, ben, 29)) other.offer([event]);
  for (let i = 0; i < 26; i++) one.append(something(), ann);
  for (let i = 0; i < 26; i++) other.append(something(), cem);
  assert.throws(() => other.append(something(), cem), isFull);
  revoke(one, ben.key, before);
  exchange(one, other);
  for (const each of [one, other]) {
    assert.equal(each.view!.members.has(ben.key), false);
    assert.match(each.fullness.join(), /may have 60/);
  }
});

Deno.test("a revocation that comes first leaves what others had built on, however much it is", async () => {
  const log = createTopic();
  await join(log, ben);
  await join(log, cem);
  const before = log.topic!.newestOf(ben.publicKey);
  const early = copyOf(log);
  revoke(early, ben.key, before);
  const late = copyOf(log);
  late.offer(chain(log, ben, ASIDE_MAX + 50));
  late.append(something(), cem);
  exchange(early, late);
  assert.deepEqual(summary(early), summary(late));
  assert.equal(late.topic!.size, early.topic!.size);
});

Deno.test("of what there is no room for, only what is signed and of the topic is remembered", async () => {
  const log = createTopic();
  await join(log, ben);
  await join(log, cem);
  const here = copyOf(log, { events: 40 });
  here.offer(chain(log, ben, 20));
  const [event] = chain(log, ben, 1);
  const forged = { ...event!, signature: cem.sign(event!.bytes) };
  const other = createTopic({}, { random: randomFrom(99) });
  await join(other, ben);
  const codes = [forged, other.append(something(), ben), event!]
    .map((each) => here.offer([each]).refused.map(({ code }) => code).join());
  assert.deepEqual(codes, ["bad-signature", "corrupt", "full"]);
  // What was remembered is not taken by a bad signature once it is wanted.
  log.offer([event!]);
  assert.equal(here.offer([log.append(something(), cem)]).isAgain, true);
  assert.equal(here.offer([forged]).refused[0]!.code, "bad-signature");
  assert.equal(here.topic!.has(event!.id), false);
  exchange(log, here);
  assert.equal(here.topic!.has(event!.id), true);
});

Deno.test("nothing else slips in with what a revocation rests on", async () => {
  const log = createTopic();
  await join(log, ben);
  const here = copyOf(log, { events: 30 });
  const [needed, junk] = [chain(log, ben, 30), chain(log, ben, 30)];
  for (const event of [...junk, ...needed]) here.offer([event]);
  log.offer(needed);
  revoke(log, ben.key, needed.at(-1));
  const size = here.topic!.size;
  for (const event of allOf(log)) here.offer([event]);
  for (const event of junk.slice(15)) assert.equal(here.offer([event]).refused[0]!.code, "full");
  for (const event of allOf(log)) here.offer([event]);
  assert.equal(here.view!.members.has(ben.key), false);
  // Of the junk only what was there before, and that is void now.
  assert.equal(here.topic!.has(junk[0]!.id), true);
  assert.equal(here.topic!.has(junk[20]!.id), false);
  assert.ok(here.topic!.size > size);
  assert.deepEqual(summary(here), summary(log));
});

Deno.test("joins of a key on branches are bounded as those in a row are", async () => {
  const log = createTopic();
  const { said, seed } = inviteTo(log, "member", randomFrom(3));
  log.write(said, ann);
  const first = copyOf(log);
  const joining = joinBy(first, await personOf(seed), ben.publicKey);
  // Each after the genesis and the invite, so that none has another in its past.
  const joins = Array.from({ length: JOINS_MAX + 6 }, (_, i) => {
    const own = copyOf(log);
    for (let j = 0; j < i % 3; j++) own.append(something(), ann);
    const more = own.append(something(), ann);
    first.offer([...allOf(own), more]);
    return proposed(own, ben, joining);
  });
  const refused = joins.flatMap((event) => first.offer([event]).refused);
  assert.equal(refused.length, 6);
  for (const { code, problem } of refused) {
    assert.deepEqual([code, problem], ["full", "its author joined too often"]);
  }
  // What others have built on counts, so that all come to the same.
  const other = copyOf(log);
  for (const event of [...allOf(first), ...joins.toReversed()]) other.offer([event]);
  other.append(something(), ann);
  first.append(something(), ann);
  exchange(first, other);
  assert.deepEqual(summary(first), summary(other));
});
