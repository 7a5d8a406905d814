import assert from "node:assert/strict";
import type { SignedEvent } from "../kernel/event.ts";
import type { ControlEvent } from "./control_event.ts";
import type { RealmLog } from "./realm_log.ts";
import {
  allOf,
  exchange,
  heir,
  manifestOf,
  nodes,
  openLog,
  operator,
  otherHeir,
  otherOperator,
  owner,
  type Person,
  proposed,
  recovery,
  signed,
  summary,
} from "./realm_log_fake.ts";
import { viewDigest } from "./realm_view.ts";

const [one, two, three] = nodes;
const approve = (node: Person, name: string): ControlEvent => ({
  kind: "approve",
  key: node.key,
  name,
});
const restart: ControlEvent = { kind: "restart", component: "auth", nodes: [] };
const scale = (replicas: number | null, node: string | null = null): ControlEvent => ({
  kind: "scale",
  component: "auth",
  replicas,
  node,
});
const drain = (drained: boolean, node = "bm-01"): ControlEvent => ({
  kind: "drain",
  node,
  drained,
});
const revoke = ({ key }: Person, last: SignedEvent | null): ControlEvent => ({
  kind: "revoke",
  key,
  last: last?.id ?? null,
});
const succession = (to: Person, last: SignedEvent | null): ControlEvent => ({
  kind: "succession",
  owner: to.key,
  last: last?.id ?? null,
});
const exec = (node: string): ControlEvent => ({
  kind: "exec",
  node,
  command: ["uptime"],
  nonce: new Uint8Array(16),
  expiresAtMs: 9,
});

/** A log with all that another one keeps. */
function copyOf(log: RealmLog): RealmLog {
  const copy = openLog();
  copy.offer(allOf(log));
  return copy;
}

const names = (log: RealmLog) => [...log.view!.nodes.values()].map(({ name }) => name).sort();
const outcomes = (log: RealmLog) =>
  log.view!.history.map(({ version, outcome }) => `${version} ${outcome}`);
const kinds = (log: RealmLog) => log.view!.alarms.map(({ kind }) => kind);

Deno.test("a node is in the realm from its approval to its revocation, which is for good", () => {
  const log = openLog();
  log.append(approve(one, "bm-01"), owner);
  log.append(approve(two, "bm-02"), owner);
  assert.deepEqual(names(log), ["bm-01", "bm-02"]);
  log.append(approve(two, "bm-03"), owner); // another name for the same key
  assert.deepEqual(names(log), ["bm-01", "bm-03"]);
  log.append(revoke(two, null), owner);
  assert.deepEqual([names(log), log.view!.revoked], [["bm-01"], [two.key]]);
  log.append(approve(two, "bm-01"), owner); // also not in place of another
  assert.deepEqual([...log.view!.nodes.keys()], [one.key]);
  assert.deepEqual(log.view!.alarms, []);
});

Deno.test("a name goes to the key approved last, with an alarm until the other key is revoked", () => {
  const log = openLog();
  log.append(approve(one, "bm-01"), owner);
  const event = log.append(approve(two, "bm-01"), owner);
  assert.deepEqual([...log.view!.nodes.keys()], [two.key]);
  assert.deepEqual(log.view!.alarms, [
    { kind: "key-changed", name: "bm-01", from: one.key, to: two.key, event: event.id.toString() },
  ]);
  log.append(revoke(one, null), owner);
  assert.deepEqual(log.view!.alarms, []);
});

Deno.test("a node is approved since the version in force when it got its name", async () => {
  const log = openLog();
  const since = () => [...log.view!.nodes.values()].map(({ name, since }) => `${name} ${since}`);
  log.append(approve(one, "bm-01"), owner);
  log.append(await manifestOf(owner, 2), owner);
  log.append(approve(one, "bm-01"), owner); // once more
  log.append(approve(two, "bm-02"), owner);
  assert.deepEqual(since().sort(), ["bm-01 0", "bm-02 2"]);
  log.append(await manifestOf(owner, 3), owner);
  log.append(approve(two, "bm-03"), owner);
  assert.deepEqual(since().sort(), ["bm-01 0", "bm-03 3"], "what it was called is forgotten");
});

