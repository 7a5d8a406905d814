import assert from "node:assert/strict";
import fc from "fast-check";
import { CID, cidOf, cidOfDigest, encodeCanonical } from "./canonical.ts";
import {
  byBytes,
  encodeEvent,
  type Event,
  eventAt,
  genesisEvent,
  nextEvent,
  PARENTS_MAX,
  type SignedEvent,
} from "./event.ts";
import { idOf, keyOf, Topic } from "./topic.ts";

const authors = [1, 2, 3, 4].map((byte) => new Uint8Array(32).fill(byte));
const [ann, ben] = authors as [Uint8Array, Uint8Array];

/** An event as its author would sign it; a topic asks for no signature. */
function made(event: Event): SignedEvent {
  const bytes = encodeEvent(event);
  return { id: cidOf(bytes), event, bytes, signature: new Uint8Array(64) };
}

const genesis = made(genesisEvent(ann, { type: "test/genesis", payload: null }));
const newTopic = () => new Topic(genesis.id, genesis.event);
let count = 0;
/** An event after `heads`, different from every other. */
function next(author: Uint8Array, heads: SignedEvent[], previous?: SignedEvent): SignedEvent {
  return made(nextEvent(author, heads, previous, { type: "test/event", payload: count++ }));
}

/** What a topic is to say, by looking at everything. */
class Oracle {
  readonly pasts = new Map<SignedEvent, Set<SignedEvent>>();

  constructor(readonly events: readonly SignedEvent[], readonly isVoid = new Set<SignedEvent>()) {
    const byId = new Map(events.map((event) => [event.id.toString(), event]));
    for (const event of events) {
      const past = new Set<SignedEvent>();
      for (const id of event.event.parents) {
        const parent = byId.get(id.toString())!;
        past.add(parent);
        for (const before of this.pasts.get(parent)!) past.add(before);
      }
      this.pasts.set(event, past);
    }
  }

  isAncestor(a: SignedEvent, b: SignedEvent): boolean {
    return this.pasts.get(b)!.has(a);
  }

  kept(): SignedEvent[] {
    const valid = this.events.filter((event) => !this.isVoid.has(event));
    return this.events.filter((event) =>
      valid.some((other) => other === event || this.isAncestor(event, other))
    ).sort((a, b) => a.event.lamport - b.event.lamport || byBytes(a.id, b.id));
  }

  heads(): SignedEvent[] {
    const kept = this.kept();
    return kept.filter((event) => !kept.some((other) => this.isAncestor(event, other)));
  }

  tips(author: Uint8Array): SignedEvent[] {
    const own = this.events.filter((e) => e.event.author === author && !this.isVoid.has(e));
    return own.filter((event) => !own.some((other) => this.isAncestor(event, other)));
  }

  counts(event: SignedEvent): boolean {
    return !this.isVoid.has(event) &&
      this.tips(event.event.author).every((tip) => tip === event || this.isAncestor(event, tip));
  }
}

/** Numbers that choose: an author, parents, and which own event is the previous one. */
const choices = fc.array(
  fc.record({
    author: fc.nat(authors.length - 1),
    parents: fc.array(fc.nat(), { minLength: 1, maxLength: 3 }),
    isRecent: fc.boolean(),
    previous: fc.nat(),
  }),
  { maxLength: 30 },
);

/** Any graph that authors could make, honest or not; parents come before children. */
const graphs = choices.map((list) => {
  const events = [genesis];
  const pasts = new Map<SignedEvent, Set<SignedEvent>>([[genesis, new Set([genesis])]]);
  for (const { author, parents, isRecent, previous } of list) {
    const window = isRecent ? 4 : events.length; // long chains, and wild ones
    const from = Math.max(0, events.length - window);
    const chosen = [...new Set(parents.map((n) => events[from + n % (events.length - from)]!))];
    const past = new Set(chosen.flatMap((parent) => [...pasts.get(parent)!]));
    const own = [...past].filter(({ event }) => event.author === authors[author]);
    const prev = isRecent ? own.at(-1) : own[previous % (own.length + 1)];
    const event = next(authors[author]!, chosen, prev);
    events.push(event);
    pasts.set(event, past.add(event));
  }
  return events;
});

