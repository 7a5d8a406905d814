/**
 * Source lines of addresses, from DWARF 2 to 5 (https://dwarfstd.org/doc/DWARF5.pdf, section 6.2).
 *
 * Reads the line programs, and of each unit what says where its folder is. In WebAssembly an
 * address is an offset from the start of the code section
 * (https://yurydelendik.github.io/webassembly-dwarf/). Debug information comes from the guest: how
 * much of it is read ({@link Work}) and kept is bounded, since a Worker that runs out of heap takes
 * the whole program with it. What cannot be read is left out.
 *
 * @module
 */

/** Sections by name, as in the module. */
export type DebugSections = Readonly<Partial<Record<string, Uint8Array>>>;

/** A place in the source; no line where the compiler gave none. */
export interface SourceLine {
  readonly file: string;
  readonly line?: number;
}

/** Linkers give functions that they left out these addresses, or 0. */
const TOMBSTONE = 0xffff_fffe;
const PATH_MAX = 512;
/** Abbreviations that are passed over on the way to those of the units; they come first. */
const ABBREVIATIONS_MAX = 1_000_000;

/** Reads of one set of sections: all bytes of the largest component, and some over again. */
const READS_MAX = 100_000_000;
/** Reads that a unit counts which cannot be read: to throw takes as long as they. */
const FAILED_READS = 5_000;
/** Bytes of a text that are decoded; all are looked at, so many for one read. */
const TEXT_BYTES_MAX = 4 * PATH_MAX;
const TEXT_BYTES_PER_READ = 16;
/** Rows of one sequence, which is a function or the functions of a unit. */
const ROWS_MAX = 1_000_000;
/** Folders, files or formats of one table, and units whose folder is kept. */
const ENTRIES_MAX = 100_000;

/** What may still be read. */
class Work {
  #left = READS_MAX;

  spend(reads: number): void {
    this.#left -= reads;
    if (this.#left < 0) throw new RangeError("the debug information takes too long to read");
  }
}

class Cursor {
  readonly #view: DataView;

  constructor(
    readonly work: Work,
    readonly bytes: Uint8Array,
    public at = 0,
    public end = bytes.length,
  ) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  #take(n: number): number {
    this.work.spend(1);
    const at = this.at;
    if (n < 0 || n > this.end - at) throw new RangeError("the debug information ends early");
    this.at = at + n;
    return at;
  }

  skip(n: number): void {
    this.#take(n);
  }

