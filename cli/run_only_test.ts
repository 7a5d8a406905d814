import assert from "node:assert/strict";
import { type FirstWorker, takeFirstWorker } from "../agent/first_worker.ts";
import { main as all } from "./app.ts";
import { wordsOfRun } from "./head_start.ts";
import { main } from "./run_only.ts";
import { testShell } from "./shell_fake.ts";

const first = {} as FirstWorker;

Deno.test("main() of realm run alone answers as that of all commands", async () => {
  for (
    const argv of [
      ["run", "missing.wasm"],
      ["--json", "run", "missing.wasm", "--env"],
      ["run", "--secret", "a=missing.txt", "x.wasm", "--", "--json"],
    ]
  ) {
    assert.ok(wordsOfRun(argv), argv.join(" "));
    const [alone, together] = [testShell(), testShell()];
    const status = await main(argv, first, alone);
    assert.equal(takeFirstWorker(), first);
    assert.equal(await all(argv, together), status);
    assert.deepEqual([status, alone.text("stdout")], [4, ""]);
    assert.notEqual(alone.text("stderr"), "");
    assert.equal(alone.text("stderr"), together.text("stderr"));
  }
});

Deno.test("main() leaves words that are not plain to who knows all, and takes no Worker", async () => {
  for (
    const argv of [
      ["run", "--nope", "x.wasm"],
      ["run", "--env", "x.wasm"],
      ["run", "--memory-max-mb", "many", "x.wasm"],
      ["run"],
    ]
  ) {
    const shell = testShell();
    assert.equal(await main(argv, first, shell), undefined);
    assert.deepEqual([shell.text("stdout"), shell.text("stderr")], ["", ""]);
  }
  assert.equal(takeFirstWorker(), undefined);
});
