import assert from "node:assert/strict";
import { AppPeer, type SharedTopic } from "./app_peer.ts";
import { decodeTopicFrame, encodeTopicFrame } from "../apps/peering/topic_frame.ts";
import { helloAt } from "../apps/peering/topic_hello.ts";
import { NO_STATES } from "../apps/peering/topic_states.ts";
import type { AppLog } from "../apps/topic/app_log.ts";
import { inviteTo } from "../apps/topic/authoring.ts";
import {
  ann,
  ben,
  cem,
  createTopic,
  emptyLog,
  join,
  type Person,
  personOf,
  randomFrom,
  someCid,
  something,
  stranger,
  verify,
} from "../apps/topic/topic_fake.ts";
import { formatPublicKey, type KeyPair } from "../kernel/key.ts";
import type { Clock, Network, NetworkGate, PeerStream } from "../kernel/ports.ts";
import { headsDigest } from "../kernel/sync/session.ts";
import { keyPairOf } from "../kernel/verify.ts";
import { nodeBackend } from "../node/crypto_node.ts";
import { LateNetwork } from "../net/late_network.ts";
import { startLibp2p } from "../net/libp2p_network.ts";
import { MemoryHub } from "../net/memory_network.ts";
import { MemoryStore } from "../store/memory_store.ts";
import { systemClock } from "../node/system_clock.ts";
import type { LooksAhead } from "./signatures_ahead.ts";
import { TOPIC_PROTOCOL, type TopicCarrier } from "./topic_carrier.ts";
import { until } from "../../tests/until.ts";

/** Starts a network for a node. */
type Start = (keys: KeyPair, gate: NetworkGate) => Promise<Network>;

const inMemory = (hub: MemoryHub): Start => ({ publicKey }, gate) =>
  Promise.resolve(hub.join(formatPublicKey(publicKey), gate));
const overTcp: Start = ({ secretKey }, gate) =>
  startLibp2p({ secretKey, listen: ["/ip4/127.0.0.1/tcp/0"], gate });

/** A node of somebody, with its network. */
class TestNode {
  readonly peer: AppPeer;
  readonly notices: string[] = [];
  readonly learnt = new Map<string, readonly string[]>();

  private constructor(
    readonly key: string,
    readonly person: Person,
    readonly late: LateNetwork,
    readonly store: MemoryStore,
    clock: Clock,
    ahead: LooksAhead | undefined,
  ) {
    this.peer = new AppPeer({
      self: key,
      person,
      verify,
      clock,
      ahead,
      network: late,
      store,
      learnt: (node, addresses) => void this.learnt.set(node, addresses),
      addressesOf: (node) => node === key ? this.network.addresses() : [],
      notice: (text) => void this.notices.push(text),
    });
  }

  network!: Network;

  static async start(
    start: Start,
    person: Person,
    {
      seed = crypto.getRandomValues(new Uint8Array(32)),
      store = new MemoryStore(),
      clock = systemClock,
      ahead,
    }: { seed?: Uint8Array; store?: MemoryStore; clock?: Clock; ahead?: LooksAhead } = {},
  ): Promise<TestNode> {
    const keys = await keyPairOf(seed, nodeBackend());
    const key = formatPublicKey(keys.publicKey);
    const node = new TestNode(key, person, new LateNetwork(), store, clock, ahead);
    node.network = await start(keys, {
      mayConnect: () => true,
      mayOpen: (peer, protocol) => node.peer.mayOpen(peer, protocol),
    });
    node.late.join(node.network);
    return node;
  }

