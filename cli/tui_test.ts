import assert from "node:assert/strict";
import { withFakeAgent, withOwner } from "./agent_fake.ts";

Deno.test("tui --plain talks in lines, on a terminal or without one", () =>
  withFakeAgent(async ({ terminal }) => {
    const { status, stdout, stderr } = await terminal(
      ["nodes", "secrets", "quit"],
      "tui",
      "--plain",
    );
    assert.equal(status, 0, stderr);
    assert.match(stdout, /^realm shop, seen from bm-01: manifest version 3\n1 node, all live\n/);
    assert.match(stdout, /\nbm-01: live, the one that is asked, 3 of 3 replicas run, /);
    assert.match(stdout, /\nnone\n$/);
    assert.ok(!stdout.includes("\x1b"));
  }));

Deno.test("tui --plain signs what is confirmed with the owner's key", () =>
  withOwner(async ({ agent, terminal, realm }) => {
    assert.equal((await realm("apply", "realm.toml", "--yes")).status, 0);
    const { status, stdout } = await terminal(
      ["restart auth", "yes", "scale auth 3", "no", "drain bm-01", "yes", "quit"],
      "tui",
      "--plain",
    );
    assert.equal(status, 0);
    assert.match(stdout, /auth: restarted \d/);
    assert.match(stdout, /nothing was done/);
    const done = agent.calls.filter((call) => /^(restart|scale|drain) /.test(String(call)));
    assert.deepEqual(done, ["restart auth", "drain bm-01 true"]);
  }));

Deno.test("tui without a terminal says so, and what else there is", () =>
  withFakeAgent(async ({ realm }) => {
    const { status, stderr } = await realm("tui");
    assert.equal(status, 2);
    assert.match(stderr, /there is no terminal to show it on, wanted one, or --plain/);
  }));