Deno.test("a manifest is in force when its version is above the one before", async () => {
  const log = openLog();
  const first = log.append(await manifestOf(owner, 2), owner);
  assert.equal(log.view!.inForce!.event, first.id.toString());
  log.append(await manifestOf(owner, 2, { memory: 32 }), owner);
  log.append(await manifestOf(owner, 1), owner);
  log.append(await manifestOf(owner, 7), owner);
  assert.deepEqual(outcomes(log), ["2 applied", "2 stale", "1 stale", "7 applied"]);
  assert.equal(log.view!.inForce!.version, 7);
  assert.equal(log.versionMax, 7);
  assert.match(log.view!.history[1]!.why!, /version is 2, wanted more than 2/);
  assert.equal(log.manifest()!.signature.version, 7);
  assert.ok(log.manifest()!.manifest.components.has("auth"));
  assert.equal(log.manifest(), log.manifest());
});

Deno.test("a manifest that is not valid, or signed by another, is kept and has no effect", async () => {
  const log = openLog();
  const { signature } = await manifestOf(owner, 1);
  const other = await manifestOf(owner, 1, { memory: 32 });
  log.append({ ...other, signature }, owner);
  log.append(await manifestOf(heir, 1), owner);
  assert.deepEqual(outcomes(log), ["1 refused", "1 refused"]);
  assert.match(log.view!.history[0]!.why!, /its bytes have sha256/);
  assert.match(log.view!.history[1]!.why!, /signed by/);
  assert.equal(log.view!.inForce, undefined);
  assert.equal(log.versionMax, 0);
});

Deno.test("two laptops that apply at once: neither counts, until a later manifest has both", async () => {
  const laptop = openLog();
  laptop.append(await manifestOf(owner, 1), owner);
  const other = copyOf(laptop);
  laptop.append(await manifestOf(owner, 2), owner);
  other.append(await manifestOf(owner, 2, { memory: 32 }), owner);
  other.append(approve(one, "bm-01"), owner);
  exchange(laptop, other);
  assert.deepEqual(summary(laptop), summary(other));
  assert.equal(laptop.view!.inForce!.version, 1);
  assert.deepEqual(outcomes(laptop), ["1 applied", "2 conflict", "2 conflict"]);
  assert.deepEqual([kinds(laptop), names(laptop)], [["conflict", "equivocation"], []]);
  laptop.append(await manifestOf(owner, 3), owner);
  assert.deepEqual(outcomes(laptop), ["1 applied", "2 applied", "2 stale", "3 applied"]);
  assert.deepEqual([kinds(laptop), names(laptop)], [[], ["bm-01"]]);
  exchange(laptop, other);
  assert.equal(viewDigest(laptop.view!), viewDigest(other.view!));
});

/** Without what names their order. */
const overridesOf = (log: RealmLog) => {
  const { basis: _, ...overrides } = log.view!.overrides;
  return overrides;
};

Deno.test("every drain and scale gives overrides another basis, which never comes back", async () => {
  const log = openLog();
  log.append(await manifestOf(owner, 1, { operators: [operator] }), owner);
  const bases: (string | undefined)[] = [log.view!.overrides.basis];
  for (const said of [drain(true), drain(false), drain(true), scale(2), scale(null), restart]) {
    log.append(said, owner);
    bases.push(log.view!.overrides.basis);
  }
  assert.equal(bases[0], undefined);
  assert.equal(new Set(bases).size, 6, "restarts are in the revisions of what they restart");
  assert.equal(bases.at(-1), bases.at(-2));
  assert.equal(copyOf(log).view!.overrides.basis, bases.at(-1));
});

