/**
 * How a command is declared: its flags and arguments as values, and one function that does it
 * (`command_spec.ts`); here stricli gets it.
 *
 * A command's file is loaded at every start, whatever command is run; it imports what is heavy
 * inside `run`. The types of flags and arguments follow from their parsers:
 *
 * ```ts
 * export const scale = command({
 *   brief: "Set the number of replicas of a component",
 *   flags: { timeout: defaulted("How long to wait", "DURATION", parseDuration, "30s") },
 *   args: [argument("Component", "COMPONENT", parseText), argument("Replicas", "N", parseInteger())],
 *   async run(context, flags, component, replicas) {
 *     const { connect } = await import("../agent/control/client.ts");
 *     const result = await connect(context.dataFolder).scale(component, replicas, flags.timeout);
 *     context.print(result, () => `${component}: ${result.replicas} replicas`);
 *   },
 * });
 * ```
 *
 * A failure is a thrown RealmError: the application prints it and exits with its status. A number
 * that `run` returns is the exit status.
 *
 * @module
 */
import {
  buildCommand,
  buildRouteMap,
  type Command,
  type CommandContext,
  type RouteMap,
} from "@stricli/core";
import {
  type Argument,
  carryOut,
  type CommandSpec,
  type Flag,
  GLOBAL_FLAGS,
  type Outcome,
} from "./command_spec.ts";
import type { Shell } from "./context.ts";
import { formatHelp, type HelpOf, usageLine } from "./help.ts";

/** What stricli hands to every command: the process, and where the outcome goes. */
export interface Invocation extends CommandContext {
  readonly shell: Shell;
  /** Set by the command. */
  outcome?: Outcome;
}

/** A command as the application routes to it. */
export interface RealmCommand extends Command<Invocation> {
  /** Whether the word is a flag that takes the next word as its value. */
  readonly takesValue: (word: string) => boolean;
  readonly passThrough: boolean;
  /** What help tells of it; of the flags only its own, without {@link GLOBAL_FLAGS}. */
  readonly told: HelpOf;
}

/** A command from its description; built when it is first asked for, since of all of them one runs. */
export function command<
  const F extends Readonly<Record<string, Flag>> = Readonly<Record<never, Flag>>,
  const A extends readonly Argument[] = readonly [],
  const R extends Argument | undefined = undefined,
>(spec: CommandSpec<F, A, R>): RealmCommand {
  let built: RealmCommand | undefined;
  const get = () => built ??= build(spec);
  return new Proxy({} as RealmCommand, {
    get: (_, key) => Reflect.get(get(), key),
    has: (_, key) => key in get(),
  });
}

function build<
  F extends Readonly<Record<string, Flag>>,
  A extends readonly Argument[],
  R extends Argument | undefined,
>(spec: CommandSpec<F, A, R>): RealmCommand {
  const flags: Readonly<Record<string, Flag>> = { ...spec.flags, ...GLOBAL_FLAGS };
  const args: readonly Argument[] = spec.args ?? [];
  const { rest } = spec;
  const aliases = spec.aliases ?? {};
  const builder = {
    docs: { brief: spec.brief },
    parameters: {
      // A switch is optional to stricli, so that usage does not show it as required.
      flags: Object.fromEntries(
        Object.entries(flags).map(([name, flag]) => [
          name,
          flag.kind === "boolean" ? { ...flag, optional: true } : flag,
        ]),
      ),
      aliases,
      // stricli has tuples or lists, not a tuple and then a list: with a rest the words come as a
      // list and are parsed here.
      positional: rest === undefined ? { kind: "tuple", parameters: args } : {
        kind: "array",
        minimum: args.filter((each) => each.optional !== true).length,
        parameter: { brief: rest.brief, placeholder: rest.placeholder, parse: (t: string) => t },
      },
    },
    async func(this: Invocation, values: Record<string, unknown>, ...words: unknown[]) {
      this.outcome = await carryOut(spec, this.shell, values, words);
    },
  };
  const built = buildCommand(
    builder as unknown as Parameters<typeof buildCommand<object, [], Invocation>>[0],
  );
  const usage = spec.usage ?? [usageLine(spec.flags ?? {}, args, rest)];
  const words = spec.usage?.[0] ?? usageLine({}, args, rest);
  const text = spec.description === undefined ? spec.brief : `${spec.brief}. ${spec.description}`;
  const told: HelpOf = { text, usage, flags: spec.flags ?? {}, aliases, args, rest };
  return Object.assign(built, {
    formatUsageLine: ({ prefix }: { prefix: readonly string[] }) =>
      [...prefix, words].join(" ").trimEnd(),
    formatHelp: ({ prefix }: { prefix: readonly string[] }) =>
      formatHelp(prefix, { ...told, flags }),
    takesValue: (word: string) => takesValue(flags, aliases, word),
    passThrough: spec.passThrough ?? false,
    told,
  }) as RealmCommand;
}

/** Groups commands under a name: `realm key show`. Names that start with `__` are hidden. */
export function commands(
  brief: string,
  routes: Readonly<Record<string, RealmCommand | RouteMap<Invocation>>>,
): RouteMap<Invocation> {
  // No prototypes: `realm constructor` must not find Object.prototype.constructor.
  return buildRouteMap<string, Invocation>({
    routes: Object.assign(Object.create(null), routes),
    aliases: Object.create(null),
    docs: {
      brief,
      hideRoute: Object.fromEntries(Object.keys(routes).map((name) => [name, name[0] === "_"])),
    },
  });
}

/** Whether `word` is a flag whose value is the word after it. */
function takesValue(
  flags: Readonly<Record<string, Flag>>,
  aliases: Readonly<Record<string, string>>,
  word: string,
): boolean {
  const name = word.startsWith("--")
    ? word.slice(2).replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())
    : aliases[word.slice(-1)];
  return name !== undefined && Object.hasOwn(flags, name) && flags[name]?.kind === "parsed";
}
