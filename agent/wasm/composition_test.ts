import { componentWit, parse, print } from "../../tests/wasm_tools.ts";
import assert from "node:assert/strict";
import { compose, readComposition } from "./composition.ts";

const code = (text: string) => /^[a-z-]+$/.test(text) ? text : assert.fail(text);

/**
 * A component that imports and exports interfaces, each by a letter, with a function `f`; `types`
 * are the declarations of what it imports, by letter.
 */
function component(imports: string, exports: string, types: Record<string, string> = {}) {
  const of = (letter: string) => `a:b/${code(letter)}@1.0.0`;
  const plain = `(export "f" (func))`;
  return parse(`(component
    ${
    [...imports].map((name) => `(import "${of(name)}" (instance $${name} ${types[name] ?? plain}))`)
      .join("\n")
  }
    (core module $m (func (export "f")))
    (core instance $i (instantiate $m))
    (func $f (canon lift (core func $i "f")))
    (instance $all (export "f" (func $f)))
    ${[...exports].map((name) => `(export "${of(name)}" (instance $all))`).join("\n")})`);
}

const module = async (name: string, imports: string, exports: string) => ({
  name,
  bytes: await component(imports, exports),
});

/** Letters of what a component imports and exports, as the tools read it, which check all of it. */
async function border(bytes: Uint8Array): Promise<string> {
  const names = [...(await componentWit(bytes)).matchAll(/(import|export) a:b\/(.)@1.0.0;/g)];
  return names.map(([, kind, name]) => (kind === "import" ? "-" : "+") + name).sort().join("");
}

Deno.test("compose() gives components what others export, and imports the rest once", async () => {
  const socket = await component("xyz", "ab");
  const plugs = [await module("one", "zw", "x"), await module("two", "w", "yz")];
  const whole = compose(socket, plugs);
  assert.equal(await border(whole), "+a+b-w");
  const { parts, exports } = readComposition(whole);
  // The first plug needs the second.
  assert.deepEqual(parts.map(({ bytes }) => bytes), [plugs[1]!.bytes, plugs[0]!.bytes, socket]);
  const givers = parts.map(({ givers }) =>
    [...givers].map(([name, { from, name: as }]) => `${name[4]}=${from}.${as[4]}`).join(" ")
  );
  assert.deepEqual(givers, ["w=host.w", "z=0.z w=host.w", "x=1.x y=0.y z=0.z"]);
  assert.deepEqual([...exports.keys()], ["a:b/a@1.0.0", "a:b/b@1.0.0"]);
  assert.deepEqual([...exports.values()].map(({ from }) => from), [2, 2]);

  // What was composed is composed again, as one of the parts.
  const outer = compose(await component("aw", "c"), [{ name: "inner", bytes: whole }]);
  assert.equal(await border(outer), "+c-w");
  const nested = readComposition(outer);
  assert.equal(nested.parts.length, 4);
  assert.deepEqual([...nested.parts[3]!.givers.values()].map(({ from }) => from), [2, "host"]);
});

