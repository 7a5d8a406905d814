import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesOf } from "../kernel/byte_string.ts";
import { cidOf } from "../kernel/canonical.ts";
import {
  encodeEvent,
  type Event,
  genesisEvent,
  nextEvent,
  type SignedEvent,
} from "../kernel/event.ts";
import { Topic, type TopicEvent } from "../kernel/topic.ts";
import { componentOf, moduleText } from "./guest/component_fake.ts";
import type { AppliedEvent } from "./guest/host_imports.ts";
import { type Outcome, StateApply } from "./guest/state_apply.ts";
import { CHECKPOINT_TYPE, type Guest, Replay, type ReplayParts } from "./replay.ts";
import { orderDigest } from "./replay_order.ts";
import { type Journal, State } from "./state.ts";
import { Snapshots } from "./snapshots.ts";

const ABI = 1;
const authors = [1, 2, 3, 4].map((byte) => new Uint8Array(32).fill(byte));
const [ann, ben, cem] = authors as [Uint8Array, Uint8Array, Uint8Array];
const bytes = (text: string) => Uint8Array.from(Buffer.from(text, "latin1"));

/** An event as its author would sign it; a topic asks for no signature. */
function made(event: Event): SignedEvent {
  const encoded = encodeEvent(event);
  return { id: cidOf(encoded), event, bytes: encoded, signature: new Uint8Array(64) };
}

const genesis = made(genesisEvent(ann, { type: "test/genesis", payload: null }));
let count = 0;
function next(
  author: Uint8Array,
  heads: SignedEvent[],
  previous: SignedEvent | undefined,
  type = "app/event",
): SignedEvent {
  return made(nextEvent(author, heads, previous, { type, payload: count++ }));
}

/** An event as the app sees it; `app/other` is not for it. */
function read({ key, author, seq, lamport, type }: TopicEvent): AppliedEvent | undefined {
  if (!type.startsWith("app/event")) return undefined;
  const id = bytesOf(key);
  return { id, author, seq, lamport, kind: bytes(type), payload: id };
}

/** A guest of which everything depends on everything before. */
const chained = {
  applied: 0,
  apply({ id, author }: AppliedEvent, writes: Journal): Outcome {
    this.applied++;
    const before = writes.get(bytes("chain")) ?? new Uint8Array(32);
    const after = sha256(Uint8Array.of(...before, ...id));
    writes.put(bytes("chain"), after);
    writes.put(author, id);
    if (after[0]! < 128) writes.put(id, author);
    const verdict = after[1]! % 4 === 0
      ? { kind: "rejected", reason: after } as const
      : after[1]! % 4 === 1
      ? { kind: "out-of-fuel" } as const
      : { kind: "accepted" } as const;
    return { verdict, fuel: after[2]! };
  },
};

/** A guest of which an event depends on few others: four keys are read, written and removed. */
const loose = {
  applied: 0,
  apply({ id }: AppliedEvent, writes: Journal): Outcome {
    this.applied++;
    const key = (i: number) => bytes(`${id[i]! % 4}`);
    const found = id[0]! % 2 === 0 ? writes.get(key(1)) : undefined;
    if (id[0]! % 3 === 0) writes.delete(key(2));
    const again = id[0]! % 5 === 0 ? writes.get(key(2)) : undefined;
    if (id[3]! % 8 === 0) writes.scan(bytes(""), bytes(""), 2);
    if (id[4]! % 4 > 0) writes.put(key(3), Uint8Array.of(id[4]!, found?.[0] ?? 0));
    const fuel = (found?.[0] ?? 256) + (again?.[0] ?? 256);
    const verdict = id[5]! % 5 === 0 ? { kind: "rejected", reason: id } as const : ACCEPTED;
    return { verdict, fuel };
  },
};
const ACCEPTED = { kind: "accepted" } as const;

/** What an author's event depends on is the one before it of the same author. */
const byAuthor = (mark: string) => ({
  applied: 0,
  apply({ author }: AppliedEvent, writes: Journal): Outcome {
    this.applied++;
    writes.get(author);
    writes.put(author, bytes(mark));
    return { verdict: ACCEPTED, fuel: 0 };
  },
});

