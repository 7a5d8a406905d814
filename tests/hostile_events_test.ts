/**
 * What peers may send into the topic of an app that is not as it should be: each is refused with an error
 * of its own, nothing of it stays, and nothing that is as it should be is lost.
 *
 * @module
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import {
  ann,
  ben,
  cem,
  createTopic,
  emptyLog,
  exchange,
  join,
  type Person,
  proposed,
  randomFrom,
  someCid,
  something,
  stranger,
  summary,
} from "../agent/apps/topic/topic_fake.ts";
import { PAYLOAD_BYTES_MAX } from "../agent/apps/topic/app_event.ts";
import type { AppLog } from "../agent/apps/topic/app_log.ts";
import { encodeCanonical } from "../agent/kernel/canonical.ts";
import { RealmError } from "../agent/kernel/error.ts";
import {
  decodeSigned,
  encodeSigned,
  type Event,
  EVENT_BYTES_MAX,
  eventAt,
  type SignedEvent,
  signEventSync,
} from "../agent/kernel/event.ts";

const numRuns = Deno.env.get("SLOW") ? 5000 : 150;

/** A topic of ann's and ben's with a few events, everything durable. */
async function topicOfTwo(): Promise<AppLog> {
  const log = createTopic({}, { random: randomFrom(7) });
  await join(log, ben, "member", ann, randomFrom(8));
  for (let i = 0; i < 6; i++) log.append(something(), i % 2 ? ann : ben);
  log.flush(0);
  return log;
}

/** Another peer's copy. */
function copyOf(log: AppLog): AppLog {
  const copy = emptyLog(log.topicId);
  exchange(log, copy);
  return copy;
}

/** An event of somebody with fields that are not what they should be. */
function bent(log: AppLog, by: Person, change: Partial<Event>): SignedEvent {
  const event = eventAt(by.publicKey, log.placeFor(by.publicKey), something());
  return signEventSync({ ...event, ...change }, by);
}

Deno.test("what is wrong with an event has an error of its own, and leaves nothing behind", async () => {
  const log = await topicOfTwo();
  const before = summary(log);
  const good = proposed(log, ben, something());
  const other = createTopic({}, { random: randomFrom(99) });
  const [oldest] = log.topic!.order();
  const cases: Record<string, [SignedEvent, string, RegExp]> = {
    "a forged author": [
      { ...good, signature: proposed(log, ann, something()).signature },
      "bad-signature",
      /wanted a signature by/,
    ],
    "an author who is not the signer": [
      signEventSync(
        eventAt(ann.publicKey, log.placeFor(ann.publicKey), something()),
        { publicKey: ann.publicKey, sign: (message) => stranger.sign(message) as Uint8Array },
      ),
      "bad-signature",
      /wanted a signature by/,
    ],
    "another topic": [proposed(other, ann, something()), "corrupt", /another topic/],
    "somebody who was not admitted": [proposed(log, stranger, something()), "refused", /no say/],
    "a lamport that is too great": [
      bent(log, ben, { lamport: good.event.lamport + 1 }),
      "corrupt",
      /lamport/,
    ],
    "a lamport that is too small": [
      bent(log, ben, { lamport: good.event.lamport - 1 }),
      "corrupt",
      /lamport/,
    ],
    "a seq with a gap": [bent(log, ben, { seq: good.event.seq + 1 }), "corrupt", /seq is/],
    "another's event as prev": [
      bent(log, ben, { prev: log.topic!.newestOf(ann.publicKey)!.id }),
      "corrupt",
      /prev is of another author/,
    ],
    "a prev that is not in its past": [
      bent(log, ben, { parents: [oldest!.id], lamport: good.event.seq + 1 }),
      "corrupt",
      /prev is not in its past|lamport/,
    ],
    "a kernel event that is malformed": [
      signEventSync(
        eventAt(ann.publicKey, log.placeFor(ann.publicKey), {
          type: "realm/invite",
          payload: { key: 7 },
        }),
        ann,
      ),
      "corrupt",
      /./,
    ],
    "an app event that is no bytes": [
      signEventSync(
        eventAt(ben.publicKey, log.placeFor(ben.publicKey), { type: "app/x", payload: [1] }),
        ben,
      ),
      "corrupt",
      /./,
    ],
  };
  for (const [name, [event, code, problem]] of Object.entries(cases)) {
    const { accepted, refused, missing } = log.offer([event]);
    assert.deepEqual([accepted.length, missing.length], [0, 0], name);
    assert.equal(refused[0]?.code, code, name);
    assert.match(refused[0]!.problem, problem, name);
    assert.deepEqual(summary(log), before, name);
    assert.deepEqual(log.flush(0), [], name);
  }
  assert.equal(log.offer([good]).accepted.length, 1);
});

