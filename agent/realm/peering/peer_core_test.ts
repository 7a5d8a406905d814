import assert from "node:assert/strict";
import { sha256 } from "@noble/hashes/sha2.js";
import { type Player, player, verify } from "../../../tests/simulation/cast.ts";
import { cidOf, encodeCanonical } from "../../kernel/canonical.ts";
import {
  encodeSigned,
  eventAt,
  genesisEvent,
  type SignedEvent,
  signEventSync,
} from "../../kernel/event.ts";
import { RealmError } from "../../kernel/error.ts";
import { formatPublicKey } from "../../kernel/key.ts";
import { FRAME_BYTES_PER_SEC, FRAMES_PER_SEC } from "../../kernel/peering/link.ts";
import { STRANGERS_MAX } from "../../kernel/peering/link_set.ts";
import type { StoreOp } from "../../kernel/ports.ts";
import { FakeLog } from "../../kernel/sync/event_log_fake.ts";
import { encodeMessage } from "../../kernel/sync/messages.ts";
import { SyncSession } from "../../kernel/sync/session.ts";
import { keyOf } from "../../kernel/topic.ts";
import { MemoryStore } from "../../store/memory_store.ts";
import { controlContent, type ControlEvent } from "../control_event.ts";
import { RealmLog } from "../realm_log.ts";
import { allOf } from "../realm_log_fake.ts";
import { decodeFrame, encodeFrame, type Frame } from "./frame.ts";
import { HealthBoard } from "./health_board.ts";
import { type HealthRecord, readHealth, signHealth } from "./health_record.ts";
import { PeerCore } from "./peer_core.ts";

const owner = player("owner");
const recovery = player("recovery");
const GENESIS = signEventSync(
  genesisEvent(
    owner.publicKey,
    controlContent({
      kind: "genesis",
      owner: owner.key,
      recoveryHash: sha256(recovery.publicKey),
    }),
  ),
  owner,
);
const TRUST = { owner: owner.key, topic: GENESIS.id.toString() };

/** A store whose disk may be full. */
class FullStore extends MemoryStore {
  isFull = false;

  override write(ops: readonly StoreOp[]): void {
    if (this.isFull) throw new RealmError("failed", "Cannot write store: disk is full");
    super.write(ops);
  }
}

/** A core on its own, with everything that it does. */
class Bench {
  readonly store = new FullStore();
  readonly log: RealmLog;
  readonly core: PeerCore;
  readonly sent: { readonly to: string; readonly frame: Frame }[] = [];
  readonly cuts: string[] = [];
  readonly notices: string[] = [];
  changed: () => void = () => {};
  hasRoom = true;
  nowMs = 1_000;

  constructor(readonly self: Player, named: readonly Player[] = []) {
    this.log = RealmLog.open({ store: this.store, verify, trust: TRUST });
    this.core = new PeerCore({
      signer: self,
      self: self.key,
      name: self.name,
      program: "test",
      log: this.log,
      epoch: 1,
      isNamed: (peer) => named.some(({ key }) => key === peer),
      ports: {
        send: (to, bytes) => {
          const frame = decodeFrame(bytes);
          assert.ok(frame !== undefined);
          this.sent.push({ to, frame });
          return this.hasRoom;
        },
        cut: (peer, reason) => this.cuts.push(`${peer} ${reason}`),
        changed: () => this.changed(),
        secret: () => new Uint8Array(16),
        verify,
        nowMs: () => this.nowMs,
        wallMs: () => 1_800_000_000_000 + this.nowMs,
        random: () => 0.5,
        notice: (text) => this.notices.push(text),
        health: () => ({
          version: 0,
          basis: "",
          refusal: null,
          turns: 0,
          givenUp: [],
          verdicts: [],
          cpuPermille: 0,
          memoryBytes: 0,
          addresses: [],
          replicas: [],
          failures: [],
          alarms: [],
          latencyMs: () => undefined,
        }),
      },
    });
  }

  sign(author: Player, said: ControlEvent): SignedEvent {
    const place = this.log.placeFor(author.publicKey);
    return signEventSync(eventAt(author.publicKey, place, controlContent(said)), author);
  }

