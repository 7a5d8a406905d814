import assert from "node:assert/strict";
import { Writer } from "./binary.ts";
import { IMM, IMMEDIATE, NAME, POPS, PUSHES } from "./opcodes.ts";
import { print } from "./host_fake.ts";

/** Opcodes whose whole meaning for the rewriter is in the table. */
const PLAIN = NAME.flatMap((_, op) =>
  IMMEDIATE[op] !== IMM.CONTROL && IMMEDIATE[op] !== IMM.SPECIAL ? [op] : []
);

const IMMEDIATE_BYTES: Record<number, number> = {
  [IMM.MEMARG]: 2,
  [IMM.MEMARG_LANE]: 3,
  [IMM.LANE]: 1,
  [IMM.BYTES_4]: 4,
  [IMM.BYTES_8]: 8,
  [IMM.BYTES_16]: 16,
  [IMM.LEB32]: 1,
  [IMM.LEB64]: 1,
};

/** The instruction with immediates of zero. */
function instruction(op: number): number[] {
  const w = new Writer();
  if (op < 0x100) w.u8(op);
  else w.u8(op < 0x200 ? 0xfc : 0xfd).u32(op < 0x200 ? op - 0x100 : op - 0x200);
  return [...w.bytes(), ...Array(IMMEDIATE_BYTES[IMMEDIATE[op]!] ?? 0).fill(0)];
}

/** A module with a memory and one function without parameters and results. */
function moduleOf(...code: number[]): Uint8Array<ArrayBuffer> {
  const w = new Writer().u8(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);
  w.u8(1, 4, 1, 0x60, 0, 0).u8(3, 2, 1, 0).u8(5, 3, 1, 0, 1);
  const body = new Writer().u8(0, ...code, 0x0b);
  return w.u8(10).appendSized(new Writer().u8(1).appendSized(body)).bytes();
}

const CONSTANTS = [
  [0x41, 0],
  [0x42, 0],
  [0x43, 0, 0, 0, 0],
  [0x44, 0, 0, 0, 0, 0, 0, 0, 0],
  [0xfd, 12, ...Array(16).fill(0)],
  [0xd0, 0x70],
];
const UNREACHABLE = 0x00, DROP = 0x1a;

/** The fewest operands with which an engine accepts the instruction, whatever their types. */
function operandsWanted(op: number, results: number): number {
  const drops = Array<number>(results).fill(DROP);
  for (let n = 0; n <= 3; n++) {
    for (let choice = 0; choice < CONSTANTS.length ** n; choice++) {
      const operands = Array.from(
        { length: n },
        (_, i) => CONSTANTS[Math.floor(choice / CONSTANTS.length ** i) % CONSTANTS.length]!,
      );
      const code = [...operands.flat(), ...instruction(op), ...drops];
      if (WebAssembly.validate(moduleOf(...code))) return n;
    }
  }
  return -1;
}

Deno.test("NAME agrees with the text format", async () => {
  assert.ok(PLAIN.length > 400);
  for (const op of PLAIN) {
    const text = await print(moduleOf(UNREACHABLE, ...instruction(op)));
    const line = text.split("\n").at(-4);
    assert.equal(line?.trim().split(" ")[0], NAME[op]);
  }
});

Deno.test("POPS and PUSHES agree with the engine", () => {
  for (const op of PLAIN) {
    if (op === UNREACHABLE) continue;
    // In dead code operands come from nowhere, but every result must be dropped.
    const results = [0, 1, 2].find((n) =>
      WebAssembly.validate(moduleOf(UNREACHABLE, ...instruction(op), ...Array(n).fill(DROP)))
    );
    assert.equal(results, PUSHES[op], NAME[op]!);
    assert.equal(operandsWanted(op, PUSHES[op]!), POPS[op], NAME[op]!);
  }
});

Deno.test("IMMEDIATE knows no opcode that the engine does not", () => {
  for (let op = 0; op < IMMEDIATE.length; op++) {
    if (IMMEDIATE[op] === 0) assert.equal(NAME[op], undefined);
    else assert.ok(NAME[op]);
  }
});
