import assert from "node:assert/strict";
import { Session } from "node:inspector";
import { Cores } from "./cores.ts";
import { Ledger } from "./ledger.ts";
import { Limiter } from "./limiter.ts";

/** Makes cores change their owner; the result tells whether the one before it was let go of. */
function changeOwner(cores: Cores): { before: WeakRef<Limiter>; now: Limiter } {
  const init = {
    limits: { memoryBytesMax: 2 ** 20 },
    ledger: new Ledger(),
    bucket: undefined,
    now: () => 0,
    shared: true,
  };
  const before = new Limiter(init);
  cores.open({ limiter: before, onWait() {} });
  const now = new Limiter({ ...init, globals: cores.globals });
  cores.open({ limiter: now, onWait() {} });
  return { before: new WeakRef(before), now };
}

Deno.test("Cores keep nothing of an owner that they had before", async () => {
  const cores = new Cores({});
  const { before, now } = changeOwner(cores);
  const inspector = new Session();
  inspector.connect();
  let isKept = true;
  for (let i = 0; isKept && i < 3; i++) {
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