  u8(): number {
    return this.bytes[this.#take(1)]!;
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2), true);
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  u64(): number {
    return Number(this.#view.getBigUint64(this.#take(8), true));
  }

  uint(size: number): number {
    return size === 1 ? this.u8() : size === 2 ? this.u16() : size === 4 ? this.u32() : this.u64();
  }

  uleb(): number {
    let value = 0;
    for (let factor = 1;; factor *= 128) {
      const b = this.u8();
      value += (b & 0x7f) * factor;
      if (b < 0x80) return value;
    }
  }

  sleb(): number {
    let value = 0;
    for (let factor = 1;; factor *= 128) {
      const b = this.u8();
      value += (b & 0x7f) * factor;
      if (b < 0x80) return b & 0x40 ? value - factor * 128 : value;
    }
  }

  text(): string {
    const end = this.bytes.indexOf(0, this.at);
    if (end < 0 || end >= this.end) {
      this.work.spend((this.bytes.length - this.at) / TEXT_BYTES_PER_READ);
      throw new RangeError("a text of the debug information is open");
    }
    this.work.spend(1 + (end - this.at) / TEXT_BYTES_PER_READ);
    const shown = Math.min(end, this.at + TEXT_BYTES_MAX);
    const text = new TextDecoder().decode(this.bytes.subarray(this.at, shown));
    this.at = end + 1;
    return text;
  }

  /** The length of a unit: its end becomes that of this cursor. Tells whether it has 64 bits. */
  unit(): { readonly wide: boolean; readonly next: number } {
    let length = this.u32();
    const wide = length === 0xffff_ffff;
    if (wide) length = this.u64();
    const next = this.at + length;
    if (next > this.end) throw new RangeError("a unit of the debug information is too long");
    this.end = next;
    return { wide, next };
  }
}

/** Calls `read` for each unit of a section, as long as they can be read. Throws when it is enough. */
function forUnits(
  work: Work,
  bytes: Uint8Array | undefined,
  read: (c: Cursor, wide: boolean) => void,
): void {
  if (!bytes) return;
  for (let at = 0; at < bytes.length;) {
    const c = new Cursor(work, bytes, at);
    let wide: boolean;
    try {
      ({ wide, next: at } = c.unit());
    } catch {
      return;
    }
    try {
      read(c, wide);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      work.spend(FAILED_READS);
    }
  }
}

const FORM = {
  string: 0x08,
  strp: 0x0e,
  implicitConst: 0x21,
  lineStrp: 0x1f,
  udata: 0x0f,
} as const;
const FORM_SIZE: Readonly<Record<number, number>> = {
  0x03: -2, // block2
  0x04: -4, // block4
  0x05: 2, // data2
  0x06: 4, // data4
  0x07: 8, // data8
  0x0a: -1, // block1
  0x0b: 1, // data1
  0x0c: 1, // flag
  0x11: 1, // ref1
  0x12: 2, // ref2
  0x13: 4, // ref4
  0x14: 8, // ref8
  0x19: 0, // flag_present
  0x1c: 4, // ref_sup4
  0x1e: 16, // data16
  0x20: 8, // ref_sig8
  0x21: 0, // implicit_const
  0x24: 8, // ref_sup8
  0x25: 1, // strx1
  0x26: 2, // strx2
  0x27: 3, // strx3
  0x28: 4, // strx4
  0x29: 1, // addrx1
  0x2a: 2, // addrx2
  0x2b: 3, // addrx3
  0x2c: 4, // addrx4
};
/** Forms that are one number of variable length. */
const FORM_LEB = new Set([0x0d, 0x0f, 0x15, 0x1a, 0x1b, 0x22, 0x23]);
/** Forms of the size of an offset: strp, ref_addr, sec_offset, strp_sup, line_strp. */
const FORM_OFFSET = new Set([0x0e, 0x10, 0x17, 0x1d, 0x1f]);
/** Forms whose bytes follow a length of variable size: block, exprloc. */
const FORM_BLOCK = new Set([0x09, 0x18]);

type Value = number | (() => string) | undefined;

/** Reads a value; a number or text where the form is one, else nothing. */
function readForm(
  c: Cursor,
  form: number,
  wide: boolean,
  addressSize: number,
  sections: DebugSections,
): Value {
  if (form === FORM.string) {
    const text = c.text();
    return () => text;
  }
  if (form === 0x01) return void c.skip(addressSize);
  if (FORM_LEB.has(form)) return c.uleb();
  if (FORM_BLOCK.has(form)) return void c.skip(c.uleb());
  if (FORM_OFFSET.has(form)) {
    const offset = c.uint(wide ? 8 : 4);
    if (form === FORM.strp) return () => textAt(c.work, sections[".debug_str"], offset);
    if (form === FORM.lineStrp) return () => textAt(c.work, sections[".debug_line_str"], offset);
    return offset;
  }
  const size = FORM_SIZE[form];
  if (size === undefined) {
    throw new RangeError(`form ${form} of the debug information is not known`);
  }
  if (size < 0) return void c.skip(c.uint(-size));
  if (size === 1 || size === 2 || size === 4) return c.uint(size);
  return void c.skip(size);
}

function textAt(work: Work, bytes: Uint8Array | undefined, offset: number): string {
  return bytes ? new Cursor(work, bytes, Math.min(offset, bytes.length)).text() : "";
}

const AT_STMT_LIST = 0x10;
const AT_COMP_DIR = 0x1b;

/** The folder of each unit, by the offset of its line program. */
function compilationFolders(work: Work, sections: DebugSections): Map<number, () => string> {
  const folders = new Map<number, () => string>();
  let steps = 0;
  const abbreviations = sections[".debug_abbrev"];
  if (!abbreviations) return folders;
  forUnits(work, sections[".debug_info"], (c, wide) => {
    if (folders.size >= ENTRIES_MAX) return;
    const version = c.u16();
    let addressSize = 4;
    let abbreviationsAt: number;
    if (version >= 5) {
      const kind = c.u8();
      addressSize = c.u8();
      abbreviationsAt = c.uint(wide ? 8 : 4);
      if (kind !== 1 && kind !== 3) return; // only full units have lines
    } else {
      abbreviationsAt = c.uint(wide ? 8 : 4);
      addressSize = c.u8();
    }
    const code = c.uleb();
    const a = new Cursor(work, abbreviations, Math.min(abbreviationsAt, abbreviations.length));
    for (let found = a.uleb(); found !== code; found = a.uleb()) {
      if (found === 0 || ++steps > ABBREVIATIONS_MAX) return;
      a.uleb();
      a.skip(1);
      for (;;) {
        const attribute = a.uleb(), form = a.uleb();
        if (form === FORM.implicitConst) a.sleb();
        if (attribute === 0 && form === 0 || ++steps > ABBREVIATIONS_MAX) break;
      }
    }
    a.uleb();
    a.skip(1);
    let lines: Value, folder: Value;
    while (lines === undefined || folder === undefined) {
      const attribute = a.uleb(), form = a.uleb();
      if (attribute === 0 && form === 0) break;
      if (form === FORM.implicitConst) a.sleb();
      const value = readForm(c, form, wide, addressSize, sections);
      if (attribute === AT_STMT_LIST) lines = value;
      if (attribute === AT_COMP_DIR) folder = value;
    }
    if (typeof lines === "number" && typeof folder === "function") folders.set(lines, folder);
  });
  return folders;
}

const isAbsolute = (path: string) => /^(\/|[A-Za-z]:[\\/]|\\\\)/.test(path);

function join(folder: string, path: string): string {
  return folder === "" || isAbsolute(path)
    ? path
    : /[\\/]$/.test(folder)
    ? folder + path
    : `${folder}/${path}`;
}

/** A table of folders or files of version 5: texts, and the folder that each file is in. */
function entries(c: Cursor, wide: boolean, sections: DebugSections): [string, number][] {
  const formats: [number, number][] = [];
  for (let n = c.u8(); n > 0; n--) formats.push([c.uleb(), c.uleb()]);
  const count = c.uleb();
  if (count > ENTRIES_MAX) throw tooMany();
  return Array.from({ length: count }, () => {
    let path = "", folder = 0;
    for (const [content, form] of formats) {
      const value = readForm(c, form, wide, 4, sections);
      if (content === 1 && typeof value === "function") path = value();
      if (content === 2 && typeof value === "number") folder = value;
    }
    return [path, folder];
  });
}

function tooMany(): RangeError {
  return new RangeError("the debug information names too many files");
}

/** The path of file `index` of a unit; `c` is at its tables. */
function filePath(
  c: Cursor,
  version: number,
  wide: boolean,
  index: number,
  compilationFolder: string,
  sections: DebugSections,
): string {
  let folders: string[];
  let files: [string, number][];
  if (version >= 5) {
    folders = entries(c, wide, sections).map(([path]) => path);
    files = entries(c, wide, sections);
  } else {
    folders = [""];
    for (let text = c.text(); text !== ""; text = c.text()) {
      if (folders.push(text) > ENTRIES_MAX) throw tooMany();
    }
    files = [["", 0]];
    for (let text = c.text(); text !== ""; text = c.text()) {
      if (files.push([text, c.uleb()]) > ENTRIES_MAX) throw tooMany();
      c.uleb(); // time
      c.uleb(); // length
    }
  }
  const [name, folder] = files[index] ?? ["", 0];
  const within = folder === 0 ? "" : folders[folder] ?? "";
  return join(join(compilationFolder, within || ""), name).slice(0, PATH_MAX);
}

/** The source lines of the addresses that have one, as far as that can be found out. */
export function sourceLines(
  sections: DebugSections,
  addresses: readonly number[],
): Map<number, SourceLine> {
  const found = new Map<number, SourceLine>();
  try {
    findLines(sections, [...new Set(addresses)], found);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  return found;
}

function findLines(
  sections: DebugSections,
  wanted: readonly number[],
  found: Map<number, SourceLine>,
): void {
  const bytes = sections[".debug_line"];
  if (!bytes || wanted.length === 0) return;
  const work = new Work();
  let folders: Map<number, () => string> | undefined;
  forUnits(work, bytes, (c, wide) => {
    const unitAt = c.at - (wide ? 12 : 4);
    const version = c.u16();
    if (version < 2 || version > 5) return;
    if (version >= 5) c.skip(2); // sizes of addresses and selectors
    const headerLength = c.uint(wide ? 8 : 4);
    const programAt = c.at + headerLength;
    const instructionLength = c.u8();
    if (version >= 4) c.skip(1); // operations per instruction: none of WebAssembly has several
    c.skip(1); // whether lines are statements by default
    const lineBase = c.u8() << 24 >> 24;
    const lineRange = c.u8();
    const opcodeBase = c.u8();
    const operands = Array.from({ length: Math.max(0, opcodeBase - 1) }, () => c.u8());
    const tablesAt = c.at;
    c.skip(programAt - c.at);

    // Rows of the sequence in progress.
    let rows: [address: number, file: number, line: number][] = [];
    let address = 0, file = 1, line = 1;
    const emit = () => {
      const last = rows.at(-1);
      if (last && last[0] === address) rows[rows.length - 1] = [address, file, line];
      else if (rows.push([address, file, line]) > ROWS_MAX) {
        throw new RangeError("the debug information has too many lines");
      }
    };
    const endSequence = () => {
      const start = rows[0]?.[0] ?? 0;
      work.spend(wanted.length);
      if (start > 0 && start < TOMBSTONE) {
        for (const target of wanted) {
          if (target < start || target >= address || found.has(target)) continue;
          const row = rows.findLast((row) => row[0] <= target)!;
          folders ??= compilationFolders(work, sections);
          const tables = new Cursor(work, bytes, tablesAt, programAt);
          const folder = folders.get(unitAt)?.() ?? "";
          const path = filePath(tables, version, wide, row[1], folder, sections);
          found.set(target, { file: path, ...(row[2] === 0 ? {} : { line: row[2] }) });
        }
      }
      rows = [];
      address = 0;
      file = line = 1;
    };
    const advance = (operations: number) => address += operations * instructionLength;
    while (c.at < c.end) {
      const opcode = c.u8();
      if (opcode >= opcodeBase) {
        const adjusted = opcode - opcodeBase;
        if (lineRange === 0) return;
        advance(Math.floor(adjusted / lineRange));
        line += lineBase + adjusted % lineRange;
        emit();
        continue;
      }
      switch (opcode) {
        case 0: {
          const end = c.uleb() + c.at;
          const extended = c.u8();
          if (extended === 1) endSequence();
          else if (extended === 2) address = c.uint(end - c.at === 8 ? 8 : 4);
          c.skip(end - c.at);
          break;
        }
        case 1:
          emit();
          break;
        case 2:
          advance(c.uleb());
          break;
        case 3:
          line += c.sleb();
          break;
        case 4:
          file = c.uleb();
          break;
        case 5: // column
        case 12: // instruction set
          c.uleb();
          break;
        case 8:
          if (lineRange === 0) return;
          advance(Math.floor((255 - opcodeBase) / lineRange));
          break;
        case 9:
          address += c.u16();
          break;
        case 6: // is a statement or not
        case 7: // starts a block
        case 10: // end of the prologue
        case 11: // start of the epilogue
          break;
        default:
          for (let n = operands[opcode - 1] ?? 0; n > 0; n--) c.uleb();
      }
    }
  });
}