/** A guest of another bundle: what it applies comes out differently, and it may refuse to take over. */
function successor(bundle: string): Guest {
  const mark = sha256(bytes(bundle));
  return {
    apply: (event, writes) => chained.apply({ ...event, id: sha256(event.id) }, writes),
    migrate({ id, payload }, writes) {
      const before = writes.get(bytes("chain")) ?? new Uint8Array(32);
      writes.put(bytes("chain"), sha256(Uint8Array.of(...before, ...mark, ...payload)));
      return id[0]! % 3 === 0
        ? { verdict: { kind: "rejected", reason: id }, fuel: 7 }
        : { verdict: { kind: "accepted" }, fuel: 8 };
    },
  };
}

const hex = (state: State) => Buffer.from(state.digest(ABI)).toString("hex");

/** Everything that peers have to agree on. */
function agreed(replay: Replay) {
  assert.equal(replay.illness, undefined);
  assert.ok(replay.isSettled);
  return {
    digest: hex(replay.state),
    log: replay.log.map((event) => [event.key, replay.outcomeOf(event), replay.isFinal(event)]),
  };
}

function peer(parts: Partial<ReplayParts> = {}) {
  const topic = new Topic(genesis.id, genesis.event);
  const replay = new Replay({ topic, guest: chained, read, ...parts });
  /** Takes an event; false when it lacks a parent. */
  const take = (event: SignedEvent): boolean => {
    const added = topic.add(event);
    assert.notEqual(added.kind, "invalid");
    if (added.kind === "added") replay.added(added.event);
    return added.kind !== "missing";
  };
  return { topic, replay, take };
}

/** Events of several authors, who may write on branches; the creator writes checkpoints in line. */
const HISTORY = fc.array(
  fc.record({
    author: fc.nat(3),
    sees: fc.array(fc.nat(), { maxLength: 2 }),
    goesOn: fc.nat(9).map((n) => n > 0),
    type: fc.constantFrom("app/event", "app/event", "app/event", "app/other", CHECKPOINT_TYPE),
    seen: fc.integer({ min: 1, max: 12 }),
  }),
  { minLength: 1, maxLength: 40 },
).map((steps) => {
  const events = [genesis];
  const own: SignedEvent[][] = [[genesis], [], [], []];
  for (const { author, sees, goesOn, type, seen } of steps) {
    const mine = own[author]!;
    const previous = goesOn || author === 0 ? mine.at(-1) : mine[seen % (mine.length || 1)];
    const recent = events.slice(-seen);
    const heads = new Set([
      ...(previous ? [previous] : []),
      ...sees.map((n) => recent[n % recent.length]!),
    ]);
    if (heads.size === 0) heads.add(genesis);
    const event = next(authors[author]!, [...heads], previous, type);
    mine.push(event);
    events.push(event);
  }
  return events.slice(1);
});

/** An order of delivery, and after which events an update is made. */
const DELIVERY = fc.array(fc.record({ pick: fc.nat(), updates: fc.boolean(), ms: fc.nat(1000) }), {
  minLength: 1,
  maxLength: 60,
});

