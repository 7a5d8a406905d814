/**
 * Every instruction the rewriter knows: its name, its immediates and what it does to the height
 * of the operand stack. An opcode that is not in this table is refused.
 *
 * Opcodes are one number: the byte itself, `0x100 + n` for the prefix 0xFC, `0x200 + n` for 0xFD.
 * Specification: https://webassembly.github.io/spec/core/binary/instructions.html, and for `try`,
 * `catch`, `rethrow`, `delegate` and `catch_all` the legacy exception handling proposal.
 *
 * @module
 */

/** Kinds of immediates. 0 stands for an unknown opcode. */
export const IMM = {
  NONE: 1,
  /** The decoder reads it by opcode: indices of variables, memories, tables, segments; types. */
  SPECIAL: 2,
  MEMARG: 3,
  MEMARG_LANE: 4,
  LANE: 5,
  BYTES_4: 6,
  BYTES_8: 7,
  BYTES_16: 8,
  /** A signed integer of at most 5 or 10 bytes. */
  LEB32: 9,
  LEB64: 10,
  /** The decoder treats it by opcode: blocks, branches, calls. */
  CONTROL: 11,
} as const;

/** Opcodes that the decoder and the emitter treat one by one. */
export const OP = {
  UNREACHABLE: 0x00,
  NOP: 0x01,
  BLOCK: 0x02,
  LOOP: 0x03,
  IF: 0x04,
  ELSE: 0x05,
  TRY: 0x06,
  CATCH: 0x07,
  THROW: 0x08,
  RETHROW: 0x09,
  THROW_REF: 0x0a,
  END: 0x0b,
  BR: 0x0c,
  BR_IF: 0x0d,
  BR_TABLE: 0x0e,
  RETURN: 0x0f,
  CALL: 0x10,
  CALL_INDIRECT: 0x11,
  RETURN_CALL: 0x12,
  RETURN_CALL_INDIRECT: 0x13,
  CALL_REF: 0x14,
  RETURN_CALL_REF: 0x15,
  DELEGATE: 0x18,
  CATCH_ALL: 0x19,
  SELECT_T: 0x1c,
  TRY_TABLE: 0x1f,
  LOCAL_GET: 0x20,
  LOCAL_SET: 0x21,
  LOCAL_TEE: 0x22,
  GLOBAL_GET: 0x23,
  GLOBAL_SET: 0x24,
  TABLE_GET: 0x25,
  TABLE_SET: 0x26,
  MEMORY_SIZE: 0x3f,
  MEMORY_GROW: 0x40,
  I32_CONST: 0x41,
  REF_NULL: 0xd0,
  REF_FUNC: 0xd2,
  BR_ON_NULL: 0xd5,
  BR_ON_NON_NULL: 0xd6,
  MEMORY_INIT: 0x108,
  DATA_DROP: 0x109,
  MEMORY_COPY: 0x10a,
  MEMORY_FILL: 0x10b,
  TABLE_INIT: 0x10c,
  ELEM_DROP: 0x10d,
  TABLE_COPY: 0x10e,
  TABLE_GROW: 0x10f,
  TABLE_SIZE: 0x110,
  TABLE_FILL: 0x111,
} as const;

const SIZE = 0x400;
/** Kind of the immediates, by opcode. */
export const IMMEDIATE = new Uint8Array(SIZE);
/** Operands taken, by opcode; 0 where it depends on the immediates. */
export const POPS = new Uint8Array(SIZE);
/** Results given, by opcode; 0 where it depends on the immediates. */
export const PUSHES = new Uint8Array(SIZE);
/** Name in the text format, by opcode. */
export const NAME: string[] = [];

/** Describes consecutive opcodes that differ by name only; `-` leaves a hole. */
function define(first: number, immediate: number, pops: number, pushes: number, names: string) {
  for (const [i, name] of names.trim().split(/\s+/).entries()) {
    if (name === "-") continue;
    IMMEDIATE[first + i] = immediate;
    POPS[first + i] = pops;
    PUSHES[first + i] = pushes;
    NAME[first + i] = name;
  }
}

/** Prefixes every name with a shape or type. */
function of(type: string, names: string): string {
  return names.trim().split(/\s+/).map((name) => name === "-" ? name : `${type}.${name}`).join(" ");
}

const {
  NONE,
  SPECIAL,
  MEMARG,
  MEMARG_LANE,
  LANE,
  BYTES_4,
  BYTES_8,
  BYTES_16,
  LEB32,
  LEB64,
  CONTROL,
} = IMM;

