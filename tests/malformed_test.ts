/**
 * Files that are broken, or made to cost: each is refused with a clear error or runs within its
 * limits, and the engine goes on.
 *
 * @module
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { parse } from "./wasm_tools.ts";
import { RealmError } from "../agent/kernel/error.ts";
import { endOf, fixture, runGuest, withEngine } from "./guest.ts";

const MIB = 1024 * 1024;
/** Other values are refused, whatever file is given. */
const REFUSALS = ["invalid-module", "unsupported", "unknown-import", "memory-limit"];

// ---- modules, by hand ----

type Bytes = Uint8Array | readonly number[];

function join(...parts: readonly Bytes[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function leb(n: number): number[] {
  const low = n & 0x7f;
  return n < 0x80 ? [low] : [low | 0x80, ...leb(Math.floor(n / 0x80))];
}

function repeat(times: number, bytes: readonly number[]): Uint8Array {
  const all = new Uint8Array(times * bytes.length);
  for (let i = 0; i < times; i++) all.set(bytes, i * bytes.length);
  return all;
}

const section = (id: number, ...parts: Bytes[]) => {
  const body = join(...parts);
  return join([id], leb(body.length), body);
};
const name = (text: Uint8Array | string) => {
  const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
  return join(leb(bytes.length), bytes);
};
const EMPTY = [2, 0, 0x0b];
const TYPES = section(1, [1, 0x60, 0, 0]);
const FUNCTION = section(3, [1, 0]);
const START = join(name("_start"), [0, 0]);
const EXPORTS = section(7, [1], START);
const CODE = section(10, [1], EMPTY);
const moduleOf = (...sections: Uint8Array[]) =>
  join([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0], ...sections);

/** A module of WASI 0.1 whose start has this body: locals, then instructions without `end`. */
function bodyOf(...parts: Bytes[]): Uint8Array {
  const body = join(...parts, [0x0b]);
  return moduleOf(TYPES, FUNCTION, EXPORTS, section(10, [1], leb(body.length), body));
}

// ---- components, as text ----

const CORE = `(core module $m (memory (export "m") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 0)
    (func (export "go") (result i32) i32.const 0) (func (export "x") (param i32)))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "go")))
  (instance $r (export "run" (func $run))) (export "wasi:cli/run@0.2.0" (instance $r))`;

/** Names \`$t0\` to \`$tN\` of types, each twice as large as the one before. */
function doubled(n: number): string {
  let text = "(type $t0 (tuple u64 u64))";
  for (let i = 1; i <= n; i++) text += `(type $t${i} (tuple $t${i - 1} $t${i - 1}))`;
  return text;
}

const taking = (type: string, i = 0) =>
  `(func $x${i} (param "a" ${type})
    (canon lift (core func $i "x") (memory $i "m") (realloc (func $i "realloc"))))
  (export "x${i}" (func $x${i}))`;

const many = (n: number, each: (i: number) => string) =>
  Array.from({ length: n }, (_, i) => each(i)).join("");

// ---- the cases ----

/** What each file comes to: a refusal's code, or how the guest ended. */
const CASES: Readonly<Record<string, readonly [() => Uint8Array | Promise<Uint8Array>, RegExp]>> = {
  "nothing": [() => new Uint8Array(), /^invalid-module$/],
  "text": [() => new TextEncoder().encode("#!/bin/sh\n"), /^invalid-module$/],
  "a header alone": [() => moduleOf(), /^unsupported$/],
  "a module of the next version": [
    () => join([0, 0x61, 0x73, 0x6d, 2, 0, 0, 0]),
    /^(invalid-module|unsupported)$/,
  ],
  "a section that ends after the file": [
    () => join(moduleOf(TYPES), [3, 0x80, 0x80, 4, 1]),
    /^invalid-module$/,
  ],
  "a length that never ends": [
    () => join(moduleOf(), [1, ...repeat(64, [0x80])]),
    /^invalid-module$/,
  ],
  "a name that is not UTF-8": [
    () =>
      moduleOf(
        TYPES,
        FUNCTION,
        section(7, [2], START, name(new Uint8Array([0xff, 0xfe])), [0, 0]),
        CODE,
      ),
    /^invalid-module$/,
  ],
  "a name of 10 MB": [
    () =>
      moduleOf(
        TYPES,
        FUNCTION,
        section(7, [2], START, name(repeat(10 * MIB, [0x61])), [0, 0]),
        CODE,
      ),
    /^(invalid-module|exit 0)$/,
  ],
  "two exports of one name": [
    () => moduleOf(TYPES, FUNCTION, section(7, [2], START, START), CODE),
    /^invalid-module$/,
  ],
  "a million functions": [
    () =>
      moduleOf(
        TYPES,
        section(3, leb(1e6 - 2), new Uint8Array(1e6 - 2)),
        EXPORTS,
        section(10, leb(1e6 - 2), repeat(1e6 - 2, EMPTY)),
      ),
    /^unsupported$/,
  ],
  "a million imports": [
    () =>
      moduleOf(
        TYPES,
        section(2, leb(990_000), repeat(990_000, [1, 0x78, 1, 0x79, 0, 0])),
        FUNCTION,
        EXPORTS,
        CODE,
      ),
    /^unknown-import$/,
  ],
  "four billion locals": [() => bodyOf([1, ...leb(2 ** 32 - 1), 0x7f]), /^unsupported$/],
  "2,000 functions of 49,000 locals": [
    () =>
      moduleOf(
        TYPES,
        section(3, leb(2000), new Uint8Array(2000)),
        EXPORTS,
        section(10, leb(2000), repeat(2000, [6, 1, ...leb(49_000), 0x7f, 0x0b])),
      ),
    /^exit 0$/,
  ],
  "200,000 blocks in one another": [
    () => bodyOf([0], repeat(200_000, [0x02, 0x40]), repeat(200_000, [0x0b])),
    /^exit 0$/,
  ],
  "200,000 loops in one another": [
    () => bodyOf([0], repeat(200_000, [0x03, 0x40]), repeat(200_000, [0x0b])),
    /^exit 0$/,
  ],
  "a jump with a million targets": [
    () => bodyOf([0, 0x02, 0x40, 0x41, 0, 0x0e, ...leb(1e6)], new Uint8Array(1e6 + 1), [0x0b]),
    /^invalid-module$/,
  ],
  "a function of 8 MB": [() => bodyOf([0], repeat(2_700_000, [0x41, 0, 0x1a])), /^unsupported$/],
  "a table of four billion elements": [
    () => moduleOf(TYPES, FUNCTION, section(4, [1, 0x70, 0, ...leb(2 ** 32 - 1)]), EXPORTS, CODE),
    /^memory-limit$/,
  ],
  "a hundred tables of ten million elements": [
    () =>
      moduleOf(
        TYPES,
        FUNCTION,
        section(4, [100], repeat(100, [0x70, 0, ...leb(9_900_000)])),
        EXPORTS,
        CODE,
      ),
    /^memory-limit$/,
  ],
  "a memory of 4 GiB": [
    () => moduleOf(TYPES, FUNCTION, section(5, [1, 0, ...leb(65_536)]), EXPORTS, CODE),
    /^memory-limit$/,
  ],
  "a memory that others share": [
    () => moduleOf(TYPES, FUNCTION, section(5, [1, 3, 1, 1]), EXPORTS, CODE),
    /^unsupported$/,
  ],
  "a module with a memory of 32 MiB, three times": [
    () =>
      parse(
        `(component (core module $b (memory 512)) ${
          many(3, () => "(core instance (instantiate $b))")
        } ${CORE})`,
      ),
    /^memory-limit$/,
  ],
  "900 instances of a module with a hundred memories of nothing": [
    () =>
      parse(
        `(component (core module $b ${many(100, () => "(memory 0)")}) ${
          many(900, () => "(core instance (instantiate $b))")
        } ${CORE})`,
      ),
    /^memory-limit$/,
  ],
  "101 memories": [
    () => moduleOf(TYPES, FUNCTION, section(5, [101], repeat(101, [0, 0])), EXPORTS, CODE),
    /^unsupported$/,
  ],
  "300,000 exports": [
    () =>
      moduleOf(
        TYPES,
        FUNCTION,
        section(
          7,
          leb(300_001),
          START,
          Uint8Array.from(
            { length: 6 * 300_000 },
            (_, at) => [3, at / 6 >> 14, at / 6 >> 7 & 127, at / 6 & 127, 0, 0][at % 6]!,
          ),
        ),
        CODE,
      ),
    /^memory-limit$/,
  ],
  "100,001 types": [
    () =>
      moduleOf(section(1, leb(100_001), repeat(100_001, [0x60, 0, 0])), FUNCTION, EXPORTS, CODE),
    /^unsupported$/,
  ],
  "three modules of 40,000 types": [
    () =>
      parse(
        `(component ${many(3, () => `(core module ${"(type (func))".repeat(40_000)})`)} ${CORE})`,
      ),
    /^unsupported$/,
  ],
  "a table of exceptions": [
    () => moduleOf(TYPES, FUNCTION, section(4, [1, 0x69, 0, 10]), EXPORTS, CODE),
    /^unsupported$/,
  ],
  "a table of exceptions, written at length": [
    () => moduleOf(TYPES, FUNCTION, section(4, [1, 0x63, 0x69, 0, 10]), EXPORTS, CODE),
    /^unsupported$/,
  ],
  "a global that keeps an exception": [
    () => moduleOf(TYPES, FUNCTION, section(6, [1, 0x69, 1, 0xd0, 0x69, 0x0b]), EXPORTS, CODE),
    /^unsupported$/,
  ],
  "exceptions of five numbers": [
    () =>
      moduleOf(
        section(1, [2, 0x60, 0, 0, 0x60, 5, 0x7e, 0x7e, 0x7e, 0x7e, 0x7e, 0]),
        FUNCTION,
        section(13, [1, 0, 1]),
        EXPORTS,
        CODE,
      ),
    /^unsupported$/,
  ],
  "a type that doubles thirty times": [
    () => parse(`(component ${doubled(30)} (import "x:y/z" (func (param "a" $t30))))`),
    /^(unknown-import|invalid-module)$/,
  ],
  "a type of 65,536 numbers": [
    () => parse(`(component ${doubled(14)} ${CORE} ${taking("$t14")})`),
    /^exit 0$/,
  ],
  "four functions that take a type of 65,536 numbers": [
    () => parse(`(component ${doubled(14)} ${CORE} ${many(4, (i) => taking("$t14", i))})`),
    /^invalid-module$/,
  ],
  "300 functions that take a type of 131,072 numbers": [
    () => parse(`(component ${doubled(16)} ${CORE} ${many(300, (i) => taking("$t16", i))})`),
    /^invalid-module$/,
  ],
  "2,000 core modules": [
    () => parse(`(component ${many(2000, () => "(core module)")} ${CORE})`),
    /^invalid-module$/,
  ],
  "90 components in one another": [
    () => parse("(component ".repeat(90) + ")".repeat(90)),
    /^unsupported$/,
  ],
  "200 components in one another": [
    () => {
      let nested = new Uint8Array([0, 0x61, 0x73, 0x6d, 0x0d, 0, 1, 0]);
      for (let i = 0; i < 200; i++) {
        nested = join([0, 0x61, 0x73, 0x6d, 0x0d, 0, 1, 0], section(4, nested)) as typeof nested;
      }
      return nested;
    },
    /^(unsupported|invalid-module)$/,
  ],
};

Deno.test("a broken file, or one that is made to cost, is refused or held to its limits", async (t) => {
  await withEngine(async (engine) => {
    for (const [what, [make, wanted]] of Object.entries(CASES)) {
      await t.step(what, async () => {
        const end = await endOfFile(engine, await make());
        assert.match(end, wanted);
      });
    }
    await t.step("and the next component runs", async () => {
      const { exit, stdout } = await runGuest(engine, "hello");
      assert.deepEqual([endOf(exit), stdout], ["exit 0", "hello, world\n"]);
    });
  });
});

Deno.test("a component with bytes that are wrong is refused, or ends by itself or by its limits", async () => {
  const good = await fixture("hello");
  await withEngine(async (engine) => {
    const flips = fc.array(
      fc.tuple(fc.integer({ min: 8, max: good.length - 1 }), fc.integer({ min: 1, max: 255 })),
      { minLength: 1, maxLength: 3 },
    );
    const damage = fc.oneof(
      flips.map((all) => {
        const bytes = good.slice();
        for (const [at, by] of all) bytes[at]! ^= by;
        return bytes;
      }),
      fc.integer({ min: 0, max: good.length - 1 }).map((length) => good.slice(0, length)),
    );
    const numRuns = Deno.env.get("SLOW") ? 3000 : 150;
    await fc.assert(
      fc.asyncProperty(damage, async (bytes) => {
        await endOfFile(engine, bytes);
      }),
      { numRuns },
    );
    const { exit } = await runGuest(engine, "hello");
    assert.equal(endOf(exit), "exit 0");
  });
});

/** The code of the refusal; else how the guest ended. */
async function endOfFile(
  engine: Parameters<typeof runGuest>[0],
  component: Uint8Array,
): Promise<string> {
  const limits = { memoryBytesMax: 64 * MIB, epochTimeoutMs: 2_000, timeoutMs: 20_000 };
  try {
    const { exit } = await runGuest(engine, "", { component, limits });
    if (exit.kind === "trap") assert.ok(exit.code !== "failed", exit.message);
    return endOf(exit);
  } catch (error) {
    assert.ok(error instanceof RealmError, String(error));
    assert.ok(REFUSALS.includes(error.code), `${error.code}: ${error.message}`);
    assert.ok(error.message.length < 2_000, "a message that nobody reads to its end");
    return error.code;
  }
}
