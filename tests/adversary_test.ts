/**
 * Components that no compiler makes: names that are code, imports of what the host inherits,
 * handles that are not there, and entries that are named otherwise.
 *
 * @module
 */
import assert from "node:assert/strict";
import { parse } from "./wasm_tools.ts";
import type { Exit, Limits, Usage } from "../agent/kernel/ports.ts";
import { WorkerEngine } from "../agent/runtime/engine.ts";
import { FirstThread } from "../agent/runtime/first_thread.ts";
import { endOf, NO_GRANTS } from "./guest.ts";

const MIB = 1024 * 1024;
/** A disk that is full: nothing may depend on what is kept. */
const CACHE = {
  get: () => Promise.resolve(undefined),
  put: () => Promise.reject(new Error("no space left on device")),
};

/** In a Worker and in the first thread, an engine for a whole test: its transpiler takes a while. */
function withRun(
  test: (run: (wat: string, limits?: Partial<Limits>) => ReturnType<typeof runIn>) => Promise<void>,
) {
  return async () => {
    for (const host of [undefined, () => new FirstThread()]) {
      const engine = new WorkerEngine({ cache: CACHE, host });
      try {
        await test((wat, limits) => runIn(engine, wat, limits));
      } finally {
        await engine.close();
      }
    }
  };
}

async function runIn(
  engine: WorkerEngine,
  wat: string,
  limits: Partial<Limits> = {},
): Promise<{ exit: Exit; end: string; message: string; usage: Usage }> {
  const prepared = await engine.prepare(await parse(wat));
  const replica = await engine.start(prepared, {
    world: "wasi:cli/command",
    grants: NO_GRANTS,
    limits: { memoryBytesMax: 128 * MIB, timeoutMs: 20_000, ...limits },
    stdio: {
      terminal: { stdin: false, stdout: false, stderr: false },
      read: () => Promise.resolve(null),
      write: () => {},
    },
    notice: () => {},
  });
  const exit = await replica.exited;
  const message = exit.kind === "trap" ? exit.message : "";
  return { exit, end: endOf(exit), message, usage: replica.usage() };
}

const hex = (text: string) =>
  [...new TextEncoder().encode(text)].map((b) => `\\${b.toString(16).padStart(2, "0")}`).join("");

interface Parts {
  /** Imports of the component. */
  readonly imports?: string;
  /** Core functions made of them, and what the core module gets as "h". */
  readonly lowered?: string;
  readonly given?: string;
  /** The core module, which has a memory "l" "m" of 2 pages to import. */
  readonly core: string;
  /** The core function behind `run`. */
  readonly entry?: string;
}

/** A command; its libc is a memory and an allocator that always gives the same address. */
function command({ imports = "", lowered = "", given = "", core, entry = "go" }: Parts): string {
  return `(component ${imports}
    (core module $Libc (memory (export "m") 2)
      (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024))
    (core instance $l (instantiate $Libc))
    ${lowered}
    (core module $Main (import "l" "m" (memory 2)) ${core})
    (core instance $m (instantiate $Main (with "l" (instance $l))
      (with "h" (instance ${given}))))
    (func $run (result (result)) (canon lift (core func $m "${entry}")))
    (instance $i (export "run" (func $run)))
    (export "wasi:cli/run@0.2.0" (instance $i)))`;
}

const OK = `(func (export "go") (result i32) i32.const 0)`;
const STREAMS = `(import "wasi:io/streams@0.2.0" (instance $s
  (export "output-stream" (type $o (sub resource)))
  MORE))
  (alias export $s "output-stream" (type $stream))`;

Deno.test(
  "a core name that is JavaScript is refused, however it is written",
  withRun(async (run) => {
    const names = [
      `x': (() => { throw new Error("it ran") })(), 'x`,
      "x\\",
      "x\n'",
      "_debugLog(",
      "const _trampoline",
    ];
    for (const name of names) {
      const wat = `(component
      (core module $A (func (export "f")))
      (core instance $a (instantiate $A))
      (core instance $b (export "${hex(name)}" (func $a "f")))
      (core module $Main (import "b" "${hex(name)}" (func)) ${OK})
      (core instance $m (instantiate $Main (with "b" (instance $b))))
      (func $run (result (result)) (canon lift (core func $m "go")))
      (instance $i (export "run" (func $run)))
      (export "wasi:cli/run@0.2.0" (instance $i)))`;
      await assert.rejects(run(wat), { code: "unsupported" }, name);
    }
  }),
);

