/**
 * Components of WASI 0.2 that are made of others, as `wac plug` makes them: what is in them calls one
 * another as under wasmtime, but for what docs/differences.md lists, and ends as any guest does.
 *
 * @module
 */
import { parse } from "./wasm_tools.ts";
import assert from "node:assert/strict";
import { transpile } from "../agent/runtime/transpile.ts";
import { createEngine } from "../agent/local_engine.ts";
import { CACHE_FOLDER, endOf, NO_GRANTS } from "./guest.ts";

const RUN = `(func $run (result (result)) (canon lift (core func $i "go")))
  (instance $x (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $x))`;

/** A component that gives `len`, the bytes of a string and 100, to one whose `go` is `core`. */
const strings = (core: string) =>
  `(component
    (component $A
      (core module $m
        (memory (export "memory") 1)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1000)
        (func (export "f") (param i32 i32) (result i32)
          (i32.add (local.get 1) (i32.load8_u (local.get 0)))))
      (core instance $i (instantiate $m))
      (func $f (param "s" string) (result u32) (canon lift (core func $i "f")
        (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
      (export "f" (func $f)))
    (component $B
      (import "f" (func $f (param "s" string) (result u32)))
      (core module $lib (memory (export "memory") 1) (data (i32.const 10) "hello\\ff"))
      (core instance $l (instantiate $lib))
      (core func $c (canon lower (func $f) (memory (core memory $l "memory"))))
      (core module $m (import "a" "f" (func $f (param i32 i32) (result i32))) ${core})
      (core instance $i (instantiate $m (with "a" (instance (export "f" (func $c))))))
      ${RUN})
    (instance $a (instantiate $A))
    (instance $b (instantiate $B (with "f" (func $a "f"))))
    (export "wasi:cli/run@0.2.0" (instance $b "wasi:cli/run@0.2.0")))`;

/** The beginning of a component whose resource is made of a number, and tells it. */
const NUMBERED = `(type $r (resource (rep i32)))
      (core func $new (canon resource.new $r))
      (core module $m
        (import "r" "new" (func $new (param i32) (result i32)))
        (func (export "make") (param i32) (result i32) (call $new (local.get 0)))
        (func (export "get") (param i32) (result i32) (local.get 0))`;

/** One that makes a resource of a number, and tells the number, to one whose `go` is `core`. */
const resources = (core: string) =>
  `(component
    (component $A
      ${NUMBERED})
      (core instance $i (instantiate $m (with "r" (instance (export "new" (func $new))))))
      (export $x "r" (type $r))
      (func $make (param "n" u32) (result (own $x)) (canon lift (core func $i "make")))
      (func $get (param "r" (borrow $x)) (result u32) (canon lift (core func $i "get")))
      (export "make" (func $make))
      (export "get" (func $get)))
    (component $B
      (import "r" (type $r (sub resource)))
      (import "make" (func $make (param "n" u32) (result (own $r))))
      (import "get" (func $get (param "r" (borrow $r)) (result u32)))
      (core func $make' (canon lower (func $make)))
      (core func $get' (canon lower (func $get)))
      (core func $drop (canon resource.drop $r))
      (core module $m
        (import "a" "make" (func $make (param i32) (result i32)))
        (import "a" "get" (func $get (param i32) (result i32)))
        (import "a" "drop" (func $drop (param i32)))
        ${core})
      (core instance $i (instantiate $m (with "a" (instance
        (export "make" (func $make')) (export "get" (func $get')) (export "drop" (func $drop))))))
      ${RUN})
    (instance $a (instantiate $A))
    (instance $b (instantiate $B (with "r" (type $a "r")) (with "make" (func $a "make"))
      (with "get" (func $a "get"))))
    (export "wasi:cli/run@0.2.0" (instance $b "wasi:cli/run@0.2.0")))`;

/**
 * One whose `go` is `core` makes a resource of a number, and lends it to one whose `f` is `borrower`;
 * a third, whose it is, tells the number and takes the resource back.
 */
