/**
 * Checks a configuration file against a description of its keys and collects every problem.
 *
 * A {@link Check} turns a node of the TOML tree into a typed value or reports why it cannot.
 * {@link readConfig} throws one RealmError `invalid-config` that lists all of them, each with
 * line and column, the dotted path, what was found and what was wanted.
 *
 * @module
 */
import { closest, distance } from "fastest-levenshtein";
import { RealmError } from "./error.ts";
import { type Position, readToml, type TomlNode, type TomlTable } from "./toml.ts";

/** Something wrong, or worth a warning, at a place. */
export interface Problem extends Position {
  /** `components."orders@blue".memory_max_mb` */
  readonly path: string;
  /** `is 0, wanted 1 to 65536` */
  readonly message: string;
}

/** What a check reports to. */
export interface Report {
  readonly problems: Problem[];
  /** Where each key was written, by its dotted path. */
  readonly positions: Map<string, Position>;
}

/** Turns a node into a value; reports and returns `undefined` when it cannot. */
export type Check<T> = (node: TomlNode, path: string, report: Report) => T | undefined;

/** Problems that one error lists; a file that is wrong everywhere is told so. */
const PROBLEMS_MAX = 50;

/**
 * Reads TOML text with a check, then with a second look across keys, which runs also when keys
 * are wrong if a value could be made. Throws with all problems when there is one.
 */
export function readConfig<T>(
  text: string,
  what: string,
  check: Check<T>,
  across: (value: T, report: Report) => void = () => {},
): { readonly value: T; readonly positions: ReadonlyMap<string, Position> } {
  const report: Report = { problems: [], positions: new Map() };
  const value = check(readToml(text, what), "", report);
  if (value !== undefined) across(value, report);
  const { problems, positions } = report;
  if (problems.length > 0 || value === undefined) {
    problems.sort((a, b) => a.line - b.line || a.column - b.column);
    const shown = problems.slice(0, PROBLEMS_MAX).map(formatProblem);
    const rest = problems.length - shown.length;
    if (rest > 0) shown.push(`and ${rest} more`);
    throw new RealmError("invalid-config", `Cannot read ${what}:${formatList(shown)}`, {
      cause: problems,
    });
  }
  return { value, positions };
}

/** `3:5: realm.partition is "x", wanted "majority" or "continue"` */
export function formatProblem({ line, column, path, message }: Problem): string {
  return `${line}:${column}: ${path === "" ? "" : `${path} `}${message}`;
}

/** What follows the colon of a message: one line stays on it, several get a line each. */
export function formatList(lines: readonly string[]): string {
  return lines.length === 1 ? ` ${lines[0]}` : lines.map((line) => `\n  ${line}`).join("");
}

/** The path of a key in a table: bare where TOML lets it be, else quoted. */
export function pathOf(parent: string, key: string): string {
  const name = /^[A-Za-z0-9_-]+$/.test(key) ? key : JSON.stringify(key);
  return parent === "" ? name : `${parent}.${name}`;
}

/** Reports a problem at the place where `path`, or the nearest key above it, was written. */
export function complain(report: Report, path: string, message: string): void {
  let at: Position | undefined;
  for (let p = path; at === undefined && p !== ""; p = parentPath(p)) at = report.positions.get(p);
  report.problems.push({ ...(at ?? { line: 1, column: 1 }), path, message });
}

/** `a."b.c"[1]` -> `a."b.c"` -> `a` -> `` */
export function parentPath(path: string): string {
  return path.match(/^(.+?)(\[\d+\]|\."(?:[^"\\]|\\.)*"|\.[\w-]+)$/s)?.[1] ?? "";
}

/** A node as a message shows it. */
export function shown(node: TomlNode): string {
  switch (node.kind) {
    case "string":
      return quote(node.value);
    case "array":
      return "an array";
    case "table":
      return "a table";
    case "date":
      return `the date ${node.value}`;
    default:
      return String(node.value);
  }
}

/** A value in quotes, cut to a length that a terminal can show. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 100 ? `${text.slice(0, 97)}...` : text);
}

function wrong(report: Report, node: TomlNode, path: string, message: string): undefined {
  report.problems.push({ ...node.at, path, message });
}

/** Text that `problem` finds nothing wrong with; it returns what was wanted. */
export function text(wanted?: (value: string) => string | undefined): Check<string> {
  return (node, path, report) => {
    if (node.kind !== "string") {
      return wrong(report, node, path, `is ${shown(node)}, wanted a string`);
    }
    // An unpaired surrogate has no UTF-8: it could be neither signed nor given to a guest.
    const want = node.value.isWellFormed() ? wanted?.(node.value) : "well-formed Unicode";
    if (want !== undefined) return wrong(report, node, path, `is ${shown(node)}, wanted ${want}`);
    return node.value;
  };
}

/**
 * Text that may hold a secret: the message never repeats the value. `problem` says what is wrong
 * with it.
 */
export function secretText(problem: (value: string) => string | undefined): Check<string> {
  return (node, path, report) => {
    if (node.kind !== "string") {
      return wrong(report, node, path, `is ${node.kind}, wanted a string`);
    }
    const found = problem(node.value);
    return found === undefined ? node.value : wrong(report, node, path, `is wrong: ${found}`);
  };
}

/** Text that matches a pattern. */
export function matching(pattern: RegExp, wanted: string): Check<string> {
  return text((value) => pattern.test(value) ? undefined : wanted);
}

/** One of a few words. */
export function oneOf<const T extends string>(...words: T[]): Check<T> {
  const list = words.map((word) => JSON.stringify(word)).join(" or ");
  return text((value) => words.includes(value as T) ? undefined : list) as Check<T>;
}