define(0x00, NONE, 0, 0, "unreachable nop");
define(0x02, CONTROL, 0, 0, "block loop if else try catch throw rethrow throw_ref end");
define(0x0c, CONTROL, 0, 0, "br br_if br_table return call call_indirect");
define(0x12, CONTROL, 0, 0, "return_call return_call_indirect call_ref return_call_ref");
define(0x18, CONTROL, 0, 0, "delegate catch_all");
define(0x1a, NONE, 1, 0, "drop");
define(0x1b, NONE, 3, 1, "select");
define(0x1c, SPECIAL, 3, 1, "select");
define(0x1f, CONTROL, 0, 0, "try_table");
define(0x20, SPECIAL, 0, 1, "local.get");
define(0x21, SPECIAL, 1, 0, "local.set");
define(0x22, SPECIAL, 1, 1, "local.tee");
define(0x23, SPECIAL, 0, 1, "global.get");
define(0x24, SPECIAL, 1, 0, "global.set");
define(0x25, SPECIAL, 1, 1, "table.get");
define(0x26, SPECIAL, 2, 0, "table.set");
define(0x28, MEMARG, 1, 1, "i32.load i64.load f32.load f64.load");
define(0x2c, MEMARG, 1, 1, of("i32", "load8_s load8_u load16_s load16_u"));
define(0x30, MEMARG, 1, 1, of("i64", "load8_s load8_u load16_s load16_u load32_s load32_u"));
define(0x36, MEMARG, 2, 0, "i32.store i64.store f32.store f64.store i32.store8 i32.store16");
define(0x3c, MEMARG, 2, 0, "i64.store8 i64.store16 i64.store32");
define(0x3f, SPECIAL, 0, 1, "memory.size");
define(0x40, SPECIAL, 1, 1, "memory.grow");
define(0x41, LEB32, 0, 1, "i32.const");
define(0x42, LEB64, 0, 1, "i64.const");
define(0x43, BYTES_4, 0, 1, "f32.const");
define(0x44, BYTES_8, 0, 1, "f64.const");

const INTEGER_COMPARE = "eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u";
const FLOAT_COMPARE = "eq ne lt gt le ge";
const INTEGER_BINARY = "add sub mul div_s div_u rem_s rem_u and or xor shl shr_s shr_u rotl rotr";
const FLOAT_UNARY = "abs neg ceil floor trunc nearest sqrt";
const FLOAT_BINARY = "add sub mul div min max copysign";
define(0x45, NONE, 1, 1, "i32.eqz");
define(0x46, NONE, 2, 1, of("i32", INTEGER_COMPARE));
define(0x50, NONE, 1, 1, "i64.eqz");
define(0x51, NONE, 2, 1, of("i64", INTEGER_COMPARE));
define(0x5b, NONE, 2, 1, of("f32", FLOAT_COMPARE));
define(0x61, NONE, 2, 1, of("f64", FLOAT_COMPARE));
define(0x67, NONE, 1, 1, of("i32", "clz ctz popcnt"));
define(0x6a, NONE, 2, 1, of("i32", INTEGER_BINARY));
define(0x79, NONE, 1, 1, of("i64", "clz ctz popcnt"));
define(0x7c, NONE, 2, 1, of("i64", INTEGER_BINARY));
define(0x8b, NONE, 1, 1, of("f32", FLOAT_UNARY));
define(0x92, NONE, 2, 1, of("f32", FLOAT_BINARY));
define(0x99, NONE, 1, 1, of("f64", FLOAT_UNARY));
define(0xa0, NONE, 2, 1, of("f64", FLOAT_BINARY));
define(
  0xa7,
  NONE,
  1,
  1,
  of("i32", "wrap_i64 trunc_f32_s trunc_f32_u trunc_f64_s trunc_f64_u") + " " +
    of("i64", "extend_i32_s extend_i32_u trunc_f32_s trunc_f32_u trunc_f64_s trunc_f64_u") + " " +
    of("f32", "convert_i32_s convert_i32_u convert_i64_s convert_i64_u demote_f64") + " " +
    of("f64", "convert_i32_s convert_i32_u convert_i64_s convert_i64_u promote_f32") + " " +
    "i32.reinterpret_f32 i64.reinterpret_f64 f32.reinterpret_i32 f64.reinterpret_i64 " +
    "i32.extend8_s i32.extend16_s i64.extend8_s i64.extend16_s i64.extend32_s",
);
define(0xd0, SPECIAL, 0, 1, "ref.null");
define(0xd1, NONE, 1, 1, "ref.is_null");
define(0xd2, SPECIAL, 0, 1, "ref.func");
define(0xd4, NONE, 1, 1, "ref.as_non_null");
define(0xd5, CONTROL, 0, 0, "br_on_null br_on_non_null");

