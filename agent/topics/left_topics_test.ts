import assert from "node:assert/strict";
import { fixtureBundle, Machine } from "./apps_fake.ts";
import { until } from "../../tests/until.ts";
import type { RealmError } from "../kernel/error.ts";
import { parsePublicKey } from "../kernel/key.ts";
import type { StoreOp } from "../kernel/ports.ts";
import { MemoryHub } from "../net/memory_network.ts";

const poll = await fixtureBundle("poll");

const of = (machine: Machine) => machine.status("ours");
const isMember = (machine: Machine, key: string) =>
  of(machine).members.some((member) => member.key === key);
const ask = (machine: Machine, question: string) =>
  machine.call("ours", "create", `${question}?\nyes\nno`);

/** Who wrote what was accepted. */
async function accepted(machine: Machine): Promise<string[]> {
  const { events } = await machine.host.api.log({ topic: "ours", from: 0, limit: 100 });
  return events.filter(({ verdict }) => verdict === "accepted").map(({ author }) => author);
}

/** Whether machines have come to the same, of which all counts. */
function agree(...machines: Machine[]): boolean {
  const all = machines.map(of);
  return all.every(({ settled, digest, heads, alarms }) =>
    settled && digest === all[0]!.digest && heads.join() === all[0]!.heads.join() &&
    alarms.length === 0
  );
}

/** Ann's topic, with ben and cem, of whom ann has heard everything. */
async function three(hub: MemoryHub): Promise<[ann: Machine, ben: Machine, cem: Machine]> {
  const ann = await Machine.start(hub);
  const ben = await Machine.start(hub);
  const cem = await Machine.start(hub);
  for (const machine of [ann, ben, cem]) await machine.install(poll);
  await ann.create("poll", { name: "ours", encrypted: true });
  for (const machine of [ben, cem]) {
    await machine.join(await ann.invite("ours"), "ours");
    await machine.dial(ann);
  }
  await until("all take part, and their behaviors", () => of(ann).members.length === 6);
  await until("they agree", () => agree(ann, ben, cem));
  return [ann, ben, cem];
}

/** Ann is away, Cem too unless he hears of it, and Ben, whose key it is, asks something. */
async function withoutAnn(hub: MemoryHub, isHeard: boolean) {
  const [ann, ben, cem] = await three(hub);
  const { key } = of(ben);
  await ann.stop();
  if (isHeard) await cem.dial(ben);
  else await cem.stop();
  await ask(ben, "Tea");
  return { ann, ben, cem, key };
}

for (
  const [name, isHeard] of [
    ["who leaves and comes back goes on from what it wrote, which only another heard", true],
    ["who leaves and comes back goes on from what it wrote, which nobody heard", false],
  ] as const
) {
  Deno.test(name, async () => {
    const hub = new MemoryHub();
    const { ann, ben, cem, key } = await withoutAnn(hub, isHeard);
    ben.sharing.toldMs = 120_000; // a busy machine takes its time
    if (isHeard) {
      await until("cem has it", () => of(cem).heads.join() === of(ben).heads.join());
    }
    const { told, kept } = await ben.host.api.leave({ topic: "ours", forget: false });
    assert.equal(told, isHeard ? 1 : 0);
    assert.ok(kept! > 6);
    assert.deepEqual(ben.host.statuses(), []);
    if (isHeard) {
      await until("cem hears that ben left", () => !isMember(cem, key));
      await cem.stop();
    }

    await using later = await Machine.start(hub, ann);
    await using again = await ben.restarted();
    await again.join(await later.invite("ours"), "ours");
    await again.dial(later);
    await until("ben takes part", () => of(again).role === "member" && agree(again, later));
    await ask(again, "Coffee");
    await using last = await Machine.start(hub, cem);
    await last.dial(later);
    await last.dial(again);
    await until("all agree", () => agree(later, again, last));
    assert.equal(of(last).members.length, 6);
    assert.deepEqual(await accepted(last), [key, key]);
  });
}