/** A whole number in a range, ends included. */
export function integer(min: number, max: number): Check<number> {
  return (node, path, report) => {
    if (node.kind === "integer" && node.value >= min && node.value <= max) {
      return Number(node.value);
    }
    const kind = node.kind === "integer" ? "" : "a whole number, ";
    return wrong(report, node, path, `is ${shown(node)}, wanted ${kind}${min} to ${max}`);
  };
}

/** true or false. */
export const boolean: Check<boolean> = (node, path, report) =>
  node.kind === "boolean"
    ? node.value
    : wrong(report, node, path, `is ${shown(node)}, wanted true or false`);

/** An array; items that are wrong are left out of the value. With `unique`, none twice. */
export function list<T>(item: Check<T>, { unique = false } = {}): Check<readonly T[]> {
  return (node, path, report) => {
    if (node.kind !== "array") {
      return wrong(report, node, path, `is ${shown(node)}, wanted an array`);
    }
    const values: T[] = [];
    node.items.forEach((child, i) => {
      const childPath = `${path}[${i}]`;
      report.positions.set(childPath, child.at);
      const value = item(child, childPath, report);
      if (value === undefined) return;
      if (unique && values.includes(value)) {
        wrong(report, child, childPath, `is ${shown(child)}, which is there already`);
      } else values.push(value);
    });
    return values;
  };
}

/** A table whose keys are names; `key` tells what a name must be. */
export function record<T>(
  key: (name: string) => string | undefined,
  item: Check<T>,
): Check<ReadonlyMap<string, T>> {
  return (node, path, report) => {
    if (node.kind !== "table") {
      return wrong(report, node, path, `is ${shown(node)}, wanted a table`);
    }
    const values = new Map<string, T>();
    for (const [name, entry] of node.entries) {
      const childPath = pathOf(path, name);
      report.positions.set(childPath, entry.at);
      const want = key(name);
      if (want !== undefined) {
        report.problems.push({
          ...entry.at,
          path: childPath,
          message: `is named ${quote(name)}, wanted ${want}`,
        });
      }
      const value = item(entry.node, childPath, report);
      if (value !== undefined) values.set(name, value);
    }
    return values;
  };
}

/** A key of a {@link table}. */
export interface Field<T> {
  readonly check: Check<T>;
  /** The value when the key is not there; without it, and not optional, the key must be there. */
  readonly fallback?: () => T;
  readonly optional?: boolean;
}

/** A key that must be there. */
export const required = <T>(check: Check<T>): Field<T> => ({ check });
/** A key that may be left out, and is `undefined` then. */
export const optional = <T>(check: Check<T>): Field<T | undefined> => ({ check, optional: true });
/** A key with a default. */
export const withDefault = <T>(check: Check<T>, fallback: NoInfer<T>): Field<T> => ({
  check,
  fallback: () => fallback,
});

/** The fields of a table by their names here; the file writes `memoryMaxMb` as `memory_max_mb`. */
export type Fields<T> = { readonly [K in keyof T]-?: Field<T[K]> };

/** How the file writes a field's name. */
export function keyOf(field: string): string {
  return field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/**
 * A table with known keys. Unknown keys are problems that name the nearest known one. There is no
 * table when a key that must be there is not, or has a wrong value.
 */
export function table<T extends object>(fields: Fields<T>): Check<T> {
  const names = Object.keys(fields) as (keyof T & string)[];
  const keys = names.map(keyOf);
  return (node, path, report) => {
    if (node.kind !== "table") {
      return wrong(report, node, path, `is ${shown(node)}, wanted a table`);
    }
    for (const [key, entry] of node.entries) {
      const childPath = pathOf(path, key);
      report.positions.set(childPath, entry.at);
      if (!keys.includes(key)) {
        report.problems.push({ ...entry.at, path: childPath, message: unknownKey(key, keys) });
      }
    }
    const value: Partial<T> = {};
    let complete = true;
    for (const [i, name] of names.entries()) {
      const field = fields[name];
      const entry = node.entries.get(keys[i]!);
      const childPath = pathOf(path, keys[i]!);
      const found = entry && field.check(entry.node, childPath, report);
      if (entry === undefined && field.fallback === undefined && !field.optional) {
        wrong(report, node, childPath, "is missing");
      }
      // A wrong value has been reported: the rest is checked as if the key were not there.
      const filled = found ?? field.fallback?.();
      if (filled !== undefined || field.optional) value[name] = filled as T[typeof name];
      else complete = false;
    }
    return complete ? value as T : undefined;
  };
}

function unknownKey(name: string, known: readonly string[]): string {
  const nearest = closest(name, known as string[]);
  // A name that shares nothing with the nearest key is better served by the list.
  return distance(name, nearest) <= Math.max(2, name.length / 2)
    ? `is not a known key, nearest is ${nearest}`
    : `is not a known key, known are ${known.join(", ")}`;
}

/** A table of which exactly one of some keys is written, by the names in the file. */
export function exactlyOne<T>(keys: readonly string[], check: Check<T>): Check<T> {
  return (node, path, report) => {
    const value = check(node, path, report);
    if (node.kind !== "table" || keys.filter((key) => node.entries.has(key)).length === 1) {
      return value;
    }
    return wrong(report, node, path, `wanted exactly one of ${keys.join(" and ")}`);
  };
}

/** The first check whose kind of node it is. */
export function byKind<T>(
  checks: { readonly [K in TomlNode["kind"]]?: Check<T> },
  wanted: string,
): Check<T> {
  return (node, path, report) =>
    checks[node.kind]?.(node, path, report) ??
      (checks[node.kind] === undefined
        ? wrong(report, node, path, `is ${shown(node)}, wanted ${wanted}`)
        : undefined);
}

export type { Position, TomlTable };