define(
  0x100,
  NONE,
  1,
  1,
  of("i32", "trunc_sat_f32_s trunc_sat_f32_u trunc_sat_f64_s trunc_sat_f64_u") + " " +
    of("i64", "trunc_sat_f32_s trunc_sat_f32_u trunc_sat_f64_s trunc_sat_f64_u"),
);
define(0x108, SPECIAL, 3, 0, "memory.init");
define(0x109, SPECIAL, 0, 0, "data.drop");
define(0x10a, SPECIAL, 3, 0, "memory.copy memory.fill table.init");
define(0x10d, SPECIAL, 0, 0, "elem.drop");
define(0x10e, SPECIAL, 3, 0, "table.copy");
define(0x10f, SPECIAL, 2, 1, "table.grow");
define(0x110, SPECIAL, 0, 1, "table.size");
define(0x111, SPECIAL, 3, 0, "table.fill");

const LOADS = "load load8x8_s load8x8_u load16x4_s load16x4_u load32x2_s load32x2_u load8_splat " +
  "load16_splat load32_splat load64_splat";
define(0x200, MEMARG, 1, 1, of("v128", LOADS));
define(0x20b, MEMARG, 2, 0, "v128.store");
define(0x20c, BYTES_16, 0, 1, "v128.const");
define(0x20d, BYTES_16, 2, 1, "i8x16.shuffle");
define(0x20e, NONE, 2, 1, "i8x16.swizzle");
const SPLATS = "i8x16.splat i16x8.splat i32x4.splat i64x2.splat f32x4.splat f64x2.splat";
define(0x20f, NONE, 1, 1, SPLATS);
define(0x215, LANE, 1, 1, "i8x16.extract_lane_s i8x16.extract_lane_u");
define(0x217, LANE, 2, 1, "i8x16.replace_lane");
define(0x218, LANE, 1, 1, "i16x8.extract_lane_s i16x8.extract_lane_u");
define(0x21a, LANE, 2, 1, "i16x8.replace_lane");
for (const [i, shape] of ["i32x4", "i64x2", "f32x4", "f64x2"].entries()) {
  define(0x21b + 2 * i, LANE, 1, 1, `${shape}.extract_lane`);
  define(0x21c + 2 * i, LANE, 2, 1, `${shape}.replace_lane`);
}
define(0x223, NONE, 2, 1, of("i8x16", INTEGER_COMPARE));
define(0x22d, NONE, 2, 1, of("i16x8", INTEGER_COMPARE));
define(0x237, NONE, 2, 1, of("i32x4", INTEGER_COMPARE));
define(0x241, NONE, 2, 1, of("f32x4", FLOAT_COMPARE));
define(0x247, NONE, 2, 1, of("f64x2", FLOAT_COMPARE));
define(0x24d, NONE, 1, 1, "v128.not");
define(0x24e, NONE, 2, 1, "v128.and v128.andnot v128.or v128.xor");
define(0x252, NONE, 3, 1, "v128.bitselect");
define(0x253, NONE, 1, 1, "v128.any_true");
define(0x254, MEMARG_LANE, 2, 1, of("v128", "load8_lane load16_lane load32_lane load64_lane"));
define(0x258, MEMARG_LANE, 2, 0, of("v128", "store8_lane store16_lane store32_lane store64_lane"));
define(0x25c, MEMARG, 1, 1, "v128.load32_zero v128.load64_zero");
define(0x25e, NONE, 1, 1, "f32x4.demote_f64x2_zero f64x2.promote_low_f32x4");
define(0x260, NONE, 1, 1, of("i8x16", "abs neg popcnt all_true bitmask"));
define(0x265, NONE, 2, 1, of("i8x16", "narrow_i16x8_s narrow_i16x8_u"));
define(0x267, NONE, 1, 1, of("f32x4", "ceil floor trunc nearest"));
define(0x26b, NONE, 2, 1, of("i8x16", "shl shr_s shr_u add add_sat_s add_sat_u sub"));
define(0x272, NONE, 2, 1, of("i8x16", "sub_sat_s sub_sat_u"));
define(0x274, NONE, 1, 1, "f64x2.ceil f64x2.floor");
define(0x276, NONE, 2, 1, of("i8x16", "min_s min_u max_s max_u"));
define(0x27a, NONE, 1, 1, "f64x2.trunc");
define(0x27b, NONE, 2, 1, "i8x16.avgr_u");
define(0x27c, NONE, 1, 1, of("i16x8", "extadd_pairwise_i8x16_s extadd_pairwise_i8x16_u"));
define(0x27e, NONE, 1, 1, of("i32x4", "extadd_pairwise_i16x8_s extadd_pairwise_i16x8_u"));