Deno.test("overrides are the owner's and those of operators of the manifest in force", async () => {
  const log = openLog();
  log.append(await manifestOf(owner, 1, { operators: [operator] }), owner);
  log.append(restart, operator);
  log.append(restart, owner);
  log.append({ kind: "restart", component: "auth", nodes: ["bm-02"] }, operator);
  log.append(scale(3), operator);
  log.append(scale(1, "bm-01"), owner);
  log.append(drain(true), operator);
  log.append({ kind: "publish", digest: "ab".repeat(32), bytes: 4, name: "auth" }, operator);
  assert.deepEqual(log.view!.operators, [operator.key]);
  assert.deepEqual(overridesOf(log), {
    restarts: [{ component: "auth", count: 2 }, { component: "auth", node: "bm-02", count: 1 }],
    scales: [{ component: "auth", replicas: 3 }, { component: "auth", node: "bm-01", replicas: 1 }],
    drained: ["bm-01"],
  });
  assert.equal(log.view!.published.get("ab".repeat(32))!.author, operator.key);
  log.append(scale(null), owner);
  log.append(drain(false), owner);
  assert.deepEqual(log.view!.overrides.scales, [{ component: "auth", node: "bm-01", replicas: 1 }]);
  assert.deepEqual(log.view!.overrides.drained, []);
  // What the manifest in force does not have cannot be changed.
  log.append({ ...scale(2), component: "orders" } as ControlEvent, owner);
  log.append(scale(2, "bm-09"), owner);
  log.append({ kind: "restart", component: "auth", nodes: ["bm-09"] }, owner);
  log.append(drain(true, "bm-09"), owner);
  assert.equal(log.view!.overrides.scales.length, 1);
  assert.equal(log.view!.overrides.restarts.length, 2);
  assert.deepEqual(log.view!.overrides.drained, []);
});

Deno.test("an apply that touches a component ends its overrides, and those of nodes that go", async () => {
  const components = ["auth", "orders"];
  const log = openLog();
  log.append(await manifestOf(owner, 1, { components }), owner);
  log.append(scale(3), owner);
  log.append({ ...scale(2), component: "orders" } as ControlEvent, owner);
  log.append({ kind: "restart", component: "orders", nodes: ["bm-01", "bm-02"] }, owner);
  log.append(drain(true, "bm-01"), owner);
  log.append(drain(true, "bm-02"), owner);
  log.append(await manifestOf(owner, 2, { components }), owner);
  assert.equal(log.view!.overrides.scales.length, 2); // the same components
  log.append(await manifestOf(owner, 3, { components: ["orders"], names: ["bm-01"] }), owner);
  assert.deepEqual(overridesOf(log), {
    restarts: [{ component: "orders", node: "bm-01", count: 1 }],
    scales: [{ component: "orders", replicas: 2 }],
    drained: ["bm-01"],
  });
  log.append(await manifestOf(owner, 4, { components: ["orders"], memory: 32 }), owner);
  assert.deepEqual(overridesOf(log), { restarts: [], scales: [], drained: ["bm-01"] });
});

Deno.test("an operator has a say where the manifest in force names it, and nowhere else", async () => {
  const log = openLog();
  log.append(await manifestOf(owner, 1, { operators: [operator, otherOperator] }), owner);
  const late = copyOf(log);
  log.append(await manifestOf(owner, 2, { operators: [otherOperator] }), owner);
  log.append(restart, operator); // kept, since it once had a say, and without effect
  assert.deepEqual(log.view!.overrides.restarts, []);
  late.append(restart, operator);
  late.append(restart, operator);
  exchange(log, late);
  assert.deepEqual(summary(log), summary(late));
  log.append(restart, otherOperator);
  assert.equal(log.view!.overrides.restarts.length, 1);
  log.append(revoke(otherOperator, null), owner);
  assert.deepEqual(log.view!.operators, []);
  assert.throws(() => log.append(restart, otherOperator), /has no say/);
});

