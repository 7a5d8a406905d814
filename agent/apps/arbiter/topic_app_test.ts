import assert from "node:assert/strict";
import { CID } from "../../kernel/canonical.ts";
import { encodeSigned, type SignedEvent } from "../../kernel/event.ts";
import { type EventBatch, EventBatchWriter } from "../../kernel/event_batch.ts";
import { parsePublicKey } from "../../kernel/key.ts";
import { keyOf } from "../../kernel/topic.ts";
import type { SyncSigner } from "../../kernel/verify.ts";
import { fixtureApp } from "../app_fixture_fake.ts";
import type { Role } from "../bundle.ts";
import type { AppLog } from "../topic/app_log.ts";
import { ann, ben, createTopic, join, randomFrom, someCid, verify } from "../topic/topic_fake.ts";
import { nextEpoch } from "../topic/authoring.ts";
import { HandedLog } from "./handed_log.ts";
import { TopicApp } from "./topic_app.ts";
import type { BundleCode, TopicAppInit, TopicProgress } from "./topic_app_port.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (b: Uint8Array | undefined) => new TextDecoder().decode(b);
const ALL = ["clock", "crypto", "event", "identity", "log", "outbox", "params", "random"]
  .concat("state-read", "state-write", "ui");

async function bundleOf(app: string, roles: readonly Role[]): Promise<BundleCode> {
  const components = await fixtureApp(app);
  return {
    id: someCid("bundle").toString(),
    abi: 1,
    components: Object.fromEntries(roles.map((role) => [role, components.get(role)!])),
  };
}
const counter = await bundleOf("counter", ["state-apply", "state-propose", "interaction"]);
const errand = await bundleOf("errand", ["state-apply", "state-propose", "behavior"]);
const poll = await bundleOf("poll", ["state-apply", "state-propose", "interaction", "behavior"]);

function batchOf(events: readonly SignedEvent[]): EventBatch {
  const batch = new EventBatchWriter();
  for (const signed of events) batch.add(keyOf(signed.id), encodeSigned(signed));
  return batch.take();
}

/** An agent with one topic: its log, and the app beside it, fed by hand. */
class Desk {
  readonly progress: TopicProgress[] = [];
  readonly logged: string[] = [];
  /** What the behavior asked for, and how that is answered. */
  readonly requests: { readonly url: string; answer(status: number): void }[] = [];
  nowMs = 1_000_000;
  /** What passes whenever the app looks what time it is. */
  tickMs = 0;
  readonly timers = new Set<{ atMs: number; act: () => void }>();
  readonly app: TopicApp;

  constructor(
    readonly log: AppLog,
    init: Partial<TopicAppInit> = {},
    bot?: SyncSigner,
    handed?: HandedLog,
  ) {
    this.app = new TopicApp(
      {
        topic: log.topicId.toString(),
        person: ann.publicKey,
        behavior: bot?.publicKey,
        openers: [ann.opener],
        grants: ALL,
        ...init,
      },
      {
        progress: (progress) => void this.progress.push(progress),
        behaviorEvent: async (kind, payload) => {
          const signed = this.log.append({ type: text(kind), payload }, bot!);
          await this.hand([signed]);
          const [outcome] = await this.app.outcomes([signed.id.toString()]);
          return outcome!.verdict === "accepted"
            ? { tag: "ok", val: signed.id.multihash.digest }
            : { tag: "err", val: bytes(outcome!.reason ?? outcome!.verdict) };
        },
        request: ({ url }) =>
          new Promise((resolve) => {
            const answer = (status: number) =>
              resolve({ tag: "ok", val: { status, headers: [], body: new Uint8Array() } });
            this.requests.push({ url, answer });
          }),
        log: (profile, level, message) =>
          void this.logged.push(`${profile} ${level} ${text(message)}`),
      },
      {
        verify,
        nowMs: () => this.nowMs += this.tickMs,
        random: (length) => new Uint8Array(length),
        later: (ms, act) => {
          const timer = { atMs: this.nowMs + ms, act };
          this.timers.add(timer);
          return () => void this.timers.delete(timer);
        },
      },
      handed,
    );
  }

  /** Gives the app everything that is in the log. */
  static async open(
    log: AppLog,
    bundle: BundleCode,
    init: Partial<TopicAppInit> = {},
    bot?: SyncSigner,
  ): Promise<Desk> {
    const desk = new Desk(log, init, bot);
    const events = log.topic!.order().map((event) => log.read(event));
    await desk.hand(events);
    await desk.app.addBundle(bundle);
    return desk;
  }

