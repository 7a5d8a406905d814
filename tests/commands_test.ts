/**
 * Well-behaved fixtures in the real engine: what a command sees and how it ends.
 *
 * @module
 */
import assert from "node:assert/strict";
import { ANYWHERE, endOf, onEachEngine, runGuest } from "./guest.ts";

onEachEngine(
  "commands get their arguments and environment",
  (withEngine) =>
    withEngine(async (engine) => {
      for (const name of ["hello", "hello-p1"]) {
        const { exit, stdout, notices } = await runGuest(engine, name, { args: ["realm"] });
        assert.equal(stdout, "hello, realm\n");
        assert.equal(endOf(exit), "exit 0");
        assert.deepEqual(notices, []);
      }
      const { stdout } = await runGuest(engine, "env", {
        args: ["a b", "ü"],
        grants: { env: [["X", "1"], ["Y", "two"]], args: ["env", "a b", "ü"] },
      });
      assert.equal(stdout, "arg: env\narg: a b\narg: ü\nenv: X=1\nenv: Y=two\n");
    }),
  ANYWHERE,
);

onEachEngine(
  "commands copy a stream and choose their exit status",
  (withEngine) =>
    withEngine(async (engine) => {
      const stdin = "line\n".repeat(50_000);
      const { exit, stdout, stderr } = await runGuest(engine, "cat", {
        stdin,
        grants: { env: [["CAT_EXIT", "7"]] },
      });
      assert.equal(stdout, stdin);
      assert.match(stderr, /250000/);
      // WASI 0.2 knows ok and err only; wasmtime gives 1 as well.
      assert.equal(endOf(exit), "exit 1");
    }),
  ANYWHERE,
);

onEachEngine(
  "commands end with a status, an error, a panic or a trap",
  (withEngine) =>
    withEngine(async (engine) => {
      for (const name of ["exit", "exit-p1"]) {
        assert.equal(endOf((await runGuest(engine, name)).exit), "exit 0");
        const three = name === "exit" ? "exit 1" : "exit 3"; // as under wasmtime
        assert.equal(endOf((await runGuest(engine, name, { args: ["3"] })).exit), three);
        assert.equal(endOf((await runGuest(engine, name, { args: ["err"] })).exit), "exit 1");
        const trap = await runGuest(engine, name, { args: ["trap"] });
        assert.equal(endOf(trap.exit), "trap");
        assert.ok(trap.exit.kind === "trap" && trap.exit.backtrace.length > 0);
        const panic = await runGuest(engine, name, { args: ["panic"] });
        assert.equal(endOf(panic.exit), "trap");
        assert.match(panic.stderr, /panicked/);
      }
    }),
  ANYWHERE,
);

onEachEngine(
  "commands use every part of a file system, and leave nothing behind",
  (withEngine) =>
    withEngine(async (engine) => {
      const folder = await Deno.makeTempDir();
      try {
        const { exit, stdout, stderr } = await runGuest(engine, "files", {
          grants: { mounts: [{ hostPath: folder, guestPath: "/data", writable: true }] },
        });
        assert.equal(endOf(exit), "exit 0", stdout + stderr);
        assert.deepEqual([...Deno.readDirSync(folder)], []);
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    }),
);

onEachEngine(
  "commands sleep without using fuel and are stopped while they sleep",
  (withEngine) =>
    withEngine(async (engine) => {
      const some = await runGuest(engine, "worker", { args: ["3", "30"] });
      assert.equal(some.stdout, "tick 1\ntick 2\ntick 3\n");
      assert.ok(some.usage.fuelUsed < 200_000, `${some.usage.fuelUsed}`);
      const endless = await runGuest(engine, "worker", { args: ["0", "60000"], stopAfterMs: 100 });
      assert.equal(endOf(endless.exit), "stopped");
      assert.ok(endless.stopMs < 30_000, "it would sleep for a minute");
    }),
  ANYWHERE,
);