Deno.test(
  "a guest reaches no member that the host's objects inherit or keep to themselves",
  withRun(async (run) => {
    const refused = (wat: string) => assert.rejects(run(wat), { code: "unknown-import" });
    await refused(command({
      imports: STREAMS.replace(
        "MORE",
        `(export "[method]output-stream.value-of"
        (func (param "self" (borrow $o)) (result (own $o))))`,
      ) + `(import "wasi:cli/stdout@0.2.0" (instance $so (alias outer 1 $stream (type $q))
      (export "output-stream" (type $o2 (eq $q)))
      (export "get-stdout" (func (result (own $o2))))))`,
      lowered: `(core func $copy (canon lower (func $s "[method]output-stream.value-of")))
      (core func $open (canon lower (func $so "get-stdout")))`,
      given: `(export "copy" (func $copy)) (export "open" (func $open))`,
      core: `(import "h" "copy" (func $copy (param i32) (result i32)))
      (import "h" "open" (func $open (result i32)))
      (func (export "go") (result i32) (drop (call $copy (call $open))) i32.const 0)`,
    }));
    for (const member of ["[static]fields.constructor", "[static]fields.call"]) {
      await refused(command({
        imports: `(import "wasi:http/types@0.2.0" (instance $s
        (export "fields" (type $o (sub resource)))
        (export "${member}" (func (param "a" string) (result u32)))))`,
        lowered: `(core func $f (canon lower (func $s "${member}") (memory $l "m")
        (realloc (func $l "realloc"))))`,
        given: `(export "f" (func $f))`,
        core: `(import "h" "f" (func $f (param i32 i32) (result i32)))
        (func (export "go") (result i32)
          (drop (call $f (i32.const 0) (i32.const 1))) i32.const 0)`,
      }));
    }
    await refused(command({
      imports: `(import "wasi:cli/environment@0.2.0" (instance $s
      (export "constructor" (func (param "a" u32) (result u32)))))`,
      lowered: `(core func $f (canon lower (func $s "constructor")))`,
      given: `(export "f" (func $f))`,
      core: `(import "h" "f" (func $f (param i32) (result i32))) ${OK}`,
    }));
  }),
);

Deno.test(
  "to drop a handle that is not there ends the guest, also where it catches",
  withRun(async (run) => {
    for (const handle of [77, 0, -1, 0x7fff_ffff]) {
      const { end, message } = await run(command({
        imports: STREAMS.replace("MORE", ""),
        lowered: `(core func $drop (canon resource.drop $stream))`,
        given: `(export "drop" (func $drop))`,
        core: `(import "h" "drop" (func $drop (param i32)))
        (func (export "go") (result i32)
          (block $caught (try_table (catch_all $caught) (call $drop (i32.const ${handle}))))
          (loop $spin (br $spin)) i32.const 0)`,
      }));
      assert.equal(end, "trap", `${handle}`);
      assert.match(message, /handle/i);
    }
  }),
);

Deno.test(
  "a component that imports no resource is linked",
  withRun(async (run) => {
    const { end } = await run(command({
      imports: `(import "wasi:random/insecure@0.2.0" (instance $s
      (export "get-insecure-random-u64" (func (result u64)))))`,
      lowered: `(core func $f (canon lower (func $s "get-insecure-random-u64")))`,
      given: `(export "f" (func $f))`,
      core: `(import "h" "f" (func $f (result i64)))
      (func (export "go") (result i32) (drop (call $f)) i32.const 0)`,
    }));
    assert.equal(end, "exit 0");
  }),
);

Deno.test(
  "the entry is the core function that was lifted, whatever its name and its neighbours'",
  withRun(async (run) => {
    const entry = "wasi:cli/run@0.2.0#run";
    const { end } = await run(command({
      core: `(func (export "${entry}") (param i64)) (func (export "go") (result i32) i32.const 1)
      (func (export "wasi:http/incoming-handler@0.2.0#handle") (result f32) f32.const 0)`,
    }));
    assert.equal(end, "exit 1");
    const spun = await run(
      command({ core: `(func (export "x") (result i32) (loop (br 0)) i32.const 0)`, entry: "x" }),
      {
        timeoutMs: 200,
      },
    );
    assert.equal(spun.end, "timeout");
  }),
);

Deno.test(
  "a Worker that sleeps off a debt of fuel is woken by the end, and books what it slept",
  withRun(async (run) => {
    const wat = `(component
    (core module $Main (func $spin (loop (br 0))) (start $spin) ${OK})
    (core instance $m (instantiate $Main))
    (func $run (result (result)) (canon lift (core func $m "go")))
    (instance $i (export "run" (func $run)))
    (export "wasi:cli/run@0.2.0" (instance $i)))`;
    const { end, usage } = await run(wat, { fuelPerSec: 1000, timeoutMs: 300 });
    assert.equal(end, "timeout");
    assert.ok(usage.throttledMs < 60_000, `${usage.throttledMs}`);
  }),
);