  async hand(events: readonly SignedEvent[]): Promise<void> {
    this.app.add(batchOf(events));
    await this.app.changed();
  }

  /** Lets time pass: every timer that is due, and what comes of it. */
  async pass(ms: number): Promise<void> {
    const endMs = this.nowMs + ms;
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      const due = [...this.timers].filter(({ atMs }) => atMs <= endMs)
        .sort((a, b) => a.atMs - b.atMs)[0];
      if (due === undefined) break;
      this.timers.delete(due);
      this.nowMs = Math.max(this.nowMs, due.atMs);
      due.act();
    }
    this.nowMs = endMs;
  }

  /** Does what an intent wants; the outcomes. */
  async call(intent: string, input: string, by: SyncSigner = ann) {
    const proposed = await this.app.propose(bytes(intent), bytes(input));
    if (proposed.tag === "err") return text(proposed.val);
    const ids: string[] = [];
    for (const { kind, payload } of proposed.val) {
      const signed = this.log.append({ type: text(kind), payload }, by);
      await this.hand([signed]);
      ids.push(signed.id.toString());
    }
    return this.app.outcomes(ids);
  }

  entries(prefix = "", at?: string, limit = 100) {
    const found = this.app.entries({ prefix: bytes(prefix), after: undefined, at, limit });
    return found.entries.map(({ key, value }) => [text(key), value] as const);
  }
}

const total = (desk: Desk, at?: string) => {
  const entry = desk.entries("total", at)[0];
  return entry === undefined ? 0n : new DataView(entry[1].slice().buffer).getBigUint64(0);
};

Deno.test("an intent becomes events, and these a state; the state at each can be asked for", async () => {
  const desk = await Desk.open(createTopic(), counter);
  const first = await desk.call("add", "5");
  assert.ok(typeof first !== "string" && first.length === 1);
  assert.equal(first[0]!.verdict, "accepted");
  assert.ok(first[0]!.fuel! > 0 && !first[0]!.isFinal);
  const second = await desk.call("add", "7");
  assert.ok(typeof second !== "string");
  assert.equal(total(desk), 12n);
  assert.equal(total(desk, first[0]!.event), 5n);
  assert.equal(total(desk, desk.log.topicId.toString()), 0n);
  assert.match(`${await desk.call("add", "a lot")}`, /a number from 1/);
  const { events, total: count } = desk.app.ordered(0, 100);
  assert.equal(count, 2);
  assert.deepEqual(events.map(({ type, verdict }) => [type, verdict]), [
    ["add", "accepted"],
    ["add", "accepted"],
  ]);
  assert.deepEqual(events[1]!.parents, [first[0]!.event]);
  const proof = desk.app.verify(undefined);
  assert.deepEqual(proof.again, proof.digest);
  assert.equal(proof.events, 2);
  assert.deepEqual(
    desk.app.verify(first[0]!.event).digest,
    desk.app.digest(first[0]!.event).digest,
  );
  assert.notDeepEqual(desk.app.digest(first[0]!.event).digest, proof.digest);
  assert.throws(() => desk.app.digest("bafynothing"), /Cannot find event "bafynothing"/);
});

Deno.test("an event that the app rejects is told, by a dry run too", async () => {
  const desk = await Desk.open(createTopic(), counter);
  const bad = { kind: bytes("add"), payload: bytes("no number") };
  const tried = desk.app.dryRun(bad, { author: ann.publicKey, seq: 1, lamport: 1 });
  assert.equal(tried.verdict, "rejected");
  const signed = desk.log.append({ type: "add", payload: bad.payload }, ann);
  await desk.hand([signed]);
  const [outcome] = await desk.app.outcomes([signed.id.toString()]);
  assert.deepEqual({ ...outcome, event: "" }, { ...tried, event: "" });
  assert.equal(desk.entries().length, 0);
});

Deno.test("a checkpoint makes what came before it final", async () => {
  const desk = await Desk.open(createTopic(), counter);
  const made = await desk.call("add", "1") as { event: string }[];
  await desk.hand([desk.log.write({ kind: "checkpoint", digest: null }, ann)]);
  const [outcome] = await desk.app.outcomes([made[0]!.event]);
  assert.ok(outcome!.isFinal);
  // One that says which state there is has to be right.
  const { digest } = desk.app.digest(undefined);
  await desk.call("add", "2");
  await desk.hand([desk.log.write({ kind: "checkpoint", digest }, ann)]);
  assert.match(desk.progress.at(-1)!.checkpoint!, /of another state/);
  const right = desk.app.digest(undefined).digest;
  await desk.hand([desk.log.write({ kind: "checkpoint", digest: right }, ann)]);
  assert.equal(desk.progress.at(-1)!.checkpoint, undefined);
});

