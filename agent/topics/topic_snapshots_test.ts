import assert from "node:assert/strict";
import { setImmediate } from "node:timers";
import { State } from "../apps/state.ts";
import { snapshotForm } from "../apps/state_snapshot.ts";
import type { TicketState } from "../apps/topic/app_ticket.ts";
import { baseSnapshot, stateOf, type TopicSnapshot } from "../apps/topic/topic_snapshot.ts";
import { createTopic, emptyLog, someCid } from "../apps/topic/topic_fake.ts";
import { RealmError } from "../kernel/error.ts";
import type { Clock } from "../kernel/ports.ts";
import { TopicSnapshots } from "./topic_snapshots.ts";

const ABI = 1;

Deno.test("TopicSnapshots looks for the state of a fork until it comes, whatever goes wrong", async () => {
  const journal = State.EMPTY.journal();
  journal.put(Uint8Array.of(1), Uint8Array.of(2));
  const state = journal.commit();
  const origin = { topic: someCid("origin"), event: someCid("event"), digest: state.digest(ABI) };
  const base = baseSnapshot({ state, bundle: "bundle" }, origin, ABI);
  const answers: (() => TopicSnapshot | undefined)[] = [
    () => undefined,
    () => {
      throw new RealmError("refused", "Cannot start the fork: it is another state");
    },
    () => {
      throw new Error("the disk is full");
    },
    () => undefined,
    () => base,
  ];
  const pauses: number[] = [];
  const problems: (string | undefined)[] = [];
  const came = Promise.withResolvers<void>();
  const snapshots: TopicSnapshots = new TopicSnapshots({
    log: createTopic({ fork: origin }),
    clock: {
      wallMs: () => 0,
      monotonicMs: () => 0,
      sleep: (ms) => {
        pauses.push(ms);
        return Promise.resolve();
      },
    },
    baseOf: () => Promise.resolve().then(answers.shift()),
    stateOf: () => assert.fail("there is no ticket"),
    notice: (text) => assert.fail(text),
  });
  const look = () => {
    problems.push(snapshots.baseProblem(look));
    if (problems.at(-1) === undefined) came.resolve();
  };
  look();
  await came.promise;
  const waits = "the state that it begins with is not here yet";
  assert.deepEqual(problems, [
    waits,
    "Cannot start the fork: it is another state",
    "the disk is full",
    waits,
    undefined,
  ]);
  assert.deepEqual(pauses, [2_000, 4_000, 8_000, 2_000]);
  assert.deepEqual(snapshots.forStart().base?.record.digest, origin.digest);
});

Deno.test("TopicSnapshots fetches the state of a fork anew that was damaged", async () => {
  const journal = State.EMPTY.journal();
  for (let i = 0; i < 4; i++) journal.put(Uint8Array.of(i), new Uint8Array(60_000).fill(i));
  const state = journal.commit();
  const origin = { topic: someCid("origin"), event: someCid("event"), digest: state.digest(ABI) };
  const base = baseSnapshot({ state, bundle: "bundle" }, origin, ABI);
  const log = createTopic({ fork: origin });
  const notices: string[] = [];
  /** What is looked for until one can start. */
  const start = async () => {
    let fetched = 0;
    const snapshots: TopicSnapshots = new TopicSnapshots({
      log,
      clock: quickClock(),
      baseOf: () => Promise.resolve((++fetched, base)),
      stateOf: () => assert.fail("there is no ticket"),
      notice: (text) => void notices.push(text),
    });
    const came = Promise.withResolvers<void>();
    if (snapshots.baseProblem(came.resolve) !== undefined) await came.promise;
    assert.equal(snapshots.baseProblem(() => assert.fail("it is here")), undefined);
    assert.deepEqual(stateOf(snapshots.forStart().base!).digest(ABI), origin.digest);
    snapshots.close();
    return fetched;
  };
  const { store } = log;
  const keyOf = (prefix: string) => [...store.scan(prefix)][0]![0];
  assert.deepEqual([await start(), await start()], [1, 0]);
  const chunk = keyOf("snapshot/chunk/");
  const [value, other] = [...store.scan("snapshot/chunk/")].map(([, value]) => value);
  store.write([{ put: chunk, value: value!.slice(1) }]);
  assert.deepEqual([await start(), await start()], [1, 0]);
  store.write([{ put: chunk, value: other! }]);
  assert.deepEqual([await start(), await start()], [1, 0]);
  store.write([{ delete: chunk }]);
  assert.deepEqual([await start(), await start()], [1, 0]);
  assert.equal(notices.length, 3);
  // A record that cannot be read is as one that is not there.
  store.write([{ put: keyOf("snapshot/base/"), value: Uint8Array.of(1, 2) }]);
  assert.deepEqual([await start(), await start()], [1, 0]);
  // And a chunk besides, which nobody misses before there is a record again.
  store.write([
    { put: keyOf("snapshot/base/"), value: Uint8Array.of(1, 2) },
    { put: keyOf("snapshot/chunk/"), value: Uint8Array.of(1, 2) },
  ]);
  assert.deepEqual([await start(), await start()], [2, 0]);
});

