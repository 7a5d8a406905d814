import assert from "node:assert/strict";
import { bytesOf } from "../../kernel/byte_string.ts";
import { encodeSigned } from "../../kernel/event.ts";
import { headsDigest } from "../../kernel/sync/session.ts";
import { type Journal, State } from "../state.ts";
import type { AppLog } from "../topic/app_log.ts";
import { inviteTo, joinBy, revocationsOf } from "../topic/authoring.ts";
import {
  allOf,
  ann,
  ben,
  cem,
  createTopic,
  dan,
  emptyLog,
  exchange,
  join,
  type Person,
  personOf,
  proposed,
  randomFrom,
  something,
  stranger,
} from "../topic/topic_fake.ts";
import { type FakePeer, framesFrom, nodeKey, Peers } from "./peers_fake.ts";
import { decodeTopicFrame, encodeTopicFrame, type TopicFrame } from "./topic_frame.ts";

const heads = ({ log }: FakePeer) => headsDigest(log.topic?.heads.map(({ key }) => key) ?? []);
const say = (peer: FakePeer, by: Person = peer.person) =>
  peer.core.writing((log) => log.append(something(), by));

function assertEqualLogs(...peers: FakePeer[]) {
  for (const peer of peers) assert.deepEqual(heads(peer), heads(peers[0]!));
}

/** A topic of ann's with an invite, and the key of that. */
async function invited(role: "member" | "keeper" | "admin" = "member", log = createTopic()) {
  const { said, seed } = inviteTo(log, role, randomFrom(7));
  log.write(said, ann);
  log.flush(0);
  return { log, invite: await personOf(seed), key: said.key };
}

/** What somebody has who has missed everything since. */
function copyOf(log: AppLog): AppLog {
  const copy = emptyCopy(log);
  copy.offer(allOf(log));
  copy.flush(0);
  return copy;
}
const emptyCopy = (log: AppLog) => emptyLog(log.topicId);

Deno.test("a newcomer with an invite learns the topic, joins, and both say that they are done", async () => {
  const { log, invite } = await invited();
  log.append(something(), ann);
  log.flush(0);
  const peers = new Peers(log.topicId);
  const a = peers.add("a", ann, { log });
  const b = peers.add("b", ben, { invite, named: [a.key] });
  peers.connect(b, a);
  peers.pass(2_000);
  assertEqualLogs(a, b);
  assert.equal(a.log.view!.members.get(ben.key)?.role, "member");
  for (const [self, other] of [[a, b], [b, a]] as const) {
    const [link] = self.core.peers();
    assert.ok(link!.isOpen && link!.inSync && link!.trust === "full" && !link!.isSyncing);
    const complete = framesFrom(self, other).findLast(({ frame }) => frame === "complete");
    assert.deepEqual(complete, {
      frame: "complete",
      count: log.topic!.size,
      heads: heads(self),
      digest: null,
      abi: 0,
    });
    assert.deepEqual(self.core.met(), [other.key]);
    assert.ok(self.changes > 0);
  }
  // What either writes is with the other before any session.
  say(a);
  say(b);
  peers.settle();
  peers.pass(10);
  assertEqualLogs(a, b);
  assert.equal(a.log.topic!.heads.length, 2);
});

Deno.test("who may take no part is told nothing, not even that the topic is here", async () => {
  const { log, invite, key } = await invited();
  await join(log, cem);
  const before = copyOf(log);
  for (const said of revocationsOf(log, cem.key)) log.write(said, ann);
  log.write({ kind: "revoke", key, last: null }, ann);
  log.flush(0);
  const sneaked = copyOf(before);
  sneaked.write(joinBy(sneaked, invite, stranger.publicKey), stranger);
  sneaked.flush(0);
  const keeper = await personOf(new Uint8Array(32).fill(99));
  const strangers: readonly [string, Person, object][] = [
    ["without an invite", stranger, {}],
    ["with an invite that is none", stranger, { invite: keeper }],
    ["with an invite that was revoked", ben, { invite }],
    ["who was revoked and shows how he was admitted", cem, { log: before }],
    ["who joined by a revoked invite and shows that", stranger, { log: sneaked }],
  ];
  for (const [name, person, options] of strangers) {
    const peers = new Peers(log.topicId);
    const a = peers.add("a", ann, { log });
    const b = peers.add("b", person, { named: [a.key], ...options });
    const c = peers.add("c", dan); // who has no such topic
    peers.connect(b, a);
    assert.equal(b.heard.length, 0, name);
    assert.ok(!peers.isUp(a, b), name);
    assert.deepEqual(a.core.peers(), [], name);
    peers.connect(b, c);
    assert.deepEqual(b.heard, [], name);
    assert.ok(!peers.isUp(b, c), name);
    assert.deepEqual([...a.notices, ...c.notices], [], name); // none of them is at fault
    assert.deepEqual(a.core.met(), [], name);
  }
});

