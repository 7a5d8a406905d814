import assert from "node:assert/strict";
import { Ledger } from "./ledger.ts";
import { Limiter } from "./limiter.ts";
import { type Bind, lowered, type Owner } from "./lowering.ts";
import { jspi } from "./pause.ts";
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

// (func (export "f") (param i32 i32) (call $host (i32.add (local.get 0) (local.get 1))))
// deno-fmt-ignore
const GUEST = new WebAssembly.Module(new Uint8Array([
  0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00,
  0x01, 0x0a, 0x02, 0x60, 0x01, 0x7f, 0x00, 0x60, 0x02, 0x7f, 0x7f, 0x00,
  0x02, 0x07, 0x01, 0x01, 0x68, 0x01, 0x66, 0x00, 0x00,
  0x03, 0x02, 0x01, 0x01,
  0x07, 0x05, 0x01, 0x01, 0x66, 0x00, 0x01,
  0x0a, 0x0b, 0x01, 0x09, 0x00, 0x20, 0x00, 0x20, 0x01, 0x6a, 0x10, 0x00, 0x0b,
]));

Deno.test("lowered() binds what a core module was given to another site, and keeps nothing of the first", async () => {
  for (
    const [name, waits] of [
      ["wasi:cli/environment@0.2.0#getArguments", false],
      ["wasi:filesystem/types@0.2.0#stat", false],
      ["wasi:io/poll@0.2.0#block", false],
      ["wasi_snapshot_preview1#poll_oneoff", true],
      ["wasi_snapshot_preview1#fd_read", true],
    ] as const
  ) {
    const calls: string[] = [];
    const site = (who: string) => ({
      owner: {
        limiter: new Limiter({
          limits: { memoryBytesMax: 2 ** 20 },
          ledger: new Ledger(),
          bucket: undefined,
          now: () => 0,
          shared: true,
        }),
        onWait: () => calls.push(`${who} waits`),
        wasi: { atWork: () => calls.push(`${who} at work`) },
      },
      call: (state: unknown, sum: unknown) => {
        calls.push(`${who} ${state} ${sum}`);
        return waits ? Promise.resolve() : undefined;
      },
      state: `${who}'s state`,
    });
    let bind: Bind | undefined;
    const given = lowered(name, site("first"), (own) => bind = own);
    const { exports } = new WebAssembly.Instance(GUEST, {
      h: { f: given as WebAssembly.ImportValue },
    });
    const guest = jspi.promising(exports.f as (a: number, b: number) => void);
    await guest(1, 2);
    bind!(site("second"));
    await guest(3, 4);
    const of = (who: string, sum: number) => [
      `${who} at work`,
      `${who} ${who}'s state ${sum}`,
      ...waits ? [`${who} waits`] : [],
    ];
    assert.deepEqual(calls, [...of("first", 3), ...of("second", 7)], name);
  }
});