Deno.test("compose() asks for all that any part asks for of an interface", async () => {
  const entry = `(type $e' (record (field "k" (list u8)) (field "v" u32)))
    (export "entry" (type $e (eq $e')))`;
  const get = `(export "get" (func (param "k" (list u8)) (result (option (list u8)))))`;
  const scan = `${entry} (type $l (list $e)) (export "scan" (func (param "n" s8) (result $l)))`;
  const put = `${entry} (export "put" (func (param "e" $e) (result (result (error string)))))`;
  const rest = `(type $k' (enum "a" "b")) (export "k" (type $k (eq $k')))
    (type $v' (variant (case "none") (case "some" $k))) (export "v" (type $v (eq $v')))
    (type $f' (flags "x" "y")) (export "f" (type $f (eq $f')))
    (export "g" (func (param "v" $v) (param "f" $f) (result (tuple $k bool))))`;
  // More types than have indexes of one byte.
  const many = Array.from(
    { length: 100 },
    (_, i) =>
      `(type $t${i} (tuple${" u8".repeat(1 + i % 9)}))
     (export "many${i}" (func (param "t" $t${i})))`,
  ).join("\n");
  const socket = await component("xs", "a", { s: `${get} ${scan}` });
  const plug = {
    name: "one",
    bytes: await component("s", "x", { s: `${put} ${rest} ${get} ${many}` }),
  };
  const whole = compose(socket, [plug]);
  assert.equal(await border(whole), "+a-s");
  const text = await print(whole);
  const type = text.slice(0, text.indexOf("(import"));
  for (const name of ["get", "scan", "put", "g", "many99"]) {
    assert.equal(type.split(`"${name}" (func`).length, 2, `${name} is asked for once`);
  }
  assert.equal(type.split(`(export (;`).filter((part) => part.includes('"entry"')).length, 1);
});

Deno.test("compose() refuses modules that nobody needs, that need themselves, or do the same", async () => {
  const socket = await component("x", "a");
  const [x, x2, y, loop] = [
    await module("ex", "", "x"),
    await module("same", "", "x"),
    await module("why", "", "y"),
    await module("loop", "x", "xz"),
  ];
  assert.throws(() => compose(socket, [x, y]), /module why: it exports nothing that is imported/);
  assert.throws(() => compose(socket, [x, x2]), /module same: it exports .*x@1.0.0, as ex does/);
  assert.throws(() => compose(socket, [loop]), /module loop: it needs itself, for a:b\/x/);
  const bare = await parse(`(component (import "f" (func)))`);
  assert.throws(() => compose(bare, [x]), /imports f, which is no interface/);
});

Deno.test("readComposition() tells who gives what, under whichever name", async () => {
  const whole = await parse(`(component
    (import "a:b/w@1.0.0" (instance $w (export "f" (func))))
    (component $c
      (import "a:b/x@1.0.0" (instance (export "f" (func))))
      (core module $m))
    (instance (instantiate $c (with "a:b/x@1.0.0" (instance $w)))))`);
  const [part] = readComposition(whole).parts;
  assert.deepEqual([...part!.givers], [["a:b/x@1.0.0", { from: "host", name: "a:b/w@1.0.0" }]]);
  const c = "(component $c (core module))";
  const refused: [string, RegExp][] = [
    [`${c} (instance $i (instantiate $c)) (export "all" (instance $i))`, /exports all of a part/],
    [
      `${c} (component $d (import "x" (instance)) (core module)) (instance $i (instantiate $c))
       (instance (instantiate $d (with "x" (instance $i))))`,
      /gives all of a part as x/,
    ],
    [
      `(import "x" (instance $x (export "f" (func)))) (alias export $x "f" (func $f))
       (instance (export "f" (func $f)))`,
      /takes f out of an interface/,
    ],
    [
      `(import "x" (func $f)) (component $c (import "x" (func)) (core module))
       (instance (instantiate $c (with "x" (func $f))))`,
      /imports x, which is no interface/,
    ],
    ['(component $d) (export "m" (component $d))', /exports m, which is no interface/],
  ];
  for (const [text, message] of refused) {
    const bytes = await parse(`(component ${text})`);
    assert.throws(() => readComposition(bytes), { code: "unsupported", message }, text);
  }
  const deep = (n: number): string =>
    n === 0 ? "(core module)" : `(component $c ${deep(n - 1)}) (instance (instantiate $c))`;
  assert.equal(readComposition(await parse(`(component ${deep(10)})`)).parts.length, 1);
  await assert.rejects(
    async () => readComposition(await parse(`(component ${deep(40)})`)),
    /too deep/,
  );
  const wide = "(component $c (core module))" + "(instance (instantiate $c))".repeat(40);
  await assert.rejects(async () => readComposition(await parse(`(component ${wide})`)), /16 parts/);
});
