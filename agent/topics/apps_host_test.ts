import assert from "node:assert/strict";
import { addOnes, fixtureBundle, Machine } from "./apps_fake.ts";
import { until } from "../../tests/until.ts";
import { namespaced } from "../apps/arbiter/namespace.ts";
import { AppLog } from "../apps/topic/app_log.ts";
import { CHECKPOINT_EVENTS } from "../apps/topic/authoring.ts";
import { randomFrom, verify } from "../apps/topic/topic_fake.ts";
import { asksOf } from "./installed_apps.ts";
import { CID } from "../kernel/canonical.ts";
import { RealmError } from "../kernel/error.ts";
import type { SyncSigner } from "../kernel/verify.ts";
import { MemoryHub } from "../net/memory_network.ts";
import { MemoryStore } from "../store/memory_store.ts";

const bundles = { counter: await fixtureBundle("counter"), poll: await fixtureBundle("poll") };
const code = (code: string) => (error: unknown) =>
  error instanceof RealmError && error.code === code;

Deno.test("an app is installed, a topic made, called and read, and there again after a restart", async () => {
  await using first = await Machine.start();
  await first.install(bundles.counter);
  const made = await first.create("counter");
  assert.equal(made.state, "running");
  assert.equal(made.role, "creator");
  assert.equal(made.name, "counter");
  const { refused, events } = await first.call("counter", "add", "5");
  assert.equal(refused, null);
  assert.equal(events[0]!.verdict, "accepted");
  assert.equal(events[0]!.final, false);
  const bad = await first.call(made.topic, "add", "much");
  assert.match(bad.refused!, /a number from/);
  assert.deepEqual(bad.events, []);
  const { events: log, total } = await first.host.api.log({ topic: "counter", from: 0, limit: 9 });
  assert.equal(total, 1);
  assert.deepEqual([log[0]!.type, log[0]!.author, log[0]!.payload], [
    "add",
    made.key,
    "AAAAAAAAAAU=",
  ]);
  const proof = await first.host.api.verify({ topic: "counter" });
  assert.ok(proof.equal);
  const { digest, settled } = await first.host.api.digest({ topic: "counter" });
  assert.ok(settled);

  const again = await first.restarted();
  try {
    const [status] = again.host.statuses();
    assert.equal(status!.key, made.key);
    assert.equal((await again.host.api.digest({ topic: "counter" })).digest, digest);
    assert.equal((await again.call("counter", "add", "6")).events[0]!.verdict, "accepted");
    const at = await again.host.api.digest({ topic: "counter", at: log[0]!.event });
    assert.equal(at.digest, digest);
  } finally {
    await again.stop();
  }
});

