import assert from "node:assert/strict";
import { main } from "./app.ts";
import { testShell } from "./shell_fake.ts";

Deno.test("demo refuses more nodes than one, for now", async () => {
  const shell = testShell();
  assert.equal(await main(["demo", "--nodes", "3", "--for", "1"], shell), 1);
  assert.equal(
    shell.text("stderr"),
    "error[unsupported]: Cannot run a demo of 3 nodes: not supported yet\n" +
      "hint: Leave --nodes out\n",
  );
});