Deno.test(
  "a list that names the same bytes over and over is refused before the host has copied them",
  withRun(async (run) => {
    const { end, message } = await run(command({
      imports: `(import "wasi:http/types@0.2.0" (instance $s
        (export "fields" (type $o (sub resource)))
        (export "[static]fields.from-list" (func (param "a" (list (tuple string (list u8))))
          (result (result (own $o)))))))`,
      lowered: `(core func $f (canon lower (func $s "[static]fields.from-list")
        (memory $l "m") (realloc (func $l "realloc"))))`,
      given: `(export "f" (func $f))`,
      core: `(import "h" "f" (func $f (param i32 i32 i32)))
        (func (export "go") (result i32) (local $at i32)
          (drop (memory.grow (i32.const 62)))
          (local.set $at (i32.const 65536))
          (loop $next ;; 10,000 entries of 3 MB: 30 GB
            (i32.store offset=4 (local.get $at) (i32.const 3000000))
            (i32.store offset=12 (local.get $at) (i32.const 3000000))
            (local.set $at (i32.add (local.get $at) (i32.const 16)))
            (br_if $next (i32.lt_u (local.get $at) (i32.const 225536))))
          (call $f (i32.const 65536) (i32.const 10000) (i32.const 16)) i32.const 0)`,
    }));
    assert.equal(end, "trap");
    assert.match(message, /gives more than/);
  }),
);

Deno.test(
  "a loop of host calls that take long ends as soon as it is told to",
  withRun(async (run) => {
    const { end, usage } = await run(
      command({
        imports: `(import "wasi:random/insecure@0.2.0" (instance $s
          (export "get-insecure-random-bytes" (func (param "len" u64) (result (list u8))))))`,
        lowered: `(core func $f (canon lower (func $s "get-insecure-random-bytes")
          (memory $l "m") (realloc (func $l "realloc"))))`,
        given: `(export "f" (func $f))`,
        core: `(import "h" "f" (func $f (param i64 i32)))
          (func (export "go") (result i32)
            (loop $again (call $f (i64.const 60000) (i32.const 16)) (br $again)) i32.const 0)`,
      }),
      { timeoutMs: 200 },
    );
    assert.equal(end, "timeout");
    assert.ok(usage.runningMs < 10_000, `${usage.runningMs}`);
  }),
);

Deno.test("a function that an interface does not have is refused before anything starts", async () => {
  const engine = new WorkerEngine({ cache: CACHE });
  try {
    const wat = command({
      imports: `(import "wasi:random/insecure@0.2.0" (instance $s
      (export "get-insecure-luck" (func (result u64)))))`,
      lowered: `(core func $f (canon lower (func $s "get-insecure-luck")))`,
      given: `(export "f" (func $f))`,
      core: `(import "h" "f" (func $f (result i64))) ${OK}`,
    });
    await assert.rejects(engine.prepare(await parse(wat)), {
      code: "unknown-import",
      message: /wasi:random\/insecure@0.2.0#getInsecureLuck/,
    });
  } finally {
    await engine.close();
  }
});

Deno.test(
  "a list of lists in place of bytes is not kept, whatever type a component gives a function",
  withRun(async (run) => {
    // A thousand lists of 50,000 bytes, which all lie in one place.
    const lists = `(local $i i32)
      (loop $l
        (i32.store (i32.add (i32.const 65536) (i32.mul (local.get $i) (i32.const 8))) (i32.const 0))
        (i32.store (i32.add (i32.const 65540) (i32.mul (local.get $i) (i32.const 8))) (i32.const 50000))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $l (i32.lt_u (local.get $i) (i32.const 1000))))`;
    const { end, message } = await run(command({
      imports: `(import "wasi:http/types@0.2.0" (instance $s
        (export "fields" (type $f (sub resource)))
        (type $e (variant (case "invalid-syntax") (case "forbidden") (case "immutable")))
        (export "header-error" (type $ee (eq $e)))
        (export "[constructor]fields" (func (result (own $f))))
        (export "[method]fields.append" (func (param "self" (borrow $f)) (param "name" string)
          (param "value" (list (list u8))) (result (result (error $ee)))))))`,
      lowered: `(core func $new (canon lower (func $s "[constructor]fields")))
        (core func $append (canon lower (func $s "[method]fields.append") (memory $l "m")))`,
      given: `(export "new" (func $new)) (export "append" (func $append))`,
      core: `(import "h" "new" (func $new (result i32)))
        (import "h" "append" (func $append (param i32 i32 i32 i32 i32 i32)))
        (data (i32.const 100) "name")
        (func (export "go") (result i32) ${lists}
          (call $append (call $new) (i32.const 100) (i32.const 4) (i32.const 65536)
            (i32.const 1000) (i32.const 200))
          i32.const 0)`,
    }));
    assert.equal(end, "trap");
    assert.match(message, /fields\.append: it wants a list of bytes/);
  }),
);

