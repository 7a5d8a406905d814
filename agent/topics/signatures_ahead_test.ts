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

Deno.test("SignaturesAhead leaves everything to who takes it when its Worker has failed", async () => {
  const made: FakeWorker[] = [];
  class FakeWorker {
    onmessage: ((event: { readonly data: unknown }) => void) | null = null;
    onerror: ((event: Event) => void) | null = null;
    constructor() {
      made.push(this);
    }
    postMessage(): void {}
    terminate(): void {}
  }
  const { Worker } = globalThis;
  globalThis.Worker = FakeWorker as never;
  const ahead = new SignaturesAhead(verify, 2);
  try {
    while (made.length === 0) assert.equal(ahead.look(large), undefined);
    assert.equal(ahead.look(large), undefined); // it is not ready
    made[0]!.onmessage!({ data: "ready" });
    const waiting = ahead.look(large);
    made[0]!.onerror!(new ErrorEvent("error", { message: "on purpose" }));
    assert.deepEqual(await waiting, []);
    for (let i = 0; i < 100; i++) assert.equal(ahead.look(large), undefined);
    assert.equal(made.length, 1);
  } finally {
    ahead.close();
    globalThis.Worker = Worker;
  }
});
