/**
 * The instructions that take operands of fixed types and give one value, each with its types: what a
 * generator of modules can choose from. Names are left out: opcodes are one number, `0x100 + n` behind
 * the prefix 0xFC, `0x200 + n` behind 0xFD.
 *
 * Specification: https://webassembly.github.io/spec/core/appendix/index-instructions.html
 *
 * @module
 */

const I32 = 0x7f, I64 = 0x7e, F32 = 0x7d, F64 = 0x7c, V128 = 0x7b;

/** An instruction without access to memory. */
export interface Operation {
  readonly op: number;
  readonly params: readonly number[];
  readonly result: number;
  /** Bytes behind the opcode: lanes below this number, so many times; 0 for none. */
  readonly lanes: number;
  readonly laneBytes: number;
  /** It may trap: on a divisor of zero, or a number that is too large. */
  readonly traps: boolean;
  /** Its result may be a NaN with any payload. */
  readonly mayBeNaN: boolean;
  /** Engines may differ in what it gives. */
  readonly isRelaxed: boolean;
}

/** A load, or a store where there is no result. */
export interface Access {
  readonly op: number;
  /** What is loaded or stored, and for lanes the vector. */
  readonly type: number;
  readonly isStore: boolean;
  /** Power of two of the alignment that is natural. */
  readonly align: number;
  /** Lanes of the vector, of which the instruction names one; 0 for others. */
  readonly lanes: number;
}

export const OPERATIONS: Operation[] = [];
export const ACCESSES: Access[] = [];

type Options = Partial<Pick<Operation, "lanes" | "laneBytes" | "traps" | "mayBeNaN" | "isRelaxed">>;

/** Opcodes as ranges: a number, or a pair of the first and the last. */
function add(
  ops: readonly (number | readonly [number, number])[],
  params: readonly number[],
  result: number,
  options: Options = {},
): void {
  for (const item of ops) {
    const [first, last] = typeof item === "number" ? [item, item] : item;
    for (let op = first; op <= last; op++) {
      OPERATIONS.push({
        lanes: 0,
        laneBytes: options.lanes ? 1 : 0,
        traps: false,
        mayBeNaN: false,
        isRelaxed: false,
        ...options,
        op,
        params,
        result,
      });
    }
  }
}

const NAN = { mayBeNaN: true }, TRAPS = { traps: true };
add([0x45, [0x67, 0x69], 0xc0, 0xc1], [I32], I32);
add([[0x46, 0x4f], [0x6a, 0x6c], [0x71, 0x78]], [I32, I32], I32);
add([[0x6d, 0x70]], [I32, I32], I32, TRAPS);
add([[0x79, 0x7b], [0xc2, 0xc4]], [I64], I64);
add([0x50, 0xa7], [I64], I32);
add([[0x51, 0x5a]], [I64, I64], I32);
add([[0x7c, 0x7e], [0x83, 0x8a]], [I64, I64], I64);
add([[0x7f, 0x82]], [I64, I64], I64, TRAPS);
add([[0x5b, 0x60]], [F32, F32], I32);
add([[0x61, 0x66]], [F64, F64], I32);
add([0x8b, 0x8c], [F32], F32);
add([[0x8d, 0x91]], [F32], F32, NAN);
add([[0x92, 0x97]], [F32, F32], F32, NAN);
add([0x98], [F32, F32], F32);
add([0x99, 0x9a], [F64], F64);
add([[0x9b, 0x9f]], [F64], F64, NAN);
add([[0xa0, 0xa5]], [F64, F64], F64, NAN);
add([0xa6], [F64, F64], F64);
add([0xa8, 0xa9], [F32], I32, TRAPS);
add([0xaa, 0xab], [F64], I32, TRAPS);
add([0xac, 0xad], [I32], I64);
add([0xae, 0xaf], [F32], I64, TRAPS);
add([0xb0, 0xb1], [F64], I64, TRAPS);
add([0xb2, 0xb3, 0xbe], [I32], F32);
add([0xb4, 0xb5], [I64], F32);
add([0xb6], [F64], F32, NAN);
add([0xb7, 0xb8], [I32], F64);
add([0xb9, 0xba, 0xbf], [I64], F64);
add([0xbb], [F32], F64, NAN);
add([0xbc, 0x100, 0x101], [F32], I32);
add([0x102, 0x103], [F64], I32);
add([0x104, 0x105], [F32], I64);
add([0xbd, 0x106, 0x107], [F64], I64);

