/**
 * What the other side of a session may do: nothing of it costs more than its bytes, or is taken for
 * anything but what it is.
 *
 * @module
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { bytesOf } from "../byte_string.ts";
import { RealmError } from "../error.ts";
import { encodeSigned } from "../event.ts";
import { converse, type FakeEvent, fakeEvent, fakeGenesis, FakeLog } from "./event_log_fake.ts";
import { decodeMessage, encodeMessage, type Message } from "./messages.ts";
import { emptySymbols } from "./riblt.ts";
import { headsDigest, SyncSession } from "./session.ts";

const SECRET = new Uint8Array(16).fill(1);
const DIGEST = new Uint8Array(32);

function chain(
  length: number,
  name = "shared",
  before: FakeEvent[] = [fakeGenesis()],
): FakeEvent[] {
  const events = [...before];
  for (let i = 0; i < length; i++) events.push(fakeEvent([events.at(-1)!], `${name} ${i}`));
  return events;
}

const PAST = chain(120);
const OURS = chain(15, "ours", PAST), THEIRS = chain(25, "theirs", PAST);
/** A difference that is too large for a table. */
const MANY = chain(200, "many", PAST);

function isMisbehaviour(error: unknown): boolean {
  return error instanceof RealmError && (error.code === "corrupt" || error.code === "refused");
}

function initiator(log: FakeLog): SyncSession {
  return new SyncSession({ role: "initiator", source: log, secret: SECRET });
}

function responder(log: FakeLog): SyncSession {
  return new SyncSession({ role: "responder", source: log, secret: SECRET });
}

function tell(session: SyncSession, message: Message): void {
  session.receive(encodeMessage(message));
}

/** All that a session has to say for now. */
function listen(session: SyncSession): Message[] {
  const said: Message[] = [];
  for (let bytes = session.send(); bytes; bytes = session.send()) said.push(decodeMessage(bytes));
  return said;
}

function assertRefuses(session: SyncSession, message: Message, about: RegExp): void {
  assert.throws(() => tell(session, message), (error) => {
    assert.ok(isMisbehaviour(error), `${error}`);
    assert.match((error as Error).message, about);
    return true;
  });
  // That was its end.
  assert.equal(session.send(), undefined);
  assert.throws(() => tell(session, message), isMisbehaviour);
}

const OPEN = (count: number): Message => ({ kind: "open", secret: SECRET, count, digest: DIGEST });
const WANT: Extract<Message, { kind: "want" }> = {
  kind: "want",
  count: 0,
  give: 0,
  all: false,
  partial: false,
  last: true,
  tags: { low: [], high: [] },
};
const events = (list: readonly FakeEvent[], last = true): Message => ({
  kind: "events",
  events: list.map(({ signed }) => encodeSigned(signed)),
  last,
});

/** A responder that has told its symbols and waits for a question. */
function asked(log: FakeLog, count = 100): SyncSession {
  const session = responder(log);
  tell(session, OPEN(count));
  listen(session);
  return session;
}

Deno.test("SyncSession: damaged, lost, repeated or exchanged messages are refused or harmless", () => {
  const fate = fc.constantFrom("damage", "lose", "repeat", "hold");
  fc.assert(
    fc.property(fc.boolean(), fate, fc.nat(12), fc.nat(), fc.integer({ min: 1, max: 255 }), (
      isLarge,
      fate,
      index,
      at,
      bits,
    ) => {
      const other = isLarge ? MANY : THEIRS;
      const logs: [FakeLog, FakeLog] = [new FakeLog(OURS), new FakeLog(other)];
      const known = new Set([...OURS, ...other].map(({ key }) => key));
      let held: Uint8Array[] = [];
      let sessions: ReturnType<typeof converse> | undefined;
      try {
        sessions = converse(logs, {
          between: (bytes, _, i) => {
            if (i !== index) return [bytes, ...held.splice(0)];
            if (fate === "lose") return [];
            if (fate === "repeat") return [bytes, bytes];
            if (fate === "hold") {
              held = [bytes];
              return [];
            }
            const damaged = bytes.slice();
            damaged[at % bytes.length]! ^= bits;
            return [damaged];
          },
        });
      } catch (error) {
        assert.ok(isMisbehaviour(error), `${error}`);
      }
      for (const log of logs) {
        for (const event of log.events.values()) {
          // Nothing came in that nobody had, or before its parents.
          assert.ok(known.has(event.key) && event.parents.every((key) => log.events.has(key)));
        }
      }
      for (const side of ["initiator", "responder"] as const) {
        const outcome = sessions?.[side].outcome;
        if (outcome?.inSync) {
          assert.deepEqual(logs[0].heads().toSorted(), logs[1].heads().toSorted());
        }
      }
    }),
    { numRuns: 120 },
  );
});