/** The events in another order, some twice. */
const shuffled = (events: readonly SignedEvent[], seeds: readonly number[]) =>
  [...events, ...events.slice(0, events.length >> 1)]
    .map((event, i) => ({ event, at: seeds[i % seeds.length]! * (i + 1) % 1009 }))
    .sort((a, b) => a.at - b.at).map(({ event }) => event);
const seeds = fc.array(fc.nat(1000), { minLength: 1, maxLength: 60 });

/** Hands everything in, again and again, until nothing is missing. */
function deliver(topic: Topic, events: readonly SignedEvent[]): void {
  let waiting = [...events];
  while (waiting.length > 0) {
    const before = waiting.length;
    waiting = waiting.filter((event) => {
      const added = topic.add(event);
      assert.notEqual(added.kind, "invalid");
      if (added.kind !== "missing") return false;
      assert.ok(added.ids.every((id) => !topic.has(id)));
      return true;
    });
    assert.ok(waiting.length < before, "nothing fits");
  }
}

const keysOf = (events: Iterable<{ id: CID }>) => [...events].map(({ id }) => id.toString());

/** Everything that a topic says is what the oracle says. */
function assertAgrees(topic: Topic, oracle: Oracle): void {
  assert.deepEqual(keysOf(topic.order()), keysOf(oracle.kept()));
  assert.equal(topic.size, oracle.kept().length);
  assert.deepEqual(keysOf(topic.heads).sort(), keysOf(oracle.heads()).sort());
  const nodes = new Map(oracle.events.map((event) => [event, topic.get(event.id)!]));
  for (const [event, node] of nodes) {
    assert.equal(topic.counts(node), oracle.counts(event));
    assert.equal(topic.isVoid(node), oracle.isVoid.has(event));
    for (const [other, otherNode] of nodes) {
      assert.equal(topic.isAncestor(node, otherNode), oracle.isAncestor(event, other));
    }
  }
  for (const author of authors) {
    const tips = keysOf(oracle.tips(author));
    assert.deepEqual(keysOf(topic.tipsOf(author)).sort(), tips.sort());
    assert.equal(
      topic.forked().includes(topic.get(genesis.id)!.author),
      topic.tipsOf(ann).length > 1,
    );
    const newest = topic.newestOf(author);
    assert.equal(newest === undefined, tips.length === 0);
    if (newest !== undefined) assert.ok(tips.includes(newest.id.toString()));
  }
}

Deno.test("a topic says the same whatever the order of arrival, and what a look at everything says", () => {
  fc.assert(fc.property(graphs, seeds, (events, order) => {
    const topic = newTopic();
    deliver(topic, shuffled(events, order));
    assertAgrees(topic, new Oracle(events));
  }));
});

Deno.test("a topic says the same whether it is told what is void first, between or last", () => {
  fc.assert(
    fc.property(
      graphs,
      seeds,
      fc.nat(),
      fc.nat(authors.length - 1),
      fc.boolean(),
      (events, order, at, revoked, takesVoid) => {
        const oracle = new Oracle(events);
        const last = events[at % events.length]!;
        const voids = events.filter((event) =>
          event !== genesis && event.event.author === authors[revoked] && event !== last &&
          !oracle.isAncestor(event, last)
        );
        const isVoid = new Set(voids.map(({ id }) => keyOf(id)));
        const first = newTopic();
        first.judge(({ key }) => isVoid.has(key));
        deliver(first, takesVoid ? shuffled(events, order) : events);
        const late = newTopic();
        deliver(late, shuffled(events, order));
        assert.equal(late.judge(({ key }) => isVoid.has(key)), voids.length > 0);
        const between = newTopic();
        deliver(between, events.slice(0, at % events.length));
        between.judge(({ key }) => isVoid.has(key));
        deliver(between, events);
        const wanted = new Oracle(events, new Set(voids));
        for (const topic of [first, late, between]) assertAgrees(topic, wanted);
        // A topic that never got what is void and nobody's parent is no different.
        const without = newTopic();
        without.judge(({ key }) => isVoid.has(key));
        deliver(without, wanted.kept());
        assert.deepEqual(keysOf(without.heads), keysOf(first.heads));
        assert.deepEqual(keysOf(without.order()), keysOf(first.order()));
        assert.equal(late.judge(() => false), voids.length > 0);
        assertAgrees(late, oracle);
      },
    ),
  );
});