for (
  const [name, hasLeft] of [
    ["who deletes a topic and comes back writes nothing before its last events are back", false],
    ["so does who left it before", true],
  ] as const
) {
  Deno.test(name, async () => {
    const hub = new MemoryHub();
    const { ann, ben, cem, key } = await withoutAnn(hub, true);
    if (!hasLeft) {
      await until("cem has it", () => of(cem).heads.join() === of(ben).heads.join());
    } else {
      await ben.host.api.leave({ topic: "ours", forget: false });
      await until("cem hears of it", () => !isMember(cem, key));
    }
    const written = cem.host.topics[0]!.log.topic!.newestOf(parsePublicKey(key))!.id.toString();
    await ben.host.api.leave({ topic: "ours", forget: true });
    await cem.stop();

    await using later = await Machine.start(hub, ann);
    await using again = await ben.restarted();
    await again.join(await later.invite("ours"), "ours");
    await again.dial(later);
    const isTold = () => of(again).alarms.some((each) => each.includes(written));
    await until("he is told what he waits for", isTold);
    assert.equal(of(again).alarms.length, 1);
    await assert.rejects(ask(again, "Coffee"), {
      code: "refused",
      message: /did not come back yet/,
    });
    const leave = async () => await again.host.api.leave({ topic: "ours", forget: false });
    await assert.rejects(leave, { code: "refused" });
    await using last = await Machine.start(hub, cem);
    await last.dial(later);
    await until("all agree", () => isMember(last, key) && agree(later, again, last));
    assert.equal(again.host.topics[0]!.record.isNew, undefined);
    await ask(again, "Coffee");
    await until("all agree again", () => agree(later, again, last));
    assert.deepEqual(await accepted(last), [key, key]);
  });
}

Deno.test("who deletes what nobody has goes on without it, when it deletes the topic again", async () => {
  const hub = new MemoryHub();
  const [ann, ben, cem] = await three(hub);
  await cem.stop();
  await ann.stop();
  await ask(ben, "Tea");
  await ben.host.api.leave({ topic: "ours", forget: true });
  await using later = await Machine.start(hub, ann);
  await ben.join(await later.invite("ours"), "ours");
  // Of which nothing is here yet it is not known what nobody has.
  await ben.host.api.leave({ topic: "ours", forget: true });
  await ben.join(await later.invite("ours"), "ours");
  await ben.dial(later);
  await until("he waits", () => of(ben).alarms.some((each) => /leave --forget/.test(each)));
  await ben.host.api.leave({ topic: "ours", forget: true });
  await ben.join(await later.invite("ours"), "ours");
  await until("he takes part", () => of(ben).role === "member" && agree(ben, later));
  await ask(ben, "Coffee");
  await until("both agree", () => agree(ben, later));
  await ben[Symbol.asyncDispose]();
  await cem[Symbol.asyncDispose]();
});

Deno.test("of a topic that was left the events can be deleted later, by its name", async () => {
  const hub = new MemoryHub();
  const [ann, ben, cem] = await three(hub);
  const { topic } = of(ben);
  const leave = async (forget: boolean) => await ben.host.api.leave({ topic: "ours", forget });
  const kept = () => [...ben.store.keys(`app-topic/${topic}/`)].length;
  await leave(false);
  assert.ok(kept() > 0);
  await assert.rejects(leave(false), { code: "not-found" });
  assert.deepEqual(await leave(true), { topic });
  assert.equal(kept(), 0);
  await assert.rejects(leave(true), { code: "not-found" });
  await ben.join(await ann.invite("ours"), "ours");
  await until("he takes part again", () => of(ben).role === "member" && agree(ann, ben, cem));
  for (const machine of [ann, ben, cem]) await machine[Symbol.asyncDispose]();
});

