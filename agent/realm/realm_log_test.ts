import assert from "node:assert/strict";
import fc from "fast-check";
import { sha256 } from "@noble/hashes/sha2.js";
import { cidOf, encodeCanonical } from "../kernel/canonical.ts";
import { RealmError } from "../kernel/error.ts";
import {
  decodeSigned,
  encodeSigned,
  genesisEvent,
  type SignedEvent,
  signEventSync,
} from "../kernel/event.ts";
import type { ScanPage, Store, StoreOp } from "../kernel/ports.ts";
import type { TopicEvent } from "../kernel/topic.ts";
import { MemoryStore } from "../store/memory_store.ts";
import { ASIDE_MAX } from "../kernel/aside.ts";
import { controlContent, type ControlEvent, createControlGenesis } from "./control_event.ts";
import { RealmFold } from "./realm_fold.ts";
import type { RealmLog, Refusal } from "./realm_log.ts";
import {
  allOf,
  genesis,
  heir,
  manifestOf,
  nodes,
  openLog,
  operator,
  owner,
  type Person,
  proposed,
  recovery,
  signed,
  stranger,
  summary,
} from "./realm_log_fake.ts";
import { BRANCHES_MAX } from "./standing.ts";
import { viewDigest } from "./realm_view.ts";

const [one, two] = nodes;
const approve = (node: Person, name: string): ControlEvent => ({
  kind: "approve",
  key: node.key,
  name,
});
const drain: ControlEvent = { kind: "drain", node: "bm-01", drained: true };
const isCode = (code: string) => (error: unknown) =>
  error instanceof RealmError && error.code === code;

/** Offers an event that is refused, and says why; the log is as it was. */
function refusal(log: RealmLog, event: SignedEvent): Refusal {
  const before = summary(log);
  const { accepted, refused } = log.offer([event]);
  assert.deepEqual([accepted.length, refused.length], [0, 1]);
  assert.deepEqual(summary(log), before);
  assert.deepEqual(log.topic!.get(event.id), undefined);
  return refused[0]!;
}

/** Another log with the same events. */
function copy(log: RealmLog): RealmLog {
  const other = openLog();
  other.offer(allOf(log));
  return other;
}

Deno.test("a log keeps what it flushed, and nothing else, over a restart", async () => {
  const store = new MemoryStore();
  const log = openLog(store, { owner: owner.key });
  assert.deepEqual([log.view, log.topic, log.manifest()], [undefined, undefined, undefined]);
  assert.deepEqual(log.offer([genesis]).accepted, [genesis]);
  const approved = log.append(approve(one, "bm-01"), owner);
  assert.deepEqual([[...log.stored()], log.isStored(approved.id)], [[], false]);
  assert.deepEqual(log.flush(5), [genesis, approved]);
  assert.deepEqual(log.flush(6), []);
  const later = log.append(await manifestOf(owner, 1), owner);
  assert.equal(log.view!.inForce!.version, 1);
  assert.equal(log.manifest()!.signature.version, 1); // read from what is not durable yet
  assert.equal([...log.stored()].length, 2);
  assert.deepEqual([log.load(approved.id), log.load(later.id)], [approved, undefined]);
  assert.deepEqual([log.isStored(approved.id), log.isStored(later.id)], [true, false]);

  const again = openLog(store, { owner: owner.key });
  assert.deepEqual([...again.view!.nodes.keys()], [one.key]);
  assert.equal(again.view!.inForce, undefined);
  assert.deepEqual([again.storedAtMs(approved.id), again.storedAtMs(later.id)], [5, undefined]);
  assert.deepEqual(again.flush(7), []);
  again.offer([later]);
  assert.equal(viewDigest(again.view!), viewDigest(log.view!));
});

Deno.test("a log without a genesis takes that of its topic, or of its owner, and no other", async () => {
  const theirs = await createControlGenesis(stranger, recovery.publicKey);
  const second = await createControlGenesis(owner, stranger.publicKey);
  const event = proposed(openLog(), owner, approve(one, "bm-01"));
  const cases = [
    [{ owner: owner.key }, [theirs, event, genesis], genesis],
    [{ topic: genesis.id.toString() }, [theirs, second, genesis], genesis],
    [{ topic: genesis.id.toString(), owner: heir.key }, [theirs, genesis], genesis],
    [{ owner: owner.key }, [theirs, second], second],
    [{ owner: heir.key }, [theirs, genesis, second], undefined],
    [{}, [theirs, genesis, second], undefined],
  ] as const;
  for (const [trust, events, wanted] of cases) {
    const log = openLog(new MemoryStore(), trust);
    log.offer(events);
    assert.deepEqual(log.topic?.id, wanted?.id);
    log.flush(0);
    if (wanted === undefined) continue;
    // From then on it is this one, and another is refused.
    assert.equal(refusal(log, theirs).code, "corrupt");
  }
  const none = openLog(new MemoryStore(), { owner: owner.key });
  const { refused } = none.offer([event]);
  assert.equal(refused[0]!.code, "unclaimed");
  assert.throws(() => none.append(drain, owner), isCode("unclaimed"));
});