Deno.test("an operator whose say is learnt late is heard as if it had been known", async () => {
  const log = openLog();
  log.append(await manifestOf(owner, 1, { operators: [otherOperator] }), owner);
  const late = copyOf(log);
  const named = late.append(
    await manifestOf(owner, 2, { operators: [operator, otherOperator] }),
    owner,
  );
  // Its events wait; another operator's has them in its past, so they come in and are void.
  let place = log.placeFor(operator.publicKey);
  const early = ["bm-01", "bm-02", "bm-01"].map((node) => {
    const event = signed(operator, place, drain(true, node));
    const at = { id: event.id, lamport: event.event.lamport };
    place = { ...place, heads: [at], previous: { id: event.id, seq: event.event.seq } };
    return event;
  });
  const needs = signed(otherOperator, { ...place, previous: undefined }, restart);
  assert.equal(log.offer([...early, needs]).accepted.length, 4);
  assert.deepEqual(log.view!.overrides.drained, []);
  log.offer([named]);
  assert.deepEqual(log.view!.overrides.drained, ["bm-01", "bm-02"]);
  late.offer([...early, needs]);
  assert.deepEqual(summary(late), summary(log));
});

Deno.test("a revocation leaves what it names, whatever a node learns first", async () => {
  const log = openLog();
  log.append(await manifestOf(owner, 1, { operators: [operator] }), owner);
  const good = log.append(scale(2), operator);
  const thief = copyOf(log);
  thief.append(scale(9), operator);
  log.append(drain(true), operator);
  const last = log.append(revoke(operator, good), owner);
  assert.deepEqual(overridesOf(log), {
    restarts: [],
    scales: [{ component: "auth", replicas: 2 }],
    drained: [],
  });
  const heads = log.topic!.heads.map(({ id }) => id.toString());
  assert.deepEqual(heads, [last.id.toString()]);
  // The revocation comes last to one, and first to the other.
  const learnsFirst = copyOf(log);
  learnsFirst.offer(allOf(thief));
  exchange(log, thief);
  for (const each of [thief, learnsFirst]) assert.deepEqual(summary(each), summary(log));
  // A second one takes more away, also one that comes at the same time.
  log.append(revoke(operator, null), owner);
  assert.deepEqual(log.view!.overrides.scales, []);
});

Deno.test("a revoked node keeps the name that it had last", () => {
  const log = openLog();
  log.append(approve(one, "bm-01"), owner);
  log.append(approve(one, "bm-09"), owner);
  assert.equal(log.view!.formerNames.size, 0);
  log.append(revoke(one, null), owner);
  log.append(revoke(operator, null), owner);
  assert.deepEqual([...log.view!.formerNames.values()], [{ key: one.key, name: "bm-09" }]);
});

Deno.test("the node that was asked tells how a command ended, once", () => {
  const log = openLog();
  log.append(approve(one, "bm-01"), owner);
  log.append(approve(two, "bm-02"), owner);
  const asked = log.append(exec("bm-01"), owner);
  log.append(exec("bm-09"), owner); // nobody is called so
  const answer = (by: Person, status: number) =>
    log.append({ kind: "executed", exec: asked.id, status }, by);
  assert.throws(() => answer(two, 5), /is for bm-01, and its author was never called so/);
  assert.deepEqual(log.view!.execs.map(({ node, key, status }) => [node, key, status]), [
    ["bm-01", one.key, undefined],
  ]);
  log.append(approve(three, "bm-01"), owner); // the name is another's now
  answer(three, 3); // no lie about its name, and no effect
  answer(one, 0);
  assert.throws(() => answer(one, 1), /answered by its author already/);
  assert.equal(log.view!.execs[0]!.status, 0);
});