const anyOrder = (guest: Guest) => () => {
  fc.assert(
    fc.property(HISTORY, DELIVERY, fc.nat(3), (history, delivery, scarce) => {
      const straight = peer({ guest });
      for (const event of history) straight.take(event);
      straight.replay.update(0);
      const wanted = agreed(straight.replay);

      const rewindLimits = {
        authorEventsMax: 1 + 3 * scarce,
        authorEventsPerSecond: 5,
        eventsMax: 2 + 5 * scarce,
        eventsPerSecond: 10,
      };
      const { replay, take } = peer({ guest, rewindLimits });
      const open = [...history];
      let now = 0;
      /** An update that is over after so many events; 0 for all. */
      const update = (events: number) => replay.update(now, () => --events === 0);
      for (let i = 0; open.length > 0; i++) {
        const { pick, updates, ms } = delivery[i % delivery.length]!;
        // The next after it whose parents are there.
        let at = pick % open.length;
        while (!take(open[at]!)) at = (at + 1) % open.length;
        open.splice(at, 1);
        now += ms;
        if (!updates) continue;
        const { applied } = update(ms % 4);
        if (ms % 4 > 0) assert.ok(applied <= ms % 4);
        assert.ok(!replay.isBehind || replay.dueMs(now) === now && !replay.isSettled);
        const [first] = replay.log;
        if (first !== undefined) assert.ok(replay.stateAt(first) !== undefined);
      }
      update(scarce);
      for (let rounds = 0; !replay.isSettled; rounds++) {
        assert.ok(rounds < 1000, "what waits is never taken");
        now = replay.dueMs(now)!;
        update(scarce);
      }
      assert.deepEqual(agreed(replay), wanted);
      // Every state on the way is the one that a peer has which knows no more.
      let state = State.EMPTY;
      for (const event of replay.log) {
        const content = read(event);
        if (content !== undefined) {
          const journal = state.journal();
          if (guest.apply(content, journal).verdict.kind === "accepted") state = journal.commit();
        }
        assert.equal(hex(replay.stateAt(event)!), hex(state));
      }
    }),
    { numRuns: Deno.env.get("SLOW") ? 5000 : 150 },
  );
};

Deno.test("any order of delivery gives the same state, verdicts and fuel", anyOrder(chained));
Deno.test(
  "any order of delivery gives the same where few events depend on others",
  anyOrder(loose),
);

Deno.test("a late event is the only one that is applied where it changes nothing for the others", () => {
  const guest = byAuthor("a");
  const other = byAuthor("b");
  const upgrading: ReplayParts["read"] = (event) => {
    const content = read(event);
    if (content === undefined || event.type !== "app/event/upgrade") return content;
    return { bundle: "b", guest: other, upgrade: content };
  };
  const { replay, take } = peer({ guest, read: upgrading });
  const early = next(ben, [genesis], undefined);
  const upgrade = next(cem, [genesis], undefined, "app/event/upgrade");
  let last = genesis;
  for (let i = 0; i < 200; i++) take(last = next(ann, [last], last));
  replay.update(0);
  assert.equal(guest.applied, 200);
  take(early);
  const { applied } = replay.update(0);
  assert.ok(applied > 199);
  assert.equal(guest.applied, 201);
  assert.deepEqual(replay.state.get(ann), bytes("a"));
  // What another guest has made of an event says nothing of what this one would.
  take(upgrade);
  replay.update(0);
  assert.ok(other.applied >= 199);
  assert.deepEqual(replay.state.get(ann), bytes("b"));
});

