import assert from "node:assert/strict";
import { encodeTopicFrame } from "../apps/peering/topic_frame.ts";
import { unpacked, verifiedIn } from "../apps/peering/frame_signatures.ts";
import { ann, createTopic, verify } from "../apps/topic/topic_fake.ts";
import { encodeSigned } from "../kernel/event.ts";
import { SignaturesAhead } from "./signatures_ahead.ts";

const log = createTopic();
const payload = new Uint8Array(1_000);
const frameOf = (count: number) => {
  const events = Array.from({ length: count }, () => log.append({ type: "note", payload }, ann));
  return encodeTopicFrame({ frame: "events", events: events.map(encodeSigned) });
};
const large = frameOf(20);

/** Looks until there is an answer: first the Worker has to start. */
async function looked(ahead: SignaturesAhead, frame: Uint8Array) {
  for (let i = 0; i < 3_000; i++) {
    const found = ahead.look(frame);
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error("it never looks ahead");
}

Deno.test("SignaturesAhead finds in its Worker what is well signed, and answers in order", async () => {
  const ahead = new SignaturesAhead(verify, 2);
  const first = await looked(ahead, large);
  assert.deepEqual(first, unpacked(verifiedIn(large, verify)));
  const bad = large.slice();
  bad[bad.length - 100]! ^= 1;
  const both = await Promise.all([ahead.look(bad), ahead.look(large)]);
  assert.deepEqual(both.map((found) => found?.length), [19, 20]);
  const waiting = ahead.look(large);
  ahead.close();
  assert.deepEqual(await waiting, []);
  assert.equal(ahead.look(large), undefined);
  ahead.close();
});

Deno.test("SignaturesAhead leaves little, and all on one processor, to who takes it", () => {
  const little = new SignaturesAhead(verify, 2);
  for (let i = 0; i < 100; i++) assert.equal(little.look(frameOf(1)), undefined);
  const alone = new SignaturesAhead(verify, 1);
  for (let i = 0; i < 100; i++) assert.equal(alone.look(large), undefined);
  for (const each of [little, alone]) each.close(); // a Worker would be a leak of this test
});