Deno.test("a genesis that is not one of a control log is refused", () => {
  const recoveryHash = sha256(recovery.publicKey);
  const contents = [
    controlContent({ kind: "genesis", owner: heir.key, recoveryHash }),
    controlContent(approve(one, "bm-01")),
    { type: "test/genesis", payload: null },
  ];
  for (const content of contents) {
    const log = openLog(new MemoryStore(), { owner: owner.key });
    const event = signEventSync(genesisEvent(owner.publicKey, content), owner);
    const { accepted, refused } = log.offer([event]);
    assert.deepEqual([accepted.length, refused[0]!.code, log.topic], [0, "corrupt", undefined]);
  }
});

Deno.test("a log refuses at the door what is forged, foreign or malformed", async () => {
  const log = openLog();
  const good = proposed(log, owner, approve(one, "bm-01"));
  const { topic: _, ...place } = log.placeFor(owner.publicKey);
  const otherTopic = (await createControlGenesis(owner, stranger.publicKey)).id;
  const byOther = signed(stranger, log.placeFor(stranger.publicKey), approve(one, "bm-01"));
  const raw = (payload: null, type = "control/approve") =>
    signEventSync({ ...good.event, payload, type }, owner);
  const cases: [SignedEvent, Refusal["code"]][] = [
    [{ ...good, signature: byOther.signature }, "bad-signature"],
    [decodeSigned(encodeSigned({ ...good, signature: new Uint8Array(64) })), "bad-signature"],
    // Somebody else's signature below the owner's name.
    [signEventSync(good.event, stranger), "bad-signature"],
    [signed(owner, { ...place, topic: otherTopic }, approve(one, "bm-01")), "corrupt"],
    [signEventSync({ ...good.event, lamport: 7 }, owner), "corrupt"],
    [raw(null), "corrupt"],
    [
      signed(owner, log.placeFor(owner.publicKey), { kind: "revoke", key: owner.key, last: null }),
      "corrupt",
    ],
    [byOther, "refused"],
    [signed(one, log.placeFor(one.publicKey), approve(one, "bm-01")), "refused"],
  ];
  for (const [event, code] of cases) assert.equal(refusal(log, event).code, code);
  assert.equal(log.offer([good]).accepted.length, 1);
});

Deno.test("nodes and operators may not do what is the owner's, and nobody what is another's", async () => {
  const log = openLog();
  log.append(approve(one, "bm-01"), owner);
  log.append(await manifestOf(owner, 1, { operators: [operator] }), owner);
  const exec: ControlEvent = {
    kind: "exec",
    node: "bm-01",
    command: ["id"],
    nonce: new Uint8Array(16),
    expiresAtMs: 1,
  };
  const asked = log.append(exec, owner);
  const executed: ControlEvent = { kind: "executed", exec: asked.id, status: 0 };
  const succession: ControlEvent = { kind: "succession", owner: heir.key, last: null };
  const ofOwner: ControlEvent[] = [
    approve(two, "bm-02"),
    approve(one, "bm-01"),
    { kind: "revoke", key: two.key, last: null },
    await manifestOf(owner, 2),
    await manifestOf(operator, 2),
    exec,
    { kind: "genesis", owner: operator.key, recoveryHash: new Uint8Array(32) },
  ];
  const cases: [Person, readonly ControlEvent[]][] = [
    [operator, [...ofOwner, executed, succession]],
    [one, [...ofOwner, drain, succession]],
    [stranger, [...ofOwner, drain, executed, succession]],
    [owner, [succession]],
    [recovery, [...ofOwner, drain, executed]],
  ];
  for (const [by, list] of cases) {
    for (const said of list) {
      assert.equal(refusal(log, proposed(log, by, said)).code, "refused", `${said.kind}`);
      assert.throws(() => log.append(said, by), isCode("refused"));
    }
  }
  assert.equal(log.offer([proposed(log, one, executed)]).accepted.length, 1);
  assert.equal(log.offer([proposed(log, operator, drain)]).accepted.length, 1);
});