Deno.test("a hello is of no use to anybody else", async () => {
  const { log } = await invited();
  await join(log, ben);
  const copy = copyOf(log);
  const peers = new Peers(log.topicId);
  const hellos: Uint8Array[] = [];
  const a = peers.add("a", ann, { log });
  const c = peers.add("c", ann, { log: copyOf(log) });
  const says = (frame: TopicFrame, bytes: Uint8Array) => {
    if (frame.frame === "hello") hellos.push(bytes);
    return bytes;
  };
  const b = peers.add("b", ben, { log: copy, says });
  peers.connect(b, a);
  assert.ok(a.core.isOpen(b.key));
  // What b said to a is said by x, then to c, and changed.
  const [hello] = hellos;
  const read = decodeTopicFrame(hello!) as Extract<TopicFrame, { frame: "hello" }>;
  const changed = [
    read,
    { ...read, nonce: new Uint8Array(16) },
    { ...read, person: ann.publicKey },
    { ...read, proof: new Uint8Array(64) },
  ];
  for (const [to, from] of [[a, "x"], [c, b.key]] as const) {
    for (const each of changed) {
      const node = from === "x" ? nodeKey("x") : from;
      to.core.connected(node, false);
      to.core.received(node, encodeTopicFrame(each));
      assert.equal(to.core.isTrusted(node), false);
      assert.equal(to.core.peers().some(({ peer }) => peer === node), false);
    }
  }
});

Deno.test("a member who was admitted meanwhile shows how, and brings what was missed", async () => {
  const log = createTopic();
  await join(log, ben);
  const [old, older] = [copyOf(log), copyOf(log)];
  // dan is invited by an admin whom ben does not know either.
  await join(log, cem, "admin");
  await join(log, dan, "member", cem);
  log.append(something(), dan);
  log.flush(0);
  const peers = new Peers(log.topicId);
  const b = peers.add("b", ben, { log: old });
  const d = peers.add("d", dan, { log, named: [b.key] });
  peers.connect(d, b);
  peers.pass(3_000);
  assertEqualLogs(b, d);
  assert.ok(b.core.isTrusted(d.key) && d.core.isTrusted(b.key));

  // Who shows how it was admitted, and never brings it, is cut off by a revocation as well.
  const { log: told, invite, key } = await invited();
  const sly = new Peers(told.topicId);
  await join(told, ben);
  const [bens, slys] = [copyOf(told), copyOf(told)];
  slys.write(joinBy(slys, invite, stranger.publicKey), stranger);
  slys.flush(0);
  const b3 = sly.add("b", ben, { log: bens });
  const s = sly.add("s", stranger, {
    log: slys,
    named: [b3.key],
    says: ({ frame }, bytes) => frame === "hello" || frame === "ready" ? bytes : undefined,
  });
  sly.connect(s, b3);
  assert.ok(b3.core.isTrusted(s.key));
  told.write({ kind: "revoke", key, last: null }, ann);
  b3.core.offer(allOf(told));
  sly.pass(1_000);
  assert.ok(!b3.core.isTrusted(s.key) && !sly.isUp(s, b3));

  // What is shown has to be whole: nobody is admitted by half of it.
  const half = new Peers(log.topicId);
  const b2 = half.add("b", ben, { log: older });
  const d2 = half.add("d", dan, {
    log: copyOf(log),
    named: [b2.key],
    says: (frame, bytes) =>
      frame.frame === "hello" ? encodeTopicFrame({ ...frame, vouch: frame.vouch.slice(1) }) : bytes,
  });
  half.connect(d2, b2);
  assert.equal(d2.heard.length, 0);
});