Deno.test("SyncSession: whatever bytes come, it throws nothing else, and nothing after", () => {
  const message = fc.oneof(
    fc.uint8Array({ maxLength: 80 }),
    fc.tuple(fc.nat(9), fc.uint8Array({ maxLength: 80 })).map(([kind, rest]) =>
      Uint8Array.of(kind, ...rest)
    ),
  );
  const make = fc.constantFrom(
    () => initiator(new FakeLog(OURS)),
    () => responder(new FakeLog(OURS)),
    () => asked(new FakeLog(OURS)),
  );
  fc.assert(
    fc.property(make, fc.array(message, { maxLength: 5 }), (make, messages) => {
      const session = make();
      for (const bytes of messages) {
        try {
          session.receive(bytes);
        } catch (error) {
          assert.ok(isMisbehaviour(error), `${error}`);
          assert.equal(session.send(), undefined);
        }
        listen(session);
      }
    }),
    { numRuns: 300 },
  );
});

Deno.test("SyncSession: a responder does not end its symbols, or sends other ones", () => {
  const session = initiator(new FakeLog(OURS));
  listen(session);
  tell(session, OPEN(1000));
  // A stream that never decodes is ended by its bound, after which ranges are asked for.
  const seen: number[] = [];
  let at = 0;
  for (let asked = 64, isDone = false; !isDone; seen.push(at)) {
    while (at < asked) {
      const symbols = emptySymbols(at, Math.min(1024, asked - at));
      crypto.getRandomValues(symbols.low);
      symbols.counts.fill(500);
      tell(session, { kind: "symbols", symbols });
      at += symbols.length;
    }
    const next = listen(session)[0]!;
    if (next.kind === "more") asked = next.to;
    else isDone = next.kind === "ask";
  }
  assert.ok(at <= 128 + 500 && seen.length < 32, `${seen}`);
  assertRefuses(session, { kind: "symbols", symbols: emptySymbols(at, 10) }, /nobody asked for/);

  const other = initiator(new FakeLog(OURS));
  listen(other);
  tell(other, OPEN(1000));
  // The set of nothing, instead of the one of a thousand.
  assertRefuses(other, { kind: "symbols", symbols: emptySymbols(0, 65) }, /nobody asked for/);
});

Deno.test("SyncSession: symbols that decode into what cannot be are refused", () => {
  // Ours are all missing at the other side, which says that it has ten events all the same.
  const few = new FakeLog(PAST.slice(0, 12)), session = initiator(few);
  listen(session);
  tell(session, OPEN(10));
  assertRefuses(session, { kind: "symbols", symbols: emptySymbols(0, 64) }, /not those of its set/);
});

Deno.test("SyncSession: a responder names events that it does not give", () => {
  const theirs = new FakeLog(THEIRS), ours = new FakeLog(OURS);
  theirs.load = () => undefined;
  const { initiator } = converse([ours, theirs]);
  assert.equal(initiator.outcome?.withheld, 25);
  assert.equal(initiator.outcome?.inSync, false);
});

Deno.test("SyncSession: an initiator asks more than an honest one", () => {
  const log = () => new FakeLog(MANY);
  const more = (to: number): Message => ({ kind: "more", to });
  assertRefuses(asked(log()), more(64), /up to 64 after 64/);
  assertRefuses(asked(log()), more(70), /up to 70 after 64/);
  assertRefuses(asked(log()), more(60_000), /up to 60000/);
  const impatient = asked(log());
  tell(impatient, more(80));
  assertRefuses(impatient, more(100), /does not wait/);
  const end = { lamport: 1e6, low: 0, high: 0 }, start = { lamport: 0, low: 0, high: 0 };
  const all: Message = { kind: "ask", ranges: [{ from: start, to: end, list: true }] };
  const greedy = asked(log());
  tell(greedy, all);
  listen(greedy);
  assertRefuses(greedy, all, /repeatedly/);
  const back = asked(log());
  tell(back, all);
  listen(back);
  assertRefuses(back, more(80), /after 64/);
});

