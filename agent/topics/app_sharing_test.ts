import assert from "node:assert/strict";
import { parseAppTicket } from "../apps/topic/app_ticket.ts";
import { behaviorKey as keyOfBehavior, ownKey, PERSON_KEY_FILE } from "../node/own_keys.ts";
import { CID } from "../kernel/canonical.ts";
import { formatSecretKey } from "../kernel/key.ts";
import { allOf } from "../apps/topic/topic_fake.ts";
import { decodeTopicFrame } from "../apps/peering/topic_frame.ts";
import { addOnes, fixtureBundle, Machine } from "./apps_fake.ts";
import { until } from "../../tests/until.ts";
import type { Network, NetworkGate, PeerStream } from "../kernel/ports.ts";
import { SNAPSHOT_PROTOCOL } from "../artifact/peer_snapshots.ts";
import { FrameParser } from "../net/link_stream.ts";
import { MemoryHub } from "../net/memory_network.ts";
import { TOPIC_PROTOCOL } from "./topic_carrier.ts";

const bundles = { counter: await fixtureBundle("counter"), poll: await fixtureBundle("poll") };

/** Whether machines have settled on one state of a topic. */
function agree(topic: string, ...machines: Machine[]): boolean {
  const all = machines.map((machine) => machine.status(topic));
  return all.every(({ settled, digest, heads }) =>
    settled && digest === all[0]!.digest && heads.join() === all[0]!.heads.join()
  );
}

Deno.test("two people share a topic: by a ticket, with the bundle from the peer, to one state", async () => {
  const { counter } = bundles;
  const hub = new MemoryHub();
  await using ann = await Machine.start(hub);
  await using ben = await Machine.start(hub);
  await ann.install(counter);
  await ann.create("counter", { name: "ours" });
  const ticket = await ann.invite("ours");
  assert.match(ticket, /^realmapp1z/);
  await ben.join(ticket, "ours");
  await ben.dial(ann);
  await until("ben has the events", () => ben.status("ours").state === "needs-bundle");
  const file = `${ann.folder}/apps/${counter.packed.id}.bundle`;
  await Deno.rename(file, `${file}.away`);
  await assert.rejects(
    async () => await ben.host.api.bundle({ bundle: ben.status("ours").bundle! }),
    {
      code: "not-found",
      message: `Cannot fetch bundle ${counter.packed.id}: ${ann.node} does not have it`,
    },
  );
  assert.match(ben.status("ours").why!, /is not installed.* Cannot fetch .* does not have it$/);
  await Deno.rename(`${file}.away`, file);
  const { bytes } = await ben.host.api.bundle({ bundle: ben.status("ours").bundle! });
  assert.deepEqual(Uint8Array.fromBase64(bytes), counter.bytes);
  await ben.install(counter);
  assert.equal(ben.notices.filter((text) => text.includes("not installed")).length, 1);
  await until("ben takes part", () => ben.status("ours").role === "member");
  await Promise.all([1, 2, 3].flatMap((n) => [
    ann.call("ours", "add", `${n}`),
    ben.call("ours", "add", `${10 * n}`),
  ]));
  await until("both agree", () => agree("ours", ann, ben) && ann.status("ours").events > 8);
  assert.deepEqual(ann.status("ours").peers, [ben.status("ours").key]);
  const log = await ben.host.api.log({ topic: "ours", from: 0, limit: 100 });
  assert.equal(log.events.filter(({ verdict }) => verdict === "accepted").length, 6);
});

Deno.test("what two write apart comes together; a keeper serves it between them", async () => {
  const hub = new MemoryHub();
  await using ann = await Machine.start(hub);
  await using ben = await Machine.start(hub);
  await using kim = await Machine.start(hub);
  for (const machine of [ann, ben]) await machine.install(bundles.counter);
  await ann.create("counter", { name: "ours" });
  await ben.join(await ann.invite("ours"), "ours");
  await kim.join(await ann.invite("ours", "keeper"), "ours");
  await ben.dial(ann);
  await kim.dial(ann);
  await until(
    "all take part",
    () => ben.status("ours").role === "member" && kim.status("ours").role === "keeper",
  );
  assert.equal(kim.status("ours").state, "keeping");
  assert.equal(kim.status("ours").digest, null);
  await assert.rejects(kim.call("ours", "add", "1"), /its events are only kept here/);
  // Ann goes; ben writes, and leaves it with the keeper.
  await until("kim has all", () => kim.status("ours").events === ann.status("ours").events);
  await using later = await (async () => {
    await ann.stop();
    await ben.call("ours", "add", "5");
    await kim.dial(ben);
    await until("kim has it", () => kim.status("ours").events === ben.status("ours").events);
    const again = await Machine.start(hub, ann);
    await again.call("ours", "add", "7");
    return again;
  })();
  await later.dial(kim);
  await until("ann has it from kim", () => agree("ours", later, ben));
  assert.equal(later.status("ours").events, kim.status("ours").events);
});

