/**
 * The manual page in the language of man(7): every command with its arguments and flags.
 *
 * @module
 */
import { EXIT_STATUS } from "../agent/kernel/error.ts";
import { type Flag, GLOBAL_FLAGS } from "./command_spec.ts";
import type { CommandEntry } from "./command_table.ts";
import { flagName } from "./help.ts";

/** The page of realm(1). */
export function manualPage(commands: readonly CommandEntry[], version: string): string {
  return [
    `.TH REALM 1 "" "realm ${version}" "realm"`,
    ".SH NAME",
    "realm \\- run WebAssembly under hard limits, alone or on many machines",
    ".SH SYNOPSIS",
    ".B realm",
    text("COMMAND [FLAGS] [ARGUMENTS]"),
    ".SH COMMANDS",
    ...commands.flatMap(commandLines),
    ".SH FLAGS OF EVERY COMMAND",
    ...flagLines(GLOBAL_FLAGS, {}),
    ...tagged("\\fB\\-h\\fR, \\fB\\-\\-help\\fR", "Print what the command takes"),
    ".SH EXIT STATUS",
    ...tagged("0", "Done; of realm run, and of realm exec, the status of what was run"),
    ...statusLines(),
    ".SH ENVIRONMENT",
    ...tagged("\\fBREALM_HOME\\fR", "Data folder, where --data does not name one"),
    ...tagged("\\fBREALM_RELEASES\\fR", "Where realm upgrade finds releases"),
    ...tagged("\\fBNO_COLOR\\fR", "No colours"),
    ".SH FILES",
    ...tagged("~/.realm", "Data folder: keys, policy.toml, the store, the control socket"),
    "",
  ].join("\n");
}

function commandLines({ path, told }: CommandEntry): string[] {
  const { usage, flags, aliases, args, rest } = told;
  const words = [
    ...args.map(({ placeholder, brief }) => [placeholder, brief] as const),
    ...(rest === undefined ? [] : [[`${rest.placeholder}…`, rest.brief] as const]),
  ];
  return [
    ...usage.flatMap((line, i) => [
      i === 0 ? ".SS " + heading(["realm", ...path].join(" ")) : ".br",
      `${bold(["realm", ...path].join(" "))} ${text(line)}`.trimEnd(),
    ]),
    ".PP",
    text(told.text),
    ...words.flatMap(([name, brief]) => tagged(`\\fI${text(name)}\\fR`, brief)),
    ...flagLines(flags, aliases),
  ];
}

function flagLines(
  flags: Readonly<Record<string, Flag>>,
  aliases: Readonly<Record<string, string>>,
): string[] {
  return Object.entries(flags).flatMap(([name, flag]) => {
    const letter = Object.keys(aliases).find((each) => aliases[each] === name);
    const written = (letter ? `${bold(`-${letter}`)}, ` : "") + bold(flagName(name));
    if (flag.kind === "boolean") return tagged(written, flag.brief);
    const value = `\\fI${text(flag.placeholder)}\\fR${flag.variadic === true ? text("…") : ""}`;
    const fallback = typeof flag.default === "string" ? ` (default ${flag.default})` : "";
    return tagged(`${written} ${value}`, flag.brief + fallback);
  });
}

/** Statuses above 0, each with the codes of errors that give it. */
function statusLines(): string[] {
  const codes = Map.groupBy(Object.entries(EXIT_STATUS), ([, status]) => status);
  return [...codes].flatMap(([status, entries]) =>
    tagged(String(status), entries.map(([code]) => code).join(", "))
  );
}

/** A paragraph that hangs from a tag, which is in the language already. */
function tagged(tag: string, paragraph: string): string[] {
  return [".TP", tag, text(paragraph)];
}

function bold(words: string): string {
  return `\\fB${text(words)}\\fR`;
}

function heading(words: string): string {
  return `"${text(words)}"`;
}

/** Text as it is: man(7) takes `\`, `-` and a dot or apostrophe at the start of a line otherwise. */
function text(plain: string): string {
  return plain.split("\n").map((line) =>
    line.replaceAll("\\", "\\e").replaceAll("-", "\\-").replaceAll('"', "\\(dq")
      .replace(/^[.']/, "\\&$&")
  ).join("\n");
}