Deno.test("an event that names what it cannot is refused for good", () => {
  const log = openLog();
  log.append(approve(one, "bm-01"), owner);
  const byOwner = log.append(approve(two, "bm-02"), owner);
  const ghost = cidOf(encodeCanonical(0));
  const cases: [Person, ControlEvent, RegExp][] = [
    [owner, { kind: "revoke", key: one.key, last: ghost }, /last is no event of the key/],
    [owner, { kind: "revoke", key: one.key, last: byOwner.id }, /last is no event of the key/],
    [owner, { kind: "revoke", key: owner.key, last: null }, /its own key/],
    [recovery, { kind: "succession", owner: owner.key, last: null }, /is or was owner/],
    [recovery, { kind: "succession", owner: recovery.key, last: null }, /recovery key/],
    [recovery, { kind: "succession", owner: heir.key, last: ghost }, /last is no event/],
    [one, { kind: "executed", exec: byOwner.id, status: 0 }, /exec is no command in its past/],
    [one, { kind: "executed", exec: ghost, status: 0 }, /exec is no command in its past/],
  ];
  for (const [by, said, problem] of cases) {
    const { code, problem: found } = refusal(log, proposed(log, by, said));
    assert.equal(code, "corrupt");
    assert.match(found, problem);
  }
});

Deno.test("an operator's branches are bounded; one more comes with an event that needs it", async () => {
  const log = openLog();
  log.append(await manifestOf(owner, 1, { operators: [operator] }), owner);
  const place = log.placeFor(operator.publicKey);
  const branch = (component: string) =>
    signed(operator, place, { kind: "restart", component, nodes: [] });
  for (let i = 0; i < BRANCHES_MAX; i++) {
    assert.equal(log.offer([branch(`c${i}`)]).accepted.length, 1);
  }
  const beyond = branch("beyond");
  assert.equal(refusal(log, beyond).code, "void");
  // The operator goes on after what it knows to be there: that is no new branch.
  const heads = [...log.topic!.tipsOf(operator.publicKey).slice(0, 2), beyond.event].map((
    e,
    i,
  ) => ({
    id: i === 2 ? beyond.id : (e as TopicEvent).id,
    lamport: e.lamport,
  }));
  const joined = signed(
    operator,
    { ...place, heads, previous: { id: heads[0]!.id, seq: 0 } },
    drain,
  );
  assert.deepEqual(log.offer([joined]).accepted, [beyond, joined]);
  assert.equal(log.topic!.tipsOf(operator.publicKey).length, BRANCHES_MAX - 1);
  // Owners are the root of all trust: a thief's branches end by a succession.
  for (let i = 0; i < 2 * BRANCHES_MAX; i++) {
    const event = signed(owner, openLog().placeFor(owner.publicKey), approve(one, `n${i}`));
    assert.equal(log.offer([event]).accepted.length, 1);
  }
});

Deno.test("what does not count, because its author has branches, costs no fold of everything", async () => {
  const log = openLog();
  log.append(approve(one, "bm-01"), owner);
  log.append(await manifestOf(owner, 1, { operators: [operator] }), owner);
  const fork = signed(operator, log.placeFor(operator.publicKey), drain);
  log.append({ kind: "restart", component: "auth", nodes: [] }, operator);
  log.offer([fork]);
  assert.equal(log.view!.alarms[0]?.kind, "conflict");
  const { of } = RealmFold;
  let folds = 0;
  RealmFold.of = (source) => (folds++, of.call(RealmFold, source));
  try {
    let before = fork;
    for (let i = 0; i < 50; i++) {
      const { id, event: { lamport, seq } } = before;
      const heads = [{ id, lamport }];
      before = signed(operator, { ...log.placeFor(one.publicKey), heads, previous: { id, seq } }, {
        ...drain,
        drained: i % 2 === 0,
      });
      assert.deepEqual(log.offer([before]).accepted, [before]);
      assert.deepEqual(log.view!.overrides.drained, []);
    }
    assert.equal(folds, 0);
    // Joined, all of it counts.
    log.append({ kind: "drain", node: "bm-02", drained: true }, operator);
    assert.deepEqual(log.view!.overrides.drained, ["bm-02"]);
    assert.equal(log.view!.overrides.restarts.length, 1);
    assert.equal(folds, 1);
  } finally {
    RealmFold.of = of;
  }
  assert.deepEqual(summary(log), summary(copy(log)));
});