Deno.test("placeFor() is a place that fits, and joins the author's branches", () => {
  fc.assert(fc.property(graphs, fc.nat(authors.length - 1), (events, who) => {
    const topic = newTopic();
    deliver(topic, events);
    const author = authors[who]!;
    const event = made(eventAt(author, topic.placeFor(author), { type: "test/event", payload: 0 }));
    const added = topic.add(event);
    assert.equal(added.kind, "added");
    assert.deepEqual(keysOf(topic.heads), [event.id.toString()]);
    assert.deepEqual(keysOf(topic.tipsOf(author)), [event.id.toString()]);
    for (const node of topic.order()) {
      if (node.author === topic.get(event.id)!.author) assert.ok(topic.counts(node));
    }
  }));
});

Deno.test("placeFor() fits where there are more heads than an event can have parents", () => {
  const topic = newTopic();
  const own = next(ben, [genesis]);
  topic.add(own);
  for (let i = 0; i < 100; i++) topic.add(next(ann, [genesis], genesis));
  const place = topic.placeFor(ben);
  assert.equal(place.heads.length, PARENTS_MAX);
  const event = made(eventAt(ben, place, { type: "test/event", payload: 0 }));
  assert.equal(topic.add(event).kind, "added");
  // Ann joins hers in several steps.
  for (let i = 0; topic.tipsOf(ann).length > 1; i++) {
    assert.ok(i < 5);
    topic.add(made(eventAt(ann, topic.placeFor(ann), { type: "test/event", payload: i })));
  }
  assert.ok(topic.order().every((node) => topic.counts(node)));
});

Deno.test("add() says which parents are missing, and changes nothing", () => {
  const topic = newTopic();
  const a = next(ann, [genesis], genesis);
  const b = next(ben, [genesis]);
  const both = next(ben, [a, b], b);
  const missing = topic.add(both);
  assert.ok(missing.kind === "missing");
  assert.deepEqual(missing.ids.map(String).sort(), keysOf([a, b]).sort());
  assert.deepEqual([topic.size, topic.has(both.id)], [1, false]);
  deliver(topic, [both, b, a]);
  assert.equal(topic.add(both).kind, "known");
  assert.deepEqual([topic.size, keysOf(topic.heads)], [4, keysOf([both])]);
});

Deno.test("add() refuses what does not fit its place, and changes nothing", () => {
  const topic = newTopic();
  const a = next(ann, [genesis], genesis);
  const b = next(ben, [genesis]);
  const c = next(ann, [a], a);
  const d = next(ben, [b], b);
  const e = next(ben, [d], d);
  deliver(topic, [a, b, c, d, e]);
  const good = next(ann, [c, e], c).event;
  const foreign = cidOf(encodeCanonical(1));
  const other = genesisEvent(ben, { type: "test/genesis", payload: 1 });
  const cases: [Event, RegExp][] = [
    [{ ...good, topic: foreign }, /another topic/],
    [other, /another topic/],
    [{ ...good, lamport: good.lamport + 1 }, /lamport is 5, wanted 4/],
    [{ ...good, lamport: good.lamport - 1 }, /lamport is 3, wanted 4/],
    [{ ...good, seq: 1, prev: b.id }, /prev is of another author/],
    [{ ...good, seq: 2 }, /seq is 2, wanted 3/],
    [{ ...good, seq: 1, prev: a.id }, /seq is 1, wanted 2/],
    [next(ann, [d], a).event, /prev is not in its past/],
    [next(ben, [c], b).event, /prev is not in its past/],
  ];
  for (const [event, problem] of cases) {
    const added = topic.add(made(event));
    assert.ok(added.kind === "invalid", added.kind);
    assert.match(added.problem, problem);
  }
  const refused = topic.add(made(good), (event) => {
    assert.ok(topic.isAncestor(topic.get(a.id)!, event)); // its past can be asked for
    return "no";
  });
  assert.deepEqual(refused, { kind: "invalid", problem: "no" });
  assert.equal(topic.size, 6);
  assertAgrees(topic, new Oracle([genesis, a, b, c, d, e]));
  assert.equal(topic.add(made(good)).kind, "added");
});

