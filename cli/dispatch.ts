/**
 * From words to a command, its output and its exit status.
 *
 * Parsing, help and completions are stricli's; this file adds what it has no words for. Global
 * flags may stand before the command. Every failure, of parsing or of the command, is printed in
 * one form (`error[code]: …`, or JSON with `--json`) and gives the exit status of its code.
 *
 * @module
 */
import {
  type Application,
  ArgumentParseError,
  buildApplication,
  help,
  type RouteMap,
  run,
  text_en,
  version,
} from "@stricli/core";
import { RealmError } from "../agent/kernel/error.ts";
import { commands, type Invocation, type RealmCommand } from "./command.ts";
import { errorFormOf, exitStatus, GLOBAL_FLAGS, wrongArgument } from "./command_spec.ts";
import { hasColour, type Shell } from "./context.ts";
import { Wanted } from "./parameters.ts";
import { VERSION } from "./version.ts";

/** What realm is, for its help. */
export const BRIEF = "Run WebAssembly under hard limits";

/**
 * Runs the command that `argv` names and returns the exit status of the program.
 *
 * Never throws: what goes wrong is printed to standard error of `shell`.
 */
export async function dispatch(
  routes: RouteMap<Invocation>,
  argv: readonly string[],
  shell: Shell,
): Promise<number> {
  const words = normalise(routes, argv);
  const own = words.slice(0, words.includes("--") ? words.indexOf("--") : words.length);
  const json = own.includes("--json");
  const form = errorFormOf(shell, json);
  const fail = (error: unknown) => exitStatus({ error }, shell, form);
  if (own[0] === "--version" || own[0] === "-V") {
    shell.write(
      "stdout",
      json ? `${JSON.stringify({ version: VERSION })}\n` : `realm ${VERSION}\n`,
    );
    return 0;
  }
  const problems: RealmError[] = [];
  const invocation: Invocation = {
    shell,
    // Errors of stricli are collected by the texts below and printed in our form.
    process: {
      stdout: {
        write: (text) => shell.write("stdout", text),
        getColorDepth: () => hasColour(shell, "stdout") ? 4 : 1,
      },
      stderr: silent().stderr,
    },
  };
  try {
    await run(buildApp(problems, routesOf(routes, words)), words, invocation);
  } catch (error) {
    return fail(error);
  }
  if (problems[0] !== undefined) {
    return fail(problems.length === 1 ? problems[0] : joined(problems));
  }
  const { outcome } = invocation;
  if (outcome === undefined) {
    // Help was printed. Where nobody asked for it a command is missing: wrong usage.
    return own.some((word) => word === "--help" || word === "-h") ? 0 : 2;
  }
  return exitStatus(outcome, shell, form);
}

/**
 * The one command that is named, else all: stricli compares the flags of every command that it is
 * given with its own, which takes longer than all the rest of reading a command line.
 */
function routesOf(
  routes: RouteMap<Invocation>,
  [name = ""]: readonly string[],
): RouteMap<Invocation> {
  const target = routes.getRoutingTargetForInput(name);
  return target === undefined
    ? routes
    : commands(BRIEF, { [name]: target as RealmCommand | RouteMap<Invocation> });
}

/** The application; what is wrong with the words goes to `problems`. */
export function buildApp(
  problems: RealmError[],
  routes: RouteMap<Invocation>,
): Application<Invocation> {
  const problem = (error: RealmError): string => {
    problems.push(error);
    return "";
  };
  const formatting = { caseStyle: "convert-camel-to-kebab", useAliasInUsageLine: false } as const;
  return buildApplication<Invocation>(routes, {
    name: "realm",
    scanner: {
      caseStyle: "allow-kebab-for-camel",
      allowArgumentEscapeSequence: true,
      // Suggest what is a slip of the hand away, not the least different of all names.
      distanceOptions: {
        threshold: 4,
        weights: { insertion: 1, deletion: 3, substitution: 2, transposition: 0 },
      },
    },
    documentation: { caseStyle: "convert-camel-to-kebab" },
    localization: {
      text: {
        ...text_en,
        noCommandRegisteredForInput: ({ input, corrections }) =>
          problem(unknownCommand(input, corrections)),
        exceptionWhileParsingArguments: (error) => problem(wrongUsage(error)),
      },
    },
  }, {
    help: help({
      brief: text_en.briefs.help,
      defaultForRouteMap: true,
      formatting: { ...formatting, onlyRequiredInUsageLine: true },
    }),
    // Only for the help: dispatch() has answered --version before.
    version: version({ brief: "Print the version", info: { currentVersion: VERSION }, alias: "V" }),
  });
}

