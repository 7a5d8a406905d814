/**
 * Hostile components of WASI 0.3: bounded, stopped, explained.
 *
 * @module
 */
import assert from "node:assert/strict";
import { ANYWHERE, endOf, onEachEngine, runGuest, THREADS, withEngine } from "./guest.ts";
import { abiGuest, oneOf } from "./wasi03_abi.ts";
import { HANDLES_MAX, PROMISES_MAX } from "../agent/runtime/wasi/bounds.ts";

const MIB = 1024 * 1024;
const LIMITS = { memoryBytesMax: 64 * MIB };

/** What ends a guest, by the argument of `hostile-p3`. */
const ENDED: Readonly<Record<string, RegExp>> = {
  "never": /^deadlock: it waits for what only it could do$/,
  "unread": new RegExp(`^Cannot open another stream: ${HANDLES_MAX} are open`),
  "futures": new RegExp(`^Cannot open another future: ${HANDLES_MAX} are open`),
  "subtasks": new RegExp(`^Cannot open another subtask: ${HANDLES_MAX} are open`),
  "sets": new RegExp(`^Cannot open another waitable-set: ${HANDLES_MAX} are open`),
  "handles": /^unknown handle index 12345$/,
  "grow": /^it could not grow its memory/,
};

Deno.test("what a guest of WASI 0.3 hoards or breaks ends it, and says why", async (t) => {
  await withEngine(async (engine) => {
    for (const [what, why] of Object.entries(ENDED)) {
      await t.step(what, async () => {
        const { exit, usage } = await runGuest(engine, "hostile-p3", {
          args: [what],
          limits: LIMITS,
        });
        assert.ok(exit.kind === "trap", endOf(exit));
        assert.match(exit.message, why);
        assert.equal(usage.handles, 0);
        assert.equal(usage.hostBytes, 0);
        assert.ok(usage.memoryBytesPeak <= LIMITS.memoryBytesMax + 8 * MIB);
      });
    }
  });
});

onEachEngine(
  "a guest of WASI 0.3 that never ends is stopped, wherever it is",
  async (withEngine) => {
    await withEngine(async (engine) => {
      for (const what of ["spin", "yield", "wait", "ping", "late"]) {
        const { exit, usage } = await runGuest(engine, "hostile-p3", {
          args: [what],
          limits: LIMITS,
          stopAfterMs: 100,
        });
        assert.equal(endOf(exit), "stopped", what);
        assert.equal(usage.memoryBytes, 0, what);
      }
    });
  },
  ANYWHERE,
);

onEachEngine(
  "fuel, time and time between two returns hold in callbacks of WASI 0.3",
  async (withEngine) => {
    await withEngine(async (engine) => {
      const end = async (what: string, limits: object) =>
        endOf((await runGuest(engine, "hostile-p3", { args: [what], limits })).exit);
      for (const what of ["spin", "yield", "ping", "late"]) {
        assert.equal(await end(what, { fuelMax: 500_000 }), "out-of-fuel", what);
      }
      assert.equal(await end("spin", { epochTimeoutMs: 50 }), "epoch-timeout");
      assert.equal(await end("late", { epochTimeoutMs: 50 }), "epoch-timeout");
      for (const what of ["wait", "yield"]) {
        assert.equal(await end(what, { timeoutMs: 200, epochTimeoutMs: 50 }), "timeout", what);
      }
    });
  },
  THREADS,
);

onEachEngine("what a guest of WASI 0.3 takes back is let go of", async (withEngine) => {
  await withEngine(async (engine) => {
    const { exit, usage } = await runGuest(engine, "hostile-p3", { args: ["storm", "3000"] });
    assert.equal(endOf(exit), "exit 0");
    assert.equal(usage.handles, 0);
    assert.equal(usage.hostBytes, 0);
  });
}, THREADS);

onEachEngine(
  "output of WASI 0.3 that nobody takes holds its guest up, in no memory",
  async (withEngine) => {
    await withEngine(async (engine) => {
      const { exit, stdout, usage } = await runGuest(engine, "hostile-p3", {
        args: ["flood"],
        limits: LIMITS,
        outputBytesMax: MIB,
        stopAfterMs: 500,
      });
      assert.equal(endOf(exit), "stopped");
      assert.ok(stdout.length < 3 * MIB, `${stdout.length}`);
      assert.ok(usage.memoryBytesPeak < 8 * MIB, `${usage.memoryBytesPeak}`);
    });
  },
  THREADS,
);