Deno.test("any order of delivery gives the same state where bundles change, and late ones", () => {
  let upgrades = 0;
  let blocked = 0;
  fc.assert(
    fc.property(HISTORY, DELIVERY, fc.nat(60), (history, delivery, comesAt) => {
      const guests = new Map(["a", "b"].map((name) => [name, successor(name)]));
      const reading = (isThere: (bundle: string) => boolean) => (event: TopicEvent) => {
        const content = read(event);
        if (content === undefined || content.id[1]! % 4 > 0) return content;
        const bundle = content.id[1]! % 8 === 0 ? "a" : "b";
        return isThere(bundle)
          ? { bundle, guest: guests.get(bundle)!, upgrade: content }
          : { needed: { kind: "bundle", name: bundle } as const };
      };
      const straight = peer({ read: reading(() => true), bundle: "first" });
      for (const event of history) straight.take(event);
      straight.replay.update(0);
      const wanted = { ...agreed(straight.replay), bundle: straight.replay.bundle };
      if (wanted.bundle !== "first") upgrades++;

      let i = 0;
      const { replay, take } = peer({
        read: reading((bundle) => bundle === "a" || i > comesAt),
        bundle: "first",
      });
      const open = [...history];
      for (; open.length > 0; i++) {
        const { pick, updates } = delivery[i % delivery.length]!;
        let at = pick % open.length;
        while (!take(open[at]!)) at = (at + 1) % open.length;
        open.splice(at, 1);
        if (!updates) continue;
        replay.update(1e9 * i);
        const { needs, log } = replay;
        if (needs === undefined) continue;
        blocked++;
        assert.deepEqual([needs.kind, needs.name], ["bundle", "b"]);
        assert.ok(!replay.isSettled && !log.includes(needs.event));
        assert.equal(replay.outcomeOf(needs.event), undefined);
      }
      i = comesAt + 1;
      replay.update(1e12);
      assert.equal(replay.needs, undefined);
      assert.deepEqual({ ...agreed(replay), bundle: replay.bundle }, wanted);
      // The states on the way know which bundle was in force.
      const last = replay.log.at(-1);
      if (last !== undefined) assert.equal(hex(replay.stateAt(last)!), wanted.digest);
      for (const event of replay.log.filter((_, at) => at % 5 === 0)) {
        assert.equal(
          hex(replay.stateAt(event)!),
          hex(straight.replay.stateAt(straight.topic.at(event.key)!)!),
        );
      }
    }),
    { numRuns: Deno.env.get("SLOW") ? 5000 : 150 },
  );
  assert.ok(upgrades > 20 && blocked > 20, `${upgrades} upgrades, ${blocked} times blocked`);
});

Deno.test("a replay goes on from what another had come to, and learns the outcomes behind it", () => {
  let resumed = 0;
  let rewound = 0;
  fc.assert(
    fc.property(HISTORY, fc.nat(), fc.nat(), (history, cut, late) => {
      const straight = peer();
      for (const event of history) straight.take(event);
      straight.replay.update(0);
      const wanted = agreed(straight.replay);

      const before = peer();
      for (const event of history.slice(0, cut % (history.length + 1))) before.take(event);
      before.replay.update(0);
      const { log, state, bundle } = before.replay;
      const resume = { length: log.length, order: orderDigest(log), state, bundle, guest: chained };
      const after = peer({ resume });
      const open = [...history];
      // At least what the other had.
      const kept = late % 2 === 0 ? open.splice(cut % (history.length + 1)) : [];
      for (const event of open) after.take(event);
      chained.applied = 0;
      after.replay.update(0);
      const { skipped } = after.replay;
      assert.ok(skipped === 0 || skipped === resume.length);
      if (skipped > 0) resumed++;
      const recall = after.replay.recall(ABI);
      let step = recall.next();
      for (let i = 0; !step.done && i < late % 7; i++) step = recall.next();
      for (const event of kept) after.take(event);
      if (after.replay.update(1e9).rewound > 0) rewound++;
      while (!step.done) step = recall.next();
      assert.equal(step.value, true);
      assert.deepEqual(agreed(after.replay), wanted);

      if (before.replay.state.size === 0) return;
      for (const lie of [{ state: State.EMPTY }, { bundle: "another" }]) {
        const wrong = peer({ resume: { ...resume, ...lie } });
        for (const event of history) wrong.take(event);
        wrong.replay.update(0);
        if (wrong.replay.skipped === 0) return;
        const check = wrong.replay.recall(ABI);
        let end = check.next();
        while (!end.done) end = check.next();
        assert.equal(end.value, false);
      }
    }),
    { numRuns: Deno.env.get("SLOW") ? 5000 : 150 },
  );
  assert.ok(resumed > 30 && rewound > 5, `${resumed} resumed, ${rewound} rewound`);
});

