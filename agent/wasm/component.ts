/**
 * Tells from its bytes what a WebAssembly file is: a component or a core module, what it imports
 * and exports at the top, and which world it fits.
 *
 * Reads the section framing and the import and export sections of the component binary format
 * (https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md); everything
 * deeper is validated by the transpiler and the engine. Throws RealmError `invalid-module`.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import type { World } from "../kernel/ports.ts";

/** An interface or function at the border of a component. */
export interface ExternName {
  /** `wasi:cli/run`, without version. */
  readonly name: string;
  /** `0.2.3`, where the name has one. */
  readonly version: string | undefined;
}

/** The name as it stands in the file. */
export const written = ({ name, version }: ExternName): string =>
  version ? `${name}@${version}` : name;

/** What a file is. */
export interface Identity {
  readonly kind: "component" | "module";
  readonly imports: readonly ExternName[];
  readonly exports: readonly ExternName[];
  /** The worlds of ours that it can be started as. */
  readonly worlds: readonly World[];
  /** What it has of WASI 0.3, where it has something. */
  readonly wasi03?: Wasi03;
}

/** What a component has of WASI 0.3. */
export interface Wasi03 {
  /** Interfaces with their versions. */
  readonly imports: readonly string[];
  readonly exports: readonly string[];
  /** Whether it uses the asynchronous canonical ABI: async functions, streams, futures. */
  readonly isAsync: boolean;
}

const MAGIC = [0x00, 0x61, 0x73, 0x6d];

function bad(why: string, hint?: string): RealmError {
  return new RealmError(
    "invalid-module",
    `Cannot read the WebAssembly file: ${why}`,
    hint === undefined ? {} : { hint },
  );
}

/** A cursor over bytes that refuses to read past its end. */
export class Cursor {
  constructor(readonly bytes: Uint8Array, public at = 0, readonly end = bytes.length) {}

  byte(): number {
    if (this.at >= this.end) throw bad(`it ends in the middle, at byte ${this.at}`);
    return this.bytes[this.at++]!;
  }

  u32(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const b = this.byte();
      value += (b & 0x7f) * 2 ** shift;
      if (b < 0x80) {
        if (value > 0xffff_ffff) break;
        return value;
      }
    }
    throw bad(`number out of range at byte ${this.at}`);
  }

  name(): string {
    const length = this.u32();
    if (length > this.end - this.at) throw bad(`name too long at byte ${this.at}`);
    const text = this.bytes.subarray(this.at, this.at + length);
    this.at += length;
    try {
      return new TextDecoder("utf-8", { fatal: true }).decode(text);
    } catch {
      throw bad(`name that is not UTF-8 at byte ${this.at - length}`);
    }
  }

  sub(length: number): Cursor {
    if (length > this.end - this.at) throw bad(`section past the end at byte ${this.at}`);
    const c = new Cursor(this.bytes, this.at, this.at + length);
    this.at += length;
    return c;
  }
}

function externName(full: string): ExternName {
  const at = full.lastIndexOf("@");
  return at < 0
    ? { name: full, version: undefined }
    : { name: full.slice(0, at), version: full.slice(at + 1) };
}

/** `importname'`/`exportname'`: 0x00 and 0x01 plain, 0x02 followed by a version suffix. */
function componentName(c: Cursor): ExternName {
  const form = c.byte();
  if (form > 0x02) throw bad(`unknown form of name 0x${form.toString(16)} at byte ${c.at - 1}`);
  const name = c.name();
  if (form === 0x02) { for (let n = c.u32(); n > 0; n--) c.name(); }
  return externName(name);
}

function externType(c: Cursor): void {
  const sort = c.byte();
  switch (sort) {
    case 0x00:
      if (c.byte() !== 0x11) throw bad(`unknown core sort at byte ${c.at - 1}`);
      c.u32();
      return;
    case 0x01:
    case 0x04:
    case 0x05:
      c.u32();
      return;
    case 0x02: {
      const bound = c.byte();
      if (bound === 0x00) c.u32();
      else c.at = c.end; // a value type: values are not in any of our worlds
      return;
    }
    case 0x03:
      if (c.byte() === 0x00) c.u32();
      return;
    default:
      throw bad(`unknown sort 0x${sort.toString(16)} at byte ${c.at - 1}`);
  }
}

