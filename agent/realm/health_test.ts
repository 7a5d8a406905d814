import assert from "node:assert/strict";
import { freshHealth, type Health, noteProbe } from "./health.ts";
import type { HealthSpec } from "./manifest.ts";

const CHECK: HealthSpec = {
  http: "/healthz",
  export: false,
  intervalMs: 100,
  timeoutMs: 50,
  healthyAfter: 2,
  unhealthyAfter: 3,
  graceMs: 1_000,
};

/** Probes every 100 ms: `+` is a good one. Answers the state after each. */
function probe(probes: string, from = freshHealth(0), startMs = 0): [Health, string] {
  let health = from;
  let nowMs = startMs;
  let states = "";
  for (const each of probes) {
    health = noteProbe(health, each === "+", CHECK, nowMs += 100);
    states += health.state[0];
  }
  return [health, states];
}

Deno.test("noteProbe() makes a replica healthy after good ones in a row", () => {
  assert.equal(probe("+-++")[1], "sssh");
});

Deno.test("noteProbe() forgives a replica that starts, for as long as its grace", () => {
  assert.equal(probe("---------")[1], "sssssssss");
  assert.equal(probe("----------")[1], "sssssssssf");
  assert.equal(probe("---------++")[1], "ssssssssssh");
});

Deno.test("noteProbe() takes a replica out of the route first, and gives it up second", () => {
  const [healthy] = probe("++");
  assert.equal(probe("--+---", healthy)[1], "hhhhhu");
  assert.equal(probe("------", healthy)[1], "hhuuuf");
});

Deno.test("noteProbe() makes it harder to come back each time", () => {
  const [healthy] = probe("++");
  assert.equal(probe("---++", healthy)[1], "hhuuh");
  const [again] = probe("---++", healthy);
  assert.equal(probe("---++++", again, 700)[1], "hhuuuuh");
  let flapping = healthy;
  for (let falls = 0; falls < 4; falls++) {
    [flapping] = probe(`---${"+".repeat(16)}`, flapping);
    assert.equal(flapping.state, "healthy");
  }
  assert.equal(probe("---", flapping)[1], "hhf");
});

Deno.test("noteProbe() forgets falls of a replica that was healthy for a minute", () => {
  const [healthy] = probe("++");
  const [again] = probe("---++", healthy);
  assert.equal(probe("---++", again, 61_000)[1], "hhuuh");
});
