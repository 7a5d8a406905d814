/**
 * From places in rewritten modules to names, offsets and source lines in the component.
 *
 * The rewriter keeps no map: when a guest traps it rewrites the modules of the backtrace once more
 * and tells where each piece of code came from. What a module says of itself (names, debug
 * information) is the guest's claim; texts are bounded, and what cannot be read is left out.
 *
 * @module
 */
import type { Frame } from "../../kernel/frame.ts";
import { CEILING } from "../artifact.ts";
import { type CoreModule, coreModules } from "../../wasm/component.ts";
import { meter, type WrittenFunction } from "../../wasm/meter/meter.ts";
import { Reader } from "../../wasm/meter/binary.ts";
import { moduleName, type RawFrame, unnamed } from "../trap.ts";
import { demangle } from "./demangle.ts";
import { sourceLines } from "./dwarf_line.ts";

/** `[start, end)` of core modules in the file, by their keys in `Artifact.modules`. */
export type Origins = Readonly<Record<string, readonly [number, number]>>;

const CODE = 10;
const CUSTOM = 0;

/** Custom sections that are looked at; a module may have millions of others. */
const NAMED = new Set([
  "name",
  ".debug_abbrev",
  ".debug_info",
  ".debug_line",
  ".debug_line_str",
  ".debug_str",
]);

/** Sections of a core module that are looked at: where the code is, and the custom ones. */
interface Sections {
  readonly codeAt: number;
  readonly custom: Readonly<Record<string, Uint8Array>>;
}

function readSections(bytes: Uint8Array): Sections {
  const custom: Record<string, Uint8Array> = Object.create(null);
  let codeAt = 0;
  const r = new Reader(bytes, 8, bytes.length);
  while (r.at < r.end) {
    const id = r.u8();
    const length = r.u32();
    const start = r.at;
    r.skip(length);
    if (id === CODE) codeAt = start;
    else if (id === CUSTOM) {
      const inside = new Reader(bytes, start, r.at);
      const name = inside.name();
      if (NAMED.has(name)) custom[name] ??= bytes.subarray(inside.at, r.at);
    }
  }
  return { codeAt, custom };
}

/** The name of the module and those of the functions with these numbers. */
function readNames(section: Uint8Array | undefined, wanted: ReadonlySet<number>): {
  module?: string;
  functions: ReadonlyMap<number, string>;
} {
  const functions = new Map<number, string>();
  let module: string | undefined;
  const r = new Reader(section ?? new Uint8Array(), 0, section?.length ?? 0);
  try {
    while (r.at < r.end) {
      const id = r.u8();
      const length = r.u32();
      const start = r.at;
      r.skip(length);
      const inside = new Reader(r.bytes, start, r.at);
      if (id === 0) module = inside.name();
      if (id !== 1) continue;
      for (let n = inside.count("names"); n > 0; n--) {
        const index = inside.u32();
        if (wanted.has(index)) functions.set(index, inside.name());
        else inside.skip(inside.u32());
      }
    }
  } catch {
    // Engines ignore a section of names that cannot be read from there on.
  }
  return { ...(module === undefined ? {} : { module }), functions };
}

/** A function of a rewritten module: where its body starts. */
interface Body {
  readonly index: number;
  readonly start: number;
}

/** The functions of a rewritten module around each of the ascending offsets. */
function bodiesAround(
  bytes: Uint8Array,
  firstIndex: number,
  offsets: readonly number[],
): Map<number, Body> {
  const { codeAt } = readSections(bytes);
  const found = new Map<number, Body>();
  const r = new Reader(bytes, codeAt, bytes.length);
  const count = r.u32();
  for (let i = 0, next = 0; i < count; i++) {
    const length = r.u32();
    const start = r.at;
    r.skip(length);
    for (; next < offsets.length && offsets[next]! < r.at; next++) {
      if (offsets[next]! >= start) found.set(offsets[next]!, { index: firstIndex + i, start });
    }
  }
  return found;
}

