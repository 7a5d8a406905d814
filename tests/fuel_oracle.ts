/**
 * A second opinion on what a module's instructions cost: the module with a counter that is raised in
 * front of every instruction by its price, one instruction at a time, as the contract in
 * `agent/wasm/meter/meter.ts` states prices. Works on any valid module; growth counts as allowed.
 *
 * It also tells which instructions were executed: `withMarks` sets a global for each opcode.
 *
 * @module
 */
import { Writer } from "../agent/wasm/meter/binary.ts";
import { type Instruction, readWasm, type Wasm } from "./wasm_reader.ts";

/** Name under which the counter is exported, a mutable i64. */
export const COUNT = "realm count";
/** Name of the global, an i32, that is 1 when an opcode was executed. */
export const mark = (op: number) => `realm executed ${op}`;

const I32 = 0x7f, I64 = 0x7e;
/** nop, block, loop, else, end, and the brackets of exception handlers. */
const FREE = new Set([0x01, 0x02, 0x03, 0x05, 0x06, 0x07, 0x0b, 0x18, 0x19, 0x1f]);
/** Instructions in front of which no code may stand, or would not be theirs. */
const AFTER = new Set([0x05, 0x07, 0x18, 0x19]);
const ORDER = [1, 2, 3, 4, 5, 13, 6, 7, 8, 9, 12, 10, 11];
const PAGES_MAX = 65_536, ELEMENTS_MAX = 10_000_000;

/** Writes what an instruction costs by its operand, as an i64; undefined when that costs nothing. */
function operandPrice(op: number, scratch: number): ((w: Writer) => void) | undefined {
  const operand = (w: Writer) => w.op(0x20, scratch).u8(0xad);
  /** Growth by more than `max` is refused before it is paid. */
  const growth = (w: Writer, max: number, shift: number) => {
    operand(w).u8(0x42, shift, 0x86, 0x42, 0);
    w.op(0x20, scratch).u8(0x41).s32(max).u8(0x4d, 0x1b);
  };
  switch (op) {
    case 0x108: // memory.init, copy, fill: sixteen bytes, or what is left of them
    case 0x10a:
    case 0x10b:
      return (w) => operand(w).u8(0x42, 15, 0x7c, 0x42, 4, 0x88);
    case 0x10c: // table.init, copy, fill: an element
    case 0x10e:
    case 0x111:
      return operand;
    case 0x40:
      return (w) => growth(w, PAGES_MAX, 6);
    case 0x10f:
      return (w) => growth(w, ELEMENTS_MAX, 0);
    default:
      return undefined;
  }
}

function writeBody(
  code: Wasm["codes"][number],
  params: number,
  write: (w: Writer, instruction: Instruction, scratch: number) => void,
): Writer {
  const w = new Writer();
  w.u32(code.locals.length + 1);
  let scratch = params;
  for (const { count, type } of code.locals) {
    scratch += count;
    w.u32(count).u8(...[...type].map((c) => c.charCodeAt(0)));
  }
  w.u8(1, I32);
  for (const instruction of code.instructions) {
    write(w, instruction, scratch);
  }
  return w;
}

/** Adds exported globals, initially zero; `write` writes each instruction and what is added to it. */
function instrument(
  bytes: Uint8Array,
  globals: (wasm: Wasm) => { name: string; type: number }[],
  write: (w: Writer, instruction: Instruction, scratch: number, first: number) => void,
): Uint8Array<ArrayBuffer> {
  const wasm = readWasm(bytes);
  const added = globals(wasm);
  const first = wasm.globals;
  const out = new Writer().copy(bytes, 0, 8);
  const extended = (id: number, added: readonly ((w: Writer) => void)[]) => {
    const section = wasm.sections.get(id);
    let count = 0, at = section?.start ?? 0;
    if (section) {
      for (let shift = 0;; shift += 7) {
        const byte = bytes[at++]!;
        count += (byte & 0x7f) * 2 ** shift;
        if (byte < 0x80) break;
      }
    }
    const w = new Writer().u32(count + added.length);
    if (section) w.copy(bytes, at, section.end);
    for (const write of added) write(w);
    return w;
  };
  for (const id of ORDER) {
    const section = wasm.sections.get(id);
    if (id === 6) {
      const write = added.map(({ type }) => (w: Writer) =>
        w.u8(type, 1, type === I32 ? 0x41 : 0x42, 0, 0x0b)
      );
      out.u8(id).appendSized(extended(id, write));
    } else if (id === 7) {
      const write = added.map(({ name }, i) => (w: Writer) => w.name(name).op(3, first + i));
      out.u8(id).appendSized(extended(id, write));
    } else if (id === 10 && section) {
      const w = new Writer().u32(wasm.codes.length);
      for (const [i, code] of wasm.codes.entries()) {
        const type = wasm.types[wasm.functions[wasm.importedFunctions + i]!]!;
        w.appendSized(
          writeBody(
            code,
            type.params.length,
            (w, instruction, scratch) => write(w, instruction, scratch, first),
          ),
        );
      }
      out.u8(id).appendSized(w);
    } else if (section) {
      const w = new Writer().copy(bytes, section.start, section.end);
      out.u8(id).appendSized(w);
    }
  }
  return out.bytes();
}

/** The module, counting what it costs into an exported global. */
export function withCounter(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const globals = () => [{ name: COUNT, type: I64 }];
  return instrument(bytes, globals, (w, { op, start, end }, scratch, counter) => {
    if (!FREE.has(op)) {
      w.op(0x23, counter).u8(0x42, 1, 0x7c).op(0x24, counter);
      const price = operandPrice(op, scratch);
      if (price) {
        w.op(0x21, scratch).op(0x23, counter);
        price(w);
        w.u8(0x7c).op(0x24, counter).op(0x20, scratch);
      }
    }
    w.copy(bytes, start, end);
  });
}

/** Opcodes that the module's functions have. */
export function opcodesOf(bytes: Uint8Array): Set<number> {
  return new Set(readWasm(bytes).codes.flatMap((code) => code.instructions.map(({ op }) => op)));
}

/** The module, with an exported global for each opcode that says whether it was executed. */
export function withMarks(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const ops = [...opcodesOf(bytes)];
  const globals = () => ops.map((op) => ({ name: mark(op), type: I32 }));
  return instrument(bytes, globals, (w, { op, start, end }, _scratch, first) => {
    const set = () => w.u8(0x41, 1).op(0x24, first + ops.indexOf(op));
    if (!AFTER.has(op)) set();
    w.copy(bytes, start, end);
    if (AFTER.has(op)) set();
  });
}
