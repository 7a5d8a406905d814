import assert from "node:assert/strict";
import { fixtureBundle, Machine } from "./apps_fake.ts";
import { until } from "../../tests/until.ts";
import { parsePublicKey } from "../kernel/key.ts";
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

for (
  const [name, isHeard] of [
    ["who leaves and comes back goes on from what it wrote, which only another heard", true],
    ["who leaves and comes back goes on from what it wrote, which nobody heard", false],
  ] as const
) {
  Deno.test(name, async () => {
    const hub = new MemoryHub();
    const [ann, ben, cem] = await three(hub);
    const { key } = of(ben);
    await ann.stop();
    if (!isHeard) await cem.stop();
    else await cem.dial(ben);
    await ask(ben, "Tea");
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
    const [ann, ben, cem] = await three(hub);
    const { key } = of(ben);
    await ann.stop();
    await cem.dial(ben);
    await ask(ben, "Tea");
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
