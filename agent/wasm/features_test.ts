import assert from "node:assert/strict";
import fc from "fast-check";
import { Writer } from "./meter/binary.ts";
import { IMM, IMMEDIATE, NAME, OP } from "./meter/opcodes.ts";
import { assemble } from "./meter/host_fake.ts";
import { generate } from "../../tests/wasm_generator.ts";
import { type Feature, featureOf, functionName, scanFeatures, type Use } from "./features.ts";

const OPCODES = [...IMMEDIATE.keys()].filter((opcode) => IMMEDIATE[opcode] !== 0);

/** Ranges of the specification's table of opcodes that name f32 or f64, without vectors. */
const FLOAT_RANGES: readonly [number, number][] = [
  [0x2a, 0x2b], // load
  [0x38, 0x39], // store
  [0x43, 0x44], // const
  [0x5b, 0x66], // compare
  [0x8b, 0xa6], // compute
  [0xa8, 0xab], // i32.trunc
  [0xae, 0xbf], // i64.trunc, convert, demote, promote, reinterpret
  [0x100, 0x107], // trunc_sat
];

function expected(opcode: number): Feature | undefined {
  if (opcode >= 0x200) return "vector";
  if (FLOAT_RANGES.some(([from, to]) => opcode >= from && opcode <= to)) return "float";
  // try, catch, throw, rethrow, throw_ref; delegate, catch_all; try_table
  const isException = (opcode >= 0x06 && opcode <= 0x0a) || opcode === 0x18 || opcode === 0x19 ||
    opcode === 0x1f;
  return isException ? "exception" : undefined;
}

function uses(bytes: Uint8Array): Use[] {
  const found: Use[] = [];
  scanFeatures(bytes, (use) => found.push(use));
  return found;
}

/** A module with one function of these bytes. */
function moduleOf(code: Uint8Array): Uint8Array {
  const w = new Writer().u8(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);
  const section = (id: number, content: Writer) => w.u8(id).appendSized(content);
  section(1, new Writer().u8(1, 0x60, 0, 0));
  section(3, new Writer().u8(1, 0));
  section(10, new Writer().u8(1).appendSized(new Writer().u8(0).copy(code).u8(OP.END)));
  return w.bytes();
}

/** Writes an instruction with immediates that have nothing to do with one another. */
function write(w: Writer, opcode: number, n: number): void {
  if (opcode < 0x100) w.u8(opcode);
  else if (opcode < 0x200) w.op(0xfc, opcode - 0x100);
  else w.op(0xfd, opcode - 0x200);
  const memarg = () => n % 3 === 0 ? w.u32(64 + n % 4).u32(n).u32(n) : w.u32(n % 5).u32(n);
  switch (IMMEDIATE[opcode]) {
    case IMM.NONE:
      return;
    case IMM.MEMARG:
      memarg();
      return;
    case IMM.MEMARG_LANE:
      memarg().u8(n % 256);
      return;
    case IMM.LANE:
      w.u8(n % 256);
      return;
    case IMM.BYTES_4:
    case IMM.BYTES_8:
    case IMM.BYTES_16: {
      const size = { [IMM.BYTES_4]: 4, [IMM.BYTES_8]: 8, [IMM.BYTES_16]: 16 };
      for (let i = 0; i < size[IMMEDIATE[opcode] as 6 | 7 | 8]; i++) w.u8((n + i * 41) % 256);
      return;
    }
    case IMM.LEB32:
    case IMM.LEB64:
      w.s32(n * 7919 - 1_000_000);
      return;
  }
  switch (opcode) {
    case OP.BLOCK:
    case OP.LOOP:
    case OP.IF:
    case OP.TRY:
      n % 2 ? w.u8(0x40) : w.s32(n);
      return;
    case OP.TRY_TABLE:
      w.u8(0x40, 4, 0).u32(n).u32(n).u8(1).u32(n).u32(n).u8(2).u32(n).u8(3).u32(n);
      return;
    case OP.ELSE:
    case OP.CATCH_ALL:
    case OP.THROW_REF:
    case OP.RETURN:
      return;
    case OP.BR_TABLE:
      w.u32(3).u32(n).u32(n + 1).u32(n).u32(n);
      return;
    case OP.SELECT_T:
      w.u8(1, 0x7f);
      return;
    case OP.REF_NULL:
      w.u8(0x70);
      return;
    case OP.CALL_INDIRECT:
    case OP.RETURN_CALL_INDIRECT:
    case OP.MEMORY_INIT:
    case OP.MEMORY_COPY:
    case OP.TABLE_INIT:
    case OP.TABLE_COPY:
      w.u32(n);
  }
  w.u32(n);
}