  act(said: ControlEvent, author = owner): void {
    this.core.append([this.sign(author, said)]);
  }

  /** A peer that is linked and has said its hello. */
  meet(peer: Player, hello: Partial<Extract<Frame, { frame: "hello" }>> = {}): void {
    this.core.connected(peer.key);
    this.say(peer, {
      frame: "hello",
      v: 1,
      name: peer.name,
      topic: GENESIS.id,
      owner: owner.publicKey,
      program: "test",
      addresses: [],
      ...hello,
    });
  }

  say(peer: Player, frame: Frame): void {
    this.core.received(peer.key, encodeFrame(frame));
  }

  /** Kinds of the frames that a peer was sent, in order. */
  kindsTo(peer: Player): string[] {
    return this.sent.filter(({ to }) => to === peer.key).map(({ frame }) => frame.frame);
  }

  reasons(peer: Player): string[] {
    return this.cuts.filter((cut) => cut.startsWith(peer.key))
      .map((cut) => cut.slice(peer.key.length + 1));
  }
}

/** A node of a realm in which it and `friends` are approved. */
function member(...friends: Player[]): Bench {
  const bench = new Bench(player("a"));
  bench.core.append([GENESIS]);
  for (const { key, name } of [bench.self, ...friends]) bench.act({ kind: "approve", key, name });
  return bench;
}

/** Whose key is greater than that of `a`, so that `a` begins the sessions. */
const [low, high] = [player("b"), player("c")].sort((x, y) => x.key < y.key ? -1 : 1) as [
  Player,
  Player,
];
const stranger = player("stranger");

/** A health record of the bench's own node, signed by whomever. */
function recordOf(
  bench: Bench,
  author: Player,
  epoch = 1,
  but: Partial<HealthRecord> = {},
): Uint8Array {
  const record = {
    key: bench.self.key,
    epoch,
    counter: 1,
    name: "",
    program: "",
    saidAtMs: 0,
    heads: "0".repeat(64),
    viewDigest: "0".repeat(64),
    count: 0,
    version: 0,
    basis: "",
    refusal: null,
    turns: 0,
    givenUp: [],
    verdicts: [],
    cpuPermille: 0,
    memoryBytes: 0,
    addresses: [],
    replicas: [],
    failures: [],
    alarms: [],
    heard: [],
    pending: [],
    ...but,
  };
  return signHealth(record, (message) => author.sign(message)).bytes;
}

/** An open link with an approved peer. */
function linked(bench: Bench, peer: Player): void {
  bench.meet(peer);
  bench.say(peer, { frame: "ready" });
  assert.ok(bench.core.isLinked(peer.key));
}

Deno.test("PeerCore says nothing but hello and pending to a key that is not approved", () => {
  const a = member(high);
  a.meet(stranger);
  a.say(stranger, { frame: "ready" });
  a.act({ kind: "drain", node: "c", drained: true });
  for (let i = 0; i < 20; i++) {
    a.nowMs += 500;
    a.core.tick();
  }
  assert.deepEqual(a.kindsTo(stranger), ["hello", "pending"]);
  assert.deepEqual(a.core.introductions(), [{ key: stranger.key, name: "stranger" }]);
  assert.match(a.notices.join("\n"), /stranger asks to join: ed25519:/);
});

Deno.test("PeerCore opens the link when the owner approves, and ends it at once when he revokes", () => {
  const a = member();
  a.meet(stranger);
  a.say(stranger, { frame: "ready" });
  a.act({ kind: "approve", key: stranger.key, name: "new" });
  assert.deepEqual(a.kindsTo(stranger).slice(0, 3), ["hello", "pending", "ready"]);
  assert.ok(a.core.isLinked(stranger.key));
  assert.deepEqual(a.core.introductions(), []);
  a.act({ kind: "revoke", key: stranger.key, last: null });
  assert.deepEqual(a.reasons(stranger), ["its key is revoked"]);
  assert.ok(!a.core.mayConnect(stranger.key));
  const said = a.sent.length;
  a.say(stranger, { frame: "again" });
  a.core.connected(stranger.key);
  assert.equal(a.sent.length, said);
});