Deno.test("what waits for a bundle says so, and goes on when it comes", async () => {
  const log = createTopic();
  const desk = new Desk(log);
  await desk.hand(log.topic!.order().map((event) => log.read(event)));
  await desk.hand([log.append({ type: "add", payload: new Uint8Array(8).fill(0, 0, 7) }, ann)]);
  const { needs, digest, settled } = desk.progress.at(-1)!;
  assert.deepEqual(needs, { kind: "bundle", name: counter.id });
  assert.equal(digest, undefined);
  assert.ok(!settled);
  await assert.rejects(
    desk.app.propose(bytes("add"), bytes("1")),
    /bundle or its topic is not here/,
  );
  await desk.app.addBundle(counter);
  assert.equal(desk.progress.at(-1)!.needs, undefined);
  assert.ok(desk.progress.at(-1)!.settled);
});

Deno.test("encrypted payloads are applied where their keys are known", async () => {
  const log = createTopic({ isEncrypted: true });
  const desk = await Desk.open(log, counter);
  await desk.call("add", "4");
  await desk.hand([log.write(nextEpoch(log, randomFrom(3)), ann)]);
  await desk.call("add", "5");
  assert.equal(total(desk), 9n);
  const blind = await Desk.open(log, counter, { openers: [ben.opener], person: ben.publicKey });
  assert.deepEqual(blind.progress.at(-1)!.needs, { kind: "key", name: "1" });
});

Deno.test("a user interface draws the state and turns what a person does into intents", async () => {
  const desk = await Desk.open(createTopic(), poll);
  await desk.app.view("a", undefined);
  const { intents } = await desk.app.view("a", {
    tag: "submit",
    val: ["ask", "Tea?; yes; no"],
  });
  assert.deepEqual(intents.map(({ name, input }) => [text(name), text(input)]), [
    ["create", "Tea?\nyes\nno"],
  ]);
  await desk.call("create", "Tea?\nyes\nno");
  const { nodes } = await desk.app.view("a", undefined);
  assert.ok(nodes.some(({ text }) => text.startsWith("Tea?")));
  assert.ok(nodes.some(({ kind, text }) => kind === "button" && text === "yes: 0"));
  desk.app.closeView("a");
});

Deno.test("a behavior acts at its time, as its own key, and is told of events", async () => {
  const log = createTopic();
  await join(log, ben);
  // The bot is ben's key; it closes the polls that it made.
  const desk = await Desk.open(log, poll, {}, ben);
  const until = BigInt(desk.nowMs + 60_000);
  const proposed = await desk.app.propose(bytes("create-until"), bytes(`${until}\nTea?\nyes\nno`));
  assert.ok(proposed.tag === "ok");
  await desk.pass(1); // it started before there was a poll
  await desk.hand([log.append({ type: "create", payload: proposed.val[0]!.payload }, ben)]);
  await desk.pass(59_000);
  const closings = () => desk.app.ordered(0, 99).events.filter(({ type }) => type === "close");
  assert.equal(closings().length, 0);
  await desk.pass(2_000);
  assert.deepEqual(closings().map(({ verdict, author }) => [verdict, author]), [
    ["accepted", parsePublicKey(ben.key)],
  ]);
});

Deno.test("a grant that is taken back stops a behavior, and one that is given starts it", async () => {
  const log = createTopic();
  await join(log, ben);
  const desk = await Desk.open(log, poll, { grants: ["state-read", "state-write"] }, ben);
  await desk.pass(10);
  assert.match(desk.progress.at(-1)!.behavior!, /called now of clock, which is not granted/);
  await desk.app.setGrants(ALL);
  await desk.pass(5_000);
  assert.equal(desk.progress.at(-1)!.behavior, undefined);
});

/** An errand for a bot. */
const ask = (bot: SyncSigner, url: string) => ({
  type: "ask",
  payload: Uint8Array.of(...bot.publicKey, ...bytes(url)),
});
/** What the bot said, what became of that, and the last byte of it: of a status all that there is. */
const said = (desk: Desk) =>
  desk.app.ordered(0, 99).events.filter(({ type }) => type !== "ask" && !type.startsWith("realm/"))
    .map(({ type, verdict, payload }) => [type, verdict, payload!.at(-1)] as const);

