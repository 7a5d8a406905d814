/**
 * Makes jco's generated JavaScript fit for many instances in one Worker.
 *
 * jco-transpile 0.12 books every call between guest and host as an asynchronous task, also where
 * nothing is asynchronous: about 6 µs a call. Components of WASI 0.2 need none of it, so the
 * synchronous output is reduced to what lifts and lowers values, and blocking is done at the
 * border instead: a blocking import is lowered with JSPI by the function `lower` that the loader
 * passes in. The reduction is textual and closed: the version of jco is pinned, and output in
 * which anything is not as expected is refused, never run half-changed.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import { Captured } from "./captured.ts";
import { boundHandles, reduceGuestCalls } from "./glue_parts.ts";
import { pruneGlue, shareGlue } from "./glue_prune.ts";
import { reduceHealthExport } from "./health_export.ts";

/** The end (exclusive) of the bracketed text that opens at `open`, skipping string literals. */
function closing(source: string, open: number): number {
  let depth = 0;
  for (let i = open; i < source.length; i++) {
    const c = source[i]!;
    if (c === "'" || c === '"' || c === "`") {
      for (i++; i < source.length && source[i] !== c; i++) if (source[i] === "\\") i++;
    } else if (c === "(" || c === "{" || c === "[") depth++;
    else if (c === ")" || c === "}" || c === "]") {
      if (--depth === 0) return i + 1;
    }
  }
  throw changed("unbalanced brackets");
}

function changed(what: string): RealmError {
  return new RealmError("failed", `Cannot use the output of the transpiler: ${what}`);
}

/** Replaces each bracketed expression that starts with `head` (which ends in its bracket). */
function replaceEach(source: string, head: string, replace: (text: string) => string): string {
  const parts: string[] = [];
  let from = 0;
  for (let at = source.indexOf(head); at >= 0; at = source.indexOf(head, from)) {
    const end = closing(source, at + head.length - 1);
    parts.push(source.slice(from, at), replace(source.slice(at, end)));
    from = end;
  }
  parts.push(source.slice(from));
  return parts.join("");
}

const TASK_CREATION =
  /let parentTask;\s+let task;\s+let subtask;\s+const createTask = [\s\S]*?const started = task\.enterSync\(\);/g;
const IMPORT_ERROR =
  /getOrCreateAsyncState\(\d+\)\.markTrapped\(err\);\s+task\.setErrored\(err\);\s+task\.reject\(err\);\s+task\.exit\(\);\s+throw err;/g;
