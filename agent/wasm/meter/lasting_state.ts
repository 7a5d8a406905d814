/**
 * What a core module keeps from one call to the next, for a host that puts it back to how it was
 * after instantiation.
 *
 * State is in memories, mutable globals, tables, and in which segments were dropped. A module is
 * *renewable* where nothing changes but memories and globals of integers: no instruction of it
 * writes a table or drops a segment, and it has no start function, whose outcome may depend on what
 * the host answered. A rewritten module says so with an empty custom section `realm renewable` (no
 * custom section of the original is kept), and exports all that it has to be put back, under names
 * that begin with `realm `: its memories as `realm memory N` and its mutable globals as
 * `realm global N`, by their numbers in the original. What it imports belongs to who exports it.
 *
 * @module
 */
import { Reader } from "./binary.ts";
import { LASTING } from "./lasting_names.ts";
import { copyExpression, type Module, readValueType, SECTION } from "./module.ts";
import { OP } from "./opcodes.ts";

/** Instructions that change what cannot be put back. */
export const LASTING_CHANGES: ReadonlySet<number> = new Set([
  OP.TABLE_SET,
  OP.DATA_DROP,
  OP.TABLE_INIT,
  OP.ELEM_DROP,
  OP.TABLE_COPY,
  OP.TABLE_GROW,
  OP.TABLE_FILL,
]);

/** Numbers of the defined memories and mutable globals. */
export interface LastingState {
  readonly memories: readonly number[];
  readonly globals: readonly number[];
}

const I32 = 0x7f;
const I64 = 0x7e;

/** The state of a module whose code has none of {@link LASTING_CHANGES}; undefined: not renewable. */
export function lastingState(m: Module): LastingState | undefined {
  if (m.sections.has(SECTION.START)) return;
  for (const name of exportNames(m)) if (name.startsWith(LASTING)) return;
  const memories = m.memories.slice(m.importedMemories).map((_, i) => m.importedMemories + i);
  const globals: number[] = [];
  const range = m.sections.get(SECTION.GLOBAL);
  if (range) {
    const r = new Reader(m.bytes, range.start, range.end);
    const count = r.u32();
    for (let i = 0; i < count; i++) {
      const type = r.bytes[r.at]!;
      readValueType(r, m.types.length);
      if (r.u8() === 1) {
        // JavaScript cannot read a vector, and may change the bits of a float that is not a number.
        if (type !== I32 && type !== I64) return;
        globals.push(m.importedGlobals + i);
      }
      copyExpression(r, m);
    }
  }
  return { memories, globals };
}

function* exportNames(m: Module): Iterable<string> {
  const range = m.sections.get(SECTION.EXPORT);
  if (!range) return;
  const r = new Reader(m.bytes, range.start, range.end);
  for (let n = r.u32(); n > 0; n--) {
    yield r.name();
    r.u8();
    r.u32();
  }
}