Deno.test("the owner sets and takes away secrets, and nobody else", () => {
  const log = openLog();
  log.append(approve(one, "bm-01"), owner);
  const set = (name: string, byte: number, by = owner) => {
    const sealed = new Uint8Array([byte]);
    return log.append({ kind: "secret", name, nodes: [one.key], sealed }, by);
  };
  const values = () => [...log.view!.secrets.values()].map(({ name, sealed }) => [name, sealed[0]]);
  set("b", 1);
  const last = set("b", 2);
  set("a", 3);
  assert.deepEqual(values(), [["a", 3], ["b", 2]]);
  const before = values();
  try {
    set("b", 9, one);
  } catch { /* it may be refused at once */ }
  assert.deepEqual(values(), before);
  assert.deepEqual(log.view!.secrets.get("b")!.event, last.id.toString());
  log.append({ kind: "secret", name: "a", nodes: [], sealed: null }, owner);
  assert.deepEqual(values(), [["b", 2]]);
});

Deno.test("the recovery key replaces a stolen owner key, and what the thief did is void", async () => {
  const log = openLog();
  log.append(approve(one, "bm-01"), owner);
  const good = log.append(await manifestOf(owner, 1), owner);
  const thief = copyOf(log);
  thief.append(revoke(one, null), owner);
  thief.append(approve(two, "evil"), owner);
  thief.append(await manifestOf(owner, 9), owner);
  exchange(log, thief);
  assert.deepEqual([names(log), log.view!.inForce!.version], [["evil"], 9]);
  log.append(succession(heir, good), recovery);
  assert.deepEqual(log.view!.owner, heir.key);
  assert.deepEqual(log.view!.owners, [owner.key, heir.key]);
  assert.deepEqual(names(log), ["bm-01"]);
  assert.deepEqual(log.view!.inForce!.version, 1);
  assert.deepEqual(outcomes(log), ["1 applied", "9 void"]); // kept: the succession knew of it
  assert.equal(log.versionMax, 9);
  assert.throws(() => log.append(approve(two, "evil"), owner), /has no say/);
  // The thief goes on, and forks for ever: nobody takes it.
  for (let i = 0; i < 5; i++) thief.append(approve(three, `evil-${i}`), owner);
  const event = proposed(openLog(), owner, approve(three, "evil"));
  assert.equal(log.offer([event]).refused[0]!.code, "void");
  log.offer(allOf(thief));
  thief.offer(allOf(log));
  assert.deepEqual(summary(thief), summary(log));
  assert.deepEqual(names(thief), ["bm-01"]);
  log.append(await manifestOf(heir, 10), heir);
  assert.equal(log.view!.inForce!.version, 10);
});

Deno.test("what is void is in the history when a later event needs it", async () => {
  const log = openLog();
  const good = log.append(await manifestOf(owner, 1, { operators: [operator] }), owner);
  const rescue = copyOf(log);
  log.append(await manifestOf(owner, 9), owner);
  const needs = proposed(log, operator, drain(true));
  log.offer([rescue.append(succession(heir, good), recovery)]);
  assert.deepEqual(outcomes(log), ["1 applied"]);
  log.offer([needs]);
  assert.deepEqual(outcomes(log), ["1 applied", "9 void"]);
  assert.deepEqual(summary(copyOf(log)), summary(log));
});

Deno.test("a thief that forks for ever stops the owner, and a succession ends it", async () => {
  const log = openLog();
  const good = log.append(await manifestOf(owner, 1), owner);
  const thief = copyOf(log);
  for (let i = 2; i < 6; i++) {
    const fork = copyOf(thief);
    fork.append(await manifestOf(owner, i, { memory: i }), owner);
    log.append(await manifestOf(owner, i + 10), owner);
    exchange(log, fork);
    assert.deepEqual([kinds(log), log.view!.inForce!.version], [["conflict", "equivocation"], 1]);
    // The owner joins, the thief has another branch.
  }
  log.append(succession(heir, good), recovery);
  log.append(await manifestOf(heir, 2), heir);
  assert.deepEqual([kinds(log), log.view!.inForce!.version], [[], 2]);
});

