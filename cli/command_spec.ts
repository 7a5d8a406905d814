/**
 * What a command is, as a value: its flags and arguments, and one function that does it.
 *
 * Here is nothing that reads a command line, so that whoever knows the words already can carry a
 * command out without it. The types of flags and arguments follow from their parsers.
 *
 * @module
 */
import { RealmError } from "../agent/kernel/error.ts";
import { Context, type GlobalFlags, hasColour, type Shell } from "./context.ts";
import { type ErrorForm, formatError } from "./output.ts";
import { optional, parseText, toggle, Wanted } from "./parameters.ts";

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

/** The flags that every command takes. */
export const GLOBAL_FLAGS = {
  json: toggle("Print one JSON document"),
  data: optional("Data folder (default $REALM_HOME, else ~/.realm)", "DIR", parseText),
  node: optional("Ask another node", "NODE", parseText),
  quiet: toggle("Print results and errors only"),
  verbose: toggle("Print more about what happens"),
} as const;

/** How a command ended: its exit status, or what it threw. */
export type Outcome = { readonly status: number } | { readonly error: unknown };

/** The same spec, with the types of its flags and arguments inferred. */
export function declare<
  const F extends Readonly<Record<string, Flag>> = Readonly<Record<never, Flag>>,
  const A extends readonly Argument[] = readonly [],
  const R extends Argument | undefined = undefined,
>(spec: CommandSpec<F, A, R>): CommandSpec<F, A, R> {
  return spec;
}

/**
 * Runs a command; never throws. `values` are what was read of its flags and the global ones, but for
 * switches that are off; `words` are its arguments, already parsed unless there is a rest.
 */
export async function carryOut<
  F extends Readonly<Record<string, Flag>>,
  A extends readonly Argument[],
  R extends Argument | undefined,
>(
  spec: CommandSpec<F, A, R>,
  shell: Shell,
  values: Record<string, unknown>,
  words: readonly unknown[],
): Promise<Outcome> {
  const { rest } = spec;
  const args: readonly Argument[] = spec.args ?? [];
  try {
    const flags: Readonly<Record<string, Flag>> = { ...spec.flags, ...GLOBAL_FLAGS };
    for (const [name, flag] of Object.entries(flags)) {
      if (flag.kind === "boolean") values[name] ??= false;
    }
    const { json, data, node, quiet, verbose, ...own } = values;
    const context = new Context(
      shell,
      { json, data, node, quiet, verbose } as unknown as GlobalFlags,
    );
    const parsed = rest === undefined
      ? words
      : words.map((word, i) => parseWord(args[i] ?? rest, String(word)));
    // The cast restores what was inferred from the parsers above; whoever read the words applied them.
    const call = spec.run as (...all: unknown[]) => Promise<number | void> | number | void;
    const status = await call(context, own, ...parsed);
    return { status: status ?? 0 };
  } catch (error) {
    return { error };
  }
}

/** How an error is to look; asked before the command begins, as it may give up the environment. */
export function errorFormOf(shell: Shell, json: boolean): ErrorForm {
  return { json, colour: hasColour(shell, "stderr") };
}

/** The exit status of the program; what was thrown is printed. */
export function exitStatus(outcome: Outcome, shell: Shell, form: ErrorForm): number {
  if ("status" in outcome) return outcome.status;
  const { error } = outcome;
  shell.write("stderr", formatError(error, form));
  return error instanceof RealmError ? error.exitStatus : 1;
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