Deno.test("who was taken out writes nothing more that counts, and reads nothing new", async () => {
  const hub = new MemoryHub();
  await using ann = await Machine.start(hub);
  await using eve = await Machine.start(hub);
  for (const machine of [ann, eve]) await machine.install(bundles.counter);
  await ann.create("counter", { name: "ours", encrypted: true });
  await eve.join(await ann.invite("ours"), "ours");
  await eve.dial(ann);
  await until("eve takes part", () => eve.status("ours").role === "member");
  assert.equal((await eve.call("ours", "add", "5")).refused, null);
  await until("both agree", () => agree("ours", ann, eve));
  const { events } = eve.status("ours");
  await ann.host.api.remove({ topic: "ours", key: eve.status("ours").key });
  await ann.call("ours", "add", "1");
  await until("eve is cut off", () => ann.status("ours").peers.length === 0);
  const isTold = () => eve.status("ours").alarms.some((each) => /lets you in no more/.test(each));
  await until("she is told what can be known", isTold);
  assert.deepEqual(ann.status("ours").alarms, []);
  await eve.call("ours", "add", "9").catch(() => {});
  assert.equal(ann.status("ours").members.length, 1);
  const log = await ann.host.api.log({ topic: "ours", from: 0, limit: 100 });
  assert.equal(log.events.filter(({ author }) => author === eve.status("ours").key).length, 2);
  assert.ok(eve.status("ours").events <= events + 1);
});

Deno.test("who left takes part again by a ticket; who was taken out does not, and is told", async () => {
  const hub = new MemoryHub();
  await using ann = await Machine.start(hub);
  await using ben = await Machine.start(hub);
  for (const machine of [ann, ben]) await machine.install(bundles.counter);
  await ann.create("counter", { name: "ours", encrypted: true });
  await ben.join(await ann.invite("ours"), "ours");
  await ben.dial(ann);
  await until("ben takes part", () => ben.status("ours").role === "member");
  const { key } = ben.status("ours");
  const members = () => ann.status("ours").members.map(({ key }) => key);
  await until("ann knows it", () => members().includes(key));
  assert.equal((await ben.host.api.leave({ topic: "ours", forget: false })).told, 1);
  await until("he left", () => !members().includes(key));
  await ben.join(await ann.invite("ours"), "ours");
  await until("he takes part again", () => members().includes(key));
  await until("and both agree", () => agree("ours", ann, ben));
  assert.equal((await ben.call("ours", "add", "5")).refused, null);
  await ann.host.api.remove({ topic: "ours", key });
  await ben.host.api.leave({ topic: "ours", forget: true });
  await ben.join(await ann.invite("ours"), "ours");
  const isTold = () =>
    ben.status("ours").alarms.some((each) => /your key was taken out/.test(each));
  await until("he is told", isTold);
  assert.deepEqual([ben.status("ours").role, members().includes(key)], ["none", false]);
});

Deno.test("who comes by an invite that was closed before is told what can be known", async () => {
  const hub = new MemoryHub();
  await using ann = await Machine.start(hub);
  await using ben = await Machine.start(hub);
  await ann.install(bundles.counter);
  await ann.create("counter", { name: "ours" });
  const ticket = await ann.invite("ours");
  const [invite] = ann.host.topics[0]!.log.view!.invites;
  await ann.host.api.remove({ topic: "ours", key: invite!.key });
  await ben.join(ticket, "ours");
  const why = () => ben.status("ours").why!;
  const bundle = bundles.counter.packed.id.toString();
  const upgrade = async () => await ben.host.api.upgrade({ topic: "ours", bundle });
  await assert.rejects(upgrade(), { code: "not-found", message: /events are not here yet/ });
  assert.match(why(), /not here yet. No machine that its ticket names is connec/);
  await ben.dial(ann);
  await until("he is told", () => /does not let you in: the invite is cl/.test(why()));
  // It is not for ever: another ticket is taken at once.
  await ben.host.api.leave({ topic: "ours", forget: false });
  await ben.join(await ann.invite("ours"), "ours");
  await until("he takes part", () => ben.status("ours").role === "member");
  assert.doesNotMatch(why(), /ticket/);
});