/** A clock whose sleeps are over at once, and take their time. */
function quickClock(): Clock {
  let nowMs = 0;
  return {
    wallMs: () => nowMs,
    monotonicMs: () => nowMs,
    sleep: (ms) => {
      nowMs += ms;
      return Promise.resolve();
    },
  };
}

Deno.test("TopicSnapshots has the state of a ticket before it says that one can start", async () => {
  const journal = State.EMPTY.journal();
  journal.put(Uint8Array.of(1), Uint8Array.of(2));
  const state = journal.commit();
  const { index, chunks } = snapshotForm(state, ABI);
  const ticket: TicketState = {
    heads: new Uint8Array(32).fill(1),
    count: 2_000,
    digest: state.digest(ABI),
  };
  const order = new Uint8Array(32);
  const record = { abi: ABI, bundle: "bundle", length: 1_999, order, index, ...ticket };
  const snapshot: TopicSnapshot = {
    record,
    chunks: new Map([...chunks].map(([name, chunk]) => [name, chunk()])),
  };
  // Of the kernel's events before the ticket's, which changed no state.
  const older = { ...record, heads: order, count: 1_998 };
  /** What it has come to when one can start, and how often peers were asked. */
  const started = async (
    answer: (asked: number) => TopicSnapshot | undefined,
    asksFor: TicketState = ticket,
  ) => {
    let asked = 0;
    const notices: string[] = [];
    const snapshots = new TopicSnapshots({
      log: createTopic(),
      clock: quickClock(),
      baseOf: () => assert.fail("it is no fork"),
      stateOf: async (digest) => {
        assert.deepEqual(digest, asksFor.digest);
        return await Promise.resolve(answer(++asked));
      },
      notice: (text) => void notices.push(text),
    });
    const came = Promise.withResolvers<void>();
    const problem = snapshots.ticketProblem(asksFor, came.resolve);
    if (problem !== undefined) {
      assert.match(problem, /state of the ticket is not here yet/);
      assert.equal(snapshots.ticketProblem(asksFor, came.resolve), problem);
      await came.promise;
    }
    assert.equal(snapshots.ticketProblem(asksFor, came.resolve), undefined);
    const { snapshot, joining } = snapshots.forStart(asksFor);
    return { snapshot: snapshot?.record.count, joining, asked, notices };
  };
  const nothing = { snapshot: undefined, joining: undefined };
  assert.deepEqual(await started((asked) => asked === 3 ? snapshot : undefined), {
    snapshot: 2_000,
    joining: 2_000,
    asked: 3,
    notices: [],
  });
  assert.deepEqual(await started(() => undefined), { ...nothing, asked: 20, notices: [] });
  assert.deepEqual(
    await started(() => ({ ...snapshot, record: older })),
    { snapshot: 1_998, joining: 2_000, asked: 1, notices: [] },
  );
  const why = "Cannot take it: it is another";
  const lie = () => {
    throw new RealmError("refused", why);
  };
  assert.deepEqual(await started(lie), { ...nothing, asked: 1, notices: [why] });
  // As many events are here.
  assert.deepEqual(
    await started(() => assert.fail("asked"), { ...ticket, count: 1 }),
    { ...nothing, asked: 0, notices: [] },
  );
});

Deno.test("TopicSnapshots looks for the state of a ticket anew when peers come who have events", async () => {
  const ticket = { heads: new Uint8Array(32), count: 2_000, digest: new Uint8Array(32) };
  const origin = createTopic();
  const genesis = origin.topic!.order().map((event) => origin.read(event));
  const log = emptyLog(origin.topicId);
  let asked = 0, came = 0;
  const snapshots = new TopicSnapshots({
    log,
    clock: quickClock(),
    baseOf: () => assert.fail("it is no fork"),
    stateOf: () => {
      // In the middle of the time for which it is looked for once more.
      if (++asked === 50) log.offer(genesis);
      return Promise.resolve(undefined);
    },
    notice: (text) => assert.fail(text),
  });
  const look = async () => {
    const problem = snapshots.ticketProblem(ticket, () => void came++);
    await new Promise((resolve) => setImmediate(resolve)); // nothing else takes a turn
    return { problem, asked, came };
  };
  const problem = "the state of the ticket is not here yet";
  assert.deepEqual(await look(), { problem, asked: 20, came: 0 });
  assert.deepEqual(await look(), { problem, asked: 40, came: 0 });
  assert.deepEqual(await look(), { problem, asked: 66, came: 1 });
  assert.deepEqual(await look(), { problem: undefined, asked: 66, came: 1 });
});