Deno.test("PeerCore hands events on when they are durable, and not to who sent them", () => {
  const a = member(low, high);
  linked(a, low);
  linked(a, high);
  const event = a.sign(owner, { kind: "approve", key: stranger.key, name: "new" });
  a.say(low, { frame: "events", events: [encodeSigned(event)] });
  assert.ok(!a.log.isStored(event.id));
  assert.ok(!a.kindsTo(high).includes("events"));
  a.nowMs += 10;
  a.core.tick();
  assert.ok(a.log.isStored(event.id));
  assert.ok(a.kindsTo(high).includes("events"));
  assert.ok(!a.kindsTo(low).includes("events"));
});

Deno.test("PeerCore notices another key under the name of an approved node", () => {
  const a = member(high);
  a.meet(stranger, { name: high.name });
  assert.match(a.notices.join("\n"), /Another key calls itself .*, which is an approved node/);
});

Deno.test("PeerCore cuts peers for what no honest node sends", () => {
  const forged = (bench: Bench) => {
    const said = { kind: "drain", node: "x", drained: true } as const;
    const { event } = bench.sign(owner, said);
    return signEventSync(event, { ...stranger, publicKey: owner.publicKey });
  };
  const cases: [string, (bench: Bench) => Uint8Array, RegExp][] = [
    ["garbage", () => new Uint8Array([1, 2, 3]), /garbage/],
    ["nothing", () => new Uint8Array(0), /garbage/],
    ["a second hello", () => encodeFrame(helloOf(high)), /garbage/],
    ["a giant", () => new Uint8Array(2_000_000), /garbage/],
    [
      "events that are none",
      () => encodeFrame({ frame: "events", events: [new Uint8Array(9)] }),
      /garbage/,
    ],
    [
      "a forged event",
      (bench) => encodeFrame({ frame: "events", events: [encodeSigned(forged(bench))] }),
      /forged/,
    ],
    [
      "a damaged record",
      (bench) => encodeFrame({ frame: "health", records: [recordOf(bench, stranger).slice(1)] }),
      /garbage/,
    ],
    [
      "a session that it did not begin",
      () => encodeFrame({ frame: "sync", message: encodeMessage({ kind: "ack", messages: 1 }) }),
      /dishonest sync/,
    ],
  ];
  for (const [what, bytes, reason] of cases) {
    const a = member(high);
    linked(a, high);
    a.core.received(high.key, bytes(a));
    assert.match(a.reasons(high).join(), reason, what);
    assert.ok(!a.core.mayConnect(high.key), what);
    a.nowMs += 10_000;
    assert.ok(a.core.mayConnect(high.key), what);
  }
});

/** Has the bench's session with `peer` answered by somebody who has `events` beside the bench's. */
function answerSession(bench: Bench, peer: Player, events: readonly SignedEvent[]): void {
  const log = new FakeLog();
  for (const signed of [...allOf(bench.log), ...events]) {
    const { id, event: { lamport, parents } } = signed;
    log.add({ key: keyOf(id), lamport, signed, parents: parents.map(keyOf) });
  }
  log.accept = () => ({ refused: 0 });
  const session = new SyncSession({ role: "responder", source: log, secret: new Uint8Array(16) });
  bench.sent.length = 0;
  const isBegun = () =>
    bench.sent.some(({ to, frame }) => to === peer.key && frame.frame === "sync");
  for (let i = 0; i < 40 && !isBegun(); i++) {
    bench.nowMs += 2_000;
    bench.core.received(peer.key, encodeCanonical({ frame: "later" })); // it is there
    bench.core.tick();
  }
  for (let frame = bench.sent.shift(); frame !== undefined; frame = bench.sent.shift()) {
    if (frame.to !== peer.key || frame.frame.frame !== "sync") continue;
    session.receive(frame.frame.message);
    for (let said = session.send(); said !== undefined; said = session.send()) {
      bench.say(peer, { frame: "sync", message: said });
    }
  }
  assert.ok(session.outcome !== undefined || !bench.core.isLinked(peer.key));
}

const restartOf = (component: string): ControlEvent => ({ kind: "restart", component, nodes: [] });

