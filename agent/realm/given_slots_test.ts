import assert from "node:assert/strict";
import { GivenSlots, LEAVING_MS, RETURNED_MS } from "./given_slots.ts";

const placed = (...slots: number[]) =>
  slots.map((count) => new Map([["web", new Map([["b", count]])]]));

Deno.test("GivenSlots counts what a node was given lately, and of nobody more", () => {
  const given = new GivenSlots();
  given.note(placed(3), ["b", "c"], 0);
  given.note(placed(1), ["b", "c"], RETURNED_MS);
  assert.equal(given.most("web", "b", RETURNED_MS), 3);
  assert.equal(given.most("web", "c", RETURNED_MS), 0);
  assert.equal(given.most("api", "b", RETURNED_MS), 0);
  given.note(placed(1, 2), ["b", "c"], RETURNED_MS);
  assert.equal(given.most("web", "b", RETURNED_MS), 3);
  given.note(placed(1, 2), ["b", "c"], LEAVING_MS);
  assert.equal(given.most("web", "b", LEAVING_MS), 2, "by what it refuses, too");
  assert.equal(given.most("web", "b", 2 * LEAVING_MS), 0);
});

Deno.test("GivenSlots knows no bound right after a node came back: what it took over is not known", () => {
  const given = new GivenSlots();
  assert.equal(given.most("web", "b", 0), Infinity);
  given.note(placed(1), ["b"], 0);
  assert.equal(given.most("web", "b", RETURNED_MS - 1), Infinity);
  assert.equal(given.most("web", "b", RETURNED_MS), 1);
  given.note(placed(1), [], RETURNED_MS);
  given.note(placed(1), ["b"], RETURNED_MS + 1);
  assert.equal(given.most("web", "b", RETURNED_MS + 2), Infinity);
  assert.equal(given.dueAt(RETURNED_MS + 2), 2 * RETURNED_MS + 1);
  assert.equal(given.dueAt(2 * RETURNED_MS + 1), undefined);
});

Deno.test("GivenSlots knows no bound of others either, which may not have heard that node", () => {
  const given = new GivenSlots();
  given.note(placed(1), ["b", "c"], 0);
  given.note(placed(1), ["b"], RETURNED_MS);
  assert.equal(given.most("web", "b", RETURNED_MS), 1, "one that goes is nothing new");
  given.note(placed(1), ["b", "c"], 2 * RETURNED_MS);
  assert.equal(given.most("web", "b", 3 * RETURNED_MS - 1), Infinity);
  assert.equal(given.most("web", "b", 3 * RETURNED_MS), 1);
});
