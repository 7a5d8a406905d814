import assert from "node:assert/strict";
import fc from "fast-check";
import { type DebugSections, sourceLines } from "./dwarf_line.ts";

const text = (s: string) => [...new TextEncoder().encode(s), 0];
const u16 = (n: number) => [n & 0xff, n >> 8];
const u32 = (n: number) => [n & 0xff, n >> 8 & 0xff, n >> 16 & 0xff, n >>> 24];
const sized = (bytes: number[]) => [...u32(bytes.length), ...bytes];

/** Operands of the standard opcodes. */
const LENGTHS = [0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1];
const SETTINGS = [1, 0xfb, 14, 13, ...LENGTHS]; // lines by default, base -5, range 14, opcodes 13

const setAddress = (address: number) => [0, 5, 2, ...u32(address)];
const END = [0, 1, 1];
/** Address and line further by so much, and a row. */
const special = (address: number, line: number) => [13 + address * 14 + line + 5];

// 0x10: line 3 of file 1; 0x14: line 5 of file 2, until 0x20. A function that was left out, too.
const PROGRAM = [
  ...setAddress(0x10),
  3,
  2,
  1, // line + 2, row
  4,
  2,
  ...special(4, 2), // file 2
  2,
  12,
  ...END,
  ...setAddress(0xffff_ffff),
  1,
  2,
  4,
  ...END,
  ...setAddress(0x40),
  3,
  0x7f,
  1,
  9,
  ...u16(4),
  ...END, // line 0, advance by a fixed number
]; // deno-fmt-ignore

function version4(): DebugSections {
  const tables = [
    ...text("src"), ...text("/abs"), 0,
    ...text("a.rs"), 1, 0, 0,
    ...text("b.rs"), 2, 0, 0,
    0,
  ]; // deno-fmt-ignore
  const header = [1, 1, ...SETTINGS, ...tables];
  const line = sized([...u16(4), ...u32(header.length), ...header, ...PROGRAM]);
  return {
    ".debug_line": new Uint8Array([...sized([...u16(9)]), ...line]),
    // One unit: its lines at offset 6, behind a unit of a version that nobody knows.
    ".debug_abbrev": new Uint8Array([1, 0x11, 0, 0x25, 0x08, 0x10, 0x17, 0x1b, 0x0e, 0, 0, 0]),
    ".debug_info": new Uint8Array(
      sized([...u16(4), ...u32(0), 4, 1, ...text("rustc"), ...u32(6), ...u32(2)]),
    ),
    ".debug_str": new Uint8Array([...text("x"), ...text("/build")]),
  };
}

function version5(): DebugSections {
  const format = [2, 1, 0x1f, 2, 0x0b]; // a path in .debug_line_str, a folder
  const tables = [
    1,
    1,
    0x1f,
    2,
    ...u32(0),
    ...u32(7),
    ...format,
    3,
    ...u32(11),
    0,
    ...u32(11),
    1,
    ...u32(16),
    0,
  ]; // deno-fmt-ignore
  const header = [1, 1, ...SETTINGS, ...tables];
  return {
    ".debug_line": new Uint8Array(
      sized([...u16(5), 4, 0, ...u32(header.length), ...header, ...PROGRAM]),
    ),
    ".debug_line_str": new Uint8Array([
      ...text("/build"),
      ...text("src"),
      ...text("a.rs"),
      ...text("/gen/b.rs"),
    ]), // deno-fmt-ignore
    ".debug_abbrev": new Uint8Array([
      2, 0x2e, 0, 0x03, 0x08, 0, 0, // another abbreviation comes first
      1, 0x11, 0, 0x10, 0x17, 0x1b, 0x1f, 0, 0, 0,
    ]), // deno-fmt-ignore
    ".debug_info": new Uint8Array(
      sized([...u16(5), 1, 4, ...u32(0), 1, ...u32(0), ...u32(0)]),
    ),
  };
}

