import assert from "node:assert/strict";
import { behaviorOf } from "../topic/authoring.ts";
import { ann, ben, cem, createTopic, join, stranger } from "../topic/topic_fake.ts";
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
