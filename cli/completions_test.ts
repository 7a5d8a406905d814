import assert from "node:assert/strict";
import { COMMANDS, main } from "./app.ts";
import { GLOBAL_FLAGS } from "./command_spec.ts";
import { commandTable } from "./command_table.ts";
import { flagName } from "./help.ts";
import { testShell } from "./shell_fake.ts";

async function proposals(...words: string[]): Promise<string[]> {
  const shell = testShell();
  assert.equal(await main(["__complete", "--", ...words], shell), 0);
  return shell.text("stdout").split("\n").filter((line) => line !== "")
    .map((line) => line.split("\t")[0]!);
}

Deno.test("completions propose every command and every flag of each", async () => {
  for (const { path, told } of commandTable(COMMANDS)) {
    const last = path.at(-1)!;
    assert.ok((await proposals(...path.slice(0, -1), last.slice(0, 1))).includes(last), last);
    const flags = new Set(await proposals(...path, "--"));
    for (const name of Object.keys({ ...told.flags, ...GLOBAL_FLAGS })) {
      assert.ok(flags.has(flagName(name)), `${path.join(" ")} ${flagName(name)}`);
    }
  }
});
