import assert from "node:assert/strict";
import { withOwner } from "./agent_fake.ts";

Deno.test("exec passes the command on as it is, prints what it wrote, ends with its status", () =>
  withOwner(async ({ agent, realm }) => {
    const ran = await realm("exec", "bm-01", "--", "ls", "--json", "-l");
    assert.deepEqual([ran.status, ran.stdout, ran.stderr], [7, "out\n", "err\n"]);
    const json = await realm("exec", "--json", "--timeout", "5s", "bm-01", "--", "id");
    assert.equal(json.status, 7);
    assert.deepEqual(json.stdout.trim().split("\n").map((line) => JSON.parse(line)), [
      { kind: "output", stream: "stdout", text: "out\n" },
      { kind: "output", stream: "stderr", text: "err\n" },
      { kind: "exit", status: 7 },
    ]);
    assert.deepEqual(agent.calls, ["exec bm-01 ls --json -l 60000", "exec bm-01 id 5000"]);
  }));

Deno.test("exec wants a node that is there, and a command", () =>
  withOwner(async ({ agent, realm }) => {
    assert.equal((await realm("exec", "bm-01")).status, 2);
    assert.equal((await realm("exec", "bm-07", "--", "id")).status, 4);
    assert.deepEqual(agent.calls, []);
  }));
