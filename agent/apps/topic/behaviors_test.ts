/**
 * Keys that act for persons, in a log.
 *
 * @module
 */
import assert from "node:assert/strict";
import { textOf } from "../../kernel/byte_string.ts";
import type { SignedEvent } from "../../kernel/event.ts";
import { RealmError } from "../../kernel/error.ts";
import { formatPublicKey } from "../../kernel/key.ts";
import { MemoryStore } from "../../store/memory_store.ts";
import { AppLog } from "./app_log.ts";
import { behaviorOf, inviteTo, joinBy, nextEpoch, revocationsOf } from "./authoring.ts";
import { JOINS_MAX } from "./joined.ts";
import {
  allOf,
  ann,
  ben,
  cem,
  chain,
  createTopic,
  dan,
  emptyLog,
  eva,
  join,
  personOf,
  proposed,
  randomFrom,
  something,
  stranger,
  verify,
} from "./topic_fake.ts";

/** Fails unless `act` is refused. */
function refused(act: () => unknown): void {
  assert.throws(act, (error: unknown) => error instanceof RealmError && error.code === "refused");
}

function revoke(log: AppLog, key: string): void {
  for (const said of revocationsOf(log, key)) log.write(said, ann);
}

Deno.test("a behavior takes part as long as its person does, and no epoch is sealed to it", async () => {
  const log = createTopic({ isEncrypted: true });
  await join(log, ben);
  log.write(behaviorOf(log.topicId, ben, cem.publicKey), cem);
  assert.equal(log.view!.members.get(cem.key)?.person, ben.key);
  const say = () => log.append(something(), cem);
  say();
  const sealed = nextEpoch(log, randomFrom(9)).sealed.map(({ key }) => formatPublicKey(key));
  assert.ok(sealed.includes(ben.key) && !sealed.includes(cem.key));

  log.write({ kind: "leave" }, ben);
  refused(say);
  await join(log, ben);
  say();

  // What it writes on a branch that has not heard of the revocation is void, too.
  const away = emptyLog(log.topicId, [ann.opener]);
  away.offer(allOf(log));
  const kept = say();
  revoke(log, ben.key);
  refused(say);
  const late = away.append(something(), cem);
  log.offer([late]);
  assert.equal(log.topic!.has(kept.id), true);
  assert.equal(log.topic!.has(late.id) && log.topic!.isKept(log.topic!.get(late.id)!), false);
  assert.deepEqual([...log.view!.members.keys()], [ann.key]);
});

Deno.test("nobody acts for who has not signed for it, or is a behavior itself", async () => {
  const log = createTopic();
  await join(log, ben);
  const { proof } = behaviorOf(log.topicId, cem, dan.publicKey);
  const forged = { kind: "behavior", person: ben.key, proof } as const;
  refused(() => log.write(forged, dan));
  log.write(behaviorOf(log.topicId, ben, dan.publicKey), dan);
  refused(() => log.write(behaviorOf(log.topicId, dan, eva.publicKey), eva));
});

Deno.test("a key acts for one person, and for none while it acts for several", async () => {
  const log = createTopic();
  await join(log, ben);
  await join(log, cem);
  log.write(behaviorOf(log.topicId, ben, dan.publicKey), dan);
  log.write(behaviorOf(log.topicId, ben, dan.publicKey), dan);
  log.append(something(), dan);
  log.write(behaviorOf(log.topicId, cem, dan.publicKey), dan);
  refused(() => log.append(something(), dan));
  assert.equal(log.view!.members.has(dan.key), false);
});

/** How often it is asked what is in the past of what while `act` goes on. */
function steps(log: AppLog, act: () => void): number {
  const topic = log.topic!;
  const isAncestor = topic.isAncestor.bind(topic);
  let count = 0;
  topic.isAncestor = (a, b) => {
    count++;
    return isAncestor(a, b);
  };
  act();
  topic.isAncestor = isAncestor;
  return count;
}

Deno.test("what a behavior writes costs little more however often it and its person joined", async () => {
  const cost = async (times: number) => {
    const log = createTopic();
    const { said, seed } = inviteTo(log, "member", randomFrom(3));
    log.write(said, ann);
    const joins = joinBy(log, await personOf(seed), ben.publicKey);
    for (let i = 0; i < times; i++) {
      if (i > 0) log.write({ kind: "leave" }, ben);
      log.write(joins, ben);
    }
    for (let i = 0; i < times; i++) log.write(behaviorOf(log.topicId, ben, cem.publicKey), cem);
    const events = chain(log, cem, 50);
    const taken = steps(log, () => assert.equal(log.offer(events).accepted.length, 50));
    const judged = steps(log, () => revoke(log, dan.key));
    return { taken, judged };
  };
  const few = await cost(1);
  const many = await cost(JOINS_MAX);
  assert.ok(few.taken < 50 * JOINS_MAX, `${few.taken} steps`);
  assert.ok(many.taken < 50 * JOINS_MAX ** 2, `${many.taken} steps`);
  assert.ok(many.judged < 50 * JOINS_MAX ** 2, `${many.judged} steps`);
});