Deno.test("an event of a later version of realm is kept, if it is the owner's", () => {
  const log = openLog();
  const later = (by: Person) => {
    const { event } = proposed(log, by, drain);
    return signEventSync({ ...event, type: "control/later", payload: [1] }, by);
  };
  assert.equal(refusal(log, later(stranger)).code, "refused");
  const before = log.view!;
  assert.equal(log.offer([later(owner)]).accepted.length, 1);
  assert.deepEqual(log.view, before);
});

Deno.test("events come in any order: what is missing is named, and what waits is taken", () => {
  const source = openLog();
  const events = [one, two, one, two].map((node, i) =>
    source.append(approve(node, `n${i}`), owner)
  );
  const log = openLog();
  const [a, b, c, d] = events as [SignedEvent, SignedEvent, SignedEvent, SignedEvent];
  assert.deepEqual(log.offer([d]).missing.map(String), [c.id.toString()]);
  assert.deepEqual(log.offer([b, c]).missing.map(String), [a.id.toString()]);
  assert.equal(log.offer([b, d]).known, 0);
  assert.deepEqual(log.offer([a]).accepted, events);
  const nothing = { accepted: [], missing: [], refused: [], isAgain: false };
  assert.deepEqual(log.offer([a, d]), { ...nothing, known: 2 });
  assert.deepEqual(summary(log), summary(source));
});

Deno.test("an event of an author without a say is taken once it has one, or is needed", async () => {
  const source = openLog();
  source.append(await manifestOf(owner, 1, { operators: [operator] }), owner);
  const drained = source.append(drain, operator);
  // The operator's event was made before the manifest was known here, as far as its parents say.
  const early = signed(operator, openLog().placeFor(operator.publicKey), drain);
  const log = openLog();
  assert.equal(log.offer([early]).refused[0]!.code, "refused");
  log.offer(allOf(source));
  assert.ok(log.topic!.has(early.id));

  // Revoked, and so void; but another one that is not void has it in its past.
  const revoking = openLog();
  revoking.offer(allOf(source).filter(({ id }) => !id.equals(drained.id)));
  revoking.append({ kind: "revoke", key: operator.key, last: null }, owner);
  const after = source.append(approve(one, "bm-01"), owner);
  assert.equal(refusal(revoking, drained).code, "void");
  assert.deepEqual(revoking.offer([after]).accepted, [drained, after]);
  assert.deepEqual(revoking.view!.overrides.drained, []);
});

Deno.test("what is set aside is bounded, and the oldest goes first", () => {
  const log = openLog();
  const place = log.placeFor(stranger.publicKey);
  const flood = Array.from(
    { length: ASIDE_MAX + 10 },
    (_, i) => signed(stranger, place, { kind: "drain", node: `n${i}`, drained: true }),
  );
  const wanted = signed(one, place, { kind: "drain", node: "x", drained: true });
  log.offer([wanted]);
  for (let at = 0; at < flood.length; at += 100) {
    const { refused, accepted } = log.offer(flood.slice(at, at + 100));
    assert.equal(accepted.length, 0);
    assert.ok(refused.length > 0);
  }
  // What is still there of the flood is known not to be missing; what went is asked for again.
  const event = signed(owner, {
    ...log.placeFor(owner.publicKey),
    heads: [wanted, flood.at(-1)!].map(({ id, event }) => ({ id, lamport: event.lamport })),
    previous: { id: genesis.id, seq: 0 },
  }, drain);
  assert.deepEqual(log.offer([event]).missing.map(String), [wanted.id.toString()]);
  assert.deepEqual(log.offer([wanted]).accepted.length, 3);
});

Deno.test("a log is told of a damaged store, of one with a hole, and of one of another realm", async () => {
  const store = new MemoryStore();
  const log = openLog(store);
  log.append(approve(one, "bm-01"), owner);
  log.append(approve(two, "bm-02"), owner);
  log.append({ kind: "revoke", key: one.key, last: null }, owner);
  log.flush(0);
  const trust = { owner: owner.key };
  for (const wrong of [{ owner: heir.key }, { topic: cidOf(encodeCanonical(0)).toString() }]) {
    assert.throws(() => openLog(store, wrong), isCode("wrong-owner"));
  }
  const pairs = [...store.scan("")];
  for (const [key, value] of pairs) {
    store.write([{ delete: key }]);
    if (key !== pairs.at(-1)![0]) assert.throws(() => openLog(store, trust), isCode("corrupt"));
    const damaged = value.slice();
    damaged[100]! ^= 1;
    store.write([{ put: key, value: damaged }]);
    assert.throws(
      () => openLog(store, trust),
      (error) => isCode("corrupt")(error) || isCode("bad-signature")(error),
      key,
    );
    for (const other of [{}, [], [1, 2], [new Uint8Array(9), 2], null]) {
      store.write([{ put: key, value: encodeCanonical(other) }]);
      assert.throws(() => openLog(store, trust), isCode("corrupt"));
    }
    store.write([{ put: key, value }]);
  }
  assert.equal(openLog(store, trust).view!.nodes.size, 1);
  // After a succession the new owner may be named too.
  log.append({ kind: "succession", owner: heir.key, last: null }, recovery);
  log.flush(0);
  assert.equal(openLog(store, { owner: heir.key }).view!.owner, heir.key);
});