Deno.test("who joined by an invite that is still good is let in, though who made it was revoked", async () => {
  const log = createTopic();
  await join(log, ben);
  await join(log, cem, "admin");
  const { said, seed } = inviteTo(log, "member", randomFrom(9));
  log.write(said, cem);
  log.flush(0);
  const dans = copyOf(log);
  // Neither side knows what the other does now.
  dans.write(joinBy(dans, await personOf(seed), dan.publicKey), dan);
  dans.flush(0);
  for (const revoked of revocationsOf(log, cem.key)) log.write(revoked, ann);
  log.flush(0);
  const peers = new Peers(log.topicId);
  const b = peers.add("b", ben, { log });
  const d = peers.add("d", dan, { log: dans, named: [b.key] });
  peers.connect(d, b);
  peers.pass(3_000);
  assertEqualLogs(b, d);
  assert.ok(b.core.isTrusted(d.key));
  assert.equal(b.log.view!.members.get(dan.key)?.role, "member");
});

Deno.test("a revocation cuts the link, and what the revoked still writes goes nowhere", async () => {
  const log = createTopic();
  await join(log, ben);
  await join(log, cem);
  log.flush(0);
  const peers = new Peers(log.topicId);
  const a = peers.add("a", ann, { log });
  const b = peers.add("b", ben, { log: copyOf(log), named: [a.key] });
  const c = peers.add("c", cem, { log: copyOf(log), named: [a.key] });
  peers.connect(b, a);
  peers.connect(c, a);
  peers.connect(c, b);
  peers.pass(3_000);
  a.core.writing((log) => revocationsOf(log, cem.key).forEach((said) => log.write(said, ann)));
  peers.settle();
  peers.pass(1_000);
  assert.ok(!peers.isUp(a, c) && !peers.isUp(b, c));
  assert.ok(peers.isUp(a, b));
  // To say hello again would tell that the topic is still here.
  for (const { core } of [a, b]) {
    assert.ok(!core.knows(c.key) && !core.met().includes(c.key) && !core.wanted().includes(c.key));
  }
  assert.ok(b.core.knows(a.key));
  const known = b.log.topic!.size;
  c.heard.length = 0;
  say(a);
  peers.pass(1_000);
  assert.equal(b.log.topic!.size, known + 1);
  assert.deepEqual(c.heard, []);
});

Deno.test("a log hears of each session, whoever begins it", async () => {
  const log = createTopic();
  await join(log, ben);
  log.flush(0);
  const peers = new Peers(log.topicId);
  const a = peers.add("a", ann, { log });
  const b = peers.add("b", ben, { log: copyOf(log), named: [a.key] });
  const begun = [a, b].map(({ log }) => {
    const begun = { sessions: 0 };
    const { sessionBegins } = log;
    log.sessionBegins = () => {
      begun.sessions++;
      sessionBegins.call(log);
    };
    return begun;
  });
  for (let sessions = 1; sessions <= 3; sessions++) {
    say(a);
    say(b);
    peers.connect(b, a);
    peers.pass(3_000);
    assertEqualLogs(a, b);
    assert.deepEqual(begun, [{ sessions }, { sessions }]);
    peers.disconnect(a.key, b.key);
    peers.pass(3_000);
  }
});

Deno.test("peers that were apart come to one log, and tell how far they are once a second at most", async () => {
  const log = createTopic();
  await join(log, ben);
  log.flush(0);
  const peers = new Peers(log.topicId);
  const a = peers.add("a", ann, { log });
  const b = peers.add("b", ben, { log: copyOf(log), named: [a.key] });
  for (let i = 0; i < 50; i++) say(i % 2 ? a : b);
  peers.connect(b, a);
  peers.pass(3_000);
  assertEqualLogs(a, b);
  b.heard.length = 0;
  for (let i = 0; i < 100; i++) {
    say(a);
    peers.pass(20);
  }
  assertEqualLogs(a, b);
  const told = framesFrom(b, a).filter(({ frame }) => frame === "complete").length;
  assert.ok(told >= 2 && told <= 3, `${told} in two seconds`);
});

Deno.test("events that went astray are missed and fetched", async () => {
  const log = createTopic();
  await join(log, ben);
  log.flush(0);
  const peers = new Peers(log.topicId);
  let isLossy = false;
  const says = (frame: TopicFrame, bytes: Uint8Array) =>
    isLossy && frame.frame === "events" ? undefined : bytes;
  const a = peers.add("a", ann, { log, says });
  const b = peers.add("b", ben, { log: copyOf(log), named: [a.key] });
  peers.connect(b, a);
  peers.pass(3_000);
  isLossy = true;
  say(a);
  peers.pass(20_000);
  assertEqualLogs(a, b);
});

