import assert from "node:assert/strict";
import { Context } from "./context.ts";
import { ProgressLine } from "./progress.ts";
import { testShell } from "./shell_fake.ts";

const terminal = { stdin: false, stdout: false, stderr: true };

Deno.test("ProgressLine draws one line at most ten times a second, and takes it away", () => {
  const shell = testShell({ terminal });
  const context = new Context(shell, { json: false, quiet: false, verbose: false });
  let nowMs = 0;
  const line = new ProgressLine(context, () => nowMs);
  line.update("web", 500_000, 2_000_000);
  line.update("web", 600_000, 2_000_000); // too soon
  nowMs = 100;
  line.update("auth", 1_000_000, undefined);
  line.end();
  line.end();
  assert.deepEqual(shell.text("stderr").split("\r\x1b[K"), [
    "",
    "fetching web  0.5 MB of 2.0 MB  25 %",
    "fetching 2 components  1.6 MB",
    "",
  ]);
});

Deno.test("ProgressLine writes nothing without a terminal, with --quiet or --json", () => {
  for (
    const [flags, options] of [
      [{ json: false, quiet: false }, {}],
      [{ json: true, quiet: false }, { terminal }],
      [{ json: false, quiet: true }, { terminal }],
    ] as const
  ) {
    const shell = testShell(options);
    const line = new ProgressLine(new Context(shell, { ...flags, verbose: false }));
    line.update("web", 1, 2);
    line.end();
    assert.equal(shell.text("stderr"), "");
  }
});