Deno.test("SyncSession: an initiator wants what cannot be", () => {
  const log = () => new FakeLog(PAST), session = () => asked(log(), 100);
  const want = (change: Partial<typeof WANT>): Message => ({ ...WANT, ...change });
  assertRefuses(session(), want({ tags: { low: [1], high: [2] } }), /not offered/);
  assertRefuses(session(), want({ last: false }), /nothing/);
  assertRefuses(session(), want({ count: 100, give: 0 }), /cannot be the difference/);
  assertRefuses(session(), want({ count: 5, give: 6, partial: true }), /cannot be the difference/);
  const twice = session();
  const { low, high } = listedTags(twice);
  assertRefuses(
    twice,
    want({ tags: { low: [low[0]!, low[0]!], high: [high[0]!, high[0]!] } }),
    /twice/,
  );
});

/** Tags of a responder's events, by asking. */
function listedTags(session: SyncSession): { low: ArrayLike<number>; high: ArrayLike<number> } {
  const start = { lamport: 0, low: 0, high: 0 }, end = { lamport: 1e6, low: 0, high: 0 };
  tell(session, { kind: "ask", ranges: [{ from: start, to: end, list: true }] });
  const message = listen(session)[0]!;
  assert.ok(message.kind === "parts" && "tags" in message.answers[0]!);
  return message.answers[0].tags;
}

/** An initiator that waits for 25 events which it wants. */
function waiting(log: FakeLog): { session: SyncSession; theirs: FakeEvent[] } {
  const session = initiator(log), other = responder(new FakeLog(THEIRS));
  for (let i = 0; i < 4; i++) {
    for (const message of listen(session)) if (message.kind !== "events") tell(other, message);
    for (const message of listen(other)) if (message.kind !== "events") tell(session, message);
  }
  return { session, theirs: THEIRS.slice(PAST.length) };
}

Deno.test("SyncSession: events that nobody asked for, out of order, twice, or too many", () => {
  const start = () => waiting(new FakeLog(OURS)), { theirs } = start();
  const other = fakeEvent([PAST.at(-1)!], "unasked");
  assertRefuses(start().session, events([other]), /nobody asked for/);
  assertRefuses(start().session, events([PAST[3]!]), /nobody asked for/);
  assertRefuses(start().session, events([theirs[1]!, theirs[0]!]), /out of order/);
  assertRefuses(start().session, events([theirs[0]!, theirs[0]!]), /out of order/);
  assertRefuses(start().session, events([...theirs, theirs[0]!]), /more events than it said/);
  assertRefuses(start().session, events([], false), /nothing/);
  const { session } = start();
  tell(session, events(theirs));
  assertRefuses(session, events([]), /after the last/);
  assertRefuses(
    start().session,
    { kind: "events", events: [Uint8Array.of(1, 2, 3)], last: true },
    /Cannot/,
  );
});

Deno.test("SyncSession: an initiator gives what the responder has, or more than it said", () => {
  const give = (count: number): SyncSession => {
    const session = asked(new FakeLog(PAST), 200);
    tell(session, { ...WANT, count: PAST.length + count, give: count });
    return session;
  };
  assertRefuses(give(5), events([PAST[3]!]), /nobody asked for/);
  assertRefuses(give(1), events(OURS.slice(PAST.length, PAST.length + 2)), /more events/);
  assertRefuses(give(0), events([]), /where nobody waits/);
});

Deno.test("SyncSession: forged events are misbehaviour, refused ones are not", () => {
  const first = THEIRS[PAST.length]!;
  const strict = new FakeLog(OURS), forger = new FakeLog(THEIRS);
  const forged = { ...first.signed, signature: new Uint8Array(64) };
  forger.load = (key) => encodeSigned(key === first.key ? forged : forger.events.get(key)!.signed);
  assert.throws(() => converse([strict, forger]), /is forged/);
  assert.equal(strict.count, OURS.length);
  const other = new FakeLog(OURS);
  other.unwanted.add(first.key);
  const { outcome } = converse([other, new FakeLog(THEIRS)]).initiator;
  // What comes after it lacks its parent.
  assert.equal(outcome?.refused, 25);
  assert.equal(outcome.inSync, false);
});