Deno.test("events whose parents are not there wait, and those that name what nobody has change nothing", async () => {
  const log = await topicOfTwo();
  const copy = copyOf(log);
  const before = summary(copy);
  const events = Array.from({ length: 5 }, () => log.append(something(), ben));
  log.flush(0);
  // The last first: each is missed, none is lost.
  for (const event of events.slice(1).reverse()) {
    const { accepted, missing, refused } = copy.offer([event]);
    assert.deepEqual([accepted.length, refused.length, missing.length], [0, 0, 1]);
  }
  assert.deepEqual(summary(copy), before);
  assert.equal(copy.offer([events[0]!]).accepted.length, 5);
  assert.deepEqual(summary(copy), summary(log));
  // A cycle would need an event that names its own hash; two that name each other name what is nowhere.
  const [a, b] = [someCid("a"), someCid("b")];
  for (const parents of [[a], [b]]) {
    const { accepted, missing } = copy.offer([bent(copy, ben, { parents, lamport: 1000 })]);
    assert.deepEqual([accepted.length, missing.map(String)], [0, parents.map(String)]);
  }
  assert.deepEqual(summary(copy), summary(log));
});

Deno.test("an author's branches are kept and told of, and count on no peer until it joins them", async () => {
  const log = await topicOfTwo();
  const copy = copyOf(log);
  const [left, right] = [proposed(log, ben, something()), proposed(log, ben, something())];
  assert.equal(log.offer([left, right]).accepted.length, 2);
  assert.equal(copy.offer([right]).accepted.length, 1);
  assert.equal(copy.offer([left]).accepted.length, 1);
  for (const each of [log, copy]) {
    assert.deepEqual(each.topic!.forked().map(String), [ben.publicKey].map(String));
    for (const { id } of [left, right]) {
      assert.ok(each.topic!.has(id) && !each.topic!.counts(each.topic!.get(id)!));
    }
  }
  assert.deepEqual(summary(log), summary(copy));
  const joined = log.append(something(), ben);
  assert.equal(copy.offer([joined]).accepted.length, 1);
  assert.deepEqual(copy.topic!.forked(), []);
  for (const { id } of [left, right]) assert.ok(copy.topic!.counts(copy.topic!.get(id)!));
  assert.deepEqual(summary(log), summary(copy));
});

Deno.test("a payload of the greatest size is taken, a byte more is refused, and 1 MiB is no event", async () => {
  const log = await topicOfTwo();
  const big = (bytes: number) =>
    signEventSync(
      eventAt(ben.publicKey, log.placeFor(ben.publicKey), {
        type: "app/big",
        payload: new Uint8Array(bytes),
      }),
      ben,
    );
  for (const bytes of [PAYLOAD_BYTES_MAX + 1, EVENT_BYTES_MAX - 1000]) {
    const { accepted, refused } = log.offer([decodeSigned(encodeSigned(big(bytes)))]);
    assert.deepEqual([accepted.length, refused[0]?.code], [0, "corrupt"]);
    assert.match(refused[0]!.problem, /payload has \d+ bytes, wanted at most/);
  }
  assert.equal(log.offer([big(PAYLOAD_BYTES_MAX)]).accepted.length, 1);
  assert.throws(() => big(EVENT_BYTES_MAX), { code: "corrupt", message: /wanted at most/ });
  const large = encodeCanonical([new Uint8Array(EVENT_BYTES_MAX + 1), new Uint8Array(64)]);
  assert.throws(() => decodeSigned(large), { code: "corrupt", message: /wanted at most/ });
});

Deno.test("events with any bytes changed are refused or harmless, and never cost what is good", async () => {
  const log = await topicOfTwo();
  await join(log, cem, "member", ann, randomFrom(9));
  for (let i = 0; i < 5; i++) log.append(something(), cem);
  log.flush(0);
  const encoded = [...log.stored()].map(({ id }) => encodeSigned(log.load(id)!));
  const edit = fc.record({ at: fc.nat(), byte: fc.nat(255), cuts: fc.nat(3) });
  const codes = new Set<string>();
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(), fc.array(edit, { minLength: 1, maxLength: 3 }))),
      (changes) => {
        const copy = emptyLog(log.topicId);
        copy.offer(encoded.slice(0, 3).map(decodeSigned));
        for (const [which, edits] of changes) {
          const bytes = [...encoded[which % encoded.length]!];
          for (const { at, byte, cuts } of edits) {
            bytes.splice(
              at % bytes.length,
              1,
              ...cuts === 0 ? [] : [byte],
            );
          }
          let event: SignedEvent;
          try {
            event = decodeSigned(Uint8Array.from(bytes));
          } catch (error) {
            assert.ok(error instanceof RealmError && error.code === "corrupt", String(error));
            codes.add("undecodable");
            continue;
          }
          for (const { code } of copy.offer([event]).refused) codes.add(code);
        }
        copy.offer(encoded.map(decodeSigned));
        copy.flush(0);
        assert.deepEqual(summary(copy), summary(log));
      },
    ),
    { numRuns },
  );
  assert.deepEqual([...codes].sort(), ["bad-signature", "corrupt", "undecodable"]);
});