Deno.test("two branches of an author count as far as both have it, until it joins them", () => {
  const topic = newTopic();
  const a = next(ann, [genesis], genesis);
  const left = next(ann, [a], a);
  const right = next(ann, [a], a);
  const longer = next(ann, [right], right);
  const byBen = next(ben, [left]);
  const counts = (event: SignedEvent) => topic.counts(topic.get(event.id)!);
  deliver(topic, [a, left]);
  assert.deepEqual([a, left].map(counts), [true, true]);
  deliver(topic, [right, longer, byBen]);
  assert.deepEqual([genesis, a, left, right, longer, byBen].map(counts), [
    true,
    true,
    false,
    false,
    false,
    true,
  ]);
  assert.deepEqual(topic.forked(), [ann]);
  const joins = next(ann, [left, longer], longer);
  topic.add(joins);
  assert.ok([a, left, right, longer, joins].every(counts));
  assert.deepEqual(topic.forked(), []);
});

Deno.test("keyOf() and idOf() invert one another, and keys sort as ids do", () => {
  fc.assert(fc.property(fc.nat(), fc.nat(), (a, b) => {
    const [x, y] = [cidOf(encodeCanonical(a)), cidOf(encodeCanonical(b))];
    assert.deepEqual(idOf(keyOf(x)), x);
    assert.equal(Math.sign(byBytes(x, y)), keyOf(x) < keyOf(y) ? -1 : keyOf(x) > keyOf(y) ? 1 : 0);
  }));
});

Deno.test("keyOf() tells ids apart that begin alike, and knows equal ones that are other objects", () => {
  const ids = Array.from({ length: 8 }, (_, i) => {
    const digest = new Uint8Array(32).fill(7);
    digest[31] = i >> 1;
    return CID.decode(cidOfDigest(digest).bytes.slice());
  });
  for (const [i, id] of [...ids, ...ids].entries()) {
    assert.deepEqual(idOf(keyOf(id)), id);
    assert.equal(keyOf(id), keyOf(ids[i % 8 ^ 1]!));
    assert.equal(keyOf(id), keyOf(id));
  }
});

Deno.test("an author with many branches is read as one with few", () => {
  const own = [genesis];
  const events = [genesis];
  for (let i = 0; i < 60; i++) {
    const from = own[i * 7 % 11 % own.length]!; // each goes on in several ways
    own.push(next(ann, [from], from));
    events.push(own.at(-1)!, next(ben, [own.at(-1)!]));
  }
  const topic = newTopic();
  deliver(topic, events);
  assertAgrees(topic, new Oracle(events));
  const tips = topic.tipsOf(ann).map(({ id }) => events.find((e) => e.id.equals(id))!);
  assert.ok(tips.length > 40);
  const joins = next(ann, tips.slice(0, 20), tips[0]);
  topic.add(joins);
  assertAgrees(topic, new Oracle([...events, joins]));
  const continues = next(ann, [joins, tips[25]!], joins);
  topic.add(continues);
  assertAgrees(topic, new Oracle([...events, joins, continues]));
});

Deno.test("the tip before an event that is void is replaced by what goes on from there", () => {
  const starts = Array.from({ length: 40 }, () => next(ann, [genesis], genesis));
  const voids = starts.map((start) => next(ann, [start], start));
  const all = [genesis, ...starts, ...voids];
  const topic = newTopic();
  deliver(topic, all);
  const isVoid = new Set(voids.map(({ id }) => keyOf(id)));
  topic.judge(({ key }) => isVoid.has(key));
  for (const start of starts) {
    const event = next(ann, [start], start);
    topic.add(event);
    all.push(event);
  }
  assertAgrees(topic, new Oracle(all, new Set(voids)));
});
