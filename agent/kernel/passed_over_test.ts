import assert from "node:assert/strict";
import { cidOf } from "./canonical.ts";
import { encodeEvent, type Event, genesisEvent, nextEvent, type SignedEvent } from "./event.ts";
import { PASSED_KEYS_MAX, PassedOver, WANTED_SESSIONS } from "./passed_over.ts";
import { type EventKey, keyOf } from "./topic.ts";

const author = new Uint8Array(32).fill(1);
let count = 0;

/** An event as its author would sign it; nobody asks for the signature here. */
function made(event: Event): SignedEvent {
  const bytes = encodeEvent(event);
  return { id: cidOf(bytes), event, bytes, signature: new Uint8Array(64) };
}

function next(...heads: readonly SignedEvent[]): SignedEvent {
  const content = { type: "test/event", payload: count++ };
  return made(nextEvent(author, heads, heads[0], content));
}

const genesis = made(genesisEvent(author, { type: "test/genesis", payload: null }));

function chain(length: number, first: SignedEvent = genesis): SignedEvent[] {
  const events = [next(first)];
  while (events.length < length) events.push(next(events.at(-1)!));
  return events;
}

const key = ({ id }: SignedEvent): EventKey => keyOf(id);

/** What was passed over beside a topic that has its genesis, and how many events were looked at. */
class Looks {
  readonly passed = new PassedOver();
  readonly there = new Set([key(genesis)]);
  count = 0;
  room = { events: 10_000, bytes: 1e9 };

  put(events: readonly SignedEvent[]): void {
    for (const event of events) this.passed.put(key(event), event);
  }

  /** How many events an event needs, or that it needs what is not here, and for how many looks. */
  needed(signed: SignedEvent): readonly [number | undefined, number] {
    this.count = 0;
    const isThere = (at: EventKey) => (this.count++, this.there.has(at));
    const needed = this.passed.needed(signed, isThere, () => undefined, this.room);
    return [needed?.keys.size, this.count];
  }
}

Deno.test("PassedOver walks once through a past of which something is nowhere", () => {
  const looks = new Looks();
  const events = chain(1_000);
  const tip = events.at(-1)!;
  looks.put(events.slice(10));
  const one = next(tip);
  assert.deepEqual(looks.needed(one), [undefined, 991]);
  assert.deepEqual(looks.needed(one), [undefined, 1]); // again and again
  // Nor is it walked through for others, wherever they rest on it.
  for (const other of [next(tip), next(events[500]!), next(genesis, tip)]) {
    const [size, count] = looks.needed(other);
    assert.equal(size, undefined);
    assert.ok(count <= 5, `${count} looks`);
  }
  // Nor when it comes from its end, each after somebody asked.
  for (const event of events.slice(0, 10).reverse()) {
    const [size, count] = looks.needed(one);
    assert.equal(size, undefined);
    assert.ok(count <= 5, `${count} looks`);
    looks.put([event]);
  }
  assert.deepEqual(looks.needed(one)[0], 1_000);
  assert.deepEqual(looks.needed(next(events[500]!))[0], 501);
});

Deno.test("PassedOver walks once through a past for which there is no room", () => {
  const looks = new Looks();
  const events = chain(300);
  looks.put(events);
  const one = next(events.at(-1)!);
  looks.room.events = 200;
  assert.ok(looks.needed(one)[1] >= 200);
  assert.deepEqual(looks.needed(one), [undefined, 0]);
  looks.room.events = 300;
  assert.equal(looks.needed(one)[0], 300);
  // What is in the topic is needed no more.
  looks.room.events = 200;
  assert.equal(looks.needed(one)[0], undefined);
  for (const event of events.slice(0, 100)) {
    looks.there.add(key(event));
    looks.passed.taken(key(event));
  }
  assert.equal(looks.needed(one)[0], 200);
});

Deno.test("PassedOver wants what does not come for so many sessions, and it takes up room as long", () => {
  const { passed, there, room } = new Looks();
  const events = chain(300);
  for (const event of events) passed.put(key(event), event);
  const needed = (signed: SignedEvent) =>
    passed.needed(signed, (at) => there.has(at), () => undefined, { ...room, events: 400 });
  const last = events.at(-1)!;
  passed.want(needed(next(last))!, () => undefined);
  const others = chain(200);
  for (const event of others) passed.put(key(event), event);
  const other = next(others.at(-1)!);
  for (let i = 1; i < WANTED_SESSIONS; i++) passed.sessionBegins();
  assert.equal(passed.isWanted(key(last)), true);
  assert.equal(needed(other), undefined); // there is room for 100 beside it
  passed.sessionBegins();
  assert.equal(passed.isWanted(key(last)), false);
  assert.equal(needed(other)!.keys.size, 200);
  assert.equal(needed(next(last))!.keys.size, 300); // and it can be wanted again
});

Deno.test("PassedOver remembers as much less as what it remembers needs more", () => {
  const kept = (events: readonly SignedEvent[]) => {
    const { passed } = new Looks();
    // Keys of their own, which is quicker than so many events.
    const keys = Array.from({ length: PASSED_KEYS_MAX / 2 + 100 }, (_, i) => `${i}`);
    keys.forEach((each, i) => passed.put(each, events[i % events.length]!));
    return keys.filter((each) => passed.has(each));
  };
  const narrow = kept(chain(3));
  assert.equal(narrow.at(-1), `${PASSED_KEYS_MAX / 2 + 99}`);
  assert.ok(narrow.length >= PASSED_KEYS_MAX / 4 && narrow.length <= PASSED_KEYS_MAX / 2);
  const wide = kept([next(...Array.from({ length: 31 }, () => next(genesis)))]);
  assert.equal(wide.at(-1), `${PASSED_KEYS_MAX / 2 + 99}`);
  assert.ok(wide.length >= PASSED_KEYS_MAX / 64 && wide.length <= PASSED_KEYS_MAX / 32 + 1);
});