  share(log: AppLog, more: Partial<SharedTopic> = {}): TopicCarrier {
    return this.peer.add({
      topic: log.topicId,
      log,
      states: NO_STATES,
      changed: () => {},
      ...more,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.peer.close();
    await this.network.close();
  }
}

const heads = (log: AppLog) => headsDigest(log.topic?.heads.map(({ key }) => key) ?? []).toHex();
const isEqual = (a: AppLog, b: AppLog) => a.topic !== undefined && heads(a) === heads(b);

function say({ core, touched }: { core: TopicCarrier["core"]; touched: () => void }, by: Person) {
  core.writing((log) => log.append(something(), by));
  touched();
}
const sayAt = (carrier: TopicCarrier, by: Person) =>
  say({ core: carrier.core, touched: () => carrier.touched() }, by);

async function joinsAndShares(start: Start) {
  await using a = await TestNode.start(start, ann);
  await using b = await TestNode.start(start, ben);
  const log = createTopic();
  const { said, seed } = inviteTo(log, "member", randomFrom(5));
  log.write(said, ann);
  const mine = a.share(log);
  const theirs = b.share(emptyLog(log.topicId), { invite: await personOf(seed), nodes: [a.key] });
  await b.network.dial(a.network.addresses()[0]!);
  await until("b is a member", () => log.view!.members.has(ben.key));
  const other = b.peer.get(log.topicId)!.core;
  for (let i = 0; i < 20; i++) sayAt(i % 2 ? mine : theirs, i % 2 ? ann : ben);
  const copy = () => other.peers()[0]?.complete?.count;
  await until("both have all", () => log.topic!.size === 23 && copy() === 23);
  await until("both say so", () => {
    const links = [mine.core.peers(), theirs.core.peers()];
    return links.every(([link]) => link!.inSync && link!.isOpen && !link!.isSyncing);
  });
  assert.deepEqual(a.peer.sharedWith(b.key).map(String), [log.topicId.toString()]);
  assert.deepEqual(a.peer.wanted(), [b.key]);

  // The connection breaks, both write, and it comes back.
  b.network.disconnect(a.key);
  await until("the link is gone", () => mine.core.peers().length === 0);
  sayAt(mine, ann);
  sayAt(theirs, ben);
  await b.network.dial(a.network.addresses()[0]!);
  await until("both have that too", () => log.topic!.size === 25 && copy() === 25);
}

Deno.test("AppPeer lets a newcomer join by an invite, and keeps both logs equal", async () => {
  await joinsAndShares(inMemory(new MemoryHub()));
});

Deno.test("AppPeer has one link for each topic and peer, whoever opened it", async () => {
  const start = inMemory(new MemoryHub());
  await using a = await TestNode.start(start, ann);
  await using b = await TestNode.start(start, ben);
  const other = someCid("other bundle");
  const logs = [
    createTopic(),
    createTopic({ app: other, bundle: other }, { random: randomFrom(2) }),
  ];
  for (const log of logs) {
    await join(log, ben);
    log.flush(0);
    const copy = emptyLog(log.topicId);
    copy.offer([...log.stored()].map(({ id }) => log.load(id)!));
    a.share(log, { nodes: [b.key] });
    b.share(copy, { nodes: [a.key] });
  }
  const open = (node: TestNode) =>
    logs.map(({ topicId }) => node.peer.get(topicId)!.core.peers())
      .map((peers) => peers.filter(({ isOpen }) => isOpen).length).join();
  await a.network.dial(b.network.addresses()[0]!);
  await until("both topics are linked", () => open(a) === "1,1" && open(b) === "1,1");
  assert.deepEqual(a.peer.peersFor(`${other}`), [b.key]);
  assert.ok(a.peer.mayHave(b.key, `${someCid("bundle")}`));
  assert.ok(!a.peer.mayHave(b.key, `${someCid("some bundle")}`));
  // Only one of them goes when it is not shared any more.
  a.peer.remove(logs[0]!.topicId);
  await until("one link is gone", () => open(b) === "0,1");
  assert.ok(!a.peer.mayHave(b.key, `${someCid("bundle")}`)); // of no topic that both have
  sayAt(a.peer.get(logs[1]!.topicId)!, ann);
  await until("the other goes on", () => b.peer.get(logs[1]!.topicId)!.core.peers()[0]!.inSync);
});

/** Reads to the end of a stream, also of one that breaks. */
async function bytesOf(stream: PeerStream): Promise<number> {
  let bytes = 0;
  try {
    for (let chunk = await stream.read(); chunk !== null; chunk = await stream.read()) {
      bytes += chunk.length;
    }
  } catch {
    // It was broken off.
  }
  return bytes;
}

Deno.test("AppPeer answers a stranger nothing, whether it has the topic or not", async () => {
  const start = inMemory(new MemoryHub());
  await using a = await TestNode.start(start, ann);
  await using x = await TestNode.start(start, stranger);
  const log = createTopic();
  log.flush(0);
  a.share(log);
  x.share(createTopic({}, { random: randomFrom(11) }));
  await x.network.dial(a.network.addresses()[0]!);
  const other = createTopic({}, { random: randomFrom(9) }).topicId;
  const helloFor = (topic: typeof other) => {
    const frame = encodeTopicFrame(helloAt({ topic, node: x.key, other: a.key }, {
      nonce: new Uint8Array(16),
      person: stranger,
      invite: cem,
      vouch: [],
    }));
    const bytes = new Uint8Array(4 + frame.length);
    new DataView(bytes.buffer).setUint32(0, frame.length);
    bytes.set(frame, 4);
    return bytes;
  };
  const first = [helloFor(log.topicId), helloFor(other), new Uint8Array([0, 0, 0, 1, 7])];
  for (const bytes of first) {
    const stream = await x.network.open(a.key, TOPIC_PROTOCOL);
    await stream.write(bytes);
    assert.equal(await bytesOf(stream), 0);
    assert.ok(a.peer.mayOpen(x.key, TOPIC_PROTOCOL)); // and neither is held against it
  }
  assert.deepEqual(a.notices, []);
  assert.deepEqual(a.peer.sharedWith(x.key), []);
  // Streams that say nothing are few.
  const silent: Promise<number>[] = [];
  for (let i = 0; i < 40; i++) {
    silent.push(bytesOf(await x.network.open(a.key, TOPIC_PROTOCOL)));
  }
  let ended = 0;
  for (const each of silent) void each.then(() => ended++);
  await until("the rest was ended", () => ended >= 24);
  assert.equal(ended, 24);
});

Deno.test("AppPeer has room for a newcomer, however many streams strangers hold", async () => {
  const start = inMemory(new MemoryHub());
  await using a = await TestNode.start(start, ann);
  await using b = await TestNode.start(start, ben);
  const log = createTopic();
  const { said, seed } = inviteTo(log, "member", randomFrom(5));
  log.write(said, ann);
  log.flush(0);
  a.share(log);
  const strangers: TestNode[] = [];
  try {
    const ended: number[] = [];
    for (let i = 0; i < 17; i++) {
      const x = await TestNode.start(start, stranger);
      strangers.push(x);
      x.share(createTopic({}, { random: randomFrom(11) }));
      await x.network.dial(a.network.addresses()[0]!);
      for (let n = 0; n < 16; n++) {
        void bytesOf(await x.network.open(a.key, TOPIC_PROTOCOL)).then(() => ended.push(i));
      }
    }
    await until("some were ended", () => ended.length >= 16);
    assert.deepEqual(ended, Array(16).fill(0)); // the oldest
    b.share(emptyLog(log.topicId), { invite: await personOf(seed), nodes: [a.key] });
    await b.network.dial(a.network.addresses()[0]!);
    await until("b is a member", () => log.view!.members.has(ben.key));
  } finally {
    for (const each of strangers) await each[Symbol.asyncDispose]();
  }
});

Deno.test("AppPeer remembers who took part, and finds them again without a ticket", async () => {
  const start = inMemory(new MemoryHub());
  await using a = await TestNode.start(start, ann);
  const log = createTopic();
  await join(log, ben);
  log.flush(0);
  a.share(log);
  const seed = new Uint8Array(32).fill(77);
  const [store, events] = [new MemoryStore(), new MemoryStore()];
  {
    await using b = await TestNode.start(start, ben, { seed, store });
    const copy = emptyLog(log.topicId, [], events);
    b.share(copy, { nodes: [a.key] });
    await b.network.dial(a.network.addresses()[0]!);
    await until("b has the topic", () => isEqual(log, copy));
    await until("b is known", () => a.peer.wanted().includes(b.key));
    await until("b remembers a", () => [...store.scan("app-node/")].length === 1);
  }
  sayAt(a.peer.get(log.topicId)!, ann);
  await using b = await TestNode.start(start, ben, { seed, store });
  const copy = emptyLog(log.topicId, [], events);
  b.share(copy);
  assert.deepEqual(b.peer.wanted(), [a.key]);
  await b.network.dial(a.network.addresses()[0]!);
  await until("b has what it missed", () => isEqual(log, copy));
  b.peer.remove(log.topicId);
  assert.deepEqual([...store.scan("app-node/")], []);
});

Deno.test("AppPeer of a newcomer leaves nobody time to open a link that does not know of it", async () => {
  const hub = new MemoryHub();
  const seeds = [1, 2].map((byte) => new Uint8Array(32).fill(byte));
  const keys = await Promise.all(
    seeds.map(async (seed) => formatPublicKey((await keyPairOf(seed, nodeBackend())).publicKey)),
  );
  // The other way about the newcomer would have the lesser key, and never waits.
  if (keys[0]! > keys[1]!) seeds.reverse();
  const slept: number[] = [];
  const clock: Clock = {
    ...systemClock,
    sleep: (ms, signal) => {
      slept.push(ms);
      return systemClock.sleep(ms, signal);
    },
  };
  await using a = await TestNode.start(inMemory(hub), ann, { seed: seeds[0]! });
  await using b = await TestNode.start(inMemory(hub), ben, { seed: seeds[1]!, clock });
  assert.ok(a.key < b.key);
  const log = createTopic();
  await join(log, ben);
  a.share(log);
  const theirs = b.share(emptyLog(log.topicId), { nodes: [a.key] });
  await b.network.dial(a.network.addresses()[0]!);
  await until("they have met", () => theirs.core.met().length === 1);
  assert.deepEqual(slept, []);
  // Now the other knows of it.
  b.network.disconnect(a.key);
  await until("the link is gone", () => theirs.core.peers().length === 0);
  await b.network.dial(a.network.addresses()[0]!);
  await until("it waits", () => slept.length > 0);
  assert.deepEqual(slept, [1_000]);
  await until("the other has opened it", () => theirs.core.isOpen(a.key));
});

Deno.test("AppPeer leaves a peer alone that misbehaved, in every topic", async () => {
  const start = inMemory(new MemoryHub());
  await using a = await TestNode.start(start, ann);
  await using b = await TestNode.start(start, ben);
  const log = createTopic();
  await join(log, ben);
  log.flush(0);
  const mine = a.share(log);
  b.share(emptyLog(log.topicId), { nodes: [a.key] });
  await b.network.dial(a.network.addresses()[0]!);
  await until("they are linked", () => mine.core.isOpen(b.key));
  mine.core.received(b.key, new Uint8Array(3));
  assert.ok(!a.peer.mayOpen(b.key, TOPIC_PROTOCOL));
  await until("the link is gone", () => mine.core.peers().length === 0);
  assert.match(a.notices.join(), /cut off for 10 s: garbage/);
});

Deno.test("AppPeer looks ahead only at frames of who is trusted, and takes what came before an end", async () => {
  const start = inMemory(new MemoryHub());
  const looked: { readonly isOpen: boolean; readonly frame: string | undefined }[] = [];
  const found = Promise.withResolvers<[]>();
  let isHeld = false, isClosed = false;
  const ahead: LooksAhead = {
    look: (bytes) => {
      const frame = decodeTopicFrame(bytes)?.frame;
      looked.push({ isOpen: theirs.core.isOpen(a.key), frame });
      return isHeld && frame === "events" ? found.promise : undefined;
    },
    during: (_, act) => act(),
  };
  await using a = await TestNode.start(start, ann);
  await using b = await TestNode.start(start, ben, { ahead });
  const log = createTopic();
  await join(log, ben);
  log.flush(0);
  const copy = emptyLog(log.topicId);
  const mine = a.share(log, { nodes: [b.key] });
  const theirs = b.share(copy, { nodes: [a.key] });
  const closed = theirs.closed.bind(theirs);
  theirs.closed = (peer, link) => {
    closed(peer, link);
    isClosed = true;
  };
  await b.network.dial(a.network.addresses()[0]!);
  await until("both have all", () => isEqual(log, copy));
  await until("both say so", () => mine.core.peers()[0]?.inSync === true);
  assert.deepEqual(looked.filter(({ isOpen }) => !isOpen), []);
  isHeld = true;
  looked.length = 0;
  sayAt(mine, ann);
  await until("it came", () => looked.some(({ frame }) => frame === "events"));
  a.peer.remove(log.topicId);
  await until("its link ends", () => isClosed);
  assert.ok(!isEqual(log, copy));
  found.resolve([]);
  await until("it has ended", () => theirs.core.peers().length === 0);
  assert.ok(isEqual(log, copy), "what it sent last was not taken");
});

// libp2p uses `AbortSignal.timeout` much, whose timers end by themselves and hold nothing up.
const loose = { sanitizeOps: false, sanitizeResources: false };

Deno.test("AppPeer lets a newcomer join over TCP", loose, async () => {
  await joinsAndShares(overTcp);
});
