/**
 * Reads the words of one command where nothing is wrong or unusual about them, in a hundredth of the
 * time that it takes to load stricli and to let it read them. Whatever else there is, from `--help`
 * to a slip of the hand, is not understood here: stricli reads it, and says what is wrong.
 *
 * @module
 */
import { type Argument, type CommandSpec, type Flag, GLOBAL_FLAGS } from "./command_spec.ts";

/** What was read: values by the names of flags, and words, as `carryOut()` takes them. */
export interface PlainWords {
  readonly values: Record<string, unknown>;
  readonly words: readonly string[];
}

type Flags = Readonly<Record<string, Flag>>;

/**
 * The words of the command called `name`, which passes on what comes after its first argument;
 * undefined where they are not plain.
 */
export function readPlain<F extends Flags, A extends readonly Argument[], R extends Argument>(
  name: string,
  spec: CommandSpec<F, A, R>,
  argv: readonly string[],
): PlainWords | undefined {
  const flags: Flags = { ...spec.flags, ...GLOBAL_FLAGS };
  const values: Record<string, unknown> = {};
  for (const [key, flag] of Object.entries(flags)) {
    if (flag.kind === "parsed" && flag.variadic) values[key] = [];
  }
  let isNamed = false;
  let at = 0;
  for (; at < argv.length; at++) {
    const word = argv[at]!;
    if (!word.startsWith("-")) {
      if (isNamed) break;
      if (word !== name) return;
      isNamed = true;
      continue;
    }
    const [, kebab, given] = /^--([a-z-]+)(?:=(.+))?$/.exec(word) ?? [];
    const key = kebab?.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
    if (key === undefined || !Object.hasOwn(isNamed ? flags : GLOBAL_FLAGS, key)) return;
    const flag = flags[key]!;
    const list = values[key];
    if (list !== undefined && !Array.isArray(list)) return; // twice
    if (flag.kind === "boolean") {
      if (given !== undefined) return;
      values[key] = true;
      continue;
    }
    const text = given ?? argv[++at];
    if (text === undefined || given === undefined && text.startsWith("-")) return;
    try {
      const value = flag.parse(text);
      if (list) list.push(value);
      else values[key] = value;
    } catch {
      return;
    }
  }
  if (at === argv.length) return;
  for (const [key, flag] of Object.entries(flags)) {
    if (flag.kind === "boolean" || typeof flag.default !== "string") continue;
    values[key] ??= flag.parse(flag.default);
  }
  const [first, ...rest] = argv.slice(at);
  if (rest[0] === "--") rest.shift();
  return { values, words: [first!, ...rest] };
}
