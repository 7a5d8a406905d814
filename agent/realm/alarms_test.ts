import assert from "node:assert/strict";
import {
  ClockWatch,
  machineConditions,
  replicaConditions,
  rolloutConditions,
  type SeenReplica,
  ThrottleWatch,
  viewConditions,
} from "./alarm_conditions.ts";
import {
  ALARM_CODES,
  AlarmBoard,
  type Condition,
  conditionsTold,
  isPersonal,
  isTold,
  TOLD_MAX,
  toldOf,
} from "./alarms.ts";
import type { RealmView } from "./realm_view.ts";

const AT_MS = 1_764_000_000_000;
const FULL: Condition = { code: "disk", node: "a", subject: null, value: "94 %" };

function setUp() {
  const board = new AlarmBoard();
  return (nowMs: number, ...conditions: Condition[]) =>
    board.look(conditions, nowMs, AT_MS + nowMs);
}

const replica = (but: Partial<SeenReplica> = {}): SeenReplica => ({
  component: "orders",
  index: 1,
  state: "running",
  startedAtMs: AT_MS,
  limits: { memoryBytesMax: 1_000 },
  usage: { memoryBytes: 100, throttledMs: 0 },
  lastExit: null,
  ...but,
});

Deno.test("every alarm says what is wrong and what to do, without a final period", () => {
  const look = setUp();
  for (const code of ALARM_CODES) {
    const sinceAtMs = AT_MS - 1;
    const [alarm] = look(0, {
      code,
      node: "bm-02",
      subject: "orders/1",
      value: "94 % of all",
      sinceAtMs,
    });
    assert.equal(alarm?.code, code);
    assert.equal(alarm.sinceAtMs, sinceAtMs);
    for (const text of [alarm.message, alarm.hint]) {
      assert.match(text, /^.{10,}[^.]$/, code);
      assert.doesNotMatch(text, /undefined|null/, code);
    }
    look(100_000);
  }
});

Deno.test("an alarm is there since it was first seen, until it is seen no more", () => {
  const look = setUp();
  const silent: Condition = { code: "silent", node: "b", subject: null, value: null };
  assert.equal(look(1_000, silent)[0]!.sinceAtMs, AT_MS + 1_000);
  assert.equal(look(9_000, silent)[0]!.sinceAtMs, AT_MS + 1_000);
  assert.deepEqual(look(9_001), []);
  assert.equal(look(9_002, silent)[0]!.sinceAtMs, AT_MS + 9_002, "it began anew");
});

Deno.test("what is measured lingers from one sample to the next", () => {
  const look = setUp();
  look(0, FULL);
  assert.equal(look(15_000)[0]!.message, "the disk of a is 94 % full");
  assert.deepEqual(look(15_001), []);
});

Deno.test("a replica is an alarm once it was throttled for a minute", () => {
  const [look, watch] = [setUp(), new ThrottleWatch()];
  let throttledMs = 0;
  for (let nowMs = 0; nowMs <= 60_000; nowMs += 5_000) {
    const usage = { memoryBytes: 0, throttledMs: throttledMs += 1_000 };
    const conditions = watch.look("a", [replica({ usage })], nowMs);
    assert.deepEqual(look(nowMs, ...conditions), [], `after ${nowMs} ms`);
  }
  const usage = { memoryBytes: 0, throttledMs: throttledMs += 1_000 };
  const [alarm] = look(65_000, ...watch.look("a", [replica({ usage })], 65_000));
  assert.equal(alarm?.message, "orders/1 on a was throttled 20 % of the time for a minute");
  assert.equal(alarm.hint, "Raise fuel_per_sec or replicas of orders, or see whether it traps");
  assert.equal(alarm.sinceAtMs, AT_MS + 5_000);
  // Another instance, and one that is throttled a little, are no news.
  assert.deepEqual(watch.look("a", [replica({ usage, startedAtMs: 1 })], 70_000), []);
  const little = { ...usage, throttledMs: usage.throttledMs + 400 };
  assert.deepEqual(watch.look("a", [replica({ usage: little, startedAtMs: 1 })], 75_000), []);
  assert.deepEqual(watch.look("a", [replica({ usage: null })], 80_000), []);
});