Deno.test("what an app has come to is stored, and gone on from; a checkpoint makes it final", async () => {
  await using first = await Machine.start();
  await first.install(bundles.counter);
  await first.create("counter");
  await first.call("counter", "add", "5");
  const [topic] = first.host.topics;
  addOnes(topic!, 2000);
  await until("it is stored", () => topic!.snapshots.store.newest().length === 1);
  const { event } = await first.host.api.checkpoint({ topic: "counter" });
  const verdicts = async (machine: Machine) => {
    const asked = { topic: "counter", from: 1998, limit: 10 };
    return (await machine.host.api.log(asked)).events.map(({ verdict, final, event }) =>
      [event, verdict, final] as const
    );
  };
  const before = await verdicts(first);
  assert.deepEqual(before.at(-1), [event, "none", true]);
  assert.ok(before.every(([, , final]) => final));
  const { digest } = await first.host.api.digest({ topic: "counter" });
  await using again = await first.restarted();
  assert.equal((await again.host.api.digest({ topic: "counter" })).digest, digest);
  const known = async () => (await verdicts(again)).every(([, v], i) => v === before[i]![1]);
  for (let i = 0; !await known(); i++) {
    assert.ok(i < 600, "outcomes behind the snapshot are never known");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.deepEqual(again.status("counter").alarms, []);
});

Deno.test("a checkpoint is written by itself when many events have no fixed place", async () => {
  await using machine = await Machine.start();
  await machine.install(bundles.counter);
  await machine.create("counter");
  const [topic] = machine.host.topics;
  addOnes(topic!, CHECKPOINT_EVENTS);
  await until("there is one", () => topic!.log.view!.checkpoints.length === 1);
  await until("it is applied", () => machine.status("counter").settled);
  const { digest } = machine.status("counter");
  assert.equal(topic!.log.view!.checkpoints[0]!.digest, digest);
  const asked = { topic: "counter", from: CHECKPOINT_EVENTS - 1, limit: 2 };
  const { events } = await machine.host.api.log(asked);
  assert.deepEqual(events.map(({ type, final }) => [type, final]), [
    ["add", true],
    ["realm/checkpoint", true],
  ]);
  assert.deepEqual(machine.status("counter").alarms, []);
});

Deno.test("two apps on one machine have nothing of one another", async () => {
  await using machine = await Machine.start();
  await machine.install(bundles.counter);
  await machine.install(bundles.poll);
  await machine.create("counter");
  const poll = await machine.create("poll", { name: "lunch" });
  await machine.call("counter", "add", "5");
  const made = await machine.call("lunch", "create", "Tea?\nyes\nno");
  assert.equal(made.refused, null);
  assert.ok((await machine.keys("counter")).every((key) => /^(total$|author\/)/.test(key)));
  assert.ok((await machine.keys("lunch")).every((key) => key.startsWith("poll/")));
  const { nodes } = await machine.host.api.view({
    topic: "lunch",
    session: crypto.randomUUID(),
  });
  assert.ok(nodes.some(({ text }) => text.startsWith("Tea?")));
  // What the store has of each stands behind the topic's own name.
  const topics = machine.host.statuses().map(({ topic }) => topic);
  for (const [key] of machine.store.scan("app-topic/")) {
    assert.equal(topics.filter((topic) => key.startsWith(`app-topic/${topic}/`)).length, 1, key);
  }
  assert.equal(poll.behaviorKey === null, false);
  assert.notEqual(poll.behaviorKey, poll.key);
});

Deno.test("what is not granted, or not installed, does not run; a grant can be taken back", async () => {
  await using machine = await Machine.start();
  await assert.rejects(machine.create("counter"), code("not-found"));
  await machine.install(bundles.counter);
  await machine.create("counter");
  const { installed } = machine.host.bundles;
  const app = await installed.find("counter");
  await installed.revoke(app, "state-write");
  await machine.host.api.changed({});
  const [status] = machine.host.statuses();
  assert.equal(status!.state, "not-granted");
  const { bundle } = status!;
  assert.ok(
    status!.why!.includes(`state-write is not granted, which applying events takes: realm`),
  );
  assert.ok(status!.why!.endsWith(`realm app install ${bundle} asks for it`), status!.why!);
  await assert.rejects(machine.call("counter", "add", "1"), code("refused"));
  await machine.install(bundles.counter);
  assert.equal((await machine.call("counter", "add", "1")).refused, null);
});

Deno.test("an app whose record is damaged does not run, and is told of once; the others do", async () => {
  await using first = await Machine.start();
  for (const bundle of [bundles.counter, bundles.poll]) await first.install(bundle);
  await first.create("counter");
  await first.create("poll");
  const { installed } = first.host.bundles;
  const { app, bundle } = await installed.find("counter");
  const file = `${first.folder}/apps/${app}.json`;
  const record = await Deno.readFile(file);
  await Deno.writeFile(file, record.subarray(0, record.length >> 1));
  await using again = await first.restarted();
  assert.equal(again.status("poll").state, "running");
  assert.equal(again.status("counter").state, "needs-bundle");
  await again.host.api.changed({});
  const told = again.notices.filter((text) => text.includes(file));
  assert.equal(told.length, 1);
  assert.match(
    told[0]!,
    /^Cannot read app .*: not what realm wrote\. Remove that file and install/,
  );
  // What was granted is not known: nothing takes the record's place, and its bundle stays.
  await assert.rejects(
    again.host.bundles.installed.before(bundles.counter.packed),
    code("corrupt"),
  );
  await assert.rejects(again.create("counter"), code("corrupt"));
  assert.deepEqual(await again.host.bundles.bytes(bundle), bundles.counter.bytes);
  await Deno.remove(file);
  await again.install(bundles.counter);
  assert.equal(again.status("counter").state, "running");
});

Deno.test("a topic of many events, handed on as it is opened, runs and is written to, unless it may not", async () => {
  await using first = await Machine.start();
  await first.install(bundles.counter);
  await first.create("counter");
  const [made] = first.host.topics;
  addOnes(made!, 1_200);
  const total = async (machine: Machine) => {
    await until("all is applied", () => machine.status("counter").settled);
    const { entries } = await machine.host.api.state({ topic: "counter", prefix: "", limit: 9 });
    return Number(new DataView(Uint8Array.fromBase64(entries[0]!.value).buffer).getBigUint64(0));
  };
  assert.equal(await total(first), 1_200);
  await using again = await first.restarted();
  assert.equal((await again.call("counter", "add", "1")).refused, null);
  assert.equal(await total(again), 1_201);
  const { installed } = again.host.bundles;
  await installed.revoke(await installed.find("counter"), "state-write");
  await using third = await again.restarted();
  assert.equal(third.status("counter").state, "not-granted");
  third.host.topics[0]!.write((log) =>
    log.append({ type: "add", payload: new Uint8Array(8).fill(1, 7) }, third.host.topics[0]!.person)
  );
  await third.install(bundles.counter);
  assert.equal(await total(third), 1_202);
});

/** A genesis is anybody's, and says what it likes: the machine has a topic of this one from its next start. */
function keepTopic(
  machine: Machine,
  person: SyncSigner,
  name: string,
  genesis: Parameters<typeof AppLog.create>[1],
): void {
  const signing = { signer: person, random: randomFrom(1) };
  const made = AppLog.create({ store: new MemoryStore(), verify }, genesis, signing);
  const place = ["app-topic", made.topicId.toString()];
  const store = namespaced(machine.store, [...place, "log"]);
  const log = AppLog.open({ store, verify, topic: made.topicId });
  log.offer([made.read(made.topic!.genesis)]);
  log.flush(0);
  const record = JSON.stringify({ name, isKept: false, nodes: [] });
  machine.store.write([
    { put: `${place.join("/")}/record`, value: new TextEncoder().encode(record) },
  ]);
}

Deno.test("a bundle does not run with what was granted to another app", async () => {
  await using machine = await Machine.start();
  await machine.install(bundles.counter);
  await machine.install(bundles.poll);
  const [counter, poll] = [bundles.counter.packed.id, bundles.poll.packed.id];
  await machine.create("counter");
  const [topic] = machine.host.topics;
  topic!.write((log) => log.write({ kind: "upgrade", bundle: poll }, topic!.person));
  await topic!.review();
  assert.equal(machine.status("counter").state, "stopped");
  assert.match(machine.status("counter").why!, /is of app/);
  await assert.rejects(machine.call("counter", "add", "1"), code("not-found"));
  keepTopic(machine, topic!.person, "lent", {
    app: counter,
    bundle: poll,
    params: new Map(),
    isEncrypted: false,
    fork: undefined,
  });
  await using again = await machine.restarted();
  assert.equal(again.status("lent").state, "stopped");
  assert.match(again.status("lent").why!, /is of app/);
});

Deno.test("a topic that was closed while it was about to start does not", async () => {
  await using machine = await Machine.start();
  await machine.install(bundles.counter);
  await machine.create("counter");
  const [topic] = machine.host.topics;
  const { installed } = machine.host.bundles;
  await installed.revoke(await installed.find("counter"), "state-write");
  await machine.host.api.changed({});
  assert.ok(!topic!.isRunning);
  await installed.install(
    bundles.counter.packed,
    bundles.counter.bytes,
    asksOf(bundles.counter.packed),
  );
  await machine.host.bundles.refresh();
  const started = topic!.review();
  await Promise.resolve(); // it has begun, and asks for the bundle
  topic!.close();
  await started;
  const runs = topic!.isRunning;
  topic!.close();
  assert.ok(!runs);
});

Deno.test("a bundle that its publisher revoked runs no more", async () => {
  await using machine = await Machine.start();
  await machine.install(bundles.counter);
  await machine.create("counter");
  const { installed } = machine.host.bundles;
  // That it was verified before it is kept is for the command line.
  await installed.keepRevocation(bundles.counter.packed.id.toString(), new Uint8Array());
  await machine.host.api.changed({});
  assert.equal(machine.status("counter").state, "revoked");
  await assert.rejects(machine.call("counter", "add", "1"), code("refused"));
  await assert.rejects(machine.create("counter"), code("refused"));
  const again = await machine.restarted();
  assert.equal(again.status("counter").state, "revoked");
  await again.stop();
});

Deno.test("a user interface calls for the person and draws what came of it", async () => {
  await using machine = await Machine.start();
  await machine.install(bundles.poll);
  await machine.create("poll");
  const session = crypto.randomUUID();
  const show = (input?: { tag: "press"; val: string } | { tag: "submit"; val: [string, string] }) =>
    machine.host.api.view({ topic: "poll", session, ...(input ? { input } : {}) });
  await show();
  const { calls, nodes } = await show({ tag: "submit", val: ["ask", "Tea?; yes; no"] });
  assert.deepEqual(calls.map(({ refused, events }) => [refused, events[0]!.verdict]), [
    [null, "accepted"],
  ]);
  const vote = nodes.find(({ id }) => id.startsWith("vote ") && id.endsWith(" 0"))!;
  const voted = await show({ tag: "press", val: vote.id });
  assert.ok(voted.nodes.some(({ text }) => text.startsWith("yes: 1")));
  machine.host.api.closeView({ session });
});

Deno.test("a fork begins with the state of an event, and goes its own way", async () => {
  await using machine = await Machine.start();
  await machine.install(bundles.counter);
  await machine.create("counter");
  const { events: [first] } = await machine.call("counter", "add", "5");
  await machine.call("counter", "add", "7");
  const at = first!.event;
  const then = await machine.host.api.digest({ topic: "counter", at });
  const { topic } = await machine.host.api.fork({ topic: "counter", at, name: "other" });
  assert.equal(topic.state, "running");
  assert.equal((await machine.host.api.digest({ topic: "other" })).digest, then.digest);
  const before = (await machine.host.api.digest({ topic: "counter" })).digest;
  assert.equal((await machine.call("other", "add", "1")).refused, null);
  assert.notEqual((await machine.host.api.digest({ topic: "other" })).digest, then.digest);
  assert.equal((await machine.host.api.digest({ topic: "counter" })).digest, before);
  await assert.rejects(
    async () => await machine.host.api.fork({ topic: "counter", at: "bafynothing" }),
    code("not-found"),
  );
  const again = await machine.restarted();
  assert.ok((await again.host.api.verify({ topic: "other" })).equal);
  await again.stop();
});

Deno.test("a fork of a topic that is here does not start with another state than that had", async () => {
  await using machine = await Machine.start();
  await machine.install(bundles.counter);
  await machine.create("counter");
  const { events: [event] } = await machine.call("counter", "add", "5");
  const [topic] = machine.host.topics;
  keepTopic(machine, topic!.person, "forged", {
    ...topic!.log.membership!.genesis,
    fork: {
      topic: topic!.log.topicId,
      event: CID.parse(event!.event),
      digest: new Uint8Array(32).fill(7),
    },
  });
  await using again = await machine.restarted();
  const said = () => again.status("forged").why ?? "";
  await until("it is refused", () => /is another than its creator says/.test(said()));
  assert.notEqual(again.status("forged").state, "running");
});

Deno.test("a key is taken out of a topic once, and only one that took part", async () => {
  const hub = new MemoryHub();
  await using ann = await Machine.start(hub);
  await using ben = await Machine.start(hub);
  await ann.install(bundles.counter);
  await ann.create("counter", { name: "ours" });
  await ben.join(await ann.invite("ours"), "ours");
  await ben.dial(ann);
  await until("he takes part", () => ann.status("ours").members.length === 2);
  const { key } = ben.status("ours");
  const remove = async (key: string) => await ann.host.api.remove({ topic: "ours", key });
  const { events } = ann.status("ours");
  await assert.rejects(remove(ben.node), { code: "not-found", message: /it never took part/ });
  assert.equal(ann.status("ours").events, events);
  const first = await remove(key);
  assert.equal(first.already, undefined);
  assert.deepEqual(await remove(key), { event: first.event, already: true });
  assert.equal(ann.status("ours").events, events + 2, "the member, and the invite");
});

Deno.test("topics have names, are left, and forgotten", async () => {
  await using machine = await Machine.start();
  await machine.install(bundles.counter);
  const first = await machine.create("counter");
  assert.equal((await machine.create("counter")).name, "counter-2");
  await assert.rejects(machine.create("counter", { name: "counter-2" }), code("refused"));
  const leave = async (forget: boolean) =>
    await machine.host.api.leave({ topic: "counter", forget });
  await assert.rejects(leave(false), code("refused"));
  await leave(true);
  await assert.rejects(leave(true), code("not-found"));
  assert.deepEqual([...machine.store.scan(`app-topic/${first.topic}/`)], []);
  assert.equal(machine.host.statuses().length, 1);
});

Deno.test("a ticket that is used twice at once makes one topic", async () => {
  await using creator = await Machine.start();
  await using newcomer = await Machine.start();
  await creator.install(bundles.counter);
  await creator.create("counter");
  const { ticket } = await creator.host.api.invite({ topic: "counter", role: "member" });
  const join = async () => await newcomer.host.api.join({ ticket, keep: false });
  const [first, second] = [join(), join()];
  await assert.rejects(second, /takes part already/);
  const { topic } = await first;
  await assert.rejects(join(), code("refused"));
  assert.equal(newcomer.host.statuses()[0]!.topic, topic.topic);
  assert.equal(newcomer.host.statuses().length, 1);
});

Deno.test("encrypted topics keep payloads from who looks into the store", async () => {
  await using machine = await Machine.start();
  await machine.install(bundles.poll);
  const topic = await machine.create("poll", { encrypted: true });
  assert.equal(topic.encrypted, true);
  assert.equal((await machine.call("poll", "create", "Secret tea?\nyes\nno")).refused, null);
  const stored = [...machine.store.scan("app-topic/")].map(([, value]) =>
    new TextDecoder("latin1").decode(value)
  ).join("");
  assert.ok(!stored.includes("Secret tea"));
  assert.ok((await machine.keys("poll")).length > 0);
  const again = await machine.restarted();
  assert.equal((await again.call("poll", "create", "Again?\nyes\nno")).refused, null);
  await again.stop();
});

Deno.test("an app whose state could not be read runs when it can be", async () => {
  await using first = await Machine.start();
  await first.install(bundles.counter);
  await first.create("counter");
  const { store } = first;
  const scan = store.scan.bind(store);
  store.scan = (prefix, ...more) => {
    if (!prefix.includes("snapshot/newest")) return scan(prefix, ...more);
    throw new RealmError("failed", "Cannot read the store: the disk is broken");
  };
  const again = await first.restarted();
  try {
    const { state, why } = again.status("counter");
    assert.deepEqual([state, why], ["stopped", "Cannot read the store: the disk is broken"]);
    store.scan = scan;
    await again.host.api.changed({});
    assert.equal(again.status("counter").state, "running");
    assert.equal((await again.call("counter", "add", "5")).events[0]!.verdict, "accepted");
  } finally {
    await again.stop();
  }
});

Deno.test("a topic that cannot be opened leaves no Worker", async () => {
  await using first = await Machine.start();
  await first.install(bundles.counter);
  await first.create("counter");
  const [topic] = first.host.topics;
  addOnes(topic!, 1_200);
  await first.stop();
  const write = first.store.write.bind(first.store);
  first.store.write = () => {
    throw new RealmError("failed", "Cannot write the store: the disk is full");
  };
  const running = new Set<Worker>();
  let made = 0;
  const { Worker } = globalThis;
  globalThis.Worker = class extends Worker {
    constructor(...init: ConstructorParameters<typeof Worker>) {
      super(...init);
      running.add(this);
      made++;
    }
    override terminate(): void {
      super.terminate();
      running.delete(this);
    }
  };
  try {
    const again = await Machine.start(undefined, first);
    assert.match(again.notices.join(), /Cannot open topic .*: the disk is full/);
    assert.deepEqual([made, running.size], [1, 0]);
    await again.stop();
  } finally {
    globalThis.Worker = Worker;
    first.store.write = write;
  }
});