Deno.test("sourceLines() reads DWARF 4", () => {
  const lines = sourceLines(version4(), [0x0f, 0x10, 0x13, 0x14, 0x1f, 0x20, 0x41, 0xffff_ffff]);
  assert.deepEqual([...lines], [
    [0x10, { file: "/build/src/a.rs", line: 3 }],
    [0x13, { file: "/build/src/a.rs", line: 3 }],
    [0x14, { file: "/abs/b.rs", line: 5 }],
    [0x1f, { file: "/abs/b.rs", line: 5 }],
    [0x41, { file: "/build/src/a.rs" }],
  ]);
});

Deno.test("sourceLines() reads DWARF 5", () => {
  const lines = sourceLines(version5(), [0x10, 0x14]);
  assert.deepEqual([...lines], [
    [0x10, { file: "/build/src/a.rs", line: 3 }],
    [0x14, { file: "/gen/b.rs", line: 5 }],
  ]);
});

Deno.test("sourceLines() survives debug information of any form", () => {
  const sections = [version4(), version5()];
  fc.assert(fc.property(
    fc.constantFrom(...sections),
    fc.array(fc.tuple(fc.nat(3), fc.nat(400), fc.integer({ min: 0, max: 255 })), { maxLength: 6 }),
    fc.nat(400),
    (original, changes, length) => {
      const names = Object.keys(original);
      const changed = Object.fromEntries(
        names.map((name) => [name, original[name]!.slice(0, Math.max(1, length))]),
      );
      for (const [which, at, byte] of changes) {
        const bytes = changed[names[which % names.length]!]!;
        bytes[at % bytes.length] = byte;
      }
      for (const { file } of sourceLines(changed, [0x10, 0x14, 0x41]).values()) {
        assert.ok(file.length <= 512);
      }
    },
  ));
});

/** A section of one unit: a header of version 4 without tables, then `program` so many times. */
function bomb(program: readonly number[], times: number): Uint8Array {
  const header = [1, 1, ...SETTINGS, 0, 0];
  const before = [...u16(4), ...u32(header.length), ...header, ...setAddress(16)];
  const length = before.length + program.length * times + END.length;
  const bytes = new Uint8Array(4 + length);
  bytes.set([...u32(length), ...before]);
  const at = 4 + before.length;
  if (program.length === 1) bytes.fill(program[0]!, at, at + times);
  else for (let i = 0; i < times; i++) bytes.set(program, at + i * program.length);
  bytes.set(END, bytes.length - END.length);
  return bytes;
}

Deno.test("sourceLines() keeps no more rows than a function has, and reads no more than it may", () => {
  // Of each of these the heap would not hold what is kept, or it would take minutes.
  const times = 32 * 1024 * 1024;
  const row = special(1, 0);
  assert.equal(sourceLines({ ".debug_line": bomb(row, 1000) }, [20]).size, 1);
  assert.equal(sourceLines({ ".debug_line": bomb(row, times) }, [20]).size, 0);
  assert.equal(sourceLines({ ".debug_line": new Uint8Array(times) }, [20]).size, 0);
});

Deno.test("sourceLines() reads no table of files without end", () => {
  const unit = (tables: number[]) => {
    const program = [...setAddress(16), 1, ...special(8, 0), ...END];
    const header = [1, 1, ...SETTINGS, ...tables];
    const body = [...u16(5), 4, 0, ...u32(header.length), ...header, ...program];
    return new Uint8Array([...sized(body), ...new Uint8Array(1024 * 1024)]);
  };
  const uleb = (
    n: number,
  ) => [n & 0x7f | 0x80, n >> 7 & 0x7f | 0x80, n >> 14 & 0x7f | 0x80, n >> 21];
  // Files whose names take no bytes.
  const sections = (count: number) => ({
    ".debug_line": unit([1, 1, 0x08, 1, 0x2f, 0, 1, 1, 0x19, ...uleb(count)]),
  });
  assert.equal(sourceLines(sections(1000), [17]).size, 1);
  assert.equal(sourceLines(sections(200_000_000), [17]).size, 0);
});