/** What the rewriter says of a function, in a third of the memory. */
type Compact = Omit<WrittenFunction, "segments"> & { readonly segments: Int32Array };

/** The original offset of a place in a function, both relative to the starts that are given. */
function originalOffset(segments: Int32Array, offset: number): number {
  let low = 0, high = segments.length / 3;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (segments[3 * middle]! <= offset) low = middle;
    else high = middle;
  }
  const [at, original, isCopy] = segments.subarray(3 * low, 3 * low + 3) as Iterable<
    number
  > as [number, number, number];
  return isCopy ? original + offset - at : original;
}

const TEXT_MAX = 512;

/** Text of the guest on one line, bounded. */
function plain(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.slice(0, TEXT_MAX).replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, "\ufffd");
}

function symbolizeModule(
  bytes: Uint8Array,
  start: number,
  key: string,
  frames: readonly RawFrame[],
): (Frame | undefined)[] {
  const functions = new Map<number, Compact>();
  const metered = meter(bytes, {
    ...CEILING,
    name: key,
    onFunction: (written) => {
      // Of all functions, until it is known which are looked for: outside of the heap.
      const segments = Int32Array.from(written.segments);
      functions.set(written.index, { ...written, segments });
    },
  });
  const [first = 0] = functions.keys();
  const offsets = frames.map((frame) => frame.offset).sort((a, b) => a - b);
  const bodies = bodiesAround(metered.bytes, first, offsets);
  const { codeAt, custom } = readSections(bytes);
  const writtenAt = (frame: RawFrame | undefined) => {
    const body = frame && bodies.get(frame.offset);
    return body && functions.get(body.index);
  };
  const wanted = new Set(frames.flatMap((frame) => writtenAt(frame)?.original ?? []));
  const names = readNames(custom.name, wanted);
  const module = plain(moduleName(names.module, key));
  const places = frames.map((frame, i) => {
    const { offset } = frame;
    const written = writtenAt(frame);
    // A function of the rewriter, or who called the copy of its own loop.
    if (!written || writtenAt(frames[i - 1])?.isOutlined) return undefined;
    const body = bodies.get(offset)!;
    const at = originalOffset(written.segments, offset - body.start);
    const name = names.functions.get(written.original);
    return { at, name: name === undefined ? `function[${written.original}]` : demangle(name) };
  });
  const lines = sourceLines(custom, places.flatMap((p) => p ? [p.at - codeAt] : []));
  return places.map((place) => {
    if (!place) return undefined;
    const source = lines.get(place.at - codeAt);
    return {
      module,
      function: plain(place.name),
      offset: start + place.at,
      ...source && { ...source, file: plain(source.file) },
    };
  });
}

/**
 * Names the frames of a guest that was made of `file`; those of the rewriter are left out. Frames
 * of modules without an origin keep their numbers.
 */
export function symbolize(
  file: Uint8Array,
  origins: Origins,
  frames: readonly RawFrame[],
): Frame[] {
  const named = new Map<RawFrame, Frame | undefined>();
  for (const [key, inModule] of Map.groupBy(frames, (frame) => frame.module)) {
    const origin = Object.hasOwn(origins, key) ? origins[key]! : undefined;
    const bytes = origin && file.subarray(...origin);
    const found = bytes ? symbolizeModule(bytes, origin[0], key, inModule) : inModule.map(unnamed);
    inModule.forEach((frame, i) => named.set(frame, found[i]));
  }
  return frames.flatMap((frame) => named.get(frame) ?? []);
}

/** Where the transpiler's core modules stand in the component; those it made itself stand nowhere. */
export function findOrigins(
  file: Uint8Array,
  modules: Iterable<readonly [string, Uint8Array]>,
): Record<string, readonly [number, number]> {
  const candidates: CoreModule[] = [...coreModules(file)];
  const origins: Record<string, readonly [number, number]> = {};
  for (const [key, module] of modules) {
    const found = candidates.find(({ start, end }) =>
      end - start === module.length && equal(file.subarray(start, end), module)
    );
    if (found) origins[key] = [found.start, found.end];
  }
  return origins;
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
