import assert from "node:assert/strict";
import { parse } from "../../tests/wasm_tools.ts";
import { bypassShims } from "./glue_shims.ts";
import { transpile } from "./transpile.ts";
import "../../tests/wasm_glue.ts";

const GLUE = `function State() {
this.exports0 = undefined;
this.exports1 = undefined;
this.exports2 = undefined;
}
function instantiate(getCoreModule, imports, instantiateCore, $lower) {
const $state = $ = new State();
const module0 = getCoreModule('main');
const module1 = getCoreModule('shim');
const module2 = getCoreModule('fixup');
const trampoline3 = $lower("a", $_trampoline3, $state);
const trampoline4 = $lower("b", $_trampoline4, $state);
({ exports: $.exports0 } = instantiateCore(module1));
({ exports: $.exports1 } = instantiateCore(module0, {
    host: {
      a: $.exports0['0'],
      b: $.exports0.b,
    },
  }));
$.memory0 = $.exports1.memory;
({ exports: $.exports2 } = instantiateCore(module2, {
    '': {
      $imports: $.exports0.$imports,
      '0': trampoline3,
      '1': trampoline4,
    },
  }));
return {};
}
`;

const CORES = Promise.all(
  Object.entries({
    main: `(module (memory (export "memory") 1))`,
    shim: `(module (type (func (param i32))) (table 2 2 funcref)
    (export "0" (func 0)) (export "b" (func 1)) (export "$imports" (table 0))
    (func (type 0) local.get 0 i32.const 1 call_indirect (type 0))
    (func (type 0) local.get 0 i32.const 0 call_indirect (type 0)))`,
    fixup: `(module (type (func (param i32))) (import "" "0" (func (type 0)))
    (import "" "1" (func (type 0))) (import "" "$imports" (table 2 2 funcref))
    (elem (i32.const 0) func 1 0))`,
  }).map(async ([name, wat]) => [name, await parse(wat)] as const),
);

Deno.test("bypassShims() gives the code the host's functions themselves", async () => {
  const { glue, cores } = bypassShims(GLUE, await CORES);
  assert.deepEqual(cores.map(([name]) => name), ["main"]);
  assert.match(glue, /a: trampoline3,\n\s+b: trampoline4,/);
  assert.doesNotMatch(glue, /exports0|exports2|module1|module2|fixup|shim/);
  assert.match(glue, /memory0 = \$\.exports1\.memory;\nreturn \{\};/);
});

Deno.test("bypassShims() leaves glue as it is where anything is not as expected", async () => {
  const cores = await CORES;
  const others = {
    "another use of the shim": GLUE.replace("return {}", "return $.exports0['0']()"),
    "another use of the table": GLUE.replace("return {}", "return $.exports0.$imports"),
    "another use of the fixup": GLUE.replace("return {}", "return $.exports2"),
    "a second instance of it": GLUE.replace("return", "$.x = instantiateCore(module1);\nreturn"),
    "a function of another module": GLUE.replace("'1': trampoline4", "'1': $.exports1.f"),
    "a function that is made later": GLUE.replace(/^const trampoline4.*\n/m, "")
      .replace("return", 'const trampoline4 = $lower("b", $_trampoline4, $state);\nreturn'),
    "a function that is not there": GLUE.replace("      '1': trampoline4,\n", ""),
    "another table": GLUE.replace("$imports: $.exports0.$imports", "$imports: $.exports0.other"),
    "a table of another module": GLUE.replace("$.exports0.$imports", "$.exports1.$imports"),
    "two namespaces": GLUE.replace(
      "'1': trampoline4,\n    },",
      "'1': trampoline4,\n    },\n    x: {\n    },",
    ),
  };
  for (const [what, glue] of Object.entries(others)) {
    assert.notEqual(glue, GLUE, what);
    assert.equal(bypassShims(glue, cores).glue, glue, what);
  }
  const swapped = cores.map(([name], i) => [name, cores[[0, 2, 1][i]!]![1]] as const);
  assert.equal(bypassShims(GLUE, swapped).glue, GLUE, "modules that are none");
  const typed = await parse(`(module (type (func (param i64))) (import "" "0" (func (type 0)))
    (import "" "1" (func (type 0))) (import "" "$imports" (table 2 2 funcref))
    (elem (i32.const 0) func 1 0))`);
  const other = cores.map(([name, core]) => [name, name === "fixup" ? typed : core] as const);
  assert.equal(bypassShims(GLUE, other).glue, GLUE, "other types");
});

Deno.test("bypassShims() leaves one core module of what Rust's tools make", async () => {
  const file = new URL("../../fixtures/hello.wasm", import.meta.url);
  const { modules, glue } = await transpile(await Deno.readFile(file));
  assert.equal(Object.keys(modules).length, 1);
  assert.equal(glue.match(/instantiateCore\(module/g)?.length, 1);
});