const lends = (borrower: string, core: string) =>
  `(component
    (component $A
      ${NUMBERED}
        (func (export "take") (param i32)))
      (core instance $i (instantiate $m (with "r" (instance (export "new" (func $new))))))
      (export $x "r" (type $r))
      (func (export "make") (param "n" u32) (result (own $x)) (canon lift (core func $i "make")))
      (func (export "get") (param "r" (borrow $x)) (result u32) (canon lift (core func $i "get")))
      (func (export "take") (param "r" (own $x)) (canon lift (core func $i "take"))))
    (component $C
      (import "r" (type $r (sub resource)))
      (import "get" (func $get (param "r" (borrow $r)) (result u32)))
      (import "take" (func $take (param "r" (own $r))))
      (core func $get' (canon lower (func $get)))
      (core func $take' (canon lower (func $take)))
      (core func $drop (canon resource.drop $r))
      (core module $m
        (import "a" "get" (func $get (param i32) (result i32)))
        (import "a" "take" (func $take (param i32)))
        (import "a" "drop" (func $drop (param i32)))
        (global $kept (mut i32) (i32.const 0))
        (func (export "f") (param i32) (result i32) ${borrower})
        (func (export "both") (param i32 i32) (result i32) (call $drop (local.get 0)) i32.const 0)
        (func (export "use") (result i32) (call $get (global.get $kept))))
      (core instance $i (instantiate $m (with "a" (instance
        (export "get" (func $get')) (export "take" (func $take')) (export "drop" (func $drop))))))
      (func (export "f") (param "r" (borrow $r)) (result u32) (canon lift (core func $i "f")))
      (func (export "both") (param "lent" (borrow $r)) (param "given" (own $r)) (result u32)
        (canon lift (core func $i "both")))
      (func (export "use") (result u32) (canon lift (core func $i "use"))))
    (component $B
      (import "r" (type $r (sub resource)))
      (import "make" (func $make (param "n" u32) (result (own $r))))
      (import "f" (func $f (param "r" (borrow $r)) (result u32)))
      (import "both" (func $both (param "lent" (borrow $r)) (param "given" (own $r)) (result u32)))
      (import "use" (func $use (result u32)))
      (core func $make' (canon lower (func $make)))
      (core func $f' (canon lower (func $f)))
      (core func $both' (canon lower (func $both)))
      (core func $use' (canon lower (func $use)))
      (core func $drop (canon resource.drop $r))
      (core module $m
        (import "a" "make" (func $make (param i32) (result i32)))
        (import "a" "f" (func $f (param i32) (result i32)))
        (import "a" "both" (func $both (param i32 i32) (result i32)))
        (import "a" "use" (func $use (result i32)))
        (import "a" "drop" (func $drop (param i32)))
        (func (export "go") (result i32) (local $h i32)
          (local.set $h (call $make (i32.const 4242)))
          ${core}))
      (core instance $i (instantiate $m (with "a" (instance
        (export "make" (func $make')) (export "f" (func $f'))
        (export "both" (func $both')) (export "use" (func $use')) (export "drop" (func $drop))))))
      ${RUN})
    (instance $a (instantiate $A))
    (instance $c (instantiate $C (with "r" (type $a "r")) (with "get" (func $a "get"))
      (with "take" (func $a "take"))))
    (instance $b (instantiate $B (with "r" (type $a "r")) (with "make" (func $a "make"))
      (with "f" (func $c "f")) (with "both" (func $c "both")) (with "use" (func $c "use"))))
    (export "wasi:cli/run@0.2.0" (instance $b "wasi:cli/run@0.2.0")))`;

/** How each of these ends: its status, or code and message. */
async function ends(...components: string[]): Promise<string[]> {
  const engine = createEngine(CACHE_FOLDER);
  try {
    const ends: string[] = [];
    for (const component of components) {
      const replica = await engine.start(await engine.prepare(await parse(component)), {
        world: "wasi:cli/command",
        grants: NO_GRANTS,
        limits: { memoryBytesMax: 16 * 1024 * 1024, timeoutMs: 60_000 },
        stdio: {
          terminal: { stdin: false, stdout: false, stderr: false },
          read: () => Promise.resolve(null),
          write: () => {},
        },
        notice: () => {},
      });
      const exit = await replica.exited;
      ends.push(exit.kind === "trap" ? `${exit.code}: ${exit.message}` : endOf(exit));
    }
    return ends;
  } finally {
    await engine.close();
  }
}