const TASK_END = /^ *task\.(resolve\(\[.*\]\)|exit\(\));$/gm;
const LOWERING =
  /let trampoline(\d+) = _trampoline\1\.manuallyAsync \? new WebAssembly\.Suspending\(/g;

/**
 * Reduces the synchronous output of jco to the body of a function of `enter` and `lift` that
 * returns `instantiate(getCoreModule, imports, instantiateCore, lower)`.
 *
 * `lower(name, call, state)` gets every host function as `interface@version#jsName` and returns what
 * the core module is given in its place: a function that calls `call(state, ...args)`. `enter` is
 * called where an export calls its core function.
 */
export function reduceGlue(source: string): string {
  let js = replaceEach(source, "_debugLog(", () => "void 0");
  // A handle past the end of its table is as invalid as one that was dropped.
  js = js.replace(
    "if (val === 0 || (scope & T_FLAG) !== 0) {",
    "if (!val || (scope & T_FLAG) !== 0) {",
  );
  // Numbers of captured objects are given again: one that was dropped must lead to none.
  js = js.replace(
    "table[handle << 1] = table[0] | T_FLAG;",
    "table[(handle << 1) + 1] = 0; table[handle << 1] = table[0] | T_FLAG;",
  );
  if (
    js.includes("function rscTableRemove(") &&
    !(js.includes("if (!val || (scope & T_FLAG)") && js.includes("table[(handle << 1) + 1] = 0;"))
  ) {
    throw changed("handles are dropped in another way");
  }
  js = reduceGuestCalls(boundHandles(js, changed), changed);
  const start = js.indexOf("const _trampoline");
  const split = start < 0 ? js.length : start;
  const head = js.slice(0, split);
  let body = js.slice(split);

  // The bodies of imported functions.
  const functions: string[] = [];
  let from = 0;
  for (const match of body.matchAll(/const _trampoline\d+ = function\([^)]*\) \{/g)) {
    const open = match.index + match[0].length - 1;
    const end = closing(body, open);
    let text = body.slice(match.index, end);
    text = text.replace(TASK_CREATION, "");
    text = replaceEach(text, "_withGlobalCurrentTaskMeta({", (call) => {
      const fn = /fn: \(\) => ([\s\S]*?),\s*\}$/.exec(call);
      if (!fn) throw changed("a host call has another form");
      return `((${fn[1]})`; // the closing bracket of the call remains
    });
    text = text.replace(IMPORT_ERROR, "throw err;").replace(TASK_END, "");
    if (/\btask\b|parentTask|createNewCurrentTask/.test(text)) {
      throw changed("a host call keeps a task");
    }
    text = text.replace(TAKEN_HANDLE, "$1$$again() || $2").replace(
      LIFTED_LIST,
      "$1$$lift($2, $2); ",
    );
    if (/for \(let i = 0; i < len\d+; i\+\+\)/.test(text.replace(BOUNDED_LIST, ""))) {
      throw changed("a list is lifted in another form");
    }
    functions.push(body.slice(from, match.index), text);
    from = end;
  }
  functions.push(body.slice(from));
  body = functions.join("");

  // What core modules are given: the function itself behind the canonical ABI's check that the
  // instance may be left, instead of a chain of tasks.
  const names = new Map<string, string>();
  for (const m of body.matchAll(/_trampoline(\d+)\.fnName = '([^']*)';/g)) names.set(m[1]!, m[2]!);
  const parts: string[] = [];
  from = 0;
  for (const match of body.matchAll(LOWERING)) {
    const index = match[1]!;
    const name = names.get(index);
    if (name === undefined) throw changed(`host function ${index} has no name`);
    const suspending = closing(body, match.index + match[0].length - 1);
    const otherwise = /^\s*:\s*_lowerImportBackwardsCompat\.bind\(/.exec(body.slice(suspending));
    if (!otherwise) throw changed("a lowered import has another form");
    const component = /componentIdx: (\d+)/.exec(body.slice(match.index, suspending))?.[1] ?? "0";
    const end = closing(body, suspending + otherwise[0].length - 1);
    parts.push(
      body.slice(from, match.index),
      `let trampoline${index} = $lower(${
        JSON.stringify(name)
      }, (_state, ...args) => (_checkMayLeave(${component}), _trampoline${index}(...args)))`,
    );
    from = end;
  }
  parts.push(body.slice(from));
  js = reduceHealthExport(reduceExports(lowerIntrinsics(head + parts.join(""))));
  if (/manuallyAsync \?|: _lowerImportBackwardsCompat\.bind/.test(js)) {
    throw changed("an import is lowered in another form");
  }

  js = js.replace(LIFTED_STRING, "$1$$lift($2)$3").replace(LIFTED_BYTES, "$1$$lift($3)$4");
  if (/\bTEXT_DECODER_UTF8\.decode\(new Uint8Array\(memory\d+\.buffer, \w+, \w+\)/.test(js)) {
    throw changed("a string is lifted in another form");
  }
  js = js.replace(CAPTURED_TABLE, "$1 = new $$Captured()").replace(
    CAPTURED,
    "captureTable$2.add($1);",
  );
  if (/captureTable\d+(\.set\(| = new Map)/.test(js)) {
    throw changed("a resource is kept in another form");
  }
  const utilities = js.search(/^export const _util = \{/m);
  if (utilities >= 0) js = js.slice(0, utilities);
  if (!/^export function instantiate/m.test(js)) throw changed("there is no instantiate function");
  js = js
    .replace(
      /^export function instantiate\([^\n]*\) \{$/m,
      "return function instantiate(getCoreModule, imports, instantiateCore, $lower) {",
    )
    .replaceAll("!globalThis?.process?.env?.JCO_DEBUG", "true")
    .replaceAll("import.meta.url", "''")
    // An instance that trapped is thrown away: nobody asks it again.
    .replace(/getOrCreateAsyncState\(\d+\)\.throwIfTrapped\(\);/g, "")
    .replace(
      /if \(getOrCreateAsyncState\(\d+\)\.markTrapped\(e\)\) \{ throw e; \}/g,
      "if (e instanceof WebAssemblyRuntimeError) { throw e; }",
    );
  const glue = shareGlue(pruneGlue(js));
  try {
    new Function("$enter", "$lift", "$again", "$Captured", glue);
  } catch (error) {
    throw changed((error as Error).message);
  }
  return glue;
}

const INTRINSIC_IMPORT =
  /^( +(?:'[^'\n]*'|[\w$]+): )((?:_guardMayLeave\(\d+, )?(trampoline\d+)\)?),$/gm;

/**
 * What the canonical ABI itself gives a core module (`resource.drop` and the like) is lowered as a
 * host function is: an invalid handle ends the guest, also where it catches exceptions.
 */
function lowerIntrinsics(body: string): string {
  return body.replace(
    INTRINSIC_IMPORT,
    (line, key: string, value: string, name: string) =>
      body.includes(`function ${name}(`) || body.includes(`const ${name} = r`)
        ? `${key}$lower("canon", (_state, ...args) => ${value}(...args)),`
        : line,
  );
}

/** An owned handle that the host is given: in a call that is made again it is gone already. */
const TAKEN_HANDLE = /^( *)(rscTableRemove\()/gm;
const LIFTED_LIST = /(var result\d+ = \[\];\s+)(?=for \(let i = 0; i < (len\d+); i\+\+\))/g;
const BOUNDED_LIST = /\$lift\(len\d+, len\d+\);\s*for \(let i = 0; i < len\d+; i\+\+\)/g;
const LIFTED_STRING =
  /(TEXT_DECODER_UTF8\.decode\(new Uint8Array\(memory\d+\.buffer, \w+, )(\w+)(\)\))/g;
const LIFTED_BYTES = /(new Uint8Array\(memory\d+\.buffer\.slice\((\w+), \2 \+ )(\w+)( \* 1\)\))/g;

/** Where the host's objects are kept that the guest has handles of, and how one is added. */
const CAPTURED_TABLE = /\b(captureTable\d+)\s*=\s*new Map\(\)/g;
const CAPTURED =
  /\b(\w+)\[symbolRscRep\] \|\| \+\+captureCnt(\d+);\s+captureTable\2\.set\(rep, \1\);/g;

const EXPORT = /^ +function [\w$]+\([^)]*\) \{\s+const hostProvided = false;/gm;
const EXPORT_TASK =
  /const \[task, _wasm_call_currentTaskID\] = createNewCurrentTask\(\{[^}]*\}\);\s+const started = task\.enterSync\(\);\s+if \(null!== null\) \{[^}]*\}/;
const EXPORT_ERROR =
  /if \(!task\.isResolvedState\(\)\) \{[^}]*\}\s+if \(!task\.isExited\(\)\) \{ task\.exit\(\{[^}]*\}\); \}\s+throw err;/;

/** The functions that the component exports; one of another form keeps its task. */
function reduceExports(body: string): string {
  const parts: string[] = [];
  let from = 0;
  for (const match of body.matchAll(EXPORT)) {
    const open = match.index + match[0].indexOf("{");
    const end = closing(body, open);
    let text = body.slice(match.index, end);
    const core = /entryFnName: '(\w+)'/.exec(text)?.[1];
    if (core === undefined) throw changed("an export does not name its core function");
    // The core function is whichever was lifted, its own name tells nothing.
    text = text.replace(new RegExp(`(?<![\\w$'])${core}\\(`), `$enter(${core}, `);
    if (!text.includes("$enter(")) throw changed("an export calls in another form");
    const whole = text;
    const keep = (text: string) => {
      parts.push(body.slice(from, match.index), text);
      from = end;
    };
    if (!EXPORT_TASK.test(text)) {
      keep(whole);
      continue;
    }
    text = text.replace(EXPORT_TASK, "").replace(IMPORT_ERROR, "throw err;")
      .replace(EXPORT_ERROR, "throw err;").replace(TASK_END, "");
    text = replaceEach(text, "_withGlobalCurrentTaskMeta({", (call) => {
      const at = call.indexOf("fn: () => {");
      if (at < 0) throw changed("an export has another form");
      const fn = call.slice(at + 4, closing(call, at + 10));
      return `((${fn})()`; // the closing bracket of the call remains
    });
    keep(/\btask\b/.test(text) ? whole : text);
  }
  parts.push(body.slice(from));
  return parts.join("");
}

/**
 * The glue of a core module of WASI 0.1, in the form of what {@link reduceGlue} makes of jco's:
 * there is nothing to lift and lower, the host's functions take the numbers themselves.
 */
export const MODULE_GLUE =
  `return function instantiate(getCoreModule, imports, instantiateCore, $lower) {
  const { bindMemory, ...functions } = imports["wasi_snapshot_preview1"];
  const lowered = {};
  for (const name in functions) {
    lowered[name] = $lower("wasi_snapshot_preview1#" + name, (_state, ...args) => functions[name](...args));
  }
  const core = getCoreModule("core");
  const { exports } = instantiateCore(core, { wasi_snapshot_preview1: lowered });
  if (exports.memory) bindMemory(exports.memory);
  return { "wasi:cli/run@0.1": { run: () => $enter(exports._start) } };
};`;

/** What the glue gives a core module in place of a host function; it calls `call(state, ...)`. */
export type Lower = (
  name: string,
  call: (state: unknown, ...args: unknown[]) => unknown,
  state: unknown,
) => ((...args: unknown[]) => unknown) | object;

/**
 * Called in place of the core function behind an export, with the lowered arguments. What it
 * returns is lifted.
 */
export type Enter = (core: unknown, ...args: number[]) => unknown;

/**
 * Called with the length of every string and byte list that is lifted, and with that of other
 * lists and the number of their elements; returns the length, or throws.
 */
export type Lift = (length: number, elements?: number) => number;

/** Whether a call that waited is made again, to be given its result. */
export type Again = () => boolean;

/** A component's exports by name: functions or instances of them. */
export type ComponentExports = Record<string, Record<string, (...args: unknown[]) => unknown>>;

/** The function in jco's output. Resolves when every core module is instantiated. */
export interface Instantiate {
  (
    getCoreModule: (name: string) => WebAssembly.Module,
    imports: Record<string, object>,
    instantiateCore: (
      module: WebAssembly.Module,
      imports: Record<string, Record<string, unknown>>,
    ) => { exports: Record<string, unknown> },
    lower: Lower,
  ): ComponentExports | Promise<ComponentExports>;
  /** Lets go of the instance that was at work last; there where glue is shared. */
  readonly leave?: () => void;
}

/**
 * Compiles reduced glue, once in a Worker; call the result for each instance.
 *
 * `new Function` because a compiled program cannot import `blob:` modules in a Worker that has no
 * permissions, and `data:` modules take ten times as long. The glue sees neither Deno, process nor
 * fetch.
 */
export function compileGlue(reduced: string, enter: Enter, lift: Lift, again: Again): Instantiate {
  const make = new Function(
    "$enter",
    "$lift",
    "$again",
    "$Captured",
    "process",
    "Deno",
    "fetch",
    reduced,
  );
  return make(enter, lift, again, Captured, undefined, undefined, undefined);
}
