/**
 * `realm man`: the manual page, written from the commands themselves.
 *
 * @module
 */
import { command } from "./command.ts";

export const man = command({
  brief: "Print the manual page",
  description: "In the form of man(7): realm man | man -l -, or into a folder of manual pages as " +
    "man1/realm.1, as install.sh does.",
  async run(context) {
    // Not at the top: app.ts has this command in its table.
    const { COMMANDS } = await import("./app.ts");
    const { commandTable } = await import("./command_table.ts");
    const { manualPage } = await import("./man_page.ts");
    const { VERSION } = await import("./version.ts");
    const page = manualPage(commandTable(COMMANDS), VERSION);
    context.print({ name: "realm", section: 1, page }, () => page);
  },
});
