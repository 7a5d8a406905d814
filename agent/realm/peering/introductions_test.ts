import assert from "node:assert/strict";
import { Introductions, INTRODUCTIONS_MAX } from "./introductions.ts";

const one = (key: string) => ({ key, name: "n", seenAtMs: 0 });

Deno.test("Introductions tells who is new, and forgets who no longer waits", () => {
  const known = new Introductions();
  assert.ok(known.saw(one("a")));
  assert.ok(known.saw(one("b")));
  assert.ok(!known.saw(one("a")));
  assert.deepEqual(known.all().map(({ key }) => key), ["b", "a"]);
  known.retain((key) => key === "a");
  assert.deepEqual(known.all().map(({ key }) => key), ["a"]);
});

Deno.test("Introductions is bounded: who was seen least recently goes first", () => {
  const known = new Introductions();
  known.saw(one("waits"));
  for (let i = 0; i < 10 * INTRODUCTIONS_MAX; i++) {
    known.saw(one(`made up ${i}`));
    if (i % 10 === 0) known.saw(one("waits"));
  }
  assert.equal(known.all().length, INTRODUCTIONS_MAX);
  assert.ok(known.all().some(({ key }) => key === "waits"));
});
