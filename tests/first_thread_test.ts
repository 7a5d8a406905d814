/**
 * What is particular to guests in the first thread. That all else is as in a Worker is told by the
 * suites that run in both (`THREADS` of `guest.ts`).
 *
 * @module
 */
import assert from "node:assert/strict";
import { hostInThisThread } from "../agent/first_thread.ts";
import type { Engine, Replica, Stdio } from "../agent/kernel/ports.ts";
import { createEngine } from "../agent/local_engine.ts";
import { FirstThread } from "../agent/runtime/first_thread.ts";
import { ReplicaHost } from "../agent/runtime/replica_host.ts";
import { NOTHING, spawn, WORKER } from "../agent/runtime/spawn.ts";
import { WorkerReplica } from "../agent/runtime/worker_replica.ts";
import { CACHE_FOLDER, endOf, fixture, type GuestOptions, NO_GRANTS, runGuest } from "./guest.ts";
import { parse } from "./wasm_tools.ts";

/** Spins before it is called, where no guest can be suspended. */
const SPINS_IN_START = `(module
  (memory (export "memory") 1)
  (func $spin (loop (br 0)))
  (start $spin)
  (func (export "_start")))`;

/** Asks for its arguments over and over; its allocator, which cannot be suspended, runs \`body\`. */
const allocating = (body: string) =>
  `(component
  (import "wasi:cli/environment@0.2.0" (instance $environment
    (export "get-arguments" (func (result (list string))))))
  (core module $Memory
    (memory (export "memory") 1)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $i i32)
      ${body}
      (i32.const 4096)))
  (core instance $memory (instantiate $Memory))
  (alias export $environment "get-arguments" (func $get))
  (core func $lowered (canon lower (func $get)
    (memory $memory "memory") (realloc (func $memory "cabi_realloc"))))
  (core module $Main
    (import "host" "get" (func $get (param i32)))
    (func (export "run") (result i32)
      (loop (call $get (i32.const 16)) (br 0))
      (i32.const 0)))
  (core instance $main (instantiate $Main
    (with "host" (instance (export "get" (func $lowered))))))
  (func $run (result (result)) (canon lift (core func $main "run")))
  (component $Run (import "run" (func $run (result (result)))) (export "run" (func $run)))
  (instance $command (instantiate $Run (with "run" (func $run))))
  (export "wasi:cli/run@0.2.0" (instance $command)))`;

/** Runs a command in this thread; what was said of the thread's hearing. */
async function runHere(name: string, options: GuestOptions) {
  const said: boolean[] = [];
  let hosted = 0;
  const engine = createEngine(CACHE_FOLDER, {
    host: () => {
      hosted++;
      return new FirstThread((isDeaf) => said.push(isDeaf));
    },
  });
  try {
    const result = await runGuest(engine, name, options);
    return { ...result, said, hosted };
  } finally {
    await engine.close();
  }
}

Deno.test("FirstThread says when a guest keeps it from hearing, and when that is over", async () => {
  const component = await parse(allocating("(loop (br 0))"));
  for (const limits of [{}, { fuelPerSec: 1_000 }]) {
    const { said, hosted, exit } = await runHere("spins", {
      component,
      grants: { args: ["spins"] },
      limits: { ...limits, timeoutMs: 500 },
    });
    assert.equal(endOf(exit), "timeout");
    assert.deepEqual([hosted, said], [1, [true, false]]);
  }
  const { said, exit } = await runHere("spin", { limits: { timeoutMs: 500 } });
  assert.equal(endOf(exit), "timeout");
  assert.deepEqual(said, []);
});

Deno.test("FirstThread gives all else its turn after each host call that takes long", async () => {
  const component = await parse(`(module
    (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
    (memory (export "memory") 1025)
    (func (export "_start")
      (loop (drop (call $random (i32.const 0) (i32.const 67108864))) (br 0))))`);
  const { exit, hosted, traces } = await runHere("random", {
    component,
    trace: true,
    stopAfterMs: 1,
  });
  assert.deepEqual([endOf(exit), hosted], ["stopped", 1]);
  // Sixteen small calls may pass between two looks.
  assert.ok(traces.length < 8, traces.join("\n"));
});

Deno.test("FirstThread hosts no guest whose code runs before it can be suspended", async () => {
  const { said, hosted, exit } = await runHere("spins", {
    component: await parse(SPINS_IN_START),
    limits: { timeoutMs: 500 },
  });
  assert.deepEqual([endOf(exit), hosted, said], ["timeout", 0, []]);
});