Deno.test("a dry run of an upgrade says what becomes of it", () => {
  const { replay, take, topic } = peer();
  const [first, second] = line(ann, genesis, 2, genesis);
  take(first!);
  replay.update(0);
  const content = read(topic.get(first!.id)!)!;
  const before = hex(replay.state);
  const failing: Guest = {
    ...successor("x"),
    migrate: () => ({ verdict: { kind: "out-of-fuel" }, fuel: 9 }),
  };
  const upgrade = (guest: Guest) => ({ bundle: "x", guest, upgrade: content });
  assert.deepEqual(replay.dryRun(upgrade(failing)), { verdict: { kind: "out-of-fuel" }, fuel: 9 });
  const plain = { apply: chained.apply };
  assert.deepEqual(replay.dryRun(upgrade(plain)), { verdict: { kind: "accepted" }, fuel: 0 });
  assert.equal(hex(replay.state), before);
  take(second!);
  replay.update(0);
});

Deno.test("a checkpoint fixes what is in its past for good", () => {
  fc.assert(
    fc.property(HISTORY, fc.nat(), (history, start) => {
      const { replay, take } = peer();
      const open = [...history];
      let final: readonly TopicEvent[] = [];
      let now = 0;
      for (let i = start; open.length > 0; i += 7) {
        let at = i % open.length;
        while (!take(open[at]!)) at = (at + 1) % open.length;
        open.splice(at, 1);
        replay.update(now += 1e6);
        const isForked = history.some((a) =>
          history.some((b) =>
            a !== b && a.event.author === b.event.author &&
            a.event.seq === b.event.seq
          )
        );
        // Events of an author that is found out do not count, wherever they are.
        if (isForked) return;
        assert.deepEqual(replay.log.slice(0, final.length), final);
        final = replay.log.filter((event) => replay.isFinal(event));
      }
    }),
    { numRuns: 60 },
  );
});

Deno.test("an event that no checkpoint has seen comes after it, however early it says it is", () => {
  const { topic, replay, take } = peer();
  const late = next(ben, [genesis], undefined);
  let last = genesis;
  for (let i = 0; i < 5; i++) take(last = next(ann, [last], last));
  take(last = next(ann, [last], last, CHECKPOINT_TYPE));
  take(last = next(ann, [last], last));
  replay.update(0);
  take(late);
  assert.deepEqual(replay.update(0), { rewound: 1, applied: 2 });
  assert.equal(replay.log[6], topic.get(late.id));
  assert.ok(replay.isFinal(replay.log[5]!) && !replay.isFinal(replay.log[6]!));
  // Nobody else's do anything.
  const other = next(ben, [late], late, CHECKPOINT_TYPE);
  take(other);
  assert.deepEqual(replay.update(0), { rewound: 1, applied: 2 });
  assert.ok(!replay.isFinal(topic.get(late.id)!));
});

Deno.test("events that become void are taken out, and come back when they are not", () => {
  const { topic, replay, take } = peer();
  const all = [genesis];
  const own = (who: Uint8Array) => all.findLast(({ event: { author } }) => author === who);
  for (let i = 0; i < 30; i++) {
    const author = i % 3 === 0 ? ben : ann;
    all.push(next(author, [all.at(-1)!], own(author)));
  }
  const bens = all.filter(({ event: { author } }) => author === ben);
  for (const event of all.slice(1)) take(event);
  replay.update(0);
  const before = agreed(replay);
  const isVoid = ({ author, seq }: TopicEvent) => author[0] === 2 && seq >= 4;
  assert.ok(topic.judge(isVoid));
  replay.judged();
  replay.update(0);
  assert.equal(replay.log.length, 24);
  assert.equal(replay.outcomeOf(topic.get(bens[5]!.id)!), undefined);
  const other = peer();
  other.topic.judge(isVoid);
  for (const event of all.slice(1)) other.take(event);
  other.replay.update(0);
  assert.deepEqual(agreed(replay), agreed(other.replay));
  topic.judge(() => false);
  replay.judged();
  replay.update(0);
  assert.deepEqual(agreed(replay), before);
});

/** A line of events by one author. */
function line(author: Uint8Array, from: SignedEvent, length: number, previous?: SignedEvent) {
  const events: SignedEvent[] = [];
  for (let i = 0; i < length; i++) {
    const last = events.at(-1);
    events.push(next(author, [last ?? from], last ?? previous));
  }
  return events;
}