Deno.test("the worst comes first, whatever order it is seen in", () => {
  const conditions: Condition[] = [
    FULL,
    { code: "silent", node: "b", subject: null, value: null },
    { code: "view-differs", node: "b", subject: null, value: null },
    { ...FULL, node: "Z" },
    { code: "conflict", node: null, subject: "key", value: "x" },
  ];
  const said = (all: Condition[]) => setUp()(0, ...all).map(({ code, node }) => `${code} ${node}`);
  const wanted = ["conflict null", "view-differs b", "silent b", "disk Z", "disk a"];
  assert.deepEqual(said(conditions), wanted);
  assert.deepEqual(said(conditions.toReversed()), wanted);
});

Deno.test("a node tells of itself, and is believed for what only it can know", () => {
  const look = setUp();
  const own = look(
    0,
    FULL,
    { ...FULL, node: "b" },
    { code: "silent", node: "a", subject: null, value: null },
    { code: "drift", node: "a", subject: "lunch", value: "drift: x" },
    { code: "memory", node: "a", subject: "orders/1", value: "\u{1f600}".repeat(1_000) },
  );
  const told = toldOf(own, "a");
  assert.deepEqual(told.map(({ code }) => code), ["disk", "memory"]);
  assert.ok(told[1]!.value!.length <= 240 && told[1]!.value!.isWellFormed());
  const many = look(
    0,
    ...Array.from({ length: 99 }, (_, i): Condition => ({ ...FULL, subject: `${i}` })),
  );
  assert.equal(toldOf(many, "a").length, TOLD_MAX);

  const heard = conditionsTold("b", [
    { code: "disk", subject: null, value: "99 %", sinceAtMs: AT_MS + 1e9 },
    { code: "conflict", subject: "the owner", value: "is mad", sinceAtMs: 0 },
    { code: "toString", subject: null, value: null, sinceAtMs: 0 },
    { code: "of-a-newer-program", subject: null, value: null, sinceAtMs: 0 },
  ], AT_MS);
  const disk = { code: "disk", node: "b", subject: null, value: "99 %", sinceAtMs: AT_MS };
  assert.deepEqual(heard, [disk], "nothing is since the time to come");
  assert.ok(!isTold("conflict") && isPersonal("drift") && !isPersonal("disk"));
});

Deno.test("what a node tells has lasted long enough by its own clock", () => {
  const throttled = { code: "throttled", subject: "orders/1", value: "50 %", sinceAtMs: AT_MS - 1 };
  const [alarm] = setUp()(0, ...conditionsTold("b", [throttled], AT_MS));
  assert.equal(alarm?.code, "throttled");
});

Deno.test("replicas that ended, or need nearly all of their memory, are told of", () => {
  const exit = { kind: "exit", status: 3 } as const;
  const lastExit = { atMs: AT_MS - 5, exit };
  const about = { node: "a", subject: "orders/1" };
  const ended = { ...about, value: "exit 3", sinceAtMs: AT_MS - 5 };
  const of = (but: Partial<SeenReplica>) => replicaConditions("a", [replica(but)]);
  assert.deepEqual(of({ lastExit }), [], "it runs again");
  assert.deepEqual(of({ state: "failed", lastExit }), [{ ...ended, code: "replica-failed" }]);
  assert.deepEqual(of({ state: "backoff", lastExit }), [{ ...ended, code: "replica-restarting" }]);
  assert.deepEqual(of({ usage: { memoryBytes: 900, throttledMs: 0 } }), []);
  const full = { ...about, code: "memory", value: "91 %" };
  assert.deepEqual(of({ usage: { memoryBytes: 910, throttledMs: 0 } }), [full]);
  assert.deepEqual(of({ limits: null, usage: null }), []);
  const unhealthy = { ...about, code: "replica-unhealthy", value: 'GET /healthz: 503 "ill"' };
  assert.deepEqual(of({ state: "unhealthy", health: unhealthy.value }), [unhealthy]);
  assert.deepEqual(of({ state: "starting", health: unhealthy.value }), [], "it has just started");
});