const EXIT = "(call $return (i32.const 0)) (i32.const 0)";
const waitFor = (set: string) => `(i32.or (i32.const 2) (i32.shl ${set} (i32.const 4)))`;
/** The ends of `$s`. */
const READABLE = "(i32.wrap_i64 (local.get $s))";
const WRITABLE = "(i32.wrap_i64 (i64.shr_u (local.get $s) (i64.const 32)))";
const STREAM = "(local.set $s (call $stream))";
const TEXTS = "(local.set $s (call $texts))";
const FUTURE = "(local.set $s (call $future))";
const read = (at = "0", length = "4") =>
  `(drop (call $read ${READABLE} (i32.const ${at}) (i32.const ${length})))`;

/** Code that breaks the rules of the ABI, and what its guest is told. */
const BROKEN: Readonly<Record<string, readonly [run: string, why: RegExp]>> = {
  "an unknown code": ["(i32.const 7)", /^its callback gave 7$/],
  "no result": ["(i32.const 0)", /^it ended without a result$/],
  "two results": [`(call $return (i32.const 0)) ${EXIT}`, /^a task returns twice$/],
  "a result of no case": [`(call $return (i32.const 2)) (i32.const 0)`, /^a variant has 2 cases/],
  "an unknown set": [waitFor("(i32.const 5)"), /^unknown handle index 5$/],
  "an empty set": [waitFor("(call $set)"), /^deadlock/],
  "a set that is a stream": [`${STREAM} ${waitFor(READABLE)}`, /^unknown handle index 1$/],
  "a set that waits for itself": [
    `${STREAM} ${read()} (local.set $i (call $set)) (call $join ${READABLE} (local.get $i))
     ${waitFor("(local.get $i)")}`,
    /^deadlock/,
  ],
  "a synchronous wait for itself": [
    `(call $wait (call $set) (i32.const 0))`,
    /^deadlock/,
  ],
  "a synchronous read of itself": [
    `${STREAM} (call $read-sync ${READABLE} (i32.const 0) (i32.const 4))`,
    /^deadlock/,
  ],
  "a set that is dropped full": [
    `${STREAM} (local.set $i (call $set)) (call $join ${READABLE} (local.get $i))
     (call $drop-set (local.get $i)) ${EXIT}`,
    /^a set of waitables is dropped that is not empty$/,
  ],
  "an event out of bounds": [
    `(drop (call $poll (call $set) (i32.const 65532))) ${EXIT}`,
    /^pointer 65532 is out of bounds$/,
  ],
  "a misaligned event": [
    `(drop (call $poll (call $set) (i32.const 2))) ${EXIT}`,
    /^pointer 2 is not aligned/,
  ],
  "a read out of bounds": [
    `${STREAM} ${read("65533")} ${EXIT}`,
    /^pointer 65533 is out of bounds$/,
  ],
  "a read from the end of memory": [
    `${STREAM} ${read("-1")} ${EXIT}`,
    /^pointer 4294967295 is out/,
  ],
  "a read of too much": [
    `${STREAM} ${read("0", "268435456")} ${EXIT}`,
    /elements at once are too many$/,
  ],
  "a read of the wrong end": [
    `${STREAM} (drop (call $read ${WRITABLE} (i32.const 0) (i32.const 1))) ${EXIT}`,
    /^the handle 2 is another end of a stream$/,
  ],
  "a read of a future as a stream": [
    `${FUTURE} ${read()} ${EXIT}`,
    /^the handle 1 is another end of a future$/,
  ],
  "two reads at once": [
    `${STREAM} ${read()} ${read()} ${EXIT}`,
    /^the end of the stream is in use$/,
  ],
  "an end that is dropped in use": [
    `${STREAM} ${read()} (call $drop-readable ${READABLE}) ${EXIT}`,
    /^the end of the stream is in use$/,
  ],
  "an end that is dropped twice": [
    `${STREAM} (call $drop-readable ${READABLE}) (call $drop-readable ${READABLE}) ${EXIT}`,
    /^unknown handle index 1$/,
  ],
  "a read past the end": [
    `${STREAM} (call $drop-writable ${WRITABLE}) ${read()} ${read()} ${EXIT}`,
    /^the stream has ended$/,
  ],
  "a cancelled nothing": [
    `${STREAM} (drop (call $cancel-read ${READABLE})) ${EXIT}`,
    /^nothing of the stream is under way$/,
  ],
  "a future that is dropped unwritten": [
    `${FUTURE} (call $drop-future ${WRITABLE}) ${EXIT}`,
    /^a future is dropped before it is written$/,
  ],
  "texts to itself": [
    `${TEXTS} (drop (call $read-texts ${READABLE} (i32.const 0) (i32.const 1)))
     (drop (call $write-texts ${WRITABLE} (i32.const 16) (i32.const 1))) ${EXIT}`,
    /^a component reads what it writes itself, and it is more than numbers$/,
  ],
  "a call that is not there": [
    `(call $drop-call (i32.const 9)) ${EXIT}`,
    /^unknown handle index 9$/,
  ],
  "a call taken back that is a set": [
    `(drop (call $cancel-call (call $set))) ${EXIT}`,
    /^unknown handle index 1$/,
  ],
  "a cancellation that nobody asked for": [
    "(call $cancelled) (i32.const 0)",
    /nobody asked to cancel$/,
  ],
  "backpressure below nothing": [`(call $dec) ${EXIT}`, /^backpressure is counted below zero$/],
  "backpressure without end": [
    "(loop (call $inc) (br 0)) unreachable",
    /^backpressure is counted too far$/,
  ],
};