/** `half` is the shape with lanes half as wide: the source of `extend` and `extmul`. */
function defineWideInteger(first: number, shape: string, half: string, sources: string) {
  const halves = (op: string) =>
    `${op}_low_${half}_s ${op}_high_${half}_s ${op}_low_${half}_u ${op}_high_${half}_u`;
  define(first, NONE, 1, 1, of(shape, `abs neg - all_true bitmask - - ${halves("extend")}`));
  define(first + 11, NONE, 2, 1, of(shape, `shl shr_s shr_u add - - sub - - - ${sources}`));
  define(first + 28, NONE, 2, 1, of(shape, halves("extmul")));
}
defineWideInteger(0x280, "i16x8", "i8x16", "mul min_s min_u max_s max_u - avgr_u");
define(0x282, NONE, 2, 1, "i16x8.q15mulr_sat_s");
define(0x285, NONE, 2, 1, of("i16x8", "narrow_i32x4_s narrow_i32x4_u"));
define(0x28f, NONE, 2, 1, of("i16x8", "add_sat_s add_sat_u"));
define(0x292, NONE, 2, 1, of("i16x8", "sub_sat_s sub_sat_u"));
define(0x294, NONE, 1, 1, "f64x2.nearest");
defineWideInteger(0x2a0, "i32x4", "i16x8", "mul min_s min_u max_s max_u dot_i16x8_s");
defineWideInteger(0x2c0, "i64x2", "i32x4", "mul eq ne lt_s gt_s le_s ge_s");
for (const [i, shape] of ["f32x4", "f64x2"].entries()) {
  define(0x2e0 + 12 * i, NONE, 1, 1, of(shape, "abs neg - sqrt"));
  define(0x2e4 + 12 * i, NONE, 2, 1, of(shape, "add sub mul div min max pmin pmax"));
}
define(0x2f8, NONE, 1, 1, of("i32x4", "trunc_sat_f32x4_s trunc_sat_f32x4_u"));
define(0x2fa, NONE, 1, 1, of("f32x4", "convert_i32x4_s convert_i32x4_u"));
define(0x2fc, NONE, 1, 1, of("i32x4", "trunc_sat_f64x2_s_zero trunc_sat_f64x2_u_zero"));
define(0x2fe, NONE, 1, 1, of("f64x2", "convert_low_i32x4_s convert_low_i32x4_u"));
define(0x300, NONE, 2, 1, "i8x16.relaxed_swizzle");
define(0x301, NONE, 1, 1, of("i32x4", "relaxed_trunc_f32x4_s relaxed_trunc_f32x4_u"));
define(0x303, NONE, 1, 1, of("i32x4", "relaxed_trunc_f64x2_s_zero relaxed_trunc_f64x2_u_zero"));
define(0x305, NONE, 3, 1, "f32x4.relaxed_madd f32x4.relaxed_nmadd");
define(0x307, NONE, 3, 1, "f64x2.relaxed_madd f64x2.relaxed_nmadd");
for (const [i, shape] of ["i8x16", "i16x8", "i32x4", "i64x2"].entries()) {
  define(0x309 + i, NONE, 3, 1, `${shape}.relaxed_laneselect`);
}
define(
  0x30d,
  NONE,
  2,
  1,
  "f32x4.relaxed_min f32x4.relaxed_max f64x2.relaxed_min f64x2.relaxed_max",
);
define(0x311, NONE, 2, 1, "i16x8.relaxed_q15mulr_s i16x8.relaxed_dot_i8x16_i7x16_s");
define(0x313, NONE, 3, 1, "i32x4.relaxed_dot_i8x16_i7x16_add_s");

/** Why an opcode that is not in the table is refused. */
export function refusal(prefix: number): string {
  switch (prefix) {
    case 0xfe:
      return "threads and atomics are not supported";
    case 0xfb:
    case 0xd3:
      return "garbage-collected types are not supported";
    case 0xe0:
    case 0xe1:
    case 0xe2:
    case 0xe3:
    case 0xe4:
    case 0xe5:
    case 0xe6:
      return "stack switching is not supported";
    default:
      return "this opcode is not supported";
  }
}
