import assert from "node:assert/strict";
import { COMMANDS, main } from "./app.ts";
import { GLOBAL_FLAGS } from "./command_spec.ts";
import { commandTable } from "./command_table.ts";
import { flagName } from "./help.ts";
import { manualPage } from "./man_page.ts";
import { testShell } from "./shell_fake.ts";

const TABLE = commandTable(COMMANDS);
/** As it is read: without the language of man(7). */
const plain = (page: string) =>
  page.replace(/\\f[BIR]/g, "").replaceAll("\\-", "-").replaceAll("\\(dq", '"')
    .replaceAll("\\e", "\\");

Deno.test("the manual page has every command, flag and argument", async () => {
  const shell = testShell();
  assert.equal(await main(["man"], shell), 0);
  const page = plain(shell.text("stdout"));
  for (const { path, told } of TABLE) {
    const start = page.indexOf(`.SS "realm ${path.join(" ")}"`);
    assert.ok(start >= 0, path.join(" "));
    const section = page.slice(start, page.indexOf("\n.S", start + 1));
    for (const [name, { brief }] of Object.entries(told.flags)) {
      assert.ok(section.includes(flagName(name)), `${path.join(" ")} ${flagName(name)}`);
      assert.ok(section.includes(brief), brief);
    }
    for (const { placeholder } of told.args) assert.ok(section.includes(placeholder), placeholder);
  }
  for (const name of Object.keys(GLOBAL_FLAGS)) assert.ok(page.includes(flagName(name)), name);
});

Deno.test("manualPage() lets no text be taken for a request", () => {
  const page = manualPage([{
    path: ["x"],
    brief: "X",
    told: {
      text: ".so /etc/passwd\n'quoted' \\fB -x",
      usage: ["X"],
      flags: {},
      aliases: {},
      args: [],
      rest: undefined,
    },
  }], "1.0.0");
  assert.match(page, /\n\\&\.so \/etc\/passwd\n\\&'quoted' \\efB \\-x\n/);
});
