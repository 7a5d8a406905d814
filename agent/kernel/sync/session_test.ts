import assert from "node:assert/strict";
import fc from "fast-check";
import { converse, type FakeEvent, fakeEvent, fakeGenesis, FakeLog } from "./event_log_fake.ts";

/** Two logs with a shared past: a chain of `shared` events, then each its own branch. */
function branches(shared: number, ours: number, theirs: number): [FakeLog, FakeLog] {
  const past = [fakeGenesis()];
  for (let i = 1; i < shared; i++) past.push(fakeEvent([past.at(-1)!], `shared ${i}`));
  const branch = (name: string, count: number) => {
    const events = [...past];
    for (let i = 0; i < count; i++) events.push(fakeEvent([events.at(-1)!], `${name} ${i}`));
    return new FakeLog(events);
  };
  return [branch("a", ours), branch("b", theirs)];
}

/** Asserts that a session made both the union of what they were. */
function assertUnion(logs: [FakeLog, FakeLog], wanted: ReadonlySet<string>): void {
  for (const log of logs) {
    assert.equal(log.count, wanted.size);
    for (const key of wanted) assert.ok(log.events.has(key));
  }
}

function union(logs: [FakeLog, FakeLog]): Set<string> {
  return new Set([...logs[0].events.keys(), ...logs[1].events.keys()]);
}

for (
  const [shared, ours, theirs, method] of [
    [1, 0, 0, "equal heads"],
    [50, 0, 0, "equal heads"],
    [50, 1, 0, "table"],
    [50, 0, 1, "table"],
    [300, 20, 30, "table"],
    [300, 150, 100, "ranges"],
    [20, 300, 0, "ranges"],
    [20, 0, 300, "ranges"],
    [1000, 500, 600, "ranges"],
  ] as const
) {
  Deno.test(`SyncSession: ${shared} shared events, ${ours} and ${theirs} others, by ${method}`, () => {
    const logs = branches(shared, ours, theirs), wanted = union(logs);
    const { initiator, responder } = converse(logs);
    assertUnion(logs, wanted);
    for (const { outcome } of [initiator, responder]) {
      assert.equal(outcome?.method, method);
      assert.equal(outcome.inSync, true);
      assert.equal(outcome.count, wanted.size);
      assert.equal(outcome.withheld + outcome.refused, 0);
    }
    assert.equal(initiator.outcome?.received, theirs);
    assert.equal(initiator.outcome?.sent, ours);
    assert.equal(responder.outcome?.received, ours);
  });
}

Deno.test("SyncSession: an empty side takes all, in either role", () => {
  for (const isInitiator of [true, false]) {
    const full = branches(500, 0, 0)[0], empty = new FakeLog();
    const { initiator, responder } = converse(isInitiator ? [empty, full] : [full, empty]);
    assert.equal(empty.count, 500);
    assert.equal(initiator.outcome?.method, "empty side");
    assert.equal(responder.outcome?.method, "empty side");
    assert.equal(initiator.outcome?.inSync, true);
  }
});

/** A random graph, of which each side has a closed part. */
function graphs(sizeMax: number): fc.Arbitrary<[FakeLog, FakeLog]> {
  const node = fc.record({
    parents: fc.array(fc.nat(1000), { minLength: 1, maxLength: 3 }),
    side: fc.constantFrom(0, 1, 2, 2, 2),
  });
  return fc.array(node, { maxLength: sizeMax }).map((nodes) => {
    const genesis = fakeGenesis(), logs = [new FakeLog([genesis]), new FakeLog([genesis])] as const;
    const events: { event: FakeEvent; sides: number }[] = [{ event: genesis, sides: 3 }];
    for (const [i, { parents, side }] of nodes.entries()) {
      const chosen = [
        ...new Set(parents.map((p) => events[Math.max(0, events.length - 1 - p % 12)]!)),
      ];
      const event = fakeEvent(chosen.map((parent) => parent.event), `${i}`);
      const wanted = side === 2 ? 3 : side + 1;
      const sides = chosen.reduce((both, parent) => both & parent.sides, wanted);
      events.push({ event, sides });
      for (const k of [0, 1] as const) if (sides & (k + 1)) logs[k].add(event);
    }
    return [logs[0], logs[1]];
  });
}

Deno.test("SyncSession: any two sets become their union", () => {
  fc.assert(
    fc.property(graphs(150), fc.nat(255), (logs, seed) => {
      const wanted = union(logs);
      const { initiator, responder } = converse(logs, { seed });
      assertUnion(logs, wanted);
      assert.equal(initiator.outcome?.inSync && responder.outcome?.inSync, true);
      assert.deepEqual(initiator.outcome?.heads, responder.outcome?.heads);
    }),
    { numRuns: 60 },
  );
});
