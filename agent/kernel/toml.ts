/**
 * TOML 1.0 (https://toml.io/en/v1.0.0) as a tree in which every key and value knows its place, so
 * that a problem can be shown where it was written.
 *
 * Lines and columns count from 1. Throws RealmError `invalid-config` at the first syntax error.
 *
 * @module
 */
import { type AST, ParseError, parseTOML } from "toml-eslint-parser";
import { RealmError } from "./error.ts";

/** Where something was written. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** A value and where it starts. A table made by dotted keys or headers starts at its first key. */
export type TomlNode = { readonly at: Position } & TomlValue;

/** A table: keys in the order they were written. */
export type TomlTable = Extract<TomlNode, { kind: "table" }>;

/** What TOML can say. Dates and times are kept as they were written: realm has no use for them. */
export type TomlValue =
  | { readonly kind: "string"; readonly value: string }
  | { readonly kind: "integer"; readonly value: bigint }
  | { readonly kind: "float"; readonly value: number }
  | { readonly kind: "boolean"; readonly value: boolean }
  | { readonly kind: "date"; readonly value: string }
  | { readonly kind: "array"; readonly items: TomlNode[] }
  | { readonly kind: "table"; readonly entries: Map<string, TomlEntry> };

/** A value under a key. */
export interface TomlEntry {
  /** Where the key was first written. */
  readonly at: Position;
  readonly node: TomlNode;
}

/** Bytes of a TOML text; longer ones are not read. */
export const TOML_BYTES_MAX = 512 * 1024;

/** Reads TOML text; `what` names it in the error: `manifest "realm.toml"`. */
export function readToml(text: string, what: string): TomlTable {
  const size = new TextEncoder().encode(text).length;
  if (size > TOML_BYTES_MAX) {
    throw new RealmError(
      "invalid-config",
      `Cannot read ${what}: ${size} bytes, wanted at most ${TOML_BYTES_MAX}`,
    );
  }
  let program: AST.TOMLProgram;
  try {
    program = parseTOML(text, { tomlVersion: "1.0" });
  } catch (error) {
    if (error instanceof ParseError) {
      const problem = error.message.replace(/\.$/, "");
      throw syntaxError(what, `${error.lineNumber}:${error.column + 1}: ${problem}`, error);
    }
    // The parser recurses: thousands of brackets inside each other end its stack.
    if (error instanceof RangeError) throw syntaxError(what, "nested too deeply", error);
    throw error;
  }
  return tableOf(program.body[0], what);
}

function syntaxError(what: string, problem: string, cause: unknown): RealmError {
  return new RealmError("invalid-config", `Cannot read ${what}: ${problem}`, { cause });
}

function tableOf(top: AST.TOMLTopLevelTable, what: string): TomlTable {
  const root: TomlTable = { kind: "table", at: { line: 1, column: 1 }, entries: new Map() };
  try {
    for (const item of top.body) {
      if (item.type === "TOMLKeyValue") {
        assign(root, item);
        continue;
      }
      let table = root;
      const names = item.key.keys;
      names.forEach((key, i) => {
        const isLast = i === names.length - 1;
        table = isLast && item.kind === "array" ? appended(table, key) : inner(table, key);
      });
      for (const entry of item.body) assign(table, entry);
    }
  } catch (error) {
    if (error instanceof RangeError) throw syntaxError(what, "nested too deeply", error);
    throw error;
  }
  return root;
}

function assign(table: TomlTable, item: AST.TOMLKeyValue): void {
  const keys = item.key.keys;
  const last = keys.at(-1)!;
  const holder = keys.slice(0, -1).reduce(inner, table);
  holder.entries.set(nameOf(last), { at: positionOf(last), node: nodeOf(item.value) });
}

/** The table under a key, or the newest one of an array of tables; made when it is not there. */
function inner(table: TomlTable, key: Key): TomlTable {
  const there = table.entries.get(nameOf(key))?.node;
  const node = there?.kind === "array" ? there.items.at(-1) : there;
  if (node?.kind === "table") return node;
  const made: TomlTable = { kind: "table", at: positionOf(key), entries: new Map() };
  table.entries.set(nameOf(key), { at: made.at, node: made });
  return made;
}

function appended(table: TomlTable, key: Key): TomlTable {
  const made: TomlTable = { kind: "table", at: positionOf(key), entries: new Map() };
  const there = table.entries.get(nameOf(key))?.node;
  if (there?.kind === "array") there.items.push(made);
  else {
    const node: TomlNode = { kind: "array", at: made.at, items: [made] };
    table.entries.set(nameOf(key), { at: made.at, node });
  }
  return made;
}

function nodeOf(content: AST.TOMLContentNode): TomlNode {
  const at = positionOf(content);
  switch (content.type) {
    case "TOMLArray":
      return { kind: "array", at, items: content.elements.map(nodeOf) };
    case "TOMLInlineTable": {
      const table: TomlTable = { kind: "table", at, entries: new Map() };
      for (const entry of content.body) assign(table, entry);
      return table;
    }
    case "TOMLValue":
      switch (content.kind) {
        case "string":
          return { kind: "string", at, value: content.value };
        case "integer":
          return { kind: "integer", at, value: content.bigint };
        case "float":
          return { kind: "float", at, value: content.value };
        case "boolean":
          return { kind: "boolean", at, value: content.value };
        default:
          return { kind: "date", at, value: content.datetime };
      }
  }
}

type Key = AST.TOMLBare | AST.TOMLQuoted;

function nameOf(key: Key): string {
  return key.type === "TOMLBare" ? key.name : key.value;
}

function positionOf(node: AST.TOMLNode): Position {
  return { line: node.loc.start.line, column: node.loc.start.column + 1 };
}