Deno.test("who comes back by an invite that was closed before is told so", async () => {
  const hub = new MemoryHub();
  const [ann, ben, cem] = await three(hub);
  await ben.host.api.leave({ topic: "ours", forget: false });
  const ticket = await ann.invite("ours");
  const { invites } = ann.host.topics[0]!.log.view!;
  for (const { key } of invites) await ann.host.api.remove({ topic: "ours", key });
  await ben.join(ticket, "ours");
  const isTold = () => of(ben).alarms.some((each) => /the invite is closed/.test(each));
  await until("he is told", isTold);
  for (const machine of [ann, ben, cem]) await machine[Symbol.asyncDispose]();
});

Deno.test("a topic is left in one write, and where that fails it is there as before", async () => {
  const hub = new MemoryHub();
  const [ann, ben, cem] = await three(hub);
  const { topic } = of(ben);
  await until("he remembers who takes part", () => [...ben.store.keys("app-node/")].length > 0);
  const { store } = ben;
  const write = store.write.bind(store);
  const leave = async () => await ben.host.api.leave({ topic: "ours", forget: true });
  let writes = 0;
  store.write = () => {
    writes++;
    throw new Error("the disk is full");
  };
  await assert.rejects(leave, /the disk is full/);
  assert.equal(writes, 1);
  store.write = write;
  await ask(ben, "Tea");
  await until("all have it", () => agree(ann, ben, cem));
  // What came and is not stored yet goes with it.
  const [{ log, person } = assert.fail()] = ben.host.topics;
  log.append({ type: "create", payload: new Uint8Array(1) }, person);
  const written: StoreOp[][] = [];
  store.write = (ops) => {
    written.push([...ops]);
    write(ops);
  };
  await leave();
  store.write = write;
  assert.equal(written.length, 1);
  const stored = ["app-topic/", "app-node/"].flatMap((place) => [...store.keys(place)]);
  assert.deepEqual(stored, []);
  assert.deepEqual([...store.keys("app-left/")], [`app-left/${topic}`]);
  for (const machine of [ann, ben, cem]) await machine[Symbol.asyncDispose]();
});

Deno.test("events that a version of before left behind half deleted are deleted by their CID", async () => {
  await using ann = await Machine.start();
  await ann.install(poll);
  const { topic } = await ann.create("poll", { name: "ours" });
  await ask(ann, "Tea");
  ann.store.write([{ delete: `app-topic/${topic}/record` }]);
  await using again = await ann.restarted();
  const kept = () => [...again.store.keys(`app-topic/${topic}/`)].length;
  const forget = async (topic: string) => await again.host.api.leave({ topic, forget: true });
  assert.ok(kept() > 0);
  await assert.rejects(forget("ours"), { code: "not-found" });
  for (const text of [`${topic}/log`, topic.slice(0, -1), ""]) {
    await assert.rejects(forget(text), { code: "not-found" });
  }
  assert.ok(kept() > 0);
  assert.deepEqual(await forget(topic), { topic });
  assert.equal(kept(), 0);
});

Deno.test("of several topics of one name that were left each is deleted by its CID", async () => {
  const hub = new MemoryHub();
  await using ann = await Machine.start(hub);
  await using ben = await Machine.start(hub);
  for (const machine of [ann, ben]) await machine.install(poll);
  const left: string[] = [];
  for (const name of ["first", "second"]) {
    await ann.create("poll", { name });
    const { topic } = await ben.join(await ann.invite(name), "ours");
    if (left.length === 0) await ben.dial(ann);
    await until("he takes part", () => of(ben).role === "member");
    await ben.host.api.leave({ topic: "ours", forget: false });
    left.push(topic);
  }
  const forget = async (topic: string) => await ben.host.api.leave({ topic, forget: true });
  await assert.rejects(
    forget("ours"),
    (error: RealmError) =>
      error.code === "not-found" && /2 that were left have that name/.test(error.message) &&
      left.every((topic) => error.hint!.includes(topic)),
  );
  assert.deepEqual(await forget(left[0]!), { topic: left[0] });
  assert.deepEqual(await forget("ours"), { topic: left[1] });
});
