import assert from "node:assert/strict";
import type { Limits } from "../kernel/ports.ts";
import { END, Ledger } from "./ledger.ts";
import { FuelBucket, Limiter } from "./limiter.ts";
import { enforced } from "./wasi/bounds.ts";
import { meter } from "../wasm/meter/meter.ts";
import { parse } from "../../tests/wasm_tools.ts";
import { jspi, refuelFunction } from "./pause.ts";

const MIB = 1024 * 1024;
const CEILING = { memoryPagesMax: 65_536, tableElementsMax: 1_000_000 };

// deno-fmt-ignore
const GUEST = new Uint8Array([
  0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00,
  0x01, 0x0a, 0x02, 0x60, 0x01, 0x7f, 0x01, 0x7f, 0x60, 0x01, 0x7f, 0x00,
  0x03, 0x03, 0x02, 0x00, 0x01,
  0x05, 0x03, 0x01, 0x00, 0x01, // one memory of at least a page
  0x07, 0x0f, 0x02, 0x04, 0x67, 0x72, 0x6f, 0x77, 0x00, 0x00, 0x04, 0x73, 0x70, 0x69, 0x6e, 0x00, 0x01,
  0x0a, 0x17, 0x02,
  0x06, 0x00, 0x20, 0x00, 0x40, 0x00, 0x0b, // grow(pages): memory.grow
  0x0e, 0x00, 0x03, 0x40, 0x20, 0x00, 0x41, 0x01, 0x6b, 0x22, 0x00, 0x0d, 0x00, 0x0b, 0x0b, // spin(n): 5 a turn
].slice());

/** An instance that runs as a test says, on the test's clock, and shares its Worker with others. */
function actor(clock: { ms: number }, epochTimeoutMs: number) {
  const limits: Limits = { memoryBytesMax: MIB, epochTimeoutMs };
  const now = () => clock.ms;
  const limiter = new Limiter({
    limits,
    ledger: new Ledger(),
    bucket: undefined,
    now,
    shared: true,
  });
  limiter.newSlice();
  return {
    limiter,
    /** It executes `fuel`, in `ms` of the clock, up to a fuel check; whether it may go on. */
    run(fuel: number, ms: number): boolean {
      clock.ms += ms;
      limiter.fuel.value -= fuel;
      return limiter.tick() !== 1;
    },
    get code() {
      return limiter.ended?.kind === "limit" ? limiter.ended.code : undefined;
    },
  };
}

Deno.test("Limiter blames nobody for time in which the machine did something else", () => {
  const clock = { ms: 0 };
  const guest = actor(clock, 200);
  guest.limiter.enter();
  // It executes more than enough to be believed, and then does not get the processor.
  assert.ok(guest.run(10_000_000, 20));
  for (let i = 0; i < 10; i++) assert.ok(guest.run(100_000, 60_000), "a slice, and a minute lost");
  // A host call that a busy disk holds up is not the guest's running time either.
  clock.ms += 60_000;
  guest.limiter.hostCalled();
  assert.ok(guest.run(1_000, 0));
  assert.equal(guest.code, undefined);
});

Deno.test("Limiter gives the only thread its turn, however often the guest waits for nothing", () => {
  const clock = { ms: 0 };
  const limits: Limits = { memoryBytesMax: MIB, timeoutMs: 100 };
  const only = { turn: () => Promise.resolve(), deaf: () => {} };
  const [here, inWorker] = [only, undefined].map((only) => {
    const now = () => clock.ms;
    const limiter = new Limiter({
      ...{ limits, now, only },
      ledger: new Ledger(),
      bucket: undefined,
      shared: false,
    });
    /** It runs for 5 ms and is back at once; then a fuel check. */
    return () => {
      limiter.enter();
      clock.ms += 5;
      limiter.leave();
      limiter.newSlice();
      limiter.enter();
      const verdict = limiter.tick();
      limiter.leave();
      return verdict;
    };
  }) as [() => number, () => number];
  assert.deepEqual([here(), here()], [0, 2], "it pauses");
  assert.deepEqual([inWorker(), inWorker()], [0, 0]);
  clock.ms = 100;
  assert.deepEqual([here(), inWorker()], [1, 0], "nobody else ends it when its time is over");
});

Deno.test("Limiter says that the only thread is deaf once a guest stays where it cannot be suspended", async () => {
  const clock = { ms: 0 };
  const said: boolean[] = [];
  const limiter = new Limiter({
    limits: { memoryBytesMax: MIB },
    ledger: new Ledger(),
    bucket: undefined,
    now: () => clock.ms,
    shared: false,
    only: { turn: () => Promise.resolve(), deaf: (isDeaf) => said.push(isDeaf) },
  });
  limiter.enter();
  const stuckFor = (ms: number) => {
    clock.ms += ms;
    assert.equal(limiter.tick(), 2);
    limiter.debt();
  };
  // At such a place for a moment, again and again, on a machine that stalls: nothing may be lost.
  for (let i = 0; i < 3; i++) {
    stuckFor(500);
    await limiter.pause();
  }
  assert.deepEqual(said, []);
  stuckFor(10);
  stuckFor(10);
  assert.deepEqual(said, []);
  stuckFor(10);
  assert.deepEqual(said, [true]);
  await limiter.pause();
  assert.deepEqual(said, [true, false]);
});

