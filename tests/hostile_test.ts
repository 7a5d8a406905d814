/**
 * Hostile fixtures in the real engine: stopped within their limit, with the right end, and without
 * harm to a neighbour.
 *
 * @module
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { ANYWHERE, endOf, onEachEngine, runGuest } from "./guest.ts";

const MIB = 1024 * 1024;

onEachEngine(
  "spin ends at each of its limits and at once when stopped",
  (withEngine) =>
    withEngine(async (engine) => {
      const fuel = await runGuest(engine, "spin", { limits: { fuelMax: 50_000_000 } });
      assert.equal(endOf(fuel.exit), "out-of-fuel");
      const epoch = await runGuest(engine, "spin", { limits: { epochTimeoutMs: 50 } });
      assert.equal(endOf(epoch.exit), "epoch-timeout");
      const timeout = await runGuest(engine, "spin", { limits: { timeoutMs: 100 } });
      assert.equal(endOf(timeout.exit), "timeout");
      const stopped = await runGuest(engine, "spin", { stopAfterMs: 100 });
      assert.equal(endOf(stopped.exit), "stopped");
      assert.ok(stopped.stopMs < 10_000, `stopping took ${stopped.stopMs} ms`);
    }),
  ANYWHERE,
);

onEachEngine(
  "spin is throttled to its rate, not killed",
  (withEngine) =>
    withEngine(async (engine) => {
      const { usage } = await runGuest(engine, "spin", {
        limits: { fuelPerSec: 2_000_000 }, // little enough to be used up on a busy machine, too
        stopAfterMs: 2_000,
      });
      // One second of fuel is in the bucket at the start.
      assert.ok(usage.fuelUsed < 40_000_000, `${usage.fuelUsed}`);
      assert.ok(usage.throttledMs > 500, `${usage.throttledMs}`);
    }),
  ANYWHERE,
);

onEachEngine(
  "spin does not slow a neighbour's start and end",
  (withEngine) =>
    withEngine(async (engine) => {
      const spinning = runGuest(engine, "spin", { stopAfterMs: 1500 });
      const { exit } = await runGuest(engine, "hello", { args: ["neighbour"] });
      assert.equal(endOf(exit), "exit 0");
      await spinning;
    }),
  ANYWHERE,
);

onEachEngine(
  "bulk instructions cost what they move, and a stop lands inside one",
  (withEngine) =>
    withEngine(async (engine) => {
      const stopped = await runGuest(engine, "bulk", { stopAfterMs: 150 });
      assert.equal(endOf(stopped.exit), "stopped");
      assert.ok(stopped.stopMs < 10_000, `${stopped.stopMs}`);
      const fuel = await runGuest(engine, "bulk", { limits: { fuelMax: 20_000_000 } });
      assert.equal(endOf(fuel.exit), "out-of-fuel");
    }),
  ANYWHERE,
);

onEachEngine(
  "grow gets no more memory than its limit",
  (withEngine) =>
    withEngine(async (engine) => {
      for (const args of [[], ["touch"]]) {
        const { exit, usage } = await runGuest(engine, "grow", {
          args,
          limits: { memoryBytesMax: 32 * MIB },
        });
        assert.equal(endOf(exit), "exit 0");
        assert.ok(usage.memoryBytesPeak <= 32 * MIB && usage.memoryBytesPeak > 31 * MIB);
        assert.ok(usage.refusedGrowths > 0);
      }
      for (const args of [["trap"], ["abort"]]) {
        const { exit } = await runGuest(engine, "grow", {
          args,
          limits: { memoryBytesMax: 32 * MIB },
        });
        assert.equal(endOf(exit), "memory-limit");
      }
      const { exit } = await runGuest(engine, "grow", { limits: { memoryBytesMax: 65_536 } });
      assert.equal(endOf(exit), "memory-limit", "the initial memory does not fit");
    }),
  ANYWHERE,
);

onEachEngine(
  "table-grow gets no more table than its limit",
  (withEngine) =>
    withEngine(async (engine) => {
      const { exit, stdout, usage } = await runGuest(engine, "table-grow", {
        limits: { memoryBytesMax: 16 * MIB },
      });
      assert.equal(stdout, "refused\n");
      assert.equal(endOf(exit), "memory-limit");
      assert.ok(usage.memoryBytesPeak <= 16 * MIB);
    }),
  ANYWHERE,
);

onEachEngine(
  "recurse runs out of call stack, with small frames and large",
  (withEngine) =>
    withEngine(async (engine) => {
      for (const how of ["plain", "frames", "shadow", "indirect"]) {
        const { exit } = await runGuest(engine, "recurse", { args: [how] });
        assert.equal(endOf(exit), "trap", how);
        assert.equal(
          endOf((await runGuest(engine, "recurse", { args: [how, "100"] })).exit),
          "exit 0",
          how,
        );
      }
    }),
  ANYWHERE,
);

onEachEngine(
  "flood waits for whoever takes its output",
  (withEngine) =>
    withEngine(async (engine) => {
      for (const how of ["lines", "one", "stderr"]) {
        const { exit, stdout, stderr } = await runGuest(engine, "flood", {
          args: [how],
          outputBytesMax: 100_000,
          stopAfterMs: 400,
        });
        assert.equal(endOf(exit), "stopped", how);
        assert.ok(stdout.length + stderr.length < MIB, `${stdout.length + stderr.length}`);
      }
    }),
  ANYWHERE,
);

onEachEngine("open-all finds every door shut", (withEngine) =>
  withEngine(async (engine) => {
    const grants = { clock: false, random: false };
    const { exit, stdout, notices } = await runGuest(engine, "open-all", { grants });
    assert.equal(endOf(exit), "exit 0", stdout);
    assert.doesNotMatch(stdout, /OPEN/);
    assert.ok(notices.some((n) => n.includes("--net")), notices.join("\n"));
    const random = await runGuest(engine, "open-all", { args: ["random"], grants });
    assert.equal(endOf(random.exit), "trap");
  }), ANYWHERE);

onEachEngine("escape stays in its folder", (withEngine) =>
  withEngine(async (engine) => {
    const outside = await Deno.makeTempDir();
    try {
      const mount = join(outside, "mount");
      await Deno.mkdir(mount);
      await Deno.writeTextFile(join(outside, "secret.txt"), "secret");
      await Deno.symlink("../secret.txt", join(mount, "host-link"));
      await Deno.symlink("..", join(mount, "host-dir"));
      await Deno.symlink(join(outside, "secret.txt"), join(mount, "host-abs"));
      const { exit, stdout, stderr } = await runGuest(engine, "escape", {
        grants: { mounts: [{ hostPath: mount, guestPath: "/data", writable: true }] },
      });
      assert.equal(endOf(exit), "exit 0", stdout + stderr);
      assert.doesNotMatch(stdout, /ESCAPED/);
      assert.deepEqual([...Deno.readDirSync(outside)].map((e) => e.name).sort(), [
        "mount",
        "secret.txt",
      ]);
      assert.equal(await Deno.readTextFile(join(outside, "secret.txt")), "secret");
    } finally {
      await Deno.remove(outside, { recursive: true });
    }
  }));

onEachEngine("catch-all does not outlive a limit", (withEngine) =>
  withEngine(async (engine) => {
    for (const limits of [{ fuelMax: 30_000_000 }, { epochTimeoutMs: 50 }, { timeoutMs: 100 }]) {
      const { exit, stdout } = await runGuest(engine, "catch-all", { limits });
      assert.notEqual(exit.kind, "exit");
      assert.doesNotMatch(stdout, /escaped/);
    }
    const stopped = await runGuest(engine, "catch-all", { stopAfterMs: 100 });
    assert.equal(endOf(stopped.exit), "stopped");
  }), ANYWHERE);

onEachEngine(
  "fork-handles is refused before the host runs out",
  (withEngine) =>
    withEngine(async (engine) => {
      const folder = await Deno.makeTempDir();
      try {
        for (const kind of ["pollables", "files", "streams"]) {
          const { exit } = await runGuest(engine, "fork-handles", {
            args: [kind],
            grants: { mounts: [{ hostPath: folder, guestPath: "/data", writable: true }] },
            limits: { fuelMax: 10_000_000_000 },
          });
          assert.match(endOf(exit), /^(trap|exit \d+)$/, kind);
        }
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    }),
  ANYWHERE,
);