Deno.test("a keeper stores and serves, and says nothing of a state", async () => {
  const log = createTopic();
  await join(log, ben);
  const { invite } = await invited("keeper", log);
  const peers = new Peers(log.topicId);
  const state = () => ({ tree: State.EMPTY.tree, abi: 1 });
  const a = peers.add("a", ann, { log, state });
  const k = peers.add("k", dan, { invite, named: [a.key] });
  peers.connect(k, a);
  peers.pass(3_000);
  say(a);
  peers.pass(2_000);
  assert.equal(a.log.view!.members.get(dan.key)?.role, "keeper");
  // ben was away, and finds only the keeper.
  const b = peers.add("b", ben, { log: copyOf(log), named: [k.key], state });
  peers.disconnect(a.key, k.key);
  peers.settle();
  peers.connect(b, k);
  peers.pass(3_000);
  assertEqualLogs(b, k);
  const said = framesFrom(b, k).find(({ frame }) => frame === "complete");
  assert.ok(said?.frame === "complete" && said.digest === null);
  // A keeper has no say in the app.
  const forbidden = proposed(k.log, dan, something());
  const { accepted } = k.core.offer([forbidden]);
  assert.deepEqual(accepted, []);
});

/** The state of so many entries; one of them another. */
function stateOf(entries: number, other?: number): () => { tree: State["tree"]; abi: number } {
  const journal: Journal = State.EMPTY.journal();
  for (let i = 0; i < entries; i++) {
    journal.put(bytesOf(`key ${i}`), bytesOf(i === other ? "another" : `value ${i}`));
  }
  const { tree } = journal.commit();
  return () => ({ tree, abi: 1 });
}

async function withStates(
  states: readonly [ReturnType<typeof stateOf>, ReturnType<typeof stateOf>],
  says?: (frame: TopicFrame, bytes: Uint8Array) => Uint8Array | undefined,
) {
  const log = createTopic();
  await join(log, ben);
  log.flush(0);
  const peers = new Peers(log.topicId);
  const a = peers.add("a", ann, { log, state: states[0] });
  const b = peers.add("b", ben, {
    log: copyOf(log),
    named: [a.key],
    state: states[1],
    ...says === undefined ? {} : { says },
  });
  peers.connect(b, a);
  peers.pass(3_000);
  return { peers, a, b };
}

Deno.test("equal events and unequal states are drift: both name the first key that differs", async () => {
  const { peers, a, b } = await withStates([stateOf(2_000), stateOf(2_000, 1234)]);
  for (const [self, other] of [[a, b], [b, a]] as const) {
    const [drift] = self.core.drifts();
    assert.equal(drift?.peer, other.key);
    assert.equal(drift.person, other.person.key);
    assert.deepEqual(drift.first?.key, bytesOf("key 1234"));
    assert.equal(self.notices.filter((text) => text.startsWith("Drift:")).length, 1);
    const asked = framesFrom(other, self).filter(({ frame }) => frame === "ask").length;
    assert.ok(asked > 0 && asked <= 20, `${asked} questions`);
  }
  // It stays told while the events grow and the states stay apart.
  say(a);
  peers.pass(3_000);
  assert.equal(a.core.drifts().length, 1);
});

Deno.test("equal states are no drift, and drift that was undone is gone", async () => {
  const equal = await withStates([stateOf(50), stateOf(50)]);
  assert.deepEqual([...equal.a.core.drifts(), ...equal.b.core.drifts()], []);
  let isIll = true;
  const [good, bad] = [stateOf(50), stateOf(50, 7)];
  const { peers, a, b } = await withStates([good, () => isIll ? bad() : good()]);
  assert.equal(a.core.drifts().length, 1);
  isIll = false;
  b.core.stateChanged();
  peers.pass(3_000);
  assert.deepEqual([...a.core.drifts(), ...b.core.drifts()], []);
});