function* componentImports(c: Cursor): Iterable<ExternName> {
  for (let n = c.u32(); n > 0; n--) {
    const name = componentName(c);
    externType(c);
    yield name;
  }
}

function* componentExports(c: Cursor): Iterable<ExternName> {
  for (let n = c.u32(); n > 0; n--) {
    const name = componentName(c);
    if (c.byte() === 0x00 && c.byte() !== 0x11) throw bad(`unknown core sort at byte ${c.at - 1}`);
    c.u32();
    if (c.byte() === 0x01) externType(c);
    yield name;
  }
}

function moduleLimits(c: Cursor): void {
  const flags = c.byte();
  c.u32();
  if (flags & 1) c.u32();
}

function* moduleImports(c: Cursor, fields?: Set<string>): Iterable<ExternName> {
  for (let n = c.u32(); n > 0; n--) {
    const name = c.name();
    const field = c.name();
    fields?.add(field);
    yield { name, version: undefined };
    const kind = c.byte();
    if (kind === 0) c.u32();
    else if (kind === 1) {
      const type = c.byte();
      if (type === 0x63 || type === 0x64) c.u32();
      moduleLimits(c);
    } else if (kind === 2) moduleLimits(c);
    else if (kind === 3) {
      const type = c.byte();
      if (type === 0x63 || type === 0x64) c.u32();
      c.byte();
    } else if (kind === 4) {
      c.byte();
      c.u32();
    } else throw bad(`unknown kind of import at byte ${c.at - 1}`);
  }
}

function* moduleExports(c: Cursor): Iterable<ExternName> {
  for (let n = c.u32(); n > 0; n--) {
    yield { name: c.name(), version: undefined };
    c.byte();
    c.u32();
  }
}

/** Not as arguments of one `push`: a file may have more names than a call may have arguments. */
function append(names: ExternName[], more: Iterable<ExternName>): void {
  for (const name of more) names.push(name);
}

function unique(names: readonly ExternName[]): ExternName[] {
  const seen = new Map(names.map((n) => [`${n.name}@${n.version}`, n]));
  return [...seen.values()];
}

function has(names: readonly ExternName[], name: string, version: RegExp): boolean {
  return names.some((n) => n.name === name && (n.version === undefined || version.test(n.version)));
}

const OF_02 = /^0\.2\./;
const OF_02_OR_03 = /^0\.(2\.|3\.\d+$)/;

/** Every name that a core module imports or exports: modules, fields, functions. */
export function coreNames(bytes: Uint8Array): Set<string> {
  const names = new Set<string>();
  const c = new Cursor(bytes, 8);
  while (c.at < c.end) {
    const id = c.byte();
    const section = c.sub(c.u32());
    const items = id === 2 ? moduleImports(section, names) : id === 7 ? moduleExports(section) : [];
    for (const { name } of items) names.add(name);
  }
  return names;
}

/** Opcodes of `canon`; every other is of the asynchronous ABI, as long as there are no others. */
const CANON = { LIFT: 0x00, LOWER: 0x01, RESOURCE: new Set([0x02, 0x03, 0x04]) } as const;
/** Options of a lifted or lowered function that have no immediate, and those that have an index. */
const CANON_PLAIN = new Set([0x00, 0x01, 0x02, 0x09]);
const CANON_INDEXED = new Set([0x03, 0x04, 0x05, 0x08]);

/**
 * Whether a section of canonical definitions is of the asynchronous ABI (Binary.md, "Canonical
 * Definitions"): a function with the option `async` or `callback`, or an intrinsic of tasks,
 * streams, futures or waitables.
 */
function hasAsyncCanon(c: Cursor): boolean {
  for (let n = c.u32(); n > 0; n--) {
    const opcode = c.byte();
    if (CANON.RESOURCE.has(opcode)) {
      c.u32();
      continue;
    }
    if (opcode !== CANON.LIFT && opcode !== CANON.LOWER) return true;
    c.byte();
    c.u32();
    for (let options = c.u32(); options > 0; options--) {
      const option = c.byte();
      if (CANON_INDEXED.has(option)) c.u32();
      else if (!CANON_PLAIN.has(option)) return true;
    }
    if (opcode === CANON.LIFT) c.u32();
  }
  return false;
}

