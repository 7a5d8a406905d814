/**
 * What members who mean harm can make an honest peer do: counted in events that it applies, since
 * time depends on the machine.
 *
 * @module
 */
import assert from "node:assert/strict";
import { encodeSigned, eventAt, type SignedEvent, signEventSync } from "../../kernel/event.ts";
import { type Guest, Replay } from "../replay.ts";
import { REWIND_LIMITS } from "../rewind_budget.ts";
import type { AppLog } from "../topic/app_log.ts";
import { replayParts } from "../topic/app_replay.ts";
import {
  allOf,
  ann,
  ben,
  cem,
  createTopic,
  dan,
  eva,
  join,
  type Person,
  something,
} from "../topic/topic_fake.ts";
import { type FakePeer, Peers } from "./peers_fake.ts";
import { encodeTopicFrame } from "./topic_frame.ts";

/** Events of the creator, and late ones. */
const EVENTS = 500;
const LATE = 1_000;
const limits = {
  authorEventsMax: 250,
  authorEventsPerSecond: 25,
  eventsMax: 500,
  eventsPerSecond: 50,
};

/** Events after those of the authors that are there, one after another, that see nothing else. */
function lateEvents(log: AppLog, authors: readonly Person[], count: number): SignedEvent[] {
  const last = authors.map((author) => {
    const { id, seq, lamport } = log.topic!.newestOf(author.publicKey)!;
    return { author, id, seq, lamport };
  });
  return Array.from({ length: count }, (_, i) => {
    const at = last[i % last.length]!;
    const { author, id, seq, lamport } = at;
    const place = { topic: log.topicId, heads: [{ id, lamport }], previous: { id, seq } };
    const signed = signEventSync(eventAt(author.publicKey, place, something()), author);
    Object.assign(at, { id: signed.id, seq: seq + 1, lamport: lamport + 1 });
    return signed;
  });
}

/** Ann's peer, which applies; what it is sent comes from a peer of ben's. */
async function attacked(authors: readonly Person[]) {
  const log = createTopic();
  for (const author of authors) await join(log, author);
  const late = lateEvents(log, authors, LATE);
  for (let i = 0; i < EVENTS; i++) log.append(something(), ann);
  log.flush(0);
  const peers = new Peers(log.topicId);
  const count = { applied: 0, read: 0 };
  const load = log.read.bind(log);
  log.read = (event) => (count.read++, load(event));
  const guest: Guest = {
    apply: (_, writes) => {
      count.applied++;
      writes.scan(new Uint8Array(), new Uint8Array(), 1); // what scans is always applied anew
      return { verdict: { kind: "accepted" }, fuel: 1 };
    },
  };
  const replay = new Replay({
    ...replayParts(log, { guestOf: () => guest })!,
    rewindLimits: limits,
  });
  log.follow({ added: (event) => replay.added(event), judged: () => replay.judged() });
  const a = peers.add("a", ann, { log });
  const b = peers.add("b", ben);
  b.log.offer(allOf(log));
  b.log.flush(0);
  replay.update(peers.nowMs);
  peers.connect(b, a);
  peers.pass(2_000);
  Object.assign(count, { applied: 0, read: 0 });
  return { peers, a, b, replay, count, late };
}

/** Each by itself, as fast as they come, and what is due is done. */
function deliver(
  { peers, replay }: { peers: Peers; replay: Replay },
  [to, from]: readonly [FakePeer, FakePeer],
  events: readonly SignedEvent[],
  everyMs: number,
) {
  for (const signed of events) {
    const frame = encodeTopicFrame({ frame: "events", events: [encodeSigned(signed)] });
    to.core.received(from.key, frame);
    peers.nowMs += everyMs;
    if (to.core.dueMs() <= peers.nowMs) to.core.tick();
    replay.update(peers.nowMs);
  }
}

for (const authors of [[ben], [ben, cem, dan, eva]]) {
  Deno.test(`a thousand late events of ${authors.length} make no more work than is allowed`, async () => {
    const attack = await attacked(authors);
    const { a, b, peers, replay, count, late } = attack;
    const startMs = peers.nowMs;
    deliver(attack, [a, b], late, 5);
    assert.equal(a.log.topic!.size, EVENTS + LATE + 1 + 2 * authors.length);
    // A purse is overdrawn once, by all that there is; then it has to fill.
    const seconds = (peers.nowMs - startMs) / 1000;
    const [max, perSecond] = authors.length === 1
      ? [limits.authorEventsMax, limits.authorEventsPerSecond]
      : [limits.eventsMax, limits.eventsPerSecond];
    const allowed = max + perSecond * seconds + a.log.topic!.size + LATE;
    assert.ok(count.applied <= allowed, `${count.applied} applied, wanted at most ${allowed}`);
    assert.ok(peers.isUp(a, b)); // it did nothing that an honest peer does not
    // In the end all are applied, in a few goes.
    let goes = 0;
    for (; !replay.isSettled; goes++) {
      peers.nowMs = Math.max(peers.nowMs + 1, replay.dueMs(peers.nowMs)!);
      replay.update(peers.nowMs);
    }
    assert.ok(goes <= 2 * authors.length, `${goes} goes`);
    assert.equal(replay.log.length, a.log.topic!.size - 1);
    // What is applied again is not read again.
    assert.ok(count.read <= LATE + 50, `${count.read} read`);
    assert.ok(count.applied > 2 * LATE);
  });
}

Deno.test("while late events wait, what is written in order is applied at once", async () => {
  const attack = await attacked([ben]);
  const { a, b, peers, replay, late } = attack;
  deliver(attack, [a, b], late.slice(0, 50), 1);
  assert.ok(!replay.isSettled);
  const signed = a.core.writing((log) => log.append(something(), ann));
  replay.update(peers.nowMs);
  assert.equal(replay.log.at(-1)?.id.toString(), signed.id.toString());
});

Deno.test("the budget that is in force is small enough for a thousand late events in ten thousand", () => {
  // Each is applied in less than 60 µs: a burst of two seconds is some 33,000 of them.
  const { eventsMax, eventsPerSecond, authorEventsMax } = REWIND_LIMITS;
  const log = 11_000;
  assert.ok(eventsMax + log + 5 * eventsPerSecond <= 33_000);
  assert.ok(authorEventsMax * 2 <= eventsMax);
});
