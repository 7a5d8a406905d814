import assert from "node:assert/strict";
import fc from "fast-check";
import { Redial, REDIAL_TIMES, type RedialStep, type Target } from "./redial.ts";

const key = (id: string, ...addresses: string[]): Target => ({ id, isKey: true, addresses });
const nobody = () => "no" as const;
const half = () => 0.5;

Deno.test("due() dials each target once until it is told how that went", () => {
  const redial = new Redial("a", half);
  const targets = [key("b", "/b"), { id: "/join", isKey: false, addresses: ["/join"] }];
  assert.deepEqual(redial.due(0, targets, nobody), [
    { kind: "dial", id: "b", address: "/b" },
    { kind: "dial", id: "/join", address: "/join" },
  ]);
  assert.deepEqual(redial.due(100_000, targets, nobody), []);
  redial.done("b", 100_000, "failed");
  assert.deepEqual(redial.due(200_000, targets, nobody).map(({ id }) => id), ["b"]);
});

Deno.test("due() lets the smaller key go first and then has nothing to do", () => {
  const [small, large] = [new Redial("a", half), new Redial("b", half)];
  assert.equal(small.due(0, [key("b", "/b")], nobody).length, 1);
  assert.equal(large.due(0, [key("a", "/a")], nobody).length, 0);
  // The connection that the smaller made is there when the larger's turn comes.
  assert.equal(large.due(REDIAL_TIMES.courtesyMs, [key("a", "/a")], () => "direct").length, 0);
  // Were it not there, the larger would dial.
  const alone = new Redial("b", half);
  alone.due(0, [key("a", "/a")], nobody);
  assert.equal(alone.due(REDIAL_TIMES.courtesyMs, [key("a", "/a")], nobody).length, 1);
});

Deno.test("failures wait twice as long each time, up to a bound, and try the next address", () => {
  const redial = new Redial("a", () => 0);
  const targets = [key("b", "/1", "/2")];
  let now = 0;
  const waits: number[] = [];
  const addresses: string[] = [];
  for (let n = 0; n < 10; n++) {
    const start = now;
    let steps: RedialStep[] = [];
    while (steps.length === 0) steps = redial.due(now++, targets, nobody);
    now--;
    waits.push(now - start);
    addresses.push((steps[0] as { address: string }).address);
    redial.done("b", now, "failed");
  }
  assert.deepEqual(waits, [0, 500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
  assert.deepEqual(addresses.slice(0, 4), ["/1", "/2", "/1", "/2"]);
});

Deno.test("a connection that lasted starts afresh, one that ended at once does not", () => {
  for (const [lastedMs, waitMs] of [[REDIAL_TIMES.stableMs, 500], [100, 4000]] as const) {
    const redial = new Redial("a", () => 0);
    const targets = [key("b", "/b")];
    let now = 0;
    for (let n = 0; n < 3; n++) {
      redial.due(now, targets, nobody);
      redial.done("b", now, "failed");
      now += 60_000;
    }
    redial.due(now, targets, nobody);
    redial.done("b", now, "connected");
    assert.deepEqual(redial.due(now, targets, () => "direct"), []);
    now += lastedMs;
    assert.deepEqual(redial.due(now, targets, nobody), []);
    assert.deepEqual(redial.due(now + waitMs - 1, targets, nobody), []);
    assert.equal(redial.due(now + waitMs, targets, nobody).length, 1, `${lastedMs}`);
  }
});

Deno.test("due() asks others where a key is, and dials at once when that was found", () => {
  const redial = new Redial("a", half);
  assert.deepEqual(redial.due(0, [key("b")], nobody), [{ kind: "find", id: "b" }]);
  redial.done("b", 10, "found");
  assert.deepEqual(redial.due(10, [key("b", "/b")], nobody), [
    { kind: "dial", id: "b", address: "/b" },
  ]);
  redial.done("b", 20, "failed");
  assert.deepEqual(redial.due(21, [key("b", "/b")], nobody), []);
  redial.hurry("b", 21);
  assert.equal(redial.due(21, [key("b", "/b")], nobody).length, 1);
});

Deno.test("due() never dials itself, nor more at once than it may, nor anybody who is connected", () => {
  const id = fc.constantFrom<string>("a", "b", "c", "d", "e", "f");
  const event = fc.record({
    aheadMs: fc.nat(5000),
    wanted: fc.uniqueArray(id),
    connected: fc.uniqueArray(id),
    outcome: fc.constantFrom("connected" as const, "failed" as const, "found" as const),
  });
  fc.assert(fc.property(fc.array(event, { maxLength: 60 }), fc.nat(), (events, seed) => {
    let state = seed;
    const random = () => (state = (state * 16807 + 11) % 2147483647) / 2147483647;
    const redial = new Redial("c", random, { parallelMax: 2 });
    const underway = new Set<string>();
    let now = 0;
    for (const { aheadMs, wanted, connected, outcome } of events) {
      now += aheadMs;
      const targets = wanted.map((id) => key(id, `/${id}`));
      for (
        const step of redial.due(now, targets, ({ id }) => connected.includes(id) ? "direct" : "no")
      ) {
        assert.ok(wanted.includes(step.id) && !connected.includes(step.id) && step.id !== "c");
        assert.ok(!underway.has(step.id));
        underway.add(step.id);
      }
      assert.ok(underway.size <= 2);
      const [first] = underway;
      if (first !== undefined) {
        underway.delete(first);
        redial.done(first, now, outcome);
      }
    }
    // Whatever was, who is wanted and alone is tried again within the longest wait.
    for (const id of underway) redial.done(id, now, "failed");
    const steps = redial.due(now + REDIAL_TIMES.longestMs, [key("a", "/a")], nobody);
    const later = redial.due(now + 2 * REDIAL_TIMES.longestMs, [key("a", "/a")], nobody);
    assert.equal(steps.length + later.length, 1);
  }));
});

Deno.test("a peer that is connected by way of a relay is looked for directly, ever less often", () => {
  const redial = new Redial("a", () => 0);
  const targets = [key("b", "/relay/p2p-circuit", "/1", "/2")];
  redial.due(0, targets, nobody);
  redial.done("b", 0, "connected");
  const waits: number[] = [];
  const addresses = new Set<string>();
  let now = 0;
  for (let n = 0; n < 6; n++) {
    const start = now;
    let steps: RedialStep[] = [];
    while (steps.length === 0) steps = redial.due(now += 100, targets, () => "relayed");
    waits.push(now - start);
    addresses.add((steps[0] as { address: string }).address);
    redial.done("b", now, "failed");
  }
  assert.deepEqual(waits.map((ms) => Math.round(ms / 1000)), [4, 8, 16, 32, 60, 60]);
  assert.deepEqual(addresses, new Set(["/1", "/2"]));
  assert.deepEqual(redial.due(now + 100_000, targets, () => "direct"), []);
});

Deno.test("a peer of which only relays are known is left as it is", () => {
  const redial = new Redial("a", () => 0);
  const targets = [key("b", "/relay/p2p-circuit")];
  redial.due(0, targets, () => "relayed");
  assert.deepEqual(redial.due(1_000_000, targets, () => "relayed"), []);
});

Deno.test("a relayed peer whose direct connections end at once is tried ever less often", () => {
  const redial = new Redial("a", () => 0);
  const targets = [key("b", "/1")];
  let dials = 0;
  for (let now = 0; now < 300_000; now += 250) {
    for (const { id } of redial.due(now, targets, () => "relayed")) {
      dials++;
      redial.done(id, now, "connected");
    }
  }
  assert.ok(dials > 3 && dials < 10, `${dials} dials in 5 minutes`);
});