Deno.test("a forged proof is refused as such, and each proof is looked at once", async () => {
  const log = createTopic();
  await join(log, ben);
  const { said, seed } = inviteTo(log, "member", randomFrom(3));
  const invite = await personOf(seed);
  const before = allOf(log);
  const open = log.write(said, ann);
  const { proof } = joinBy(log, invite, dan.publicKey);
  const forgedJoin = proposed(log, eva, { kind: "join", invite: open.id, proof });
  const forged = { kind: "behavior", person: ben.key, proof } as const;
  const forgedBehavior = proposed(log, stranger, forged);
  const early = Array.from({ length: 10 }, () => {
    log.append(something(), ann);
    return proposed(log, eva, { kind: "join", invite: open.id, proof });
  });
  let proofs = 0;
  const counting = (...[key, message, signature]: Parameters<typeof verify>) => {
    const isProof = textOf(message).startsWith("realm/join/") ||
      textOf(message).startsWith("realm/acts-for/");
    if (isProof) proofs++;
    return verify(key, message, signature);
  };
  const here = AppLog.open({ store: new MemoryStore(), verify: counting, topic: log.topicId });
  here.offer(before);
  assert.equal(here.offer(early).refused.length, 0); // nobody knows the invite yet
  assert.equal(proofs, 1); // ben's
  here.offer(allOf(log)); // now these are looked at
  for (const each of [forgedJoin, forgedBehavior]) {
    assert.deepEqual(here.offer([each]).refused.map(({ code }) => code), ["corrupt"]);
  }
  assert.equal(proofs, 3 + early.length);
  for (let i = 0; i < 5; i++) {
    const person = await personOf(new Uint8Array(32).fill(100 + i));
    here.write(behaviorOf(log.topicId, ben, person.publicKey), person);
  }
  assert.equal(proofs, 8 + early.length);
});

/** With what codes a log refuses these events: all at once, the last first, and one after another. */
function codesOf(log: AppLog, events: readonly SignedEvent[]): string[] {
  const taken = (frames: readonly (readonly SignedEvent[])[]) => {
    const here = emptyLog(log.topicId);
    here.offer(allOf(log));
    return frames.flatMap((frame) => here.offer(frame).refused.map(({ code }) => code));
  };
  return [...taken([events.toReversed()]), ...taken(events.map((event) => [event]))];
}

Deno.test("who hands on a behavior of who was removed meanwhile, or a join by such an invite, does no wrong", async () => {
  const log = createTopic();
  await join(log, ben);
  const { said, seed } = inviteTo(log, "member", randomFrom(1003));
  log.write(said, ann);
  const away = emptyLog(log.topicId);
  away.offer(allOf(log));
  const invite = await personOf(seed);
  const events = [
    away.write(behaviorOf(log.topicId, ben, cem.publicKey), cem),
    away.append(something(), cem),
    away.write(joinBy(away, invite, dan.publicKey), dan),
    away.append(something(), dan),
  ];
  revoke(log, ben.key);
  log.write({ kind: "revoke", key: invite.key, last: null }, ann);
  assert.deepEqual(codesOf(log, events), Array.from({ length: 8 }, () => "void"));
  // Nor who hands on what those wrote whom an admin invited that is one no more.
  await join(log, eva, "admin");
  const other = emptyLog(log.topicId);
  other.offer(allOf(log));
  const { said: bySomeAdmin, seed: secret } = inviteTo(other, "admin", randomFrom(1004));
  const invited = [other.write(bySomeAdmin, eva)];
  const key = await personOf(secret);
  invited.push(other.write(joinBy(other, key, stranger.publicKey), stranger));
  const { said: byStranger, seed: another } = inviteTo(other, "member", randomFrom(1005));
  invited.push(other.write(byStranger, stranger));
  const next = await personOf(another);
  const person = await personOf(new Uint8Array(32).fill(77));
  invited.push(other.write(joinBy(other, next, person.publicKey), person));
  invited.push(other.append(something(), person));
  revoke(log, eva.key);
  assert.deepEqual(codesOf(log, invited), Array.from({ length: 10 }, () => "void"));
  // Without their signature nobody is excused.
  const { proof } = behaviorOf(log.topicId, ben, cem.publicKey);
  const forger = await personOf(new Uint8Array(32).fill(78));
  const forged = proposed(log, forger, { kind: "behavior", person: ben.key, proof });
  const after = proposed(log, forger, something());
  assert.deepEqual(codesOf(log, [forged, after]), ["corrupt", "refused", "corrupt", "refused"]);
});
