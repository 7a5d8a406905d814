import assert from "node:assert/strict";
import { fixtureBundle, Machine } from "./apps_fake.ts";
import { until } from "../../tests/until.ts";
import { formatPublicKey } from "../kernel/key.ts";
import { MemoryHub } from "../net/memory_network.ts";

const poll = await fixtureBundle("poll");

const of = (machine: Machine) => machine.status("ours");
const logOf = (machine: Machine) => machine.host.topics[0]!.log;
const remove = (machine: Machine, key: string) => machine.host.api.remove({ topic: "ours", key });
const agree = (a: Machine, b: Machine) => of(a).heads.join() === of(b).heads.join();

/** To whom what is written next can be read, as far as a machine knows. */
function readers(machine: Machine): string[] {
  const { membership, topic } = logOf(machine);
  return membership!.newestEpoch(topic!.heads)!.sealed.map(({ key }) => formatPublicKey(key));
}

/** The creator's machine, with an encrypted topic, and one for each of these roles. */
async function start(
  hub: MemoryHub,
  ...roles: ("admin" | "member")[]
): Promise<[Machine, ...Machine[]]> {
  const ann = await Machine.start(hub);
  await ann.install(poll);
  await ann.create("poll", { name: "ours", encrypted: true });
  const others: Machine[] = [];
  for (const role of roles) {
    const other = await Machine.start(hub);
    await other.install(poll);
    await other.join(await ann.invite("ours", role), "ours");
    await other.dial(ann);
    others.push(other);
  }
  const all = 2 * (1 + roles.length); // each with its behavior
  await until("all take part", () => of(ann).members.length === all);
  await until("they agree", () => others.every((other) => agree(ann, other)));
  return [ann, ...others];
}

Deno.test("who was removed beside another removal reads on no more once it is removed again", async () => {
  const hub = new MemoryHub();
  const [ann, ben, cem, dan] = await start(hub, "admin", "member", "member");
  const [cemKey, danKey] = [of(cem!).key, of(dan!).key];
  for (const machine of [cem!, dan!, ann]) await machine.stop();
  // Apart from ann, who removes cem, ben writes something and removes dan: his epoch is the later.
  await ben!.call("ours", "create", "Tea?\nyes\nno");
  await remove(ben!, danKey);
  await ben!.stop();
  await using later = await Machine.start(hub, ann);
  const first = await remove(later, cemKey);
  assert.ok(!readers(later).includes(cemKey));
  await using other = await Machine.start(hub, ben);
  await other.dial(later);
  const isGone = () => !of(later).members.some(({ key }) => key === danKey);
  await until("both have all", () => isGone() && agree(later, other));
  assert.ok(readers(later).includes(cemKey));
  const { events } = of(later);
  assert.equal((await remove(later, cemKey)).already, undefined);
  assert.equal(of(later).events, events + 1, "the epoch alone");
  assert.deepEqual(readers(later).filter((key) => key === cemKey || key === danKey), []);
  assert.deepEqual(await remove(later, cemKey), { event: first.event, already: true });
  await until("both have the epoch", () => agree(later, other));
  assert.ok(!readers(other).includes(cemKey));
  for (const machine of [cem!, dan!]) await machine[Symbol.asyncDispose]();
});

Deno.test("who lacks the key of the newest epoch removes nobody, rather than half", async () => {
  const [ann, ben] = await start(new MemoryHub(), "member");
  const { keys } = logOf(ann);
  const { key } = of(ben!);
  const { events } = of(ann);
  const get = keys.get;
  keys.get = () => undefined;
  await assert.rejects(async () => await remove(ann, key), {
    code: "not-found",
    message: /Cannot read the key of epoch 1/,
  });
  keys.get = get;
  assert.equal(of(ann).events, events);
  assert.equal((await remove(ann, key)).already, undefined);
  assert.ok(!readers(ann).includes(key));
  for (const machine of [ann, ben!]) await machine[Symbol.asyncDispose]();
});