function unknownCommand(input: string, corrections: readonly string[]): RealmError {
  const names = corrections.map((each) => each.replaceAll("`", ""));
  const wanted = input.startsWith("-") ? "a command first" : "a command";
  return new RealmError(
    "usage",
    `Cannot run "${input}": not a command of realm, wanted ${wanted}`,
    {
      hint: names.length > 0
        ? `Did you mean ${names.join(" or ")}`
        : "Run realm --help for the list",
    },
  );
}

function wrongUsage(error: unknown): RealmError {
  if (error instanceof ArgumentParseError && error.exception instanceof Wanted) {
    const name = error.externalFlagNameOrPlaceholder;
    const label = name === name.toUpperCase() ? name : `--${name}`; // placeholders are in capitals
    return wrongArgument(label, error.input, error.exception);
  }
  const message = error instanceof Error ? error.message : String(error);
  return new RealmError("usage", `Cannot read the command line: ${message.replace(/\.$/, "")}`, {
    hint: "Add --help to see what the command takes",
  });
}

function joined(problems: readonly RealmError[]): RealmError {
  return new RealmError("usage", problems.map((each) => each.message).join("; "), {
    hint: "Add --help to see what the command takes",
  });
}

/**
 * Puts the words into the order that stricli reads: global flags after the command, and `--`
 * before what a command passes on to its guest.
 */
export function normalise(routes: RouteMap<Invocation>, argv: readonly string[]): string[] {
  let at = 0;
  while (at < argv.length && isGlobalFlag(argv[at] ?? "")) {
    at += takesSeparateValue(argv[at] ?? "") ? 2 : 1;
  }
  const leading = argv.slice(0, at);
  let target: RouteMap<Invocation> | RealmCommand | undefined = routes;
  const start = at;
  while (at < argv.length && target !== undefined && "getAllEntries" in target) {
    const next = target.getRoutingTargetForInput(argv[at] ?? "") as
      | RouteMap<Invocation>
      | RealmCommand
      | undefined;
    if (next === undefined) break;
    target = next;
    at++;
  }
  const path = argv.slice(start, at);
  let rest = argv.slice(at);
  if (target !== undefined && "passThrough" in target && target.passThrough) {
    rest = passThrough(target, rest);
  }
  // Before a command stricli reads --help and --version only: those stay in front.
  return path.length === 0 ? [...rest, ...leading] : [...path, ...leading, ...rest];
}

/** Ends the command's own words with `--` after its first argument. */
function passThrough(target: RealmCommand, words: readonly string[]): string[] {
  let at = 0;
  while (at < words.length) {
    const word = words[at] ?? "";
    if (word === "--") return [...words];
    if (!word.startsWith("-") || word === "-") break;
    at += !word.includes("=") && target.takesValue(word) ? 2 : 1;
  }
  const own = words.slice(0, at + 1);
  const passed = words.slice(at + 1);
  return passed.length === 0 || passed[0] === "--" ? [...words] : [...own, "--", ...passed];
}

function isGlobalFlag(word: string): boolean {
  return word.startsWith("--") && Object.hasOwn(GLOBAL_FLAGS, word.slice(2).split("=")[0] ?? "");
}

function takesSeparateValue(word: string): boolean {
  const flag = GLOBAL_FLAGS[word.slice(2) as keyof typeof GLOBAL_FLAGS];
  return flag?.kind === "parsed";
}

/** A process that nobody hears. */
export function silent(): { stdout: { write(): void }; stderr: { write(): void } } {
  return { stdout: { write() {} }, stderr: { write() {} } };
}
