import assert from "node:assert/strict";
import { decodeMessage, type Message } from "../../kernel/sync/messages.ts";
import { MemoryStore } from "../../store/memory_store.ts";
import type { StoreOp } from "../../kernel/ports.ts";
import type { AppLog } from "../topic/app_log.ts";
import { allOf, ann, ben, cem, createTopic, emptyLog, join } from "../topic/topic_fake.ts";
import { nodeKey, Peers } from "./peers_fake.ts";
import type { TopicFrame } from "./topic_frame.ts";

const PAYLOAD_BYTES = 7_500;

/**
 * A topic of ann's, ben's and cem's with so many large events, of which two go into a message of a
 * session, and what copies have without these.
 */
async function largeTopic(count: number) {
  const log = createTopic();
  await join(log, ben);
  await join(log, cem);
  const before = allOf(log);
  const copyIn = (store: MemoryStore): AppLog => {
    const copy = emptyLog(log.topicId, [], store);
    copy.offer(before);
    copy.flush(0);
    return copy;
  };
  for (let i = 0; i < count; i++) {
    log.append({ type: "app/say", payload: new Uint8Array(PAYLOAD_BYTES).fill(i) }, ann);
  }
  log.flush(0);
  return { log, copyIn };
}

/** Counts the writes in which events are. */
class CountingStore extends MemoryStore {
  writes = 0;
  override write(ops: readonly StoreOp[]): void {
    if (ops.length > 0) this.writes++;
    super.write(ops);
  }
  get events(): number {
    return [...this.keys("event/")].length;
  }
}

const messageOf = (frame: TopicFrame): Message | undefined =>
  frame.frame === "sync" ? decodeMessage(frame.message) : undefined;

Deno.test("events of a session are made durable many at once, and acknowledged only then", async () => {
  const { log } = await largeTopic(200);
  const store = new CountingStore();
  const peers = new Peers(log.topicId);
  const a = peers.add("a", ann, { log });
  const acknowledged: boolean[] = [];
  const b = peers.add("b", ben, {
    store,
    named: [a.key],
    says: (frame, bytes) => {
      if (messageOf(frame)?.kind === "ack") {
        acknowledged.push(store.events === b.log.topic?.size);
      }
      return bytes;
    },
  });
  let messages = 0;
  peers.connect(b, a);
  peers.pass(2_000);
  for (const { bytes } of b.heard) if (bytes.length > PAYLOAD_BYTES) messages++;
  assert.equal(store.events, log.topic!.size);
  assert.ok(messages >= 100 && b.core.peers()[0]!.inSync);
  assert.ok(acknowledged.length > 0 && acknowledged.every((isDurable) => isDurable));
  assert.ok(store.writes <= messages / 10, `${store.writes} writes for ${messages} messages`);
});

Deno.test("what came of a session that does not go on is durable, handed on and told in a moment", async () => {
  const { log, copyIn } = await largeTopic(200);
  const stores = [new CountingStore(), new CountingStore()];
  const peers = new Peers(log.topicId);
  let left = 2;
  const a = peers.add("a", ann, {
    log,
    says: (frame, bytes) => messageOf(frame)?.kind !== "events" || left-- > 0 ? bytes : undefined,
  });
  const b = peers.add("b", ben, { log: copyIn(stores[0]!), named: [a.key] });
  const c = peers.add("c", cem, { log: copyIn(stores[1]!), named: [b.key] });
  peers.connect(c, b);
  const before = b.log.topic!.size;
  peers.pass(2_000);
  // It has just told how far it is, for which it makes durable what there is.
  b.core.stateChanged();
  peers.settle();
  peers.connect(b, a);
  const size = before + 4;
  assert.deepEqual([b.log.topic!.size, stores[0]!.events], [size, before]);
  const { changes } = b;
  peers.pass(150);
  assert.deepEqual([b.log.topic!.size, stores[0]!.events], [size, size]);
  assert.ok(b.changes > changes);
  assert.equal(stores[1]!.events, size);
  assert.equal(c.log.topic!.size, size);
});

Deno.test("events of sessions with two givers at once are made durable many at once, too", async () => {
  const { log, copyIn } = await largeTopic(200);
  const store = new CountingStore();
  const peers = new Peers(log.topicId);
  peers.takesTurns = true;
  // Who begins both sessions begins them at once.
  const names = ["a", "b", "c"].sort((x, y) => nodeKey(x) < nodeKey(y) ? -1 : 1);
  const a = peers.add(names[1]!, ann, { log });
  const other = copyIn(new MemoryStore());
  other.take(allOf(log).slice(other.topic!.size));
  other.flush(0);
  const c = peers.add(names[2]!, cem, { log: other });
  let acks = 0;
  const b = peers.add(names[0]!, ben, {
    store,
    named: [a.key, c.key],
    says: (frame, bytes) => {
      if (messageOf(frame)?.kind === "ack") acks++;
      return bytes;
    },
  });
  peers.connect(b, a, c);
  peers.pass(2_000);
  const messages = b.heard.filter(({ bytes }) => bytes.length > PAYLOAD_BYTES);
  for (const { key } of [a, c]) assert.ok(messages.some(({ from }) => from === key));
  assert.equal(store.events, log.topic!.size);
  const most = messages.length / 10;
  assert.ok(store.writes <= most, `${store.writes} writes for ${messages.length} messages`);
  assert.ok(acks <= most, `${acks} acknowledgements for ${messages.length} messages`);
});

Deno.test("a session that cannot go on does not fail who writes at that moment", async () => {
  const { log, copyIn } = await largeTopic(200);
  const peers = new Peers(log.topicId);
  let left = 2;
  const a = peers.add("a", ann, {
    log,
    says: (frame, bytes) => messageOf(frame)?.kind !== "events" || left-- > 0 ? bytes : undefined,
  });
  let isBroken = false;
  const b = peers.add("b", ben, {
    log: copyIn(new MemoryStore()),
    named: [a.key],
    says: (frame, bytes) => {
      if (isBroken && messageOf(frame) !== undefined) throw new Error("it does not go on");
      return bytes;
    },
  });
  peers.pass(2_000);
  b.core.stateChanged(); // what it tells is durable: this is not to be what makes it so
  peers.settle();
  peers.connect(b, a);
  const size = b.log.topic!.size;
  assert.equal([...b.log.stored()].length, size - 4);
  isBroken = true;
  b.core.writing((log) => log.append({ type: "app/say", payload: new Uint8Array(1) }, ben));
  assert.equal([...b.log.stored()].length, size + 1);
  assert.throws(() => peers.settle(), /it does not go on/);
  peers.settle();
});
