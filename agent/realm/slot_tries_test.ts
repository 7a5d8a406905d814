import assert from "node:assert/strict";
import type { DesiredReplica } from "./desired.ts";
import type { RunningSlot } from "./node_rollout.ts";
import { SlotTries } from "./slot_tries.ts";

const goals = (revision: string, isOnTrial = false) => new Map([["web", { revision, isOnTrial }]]);

function slot(revision: string, more: Partial<RunningSlot> = {}, index = 0): RunningSlot {
  const replica = { component: "web", index, revision } as DesiredReplica;
  const state = { isReady: false, isServed: true, isAlone: false, isBroken: false };
  return { replica, ...state, isInVain: false, isLate: false, ...more };
}

const at = { component: "web", index: 0 };
const vain = { isInVain: true };
const ready = { isReady: true };

Deno.test("SlotTries gives a slot up for longer each time, and says when it is tried again", () => {
  const tries = new SlotTries();
  assert.equal(tries.note(goals("new"), [slot("old", ready)], 0), false);
  let now = 1_000;
  for (const [count, restMs] of [10_000, 20_000, 40_000, 60_000, 60_000].entries()) {
    assert.equal(tries.note(goals("new"), [slot("new")], now), false, "it is only starting");
    assert.equal(tries.note(goals("new"), [slot("new", vain)], now), true);
    assert.equal(tries.note(goals("new"), [slot("new", vain)], now), false, "once");
    assert.equal(tries.triesOf("web", "new"), count + 1);
    assert.equal(tries.dueAt(now), now + restMs);
    const { isResting, before } = tries.of(at, "new", now + restMs - 1);
    assert.deepEqual([isResting, before?.revision], [true, "old"]);
    now += restMs;
    assert.equal(tries.of(at, "new", now).isResting, false);
    assert.equal(tries.dueAt(now), undefined);
  }
});

Deno.test("SlotTries leaves a release on trial to its verdict, but for bytes that cannot be had", () => {
  const tries = new SlotTries();
  assert.equal(tries.note(goals("new", true), [slot("new", vain)], 0), false);
  assert.equal(tries.note(goals("new", true), [slot("new", { ...vain, isLate: true })], 0), true);
});

Deno.test("SlotTries knows what ran in a slot that is empty for a moment, and no longer", () => {
  const tries = new SlotTries();
  tries.note(goals("new"), [slot("old", ready)], 0);
  tries.note(goals("new"), [], 60_000);
  assert.equal(tries.of(at, "new", 60_000).before?.revision, "old");
  tries.note(goals("new"), [], 60_001);
  assert.equal(tries.of(at, "new", 60_001).before, undefined);
});

Deno.test("SlotTries tells what was given up and why, until it is ready", () => {
  const tries = new SlotTries();
  const givenUp = () => tries.givenUp().map(({ component, index, why }) => [component, index, why]);
  const both = [slot("new", vain), slot("new", { ...vain, isLate: true }, 1)];
  assert.deepEqual(givenUp(), []);
  tries.note(goals("new"), both, 0, ({ index }) => `503 of ${index}`);
  const first = ["web", 0, "503 of 0"];
  assert.deepEqual(givenUp(), [first, ["web", 1, "its bytes cannot be had"]]);
  tries.note(goals("new"), [slot("new"), slot("new", ready, 1)], 20_000);
  assert.deepEqual(givenUp(), [first], "it is tried again, and not ready yet");
  tries.note(goals("new"), [slot("new", vain)], 20_001, () => "404");
  assert.deepEqual(givenUp(), [["web", 0, "404"]], "why it was given up last");
  tries.note(goals("new"), [slot("new", ready)], 20_002);
  assert.deepEqual(givenUp(), []);
});

Deno.test("SlotTries forgets what is over: a slot that is ready rests no more, and another goal begins anew", () => {
  const tries = new SlotTries();
  tries.note(goals("new"), [slot("new", vain), slot("new", vain, 1)], 0);
  assert.equal(tries.triesOf("web", "new"), 2);
  tries.note(goals("new"), [slot("new", ready), slot("new", vain, 1)], 1);
  assert.equal(tries.of(at, "new", 1).isResting, false);
  assert.equal(tries.of({ ...at, index: 1 }, "new", 1).isResting, true);
  assert.equal(tries.triesOf("web", "new"), 2, "what others heard is never less");
  tries.note(goals("next"), [slot("new", ready), slot("new", vain, 1)], 2);
  assert.deepEqual([tries.triesOf("web", "next"), tries.triesOf("web", "new")], [0, 0]);
  assert.equal(tries.dueAt(2), undefined);
});
