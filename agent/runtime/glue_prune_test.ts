import assert from "node:assert/strict";
import { Captured } from "./captured.ts";
import { compileGlue } from "./glue.ts";
import { pruneGlue, shareGlue } from "./glue_prune.ts";
import { transpile } from "./transpile.ts";
import "../../tests/wasm_glue.ts";

/** In the form of what jco writes and `glue.ts` reduces: a counter of calls, in and out. */
const GLUE = `
return function instantiate(getCoreModule, imports, instantiateCore, $lower) {
  class Unused {
    text = \`\${"}"}\`; // }
  }
  const usedByUnused = new Map();
  function alsoUnused() { return [Unused, usedByUnused]; }
  let calls = [];
  function note(what) {
    calls.push(what);
    return { calls: calls.length, what };
  }
  if (!getCoreModule) getCoreModule = (name) => name;
  const module0 = getCoreModule('core');
  const { tell, Error: Error$1 } = imports['host'];
  let gen = (function* _initGenerator () {
  let exports0;
  const table1 = [0];
  const _trampoline0 = function(arg0) {
    table1.push(arg0);
    return tell(note(arg0).calls, table1.length);
  }
  _trampoline0.fnName = 'host#tell';
  let runCore;
  function run(arg0) {
    return $enter(runCore, arg0, note('run').calls);
  }
  let trampoline0 = $lower("host#tell", (_state, ...args) => (_trampoline0(...args)));
  Promise.all([module0]).catch(() => {});
  ({ exports: exports0 } = yield instantiateCore(yield module0, {
    host: { tell: trampoline0 },
  }));
  runCore = exports0.run;
  const run020 = {
    run: run,
  };
  return { 'wasi:cli/run@0.2.0': run020 };
})();
  let promise;
  function runNext(value) { return gen.next(value); }
  const maybeSyncReturn = runNext(null);
  return promise || maybeSyncReturn;
};
`;

/** Makes instances of the glue; each tells its own host. */
function instances(glue: string, count: number) {
  const entered: unknown[][] = [];
  const instantiate = compileGlue(
    glue,
    (...call) => entered.push(call),
    (length) => length,
    () => false,
  );
  const made = Array.from({ length: count }, (_, index) => {
    const told: unknown[][] = [];
    let core: Record<string, (arg: unknown) => unknown> = {};
    const exports = instantiate(
      () => ({}) as WebAssembly.Module,
      { host: { tell: (...args: unknown[]) => (told.push(args), index), Error } },
      (_, imports) => {
        core = imports.host as typeof core;
        return { exports: { run: `core ${index}` } };
      },
      (_, call, state) => (...args: unknown[]) => call(state, ...args),
    ) as Record<string, { run: (arg: unknown) => unknown }>;
    return { told, core, run: exports["wasi:cli/run@0.2.0"]!.run };
  });
  return { made, entered, instantiate };
}

Deno.test("pruneGlue() drops what nothing uses, however it is written", () => {
  const pruned = pruneGlue(GLUE);
  for (const name of ["Unused", "usedByUnused", "alsoUnused"]) assert(!pruned.includes(name), name);
  for (const name of ["note", "module0", "runNext"]) assert(pruned.includes(name), name);
});

Deno.test("shareGlue() gives each instance its own state, whichever called last", () => {
  const shared = shareGlue(pruneGlue(GLUE));
  assert(shared.startsWith("\nlet $;"), shared);
  const { made: [a, b], entered, instantiate } = instances(shared, 2);
  assert.equal(a!.core.tell!("x"), 0);
  assert.equal(b!.core.tell!("y"), 1);
  assert.equal(a!.core.tell!("z"), 0);
  assert.deepEqual(a!.told, [[1, 2], [2, 3]]);
  assert.deepEqual(b!.told, [[1, 2]]);
  b!.run(7);
  a!.run(8);
  assert.deepEqual(entered, [["core 1", 7, 2], ["core 0", 8, 3]]);
  instantiate.leave!();
  assert.equal(b!.core.tell!("after"), 1);
});

Deno.test("shareGlue() leaves glue alone in which it is not sure what a name means", () => {
  const pruned = pruneGlue(GLUE);
  const unsure: Record<string, [string, string]> = {
    "a local of the name of a state": ["table1.push(arg0);", "{ const calls = 1; calls; }"],
    "a property that is short for one": ["what };", "what, table1 };"],
    "a function that is given away": ["host: { tell: trampoline0 }", "host: { tell: note }"],
    "an import that is lowered otherwise": ["(_state, ...args) =>", "(state, ...args) =>"],
    "a value that has to be waited for": ["runCore = exports0.run", "runCore = yield exports0.run"],
  };
  for (const [what, [from, to]] of Object.entries(unsure)) {
    const glue = pruned.replace(from, to);
    assert.notEqual(glue, pruned, what);
    assert.equal(shareGlue(glue), glue, what);
  }
});

Deno.test("the glue of every kind of fixture is shared", async () => {
  for (const name of ["hello", "files", "open-all", "fork-handles", "http-counter"]) {
    const file = new URL(`../../fixtures/${name}.wasm`, import.meta.url);
    const { glue } = await transpile(await Deno.readFile(file));
    assert(glue.includes("\nlet $;\n"), name);
  }
});

Deno.test("a handle that was dropped leads to no object, also not to one that came after it", async () => {
  const file = new URL("../../fixtures/http-hello.wasm", import.meta.url);
  const { glue } = await transpile(await Deno.readFile(file));
  const functions = ["Own", "Remove"].map((name) => {
    const from = glue.search(new RegExp(`^function rscTable(Create)?${name}\\(`, "m"));
    return glue.slice(from, glue.indexOf("\n  }\n", from) + 4);
  });
  const { create, remove } = new Function(
    `const T_FLAG = 1 << 30; ${functions.join("\n")}
    return { create: rscTableCreateOwn, remove: rscTableRemove };`,
  )() as {
    create(table: number[], rep: number): number;
    remove(table: number[], handle: number): { rep: number };
  };
  const captured = new Captured();
  const table = [1 << 30, 0];
  const at = (handle: number) => captured.get(table[(handle << 1) + 1]! & ~(1 << 30));
  const [first, second] = ["first", "second"].map((name) =>
    create(table, captured.add({ name }))
  ) as [number, number];
  const reps = [first, second].map((handle) => remove(table, handle).rep);
  for (const rep of reps.reverse()) captured.delete(rep);
  const later = create(table, captured.add({ name: "later" }));
  assert.equal(later, second);
  assert.deepEqual([at(first), at(later)], [undefined, { name: "later" }]);
});
