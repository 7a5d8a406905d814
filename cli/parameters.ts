/**
 * Typed flags and arguments of commands.
 *
 * Each function makes one parameter in stricli's form: what the text must look like, and the
 * value the command gets. The parsers throw an Error that says what was wanted; the application
 * adds which flag it was and what it read.
 *
 * @module
 */

/** Says what a parser wanted instead of what it read. */
export class Wanted extends Error {
  override readonly name = "Wanted";
}

type Parse<T> = (text: string) => T;

/** A switch that is off unless given. */
export function toggle(brief: string): {
  readonly kind: "boolean";
  readonly brief: string;
  readonly withNegated: false;
} {
  return { kind: "boolean", brief, withNegated: false };
}

/** A flag with a value that may be left out. */
export function optional<T>(brief: string, placeholder: string, parse: Parse<T>): {
  readonly kind: "parsed";
  readonly brief: string;
  readonly placeholder: string;
  readonly parse: Parse<T>;
  readonly optional: true;
} {
  return { kind: "parsed", brief, placeholder, parse, optional: true };
}

/** A flag with a value that stands for `fallback` when left out. */
export function defaulted<T>(
  brief: string,
  placeholder: string,
  parse: Parse<T>,
  fallback: string,
): {
  readonly kind: "parsed";
  readonly brief: string;
  readonly placeholder: string;
  readonly parse: Parse<T>;
  readonly default: string;
} {
  return { kind: "parsed", brief, placeholder, parse, default: fallback };
}

/** A flag that must be given, with a value. */
export function required<T>(brief: string, placeholder: string, parse: Parse<T>): {
  readonly kind: "parsed";
  readonly brief: string;
  readonly placeholder: string;
  readonly parse: Parse<T>;
} {
  return { kind: "parsed", brief, placeholder, parse };
}

/** A flag that may be given many times; none is the empty list. */
export function repeated<T>(brief: string, placeholder: string, parse: Parse<T>): {
  readonly kind: "parsed";
  readonly brief: string;
  readonly placeholder: string;
  readonly parse: Parse<T>;
  readonly optional: true;
  readonly variadic: true;
  readonly default: readonly string[];
} {
  return { kind: "parsed", brief, placeholder, parse, optional: true, variadic: true, default: [] };
}

/** A positional argument. Its placeholder is in capitals, as that of a flag's value. */
export function argument<T>(brief: string, placeholder: string, parse: Parse<T>): {
  readonly brief: string;
  readonly placeholder: string;
  readonly parse: Parse<T>;
} {
  return { brief, placeholder, parse };
}

/** A positional argument that may be left out. */
export function optionalArgument<T>(brief: string, placeholder: string, parse: Parse<T>): {
  readonly brief: string;
  readonly placeholder: string;
  readonly parse: Parse<T>;
  readonly optional: true;
} {
  return { brief, placeholder, parse, optional: true };
}

/** Any text that is not empty. */
export function parseText(text: string): string {
  if (text === "") throw new Wanted("a text that is not empty");
  return text;
}

/** Whole numbers in a range; `_` may stand between digits, as in TOML. */
export function parseInteger(min = 0, max = Number.MAX_SAFE_INTEGER): Parse<number> {
  return (text) => {
    const value = /^-?\d+(_\d+)*$/.test(text) ? Number(text.replaceAll("_", "")) : NaN;
    if (!Number.isSafeInteger(value) || value < min || value > max) {
      throw new Wanted(
        max === Number.MAX_SAFE_INTEGER
          ? `a whole number of at least ${min}`
          : `a whole number from ${min} to ${max}`,
      );
    }
    return value;
  };
}

const UNIT_MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** A length of time in milliseconds, from `250ms`, `1.5s`, `2m`, `1h30m`, `7d`. */
export function parseDuration(text: string): number {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/gy)];
  const length = parts.reduce((sum, [part]) => sum + part.length, 0);
  const ms = parts.reduce(
    (sum, [, number, unit]) => sum + Number(number) * UNIT_MS[unit as keyof typeof UNIT_MS],
    0,
  );
  if (parts.length === 0 || length !== text.length || !Number.isSafeInteger(Math.round(ms))) {
    throw new Wanted("a time such as 500ms, 30s or 1h30m");
  }
  return Math.round(ms);
}

/** Whole seconds or a duration with its unit, in milliseconds: `20` and `20s` are the same. */
export function parseSeconds(text: string): number {
  return parseDuration(/^\d+(\.\d+)?$/.test(text) ? `${text}s` : text);
}

/** An address to listen on or to dial. IPv6 stands in brackets: `[::1]:8080`. */
export interface HostPort {
  readonly hostname: string;
  readonly port: number;
}

/** `HOST:PORT`, `:PORT` (every address) or `[IPV6]:PORT`; port 0 is any that is free. */
export function parseHostPort(text: string): HostPort {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]*)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) throw new Wanted("HOST:PORT such as 127.0.0.1:8080");
  return { hostname: match[1] ?? (match[2] || "0.0.0.0"), port };
}

/** `NAME=VALUE`; the value may be empty and may hold more `=`. */
export function parseAssignment(text: string): readonly [name: string, value: string] {
  const at = text.indexOf("=");
  if (at < 1) throw new Wanted("NAME=VALUE");
  return [text.slice(0, at), text.slice(at + 1)];
}

/** One of the words. */
export function parseChoice<T extends string>(...words: readonly T[]): Parse<T> {
  return (text) => {
    const word = words.find((each) => each === text);
    if (word === undefined) throw new Wanted(`one of ${words.join(", ")}`);
    return word;
  };
}

/** A list of the words with commas between, as in `--deny clock,random`. */
export function parseChoices<T extends string>(...words: readonly T[]): Parse<readonly T[]> {
  const parse = parseChoice(...words);
  return (text) => text.split(",").map((each) => parse(each.trim()));
}