/** A store whose process is killed in one of its writes: that one is there, or not. */
class MortalStore implements Store {
  constructor(readonly inner: MemoryStore, public left: number, readonly isWritten: boolean) {}
  get = (key: string) => this.inner.get(key);
  scan = (prefix: string, page?: ScanPage) => this.inner.scan(prefix, page);
  keys = (prefix: string) => this.inner.keys(prefix);
  write(ops: readonly StoreOp[]): void {
    const isLast = this.left-- === 0;
    if (!isLast || this.isWritten) this.inner.write(ops);
    if (isLast) throw new Error("killed");
  }
  close() {}
}

Deno.test("a node that is killed at any moment never writes another event in place of one it told of", () => {
  const steps = fc.array(
    fc.record({ says: fc.integer({ min: 0, max: 3 }), flushes: fc.boolean() }),
  );
  fc.assert(fc.property(steps, fc.nat(6), fc.boolean(), (list, writes, isWritten) => {
    const disk = new MemoryStore();
    const first = openLog(disk);
    first.append(approve(one, "bm-01"), owner);
    first.flush(0);
    const told: SignedEvent[] = [];
    try {
      const log = openLog(new MortalStore(disk, writes, isWritten), { owner: owner.key });
      for (const { says, flushes } of list) {
        for (let i = 0; i < says; i++) log.append(approve(two, `n${told.length}-${i}`), owner);
        if (flushes) told.push(...log.flush(0));
      }
    } catch (error) {
      assert.equal((error as Error).message, "killed");
    }
    const log = openLog(disk, { owner: owner.key });
    for (const event of told) assert.deepEqual(log.load(event.id), event);
    log.append(approve(two, "after"), owner);
    const others = openLog();
    others.offer(told);
    others.offer(allOf(log));
    assert.deepEqual(others.view!.alarms.filter(({ kind }) => kind === "conflict"), []);
  }));
});

Deno.test("flush() hands on what is kept, and stores the rest too", async () => {
  const store = new MemoryStore();
  const log = openLog(store);
  log.append(await manifestOf(owner, 1, { operators: [operator] }), owner);
  log.flush(0);
  const rescue = openLog();
  rescue.offer(allOf(log));
  const drained = log.append(drain, operator);
  const revoked = rescue.append({ kind: "revoke", key: operator.key, last: null }, owner);
  log.offer([revoked]);
  assert.deepEqual(log.flush(0), [revoked]);
  assert.deepEqual([...log.stored()].map(({ id }) => log.load(id)).includes(drained), false);
  assert.ok(log.isStored(drained.id));
  assert.deepEqual(summary(openLog(store, { owner: owner.key })), summary(log));
});

Deno.test("flush() that fails hands nothing on, and can be called again", () => {
  const disk = new MemoryStore();
  const log = openLog(new MortalStore(disk, 0, false));
  const event = log.append(approve(one, "bm-01"), owner);
  assert.throws(() => log.flush(0), /killed/);
  assert.deepEqual([log.load(event.id), [...log.stored()]], [undefined, []]);
  assert.deepEqual(log.flush(0), [genesis, event]);
  assert.equal(openLog(disk, { owner: owner.key }).view!.nodes.size, 1);
});

Deno.test("a chain that hangs in the air costs a few looks for each event, however long it is", () => {
  const source = openLog();
  const chain = Array.from({ length: 400 }, (_, i) => source.append(approve(one, `n${i}`), owner));
  const log = openLog();
  const at = log.topic!.at.bind(log.topic);
  let looks = 0;
  log.topic!.at = (key) => {
    looks++;
    return at(key);
  };
  assert.equal(log.offer(chain.slice(1)).missing.length, 1);
  assert.ok(looks < 20 * chain.length, `${looks} looks`);
  assert.equal(log.offer(chain.slice(0, 1)).accepted.length, chain.length);
});