const asks = (length: number, wanted: number) =>
  `(func (export "go") (result i32)
    (i32.ne (call $f (i32.const 10) (i32.const ${length})) (i32.const ${wanted})))`;

Deno.test("a component passes strings to another, and its own resources back and forth", async () => {
  const lent = (wanted: number) =>
    `(func (export "go") (result i32) (local $i i32) (local $kept i32) (local $h i32)
      (local.set $kept (call $make (i32.const 70000)))
      (loop $l
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (local.set $h (call $make (local.get $i)))
        (if (i32.ne (call $get (local.get $h)) (local.get $i)) (then unreachable))
        (call $drop (local.get $h))
        (br_if $l (i32.lt_u (local.get $i) (i32.const 5000))))
      (i32.ne (call $get (local.get $kept)) (i32.const ${wanted})))`;
  assert.deepEqual(
    await ends(
      strings(asks(5, 109)),
      strings(asks(5, 110)),
      resources(lent(70_000)),
      resources(lent(70_001)),
    ),
    ["exit 0", "exit 1", "exit 0", "exit 1"],
  );
});

Deno.test("what is no UTF-8 passes to no other component, and a caller that catches ends, too", async () => {
  const caught = (length: number) =>
    `(func (export "go") (result i32)
      (block $caught (try_table (catch_all $caught)
        (drop (call $f (i32.const 10) (i32.const ${length})))))
      i32.const 0)`;
  const [fine, ...ended] = await ends(
    strings(caught(5)),
    strings(caught(6)),
    strings(caught(70_000)),
  );
  assert.equal(fine, "exit 0");
  for (const end of ended) assert.match(end, /^trap: /);
});

Deno.test("handles of a component's own resources are bounded, and nothing is kept of dropped ones", async () => {
  const hoards = `(func (export "go") (result i32)
    (loop $l (drop (call $make (i32.const 5))) (br $l)) unreachable)`;
  assert.deepEqual(await ends(resources(hoards)), ["trap: more than 1024 handles"]);
  const { glue } = await transpile(await parse(resources(hoards)));
  assert.doesNotMatch(glue, /_createdReps|BORROWS\.push/);
  const passes = (await transpile(await parse(strings(asks(5, 0))))).glue;
  assert.match(passes, /\(from_ptr, len, to_ptr\) \{\s+\$lift\(len\)/);
});

Deno.test("what is lent is gone by the end of the call, and stays as long as it is lent", async () => {
  const dropped = "(call $drop (local.get 0))";
  const got = "(call $get (local.get 0))";
  const kept = "(global.set $kept (local.get 0))";
  const tells = (then = "") =>
    `(if (i32.ne (call $f (local.get $h)) (i32.const 4242)) (then unreachable)) ${then}`;
  const used = "(call $drop (local.get $h)) (i32.ne (call $use) (i32.const 4242))";
  const caught = (what: string) => `(block $caught (try_table (catch_all $caught) (drop ${what})))`;
  assert.deepEqual(
    await ends(
      lends(
        `(drop ${got}) ${got} ${dropped}`,
        tells(tells(`${dropped.replace("0", "$h")} (i32.const 0)`)),
      ),
      lends(`${kept} (i32.const 4242)`, tells(used)),
      lends(`${kept} (i32.const 4242)`, `${caught("(call $f (local.get $h))")} ${used}`),
      lends(`(call $take (local.get 0)) (i32.const 4242)`, tells(used)),
      lends(`${dropped} (i32.const 0)`, "(call $both (local.get $h) (local.get $h))"),
    ),
    [
      "exit 0",
      "trap: a handle is kept that was lent for a call",
      "trap: a handle is kept that was lent for a call",
      "trap: a handle is given away that was only lent",
      "trap: a handle is given away that is lent",
    ],
  );
});
