import assert from "node:assert/strict";
import * as z from "zod";
import type { EnforcedLimits, Exit, LogLine, Usage } from "../kernel/ports.ts";
import { APP_CALLS } from "./apps_api.ts";
import { exit, limits, type LogEvent, logQuery, status, usage } from "./api.ts";
import { STATUS } from "./fake_api.ts";

Deno.test("what the ports give fits the shapes on the wire", () => {
  // Checked by the compiler: a port that grows a field without its shape fails here.
  type Covers<Port, Shape> = [Port] extends [Shape]
    ? [keyof Port] extends [keyof Shape] ? true : false
    : false;
  const covered: [
    Covers<EnforcedLimits, z.infer<typeof limits>>,
    Covers<Usage, z.infer<typeof usage>>,
    Covers<Exit, z.infer<typeof exit>>,
    Covers<LogLine, Omit<Extract<LogEvent, { kind: "line" }>, "kind" | "replica">>,
  ] = [true, true, true, true];
  assert.equal(covered.length, 4);
});

Deno.test("status keeps every field through JSON", () => {
  assert.deepEqual(status.parse(JSON.parse(JSON.stringify(STATUS))), STATUS);
});

Deno.test("log queries are read from text, and nothing unknown passes", () => {
  assert.deepEqual(logQuery.parse({}), { follow: false });
  assert.deepEqual(
    logQuery.parse({ follow: "1", tail: "10", since: "1700000000000", replica: "0" }),
    { follow: true, tail: 10, since: 1_700_000_000_000, replica: 0 },
  );
  assert.equal(logQuery.parse({ follow: "false" }).follow, false);
  assert.equal(logQuery.parse({ follow: "" }).follow, true);
  for (
    const bad of [{ follow: "yes" }, { tail: "-1" }, { tail: "1e3" }, { tail: "100001" }, {
      x: "1",
    }]
  ) {
    assert.equal(logQuery.safeParse(bad).success, false, JSON.stringify(bad));
  }
});

Deno.test("a topic is called by a name on one line", () => {
  const named = (name: string) =>
    APP_CALLS.create.request.safeParse({ app: "memo", name, params: [], encrypted: false }).success;
  for (const good of ["door", "the door", "Tür", "扉", "x".repeat(64)]) {
    assert.ok(named(good), good);
  }
  for (const bad of ["", "a\nb", "\u001b[2J", "x".repeat(65)]) assert.ok(!named(bad), bad);
});