Deno.test("late events cost what lies behind them, and those that come together once", () => {
  const { replay, take } = peer();
  for (const event of line(ann, genesis, 2000, genesis)) take(event);
  assert.deepEqual(replay.update(0), { rewound: 0, applied: 2000 });
  const late = line(ben, genesis, 1900);
  for (const event of late.slice(1700)) assert.ok(!take(event));
  for (const event of late) take(event);
  chained.applied = 0;
  const { rewound, applied } = replay.update(0);
  assert.equal(applied, rewound + 1900);
  assert.ok(rewound >= 1999);
  // From the snapshot at 0, for an event near the end from one that is near.
  assert.ok(chained.applied <= applied + 1);
  for (const event of line(cem, late[1895]!, 1)) take(event);
  chained.applied = 0;
  replay.update(0);
  assert.ok(chained.applied < 1.5 * 210 + 32, `${chained.applied} applied again`);
});

Deno.test("an author who is late again and again has to wait, and nobody else", () => {
  const rewindLimits = {
    authorEventsMax: 500,
    authorEventsPerSecond: 100,
    eventsMax: 5000,
    eventsPerSecond: 100,
  };
  const { replay, take } = peer({ rewindLimits });
  const anns = line(ann, genesis, 1000, genesis);
  for (const event of anns) take(event);
  replay.update(0);
  const late = line(ben, genesis, 200);
  chained.applied = 0;
  for (const event of late) {
    take(event);
    replay.update(0);
  }
  assert.ok(chained.applied < 2500, `${chained.applied} applied again`);
  assert.ok(!replay.isSettled);
  // Ann goes on, and so does a third author who is a little late.
  const more = line(ann, anns.at(-1)!, 1, anns.at(-1)!);
  for (const event of [...more, ...line(cem, anns.at(-2)!, 1)]) take(event);
  const meanwhile = replay.update(0);
  assert.equal(meanwhile.applied - meanwhile.rewound, 2);
  const due = replay.dueMs(0)!;
  assert.ok(due > 0 && due < 20_000, `${due} ms`);
  assert.equal(replay.update(due - 1).applied, 0);
  assert.ok(replay.update(due).applied > 1000);
  assert.ok(replay.isSettled);
});

Deno.test("at the time that dueMs() gives something is done, whenever it was asked before", () => {
  const rewindLimits = {
    authorEventsMax: 1,
    authorEventsPerSecond: 5,
    eventsMax: 2,
    eventsPerSecond: 10,
  };
  // Budgets are counted anew each time they are asked, with what that rounds away.
  for (let asked = 1; asked < 1200; asked += 7) {
    const { replay, take } = peer({ rewindLimits });
    for (const event of line(ann, genesis, 12, genesis)) take(event);
    replay.update(0);
    for (const event of line(ben, genesis, 2)) {
      take(event);
      replay.update(0);
    }
    assert.ok(!replay.isSettled);
    for (const now of [asked, asked + 1, 2 * asked]) replay.dueMs(now);
    let now = 2 * asked;
    for (let rounds = 0; !replay.isSettled; rounds++) {
      assert.ok(rounds < 10, `nothing is done at ${now}, after it was asked at ${asked}`);
      replay.update(now = replay.dueMs(now)!);
    }
  }
});

Deno.test("many authors who are late share a budget, too", () => {
  const { replay, take } = peer({
    rewindLimits: {
      authorEventsMax: 1000,
      authorEventsPerSecond: 1000,
      eventsMax: 3000,
      eventsPerSecond: 10,
    },
  });
  for (const event of line(ann, genesis, 1000, genesis)) take(event);
  replay.update(0);
  chained.applied = 0;
  for (let i = 0; i < 50; i++) {
    take(next(new Uint8Array(32).fill(100 + i), [genesis], undefined));
    replay.update(0);
  }
  assert.ok(chained.applied < 6000, `${chained.applied} applied again`);
});