function usesAsync(bytes: Uint8Array, start = 0, end = bytes.length, depth = 0): boolean {
  const c = new Cursor(bytes, start + 8, end);
  while (c.at < c.end) {
    const id = c.byte();
    const section = c.sub(c.u32());
    if (id === 8 && hasAsyncCanon(section)) return true;
    if (id === 4 && depth < NESTING_MAX && usesAsync(bytes, section.at, section.end, depth + 1)) {
      return true;
    }
  }
  return false;
}

/** Where a core module stands in a file. */
export interface CoreModule {
  readonly start: number;
  readonly end: number;
}

/** How deep components may lie in one another. */
const NESTING_MAX = 100;

/** The core modules of a file in order, those of nested components too; or the file itself. */
export function* coreModules(
  bytes: Uint8Array,
  start = 0,
  end = bytes.length,
  depth = 0,
): Iterable<CoreModule> {
  if (bytes[start + 6] === 0) yield { start, end };
  if (bytes[start + 6] !== 1 || depth > NESTING_MAX) return;
  const c = new Cursor(bytes, start + 8, end);
  while (c.at < c.end) {
    const id = c.byte();
    const section = c.sub(c.u32());
    if (id === 1 || id === 4) yield* coreModules(bytes, section.at, section.end, depth + 1);
  }
}

/** Release candidates too. */
function isOf03({ name, version }: ExternName): boolean {
  return name.startsWith("wasi:") && version !== undefined && /^0\.3\./.test(version);
}

/** Reads the border of a component or core module. */
export function identify(bytes: Uint8Array): Identity {
  if (bytes.length < 8 || MAGIC.some((b, i) => bytes[i] !== b)) {
    throw bad(
      "it does not start with \\0asm",
      "Give a .wasm component or a module built for WASI 0.1",
    );
  }
  const version = bytes[4]! | bytes[5]! << 8;
  const layer = bytes[6]! | bytes[7]! << 8;
  const kind = layer === 1 ? "component" : layer === 0 ? "module" : undefined;
  if (
    kind === undefined || (kind === "module" && version !== 1) ||
    (kind === "component" && version !== 0x0d)
  ) {
    throw bad(`version ${version} of layer ${layer}, wanted a component (13) or a module (1)`);
  }
  const imports: ExternName[] = [];
  const exports: ExternName[] = [];
  const c = new Cursor(bytes, 8);
  while (c.at < c.end) {
    const id = c.byte();
    const section = c.sub(c.u32());
    if (kind === "component" && id === 10) append(imports, componentImports(section));
    else if (kind === "component" && id === 11) append(exports, componentExports(section));
    else if (kind === "module" && id === 2) append(imports, moduleImports(section));
    else if (kind === "module" && id === 7) append(exports, moduleExports(section));
  }
  const worlds: World[] = [];
  if (kind === "component") {
    if (has(exports, "wasi:cli/run", OF_02_OR_03)) worlds.push("wasi:cli/command");
    if (
      has(exports, "wasi:http/incoming-handler", OF_02) ||
      has(exports, "wasi:http/handler", OF_02_OR_03)
    ) worlds.push("wasi:http/proxy");
  } else if (has(exports, "_start", OF_02)) worlds.push("wasi:cli/command");
  const of03 = (names: readonly ExternName[]) =>
    unique(names).filter(isOf03).map(({ name, version }) => `${name}@${version}`);
  const wasi03 = {
    imports: of03(imports),
    exports: of03(exports),
    isAsync: kind === "component" && usesAsync(bytes),
  };
  const hasAny = wasi03.isAsync || wasi03.imports.length + wasi03.exports.length > 0;
  return {
    kind,
    imports: unique(imports),
    exports: unique(exports),
    worlds,
    ...(hasAny && { wasi03 }),
  };
}

/**
 * Refuses what is of a release candidate of WASI 0.3: other interfaces under the same names. Throws
 * RealmError `unsupported`.
 */
export function refuseCandidates(wasi03: Wasi03 | undefined): void {
  const { imports = [], exports = [] } = wasi03 ?? {};
  const found = [
    ...exports.map((name) => `exports ${name}`),
    ...imports.map((name) => `imports ${name}`),
  ].find((name) => !/@0\.3\.\d+$/.test(name));
  if (found === undefined) return;
  throw new RealmError(
    "unsupported",
    `Cannot run the component: it ${found}, of a release candidate, wanted WASI 0.3.0 or later`,
    { hint: "Build it with newer tools; docs/wasi-0.3.md says which" },
  );
}
