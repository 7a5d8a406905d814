import assert from "node:assert/strict";
import { behaviorOf, revocationsOf } from "../topic/authoring.ts";
import {
  allOf,
  ann,
  ben,
  cem,
  chain,
  createTopic,
  emptyLog,
  eva,
  join,
  stranger,
  summary,
} from "../topic/topic_fake.ts";
import { Peers } from "./peers_fake.ts";
import { roleOf } from "./topic_access.ts";

Deno.test("a member lets nobody in by a key that acts for it", async () => {
  const log = createTopic();
  await join(log, ben);
  log.write(behaviorOf(log.topicId, ben, cem.publicKey), cem);
  const roles = () => [ann, ben, cem, stranger].map(({ publicKey }) => roleOf(log, publicKey));
  assert.equal(log.membership!.roleOf(cem.publicKey), "member");
  assert.deepEqual(roles(), ["creator", "member", undefined, undefined]);
  await join(log, cem); // as who takes part by itself, it comes in
  assert.deepEqual(roles(), ["creator", "member", "member", undefined]);
});

Deno.test("nobody is cut off for what a behavior wrote of who was removed meanwhile", async () => {
  const log = createTopic();
  await join(log, ben);
  await join(log, cem);
  const away = emptyLog(log.topicId);
  away.offer(allOf(log));
  away.write(behaviorOf(log.topicId, ben, eva.publicKey), eva);
  away.offer(chain(away, eva, 400));
  for (const said of revocationsOf(log, ben.key)) log.write(said, ann);
  for (const each of [log, away]) each.flush(0);
  const peers = new Peers(log.topicId);
  const anns = peers.add("ann", ann, { log });
  const cems = peers.add("cem", cem, { log: away });
  peers.connect(anns, cems);
  peers.pass(10_000);
  assert.deepEqual([...anns.cuts, ...cems.cuts], []);
  assert.deepEqual(summary(away), summary(log));
});
