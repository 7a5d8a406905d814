/**
 * Components that are made of others: which parts there are, and which gives what to which.
 *
 * {@link compose} puts components into one another as `wac plug` does: what one exports is given to
 * those that import it, what is still missing the whole imports, once for all. Its parts stay in it
 * byte by byte. {@link readComposition} tells of any such component what it is made of. Both take
 * instances alone at borders, as WIT's worlds of interfaces have them. Throws RealmError `unsupported`
 * for other forms, `invalid-module` for what is malformed or does not fit together.
 *
 * @see https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import { Cursor } from "./component.ts";
import {
  type Decl,
  type RawType,
  readAlias,
  readExternName,
  readExternRef,
  readSort,
  readType,
  refuse,
  type Sort,
  writeDecl,
} from "./component_types.ts";
import { Writer } from "./meter/binary.ts";

const PREAMBLE = Uint8Array.of(0x00, 0x61, 0x73, 0x6d, 0x0d, 0x00, 0x01, 0x00);
const SECTION = {
  CORE_MODULE: 1,
  COMPONENT: 4,
  INSTANCE: 5,
  ALIAS: 6,
  TYPE: 7,
  IMPORT: 10,
  EXPORT: 11,
} as const;
const SORT_INSTANCE = 0x05;
/** Parts of one component, and how deep they may lie in one another. */
const PARTS_MAX = 16;

/** Who gives an instance: the host, or a part by what it exports; each under a name. */
export type Giver =
  | { readonly from: "host"; readonly name: string }
  | { readonly from: number; readonly name: string };

/** A component with core modules of its own, instantiated once. */
export interface Part {
  readonly bytes: Uint8Array;
  /** Who gives what it imports, by the name under which it does: parts before it, or the host. */
  readonly givers: ReadonlyMap<string, Giver>;
}

/** What a component is made of; one of a single part has that part alone. */
export interface Composition {
  /** In the order in which they are instantiated. */
  readonly parts: readonly Part[];
  /** What the whole exports, by name. */
  readonly exports: ReadonlyMap<string, Giver>;
}

/** The border of a component whose imports and exports are instances. */
interface Shape {
  /** Declarations of the types of what it imports, by name. */
  readonly imports: ReadonlyMap<string, readonly Decl[]>;
  readonly exports: readonly string[];
}

/** Tells what a component is made of. */
export function readComposition(component: Uint8Array): Composition {
  const parts: Part[] = [];
  const exports = readParts(component, parts, undefined, 0);
  return { parts, exports };
}

function* sections(bytes: Uint8Array): Iterable<{ id: number; section: Cursor }> {
  const cursor = new Cursor(bytes, PREAMBLE.length);
  while (cursor.at < cursor.end) yield { id: cursor.byte(), section: cursor.sub(cursor.u32()) };
}

function shapeOf(bytes: Uint8Array): Shape {
  const types: (RawType | undefined)[] = [];
  const imports = new Map<string, readonly Decl[]>();
  const exports: string[] = [];
  for (const { id, section } of sections(bytes)) {
    if (id !== SECTION.TYPE && id !== SECTION.IMPORT && id !== SECTION.EXPORT && id !== 6) continue;
    for (let n = section.u32(); n > 0; n--) {
      if (id === SECTION.TYPE) types.push(readType(section));
      else if (id === SECTION.ALIAS) {
        const alias = readAlias(section);
        if (!alias.core && alias.sort === "type") types.push(undefined);
      } else if (id === SECTION.IMPORT) {
        const name = readExternName(section);
        const bound = readExternRef(section);
        const type = bound.kind === "instance" ? types[bound.index] : undefined;
        if (type?.kind !== "instance") refuse(`it imports ${name}, which is no interface`);
        imports.set(name, type.decls);
      } else {
        const name = readExternName(section);
        if (readSort(section) !== "instance") refuse(`it exports ${name}, which is no interface`);
        section.u32();
        if (section.byte() === 0x01) readExternRef(section);
        exports.push(name);
      }
    }
  }
  return { imports, exports };
}

/** Adds the parts of a component, and gives what it exports; `given` is by the name of its imports. */
function readParts(
  bytes: Uint8Array,
  parts: Part[],
  given: ReadonlyMap<string, Giver> | undefined,
  depth: number,
): Map<string, Giver> {
  const { imports, exports } = shapeOf(bytes);
  const giverOf = (name: string): Giver =>
    given === undefined
      ? { from: "host", name }
      : given.get(name) ?? refuse(`it does not give ${name} to a part of itself`);
  if ([...sections(bytes)].some(({ id }) => id === SECTION.CORE_MODULE)) {
    if (parts.length === PARTS_MAX) refuse(`it has more than ${PARTS_MAX} parts`);
    const givers = new Map([...imports.keys()].map((name) => [name, giverOf(name)]));
    const from = parts.push({ bytes, givers }) - 1;
    return new Map(exports.map((name) => [name, { from, name }]));
  }
  if (depth === PARTS_MAX) refuse("its parts lie too deep in one another");
  return new CompositionReader(bytes, parts, giverOf, depth).read();
}