Deno.test("Limiter blames nobody for the time of a neighbour that is resumed in the same breath", () => {
  const clock = { ms: 0 };
  const [innocent, spinner] = [actor(clock, 50), actor(clock, 200)];
  // Both are resumed before either runs: the one that spins runs while the other is said to.
  for (let turn = 0; turn < 100 && spinner.code === undefined; turn++) {
    spinner.limiter.enter();
    innocent.limiter.enter();
    for (let slice = 0; slice < 2 && spinner.run(262_144, 10); slice++);
    if (spinner.code === undefined) assert.ok(innocent.run(250_000, 0), "it is blamed");
  }
  assert.equal(spinner.code, "epoch-timeout");
  assert.equal(innocent.code, undefined);
});

Deno.test("Limiter looks again after a host call of many bytes", () => {
  const clock = { ms: 0 };
  const { limiter, run } = actor(clock, 200);
  limiter.enter();
  assert.ok(run(0, 0), "it is given a slice");
  limiter.hostTakes(1000);
  limiter.hostCalled();
  assert.ok(limiter.fuel.value > 0);
  limiter.hostTakes(64 * MIB);
  limiter.hostCalled();
  assert.equal(limiter.fuel.value, 0, "the next check asks");
});

Deno.test("Limiter ends who computes, or calls the host without end, once its time is over", () => {
  for (const [fuel, calls] of [[262_144, 0], [1_000, 16]] as const) {
    const clock = { ms: 0 };
    const guest = actor(clock, 200);
    guest.limiter.enter();
    let may = true;
    while (may) {
      assert.ok(clock.ms < 300, "it goes on for ever");
      for (let i = 0; i < calls; i++) {
        clock.ms += 5 / calls;
        guest.limiter.hostCalled();
      }
      may = guest.run(fuel, calls > 0 ? 0 : 5);
    }
    assert.equal(guest.code, "epoch-timeout");
    assert.ok(clock.ms > 200);
  }
});

/** An instance of GUEST under limits, on real time. */
function guest(limits: Partial<Limits>, options: { shared?: boolean } = {}) {
  const ledger = new Ledger();
  const now = () => performance.now();
  const all: Limits = { memoryBytesMax: 4 * MIB, ...limits };
  ledger.setLimits(enforced(all, 1));
  const bucket = all.fuelPerSec === undefined ? undefined : new FuelBucket(all.fuelPerSec, now);
  const limiter = new Limiter({
    limits: all,
    ledger,
    bucket,
    now,
    shared: options.shared ?? false,
  });
  const metered = meter(GUEST, CEILING);
  assert.equal(limiter.grow(0, metered.size.memoryPages), 0);
  const { exports } = new WebAssembly.Instance(
    new WebAssembly.Module(metered.bytes as BufferSource),
    {
      realm: {
        fuel: limiter.fuel,
        stack: limiter.stack,
        outline: limiter.outline,
        refuel: refuelFunction({
          tick: () => limiter.tick(),
          pause: () => limiter.pause(),
          debt: () => limiter.debt(),
        }),
        grow: (kind: number, units: number) => limiter.grow(kind, units),
      },
    },
  );
  const call = (name: string) => async (argument: number) => {
    limiter.newSlice();
    limiter.enter();
    try {
      return await jspi.promising(exports[name] as (n: number) => number)(argument);
    } finally {
      limiter.leave();
    }
  };
  return { ledger, limiter, bucket, spin: call("spin"), grow: call("grow"), exports };
}

Deno.test("Limiter counts every instruction once", async () => {
  const g = guest({});
  await g.spin(1);
  const one = g.limiter.fuelUsed;
  await g.spin(1_000_001);
  assert.equal(g.limiter.fuelUsed - 2 * one, 5_000_000);
  assert.equal(g.ledger.usage().fuelUsed, g.limiter.fuelUsed);
});

Deno.test("Limiter ends a guest that used its fuel, and keeps it ended", async () => {
  const g = guest({ fuelMax: 1_000_000 });
  await assert.rejects(g.spin(0), WebAssembly.RuntimeError);
  assert.deepEqual(g.limiter.ended?.kind === "limit" && g.limiter.ended.code, "out-of-fuel");
  assert.ok(
    g.limiter.fuelUsed > 1_000_000 && g.limiter.fuelUsed < 1_000_100,
    `${g.limiter.fuelUsed}`,
  );
  await assert.rejects(g.spin(1));
});

Deno.test("Limiter ends a slice that is too long, not one that was interrupted by the host", async () => {
  const g = guest({ epochTimeoutMs: 30 });
  await assert.rejects(g.spin(0), WebAssembly.RuntimeError);
  assert.equal(g.limiter.ended?.kind === "limit" && g.limiter.ended.code, "epoch-timeout");
  const patient = guest({ epochTimeoutMs: 30 });
  for (let i = 0; i < 10; i++) await patient.spin(100_000);
  assert.equal(patient.limiter.ended, undefined);
});

