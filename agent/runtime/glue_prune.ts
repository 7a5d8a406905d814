/**
 * Makes reduced glue small, and shares it among the instances of a Worker.
 *
 * jco writes all of its library into every component's glue, and everything into the function
 * that makes an instance. {@link pruneGlue} takes out what is never used: nine tenths of it.
 * {@link shareGlue} moves the functions out to where they are made once in a Worker, so that an
 * instance costs its state and no more, and so that V8 keeps what it learned and optimised.
 *
 * A shared function reads the state of the instance that is at work from the variable `$`, which is
 * set wherever an instance enters the glue: by every import and every export. Glue never suspends
 * and host functions call no guest, so none is left before it returns. Glue that is not built as
 * expected is not shared, only pruned.
 *
 * @module
 */
import { qualify, type Statement, statementsOf, wordsOf } from "./glue_statements.ts";

const HEAD = /^return function instantiate\([^\n]*\) \{$/m;
const GENERATOR = /^let gen = \(function\* _initGenerator \(\) \{\n([\s\S]*)\n\}\)\(\);$/;

/** The same glue without the declarations that nothing of it uses. */
export function pruneGlue(glue: string): string {
  const head = HEAD.exec(glue);
  if (!head) return glue;
  const end = glue.lastIndexOf("}");
  const from = head.index + head[0].length;
  const body = keepUsed(statementsOf(glue.slice(from, end))).map((s) => s.text).join("\n");
  return `${glue.slice(0, from)}\n${body}\n${glue.slice(end)}`;
}

/**
 * One is used when its name stands anywhere in what is used, in a string or a comment too: too much
 * is kept rather than too little.
 */
function keepUsed(statements: readonly Statement[]): Statement[] {
  const declared = new Map<string, Statement[]>();
  for (const statement of statements) {
    if (statement.name === undefined) continue;
    const same = declared.get(statement.name);
    if (same) same.push(statement);
    else declared.set(statement.name, [statement]);
  }
  const kept = new Set<Statement>();
  const keep = (statement: Statement) => {
    if (kept.has(statement)) return;
    kept.add(statement);
    for (const word of wordsOf(statement.text)) declared.get(word)?.forEach(keep);
  };
  for (const statement of statements) if (statement.name === undefined) keep(statement);
  return statements.filter((s) => kept.has(s));
}

const FUNCTION =
  /^(?:function|class)\b|^(?:const|let)\s+[\w$]+\s*=\s*(?:function\b|(?:\([^()]*\)|[\w$]+) =>)/;
const CONSTANT =
  /^const\s+[\w$]+\s*=\s*(?:new Text|new Uint8Array\(new Uint16Array\(\[1\]\)|Symbol\b|Object\.|WebAssembly\.|[\d_]+n?(?: << \d+)?;|'[^'\n]*';)/;
const LOWERED =
  /^let (trampoline\d+) = \$lower\(("[^"\n]*"), \(_state, \.\.\.args\) => \((?:_checkMayLeave\((\d+)\), )?(_trampoline\d+)\(\.\.\.args\)\)\);$/;
const INTRINSIC =
  /\$lower\("canon", \(_state, \.\.\.args\) => (?:_guardMayLeave\((\d+), (trampoline\d+)\)|(trampoline\d+))\(\.\.\.args\)\)/g;
const IMPORTED = /^const \{([^{}]*)\} = (imports\['[^'\n]*'\]);$/;
const STATE = /^(?:const|let)\s+([\w$]+)\s*(?:;|=\s*([\s\S]*))$/;
const EXPORTS = /^const ([\w$]+) = \{\n([\s\S]*)\};$/;
const EXPORT = /^( *(?:'[^'\n]*'|[\w$]+): )([\w$]+),$/gm;

const INSTANCE_FLAGS_SET = /^\s*INSTANCE_FLAGS\.set\(\d+, instanceFlags\d+\);$/gm;

/** What only jco's own asynchronous library reads. */
function withoutTraces(text: string): string {
  let out = text;
  if (
    out.match(/\bHANDLE_TABLES\b/g)?.length ===
      (out.match(/\bHANDLE_TABLES\[\d+\] =/g)?.length ?? 0) + 1
  ) {
    out = out.replace(/^\s*HANDLE_TABLES\[\d+\] = handleTable\d+;$/gm, "");
  }
  // Without adapters between components nobody ever forbids an instance to be left.
  const flags = out.match(/\bINSTANCE_FLAGS\b/g)?.length ?? 0;
  const sets = out.match(INSTANCE_FLAGS_SET) ?? [];
  const read = "INSTANCE_FLAGS.get(componentIdx)?.value !== 1";
  const isAlone = sets.every((set) => {
    const name = /instanceFlags\d+/.exec(set)![0];
    return out.split(new RegExp(`\\b${name}\\b`)).length === 3;
  });
  if (isAlone && out.includes(read) && flags === sets.length + 2) {
    out = out.replace(INSTANCE_FLAGS_SET, "")
      .replace(/^\s*const instanceFlags\d+ = new WebAssembly\.Global\([^;]*;$/gm, "")
      .replace(/_checkMayLeave\(\d+\), /g, "")
      .replace(/_guardMayLeave\(\d+, (trampoline\d+)\)/g, "$1");
  }
  return out.replace(
    /^ *try \{\s*((?:realloc|postReturn)\d+Async) = WebAssembly\.promising\([^)]*\);\s*\} catch ?\(err\) \{\s*\1 = [^;]*;\s*\}$/gm,
    (whole, name: string) => out.split(new RegExp(`\\b${name}\\b`)).length === 4 ? "" : whole,
  );
}

/** Moves functions out of `instantiate`; gives pruned glue back as it is where it cannot. */
export function shareGlue(pruned: string): string {
  return share(pruned) ?? pruned;
}

function share(pruned: string): string | undefined {
  const glue = withoutTraces(pruned);
  const head = HEAD.exec(glue);
  if (!head) return;
  const outer = statementsOf(glue.slice(head.index + head[0].length, glue.lastIndexOf("}")));
  const at = outer.findIndex((s) => GENERATOR.test(s.text));
  if (at < 0) return;
  // What follows the generator only runs it, and it yields nothing that has to be waited for.
  const inner = statementsOf(GENERATOR.exec(outer[at]!.text)![1]!);
  const own = outer.slice(0, at).filter((s) => !/^if \(!getCoreModule\)/.test(s.text));
  const used = keepUsed([...own, ...inner]);

  const shared: string[] = [];
  const functions = new Set<string>();
  const state = new Set<string>();
  const locals = new Set<string>();
  const steps: string[] = [];
  const parameters = new Map<string, string>();
  for (const { text } of used) {
    const name = /^(?:async\s+)?(?:function\*?|const|let|class)\s+([\w$]+)/.exec(text)?.[1];
    if (name !== undefined && (functions.has(name) || state.has(name) || locals.has(name))) return;
    if (/^async\b|^function\*/.test(text)) return;
    if (FUNCTION.test(text)) {
      functions.add(name!);
      shared.push(text);
      const list = /^(?:const\s+[\w$]+ = )?function\s*[\w$]*\(([^)]*)\)/.exec(text)?.[1];
      if (list !== undefined) parameters.set(name!, list);
      continue;
    }
    if (CONSTANT.test(text)) {
      locals.add(name!);
      shared.push(text);
      continue;
    }
    const imported = IMPORTED.exec(text);
    if (imported) {
      const targets: string[] = [];
      for (const each of imported[1]!.split(",")) {
        const pair = /^\s*([\w$]+)(?:\s*:\s*([\w$]+))?\s*$/.exec(each);
        if (!pair) return;
        const local = pair[2] ?? pair[1]!;
        state.add(local);
        targets.push(`${pair[1]}: $.${local}`);
      }
      steps.push(`({ ${targets.join(", ")} } = ${imported[2]});`);
      continue;
    }
    steps.push(text);
    const exported = EXPORTS.exec(text);
    if (exported || LOWERED.test(text) || /^const module\d+ = getCoreModule\(/.test(text)) {
      locals.add(name!);
    } else if (name !== undefined) state.add(name);
  }

  const entries = new Set<string>();
  const enterBy = (target: string, component: string | undefined): string | undefined => {
    const list = parameters.get(target);
    if (list === undefined) return;
    const name = `$${target}`;
    const check = component === undefined ? "" : `_checkMayLeave(${component}), `;
    const separator = list === "" ? "" : ", ";
    entries.add(
      `const ${name} = ($state${separator}${list}) => ($ = $state, ${check}${target}(${list}));`,
    );
    return name;
  };
  const make: string[] = [];
  for (const step of steps) {
    if (
      /^_trampoline\d+\.fnName = /.test(step) || /^Promise\.all\(\[[^\]]*\]\)\.catch/.test(step)
    ) {
      continue;
    }
    const lowered = LOWERED.exec(step);
    if (lowered) {
      const entry = enterBy(lowered[4]!, lowered[3]);
      if (entry === undefined) return;
      make.push(`const ${lowered[1]} = $lower(${lowered[2]}, ${entry}, $state);`);
      continue;
    }
    let failed = false;
    let text = step.replace(INTRINSIC, (_, component?: string, guarded?: string, bare?: string) => {
      const entry = enterBy(guarded ?? bare!, component);
      failed ||= entry === undefined;
      return `$lower("canon", ${entry}, $state)`;
    });
    const exported = EXPORTS.exec(text);
    if (exported) {
      text = text.replace(EXPORT, (whole, key: string, target: string) => {
        const list = parameters.get(target);
        if (list === undefined) return whole; // found below
        const separator = list === "" ? "" : ", ";
        entries.add(
          `const $export_${target} = ($state${separator}${list}) => ($ = $state, ${target}(${list}));`,
        );
        return `${key}(${list}) => $export_${target}($state${separator}${list}),`;
      });
    }
    const isState = STATE.exec(text);
    if (isState && state.has(isState[1]!)) {
      if (isState[2] === undefined) continue; // undefined is what it begins with
      text = `${isState[1]} = ${isState[2]}`;
    }
    // A function of all instances that an instance gives away would run in whichever is at work.
    if (failed || qualify(text, functions) !== text) return;
    const qualified = text.startsWith("({ ") && text.includes(": $.") ? text : qualify(text, state);
    if (qualified === undefined) return;
    make.push(qualified.replace(/\byield (?=instantiateCore\(|module\d+\b)/g, ""));
  }
  const moved: string[] = [];
  for (const text of shared) {
    const qualified = qualify(text, state);
    if (qualified === undefined) return;
    moved.push(qualified);
  }
  if (make.some((text) => /\byield\b/.test(text))) return;
  return [
    glue.slice(0, head.index) + "let $;",
    ...moved,
    ...entries,
    `function State() {\n${[...state].map((name) => `this.${name} = undefined;`).join("\n")}\n}`,
    "instantiate.leave = () => { $ = undefined; };",
    "return instantiate;",
    "function instantiate(getCoreModule, imports, instantiateCore, $lower) {",
    "const $state = $ = new State();",
    ...make,
    "}",
    "",
  ].join("\n");
}