Deno.test("PeerCore cuts a peer that brings what nobody may write, also by sessions", () => {
  const a = member(high);
  linked(a, high);
  const events = (count: number) =>
    Array.from({ length: count }, (_, i) => a.sign(stranger, restartOf(`c${i}`)));
  answerSession(a, high, events(40));
  assert.ok(a.core.isLinked(high.key), "it may know more than this node");
  a.say(high, { frame: "again" });
  answerSession(a, high, events(400));
  assert.deepEqual(a.reasons(high), ["unauthorised"]);
});

Deno.test("PeerCore makes what a session brings durable many at once, and acts on it then", () => {
  const [a, elsewhere] = [member(high), member(high)];
  for (let i = 0; i < 400; i++) elsewhere.act(restartOf(`c${i}`));
  linked(a, high);
  let writes = 0, messages = 0;
  const flush = a.log.flush.bind(a.log);
  a.log.flush = (wallMs) => {
    const events = flush(wallMs);
    if (events.length > 0) writes++;
    return events;
  };
  a.changed = () => assert.ok(a.log.topic!.order().every(({ id }) => a.log.isStored(id)));
  const say = a.say.bind(a);
  a.say = (peer, frame) => {
    say(peer, frame);
    messages++;
    while (a.core.dueMs() <= a.nowMs) a.core.tick();
  };
  answerSession(a, high, allOf(elsewhere.log));
  assert.equal(a.log.topic!.size, elsewhere.log.topic!.size);
  assert.ok(messages > 8 && writes <= messages / 4, `${writes} writes for ${messages} messages`);
});

Deno.test("PeerCore blames nobody for not knowing of a revocation", () => {
  const a = member(high, low);
  linked(a, high);
  const exec: ControlEvent = {
    kind: "exec",
    node: "b",
    command: ["uptime"],
    nonce: new Uint8Array(16),
    expiresAtMs: 1,
  };
  a.act({ ...exec, node: low.name });
  const asked = a.log.topic!.order().at(-1)!.id;
  const events = Array.from(
    { length: 400 },
    (_, i) => a.sign(low, { kind: "executed", exec: asked, status: i % 256 }),
  );
  a.act({ kind: "revoke", key: low.key, last: null });
  for (const event of events.slice(0, 100)) {
    a.say(high, { frame: "events", events: [encodeSigned(event)] });
  }
  answerSession(a, high, events);
  assert.deepEqual(a.reasons(high), []);
  assert.ok(a.core.isLinked(high.key));
});

Deno.test("PeerCore looks for what is missing also while new events come all the time", () => {
  const a = member(high);
  linked(a, high);
  answerSession(a, high, []);
  let sessions = 0;
  for (let counter = 1; counter < 60 && sessions === 0; counter++) {
    a.nowMs += 1_000;
    a.act(restartOf("auth"));
    const but = { key: high.key, heads: "1".repeat(64), counter };
    a.say(high, { frame: "health", records: [recordOf(a, high, 1, but)] });
    a.core.tick();
    sessions += a.sent.splice(0).filter(({ frame }) => frame.frame === "sync").length;
  }
  assert.ok(a.core.isLinked(high.key));
  assert.equal(sessions, 1);
});

function helloOf(peer: Player): Frame {
  return {
    frame: "hello",
    v: 1,
    name: peer.name,
    topic: null,
    owner: null,
    program: "",
    addresses: [],
  };
}

Deno.test("PeerCore takes no first frame but a small hello, from anybody", () => {
  for (const bytes of [encodeFrame({ frame: "ready" }), new Uint8Array(5_000)]) {
    const a = member();
    a.core.connected(stranger.key);
    a.core.received(stranger.key, bytes);
    assert.deepEqual(a.reasons(stranger), ["garbage"]);
  }
});

Deno.test("PeerCore takes nothing but small talk before both sides are ready", () => {
  const frames: Frame[] = [
    { frame: "events", events: [encodeSigned(GENESIS)] },
    { frame: "health", records: [] },
    { frame: "again" },
    { frame: "sync", message: new Uint8Array(3) },
  ];
  for (const frame of frames) {
    const a = member();
    a.meet(stranger);
    a.say(stranger, { frame: "ready" });
    a.say(stranger, frame);
    assert.deepEqual(a.reasons(stranger), ["garbage"], frame.frame);
  }
});