Deno.test("who breaks a rule of the asynchronous ABI ends, and hears which", async (t) => {
  await withEngine(async (engine) => {
    const cases = Object.entries(BROKEN);
    const component = await abiGuest(oneOf(cases.map(([, [run]]) => run)));
    for (const [i, [name, [, why]]] of cases.entries()) {
      await t.step(name, async () => {
        const args = Array.from({ length: i }, () => "");
        const { exit } = await runGuest(engine, name, { component, grants: { args } });
        assert.ok(exit.kind === "trap", endOf(exit));
        assert.match(exit.message, why);
      });
    }
  });
});

onEachEngine(
  "an allocator may not call the host, and what it gives is checked",
  async (withEngine) => {
    const limits = { fuelMax: 10_000_000 };
    await withEngine(async (engine) => {
      const ask = async (realloc: string) => {
        const run = `(call $arguments (i32.const 16)) ${EXIT}`;
        const component = await abiGuest(run, "unreachable", realloc);
        return (await runGuest(engine, "x", { component, limits })).exit;
      };
      assert.deepEqual(await ask("(i32.const 1024)"), { kind: "exit", status: 0 });
      for (
        const [realloc, why] of [
          ["(call $set)", /^it calls the host where it may not$/],
          ["(i32.const 65536)", /^the allocator gave what is not there$/],
          ["(i32.const 1025)", /^the allocator gave 1025, not aligned to 4$/],
          ["(loop (br 0)) unreachable", /^it used its 10000000 fuel$/],
        ] as const
      ) {
        const exit = await ask(realloc);
        assert.ok(exit.kind === "trap", realloc);
        assert.match(exit.message, why);
      }
    });
  },
  THREADS,
);

