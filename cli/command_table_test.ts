import assert from "node:assert/strict";
import { COMMANDS } from "./app.ts";
import { commandTable } from "./command_table.ts";

Deno.test("commandTable() has every command that help shows, with its flags", () => {
  const table = commandTable(COMMANDS);
  const byName = new Map(table.map((entry) => [entry.path.join(" "), entry]));
  assert.equal(byName.size, table.length);
  assert.deepEqual(Object.keys(byName.get("nodes approve")!.told.flags), ["name", "yes"]);
  assert.equal(byName.get("completions")!.told.args[0]!.placeholder, "SHELL");
  assert.ok(byName.has("app create") && byName.has("run"));
  assert.deepEqual(table.filter(({ path }) => path.some((word) => word.startsWith("_"))), []);
  for (const { path, brief, told } of table) {
    assert.ok(brief !== "" && told.usage.length > 0, path.join(" "));
    assert.ok(!("json" in told.flags), "flags of every command are not repeated");
  }
});