Deno.test("PeerCore follows one realm", () => {
  const a = member(high);
  a.meet(high, { topic: cidOf(new Uint8Array([1])) });
  assert.deepEqual(a.reasons(high), ["it follows another realm"]);
  assert.ok(a.core.mayConnect(high.key), "that is no fault");
});

Deno.test("PeerCore bounds how fast a peer may speak", () => {
  const many = member(high);
  linked(many, high);
  const again = encodeCanonical({ frame: "later" });
  for (let i = 0; i < 20 * FRAMES_PER_SEC; i++) many.core.received(high.key, again);
  assert.ok(many.reasons(high).includes("flood"));

  const patient = member(high);
  linked(patient, high);
  for (let i = 0; i < 20 * FRAMES_PER_SEC; i++) {
    patient.nowMs += 1000 / FRAMES_PER_SEC;
    patient.core.received(high.key, again);
  }
  assert.deepEqual(patient.reasons(high), []);

  const large = member(high);
  linked(large, high);
  const frame = encodeFrame({ frame: "health", records: [new Uint8Array(1_000_000)] });
  for (let i = 0; i < 20 * FRAME_BYTES_PER_SEC / frame.length; i++) {
    large.core.received(high.key, frame);
  }
  assert.ok(large.reasons(high).length > 0);
});

Deno.test("PeerCore holds a bounded number of strangers, and members beside them", () => {
  const a = member(high);
  linked(a, high);
  for (let i = 0; i < 10 * STRANGERS_MAX; i++) {
    const key = formatPublicKey(sha256(new Uint8Array([i & 255, i >> 8])));
    a.core.connected(key);
    a.core.received(key, encodeFrame({ ...helloOf(high), name: `made up ${i}` } as Frame));
  }
  assert.ok(a.core.links().length <= STRANGERS_MAX + 2);
  assert.ok(a.core.introductions().length <= STRANGERS_MAX);
  assert.ok(a.core.isLinked(high.key));
});

Deno.test("PeerCore cuts who says nothing, and who does not read", () => {
  const a = member(high, low);
  a.core.connected(stranger.key);
  linked(a, high);
  a.nowMs += 10_001;
  a.core.tick();
  assert.deepEqual(a.reasons(stranger), ["it said nothing"]);
  a.nowMs += 5_000;
  a.core.tick();
  assert.deepEqual(a.reasons(high), ["it is silent"]);

  const b = member(high);
  linked(b, high);
  b.hasRoom = false;
  const before = b.sent.length;
  for (let i = 0; i < 100; i++) {
    b.act({ kind: "approve", key: player(`p${i % 5}`).key, name: `n${i}` });
    b.nowMs += 100;
    b.core.tick();
  }
  assert.ok(b.sent.length <= before + 1, "what there is no room for is left to a session");
});

Deno.test("PeerCore tells who is named by its ticket nothing, and takes what it sends", () => {
  const joiner = new Bench(player("joiner"), [high]);
  joiner.meet(high);
  joiner.say(high, { frame: "ready" });
  assert.ok(joiner.core.isLinked(high.key));
  joiner.say(high, { frame: "events", events: [encodeSigned(GENESIS)] });
  joiner.nowMs += 10;
  joiner.core.tick();
  assert.equal(joiner.log.topic?.size, 1);
  joiner.nowMs += 5_000;
  joiner.core.tick();
  const kinds = joiner.kindsTo(high);
  assert.ok(!kinds.includes("events") && !kinds.includes("health"), kinds.join());
});

