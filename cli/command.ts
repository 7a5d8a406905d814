/**
 * How a command is declared: its flags and arguments as values, and one function that does it.
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
import { Context, type GlobalFlags, type Shell } from "./context.ts";
import { formatHelp, type HelpOf, usageLine } from "./help.ts";
import { optional, parseText, toggle, Wanted } from "./parameters.ts";
import { RealmError } from "../agent/kernel/error.ts";

/** A flag, made by the functions of `parameters.ts`. */
export type Flag =
  | {
    readonly kind: "boolean";
    readonly brief: string;
    readonly withNegated: false;
  }
  | {
    readonly kind: "parsed";
    readonly brief: string;
    readonly placeholder: string;
    readonly parse: (text: string) => unknown;
    readonly optional?: true;
    readonly variadic?: true;
    readonly default?: string | readonly string[];
  };

/** A positional argument, made by the functions of `parameters.ts`. */
export interface Argument {
  readonly brief: string;
  readonly placeholder: string;
  readonly parse: (text: string) => unknown;
  readonly optional?: true;
}

type FlagValue<F> = F extends { kind: "boolean" } ? boolean
  : F extends { parse: (text: string) => infer T }
    ? F extends { variadic: true } ? readonly T[] : F extends { optional: true } ? T | undefined : T
  : never;

type ArgumentValue<A> = A extends { parse: (text: string) => infer T }
  ? A extends { optional: true } ? T | undefined : T
  : never;

/** The values of the flags, by name. */
export type FlagValues<F> = { readonly [K in keyof F]: FlagValue<F[K]> };

/** The values of the arguments, in order, then those of the rest. */
export type ArgumentValues<A extends readonly Argument[], R> = [
  ...{ [K in keyof A]: ArgumentValue<A[K]> },
  ...(R extends Argument ? ArgumentValue<R>[] : []),
];

/** What a command is. */
export interface CommandSpec<
  F extends Readonly<Record<string, Flag>>,
  A extends readonly Argument[],
  R extends Argument | undefined,
> {
  /** One line, no final period. */
  readonly brief: string;
  /** What `--help` says beyond the brief. */
  readonly description?: string;
  /** Lines of usage after the command's name, where the generated one says too little. */
  readonly usage?: readonly string[];
  /** Names in camelCase; the user writes them in kebab-case. */
  readonly flags?: F;
  /** Letters that stand for flags. */
  readonly aliases?: Readonly<Record<string, keyof F & string>>;
  readonly args?: A;
  /** Any number of further arguments. */
  readonly rest?: R;
  /** Everything after the first argument is passed on unread, whether or not `--` is there. */
  readonly passThrough?: boolean;
  readonly run: (
    context: Context,
    flags: FlagValues<F>,
    ...args: ArgumentValues<A, R>
  ) => Promise<number | void> | number | void;
}

/** What stricli hands to every command: the process, and where the outcome goes. */
export interface Invocation extends CommandContext {
  readonly shell: Shell;
  /** Set by the command: its exit status, or what it threw. */
  outcome?: { readonly status: number } | { readonly error: unknown };
}

/** A command as the application routes to it. */
export interface RealmCommand extends Command<Invocation> {
  /** Whether the word is a flag that takes the next word as its value. */
  readonly takesValue: (word: string) => boolean;
  readonly passThrough: boolean;
  /** What help tells of it; of the flags only its own, without {@link GLOBAL_FLAGS}. */
  readonly told: HelpOf;
}

/** The flags that every command takes. */
export const GLOBAL_FLAGS = {
  json: toggle("Print one JSON document"),
  data: optional("Data folder (default $REALM_HOME, else ~/.realm)", "DIR", parseText),
  node: optional("Ask another node", "NODE", parseText),
  quiet: toggle("Print results and errors only"),
  verbose: toggle("Print more about what happens"),
} as const;

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
      try {
        for (const [name, flag] of Object.entries(flags)) {
          if (flag.kind === "boolean") values[name] ??= false;
        }
        const { json, data, node, quiet, verbose, ...own } = values;
        const context = new Context(
          this.shell,
          { json, data, node, quiet, verbose } as unknown as GlobalFlags,
        );
        const parsed = rest === undefined
          ? words
          : words.map((word, i) => parseWord(args[i] ?? rest, String(word)));
        // The cast restores what was inferred from the parsers above; stricli has applied them.
        const call = spec.run as (...all: unknown[]) => Promise<number | void> | number | void;
        const status = await call(context, own, ...parsed);
        this.outcome = { status: status ?? 0 };
      } catch (error) {
        this.outcome = { error };
      }
    },
  };
  const built = buildCommand(
    builder as unknown as Parameters<typeof buildCommand<object, [], Invocation>>[0],
  );
  const usage = spec.usage ?? [usageLine(spec.flags ?? {}, args, rest)];
  const words = spec.usage?.[0] ?? usageLine({}, args, rest);
  const text = spec.description ?? spec.brief;
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

function parseWord(parameter: Argument, word: string): unknown {
  try {
    return parameter.parse(word);
  } catch (error) {
    if (!(error instanceof Wanted)) throw error;
    throw wrongArgument(parameter.placeholder, word, error);
  }
}

/** The error for an argument that its parser did not take. */
export function wrongArgument(name: string, word: string, wanted: Wanted): RealmError {
  return new RealmError("usage", `Cannot read ${name}: "${word}", wanted ${wanted.message}`);
}
