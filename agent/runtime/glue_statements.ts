/**
 * Cuts jco's glue into statements, and renames in them. Knows of JavaScript what jco writes: no
 * regular expressions, and every statement ends with a semicolon or a block.
 *
 * @module
 */

/** A statement; one that does nothing but define a name has it. */
export interface Statement {
  readonly text: string;
  readonly name?: string;
}

/** What does nothing but define its name. */
const DECLARATION =
  /(?:(?:async\s+)?function\*?\s+([\w$]+)|class\s+([\w$]+)|(?:const|let)\s+([\w$]+)\s*(?:;|=\s*(?:new (?:Map|Set|DataView|TextDecoder|TextEncoder)\(|\[\];|\{ error: null \};|\{(?:\s*[A-Z_]+: \d+,)*\s*\};|new Uint8Array\(new Uint16Array\(\[1\]\)\.buffer\)|'[^'\n]*';|(?:async )?(?:\([^()]*\)|[\w$]+) =>|(?:async )?function\b|Symbol\b|Object\.prototype\.hasOwnProperty;|WebAssembly\.RuntimeError;|[\d_]+n?(?: << \d+)?;)))/y;
const BLANK = /(?:\s|\/\/[^\n]*|\/\*[\s\S]*?\*\/)*/y;
const OPENING = "([{";
const CLOSING = ")]}";

/**
 * The end (exclusive) of what starts at `from`: past the semicolon, or past the brace of a block
 * that ends a statement. Strings, templates and comments are skipped; jco writes no other literals
 * with brackets or quotes in them.
 */
function endOf(source: string, from: number, isBlock: boolean): number {
  let depth = 0;
  for (let i = from; i < source.length; i++) {
    const c = source[i]!;
    if (c === "'" || c === '"') i = quoted(source, i);
    else if (c === "`") i = template(source, i);
    else if (c === "/" && source[i + 1] === "/") i = source.indexOf("\n", i);
    else if (c === "/" && source[i + 1] === "*") i = source.indexOf("*/", i) + 1;
    else if (OPENING.includes(c)) depth++;
    else if (CLOSING.includes(c)) {
      if (--depth === 0 && c === "}" && isBlock) return i + 1;
    } else if (c === ";" && depth === 0) return i + 1;
  }
  return source.length;
}

/** The index of the quote that ends the string. */
function quoted(source: string, open: number): number {
  let i = open + 1;
  while (i < source.length && source[i] !== source[open]) i += source[i] === "\\" ? 2 : 1;
  return i;
}

/** The index of the backtick that ends the template. */
function template(source: string, open: number): number {
  for (let i = open + 1; i < source.length; i++) {
    if (source[i] === "\\") i++;
    else if (source[i] === "`") return i;
    else if (source[i] === "$" && source[i + 1] === "{") {
      let depth = 0;
      for (i++; i < source.length; i++) {
        const c = source[i]!;
        if (c === "`") i = template(source, i);
        else if (c === "'" || c === '"') i = quoted(source, i);
        else if (c === "{") depth++;
        else if (c === "}" && --depth === 0) break;
      }
    }
  }
  return source.length;
}

/** Cuts the text of a function's body into statements. */
export function statementsOf(body: string): Statement[] {
  const statements: Statement[] = [];
  for (let at = 0; at < body.length;) {
    BLANK.lastIndex = at;
    BLANK.exec(body);
    const start = BLANK.lastIndex;
    if (start >= body.length) break;
    DECLARATION.lastIndex = start;
    const found = DECLARATION.exec(body);
    const name = found?.[1] ?? found?.[2] ?? found?.[3];
    const isBlock = found?.[1] !== undefined || found?.[2] !== undefined ||
      /^(?:if|for|while|switch|try|function|class|async)\b/.test(body.slice(start, start + 9));
    const end = endOf(body, start, isBlock);
    const text = body.slice(start, end);
    statements.push(name === undefined ? { text } : { text, name });
    at = end;
  }
  return statements;
}

/** Words of a text, in strings and comments too. */
export function wordsOf(text: string): string[] {
  return text.match(/[\w$]+/g) ?? [];
}

const NAME = /[A-Za-z_$][\w$]*/y;
const DECLARING = new Set(["let", "const", "var", "function", "class"]);
const PARAMETERS =
  /(?:\bfunction\*?\s*[\w$]*\s*|\bcatch\s*)\(([^)]*)\)|\(([^()]*)\)\s*=>|([\w$]+)\s*=>/g;

const OWN_PARAMETERS = /^(?:const\s+[\w$]+\s*=\s*)?function\s*[\w$]*\s*\(([^)]*)\)/;

/**
 * Writes `$.name` for every free use of the names. Undefined where a name stands in a way of which
 * it is not sure what it means: declared anew, or short for a property.
 */
export function qualify(text: string, all: ReadonlySet<string>): string | undefined {
  const own = wordsOf(OWN_PARAMETERS.exec(text)?.[1] ?? "");
  const names = own.some((name) => all.has(name)) ? all.difference(new Set(own)) : all;
  for (const [, ...parameters] of text.matchAll(PARAMETERS)) {
    if (parameters.some((list) => list && wordsOf(list).some((word) => names.has(word)))) return;
  }
  let out = "";
  let copied = 0;
  let before = "";
  let wordBefore = "";
  const brackets: string[] = [];
  for (let i = 0; i < text.length; i++) {
    const c = text[i]!;
    if (/\s/.test(c)) continue;
    if (c === "/" && (text[i + 1] === "/" || text[i + 1] === "*")) {
      BLANK.lastIndex = i;
      BLANK.exec(text);
      i = BLANK.lastIndex - 1;
      continue;
    }
    NAME.lastIndex = i;
    const word = before === "#" ? undefined : NAME.exec(text)?.[0];
    if (word === undefined) {
      if (c === "'" || c === '"') i = quoted(text, i);
      else if (c === "`") {
        const end = template(text, i);
        const inner = text.slice(i, end);
        if (wordsOf(inner).some((each) => names.has(each))) return; // in a message, or a value of it
        i = end;
      } else if (OPENING.includes(c)) brackets.push(c);
      else if (CLOSING.includes(c)) brackets.pop();
      before = c;
      wordBefore = "";
      continue;
    }
    const end = i + word.length;
    const isProperty = before === "." && text.slice(0, i).trimEnd().slice(-3) !== "...";
    if (names.has(word) && !isProperty) {
      BLANK.lastIndex = end;
      BLANK.exec(text);
      const after = text[BLANK.lastIndex];
      const inList = before === "{" || before === ",";
      if (DECLARING.has(wordBefore)) return;
      if (inList && brackets.at(-1) === "{" && (after === "," || after === "}")) return;
      if (!(inList && after === ":")) {
        out += `${text.slice(copied, i)}$.${word}`;
        copied = end;
      }
    }
    before = word.at(-1)!;
    wordBefore = word;
    i = end - 1;
  }
  return out + text.slice(copied);
}