Deno.test("PeerCore believes an approval that it missed, as far as to read", () => {
  const a = member(); // knows nobody else
  const newer = member(high);
  const approval = newer.log.load(
    newer.log.topic!.order().findLast(({ type }) => type === "control/approve")!.id,
  )!;
  a.meet(high);
  assert.deepEqual(a.kindsTo(high), ["hello", "pending"]);
  const selfMade = a.sign(high, { kind: "approve", key: high.key, name: "mine" });
  a.say(high, { frame: "vouch", events: [encodeSigned(selfMade)] });
  assert.ok(!a.kindsTo(high).includes("ready"), "its own word is nothing");

  const b = member();
  b.meet(high);
  b.say(high, { frame: "vouch", events: [encodeSigned(approval)] });
  b.say(high, { frame: "ready" });
  assert.ok(b.core.isLinked(high.key));
  b.nowMs += 3_000;
  b.core.tick();
  assert.ok(!b.kindsTo(high).includes("health"), "it is given nothing");

  const c = member();
  c.act({ kind: "revoke", key: high.key, last: null });
  c.core.connected(high.key);
  c.say(high, { frame: "vouch", events: [encodeSigned(approval)] });
  assert.ok(!c.core.isLinked(high.key), "a revocation is final");
});

Deno.test("PeerCore believes no approval of an owner who was replaced", () => {
  const heir = player("heir");
  const stolen = member(high); // approved by the owner before, whom this node knows as replaced
  const approval = stolen.log.load(
    stolen.log.topic!.order().findLast(({ type }) => type === "control/approve")!.id,
  )!;
  const vouched = (bench: Bench) => {
    bench.meet(high);
    bench.say(high, { frame: "vouch", events: [encodeSigned(approval)] });
    bench.say(high, { frame: "ready" });
    return bench.core.isLinked(high.key);
  };
  assert.ok(vouched(member()), "who knows of no succession believes it");
  const a = member();
  a.act({ kind: "succession", owner: heir.key, last: null }, recovery);
  assert.equal(a.log.view!.owner, heir.key);
  assert.ok(!vouched(a));
});

Deno.test("PeerCore.write() is durable when it returns; a node without a say writes nothing", () => {
  const a = member();
  a.act({
    kind: "exec",
    node: "a",
    command: ["uptime"],
    nonce: new Uint8Array(16),
    expiresAtMs: 1,
  });
  const exec = a.log.topic!.order().at(-1)!.id;
  const { id } = a.core.write({ kind: "executed", exec, status: 0 });
  assert.ok(a.log.isStored(id));
  assert.throws(() => new Bench(stranger).core.write({ kind: "executed", exec, status: 0 }));
});

Deno.test("PeerCore learns its own epoch from what it has signed itself, and from nobody else", () => {
  const epochAfter = (author: Player) => {
    const a = member(high);
    linked(a, high);
    a.say(high, { frame: "health", records: [recordOf(a, author, 9)] });
    a.nowMs += 10_000;
    a.core.tick();
    return { epoch: a.core.healthOf(a.self.key)?.record.epoch, cuts: a.reasons(high) };
  };
  assert.equal(epochAfter(player("a")).epoch, 10, "said at an earlier start");
  const { epoch, cuts } = epochAfter(stranger);
  assert.equal(epoch, 1);
  assert.deepEqual(cuts, ["forged"]);
});

Deno.test("PeerCore is heard though an earlier start had the same epoch, which could not be stored", () => {
  const [a, others] = [member(high), new HealthBoard(high.key)];
  const read = (bytes: Uint8Array) => readHealth(bytes, ({ key }) => key === a.self.key, verify);
  const before = read(recordOf(a, a.self, 1, { counter: 43_200 }))!;
  others.put(before, 0, true);
  linked(a, high);
  a.say(high, { frame: "health", records: [before.bytes] });
  /** What it says of itself in some time. */
  const tell = () => {
    for (let i = 0; i < 4; i++) {
      a.nowMs += 2_000;
      a.core.tick();
      a.say(high, { frame: "health", records: [] }); // it is there
    }
    const frames = a.sent.splice(0).map(({ frame }) => frame);
    return frames.flatMap((frame) => frame.frame === "health" ? frame.records : [])
      .flatMap((bytes) => read(bytes) ?? []);
  };
  const said = tell();
  assert.ok(said.length > 0 && said.every(({ record }) => others.isNews(record)));
  // What comes back of that raises it no more.
  for (const { bytes } of [before, ...said]) {
    a.say(high, { frame: "health", records: [bytes] });
  }
  const epochs = [...said, ...tell()].map(({ record }) => record.epoch);
  assert.deepEqual(new Set(epochs), new Set([2]));
  assert.ok(a.core.isLinked(high.key));
});