Deno.test("who leaves hears how many took it, not how many were connected", async () => {
  let isLost = false;
  const hub = new ChangedHub(TOPIC_PROTOCOL, (stream) => ({
    read: () => stream.read(),
    write: (bytes) => isLost ? Promise.resolve() : stream.write(bytes),
  }));
  await using ann = await Machine.start(hub);
  await using cem = await Machine.start(hub);
  let ben = await Machine.start(hub);
  for (const machine of [ann, ben, cem]) await machine.install(bundles.counter);
  await ann.create("counter", { name: "ours" });
  await ann.create("counter", { name: "theirs" });
  const names = ["ours", "theirs"];
  for (const name of names) {
    for (const machine of [ben, cem]) await machine.join(await ann.invite(name), name);
  }
  for (const machine of [ben, cem]) await machine.dial(ann);
  await until(
    "all take part",
    () => names.every((name) => [ben, cem].every((each) => each.status(name).role === "member")),
  );
  // Who hears that he left ends the link; where he can come back by an invite it says what it has.
  const { id, log } = ann.host.topics.find(({ record }) => record.name === "ours")!;
  for (const { key } of log.view!.invites) await ann.host.api.remove({ topic: id, key });
  const { events } = ann.status("ours");
  await until("all have that", () => [ben, cem].every((m) => m.status("ours").events === events));
  await using again = await ben.restarted();
  ben = again;
  for (const machine of [ann, cem]) await ben.dial(machine);
  const arePeers = (name: string) => ben.status(name).peers.length === 2;
  await until("both are linked", () => names.every(arePeers));
  ben.sharing.toldMs = 120_000;
  assert.equal((await ben.host.api.leave({ topic: "ours", forget: false })).told, 2);
  isLost = true;
  ben.sharing.toldMs = 100;
  assert.equal((await ben.host.api.leave({ topic: "theirs", forget: false })).told, 0);
  assert.deepEqual(ben.host.statuses(), []);
});

Deno.test("who left takes part again by a ticket, also where the program ended before all was here", async () => {
  const hub = new MemoryHub();
  await using ann = await Machine.start(hub);
  const ben = await Machine.start(hub);
  await ann.install(bundles.counter);
  await ann.create("counter", { name: "ours" });
  await ben.join(await ann.invite("ours"), "ours");
  await ben.dial(ann);
  await until("he takes part", () => ben.status("ours").role === "member");
  const { key } = ben.status("ours");
  const members = () => ann.status("ours").members.map(({ key }) => key);
  await until("she knows", () => members().includes(key));
  await ben.host.api.leave({ topic: "ours", forget: false });
  await until("he left", () => !members().includes(key));
  await ben.stop();

  await using again = await Machine.start(undefined, ben);
  await again.join(await ann.invite("ours"), "ours");
  const [, ...some] = allOf(ann.host.topics[0]!.log).toReversed();
  again.host.topics[0]!.write((log) => log.offer(some));
  await again.stop();
  await using back = await Machine.start(hub, ben);
  await back.dial(ann);
  await until("he takes part again", () => members().includes(key));
  assert.equal(back.host.topics[0]!.record.isNew, undefined);
  assert.deepEqual(back.status("ours").alarms, []);
});

