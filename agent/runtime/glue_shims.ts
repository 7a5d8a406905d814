/**
 * Leaves out the core modules between a component's code and the host's functions.
 *
 * Tools put them there (`wasm/shim.ts`) because the canonical ABI wants to know of a memory before
 * it makes a function that passes values in it. Glue finds the memory when it is called. Without
 * them an instance is two core modules less, of some kB each, and every call of the host two calls.
 *
 * As in `glue.ts`, glue in which anything is not as expected is left as it is.
 *
 * @module
 */
import { readFixup, readShim } from "../wasm/shim.ts";

/** Of a component that has more, only those at its beginning are looked at. */
const MODULES_MAX = 64;

type Cores = readonly (readonly [string, Uint8Array])[];

const LINKED =
  /^\(\{ exports: \$\.exports(\d+) \} = instantiateCore\((module\d+)(?:, \{\n([\s\S]*?)\n\s*\})?\)\);\n/gm;
const MODULE = /^const (module\d+) = getCoreModule\('([^'\n]+)'\);$/gm;
const ARGUMENTS = /^\s*(?:'([^'\n]*)'|([\w$]+)): \{\n([\s\S]*)\n\s*\},$/;
const ARGUMENT = /^\s*(?:'([^'\n]*)'|([\w$]+)): (.*),$/;

/** The one namespace that a core module is given: its name, and what is in it. */
function argumentsOf(text: string): { of: string; given: Map<string, string> } | undefined {
  const found = ARGUMENTS.exec(text);
  if (!found) return;
  const given = new Map<string, string>();
  for (const line of found[3]!.split("\n")) {
    const argument = ARGUMENT.exec(line);
    if (!argument) return;
    given.set((argument[1] ?? argument[2])!, argument[3]!);
  }
  return { of: (found[1] ?? found[2])!, given };
}

/** The same without pairs of shim and fixup; `glue` is of `shareGlue()`. */
export function bypassShims(glue: string, cores: Cores): { glue: string; cores: Cores } {
  const files = new Map<string, string>();
  for (const [, name, file] of glue.matchAll(MODULE)) files.set(name!, file!);
  const linked = [...glue.matchAll(LINKED)];
  const bytesOf = (module: string) => cores.find(([name]) => name === files.get(module))?.[1];
  const made = glue.slice(0, linked[0]?.index ?? 0);
  for (const fixup of linked.slice(0, MODULES_MAX)) {
    const number = /: \$\.exports(\d+)\b/.exec(fixup[3] ?? "")?.[1];
    const shim = linked.find((each) => each[1] === number && each[3] === undefined);
    const passed = shim && passedOn(shim, fixup, bytesOf);
    // What is passed on has to be there before any code is.
    if (!passed || ![...passed.values()].every((name) => made.includes(`\nconst ${name} = `))) {
      continue;
    }
    const without = leaveOut(glue, shim, fixup, passed);
    if (without === undefined) continue;
    glue = without;
    const gone = [shim, fixup].map(([, , module]) => files.get(module!));
    cores = cores.filter(([name]) => !gone.includes(name));
  }
  return { glue, cores };
}

/** What a shim's functions are in the end, by their names, if the fixup is that of the shim. */
function passedOn(
  [, shimExports, shimModule]: RegExpExecArray,
  [, , fixupModule, args]: RegExpExecArray,
  bytesOf: (module: string) => Uint8Array | undefined,
): ReadonlyMap<string, string> | undefined {
  const parsed = argumentsOf(args!);
  const table = [...parsed?.given ?? []].find(([, value]) =>
    value.startsWith(`$.exports${shimExports}.`) || value.startsWith(`$.exports${shimExports}[`)
  );
  const [shimBytes, fixupBytes] = [bytesOf(shimModule!), bytesOf(fixupModule!)];
  if (!parsed || !table || !shimBytes || !fixupBytes) return;
  const shim = readShim(shimBytes);
  const fixup = shim && readFixup(fixupBytes);
  if (!fixup || fixup.module !== parsed.of || fixup.table !== table[0]) return;
  if (
    table[1] !== `$.exports${shimExports}.${shim.table}` &&
    table[1] !== `$.exports${shimExports}['${shim.table}']`
  ) return;
  const passed = new Map<string, string>();
  for (const [name, { element, type }] of shim.functions) {
    const into = fixup.elements[element];
    const value = into && parsed.given.get(into.name);
    if (into?.type !== type || value === undefined || !/^trampoline\d+$/.test(value)) return;
    passed.set(name, value);
  }
  return passed;
}

/** Undefined where what they export is used in another way. */
function leaveOut(
  glue: string,
  shim: RegExpExecArray,
  fixup: RegExpExecArray,
  passed: ReadonlyMap<string, string>,
): string | undefined {
  let text = glue.replace(fixup[0], "").replace(shim[0], "");
  for (const [, number, module] of [shim, fixup]) {
    text = text.replace(new RegExp(`^const ${module} = getCoreModule\\([^\\n]*\\n`, "m"), "")
      .replace(`this.exports${number} = undefined;\n`, "");
  }
  // Only as what another core module imports: an export is called as one of a core module.
  text = text.replace(
    new RegExp(`(: )\\$\\.exports${shim[1]}(?:\\.([\\w$]+)|\\['([^'\\n]*)'\\])(?=,$)`, "gm"),
    (whole, key: string, plain?: string, quoted?: string) => {
      const name = passed.get((plain ?? quoted)!);
      return name === undefined ? whole : key + name;
    },
  );
  const isUsed = [shim, fixup].some(([, number, module]) =>
    new RegExp(`\\bexports${number}\\b|\\b${module}\\b`).test(text)
  );
  return isUsed ? undefined : text;
}