Deno.test("PeerCore acts on what it could not write once it can", () => {
  const a = member();
  a.core.tick();
  const write = a.log.flush.bind(a.log);
  let acted = 0;
  a.changed = () => acted++;
  a.log.flush = () => {
    throw new Error("the disk is full");
  };
  assert.throws(() => a.act({ kind: "approve", key: high.key, name: "c" }), /disk is full/);
  for (let i = 0; i < 3; i++) {
    a.nowMs += 1_000;
    assert.throws(() => a.core.tick(), /disk is full/);
  }
  assert.equal(acted, 0);
  a.log.flush = write;
  a.nowMs += 1_000;
  a.core.tick();
  assert.equal(acted, 1);
});

Deno.test("PeerCore tells when a node runs something else or found a release to fail, soon and once", () => {
  const bench = member(low);
  linked(bench, low);
  let changes = 0;
  bench.changed = () => changes++;
  let counter = 1;
  const hear = (but: Partial<HealthRecord>) => {
    const record = recordOf(bench, low, 1, { key: low.key, counter: counter++, ...but });
    bench.say(low, { frame: "health", records: [record] });
    bench.nowMs += 200;
    bench.core.tick();
    return changes;
  };
  const component = {
    component: "web",
    digest: "0f".repeat(32),
    wanted: 1,
    running: 1,
    revision: "0123456789abcdef",
    slots: 1,
    settled: 0,
    doubled: 0,
    isComplete: false,
    isHeld: false,
    tries: 0,
  };
  const failure = {
    component: "web",
    version: 2,
    release: "0123456789abcdef",
    node: "b",
    evidence: "",
  };
  const first = hear({});
  assert.ok(first > 0, "it lives");
  assert.equal(hear({ replicas: [component] }), first + 1);
  assert.equal(hear({ replicas: [component], memoryBytes: 5 }), first + 1, "that is nothing");
  assert.equal(hear({ replicas: [{ ...component, settled: 1 }] }), first + 2);
  assert.equal(hear({ replicas: [{ ...component, settled: 1 }], failures: [failure] }), first + 3);
  assert.equal(
    hear({ replicas: [{ ...component, settled: 1 }], failures: [failure], version: 3 }),
    first + 4,
  );
  const said = { replicas: [{ ...component, settled: 1 }], failures: [failure], version: 3 };
  assert.equal(hear({ ...said, basis: "fedcba9876543210" }), first + 5, "it goes by other drains");
  const refusal = { version: 4, why: "policy" };
  assert.equal(
    hear({ ...said, basis: "fedcba9876543210", refusal }),
    first + 6,
    "it refuses a manifest",
  );
  assert.equal(
    hear({ ...said, basis: "fedcba9876543210", refusal, turns: 1 }),
    first + 7,
    "it did not for a moment",
  );
  const heard = { component: "web", version: 2, release: "0123456789abcdef", node: "c" };
  const verdicts = [{ ...heard, wasComplete: true }];
  assert.equal(
    hear({ ...said, basis: "fedcba9876543210", refusal, turns: 1, verdicts }),
    first + 8,
    "it heard a verdict",
  );
});

Deno.test("PeerCore adds nothing to a log that cannot be stored, and keeps what was added before that was known", () => {
  const bench = member();
  const approve = ({ key, name }: Player) => ({ kind: "approve", key, name }) as const;
  const size = () => bench.log.topic!.size;
  const before = size();
  bench.store.isFull = true;
  const isFailed = (hint: RegExp) => (error: unknown) =>
    error instanceof RealmError && error.code === "failed" && hint.test(error.hint ?? "");
  assert.throws(() => bench.act(approve(low)), isFailed(/^Do not write it again/));
  assert.equal(size(), before + 1);
  for (const again of [1, 2]) {
    // Whoever tries again meets an error, and adds nothing.
    assert.throws(() => bench.act(approve(high)), isFailed(/^$/), `${again}`);
    assert.throws(() => bench.core.tick(), isFailed(/^$/));
  }
  assert.equal(size(), before + 1);
  assert.equal([...bench.log.stored()].length, before);

  bench.store.isFull = false;
  bench.act(approve(high));
  assert.equal([...bench.log.stored()].length, before + 2);
});