Deno.test("who was taken out does not come back by the key of its behavior", async () => {
  const hub = new MemoryHub();
  await using ann = await Machine.start(hub);
  const ben = await Machine.start(hub);
  await using mal = await Machine.start(hub);
  for (const machine of [ann, ben, mal]) await machine.install(bundles.poll);
  await ann.create("poll", { name: "ours", encrypted: true });
  const ticket = await ann.invite("ours");
  await ben.join(ticket, "ours");
  await ben.dial(ann);
  const of = () => ben.status("ours");
  await until("he takes part", () => of().role === "member" && of().behaviorKey !== null);
  const { key, behaviorKey } = of();
  const members = () => ann.status("ours").members.map(({ key }) => key);
  const isIn = (key: string | null) => members().includes(key!);
  const { behaviorKey: anns } = ann.status("ours");
  await until("their behaviors do", () => isIn(behaviorKey) && isIn(anns));
  const behavior = { key: behaviorKey, role: "member", person: key };
  const isOf = (wanted: string | null) =>
    ann.status("ours").members.find(({ key }) => key === wanted);
  assert.deepEqual([isOf(behaviorKey), isOf(key)], [behavior, { key, role: "member" }]);
  const own = await ownKey(`${ben.folder}/${PERSON_KEY_FILE}`);
  await ann.host.api.remove({ topic: "ours", key });
  assert.deepEqual(members(), [ann.status("ours").key, anns].sort());
  await ben.stop();

  const pair = await keyOfBehavior(own, CID.parse(ann.status("ours").topic), 0);
  await Deno.writeTextFile(
    `${mal.folder}/${PERSON_KEY_FILE}`,
    `${formatSecretKey(pair.secretKey)}\n`,
  );
  await mal.join(ticket, "ours");
  await mal.dial(ann);
  // What is told to a key that has it all shows that he would have been told.
  await using cem = await Machine.start(hub);
  await cem.install(bundles.poll);
  await cem.join(await ann.invite("ours"), "ours");
  await cem.dial(ann);
  await until("another does take part", () => cem.status("ours").role === "member");
  assert.equal(mal.status("ours").key, behaviorKey);
  assert.equal(mal.status("ours").role, "none");
  assert.equal(mal.status("ours").events, 0);
});

Deno.test("a fork begins with a state of its origin, also on machines that never had that", async () => {
  const hub = new MemoryHub();
  await using ann = await Machine.start(hub);
  await using ben = await Machine.start(hub);
  await using kim = await Machine.start(hub);
  for (const machine of [ann, ben]) await machine.install(bundles.counter);
  await ann.create("counter", { name: "ours" });
  const { events: [first] } = await ann.call("ours", "add", "5");
  await ann.call("ours", "add", "7");
  const { topic } = await ann.host.api.fork({ topic: "ours", at: first!.event, name: "other" });
  assert.equal(topic.state, "running");
  await ann.call("other", "add", "100");
  const total = async (machine: Machine, name: string) => {
    const prefix = new TextEncoder().encode("total").toBase64();
    const { entries } = await machine.host.api.state({ topic: name, prefix, limit: 1 });
    return Number(new DataView(Uint8Array.fromBase64(entries[0]!.value).buffer).getBigUint64(0));
  };
  assert.deepEqual([await total(ann, "ours"), await total(ann, "other")], [12, 105]);
  await kim.join(await ann.invite("other", "keeper"), "other");
  await kim.dial(ann);
  await until("kim has it", () => kim.status("other").events === ann.status("other").events);
  await until("ann knows kim", () => ann.status("other").peers.length === 1);
  const ticket = await ann.invite("other");
  await until("kim has that", () => kim.status("other").events === ann.status("other").events);
  // A keeper gets no states, and has none to give.
  const { topicId, view } = ann.host.topics.find(({ id }) => id === topic.topic)!.log;
  assert.equal(await kim.sharing.fetchState(topicId, view!.fork!.digest), undefined);
  await ben.join(ticket, "other");
  await ben.dial(kim);
  await until("ben waits", () => ben.status("other").why?.includes("begins with") === true);
  await ben.dial(ann);
  await until("both agree", () => agree("other", ann, ben));
  assert.equal(await total(ben, "other"), 105);
  await using again = await ben.restarted();
  await until("it is there again", () => again.status("other").settled);
  assert.equal(await total(again, "other"), 105);
  await assert.rejects(
    async () => await ann.host.api.fork({ topic: "ours", at: topic.topic, name: "third" }),
    { code: "not-found" },
  );
});

/** Does something to the streams of a protocol. */
class ChangedHub extends MemoryHub {
  constructor(
    readonly protocol: string,
    readonly change: (stream: PeerStream) => Pick<PeerStream, "read" | "write">,
  ) {
    super();
  }

