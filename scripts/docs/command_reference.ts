/**
 * The reference of all commands: what `--help` prints of each.
 *
 * @module
 */
import { COMMANDS } from "../../cli/app.ts";
import { GLOBAL_FLAGS } from "../../cli/command_spec.ts";
import { commandTable } from "../../cli/command_table.ts";
import { flagName, formatHelp } from "../../cli/help.ts";

/** A section for each command, as Markdown. */
export function commandReference(): string {
  const sections = commandTable(COMMANDS).map(({ path, told }) =>
    [
      `## realm ${path.join(" ")}`,
      "",
      "```text",
      formatHelp(["realm", ...path], told).replace(/\n+ *-h, --help .*\n/, "\n")
        .replace(/\n+FLAGS\n$/, "\n").trim(),
      "```",
    ].join("\n")
  );
  const global = Object.entries(GLOBAL_FLAGS).map(([name, flag]) =>
    `| \`${flagName(name)}${
      flag.kind === "parsed" ? ` ${flag.placeholder}` : ""
    }\` | ${flag.brief} |`
  );
  return [
    "Every command has these besides its own:",
    "",
    "| flag | |",
    "| --- | --- |",
    ...global,
    "| `-h`, `--help` | Print what the command takes |",
    "",
    sections.join("\n\n"),
  ].join("\n");
}