Deno.test("two successions at once: nobody is owner until the recovery key decides", async () => {
  const log = openLog();
  log.append(approve(one, "bm-01"), owner);
  const other = copyOf(log);
  const last = log.append(approve(two, "bm-02"), owner);
  log.append(succession(heir, last), recovery);
  log.append(approve(three, "bm-03"), heir);
  other.append(succession(otherHeir, null), recovery);
  const theirs = other.append(await manifestOf(otherHeir, 1), otherHeir);
  exchange(log, other);
  assert.deepEqual(summary(log), summary(other));
  assert.equal(log.view!.owner, owner.key);
  assert.ok(log.view!.revoked.includes(owner.key));
  assert.throws(() => log.append(approve(one, "x"), owner), /has no say/);
  assert.deepEqual([kinds(log), names(log), log.view!.inForce], [["conflict"], [], undefined]);
  log.append(succession(three, theirs), recovery); // of two owners that it replaces, one's last
  assert.deepEqual([kinds(log), log.view!.owner], [[], three.key]);
  assert.equal(log.view!.inForce!.version, 1);
  assert.deepEqual(names(log), []); // the smallest set of what each left
  log.append(approve(one, "bm-01"), three);
  assert.deepEqual(names(log), ["bm-01"]);
  assert.throws(() => log.append(approve(two, "x"), heir), /has no say/);
});

Deno.test("an owner is one for what has the succession in its past, and cannot be revoked", async () => {
  const log = openLog();
  const good = log.append(approve(one, "bm-01"), owner);
  const before = copyOf(log);
  log.append(revoke(heir, null), owner); // whoever it will be
  log.append(succession(heir, good), recovery);
  log.append(revoke(owner, null), heir);
  log.append(approve(two, "bm-02"), heir);
  assert.deepEqual([names(log), log.view!.revoked], [["bm-01", "bm-02"], [owner.key]]);
  // Written before the heir was one, it sorts last and is nothing.
  for (let i = 0; i < 9; i++) before.append(approve(one, "bm-01"), owner);
  const early = proposed(before, heir, approve(three, "bm-03"));
  log.offer([...allOf(before), early]);
  assert.deepEqual([names(log), log.topic!.isKept(log.topic!.get(early.id)!)], [
    ["bm-01", "bm-02"],
    false,
  ]);
  assert.deepEqual(summary(copyOf(log)), summary(log));
});

Deno.test("a fork does not give back what a revocation took", async () => {
  const log = openLog();
  log.append(await manifestOf(owner, 1, { operators: [operator] }), owner);
  log.append(approve(one, "bm-01"), owner);
  const other = copyOf(log);
  log.append(revoke(operator, null), owner);
  log.append(revoke(one, null), owner);
  other.append(approve(two, "bm-02"), owner);
  exchange(log, other);
  assert.deepEqual(kinds(log), ["conflict"]);
  assert.deepEqual([names(log), log.view!.operators], [[], []]);
  assert.throws(() => log.append(restart, operator), /has no say/);
});

Deno.test("viewDigest() differs where the view does, and views are of plain values", async () => {
  const log = openLog();
  const digests = new Set([viewDigest(log.view!)]);
  const same = () => {
    assert.equal(log.view, log.view);
    digests.add(viewDigest(log.view!));
  };
  const said: [ControlEvent, Person][] = [
    [approve(one, "bm-01"), owner],
    [await manifestOf(owner, 1, { operators: [operator] }), owner],
    [restart, operator],
    [scale(2), operator],
    [drain(true), operator],
    [{ kind: "publish", digest: "00".repeat(32), bytes: 1, name: "x" }, owner],
    [exec("bm-01"), owner],
    [revoke(one, null), owner],
    [succession(heir, null), recovery],
  ];
  for (const [event, by] of said) {
    const before = log.view!;
    const digest = viewDigest(before);
    log.append(event, by);
    same();
    assert.equal(viewDigest(structuredClone(before)), digest); // it was not changed
  }
  assert.equal(digests.size, said.length + 1);
});
