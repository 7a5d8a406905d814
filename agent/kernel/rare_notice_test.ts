import assert from "node:assert/strict";
import { RareNotice } from "./rare_notice.ts";

Deno.test("RareNotice tells the same once a minute, and something else at once", () => {
  const said: string[] = [];
  let nowMs = 0;
  const rare = new RareNotice((text) => said.push(text), () => nowMs);
  for (; nowMs < 150_000; nowMs += 1_000) rare.tell("full");
  assert.deepEqual(said, ["full", "full", "full"]);
  rare.tell("broken");
  rare.tell("full");
  assert.deepEqual(said.slice(3), ["broken", "full"]);
});