Deno.test("a peer that comes to one state after the other is said to drift once for each key, and no more than 64 times", async () => {
  let differs: number | undefined = 0;
  const { peers, a, b } = await withStates([stateOf(80), () => stateOf(80, differs)()]);
  for (const at of [undefined, 0, undefined, ...Array(75).keys()]) {
    differs = at;
    b.core.stateChanged();
    peers.pass(3_000);
    assert.equal(a.core.drifts().length, at === undefined ? 0 : 1);
  }
  const said = a.notices.filter((text) => text.startsWith("Drift"));
  assert.equal(said.length, 64);
  assert.equal(new Set(said).size, 64);
});

Deno.test("a peer that lies about its state is told of, and cut", async () => {
  const lies = (frame: TopicFrame, bytes: Uint8Array) =>
    frame.frame === "answer" && frame.answer !== null
      ? encodeTopicFrame({ ...frame, answer: new Uint8Array(frame.answer.length) })
      : bytes;
  const { peers, a, b } = await withStates([stateOf(50), stateOf(50, 7)], lies);
  assert.equal(a.core.drifts()[0]?.peer, b.key);
  assert.equal(a.core.drifts()[0]?.first, undefined);
  assert.ok(!peers.isUp(a, b));
  assert.ok(a.notices.some((text) => text.includes("dishonest sync")), a.notices.join());
});

Deno.test("peers tell one another who else there is", async () => {
  const log = createTopic();
  await join(log, ben);
  await join(log, cem);
  log.flush(0);
  const peers = new Peers(log.topicId);
  const a = peers.add("a", ann, { log });
  const b = peers.add("b", ben, { log: copyOf(log), named: [a.key] });
  const c = peers.add("c", cem, { log: copyOf(log), named: [a.key] });
  peers.connect(b, a);
  peers.connect(c, a);
  peers.pass(8_000);
  assert.deepEqual([...b.learnt.keys()].sort(), [a.key, c.key].sort());
  assert.deepEqual(b.learnt.get(c.key), [`/memory/${c.key.slice(-4)}`]);
  assert.ok(b.core.knows(c.key) && b.core.wanted().includes(c.key));
  assert.ok(!b.core.knows(nodeKey("nobody")));
});

Deno.test("a newcomer learns who else there is, though it cannot tell yet who may say so", async () => {
  const { log, invite } = await invited();
  await join(log, cem);
  log.flush(0);
  const peers = new Peers(log.topicId);
  const a = peers.add("a", ann, { log });
  const c = peers.add("c", cem, { log: copyOf(log), named: [a.key] });
  const b = peers.add("b", ben, { invite, named: [a.key] });
  peers.connect(c, a);
  peers.connect(b, a);
  peers.pass(10);
  assert.ok(b.core.knows(c.key));
});

Deno.test("what no honest peer says ends the link", async () => {
  const log = createTopic();
  await join(log, ben);
  log.flush(0);
  const forged = { ...proposed(log, ben, something()), signature: new Uint8Array(64).fill(1) };
  const question = { kind: "slots", prefix: new Uint8Array(32), bits: 3 } as const;
  const digest = new Uint8Array(32);
  const state = stateOf(3);
  const cases: [string, () => Uint8Array, RegExp][] = [
    ["no frame", () => new Uint8Array(9), /garbage/],
    ["a second hello", () => hello!, /garbage/],
    ["an answer that nobody asked for", () => encode({ frame: "answer", answer: null }), /garbage/],
    [
      "a forged event",
      () => encode({ frame: "events", events: [encodeSigned(forged)] }),
      /forged/,
    ],
    ["garbage in a session", () => encode({ frame: "sync", message: digest }), /dishonest/],
    [
      "a question about no place",
      () => encode({ frame: "ask", digest: said!, question }),
      /garbage/,
    ],
  ];
  const encode = encodeTopicFrame;
  let hello: Uint8Array | undefined;
  let said: Uint8Array | undefined;
  for (const [name, make, wanted] of cases) {
    const peers = new Peers(log.topicId);
    const a = peers.add("a", ann, { log, state });
    const b = peers.add("b", ben, {
      log: copyOf(log),
      named: [a.key],
      says: (frame, bytes) => {
        if (frame.frame === "hello") hello = bytes;
        return bytes;
      },
    });
    peers.connect(b, a);
    peers.pass(3_000);
    const told = framesFrom(b, a).findLast(({ frame }) => frame === "complete");
    said = told?.frame === "complete" ? told.digest! : undefined;
    a.core.received(b.key, make());
    peers.settle();
    assert.ok(!peers.isUp(a, b), name);
    assert.match(a.notices.join(), wanted, name);
  }
});