Deno.test("a behavior goes on with its request when grants are told that are no news", async () => {
  const log = createTopic();
  await join(log, ben);
  const desk = await Desk.open(log, errand, {}, ben);
  await desk.hand([log.append(ask(ben, "https://errand.example/"), ann)]);
  await desk.pass(10);
  assert.deepEqual(desk.requests.map(({ url }) => url), ["https://errand.example/"]);
  await desk.app.setGrants(ALL);
  await desk.pass(10);
  desk.requests[0]!.answer(200);
  await desk.pass(10);
  assert.deepEqual(said(desk).slice(1), [["end", "accepted", 200]]);
  assert.equal(desk.requests.length, 1);
});

Deno.test("a behavior is not called by a state of before, after a start", async () => {
  const log = createTopic();
  await join(log, ben);
  const { id } = log.append(ask(ben, "https://errand.example/"), ann);
  // As many as one moment is too short for lie between.
  for (let i = 0; i < 20; i++) log.append(ask(ann, `https://errand.example/${i}`), ann);
  const name = id.multihash.digest;
  log.append({ type: "begin", payload: name }, ben);
  log.append({ type: "end", payload: Uint8Array.of(...name, 0, 0, 0, 0, 0, 0, 0, 200) }, ben);
  const desk = new Desk(log, {}, ben);
  desk.tickMs = 20;
  await desk.hand(log.topic!.order().map((event) => log.read(event)));
  await desk.app.addBundle(errand);
  assert.equal(desk.progress.at(-1)!.settled, false);
  await desk.pass(10_000);
  assert.equal(desk.progress.at(-1)!.settled, true);
  assert.deepEqual(said(desk).map(([type, verdict]) => [type, verdict]), [
    ["begin", "accepted"],
    ["end", "accepted"],
  ]);
  assert.deepEqual(desk.requests, []);
});

Deno.test("a behavior is not called by the state before an upgrade whose bundle is not here", async () => {
  const log = createTopic();
  await join(log, ben);
  const { id } = log.append(ask(ben, "https://errand.example/"), ann);
  const next = someCid("next");
  log.write({ kind: "upgrade", bundle: next }, ann);
  const name = id.multihash.digest;
  log.append({ type: "begin", payload: name }, ben);
  log.append({ type: "end", payload: Uint8Array.of(...name, 0, 0, 0, 0, 0, 0, 0, 200) }, ben);
  const count = log.topic!.size;
  const desk = await Desk.open(log, errand, {}, ben);
  assert.deepEqual(desk.progress.at(-1)!.needs, { kind: "bundle", name: next.toString() });
  await desk.pass(10_000);
  assert.equal(log.topic!.size, count, "it begins nothing");
  assert.deepEqual(desk.requests, []);
});

Deno.test("an app goes on from a snapshot, and applies what that stands for in the background", async () => {
  const log = createTopic();
  const first = await Desk.open(log, counter);
  const events: string[] = [];
  for (const each of ["5", "7", "9"]) {
    const outcomes = await first.call("add", each);
    assert.ok(typeof outcomes !== "string");
    events.push(outcomes[0]!.event);
  }
  const snapshot = first.app.snapshot([])!;
  await first.call("add", "11");

  const second = await Desk.open(log, counter, { snapshot });
  assert.equal(total(second), 32n);
  assert.equal(second.app.snapshot([]), undefined);
  assert.equal((await second.app.outcomes([events[1]!]))[0]!.verdict, "pending");
  await second.pass(10_000);
  assert.deepEqual(await second.app.outcomes(events), await first.app.outcomes(events));
  assert.deepEqual(second.app.snapshot([])!.record.digest, first.app.digest(undefined).digest);

  // One that lies about what it is the state of is believed for a moment only.
  const other = await Desk.open(createTopic({}, { random: randomFrom(5) }), counter);
  await other.call("add", "100");
  const wrong = other.app.snapshot([])!;
  const { length, order } = snapshot.record;
  const lie = { ...wrong, record: { ...wrong.record, length, order } };
  const third = await Desk.open(log, counter, { snapshot: lie });
  assert.equal(total(third), 111n);
  await third.pass(10_000);
  assert.equal(total(third), 32n);
  const damaged = { ...snapshot, chunks: new Map() };
  assert.equal(total(await Desk.open(log, counter, { snapshot: damaged })), 32n);
});