/** A component that has others and no code of its own. */
class CompositionReader {
  readonly #components: Uint8Array[] = [];
  /** What each instance has, or who gives it as it is. */
  readonly #instances: (Giver | ReadonlyMap<string, Giver>)[] = [];
  readonly #exports = new Map<string, Giver>();

  constructor(
    readonly bytes: Uint8Array,
    readonly parts: Part[],
    readonly giverOf: (name: string) => Giver,
    readonly depth: number,
  ) {}

  read(): Map<string, Giver> {
    for (const { id, section } of sections(this.bytes)) {
      if (id === 0) continue;
      if (id === SECTION.COMPONENT) {
        this.#components.push(this.bytes.subarray(section.at, section.end));
        continue;
      }
      for (let n = section.u32(); n > 0; n--) this.#item(id, section);
      if (section.at !== section.end) refuse(`section ${id} has more bytes than parts`);
    }
    return this.#exports;
  }

  #item(id: number, section: Cursor): void {
    switch (id) {
      case SECTION.TYPE:
        return void readType(section);
      case SECTION.IMPORT: {
        const name = readExternName(section);
        if (readExternRef(section).kind === "instance") this.#instances.push(this.giverOf(name));
        return;
      }
      case SECTION.INSTANCE:
        return void this.#instances.push(this.#instance(section));
      case SECTION.ALIAS: {
        const alias = readAlias(section);
        if (alias.core || alias.sort === "type") return;
        if (alias.from === "outer") refuse("it refers outside of itself");
        if (alias.sort !== "instance") refuse(`it takes ${alias.name} out of an interface`);
        this.#instances.push(this.#exported(alias.instance, alias.name));
        return;
      }
      case SECTION.EXPORT: {
        const name = readExternName(section);
        const giver = this.#at(readSort(section), section.u32());
        if (section.byte() === 0x01) readExternRef(section);
        if (!("from" in giver)) refuse(`it exports all of a part as ${name}`);
        this.#instances.push(giver);
        this.#exports.set(name, giver as Giver);
        return;
      }
      default:
        refuse("it has functions of its own beside its parts");
    }
  }

  #at(sort: Sort, index: number): Giver | ReadonlyMap<string, Giver> {
    if (sort !== "instance") refuse(`it gives a ${sort} to a part of itself`);
    return this.#instances[index] ?? refuse(`it has no instance ${index}`);
  }

  #exported(index: number, name: string): Giver {
    const instance = this.#at("instance", index);
    if ("from" in instance) return refuse(`it takes ${name} out of an interface`);
    return instance.get(name) ?? refuse(`it has no part that exports ${name}`);
  }

  #instance(section: Cursor): ReadonlyMap<string, Giver> {
    if (section.byte() !== 0x00) refuse("it puts an instance together of functions");
    const component = this.#components[section.u32()] ?? refuse("it has no such component");
    const given = new Map<string, Giver>();
    for (let n = section.u32(); n > 0; n--) {
      const name = section.name();
      const giver = this.#at(readSort(section), section.u32());
      if (!("from" in giver)) refuse(`it gives all of a part as ${name}`);
      given.set(name, giver as Giver);
    }
    return readParts(component, this.parts, given, this.depth + 1);
  }
}

/** A component that is to be put into another. */
export interface Plug {
  /** For messages. */
  readonly name: string;
  readonly bytes: Uint8Array;
}

/**
 * Puts `plugs` into `socket`, and into one another: the whole exports what the socket does. Each has
 * to export something that the socket, or a plug that it needs, imports.
 */