Deno.test("SyncSession: a sender waits for acknowledgements, and a receiver insists on it", () => {
  const heavy = [fakeGenesis()];
  for (let i = 0; i < 40; i++) {
    heavy.push(fakeEvent([heavy.at(-1)!], new Uint8Array(100_000).fill(i)));
  }
  const sender = responder(new FakeLog(heavy));
  tell(sender, OPEN(0));
  listen(sender);
  tell(sender, { ...WANT, all: true });
  const sent = listen(sender);
  assert.ok(sent.length >= 10 && sent.length <= 12, `${sent.length} messages on their way`);
  assertRefuses(sender, { kind: "ack", messages: sent.length + 1 }, /not sent/);

  const receiver = initiator(new FakeLog());
  listen(receiver);
  tell(receiver, OPEN(heavy.length));
  listen(receiver);
  assert.throws(() => {
    for (const event of heavy) tell(receiver, events([event], false));
  }, /does not wait for acknowledgements/);

  const logs: [FakeLog, FakeLog] = [new FakeLog(), new FakeLog(heavy)];
  assert.equal(converse(logs).initiator.outcome?.inSync, true);
});

Deno.test("SyncSession: an end before its time, or of heads that are not equal", () => {
  const synced = (digest: Uint8Array): Message => ({ kind: "synced", count: 9, digest });
  const opening = initiator(new FakeLog(OURS));
  assertRefuses(opening, synced(DIGEST), /unequal heads/);
  assertRefuses(asked(new FakeLog(OURS)), synced(DIGEST), /nobody waits/);
  assertRefuses(waiting(new FakeLog(OURS)).session, synced(DIGEST), /nobody waits/);
  const equal = initiator(new FakeLog(OURS));
  tell(equal, synced(headsDigest([OURS.at(-1)!.key])));
  assert.equal(equal.outcome?.method, "equal heads");
});

Deno.test("SyncSession: events that come meanwhile harm nothing, and are for the next one", () => {
  const logs: [FakeLog, FakeLog] = [new FakeLog(OURS), new FakeLog(THEIRS)];
  const late = fakeEvent([OURS.at(-1)!], "late");
  const gossip = THEIRS.slice(PAST.length, PAST.length + 5);
  const first = converse(logs, {
    between: (bytes, _, i) => {
      if (i === 2) { for (const event of [late, ...gossip]) logs[0].add(event); }
      return [bytes];
    },
  });
  assert.equal(first.initiator.outcome?.inSync, false);
  assert.equal(first.initiator.outcome?.received, 25);
  assert.equal(logs[1].events.has(late.key), false);
  assert.equal(converse(logs, { seed: 2 }).initiator.outcome?.inSync, true);
  assert.ok(logs[1].events.has(late.key));
});

Deno.test("SyncSession: one that broke off is begun again with what came so far", () => {
  const length = 1200,
    theirs = chain(length),
    logs: [FakeLog, FakeLog] = [
      new FakeLog([fakeGenesis()]),
      new FakeLog(theirs),
    ];
  let passed = 0;
  assert.throws(() =>
    converse(logs, {
      between: (bytes) => {
        if (decodeMessage(bytes).kind === "events" && passed++ === 2) throw new Error("cut");
        return [bytes];
      },
    }), /cut/);
  assert.ok(logs[0].count > 1 && logs[0].count < length);
  const { outcome } = converse(logs, { seed: 2 }).initiator;
  assert.equal(outcome?.inSync, true);
  assert.equal(logs[0].count, length + 1);
  assert.ok(outcome.received < length);
});

Deno.test("SyncSession: neither side alone decides on the key", () => {
  // Symbols of one set under the keys of several sessions, where one half is the same.
  const symbols = (secret: Uint8Array, theirs: Uint8Array) => {
    const session = new SyncSession({ role: "responder", source: new FakeLog(OURS), secret });
    tell(session, { kind: "open", secret: theirs, count: 5, digest: DIGEST });
    const message = listen(session)[1]!;
    assert.ok(message.kind === "symbols");
    return message.symbols.low.join(" ");
  };
  const other = bytesOf("0123456789abcdef");
  const all = [symbols(SECRET, SECRET), symbols(SECRET, other), symbols(other, SECRET)];
  assert.equal(new Set(all).size, 3);
  assert.equal(symbols(SECRET, SECRET), all[0]);
});
