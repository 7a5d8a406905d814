/**
 * Components of WebAssembly text that call the asynchronous canonical ABI themselves, as no
 * language tool would.
 *
 * @module
 */
import { parse } from "./wasm_tools.ts";

/** Functions of the canonical ABI by the names that {@link abiGuest} gives them. */
const CANON = {
  "return": ["task.return (result $r)", "(param i32)"],
  "cancelled": ["task.cancel", ""],
  "set": ["waitable-set.new", "(result i32)"],
  "drop-set": ["waitable-set.drop", "(param i32)"],
  "wait": ['waitable-set.wait (memory $m "memory")', "(param i32 i32) (result i32)"],
  "poll": ['waitable-set.poll (memory $m "memory")', "(param i32 i32) (result i32)"],
  "join": ["waitable.join", "(param i32 i32)"],
  "stream": ["stream.new $stream", "(result i64)"],
  "read": ['stream.read $stream (memory $m "memory") async', "(param i32 i32 i32) (result i32)"],
  "write": ['stream.write $stream (memory $m "memory") async', "(param i32 i32 i32) (result i32)"],
  "read-sync": ['stream.read $stream (memory $m "memory")', "(param i32 i32 i32) (result i32)"],
  "cancel-read": ["stream.cancel-read $stream", "(param i32) (result i32)"],
  "drop-readable": ["stream.drop-readable $stream", "(param i32)"],
  "drop-writable": ["stream.drop-writable $stream", "(param i32)"],
  "texts": ["stream.new $texts", "(result i64)"],
  "read-texts": [
    'stream.read $texts (memory $m "memory") (realloc (func $m "realloc")) async',
    "(param i32 i32 i32) (result i32)",
  ],
  "write-texts": [
    'stream.write $texts (memory $m "memory") async',
    "(param i32 i32 i32) (result i32)",
  ],
  "future": ["future.new $future", "(result i64)"],
  "read-future": ['future.read $future (memory $m "memory") async', "(param i32 i32) (result i32)"],
  "write-future": [
    'future.write $future (memory $m "memory") async',
    "(param i32 i32) (result i32)",
  ],
  "drop-future": ["future.drop-writable $future", "(param i32)"],
  "drop-call": ["subtask.drop", "(param i32)"],
  "cancel-call": ["subtask.cancel", "(param i32) (result i32)"],
  "inc": ["backpressure.inc", ""],
  "dec": ["backpressure.dec", ""],
  "yield": ["thread.yield", "(result i32)"],
  "arguments": [
    'lower (func $environment "get-arguments") (memory $m "memory") (realloc (func $m "realloc"))',
    "(param i32)",
  ],
  "output": ['lower (func $stdout "write-via-stream")', "(param i32) (result i32)"],
  "drop-output": ["future.drop-readable $written", "(param i32)"],
} as const;

/**
 * A command of which `run` is called, then `callback` for each event: bodies of functions that
 * return an `i32`, with `$s` and `$i` to keep something in, and the functions of {@link CANON}.
 * `realloc` is the body of its allocator, which may call `$set`.
 */
export async function abiGuest(
  run: string,
  callback = "unreachable",
  realloc = "(i32.const 1024)",
): Promise<Uint8Array> {
  const names = Object.keys(CANON) as (keyof typeof CANON)[];
  const locals = "(local $s i64) (local $i i32)";
  return await parse(`(component
  (import "wasi:cli/environment@0.3.0" (instance $environment
    (export "get-arguments" (func (result (list string))))))
  (import "wasi:cli/stdout@0.3.0" (instance $stdout
    (type $codes (enum "io" "illegal-byte-sequence" "pipe"))
    (export "error-code" (type $code (eq $codes)))
    (type $done (result (error $code)))
    (type $written (future $done))
    (type $bytes (stream u8))
    (export "write-via-stream" (func (param "data" $bytes) (result $written)))))
  (alias export $stdout "error-code" (type $code))
  (type $done (result (error $code)))
  (type $written (future $done))
  (type $r (result))
  (type $stream (stream u8))
  (type $texts (stream string))
  (type $future (future u8))
  (core func $early (canon waitable-set.new))
  (core module $memory
    (import "" "set" (func $set (result i32)))
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) ${realloc}))
  (core instance $m (instantiate $memory
    (with "" (instance (export "set" (func $early))))))
  ${names.map((name) => `(core func $${name} (canon ${CANON[name][0]}))`).join("\n  ")}
  (core module $main
    (import "m" "memory" (memory 1))
    ${names.map((name) => `(import "" "${name}" (func $${name} ${CANON[name][1]}))`).join("\n    ")}
    (func (export "run") (result i32) ${locals} ${run})
    (func (export "callback") (param $event i32) (param i32 i32) (result i32) ${locals} ${callback}))
  (core instance $i (instantiate $main (with "m" (instance $m)) (with "" (instance
    ${names.map((name) => `(export "${name}" (func $${name}))`).join(" ")}))))
  (func $f async (result (result))
    (canon lift (core func $i "run") async (callback (func $i "callback"))))
  (instance $e (export "run" (func $f)))
  (export "wasi:cli/run@0.3.0" (instance $e)))`);
}

/** One of several bodies for {@link abiGuest}: the one of which the number is that of arguments. */
export function oneOf(bodies: readonly string[]): string {
  const cases = bodies.map((body, i) =>
    `(if (i32.eq (local.get $i) (i32.const ${i})) (then (return (block (result i32) ${body}))))`
  );
  return `(call $arguments (i32.const 16)) (local.set $i (i32.load (i32.const 20)))
    (i64.store (i32.const 0) (i64.const 0)) ${cases.join("\n")} unreachable`;
}