export function compose(socket: Uint8Array, plugs: readonly Plug[]): Uint8Array {
  const shapes = plugs.map(({ bytes }) => shapeOf(bytes));
  const main = shapeOf(socket);
  const providers = new Map<string, number>();
  for (const [i, { exports }] of shapes.entries()) {
    for (const name of exports) {
      const other = providers.get(name);
      if (other === undefined) providers.set(name, i);
      else throw misfit(plugs[i]!, `exports ${name}, as ${plugs[other]!.name} does`);
    }
  }
  const order = orderOf(plugs, shapes, main, providers);
  const unused = plugs.findIndex((_, i) => !order.includes(i));
  if (unused >= 0) throw misfit(plugs[unused]!, "exports nothing that is imported");

  const out = new Writer();
  out.copy(PREAMBLE);
  const imports = importsOf([...order.map((i) => shapes[i]!), main], providers);
  const instances = new Map([...imports.keys()].map((name, i) => [name, i]));
  if (imports.size > 0) {
    section(out, SECTION.TYPE, [...imports.values()].map((type) => type.bytes()));
    section(
      out,
      SECTION.IMPORT,
      [...imports.keys()].map((name, i) =>
        new Writer().u8(0x00).name(name).u8(SORT_INSTANCE).u32(i).bytes()
      ),
    );
  }
  let next = imports.size;
  const add = (component: number, bytes: Uint8Array, { imports, exports }: Shape) => {
    out.u8(SECTION.COMPONENT).u32(bytes.length).copy(bytes);
    const made = new Writer().u8(0x00).u32(component).u32(imports.size);
    for (const name of imports.keys()) made.name(name).u8(SORT_INSTANCE).u32(instances.get(name)!);
    section(out, SECTION.INSTANCE, [made.bytes()]);
    const instance = next++;
    section(
      out,
      SECTION.ALIAS,
      exports.map((name) => {
        instances.set(name, next++);
        return new Writer().u8(SORT_INSTANCE, 0x00).u32(instance).name(name).bytes();
      }),
    );
  };
  for (const [at, i] of order.entries()) add(at, plugs[i]!.bytes, shapes[i]!);
  add(order.length, socket, main);
  section(
    out,
    SECTION.EXPORT,
    main.exports.map((name) =>
      new Writer().u8(0x00).name(name).u8(SORT_INSTANCE).u32(instances.get(name)!).u8(0x00).bytes()
    ),
  );
  return out.bytes();
}

function misfit({ name }: Plug, why: string): RealmError {
  return new RealmError("invalid-module", `Cannot compose module ${name}: it ${why}`, {
    hint: "A module has to export an interface that a component with it in it imports",
  });
}

function section(out: Writer, id: number, items: readonly Uint8Array[]): void {
  const body = new Writer().u32(items.length);
  for (const item of items) body.copy(item);
  out.u8(id).appendSized(body);
}

/** The plugs that are needed, each after those that it needs itself. */
function orderOf(
  plugs: readonly Plug[],
  shapes: readonly Shape[],
  main: Shape,
  providers: ReadonlyMap<string, number>,
): number[] {
  const order: number[] = [];
  const open = new Set<number>();
  const need = ({ imports }: Shape) => {
    for (const name of imports.keys()) {
      const plug = providers.get(name);
      if (plug === undefined || order.includes(plug)) continue;
      if (open.has(plug)) throw misfit(plugs[plug]!, `needs itself, for ${name}`);
      open.add(plug);
      need(shapes[plug]!);
      order.push(plug);
    }
  };
  need(main);
  return order;
}

/** What nobody provides, by name: the type of an instance that has all that any of them asks for. */
function importsOf(
  shapes: readonly Shape[],
  providers: ReadonlyMap<string, number>,
): Map<string, Writer> {
  const wanted = new Map<string, (readonly Decl[])[]>();
  for (const { imports } of shapes) {
    for (const [name, decls] of imports) {
      if (!providers.has(name)) wanted.set(name, [...wanted.get(name) ?? [], decls]);
    }
  }
  return new Map([...wanted].map(([name, all]) => [name, joined(name, all)]));
}

function joined(name: string, all: readonly (readonly Decl[])[]): Writer {
  const body = new Writer();
  let count = 0;
  let types = 0;
  /** What is exported already: the index of a type, of a function nothing. */
  const exported = new Map<string, number | undefined>();
  for (const decls of all) {
    // Types of this one by their indexes, as they are in the whole.
    const index: number[] = [];
    for (const decl of decls) {
      if (decl.kind === "export" && exported.has(decl.name)) {
        if (decl.bound.kind === "equal") index.push(exported.get(decl.name)!);
        continue;
      }
      if (decl.kind === "export" && (decl.bound.kind === "func" || decl.bound.kind === "equal")) {
        exported.set(decl.name, decl.bound.kind === "equal" ? types : undefined);
      } else if (decl.kind !== "type") refuse(`it imports ${name} with types of other interfaces`);
      writeDecl(body, decl, (i) => index[i] ?? refuse(`it has no type ${i} in ${name}`));
      count++;
      if (decl.kind === "type" || (decl.kind === "export" && decl.bound.kind === "equal")) {
        index.push(types++);
      }
    }
  }
  return new Writer().u8(0x42).u32(count).append(body);
}