Deno.test("a fork begins with the state of an event", async () => {
  const log = createTopic();
  const first = await Desk.open(log, counter);
  const outcomes = await first.call("add", "5");
  assert.ok(typeof outcomes !== "string");
  await first.call("add", "7");
  const at = outcomes[0]!.event;
  const { base, bundle } = first.app.fork(at);
  assert.equal(bundle, log.view!.bundle);
  const fork = { topic: log.topicId, event: CID.parse(at), digest: base.record.digest };
  const forked = createTopic({ fork }, { random: randomFrom(6) });
  const second = await Desk.open(forked, counter, { base });
  assert.equal(total(second), 5n);
  await second.call("add", "100");
  assert.equal(total(second), 105n);
  assert.equal(total(first), 12n);
  // Without that state, or with another, nothing is applied.
  assert.throws(() => total(new Desk(forked)), { code: "not-found" });
  const other = first.app.snapshot([])!;
  await assert.rejects(Desk.open(forked, counter, { base: other }), { code: "corrupt" });
});

const adds = (log: AppLog, count: number) =>
  Array.from({ length: count }, () => {
    const payload = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 1);
    return log.append({ type: "add", payload }, ann);
  });

Deno.test("events are applied for a moment at a time, and questions answered in between", async () => {
  const log = createTopic();
  const desk = await Desk.open(log, counter);
  const events = adds(log, 300);
  desk.tickMs = 1;
  await desk.hand(events);
  const { applied, settled } = desk.progress.at(-1)!;
  assert.ok(applied > 10 && applied <= 60 && !settled, `${applied} applied`);
  assert.equal(total(desk), BigInt(applied));
  const outcomes = desk.app.outcomes(events.slice(-1).map(({ id }) => id.toString()));
  await desk.pass(1_000);
  assert.equal((await outcomes)[0]!.verdict, "accepted");
  assert.ok(desk.progress.at(-1)!.settled);
  assert.ok(desk.progress.every(({ slowed }) => !slowed));
  assert.equal(total(desk), 300n);
});

Deno.test("how far it is with many events is told now and then, and at the end", async () => {
  const log = createTopic();
  const desk = await Desk.open(log, counter);
  desk.tickMs = 1;
  await desk.hand(adds(log, 2_000)); // forty moments of fifty
  desk.progress.length = 0;
  const fromMs = desk.nowMs;
  for (let i = 0; !desk.progress.at(-1)?.settled; i++) {
    assert.ok(i < 100, "its end is not told");
    await desk.pass(100);
  }
  const told = desk.progress.map(({ applied }) => applied);
  const most = (desk.nowMs - fromMs) / 250 + 1;
  assert.ok(told.length > 2 && told.length <= most, `${told} in ${desk.nowMs - fromMs} ms`);
  assert.equal(total(desk), 2_000n);
});

Deno.test("events that take long are applied in a part of all time, and that is told", async () => {
  const log = createTopic();
  const desk = await Desk.open(log, counter, { cpu: { burstMs: 100, share: 0.01 } });
  desk.tickMs = 10; // for each of them
  await desk.hand(adds(log, 50));
  for (let i = 0; !desk.progress.at(-1)!.slowed; i++) {
    assert.ok(i < 100, "it is never slowed");
    await desk.pass(1);
  }
  const { applied, settled } = desk.progress.at(-1)!;
  assert.ok(applied > 1 && applied < 30 && !settled, `${applied} applied`);
  for (let i = 0; !desk.progress.at(-1)!.settled; i++) {
    assert.ok(i < 100, "it never goes on");
    await desk.pass(5_000);
  }
  assert.ok(!desk.progress.at(-1)!.slowed);
  assert.equal(total(desk), 50n);
});

Deno.test("answers are bounded: who wants more asks for what comes after", async () => {
  const log = createTopic();
  const desk = await Desk.open(log, counter);
  // Each is rejected, and is in the log.
  const events = Array.from(
    { length: 12 },
    (_, i) => log.append({ type: "add", payload: new Uint8Array(200_000).fill(i) }, ann),
  );
  await desk.hand(events);
  const found: string[] = [];
  for (let pages = 0; found.length < 12; pages++) {
    assert.ok(pages < 4);
    const page = desk.app.ordered(found.length, 100);
    assert.ok(page.events.length > 0 && page.events.length < 6 && page.total === 12);
    // Nothing is cloned with them but what they are.
    for (const { payload } of page.events) {
      assert.equal(payload!.buffer.byteLength, payload!.length);
    }
    found.push(...page.events.map(({ event }) => event));
  }
  assert.deepEqual(found, events.map(({ id }) => id.toString()));
});

