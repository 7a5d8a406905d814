/**
 * Workers that are used again and replicas that are made ahead: no guest finds anything of another.
 *
 * @module
 */
import assert from "node:assert/strict";
import { createEngine } from "../agent/local_engine.ts";
import type { WorkerEngine } from "../agent/runtime/engine.ts";
import { CACHE_FOLDER, endOf, fixture, NO_GRANTS, runGuest } from "./guest.ts";
import { until } from "./until.ts";

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
/** Until what was started is prepared to be started again; how long it takes decides nothing. */
const PREPARED_MS = 300;

async function withPool(spawner: boolean, test: (engine: WorkerEngine) => Promise<void>) {
  const engine = createEngine(CACHE_FOLDER, { warmWorkers: 2, spawner });
  try {
    await test(engine);
  } finally {
    await engine.close();
  }
}

for (const spawner of [false, true]) {
  const by = spawner ? " by a thread of its own" : "";

  Deno.test(`a guest in a used Worker${by} has its own environment, output and end`, async () => {
    await withPool(spawner, async (engine) => {
      for (let round = 0; round < 4; round++) {
        const [a, b] = await Promise.all(
          ["a", "b"].map((who) =>
            runGuest(engine, "env", { grants: { env: [["WHO", `${who}${round}`]] } })
          ),
        );
        assert.match(a!.stdout, new RegExp(`WHO=a${round}`));
        assert.match(b!.stdout, new RegExp(`WHO=b${round}`));
        assert.doesNotMatch(b!.stdout, /WHO=a/);
        const failed = await runGuest(engine, "exit", { args: ["3"] });
        const stopped = await runGuest(engine, "spin", { stopAfterMs: 20 });
        const recursed = await runGuest(engine, "recurse");
        const ended = [failed, stopped, recursed].map((result) => endOf(result.exit));
        assert.deepEqual(ended, ["exit 1", "stopped", "trap"], `round ${round}`);
      }
    });
  });

  Deno.test(`what is started again and again${by} is made ahead, and is no different`, async () => {
    await withPool(spawner, async (engine) => {
      const limits = { fuelMax: 50_000_000 };
      const results = [];
      for (let i = 0; i < 4; i++) {
        results.push(await runGuest(engine, "hello", { limits }));
        await pause(PREPARED_MS);
      }
      const [first, ...others] = results;
      assert.equal(first!.stdout, "hello, world\n");
      for (const { stdout, exit, usage, notices } of others) {
        assert.deepEqual({ stdout, exit, notices }, {
          stdout: first!.stdout,
          exit: first!.exit,
          notices: first!.notices,
        });
        assert.equal(usage.fuelUsed, first!.usage.fuelUsed);
        assert.equal(usage.memoryBytesPeak, first!.usage.memoryBytesPeak);
      }
    });
  });
}

Deno.test("a guest that was made ahead is stopped before it runs, and ends with its engine", async () => {
  const engine = createEngine(CACHE_FOLDER, { warmWorkers: 2 });
  for (let i = 0; i < 3; i++) {
    await runGuest(engine, "hello");
    await pause(PREPARED_MS);
  }
  const { exit, stdout } = await runGuest(engine, "hello", { stopAfterMs: 0 });
  // It is as fast as to be stopped.
  assert(["stopped", "exit 0"].includes(endOf(exit)), endOf(exit));
  assert(stdout === "" || stdout === "hello, world\n");
  await engine.close();
});

/** Counts the Workers that this thread starts while `act` runs. */
async function countWorkers(act: () => Promise<void>): Promise<number> {
  const { Worker } = globalThis;
  let started = 0;
  globalThis.Worker = class extends Worker {
    constructor(...init: ConstructorParameters<typeof Worker>) {
      super(...init);
      started++;
    }
  };
  try {
    await act();
  } finally {
    globalThis.Worker = Worker;
  }
  return started;
}

// Deno keeps two file descriptors of each Worker that ended.
Deno.test("an engine that starts a guest often uses its Workers again", async () => {
  await withPool(false, async (engine) => {
    const component = await fixture("hello");
    const started = await countWorkers(async () => {
      for (let i = 0; i < 30; i++) await runGuest(engine, "hello", { component });
      await pause(PREPARED_MS);
    });
    // The pool may have grown to its size meanwhile.
    assert(started < 15, `${started} Workers for 30 starts`);
  });
});

Deno.test("the Worker of a handler that is stopped at work is used again", async () => {
  await withPool(false, async (engine) => {
    const prepared = await engine.prepare(await fixture("http-counter"));
    const serveAndStop = async (fuelMax: number) => {
      const replica = await engine.start(prepared, {
        world: "wasi:http/proxy",
        grants: NO_GRANTS,
        // Each of another kind, so that none is made ahead.
        limits: { memoryBytesMax: 64 * 1024 * 1024, fuelMax },
        stdio: {
          terminal: { stdin: false, stdout: false, stderr: false },
          read: () => Promise.resolve(null),
          write: () => {},
        },
        notice: () => {},
      });
      const request = replica.handle({
        method: "GET",
        url: "http://realm.test/slow?ms=60000",
        headers: [],
        body: null,
        signal: new AbortController().signal,
      });
      const refused = assert.rejects(request);
      await until("it at work", () => replica.usage().handles > 0, request);
      await replica.stop();
      await refused;
    };
    const started = await countWorkers(async () => {
      for (let i = 0; i < 8; i++) await serveAndStop(1e9 + i);
    });
    // The pool may have grown to its size, and one that does not end within half a second is ended.
    assert(started < 6, `${started} Workers for 8 handlers`);
  });
});
