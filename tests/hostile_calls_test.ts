/**
 * Guests that are up to no good with the calls of WASI: each ends as it should and says why, and
 * the host keeps nothing of it.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { Engine } from "../agent/kernel/ports.ts";
import {
  endOf,
  fixture,
  type GuestOptions,
  NO_GRANTS,
  onEachEngine,
  runGuest,
  THREADS,
} from "./guest.ts";

const MIB = 1024 * 1024;

/** Runs a behaviour of the fixture `hostile`; how it ended, in which words, and its output. */
async function run(engine: Engine, args: readonly string[], options: GuestOptions = {}) {
  const result = await runGuest(engine, "hostile", { args, ...options });
  const { exit, usage } = result;
  assert.deepEqual([usage.handles, usage.openFiles, usage.hostBytes], [0, 0, 0], "all given back");
  const { stdout } = await runGuest(engine, "hello");
  assert.equal(stdout, "hello, world\n", "the engine runs the next guest");
  return { ...result, end: endOf(exit), message: exit.kind === "trap" ? exit.message : "" };
}

onEachEngine(
  "100,000 timers, each dropped, cost no more than one",
  (withEngine) =>
    withEngine(async (engine) => {
      const { end, stdout, usage } = await run(engine, ["timers", "100000"]);
      assert.deepEqual([end, stdout], ["exit 0", "made 100000\n"]);
      assert.ok(usage.memoryBytesPeak < 2 * MIB, `${usage.memoryBytesPeak}`);
    }),
  THREADS,
);

onEachEngine(
  "polling long lists for ever ends with the time, and at once when stopped",
  (withEngine) =>
    withEngine(async (engine) => {
      assert.equal((await run(engine, ["poll"], { limits: { timeoutMs: 300 } })).end, "timeout");
      const { end, stopMs } = await run(engine, ["poll"], { stopAfterMs: 200 });
      assert.equal(end, "stopped");
      assert.ok(stopMs < 10_000, `${stopMs}`);
    }),
  THREADS,
);

onEachEngine(
  "a sleep until the end of time ends when it is told to, and uses no fuel",
  (withEngine) =>
    withEngine(async (engine) => {
      const { end, usage } = await run(engine, ["never"], { stopAfterMs: 300 });
      assert.equal(end, "stopped");
      assert.ok(usage.fuelUsed < 1_000_000, `${usage.fuelUsed}`);
    }),
  THREADS,
);

onEachEngine(
  "input that a guest never reads is not fetched",
  (withEngine) =>
    withEngine(async (engine) => {
      let fetched = 0;
      const replica = await engine.start(await engine.prepare(await fixture("hostile")), {
        world: "wasi:cli/command",
        grants: { ...NO_GRANTS, args: ["hostile", "deaf"] },
        limits: { memoryBytesMax: 16 * MIB },
        stdio: {
          terminal: { stdin: false, stdout: false, stderr: false },
          read: () => {
            fetched += 65_536;
            return Promise.resolve(new Uint8Array(65_536));
          },
          write: () => {},
        },
        notice: () => {},
      });
      await new Promise((resolve) => setTimeout(resolve, 300));
      assert.ok(fetched <= 65_536, `${fetched}`);
      await replica.stop();
      assert.equal(endOf(await replica.exited), "stopped");
    }),
  THREADS,
);

onEachEngine(
  "input and output byte by byte arrive whole",
  (withEngine) =>
    withEngine(async (engine) => {
      const stdin = "drop by drop ".repeat(500);
      const { end, stdout } = await run(engine, ["dribble"], { stdin });
      assert.deepEqual([end, stdout], ["exit 0", stdin]);
    }),
  THREADS,
);

onEachEngine(
  "a write past what was permitted is a trap",
  (withEngine) =>
    withEngine(async (engine) => {
      const { end, stdout, message } = await run(engine, ["dumb"]);
      assert.deepEqual([end, stdout], ["trap", "still there\n"]);
      assert.match(message, /^Cannot write 4194304 bytes/);
    }),
  THREADS,
);

onEachEngine(
  "random bytes and zeroes without measure are a trap, before they are made",
  (withEngine) =>
    withEngine(async (engine) => {
      for (const n of ["100000000", "18446744073709551615"]) {
        const { end, message } = await run(engine, ["random", n]);
        assert.match(end, /^(trap|memory-limit)$/, message);
      }
      for (const n of ["4097", "18446744073709551615"]) {
        const { end, message } = await run(engine, ["zeroes", n]);
        assert.equal(end, "trap");
        assert.match(message, /4096/);
      }
    }),
  THREADS,
);

onEachEngine(
  "a flood of lines on standard error waits for its reader and ends with it",
  (withEngine) =>
    withEngine(async (engine) => {
      const { end, stderr } = await run(engine, ["log", "1000000000"], {
        stopAfterMs: 500,
        outputBytesMax: 200_000,
      });
      assert.equal(end, "stopped");
      assert.ok(stderr.length < MIB, `${stderr.length}`);
    }),
  THREADS,
);

onEachEngine(
  "an exit in the middle of a recursion ends everything, and keeps what was written",
  (withEngine) =>
    withEngine(async (engine) => {
      const { end, stdout } = await run(engine, ["bail"]);
      assert.deepEqual([end, stdout], ["exit 1", "before "]);
    }),
  THREADS,
);