Deno.test("who joins by a ticket sees its state until the events of it are here", async () => {
  const log = createTopic();
  const first = await Desk.open(log, counter);
  for (const each of ["5", "7"]) await first.call("add", each);
  const snapshot = first.app.snapshot([])!;
  const joining = snapshot.record.count;
  const all = log.topic!.order().map((event) => log.read(event));

  const second = new Desk(log, { snapshot, joining });
  await second.hand(all.slice(0, 2)); // the genesis, and an event
  await second.app.addBundle(counter);
  assert.equal(total(second), 12n);
  const shown = second.progress.at(-1)!;
  assert.ok(shown.joining && !shown.settled);
  assert.deepEqual(shown.digest, snapshot.record.digest);
  assert.equal(shown.needs, undefined);
  await second.app.view("a", undefined);
  const place = { author: ann.publicKey, seq: 9, lamport: 9 };
  const add = { kind: bytes("add"), payload: new Uint8Array(8) };
  assert.throws(() => second.app.dryRun(add, place), /2 of 3 are here/);
  await second.hand(all.slice(2));
  assert.ok(!second.progress.at(-1)!.joining);
  assert.equal(total(second), 12n);
  await second.pass(10_000);
  assert.ok(second.progress.at(-1)!.settled);
  assert.equal(second.progress.at(-1)!.ticket, undefined);

  // The others never come.
  const third = new Desk(log, { snapshot, joining });
  await third.hand(all.slice(0, 2));
  await third.app.addBundle(counter);
  await third.pass(30_000);
  await third.app.changed();
  assert.equal(total(third), 5n);

  // They come, but ever so slowly.
  const slow = new Desk(log, { snapshot: { ...snapshot }, joining: 1_000 });
  await slow.app.addBundle(counter);
  for (const each of all) {
    await slow.hand([each]);
    await slow.pass(9_000);
    assert.ok(slow.progress.at(-1)!.joining);
  }
  for (let i = 0; i < 5; i++) {
    await slow.hand([]);
    await slow.pass(9_000);
  }
  await slow.app.changed();
  assert.ok(!slow.progress.at(-1)!.joining);
  assert.equal(total(slow), 12n);

  // The ticket says what is not so.
  const other = await Desk.open(createTopic({}, { random: randomFrom(5) }), counter);
  await other.call("add", "100");
  const wrong = other.app.snapshot([])!;
  const { length, order } = snapshot.record;
  const lie = { ...wrong, record: { ...wrong.record, length, order } };
  const fourth = new Desk(log, { snapshot: lie, joining });
  await fourth.hand(all.slice(0, 2));
  await fourth.app.addBundle(counter);
  assert.equal(total(fourth), 100n);
  await fourth.hand(all.slice(2));
  await fourth.pass(10_000);
  assert.equal(total(fourth), 12n);
  assert.match(fourth.progress.at(-1)!.ticket!, /the state of the ticket is not the one/);
});

Deno.test("an app that is opened late has the events that were handed on before", async () => {
  const log = createTopic();
  const first = await Desk.open(log, counter);
  for (const each of ["5", "7"]) await first.call("add", each);
  const all = log.topic!.order().map((event) => log.read(event));
  const handed = () => {
    const early = new HandedLog({ topic: log.topicId.toString(), openers: [ann.opener] });
    for (const each of all) early.take(batchOf([each]));
    return early;
  };
  const late = new Desk(log, {}, undefined, handed());
  await late.app.addBundle(counter);
  assert.equal(total(late), 12n);
  const { received, settled, digest } = late.progress.at(-1)!;
  assert.deepEqual([received, settled], [all.length, true]);
  assert.deepEqual(digest, first.app.digest(undefined).digest);
  await late.call("add", "1");
  assert.equal(total(late), 13n);

  // All that its ticket's state is of is here: there is nothing to wait for.
  const snapshot = first.app.snapshot([])!;
  const joining = snapshot.record.count;
  const joined = new Desk(log, { snapshot, joining }, undefined, handed());
  await joined.app.addBundle(counter);
  assert.ok(!joined.progress.at(-1)!.joining);
  assert.equal(total(joined), 12n);
});
