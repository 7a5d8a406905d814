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

Deno.test("machineOf() kills a program that takes too long, or writes too much", async () => {
  const hasty = machineOf(testShell(), 50);
  await assert.rejects(hasty.run("sleep", ["600"], ""), { message: "it took more than 0.05 s" });
  await assert.rejects(hasty.run("sh", ["-c", "sleep 5 & wait"], ""), /it took more than/);
  const { run } = machineOf(testShell());
  await assert.rejects(run("yes", [], ""), { message: "it wrote more than 1048576 bytes" });
});
