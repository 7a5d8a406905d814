/**
 * What `--help` prints of a command: every flag with what its value looks like.
 *
 * @module
 */
import type { Argument, Flag } from "./command_spec.ts";

/** More flags than this are `[FLAGS]` in the line of usage: they are listed below it. */
const FLAGS_IN_USAGE_MAX = 5;

/** What help tells of a command. */
export interface HelpOf {
  readonly text: string;
  /** Lines of usage, without the command's name. */
  readonly usage: readonly string[];
  readonly flags: Readonly<Record<string, Flag>>;
  /** Letters that stand for flags. */
  readonly aliases: Readonly<Record<string, string>>;
  readonly args: readonly Argument[];
  readonly rest: Argument | undefined;
}

/** A flag as the user writes it: `--fuel-per-sec`. */
export function flagName(name: string): string {
  return "--" + name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

function flagUsage([name, flag]: [string, Flag]): string {
  const text = flagName(name);
  if (flag.kind === "boolean") return `[${text}]`;
  const valued = `${text} ${flag.placeholder}`;
  if (flag.variadic === true) return `[${valued}]…`;
  return flag.optional === true || flag.default !== undefined ? `[${valued}]` : valued;
}

/** The line of usage, without the command's name. */
export function usageLine(
  flags: Readonly<Record<string, Flag>>,
  args: readonly Argument[],
  rest: Argument | undefined,
): string {
  const entries = Object.entries(flags);
  return [
    ...(entries.length > FLAGS_IN_USAGE_MAX ? ["[FLAGS]"] : entries.map(flagUsage)),
    ...args.map((each) => each.optional === true ? `[${each.placeholder}]` : each.placeholder),
    ...(rest === undefined ? [] : [`[${rest.placeholder}…]`]),
  ].join(" ");
}

function rows(title: string, table: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...table.map(([left]) => left.length));
  return ["", title, ...table.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`)];
}

function flagRow(
  [name, flag]: [string, Flag],
  aliases: HelpOf["aliases"],
): [string, string] {
  const letter = Object.keys(aliases).find((each) => aliases[each] === name);
  const written = (letter ? `-${letter}, ` : "") + flagName(name);
  if (flag.kind === "boolean") return [written, flag.brief];
  const fallback = typeof flag.default === "string" ? ` (default ${flag.default})` : "";
  return [
    `${written} ${flag.placeholder}${flag.variadic === true ? "…" : ""}`,
    flag.brief + fallback,
  ];
}

/** The whole help. `prefix` is the command's name: `["realm", "run"]`. */
export function formatHelp(prefix: readonly string[], command: HelpOf): string {
  const { text, usage, flags, aliases, args, rest } = command;
  const words = [
    ...args.map(({ placeholder, brief }) => [placeholder, brief] as const),
    ...(rest === undefined ? [] : [[`${rest.placeholder}…`, rest.brief] as const]),
  ];
  return [
    "USAGE",
    ...usage.map((line) => `  ${[...prefix, line].join(" ").trimEnd()}`),
    "",
    text,
    ...(words.length === 0 ? [] : rows("ARGUMENTS", words)),
    ...rows("FLAGS", [
      ...Object.entries(flags).map((each) => flagRow(each, aliases)),
      ["-h, --help", "Print this"],
    ]),
    "",
  ].join("\n");
}