Deno.test("a machine whose disk or memory is full to nine tenths is told of", () => {
  const machine = {
    memoryTotalBytes: 100,
    memoryUsedBytes: 90,
    diskTotalBytes: 1_000,
    diskUsedBytes: 999,
  };
  assert.deepEqual(machineConditions("a", machine), [
    { code: "disk", node: "a", subject: null, value: "99 %" },
  ]);
  const [, memory] = machineConditions("a", { ...machine, memoryUsedBytes: 100 });
  assert.deepEqual([memory?.code, memory?.value], ["node-memory", "100 %"]);
});

Deno.test("the control log's alarms, failed releases and replicas without a place are told of", () => {
  const alarms: RealmView["alarms"] = [
    { kind: "conflict", author: "ed25519:o", tips: ["x", "y"] },
    { kind: "equivocation", author: "ed25519:o", events: ["e1", "e2"] },
    { kind: "key-changed", name: "b", from: "k1", to: "k2", event: "e" },
  ];
  const messages = (...all: Condition[]) => setUp()(0, ...all).map(({ message }) => message);
  const [conflict, equivocation, changed] = messages(...viewConditions({ alarms } as RealmView));
  assert.match(equivocation!, /^ed25519:o signed two manifests .*: the events e1 and e2 prove it$/);
  assert.match(conflict!, /^ed25519:o signed on two branches at once: .* tips x, y$/);
  const wanted = "b was approved with another key, k2, while k1 had not been revoked";
  assert.equal(changed, wanted);

  const failure = {
    component: "orders",
    version: 4,
    release: "r",
    node: "bm-02",
    evidence: 'GET /healthz: 503 "no database"\n  its last line',
  };
  const rollout = { version: 3, wanted: 2, settled: 1, failure };
  const unplaced = [
    { component: "auth", replicas: 2, why: "bm-01 is not live" },
    { component: "auth", replicas: 1, why: "no node has the tag gpu" },
  ];
  const fine: Omit<typeof rollout, "failure"> & { failure: typeof failure | undefined } = {
    ...rollout,
    failure: undefined,
  };
  const rollouts = [["orders", rollout], ["x", fine]] as const;
  const conditions = rolloutConditions(new Map<string, typeof fine>(rollouts), unplaced);
  assert.deepEqual(messages(...conditions), [
    "orders: version 4 failed on bm-02, it goes back to version 3: " +
    'GET /healthz: 503 "no database"',
    "cannot place 2 (bm-01 is not live), 1 (no node has the tag gpu) of auth",
  ]);
});

Deno.test("a clock that is off is named, also when it is this node's own", () => {
  let counter = 0;
  const looks = (offsets: Record<string, number>, times = 4, watch = new ClockWatch()) => {
    let found: Condition[] = [];
    for (let i = 0; i < times; i++) {
      counter++;
      const clocks = Object.entries(offsets)
        .map(([node, offsetMs]) => ({ node, counter, offsetMs }));
      found = watch.look("self", clocks);
    }
    return found.map(({ node, value }) => `${node} ${value}`);
  };
  assert.deepEqual(looks({ a: 4_000, b: -4_000 }), []);
  assert.deepEqual(looks({ a: 7_200, b: 10, c: -20 }), ["a 7 s ahead"]);
  assert.deepEqual(looks({ a: 60_000, b: 60_010, c: 59_990 }), ["self 60 s behind"]);
  assert.deepEqual(looks({ a: -9_000 }), ["a 9 s behind"], "of two it is the other");
  assert.deepEqual(looks({ a: -9_000 }, 2), [], "two looks prove nothing");

  // What is late on its way makes a clock look slow: the fastest look counts.
  const watch = new ClockWatch();
  looks({ a: -100, b: 0, c: 0 }, 1, watch);
  assert.deepEqual(looks({ a: -30_000, b: 0, c: 0 }, 7, watch), []);
  assert.deepEqual(looks({ a: -30_000, b: 0, c: 0 }, 1, watch), ["a 30 s behind"]);

  // The same word again says nothing new, and who is away is forgotten.
  const same = { node: "a", counter: 1, offsetMs: 60_000 };
  const still = new ClockWatch();
  for (let i = 0; i < 9; i++) assert.deepEqual(still.look("self", [same]), []);
  assert.deepEqual(looks({}, 1, watch), []);
  assert.deepEqual(looks({ a: -30_000, b: 0, c: 0 }, 2, watch), []);
});