Deno.test("Limiter stops a spinning guest by the flag in shared memory", async () => {
  const g = guest({}, { shared: true }); // takes turns, so that this thread can set the flag
  setTimeout(() => g.ledger.end(END.stop), 20);
  await assert.rejects(g.spin(0));
  assert.deepEqual(g.limiter.ended, { kind: "stopped" });
});

Deno.test("Limiter throttles to the rate and books the time", async () => {
  const g = guest({ fuelPerSec: 10_000_000 });
  g.bucket!.take(10_000_000); // start with an empty bucket
  const from = performance.now();
  await g.spin(400_000); // 2 million
  const ms = performance.now() - from;
  assert.ok(ms > 150, `2 million at 10 million a second took ${ms} ms`);
  const { throttledMs, runningMs, preemptions } = g.ledger.usage();
  // Time in which the machine did something else may count as either.
  assert.ok(throttledMs > 0 && throttledMs + runningMs > 100, `${throttledMs} + ${runningMs}`);
  assert.ok(runningMs < ms && preemptions > 0);
});

Deno.test("Limiter takes all of a slice in which the guest trapped from its rate", async () => {
  // 8 units a round, none of which is stored before it traps.
  const bytes = await parse(`(module (func (export "f") (param $n i32)
    (loop $l
      (if (i32.eqz (local.get $n)) (then unreachable))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br $l))))`);
  const bucket = new FuelBucket(10_000_000, () => 0);
  const ledger = new Ledger();
  const limiter = new Limiter({
    limits: { memoryBytesMax: MIB, fuelPerSec: bucket.perSec },
    ...{ ledger, bucket, shared: true, now: () => 0 },
  });
  const { fuel, stack, outline } = limiter;
  const refuel = refuelFunction({
    tick: () => limiter.tick(),
    pause: () => limiter.pause(),
    debt: () => 1,
  });
  const realm = { fuel, stack, outline, refuel, grow: () => 0 } as WebAssembly.ModuleImports;
  const metered = new WebAssembly.Module(meter(new Uint8Array(bytes), CEILING).bytes);
  const { exports } = new WebAssembly.Instance(metered, { realm });
  limiter.enter();
  assert.throws(() => (exports.f as (n: number) => void)(10_000), WebAssembly.RuntimeError);
  limiter.leave();
  const known = limiter.fuelUsed;
  limiter.forfeit();
  assert.ok(bucket.perSec - bucket.available() >= 50_000, `${bucket.available()} are left`);
  // Not again when it is thrown away, and not in what the guest is said to have used.
  const left = bucket.available();
  limiter.forfeit();
  limiter.dispose();
  assert.equal(bucket.available(), left);
  assert.equal(limiter.fuelUsed, known);
});

Deno.test("Limiter lets a neighbour with little to do pass one that spins", async () => {
  const ledger = new Ledger();
  const bucket = new FuelBucket(20_000_000, () => performance.now());
  bucket.take(20_000_000);
  const turns: string[] = [];
  const consumer = async (name: string, rounds: number) => {
    for (let i = 0; i < rounds; i++) {
      await bucket.wait();
      bucket.take(100_000);
      turns.push(name);
    }
  };
  await Promise.all([consumer("spin", 6), consumer("small", 2)]);
  assert.ok(turns.indexOf("small") <= 1 && turns.lastIndexOf("small") <= 4, turns.join());
  assert.equal(ledger.usage().fuelUsed, 0);
});

Deno.test("Limiter goes into debt where the guest cannot be paused", () => {
  const g = guest({ fuelPerSec: 10_000_000 });
  g.bucket!.take(10_000_000);
  g.limiter.enter();
  (g.exports.spin as (n: number) => void)(100_000); // not through JSPI
  g.limiter.leave();
  assert.equal(g.limiter.fuelUsed >= 500_000, true);
  const shared = guest({ fuelPerSec: 1_000_000 }, { shared: true });
  shared.bucket!.take(3_000_000);
  shared.limiter.enter();
  assert.throws(
    () => (shared.exports.spin as (n: number) => void)(1_000_000),
    WebAssembly.RuntimeError,
  );
});

Deno.test("Limiter bounds memory over everything the instance grows", async () => {
  const g = guest({ memoryBytesMax: MIB });
  assert.equal(await g.grow(15), 1);
  assert.equal(await g.grow(1), 0xffff_ffff | 0);
  assert.equal(g.limiter.grow(1, 1), 1, "a table element does not fit either");
  assert.equal(g.limiter.refusedGrowths, 2);
  assert.equal(g.ledger.usage().memoryBytesPeak, MIB);
  g.limiter.dispose();
  assert.equal(g.ledger.usage().memoryBytes, 0);
});

Deno.test("Limiter wakes what waits when the instance ends", async () => {
  const g = guest({});
  const waiting = g.limiter.untilEnded(new Promise<string>(() => {}));
  g.limiter.end({ kind: "stopped" });
  assert.equal(await waiting, undefined);
  assert.equal(await g.limiter.untilEnded(new Promise(() => {})), undefined);
});
