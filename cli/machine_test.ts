import assert from "node:assert/strict";
import { machineOf } from "./machine.ts";
import { testShell } from "./shell_fake.ts";

Deno.test("machineOf() reads variables, looks up names and runs programs", async () => {
  const { variable, lookup, run } = machineOf(testShell({ env: { A: "1", EMPTY: "" } }));
  assert.deepEqual([variable("A"), variable("B"), variable("EMPTY")], ["1", undefined, undefined]);
  assert.ok((await lookup("localhost")).some((address) => address === "127.0.0.1"));
  assert.equal(await run("cat", [], "ghcr.io"), "ghcr.io");
  await assert.rejects(run("sh", ["-c", "echo credentials not found; exit 1"], ""), {
    message: "credentials not found",
  });
  await assert.rejects(run("true-but-not-there", [], ""));
});
