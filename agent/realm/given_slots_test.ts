import assert from "node:assert/strict";
import { BELIEVED_MS, GivenSlots, LEAVING_MS } from "./given_slots.ts";
import type { SlotReport } from "./rollout.ts";

const placed = (...slots: number[]) =>
  slots.map((count) => new Map([["web", new Map([["b", count]])]]));

/** What nodes say that they have of `web`. */
const saying = (slots: Readonly<Record<string, number>>) => (node: string) => ({
  slots: new Map(
    node in slots ? [["web", { slots: slots[node]! } as SlotReport]] : [],
  ),
});

Deno.test("GivenSlots counts what a node was given lately", () => {
  const given = new GivenSlots();
  given.note(placed(3), saying({}), 0);
  given.note(placed(1), saying({}), BELIEVED_MS);
  assert.equal(given.most("web", "b", BELIEVED_MS), 3);
  assert.equal(given.most("web", "c", BELIEVED_MS), 0);
  assert.equal(given.most("api", "b", BELIEVED_MS), 0);
  given.note(placed(1, 2), saying({}), BELIEVED_MS);
  assert.equal(given.most("web", "b", BELIEVED_MS), 3);
  given.note(placed(1, 2), saying({}), LEAVING_MS);
  assert.equal(given.most("web", "b", LEAVING_MS), 2, "by what it refuses, too");
  assert.equal(given.most("web", "b", 2 * LEAVING_MS), 0);
});

Deno.test("GivenSlots believes a node that it has more for a while, and again once it said less", () => {
  const given = new GivenSlots();
  given.hear(["b", "c"]);
  const isBelieved = (slots: number, nowMs: number) => {
    const is = given.isBelieved("web", "b", nowMs);
    given.note(placed(1), saying({ b: slots }), nowMs);
    return is;
  };
  assert.ok(isBelieved(1, 0));
  assert.equal(given.dueAt(0), undefined);
  assert.ok(isBelieved(2, BELIEVED_MS), "it may have taken over what others do not know of");
  assert.equal(given.dueAt(BELIEVED_MS), 2 * BELIEVED_MS);
  assert.ok(isBelieved(3, 2 * BELIEVED_MS - 1));
  assert.ok(!isBelieved(4, 2 * BELIEVED_MS), "whatever it says meanwhile");
  assert.ok(given.isBelieved("web", "c", 2 * BELIEVED_MS), "of others it is no word");
  assert.equal(given.dueAt(2 * BELIEVED_MS), undefined);
  assert.ok(!isBelieved(1, 2 * BELIEVED_MS), "once, for all to start what is missing");
  assert.ok(isBelieved(2, 2 * BELIEVED_MS));
});

Deno.test("GivenSlots believes all of them again when a node comes back, which others may not have heard", () => {
  const given = new GivenSlots();
  const isBelieved = (live: readonly string[], nowMs: number) => {
    given.hear(live);
    const is = given.isBelieved("web", "b", nowMs);
    given.note(placed(1), saying({ b: 2 }), nowMs);
    return is;
  };
  assert.ok(isBelieved(["b", "c"], 0));
  assert.ok(!isBelieved(["b"], BELIEVED_MS), "one that goes is nothing new");
  assert.ok(isBelieved(["b", "c"], BELIEVED_MS));
  assert.ok(!isBelieved(["b", "c"], 2 * BELIEVED_MS));
  isBelieved(["c"], 2 * BELIEVED_MS);
  assert.ok(isBelieved(["b", "c"], 2 * BELIEVED_MS), "itself");
});
