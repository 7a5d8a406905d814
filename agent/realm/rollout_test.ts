/**
 * What one node does with its slots in one moment; what comes of it over time is in
 * `rollout_model_test.ts`.
 */
import assert from "node:assert/strict";
import { rank } from "./placement.ts";
import {
  chooseSlots,
  isAgreeing,
  type Member,
  type OwnSlot,
  settledOn,
  type SlotQuestion,
} from "./rollout.ts";

const [FIRST, SECOND, THIRD] = rank("web", ["a", "b", "c"]) as [string, string, string];
const NEW = "new";

function member(
  node: string,
  wanted: number,
  { slots = wanted, ready = slots, settled = ready, tries = 0 }: {
    readonly slots?: number;
    readonly ready?: number;
    readonly settled?: number;
    readonly tries?: number;
  } = {},
): Member {
  const report = {
    revision: NEW,
    slots,
    ready,
    settled,
    doubled: 0,
    isComplete: true,
    isHeld: false,
    tries,
  };
  return { node, wanted, revision: NEW, report, isBehind: false };
}

/** A slot that is served by an old release. */
const old = (index: number, more: Partial<OwnSlot> = {}): OwnSlot => ({
  index,
  revision: "old",
  isReady: true,
  isServed: true,
  isAlone: true,
  isBroken: false,
  ...more,
});

/** A slot in which the wanted release does not run, and nothing serves. */
const broken = (index: number, more: Partial<OwnSlot> = {}) =>
  old(index, { revision: NEW, isReady: false, isServed: false, isBroken: true, ...more });

const choose = (question: Pick<SlotQuestion, "self" | "members" | "own"> & Partial<SlotQuestion>) =>
  chooseSlots({
    component: "web",
    budget: { isBeside: true, slots: 1 },
    isProven: true,
    ...question,
  }).map(({ index, run }) => `${index} ${run}`);

Deno.test("chooseSlots() lets the next slot of a node go while one that serves rests", () => {
  const members = [member(FIRST, 3)];
  assert.deepEqual(
    choose({ self: FIRST, members, own: [old(0, { isResting: true }), old(1), old(2)] }),
    ["0 kept", "1 goal", "2 kept"],
  );
  const twice = old(0, { isResting: true, isAlone: false });
  assert.deepEqual(
    choose({ self: FIRST, members, own: [twice, old(1), old(2)] }),
    ["0 kept", "1 kept", "2 kept"],
    "two are in it yet",
  );
  assert.deepEqual(
    choose({
      self: FIRST,
      members,
      own: [old(0), old(1), old(2, { isAlone: false })],
    }),
    ["0 kept", "1 kept", "2 kept"],
    "when it has rested, that goes first which is on its way",
  );
});

Deno.test("chooseSlots() empties a slot that rests and serves nobody where another node stands in for it", () => {
  const own = [broken(0, { isResting: true }), broken(1, { isResting: true })];
  const resting = new Set([0, 1]);
  const others = (extra: number) => [
    member(FIRST, 2, { ready: 0, tries: 2 }),
    member(SECOND, 1, { slots: 1 + extra }),
    member(THIRD, 1),
  ];
  assert.deepEqual(choose({ self: FIRST, own, resting, members: others(0) }), ["0 goal", "1 goal"]);
  assert.deepEqual(choose({ self: FIRST, own, resting, members: others(1) }), ["1 goal"]);
  assert.deepEqual(choose({ self: FIRST, own, resting, members: others(2) }), []);
  const trial = { self: FIRST, resting, members: others(2), isProven: false };
  const back = broken(1, { isResting: true, revision: "old" });
  assert.deepEqual(
    choose({ ...trial, own: [own[0]!, back] }),
    ["0 base"],
    "the release before has its turn first",
  );
  assert.deepEqual(
    choose({ ...trial, own: [own[0]!, { ...back, hasBefore: true }] }),
    ["0 base", "1 kept"],
    "what ran in it comes back",
  );
  assert.deepEqual(
    choose({ self: FIRST, own: [], resting, members: others(2) }),
    [],
    "it stays so as long as it rests",
  );
  assert.deepEqual(choose({ self: FIRST, own: [], members: others(2) }), ["0 goal"], "then tries");
});

Deno.test("chooseSlots() empties no slot that rests where the old one stops first", () => {
  const budget = { isBeside: false, slots: 1 };
  const stays = choose({
    self: FIRST,
    members: [member(FIRST, 1, { ready: 0, tries: 1 }), member(SECOND, 0, { slots: 1 })],
    own: [broken(0, { isResting: true })],
    resting: new Set([0]),
    budget,
  });
  assert.deepEqual(stays, ["0 goal"]);
  const gives = (slots: number) =>
    choose({
      self: SECOND,
      members: [member(FIRST, 1, { slots, ready: 0, tries: 1 }), member(SECOND, 0, { slots: 1 })],
      own: [old(0, { revision: NEW })],
      budget,
    });
  assert.deepEqual(gives(1), ["0 kept"], "what serves stays until the other does");
});