  override join(self: string, gate: NetworkGate): Network {
    const network = super.join(self, gate);
    const changed = (stream: PeerStream): PeerStream => {
      if (stream.protocol !== this.protocol) return stream;
      return {
        peer: stream.peer,
        protocol: stream.protocol,
        end: () => stream.end(),
        abort: () => stream.abort(),
        ...this.change(stream),
      };
    };
    return {
      self,
      addresses: () => network.addresses(),
      connections: () => network.connections(),
      dial: (address, signal) => network.dial(address, signal),
      disconnect: (peer) => network.disconnect(peer),
      open: async (...asked) => changed(await network.open(...asked)),
      handle: (protocol, answer) => network.handle(protocol, (stream) => answer(changed(stream))),
      watch: (watcher) => network.watch(watcher),
      close: () => network.close(),
    };
  }
}

/** Of what a stream says little comes until the rest may pass. */
function heldUntil(
  mayPass: () => boolean,
): (stream: PeerStream) => Pick<PeerStream, "read" | "write"> {
  return (stream) => {
    let rest: Uint8Array | null = new Uint8Array();
    let passed = 0;
    return {
      read: async () => {
        if (rest?.length === 0) rest = await stream.read();
        while (passed >= 64 * 1024 && !mayPass()) {
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
        const part = rest && rest.subarray(0, 16 * 1024);
        rest = rest && rest.subarray(16 * 1024);
        passed += part?.length ?? 0;
        return part;
      },
      write: (bytes) => stream.write(bytes),
    };
  };
}

Deno.test("a ticket names a state, which a newcomer has from a peer before all events", async () => {
  let mayPass = () => false;
  const hub = new ChangedHub(TOPIC_PROTOCOL, heldUntil(() => mayPass()));
  await using ann = await Machine.start(hub);
  await using ben = await Machine.start(hub);
  for (const machine of [ann, ben]) await machine.install(bundles.counter);
  await ann.create("counter", { name: "ours" });
  const [topic] = ann.host.topics;
  assert.equal(parseAppTicket(await ann.invite("ours")).state, undefined); // it is soon there
  addOnes(topic!, 1_200);
  await until("ann has applied it", () => ann.status("ours").settled);
  const { events, digest } = ann.status("ours");
  const ticket = await ann.invite("ours");
  const { state } = parseAppTicket(ticket);
  assert.deepEqual([state!.count, state!.digest.toHex()], [events, digest]);
  assert.equal(parseAppTicket(await ann.invite("ours", "keeper")).state, undefined);
  addOnes(topic!, 5);
  await ben.join(ticket, "ours");
  const [theirs] = ben.host.topics;
  let wasFetched = false;
  mayPass = () => wasFetched ||= theirs!.snapshots.store.find(state!.digest) !== undefined;
  await ben.dial(ann);
  await until("ben has the state", mayPass);
  await until("both agree", () => agree("ours", ann, ben) && ben.status("ours").role === "member");
  assert.deepEqual(ben.status("ours").alarms, []);
});

Deno.test("the state of a ticket comes as soon as a peer is linked, whenever events do", async () => {
  const released = Promise.withResolvers<void>();
  const hub = new ChangedHub(TOPIC_PROTOCOL, (stream) => {
    const parser = new FrameParser();
    return {
      read: () => stream.read(),
      write: async (bytes) => {
        const isSync = (frame: Uint8Array) => decodeTopicFrame(frame)?.frame === "sync";
        if ([...parser.take(bytes)].some(isSync)) await released.promise;
        await stream.write(bytes);
      },
    };
  });
  await using ann = await Machine.start(hub);
  await using ben = await Machine.start(hub);
  await ann.install(bundles.counter);
  await ann.create("counter", { name: "ours" });
  const [topic] = ann.host.topics;
  addOnes(topic!, 1_200);
  await until("ann has applied it", () => ann.status("ours").settled);
  const ticket = await ann.invite("ours");
  const { state } = parseAppTicket(ticket);
  await ben.join(ticket, "ours");
  await ben.dial(ann);
  const [theirs] = ben.host.topics;
  await until("the state is here", () => theirs!.snapshots.store.find(state!.digest) !== undefined);
  assert.equal(ben.status("ours").events, 0);
  released.resolve();
  // Meanwhile nobody can say whether the bundle is here.
  await until("the events, too", () => ben.status("ours").state === "needs-bundle");
  await ben.install(bundles.counter);
  await until("both agree", () => agree("ours", ann, ben) && ben.status("ours").role === "member");
});

Deno.test("the Worker of an app starts while the state of its ticket is fetched, once", async () => {
  const released = Promise.withResolvers<void>();
  const hub = new ChangedHub(SNAPSHOT_PROTOCOL, (stream) => ({
    read: async () => {
      await released.promise;
      return await stream.read();
    },
    write: (bytes) => stream.write(bytes),
  }));
  await using ann = await Machine.start(hub);
  await using ben = await Machine.start(hub);
  for (const machine of [ann, ben]) await machine.install(bundles.counter);
  await ann.create("counter", { name: "ours" });
  const [topic] = ann.host.topics;
  addOnes(topic!, 1_200);
  await until("ann has applied it", () => ann.status("ours").settled);
  const ticket = await ann.invite("ours");
  let workers = 0;
  const { Worker } = globalThis;
  globalThis.Worker = class extends Worker {
    constructor(...init: ConstructorParameters<typeof Worker>) {
      super(...init);
      workers++;
    }
  };
  try {
    await ben.join(ticket, "ours");
    await ben.dial(ann);
    await until("a Worker", () => workers > 0);
    assert.match(ben.status("ours").why!, /state of the ticket is not here yet/);
    await until("all events are here", () => ben.status("ours").events >= 1_202);
    released.resolve();
    await until("both agree", () => agree("ours", ann, ben));
    assert.equal(workers, 1);
  } finally {
    globalThis.Worker = Worker;
  }
});

Deno.test("a topic of many events comes with its signatures verified ahead", async () => {
  const hub = new MemoryHub();
  await using ann = await Machine.start(hub);
  await using ben = await Machine.start(hub, undefined, 2);
  for (const machine of [ann, ben]) await machine.install(bundles.counter);
  await ann.create("counter", { name: "ours" });
  await ben.join(await ann.invite("ours"), "ours");
  const [topic] = ann.host.topics;
  addOnes(topic!, 3_000);
  // Its Worker needs its time to start, which a quick sync would not give it.
  const { promise: isLooking, resolve } = Promise.withResolvers<void>();
  const large = new Uint8Array(64 * 1024);
  const timer = setInterval(() => {
    if (ben.ahead.look(large) !== undefined) resolve();
  }, 5);
  await isLooking;
  clearInterval(timer);
  let verified = 0;
  const during = ben.ahead.during.bind(ben.ahead);
  ben.ahead.during = (known, act) => {
    verified += known.length;
    return during(known, act);
  };
  await ben.dial(ann);
  await until("both agree", () => ben.status("ours").events > 3_000 && agree("ours", ann, ben));
  assert.ok(verified > 2_000, `${verified} were verified ahead`);
});

Deno.test("a bundle whose file is damaged is had from peers", async () => {
  const { counter } = bundles;
  const hub = new MemoryHub();
  await using ann = await Machine.start(hub);
  await using ben = await Machine.start(hub);
  for (const machine of [ann, ben]) await machine.install(counter);
  await ann.create("counter", { name: "ours" });
  await ben.join(await ann.invite("ours"), "ours");
  await ben.dial(ann);
  await until("ben takes part", () => ben.status("ours").role === "member");
  const bundle = counter.packed.id.toString();
  const file = `${ben.folder}/apps/${bundle}.bundle`;
  const damaged = counter.bytes.slice();
  damaged[damaged.length >> 1]! ^= 1;
  await Deno.writeFile(file, damaged);
  const { bytes } = await ben.host.api.bundle({ bundle });
  assert.deepEqual(Uint8Array.fromBase64(bytes), counter.bytes);

  await using again = await ben.restarted();
  const { state, needs, why } = again.status("ours");
  assert.deepEqual([state, needs], ["stopped", bundle]);
  assert.ok(why!.includes(`realm app install ${bundle}`), why!);
  await again.install(counter);
  assert.deepEqual([again.status("ours").state, again.status("ours").needs], [
    "running",
    undefined,
  ]);
});