/** Starts a command in this thread. */
async function startHere(engine: Engine, name: string, stdio: Partial<Stdio>): Promise<Replica> {
  return await engine.start(await engine.prepare(await fixture(name)), {
    world: "wasi:cli/command",
    grants: NO_GRANTS,
    limits: { memoryBytesMax: 2 ** 28, timeoutMs: 30_000 },
    stdio: {
      terminal: { stdin: false, stdout: false, stderr: false },
      read: () => Promise.resolve(null),
      write: () => {},
      ...stdio,
    },
    notice: () => {},
  });
}

Deno.test("FirstThread lets timers fire beside a guest that spins, or whose waits are over at once", async () => {
  const engine = createEngine(CACHE_FOLDER, { host: () => new FirstThread() });
  try {
    for (const name of ["spin", "flood", "cat"]) {
      // What waits for promises only lets nobody else in.
      const read = () => Promise.resolve(new Uint8Array(1));
      const replica = await startHere(engine, name, { read });
      setTimeout(() => replica.stop(), 50);
      assert.equal(endOf(await replica.exited), "stopped", name);
    }
  } finally {
    await engine.close();
  }
});

Deno.test("FirstThread ends in the words of a Worker where the host fails", async () => {
  const failure = async (worker: ConstructorParameters<typeof WorkerReplica>[0]) => {
    const replica = new WorkerReplica(
      worker,
      {
        world: "wasi:cli/command",
        grants: NO_GRANTS,
        limits: { memoryBytesMax: 65_536 },
        stdio: {
          terminal: { stdin: false, stdout: false, stderr: false },
          read: () => Promise.resolve(null),
          write: () => {},
        },
        notice: () => {},
      },
      { locks: [], glue: "this is no glue", modules: {} },
      () => Promise.resolve([]),
      () => assert.fail("what failed is used again"),
    );
    return await replica.exited;
  };
  const here = await failure(new FirstThread());
  assert.equal(endOf(here), "failed");
  assert.deepEqual(here, await failure(spawn(WORKER, NOTHING)));
});

Deno.test("FirstThread ends in the words of a Worker where the host fails and nobody waits", async () => {
  const { run, receive } = ReplicaHost.prototype;
  const engine = createEngine(CACHE_FOLDER, { host: () => new FirstThread() });
  const fail = () => {
    throw new Error("broken");
  };
  try {
    // deno-lint-ignore require-await
    ReplicaHost.prototype.run = async () => fail();
    const never = await startHere(engine, "hello", {});
    ReplicaHost.prototype.run = run;
    const spinning = await startHere(engine, "spin", {});
    ReplicaHost.prototype.receive = fail;
    spinning.stop();
    for (const { exited } of [never, spinning]) {
      const exit = await exited;
      assert.equal(endOf(exit), "failed");
      assert.match(exit.kind === "trap" ? exit.message : "", /^its Worker failed: .*broken$/);
    }
  } finally {
    Object.assign(ReplicaHost.prototype, { run, receive });
    await engine.close();
  }
});

Deno.test("FirstThread ends a guest whose output cannot be taken, and says why", async () => {
  const engine = createEngine(CACHE_FOLDER, { host: () => new FirstThread() });
  try {
    const replica = await startHere(engine, "spin", {
      write: () => {
        throw new Error("no space left on device");
      },
    });
    const exit = await replica.exited;
    assert.equal(endOf(exit), "failed");
    assert.match(exit.kind === "trap" ? exit.message : "", /no space left on device/);
    const fuelUsed = () => replica.usage().fuelUsed;
    await new Promise((resolve) => setTimeout(resolve, 0));
    const used = fuelUsed();
    // Were it still there, it would run between these.
    for (let i = 0; i < 3; i++) await new Promise((resolve) => setTimeout(resolve, 0));
    assert.equal(fuelUsed(), used);
  } finally {
    await engine.close();
  }
});

Deno.test("hostInThisThread() runs a guest in a Worker where a permission is left", async () => {
  const asked: (readonly string[])[] = [];
  const engine = createEngine(CACHE_FOLDER, {
    host: () =>
      hostInThisThread((kinds) => {
        asked.push(kinds);
        return ["read", "net"];
      }, () => assert.fail("a Worker is not this thread")),
  });
  const Original = globalThis.Worker;
  let workers = 0;
  globalThis.Worker = class extends Original {
    constructor(url: string | URL, options?: WorkerOptions) {
      super(url, options);
      if (url === WORKER) workers++; // and not one that transpiles, where nothing is cached
    }
  };
  try {
    assert.equal(endOf((await runGuest(engine, "hello")).exit), "exit 0");
    assert.deepEqual([asked, workers], [[["read"]], 1]);
  } finally {
    globalThis.Worker = Original;
    await engine.close();
  }
});