Deno.test("chooseSlots() counts what is in progress on a node that is held, wherever that is in the order", () => {
  const chosen = (doubled: number, held: string, self: string) => {
    const there = member(held, 2, { settled: 0 });
    const report = { ...there.report!, revision: "old", doubled };
    return choose({
      self,
      members: [{ ...there, report, isHeld: true }, member(self, 1, { settled: 0 })],
      own: [old(0)],
    });
  };
  for (const [held, self] of [[FIRST, SECOND], [SECOND, FIRST]] as const) {
    assert.deepEqual(chosen(0, held, self), ["0 goal"], "nobody waits for what it does not begin");
    assert.deepEqual(chosen(1, held, self), ["0 kept"], `${held} before ${self}`);
  }
});

Deno.test("chooseSlots() gives to a node that goes by another manifest only what is drained", () => {
  const kept = (isBeside: boolean, isDrained: boolean, isOther: boolean) =>
    choose({
      self: SECOND,
      budget: { isBeside, slots: 1 },
      isDrained,
      members: [
        { ...member(FIRST, 1), ...(isOther ? { revision: "other", isOther } : {}) },
        member(SECOND, 0, { slots: 1 }),
      ],
      own: [old(0)],
    });
  for (const isBeside of [true, false]) {
    assert.deepEqual(kept(isBeside, false, false), []);
    assert.deepEqual(kept(isBeside, false, true), ["0 kept"], "it may be giving its own to us");
    assert.deepEqual(kept(isBeside, true, true), []);
  }
});

Deno.test("isAgreeing() waits for all that have slots, but for those that go by another manifest", () => {
  const before = (wanted: number, slots: number) => ({
    ...member(FIRST, wanted, { slots }),
    revision: "before",
  });
  assert.ok(isAgreeing(before(0, 0)));
  assert.ok(!isAgreeing(before(0, 1)), "it may be giving it away by something else");
  assert.ok(!isAgreeing(before(1, 0)));
  assert.ok(isAgreeing({ ...before(1, 1), isHeld: true }));
  assert.ok(isAgreeing({ ...before(1, 1), isOther: true }));
  assert.ok(!isAgreeing({ ...before(0, 0), isBehind: true }));
});

Deno.test("settledOn() takes nobody's word that goes by another manifest", () => {
  const others = (more: Partial<Member>) => [member(FIRST, 1), { ...member(SECOND, 1), ...more }];
  assert.deepEqual(settledOn(others({})), [FIRST, SECOND]);
  assert.equal(settledOn(others({ isOther: true })), undefined);
});

Deno.test("chooseSlots() keeps what is to go elsewhere as long as what others keep does not serve", () => {
  const kept = (ready: number) =>
    choose({
      self: SECOND,
      members: [
        member(FIRST, 0, { slots: 1, ready }),
        member(SECOND, 1),
        member(THIRD, 1, { slots: 0 }),
      ],
      own: [old(0, { revision: NEW }), old(1)],
    });
  assert.deepEqual(kept(0), ["0 goal", "1 kept"]);
  assert.deepEqual(kept(1), ["0 goal"]);
});

Deno.test("chooseSlots() keeps what serves beyond its share as long as its share does not", () => {
  const kept = (isBeside: boolean, isServed: boolean) =>
    choose({
      self: SECOND,
      budget: { isBeside, slots: 1 },
      members: [
        member(FIRST, 1, { slots: 2 }),
        member(SECOND, 1, { slots: 2, settled: 0 }),
        member(THIRD, 1, { slots: isBeside ? 1 : 2, ready: 1, tries: 1 }),
      ],
      own: [broken(0, { isReady: isServed, isServed }), old(1)],
    });
  assert.deepEqual(kept(true, false), ["0 goal", "1 kept"], "the others count one that serves");
  assert.deepEqual(kept(true, true), ["0 goal"]);
  assert.deepEqual(kept(false, false), ["0 goal", "1 kept"]);
  assert.deepEqual(kept(false, true), ["0 goal"]);
});

Deno.test("chooseSlots() gives away what nobody misses while one that cannot start holds the budget", () => {
  const budget = { isBeside: false, slots: 1 };
  const kept = (self: string, tries: number, last: number, first: Partial<Member> = {}) =>
    choose({
      self,
      budget,
      own: [old(0, { revision: NEW }), old(1), old(2)],
      members: [
        { ...member(FIRST, 1, { ready: 0, tries }), ...first },
        member(SECOND, 1, { slots: 3, settled: 1 }),
        member(THIRD, 1, { slots: last, settled: 1 }),
      ],
    });
  assert.deepEqual(kept(THIRD, 1, 3), ["0 goal"], "four go on serving, three are wanted");
  const asBefore = ["0 goal", "1 kept", "2 kept"];
  assert.deepEqual(kept(THIRD, 1, 3, { isBehind: true }), asBefore, "it may divide them otherwise");
  assert.deepEqual(kept(SECOND, 1, 3), ["0 goal", "1 kept"], "the last goes first");
  assert.deepEqual(kept(SECOND, 1, 1), ["0 goal", "1 kept"], "one serves in its stead");
  assert.deepEqual(kept(SECOND, 0, 3), asBefore, "it may just be starting");
});