// Vectors.
const V = 0x200;
add([V + 13], [V128, V128], V128, { lanes: 32, laneBytes: 16 });
add([V + 14], [V128, V128], V128);
add([[V + 15, V + 17]], [I32], V128);
add([V + 18], [I64], V128);
add([V + 19], [F32], V128);
add([V + 20], [F64], V128);
for (
  const [extract, replace, lanes, type] of [
    [[V + 21, V + 22], V + 23, 16, I32],
    [[V + 24, V + 25], V + 26, 8, I32],
    [[V + 27, V + 27], V + 28, 4, I32],
    [[V + 29, V + 29], V + 30, 2, I64],
    [[V + 31, V + 31], V + 32, 4, F32],
    [[V + 33, V + 33], V + 34, 2, F64],
  ] as const
) {
  add([extract], [V128], type, { lanes });
  add([replace], [V128, type], V128, { lanes });
}
add([[V + 0x23, V + 0x4c]], [V128, V128], V128);
add([V + 0x4d], [V128], V128);
add([[V + 0x4e, V + 0x51]], [V128, V128], V128);
add([V + 0x52], [V128, V128, V128], V128);
add([V + 0x53], [V128], I32);
add([V + 0x5e, V + 0x5f], [V128], V128, NAN);
add([[V + 0x60, V + 0x62]], [V128], V128);
add([V + 0x63, V + 0x64], [V128], I32);
add([V + 0x65, V + 0x66], [V128, V128], V128);
add([[V + 0x67, V + 0x6a]], [V128], V128, NAN);
add([[V + 0x6b, V + 0x6d]], [V128, I32], V128);
add([[V + 0x6e, V + 0x73]], [V128, V128], V128);
add([V + 0x74, V + 0x75, V + 0x7a], [V128], V128, NAN);
add([[V + 0x76, V + 0x79], V + 0x7b], [V128, V128], V128);
add([[V + 0x7c, V + 0x7f]], [V128], V128);
add([V + 0x80, V + 0x81], [V128], V128);
add([V + 0x82, V + 0x85, V + 0x86], [V128, V128], V128);
add([V + 0x94], [V128], V128, NAN);
for (const base of [V + 0x80, V + 0xa0, V + 0xc0]) {
  if (base > V + 0x80) add([base, base + 1], [V128], V128);
  add([base + 3, base + 4], [V128], I32);
  add([[base + 7, base + 10]], [V128], V128);
  add([[base + 11, base + 13]], [V128, I32], V128);
  add([base + 14, base + 17, base + 21], [V128, V128], V128);
  add([[base + 28, base + 31]], [V128, V128], V128);
}
add([V + 0x8f, V + 0x90, V + 0x92, V + 0x93, [V + 0x96, V + 0x99], V + 0x9b], [V128, V128], V128);
add([[V + 0xb6, V + 0xba]], [V128, V128], V128);
add([[V + 0xd6, V + 0xdb]], [V128, V128], V128);
for (const base of [V + 0xe0, V + 0xec]) {
  add([base, base + 1], [V128], V128);
  add([base + 3], [V128], V128, NAN);
  add([[base + 4, base + 9]], [V128, V128], V128, NAN);
  add([base + 10, base + 11], [V128, V128], V128);
}
add([[V + 0xf8, V + 0xff]], [V128], V128);
const RELAXED = { isRelaxed: true };
add([V + 0x100, [V + 0x10d, V + 0x112]], [V128, V128], V128, RELAXED);
add([[V + 0x101, V + 0x104]], [V128], V128, RELAXED);
add([[V + 0x105, V + 0x10c], V + 0x113], [V128, V128, V128], V128, RELAXED);

/** Loads or stores from `first` on; a digit each: the natural alignment. */
function access(
  first: number,
  type: number,
  isStore: boolean,
  aligns: string,
  lanes: number[] = [],
) {
  for (const [i, align] of [...aligns].entries()) {
    ACCESSES.push({ op: first + i, type, isStore, align: Number(align), lanes: lanes[i] ?? 0 });
  }
}
access(0x28, I32, false, "2");
access(0x29, I64, false, "3");
access(0x2a, F32, false, "2");
access(0x2b, F64, false, "3");
access(0x2c, I32, false, "0011");
access(0x30, I64, false, "001122");
access(0x36, I32, true, "2");
access(0x37, I64, true, "3");
access(0x38, F32, true, "2");
access(0x39, F64, true, "3");
access(0x3a, I32, true, "01");
access(0x3c, I64, true, "012");
access(V, V128, false, "43333330123");
access(V + 11, V128, true, "4");
access(V + 84, V128, false, "0123", [16, 8, 4, 2]);
access(V + 88, V128, true, "0123", [16, 8, 4, 2]);
access(V + 92, V128, false, "23");
