import assert from "node:assert/strict";
import { Ledger } from "./ledger.ts";
import { Limiter } from "./limiter.ts";
import { lowered, type Owner } from "./lowering.ts";
import { WasiFunctions } from "./wasi/host.ts";
import { createFixture } from "./wasi/context_fixture.ts";

/** An instance that shares its functions with others, and what its core module would call. */
function instance(functions: WasiFunctions, name: string) {
  const { wasi } = createFixture({ args: [name] }, {}, functions);
  const limiter = new Limiter({
    limits: { memoryBytesMax: 2 ** 20 },
    ledger: new Ledger(),
    bucket: undefined,
    now: () => 0,
    shared: true,
  });
  const owner: Owner = { limiter, onWait() {}, wasi };
  const { getArguments } = wasi.imports["wasi:cli/environment"] as {
    getArguments(): string[];
  };
  const lower = (full: string) =>
    lowered(full, { owner, call: () => getArguments(), state: undefined }) as () => string[];
  return {
    plain: lower("wasi:cli/environment@0.2.0#getArguments"),
    timed: lower("wasi:filesystem/types@0.2.0#stat"),
  };
}

Deno.test("lowered() leads a call to the instance that makes it, whoever was made or called last", () => {
  const functions = new WasiFunctions();
  // A guest that computes is paused between two calls, while others are made and call.
  const first = instance(functions, "first");
  const second = instance(functions, "second");
  for (const how of ["plain", "timed"] as const) {
    assert.deepEqual(first[how](), ["first"]);
    assert.deepEqual(second[how](), ["second"]);
    assert.deepEqual(first[how](), ["first"]);
    instance(functions, "third");
    assert.deepEqual(first[how](), ["first"]);
  }
});