const OPENS: readonly number[] = [OP.BLOCK, OP.LOOP, OP.IF, OP.TRY, OP.TRY_TABLE];
/** Those that close or split what is open are written where they belong. */
const ANYWHERE = OPCODES.filter((opcode) => opcode !== OP.END && opcode !== OP.DELEGATE);

/** Writes a list of instructions; what they open is closed at the end. */
function code(list: readonly (readonly [number, number])[]): { bytes: Uint8Array; at: number[] } {
  const w = new Writer();
  const at = list.map(([opcode, n]) => {
    const start = w.length;
    write(w, opcode, n);
    return start;
  });
  for (const [opcode] of list) if (OPENS.includes(opcode)) w.u8(OP.END);
  return { bytes: w.bytes(), at };
}

Deno.test("featureOf() classifies every opcode of the table as the specification does", () => {
  assert.ok(OPCODES.length > 400);
  for (const opcode of OPCODES) {
    assert.equal(featureOf(opcode), expected(opcode), `0x${opcode.toString(16)} ${NAME[opcode]}`);
  }
});

Deno.test("scanFeatures() reads over every instruction, whatever its immediates are", () => {
  for (const opcode of ANYWHERE) {
    for (const n of [0, 1, 5, 63, 64, 127, 128, 300, 20_000]) {
      // Immediates that were read wrongly would show as another feature or as a malformed body.
      const { bytes } = code([[opcode, n], [OP.NOP, 0], [0x92, 0], [OP.NOP, 0]]);
      const want = [expected(opcode), "float"].filter((feature) => feature !== undefined);
      assert.deepEqual(
        uses(moduleOf(bytes)).map(({ feature }) => feature),
        want,
        `${NAME[opcode]} ${n}`,
      );
    }
  }
});

Deno.test("scanFeatures() finds one float among any instructions, and where it stands", () => {
  const plain = ANYWHERE.filter((opcode) => expected(opcode) === undefined);
  const floats = ANYWHERE.filter((opcode) => expected(opcode) === "float");
  const instruction = fc.tuple(fc.constantFrom(...plain), fc.nat(100_000));
  fc.assert(
    fc.property(
      fc.array(instruction, { maxLength: 40 }),
      fc.constantFrom(...floats),
      fc.nat(100_000),
      fc.nat(),
      (list, opcode, n, place) => {
        assert.deepEqual(uses(moduleOf(code(list).bytes)), []);
        const i = place % (list.length + 1);
        const { bytes, at } = code([...list.slice(0, i), [opcode, n], ...list.slice(i)]);
        const module = moduleOf(bytes);
        // In front of the body is everything else, behind it one `end`.
        const start = module.length - bytes.length - 1;
        assert.deepEqual(uses(module), [{
          feature: "float",
          what: `instruction ${NAME[opcode]}`,
          at: start + at[i]!,
          function: 0,
        }]);
      },
    ),
    { numRuns: Deno.env.has("SLOW") ? 5000 : 300 },
  );
});

