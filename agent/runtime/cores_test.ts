import assert from "node:assert/strict";
import { Session } from "node:inspector";
import { parse } from "../../tests/wasm_tools.ts";
import { RealmError } from "../kernel/error.ts";
import { sizeOf } from "../wasm/meter/instance_size.ts";
import { meter } from "../wasm/meter/meter.ts";
import { CEILING } from "./artifact.ts";
import { Cores } from "./cores.ts";
import { Ledger } from "./ledger.ts";
import { Limiter } from "./limiter.ts";
import { INSTANCE_BYTES_FREE } from "./wasi/bounds.ts";

Deno.test("Cores charge for a module as often as it is instantiated", async () => {
  const wat = `(module (memory 2) (table 10 funcref) (global i32 (i32.const 0))
    ${"(func)".repeat(100_000)} (elem func 1 2 3) (export "f" (func 0)))`;
  const { bytes, size } = meter(await parse(wat), CEILING);
  assert.deepEqual(size, {
    memoryPages: 2,
    tableElements: 10,
    hostBytes: 4096 + 16 * 100_000 + 16 + 256 + 8 * 3 + 256 * 1024,
  });
  const module = new WebAssembly.Module(bytes as BufferSource);
  assert.deepEqual(sizeOf(module), size);
  const ledger = new Ledger();
  const limits = { memoryBytesMax: 4 * 2 ** 20 };
  const limiter = new Limiter({ limits, ledger, bucket: undefined, now: () => 0, shared: true });
  const cores = new Cores({});
  const owner = { limiter, onWait() {}, wasi: { atWork() {} } };
  cores.open(owner, true);
  const itself = 2 * 65_536 + 10 * 32;
  cores.link(module, {});
  assert.equal(ledger.get("memoryBytes"), itself + size.hostBytes - INSTANCE_BYTES_FREE);
  cores.link(module, {});
  const both = 2 * (itself + size.hostBytes) - INSTANCE_BYTES_FREE;
  assert.equal(ledger.get("memoryBytes"), both);
  assert.throws(
    () => cores.link(module, {}),
    (error) => error instanceof RealmError && error.code === "memory-limit",
  );
  assert.equal(ledger.get("memoryBytes"), both);
  limiter.dispose();
  assert.equal(ledger.get("memoryBytes"), 0);
});

/** Makes cores change their owner; the result tells whether the one before it was let go of. */
function changeOwner(cores: Cores): { before: WeakRef<Limiter>; now: Limiter } {
  const init = {
    limits: { memoryBytesMax: 2 ** 20 },
    ledger: new Ledger(),
    bucket: undefined,
    now: () => 0,
    shared: true,
  };
  const rest = { onWait() {}, wasi: { atWork() {} } };
  const before = new Limiter(init);
  cores.open({ limiter: before, ...rest }, true);
  const now = new Limiter({ ...init, globals: cores.globals });
  cores.open({ limiter: now, ...rest }, true);
  return { before: new WeakRef(before), now };
}

Deno.test("Cores keep nothing of an owner that they had before", async () => {
  const cores = new Cores({});
  const { before, now } = changeOwner(cores);
  const inspector = new Session();
  inspector.connect();
  let isKept = true;
  for (let i = 0; isKept && i < 30; i++) {
    // In another turn: what was referred to weakly is kept to the end of its turn.
    await new Promise((resolve) => setTimeout(resolve, 0));
    inspector.post("HeapProfiler.collectGarbage");
    await new Promise((resolve) => setTimeout(resolve, 0));
    isKept = before.deref() !== undefined;
  }
  inspector.disconnect();
  assert.equal(isKept, false);
  assert.equal(now.stack, cores.globals.stack);
});