Deno.test("questions about a state are answered as fast as an honest peer asks, not faster", async () => {
  const { peers, a, b } = await withStates([stateOf(9), stateOf(9)]);
  const question = { kind: "slots", prefix: new Uint8Array(32), bits: 0 } as const;
  const ask = encodeTopicFrame({ frame: "ask", digest: new Uint8Array(32), question });
  for (let i = 0; i < 200 && peers.isUp(a, b); i++) a.core.received(b.key, ask);
  peers.settle();
  assert.ok(!peers.isUp(a, b));
  assert.match(a.notices.join(), /flood, questions/);
});

Deno.test("before the first session a newcomer does not join, and joins once", async () => {
  const { log, invite } = await invited();
  for (let i = 0; i < 300; i++) log.append(something(), ann);
  log.flush(0);
  const peers = new Peers(log.topicId);
  const a = peers.add("a", ann, { log });
  const b = peers.add("b", ben, { invite, named: [a.key] });
  peers.connect(b, a);
  peers.pass(5_000);
  const joins = b.log.membership!.joins();
  assert.equal(joins.length, 1);
  assert.equal(joins[0]!.event.lamport, 302); // after all that there was
  assert.equal(b.core.isOutside, false);
  // Whoever left stays away until it is asked.
  b.core.writing((log) => log.write({ kind: "leave" }, ben));
  peers.pass(5_000);
  assert.equal(b.log.membership!.joins().length, 1);
  assert.equal(a.log.view!.members.has(ben.key), false);
  assert.ok(b.core.isOutside); // which is told
});

Deno.test("who came back links with a peer that has only heard of the leave", async () => {
  const { log, invite } = await invited();
  const join = () => log.write(joinBy(log, invite, cem.publicKey), cem);
  log.write(joinBy(log, invite, ben.publicKey), ben);
  join();
  log.write({ kind: "leave" }, cem);
  const peers = new Peers(log.topicId);
  const b = peers.add("b", ben);
  exchange(log, b.log);
  join();
  const c = peers.add("c", cem);
  exchange(log, c.log);
  peers.connect(c, b);
  peers.pass(1_000);
  assert.ok(peers.isUp(b, c));
  assert.ok(b.log.view!.members.has(cem.key));
});

Deno.test("an admin who came back shows the join by which it may invite now", async () => {
  const { log } = await invited();
  await join(log, ben, "admin");
  await join(log, dan);
  log.write({ kind: "leave" }, ben);
  for (const { key } of log.view!.invites) log.write({ kind: "revoke", key, last: null }, ann);
  const peers = new Peers(log.topicId);
  const d = peers.add("d", dan);
  exchange(log, d.log);
  // While dan is away ben is admin again, joins by the ticket of a member too, and invites cem.
  await join(log, ben, "admin");
  await join(log, ben);
  await join(log, cem, "member", ben);
  const c = peers.add("c", cem);
  exchange(log, c.log);
  peers.connect(c, d);
  peers.pass(1_000);
  assert.ok(d.log.view!.members.has(cem.key));
});

Deno.test("two newcomers who know nothing learn nothing of each other", async () => {
  const { log, invite } = await invited();
  const peers = new Peers(log.topicId);
  const b = peers.add("b", ben, { invite, named: [nodeKey("c")] });
  const c = peers.add("c", cem, { invite });
  peers.connect(b, c);
  assert.deepEqual(b.heard, []);
  exchange(log, c.log); // and once one has it, the other gets it
  peers.connect(b, c);
  peers.pass(3_000);
  assert.deepEqual([...b.log.view!.members.keys()].sort(), [ann.key, ben.key, cem.key].sort());
});

Deno.test("what was written before something failed is durable soon, and told of", () => {
  const log = createTopic();
  const peers = new Peers(log.topicId);
  const a = peers.add("a", ann, { log });
  peers.pass(2_000);
  const { changes } = a;
  assert.throws(() =>
    a.core.writing((log) => {
      log.append(something(), ann);
      throw new Error("the second fails");
    }), /the second fails/);
  assert.ok(!a.log.isDurable(a.log.topic!.heads[0]!));
  peers.pass(2_000);
  assert.ok(a.log.isDurable(a.log.topic!.heads[0]!));
  assert.ok(a.changes > changes);
});
