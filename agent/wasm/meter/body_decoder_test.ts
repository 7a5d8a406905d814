import assert from "node:assert/strict";
import process from "node:process";
import { RealmError } from "../../kernel/error.ts";
import { Writer } from "./binary.ts";
import { LOCALS_MAX } from "./body_decoder.ts";
import { meter } from "./meter.ts";
import { OPTIONS, run, TestHost } from "./host_fake.ts";

/** A module of functions `() -> ()` with these locals and codes; the first is exported as "f". */
function moduleOf(functions: readonly { locals?: number[]; code: Uint8Array | number[] }[]) {
  const w = new Writer().u8(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0).u8(1, 4, 1, 0x60, 0, 0);
  const types = new Writer().u32(functions.length);
  for (const _ of functions) types.u8(0);
  w.u8(3).appendSized(types).u8(7).appendSized(new Writer().u8(1).name("f").u8(0, 0));
  const code = new Writer().u32(functions.length);
  for (const f of functions) {
    code.appendSized(new Writer().u8(...f.locals ?? [0]).copy(Uint8Array.from(f.code)).u8(0x0b));
  }
  return w.u8(10).appendSized(code).bytes();
}

/** `code` over and over. */
function repeated(n: number, ...code: number[]): Uint8Array {
  const bytes = new Uint8Array(n * code.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = code[i % code.length]!;
  return bytes;
}

const CALL = 0x10, DROP = 0x1a, I32_CONST = 0x41, NOP = 0x01;

Deno.test("long straight code is checked on its way, and costs what it did", async () => {
  const module = moduleOf([{ code: repeated(150_000, I32_CONST, 0, DROP) }]);
  const whole = await run(module);
  whole.exports.f();
  assert.equal(whole.host.used, 300_000);
  const { host, exports } = await run(module, { host: new TestHost(1000, 50_000) });
  assert.throws(() => exports.f(), /unreachable/);
  assert.ok(host.used < 150_000, `${host.used}`);
});

Deno.test("long rows of cheap calls are checked on their way", async () => {
  const leaf = { code: repeated(30, I32_CONST, 0, DROP) };
  const module = moduleOf([{ code: repeated(10_000, CALL, 1) }, leaf]);
  const whole = await run(module);
  whole.exports.f();
  assert.equal(whole.host.used, 10_000 * 61);
  // The row itself is paid in front.
  const { host, exports } = await run(module, { host: new TestHost(1000, 100_000) });
  assert.throws(() => exports.f(), /unreachable/);
  assert.ok(host.used < 130_000, `${host.used}`);
});

Deno.test("a function may have as many locals as engines take, but for two", async () => {
  const locals = (n: number) => [...new Writer().u8(1).u32(n).u8(0x7f).bytes()];
  const code = [CALL, 1];
  const { exports } = await run(
    moduleOf([{ locals: locals(LOCALS_MAX - 2), code }, { code: [NOP] }]),
    { host: new TestHost(1000, 1000, 1 << 20) },
  );
  exports.f();
  for (const n of [LOCALS_MAX - 1, 0xffffffff]) {
    assert.throws(
      () => meter(moduleOf([{ locals: locals(n), code }, { code: [NOP] }]), OPTIONS),
      (e) => e instanceof RealmError && e.code === "unsupported",
    );
  }
});

Deno.test("time grows no faster than the module", () => {
  const nested = (n: number) => {
    const code = new Uint8Array(4 * n);
    // Blocks in blocks, each with a way out of all of them.
    for (let i = 0; i < n; i++) code.set([0x02, 0x40], 2 * i);
    code.fill(0x0b, 2 * n, 3 * n);
    return code.subarray(0, 3 * n);
  };
  const branching = (n: number) => {
    const w = new Writer();
    for (let i = 0; i < n; i++) w.u8(0x02, 0x40, I32_CONST, 0, 0x0d).u32(i);
    for (let i = 0; i < n; i++) w.u8(0x0b);
    return w.bytes();
  };
  for (const shape of [nested, branching]) {
    const time = (n: number) => {
      const module = moduleOf([{ code: shape(n) }]);
      const start = process.cpuUsage();
      meter(module, OPTIONS);
      const { user, system } = process.cpuUsage(start);
      return user + system;
    };
    time(1000);
    // Eight times the work; quadratic would be 64 times, the more often it is tried.
    const small = [], large = [];
    do {
      small.push(time(20_000));
      large.push(time(160_000));
      assert.ok(large.length < 20, `${small} µs, ${large} µs`);
    } while (Math.min(...large) >= 30 * Math.min(...small));
  }
});

Deno.test("counts that lie are refused before anything is made for them", () => {
  const header = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
  const huge = [0xff, 0xff, 0xff, 0xff, 0x0f];
  for (const section of [1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 13]) {
    const bytes = new Uint8Array([...header, section, 5, ...huge]);
    assert.throws(() => meter(bytes, OPTIONS), RealmError, `section ${section}`);
  }
  const brTable = moduleOf([{ code: [I32_CONST, 0, 0x0e, ...huge] }]);
  assert.throws(() => meter(brTable, OPTIONS), RealmError);
});

Deno.test("indices may not reach what the rewriter adds", () => {
  const beyond: number[][] = [
    // A local, a global, a function, a label, a type behind the last of the guest's own.
    [0x20, 0, DROP],
    [0x23, 0, DROP],
    [CALL, 1],
    [CALL, 2],
    [0xd2, 1, DROP],
    [0x0c, 1],
    [0x02, 1, 0x0b],
    [I32_CONST, 0, 0x0e, 0, 1],
  ];
  for (const code of beyond) {
    assert.throws(
      () => meter(moduleOf([{ code }]), OPTIONS),
      (e) => e instanceof RealmError && e.code === "invalid-module" && /function 0/.test(e.message),
      String(code),
    );
  }
});
