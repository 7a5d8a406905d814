import assert from "node:assert/strict";
import { main } from "./app.ts";
import { testShell } from "./shell_fake.ts";

Deno.test("demo wants one machine or a few", async () => {
  for (const nodes of ["0", "10", "three"]) {
    const shell = testShell();
    assert.equal(await main(["demo", "--nodes", nodes, "--for", "1"], shell), 2);
    assert.match(
      shell.text("stderr"),
      /Cannot read --nodes: ".*", wanted a whole number from 1 to 9/,
    );
  }
});