Deno.test("a peer whose host fails keeps what it had and applies nothing more", () => {
  let left = 5;
  const guest = {
    apply(event: AppliedEvent, writes: Journal): Outcome {
      if (left-- === 0) throw new RangeError("out of memory");
      return chained.apply(event, writes);
    },
  };
  const { replay, take } = peer({ guest });
  const events = line(ann, genesis, 10, genesis);
  for (const event of events) take(event);
  assert.deepEqual(replay.update(0), { rewound: 0, applied: 5 });
  assert.ok(replay.illness!.cause instanceof RangeError);
  assert.equal(replay.log.length, 5);
  const state = hex(replay.state);
  take(next(ben, [genesis], undefined));
  assert.deepEqual(replay.update(0), { rewound: 0, applied: 0 });
  assert.equal(hex(replay.state), state);
  assert.ok(!replay.isSettled);
  // Started again it comes to what others have.
  const again = peer();
  for (const event of events.slice(0, 5)) again.take(event);
  again.replay.update(0);
  assert.equal(hex(again.replay.state), state);
});

Deno.test("dryRun() says what apply will say, and changes nothing", () => {
  const { replay, take, topic } = peer();
  let last = genesis;
  for (let i = 0; i < 20; i++) {
    const event = next(ann, [last], last);
    const trial = peer();
    const added = trial.topic.add(event);
    const content = added.kind === "added" ? read(added.event) : undefined;
    const before = hex(replay.state);
    const dry = content && replay.dryRun(content);
    assert.equal(hex(replay.state), before);
    take(event);
    replay.update(0);
    if (dry !== undefined) assert.deepEqual(replay.outcomeOf(topic.get(event.id)!), dry);
    last = event;
  }
});

Deno.test("snapshots are few, and near where it is likely to go back to", () => {
  const snapshots = new Snapshots(State.EMPTY);
  for (let length = 1; length <= 20_000; length++) snapshots.offer(length, State.EMPTY);
  assert.ok(snapshots.size < 100, `${snapshots.size} snapshots`);
  for (const back of [1, 50, 300, 5000, 19_000]) {
    const { length } = snapshots.before(20_000 - back);
    assert.ok(20_000 - length <= 1.4 * back + 32, `${back} back leads to ${length}`);
  }
  snapshots.rewind(777);
  assert.ok(snapshots.before(20_000).length <= 777);
});

Deno.test("a real component comes to the same state in any order", async () => {
  // Counts by author, and remembers who came before.
  const component = await componentOf(moduleText(`
    (call $event.author (i32.const 32))
    (call $state-read.get (i32.load (i32.const 32)) (i32.const 32) (i32.const 48))
    (if (i32.load8_u (i32.const 48)) (then
      (local.set $i (i32.load8_u (i32.load (i32.const 52))))))
    (i32.store8 (i32.const 64) (i32.add (local.get $i) (i32.const 1)))
    (call $state-write.put
      (i32.load (i32.const 32)) (i32.const 32) (i32.const 64) (i32.const 1))
    (call $state-read.get (i32.const 0) (i32.const 1) (i32.const 48))
    (call $state-write.put (i32.const 0) (i32.const 1) (local.get $p) (i32.const 32))
    (if (i32.eqz (i32.and (i32.load8_u (local.get $p)) (i32.const 3))) (then unreachable))`));
  const guest = await StateApply.load(component, { creator: ann, params: new Map() }, () => false);
  const [a, b] = [peer({ guest }), peer({ guest })];
  const lines = [line(ann, genesis, 20, genesis), line(ben, genesis, 20), line(cem, genesis, 20)];
  const events = lines.flat();
  for (const event of events) {
    a.take(event);
    a.replay.update(1e9);
  }
  for (let i = 0; i < 20; i++) {
    for (const each of lines.toReversed()) b.take(each[i]!);
    b.replay.update(1e9 * i);
  }
  assert.deepEqual(agreed(a.replay), agreed(b.replay));
  const kinds = new Set(a.replay.log.map((event) => a.replay.outcomeOf(event)!.verdict.kind));
  assert.deepEqual([...kinds].sort(), ["accepted", "trapped"]);
});