onEachEngine(
  "what the host owes a guest of WASI 0.3 is bounded, also what the guest let go of",
  async (withEngine) => {
    // Each turn: a stream for standard output, of which nothing is kept but what the host owes.
    const turn = (bytes: number) =>
      `${STREAM} (call $drop-output (call $output ${READABLE}))
     (drop (call $write ${WRITABLE} (i32.const 0) (i32.const ${bytes})))`;
    await withEngine(async (engine) => {
      const endless = (bytes: number, end = `(call $drop-writable ${WRITABLE})`) =>
        abiGuest(`(loop ${turn(bytes)} ${end} (br 0)) unreachable`);
      const ended = await runGuest(engine, "x", {
        component: await endless(1),
        limits: { ...LIMITS, fuelMax: 1_500_000 },
      });
      assert.equal(endOf(ended.exit), "out-of-fuel");
      assert.equal(ended.usage.hostBytes, 0);
      // Where nobody takes the output, each of them waits for it to go out.
      const full = `(drop (call $write ${WRITABLE} (i32.const 0) (i32.const 60000)))`.repeat(5);
      const waiting = await runGuest(engine, "x", {
        component: await abiGuest(`${turn(1)} ${full}
        (loop ${STREAM} (call $drop-output (call $output ${READABLE}))
          (call $drop-writable ${WRITABLE}) (br 0)) unreachable`),
        limits: { ...LIMITS, fuelMax: 20_000_000 },
        outputBytesMax: 1000,
      });
      assert.ok(waiting.exit.kind === "trap", endOf(waiting.exit));
      assert.match(
        waiting.exit.message,
        new RegExp(`^Cannot wait for more: the host owes it ${PROMISES_MAX} answers$`),
      );
      const kept = await runGuest(engine, "x", { component: await endless(1, ""), limits: LIMITS });
      assert.ok(kept.exit.kind === "trap", endOf(kept.exit));
      assert.match(kept.exit.message, /^Cannot open another stream/);
    });
  },
  THREADS,
);

onEachEngine(
  "two ends of one stream in a guest meet, in part and to the end",
  async (withEngine) => {
    const same = (left: string, right: number) =>
      `(if (i32.ne ${left} (i32.const ${right})) (then unreachable))`;
    const at = (address: number) => `(i32.load (i32.const ${address}))`;
    const [BLOCKED, COMPLETED, DROPPED, CANCELLED] = [-1, 0, 1, 2];
    const count = (elements: number, result: number) => elements << 4 | result;
    const run = `${STREAM}
    (i32.store (i32.const 0) (i32.const 0x04030201))
    ${same(`(call $write ${WRITABLE} (i32.const 0) (i32.const 4))`, BLOCKED)}
    ${same(`(call $read ${READABLE} (i32.const 64) (i32.const 1))`, count(1, COMPLETED))}
    ${same(`(call $read ${READABLE} (i32.const 65) (i32.const 2))`, count(2, COMPLETED))}
    ${same(at(64), 0x00030201)}
    (local.set $i (call $set))
    (call $join ${WRITABLE} (local.get $i))
    ${same("(call $poll (local.get $i) (i32.const 32))", 3)}
    ${same(at(32), 2)} ${same(at(36), count(3, COMPLETED))}
    ${same("(call $poll (local.get $i) (i32.const 32))", 0)}
    ${same(`(call $read ${READABLE} (i32.const 64) (i32.const 8))`, BLOCKED)}
    ${same(`(call $cancel-read ${READABLE})`, CANCELLED)}
    ${same(`(call $read ${READABLE} (i32.const 64) (i32.const 8))`, BLOCKED)}
    ${same(`(call $write ${WRITABLE} (i32.const 0) (i32.const 2))`, count(2, COMPLETED))}
    (call $join ${WRITABLE} (i32.const 0))
    (call $drop-writable ${WRITABLE})
    (call $join ${READABLE} (local.get $i))
    ${same("(call $poll (local.get $i) (i32.const 32))", 2)}
    ${same(at(32), 1)} ${same(at(36), count(2, DROPPED))}
    (call $join ${READABLE} (i32.const 0))
    (call $drop-readable ${READABLE})
    (call $drop-set (local.get $i))
    ${FUTURE}
    ${same(`(call $read-future ${READABLE} (i32.const 96))`, BLOCKED)}
    ${same(`(call $write-future ${WRITABLE} (i32.const 3))`, COMPLETED)}
    ${same("(i32.load8_u (i32.const 96))", 4)}
    (call $drop-future ${WRITABLE})
    ${EXIT}`;
    await withEngine(async (engine) => {
      const { exit } = await runGuest(engine, "x", { component: await abiGuest(run) });
      assert.deepEqual(exit, { kind: "exit", status: 0 });
    });
  },
  THREADS,
);