Deno.test("scanFeatures() finds floats, vectors and exceptions wherever they can stand", async () => {
  const cases: [string, string[]][] = [
    ["(type (func (param i32 f64)))", ["type f64"]],
    ["(type (func (result f32)))", ["type f32"]],
    ['(import "a" "b" (func (param f32)))', ["type f32"]],
    ['(import "a" "b" (global f64))', ["type f64"]],
    ['(import "a" "b" (global (mut v128)))', ["type v128"]],
    ['(import "a" "b" (tag))', ["tag"]],
    ["(tag)", ["tag"]],
    ["(global f32 (f32.const 0))", ["type f32", "instruction f32.const"]],
    ["(global (mut f64) (f64.const 0))", ["type f64", "instruction f64.const"]],
    [
      "(global v128 (v128.const i64x2 0 0))",
      ["type v128", "instruction v128.const"],
    ],
    ["(elem exnref (ref.null exn))", ["type exnref", "type exnref"]],
    ["(func (local i32 f64))", ["type f64"]],
    ["(func (block (result f32) unreachable) drop)", ["type f32"]],
    ["(func unreachable (select (result f64)) drop)", ["type f64"]],
    ["(func (try_table unreachable))", ["instruction try_table"]],
    ["(func ref.null exn drop)", ["type exnref"]],
    ["(func f32.const 0 drop)", ["instruction f32.const"]],
    ["(func i32.const 0 i32x4.splat drop)", ["instruction i32x4.splat"]],
    ["(func unreachable i32.trunc_sat_f64_u drop)", ["instruction i32.trunc_sat_f64_u"]],
    // What no guest is refused for.
    [
      `(memory 1) (table 1 funcref) (data (i32.const 0) "f32") (data "x") (elem (i32.const 0) 0)
       (elem func 0) (elem declare func 0) (elem funcref (ref.func 0)) (global (mut i64) (i64.const 1))
       (func (local i32 i64) (loop (result i32) (memory.size)) drop ref.null func drop
         unreachable (select (result funcref)) drop)`,
      [],
    ],
  ];
  for (const [text, want] of cases) {
    const found = uses(await assemble(`(module ${text})`));
    assert.deepEqual(found.map(({ what }) => what), want, text);
  }
});

Deno.test("scanFeatures() refuses threads, shared memory and what it does not know", async () => {
  for (
    const text of [
      "(memory 1 1 shared)",
      '(import "a" "b" (memory 1 1 shared))',
      "(memory 1) (func unreachable i32.atomic.load drop)",
      "(func atomic.fence)",
      "(memory i64 1)",
      "(type (struct (field i32)))",
    ]
  ) {
    const bytes = await assemble(`(module ${text})`);
    assert.throws(() => uses(bytes), { code: "unsupported" }, text);
  }
});

Deno.test("scanFeatures() of cut off modules throws what readers throw", async () => {
  const bytes = await assemble(`(module (memory 1) (table 1 funcref) (elem (i32.const 0) 0)
    (global i32 (i32.const 7)) (func (block (br_table 0 0 (i32.const 1)))) (data (i32.const 0) "a"))`);
  for (let end = 9; end < bytes.length; end++) {
    try {
      uses(bytes.subarray(0, end));
    } catch (error) {
      assert.match((error as { code: string }).code, /^(invalid-module|unsupported)$/);
    }
  }
});

Deno.test("functionName() tells the name that the module gives", async () => {
  const bytes = await assemble("(module (func) (func $here f32.const 0 drop))");
  const module = scanFeatures(bytes, () => {});
  assert.equal(functionName(module, 1), "here");
  assert.equal(functionName(module, 7), undefined);
});

Deno.test("scanFeatures() of random valid modules reads them whole and finds what they are made of", () => {
  const seen = new Set<string>();
  for (let seed = 1; seed <= (Deno.env.has("SLOW") ? 1000 : 40); seed++) {
    const { plain, features } = generate(seed);
    const found = new Set(uses(plain).map(({ feature }) => feature));
    if (!features.simd && !features.relaxedSimd) assert.ok(!found.has("vector"), `seed ${seed}`);
    if (features.exceptions === "none") assert.ok(!found.has("exception"), `seed ${seed}`);
    for (const feature of found) seen.add(feature);
  }
  assert.deepEqual([...seen].sort(), ["exception", "float", "vector"]);
});