Deno.test(
  "an exception that nothing catches ends the guest, and is called one",
  withRun(async (run) => {
    const core = `(tag $t) (func (export "go") (result i32) (throw $t))`;
    const { end, message } = await run(command({ core }));
    assert.deepEqual([end, message], ["trap", "an exception that nothing caught"]);
  }),
);

/** A command whose allocator is hostile: it gets four bytes of random from the host. */
const allocating = (realloc: string) =>
  `(component
    (import "wasi:random/insecure@0.2.0" (instance $s
      (export "get-insecure-random-bytes" (func (param "len" u64) (result (list u8))))))
    (import "wasi:cli/exit@0.2.0" (instance $e (export "exit" (func (param "status" (result))))))
    (core func $exit (canon lower (func $e "exit")))
    (core module $Libc
      (import "h" "exit" (func $exit (param i32)))
      (memory (export "m") 2)
      (func $deep (param i32) (result i32) (i32.add (call $deep (local.get 0)) (i32.const 1)))
      (func (export "realloc") (param i32 i32 i32 i32) (result i32) ${realloc}))
    (core instance $l (instantiate $Libc (with "h" (instance (export "exit" (func $exit))))))
    (core func $f (canon lower (func $s "get-insecure-random-bytes")
      (memory $l "m") (realloc (func $l "realloc"))))
    (core module $Main (import "h" "f" (func $f (param i64 i32)))
      (func (export "go") (result i32)
        (block $caught (try_table (catch_all $caught) (call $f (i64.const 4) (i32.const 16))))
        i32.const 0))
    (core instance $m (instantiate $Main (with "h" (instance (export "f" (func $f))))))
    (func $run (result (result)) (canon lift (core func $m "go")))
    (instance $i (export "run" (func $run)))
    (export "wasi:cli/run@0.2.0" (instance $i)))`;

Deno.test(
  "an allocator that spins, recurses, traps, exits or lies is the end of its guest alone",
  withRun(async (run) => {
    const ends: Record<string, string> = {};
    for (
      const [name, realloc] of Object.entries({
        spins: "(loop (br 0)) i32.const 0",
        recurses: "(call $deep (i32.const 0))",
        traps: "unreachable",
        exits: "(call $exit (i32.const 1)) i32.const 0",
        "gives what is not there": "i32.const -4",
        "gives what is not aligned": "i32.const 1023",
      })
    ) {
      // Time enough for the others, however busy the machine is.
      const limits = { timeoutMs: name === "spins" ? 400 : 60_000 };
      ends[name] = (await run(allocating(realloc), limits)).end;
    }
    assert.deepEqual(ends, {
      spins: "timeout",
      recurses: "trap",
      traps: "trap",
      exits: "exit 1",
      "gives what is not there": "trap",
      "gives what is not aligned": "exit 0",
    });
    assert.equal((await run(allocating("i32.const 1024"))).end, "exit 0");
  }),
);

Deno.test(
  "a guest that exits, traps or recurses before it was called is ended like any other",
  withRun(async (run) => {
    const start = (body: string) =>
      `(component
      (import "wasi:cli/exit@0.2.0" (instance $e (export "exit" (func (param "status" (result))))))
      (core func $exit (canon lower (func $e "exit")))
      (core module $Main (import "h" "exit" (func $exit (param i32)))
        (func $deep (param i32) (result i32) (i32.add (call $deep (local.get 0)) (i32.const 1)))
        (func $start ${body}) (start $start) ${OK})
      (core instance $m (instantiate $Main (with "h" (instance (export "exit" (func $exit))))))
      (func $run (result (result)) (canon lift (core func $m "go")))
      (instance $i (export "run" (func $run)))
      (export "wasi:cli/run@0.2.0" (instance $i)))`;
    assert.equal((await run(start("(call $exit (i32.const 1))"))).end, "exit 1");
    assert.equal((await run(start("unreachable"))).end, "trap");
    assert.equal((await run(start("(drop (call $deep (i32.const 0)))"))).end, "trap");
    assert.equal((await run(start("nop"))).end, "exit 0");
  }),
);
