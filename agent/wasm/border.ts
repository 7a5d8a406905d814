/**
 * The border of a component with the types of its functions, written out to the last.
 *
 * A type is a text, equal for equal types: `(list<u8>, u32) -> option<record {key: list<u8>}>`.
 * Names of types and of parameters do not count. Nested components are followed where they are
 * instantiated, because language tools export through one. Reads what such tools make; refuses
 * (RealmError `unsupported`) resources, streams, the asynchronous ABI, values and core parts at the
 * border, and (`invalid-module`) what is malformed.
 *
 * @see https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md
 * @module
 */
import { Cursor } from "./component.ts";
import {
  type Decl,
  type ExternRef,
  type RawRef,
  type RawType,
  readAlias,
  readExternName,
  readExternRef,
  readSort,
  readType,
  refuse,
  type Sort,
} from "./component_types.ts";

/** Something that a component imports or exports. */
export interface BorderItem {
  /** With its version: `wasi:cli/run@0.2.3`. */
  readonly name: string;
  /** Byte of the file at which it is declared. */
  readonly at: number;
  /** Types by name, of an instance; its own under an empty name, of a function. */
  readonly functions: ReadonlyMap<string, string>;
}

/** What a component imports and exports at the top. */
export interface Border {
  readonly imports: readonly BorderItem[];
  readonly exports: readonly BorderItem[];
}

type Entity =
  | { readonly sort: "type" | "func"; readonly text: string }
  | { readonly sort: "func type"; readonly text: string }
  | { readonly sort: "instance type"; readonly decls: readonly Decl[]; readonly scope: Scope }
  | { readonly sort: "instance"; readonly exports: ReadonlyMap<string, Entity> }
  | { readonly sort: "component"; readonly start: number; readonly end: number; scope: Scope };

/** The text of a type may be exponentially longer than its bytes. */
const TEXT_LENGTH_MAX = 4096;
/** A component may instantiate another many times, and that one a third. */
const BORDER_ITEMS_MAX = 100_000;
/** All texts together, in characters. */
const TEXTS_LENGTH_MAX = 4_000_000;
const NESTING_MAX = 20;

/** The index spaces of a component, or of the type of an instance. */
class Scope {
  readonly type: Entity[] = [];
  readonly func: Entity[] = [];
  readonly instance: Entity[] = [];
  readonly component: Entity[] = [];

  constructor(readonly outer?: Scope) {}

  #space(sort: Sort): Entity[] {
    return sort === "core module" || sort === "value"
      ? refuse(`it has a ${sort} at its border`)
      : this[sort];
  }

  add(sort: Sort, entity: Entity): void {
    this.#space(sort).push(entity);
  }

  at(sort: Sort, index: number): Entity {
    return this.#space(sort)[index] ??
      refuse(`it refers to ${sort} ${index}, which it does not have`);
  }

  up(count: number): Scope {
    if (count === 0) return this;
    return this.outer?.up(count - 1) ?? refuse("it refers outside of itself");
  }
}

function expect<S extends Entity["sort"]>(
  entity: Entity | undefined,
  sort: S,
): Extract<Entity, { sort: S }> {
  if (entity?.sort === sort) return entity as Extract<Entity, { sort: S }>;
  return refuse(`it has ${entity ? `a ${entity.sort}` : "nothing"} where a ${sort} is wanted`);
}

const textOf = (raw: RawRef, scope: Scope): string =>
  typeof raw === "string" ? raw : (scope.at("type", raw) as { text?: string }).text ??
    refuse(`type ${raw} is not the type of a value`);

/** The text of a type of values. */
function valueText(raw: RawType, scope: Scope): string {
  const ref = (r: RawRef) => textOf(r, scope);
  switch (raw.kind) {
    case "primitive":
      return raw.name;
    case "record":
      return `record {${raw.fields.map(([name, type]) => `${name}: ${ref(type)}`).join(", ")}}`;
    case "variant": {
      const cases = raw.cases.map(([name, of]) => of === null ? name : `${name}(${ref(of)})`);
      return `variant {${cases.join(", ")}}`;
    }
    case "list":
    case "option":
      return `${raw.kind}<${ref(raw.of)}>`;
    case "tuple":
      return `tuple<${raw.of.map(ref).join(", ")}>`;
    case "flags":
    case "enum":
      return `${raw.kind} {${raw.names.join(", ")}}`;
    case "result": {
      if (raw.ok === null && raw.err === null) return "result";
      const ok = raw.ok === null ? "_" : ref(raw.ok);
      return raw.err === null ? `result<${ok}>` : `result<${ok}, ${ref(raw.err)}>`;
    }
    default:
      return refuse(`it has a type of ${raw.kind}s`);
  }
}

class BorderReader {
  readonly imports: BorderItem[] = [];
  readonly exports: BorderItem[] = [];
  #items = 0;
  #textsLength = 0;

  constructor(readonly bytes: Uint8Array) {}

  #type(raw: RawType, scope: Scope): Entity {
    if (raw.kind === "instance") return { sort: "instance type", decls: raw.decls, scope };
    if (raw.kind !== "func") return { sort: "type", text: this.#bounded(valueText(raw, scope)) };
    if (raw.isAsync) refuse("it has an async function");
    const params = raw.params.map((param) => textOf(param, scope)).join(", ");
    const result = raw.result === null ? "" : ` -> ${textOf(raw.result, scope)}`;
    return { sort: "func type", text: this.#bounded(`(${params})${result}`) };
  }

  /** What is declared by an import, or by an export of the type of an instance. */
  #declared(bound: ExternRef, scope: Scope): Entity {
    switch (bound.kind) {
      case "func":
        return { sort: "func", text: expect(scope.at("type", bound.index), "func type").text };
      case "equal":
        return scope.at("type", bound.index);
      case "resource":
        return refuse("it has a type of resources");
      case "instance":
        return this.#instance(expect(scope.at("type", bound.index), "instance type"));
    }
  }

  #instance(type: Extract<Entity, { sort: "instance type" }>): Entity {
    const scope = new Scope(type.scope);
    const exports = new Map<string, Entity>();
    for (const decl of type.decls) {
      this.#count();
      if (decl.kind === "type") scope.add("type", this.#type(decl.type, scope));
      else if (decl.kind === "alias") scope.add(decl.alias.sort, this.#alias(decl.alias, scope));
      else if (decl.kind === "import") refuse("the type of an instance imports");
      else {
        const entity = this.#declared(decl.bound, scope);
        scope.add(sortOf(decl.bound), entity);
        exports.set(decl.name, entity);
      }
    }
    return { sort: "instance", exports };
  }

  #alias(alias: Exclude<ReturnType<typeof readAlias>, { core: true }>, scope: Scope): Entity {
    if (alias.from === "outer") return scope.up(alias.count).at(alias.sort, alias.index);
    const { exports } = expect(scope.at("instance", alias.instance), "instance");
    return exports.get(alias.name) ?? refuse(`it names an export that is not there: ${alias.name}`);
  }

  #bounded(text: string): string {
    this.#textsLength += text.length;
    if (text.length > TEXT_LENGTH_MAX) refuse("one of its types is too large");
    if (this.#textsLength > TEXTS_LENGTH_MAX) refuse("its types are too large together");
    return text;
  }

  #count(): void {
    if (++this.#items > BORDER_ITEMS_MAX) refuse("it has too many parts");
  }

  /** Reads a component; `args` are its imports, where it is a nested one. */
  component(
    start: number,
    end: number,
    scope: Scope,
    args: ReadonlyMap<string, Entity> | undefined,
    depth = 0,
  ): Map<string, Entity> {
    if (depth > NESTING_MAX) refuse("its components lie too deep in one another");
    const exports = new Map<string, Entity>();
    const c = new Cursor(this.bytes, start + 8, end);
    while (c.at < c.end) {
      const id = c.byte();
      const section = c.sub(c.u32());
      if (id <= 2) continue; // core modules and their instances have no types of a component
      if (id === 4) {
        scope.add("component", { sort: "component", start: section.at, end: section.end, scope });
        continue;
      }
      if (id === 3) refuse("it has core types at its border");
      if (id === 9) refuse("it has a start function");
      if (id > 11) refuse(`it has an unknown section ${id}`);
      for (let n = section.u32(); n > 0; n--) {
        this.#count();
        const at = section.at;
        if (id === 5) scope.add("instance", this.#makeInstance(section, scope, depth));
        else if (id === 6) {
          const alias = readAlias(section);
          if (!alias.core) scope.add(alias.sort, this.#alias(alias, scope));
        } else if (id === 7) scope.add("type", this.#type(readType(section), scope));
        else if (id === 8) this.#canon(section, scope);
        else if (id === 10) {
          const name = readExternName(section);
          const bound = readExternRef(section);
          const entity = args ? args.get(name) : this.#declared(bound, scope);
          scope.add(
            sortOf(bound),
            entity ?? refuse(`it does not give ${name} to a part of itself`),
          );
          if (!args) this.imports.push(item(name, at, entity!));
        } else {
          const name = readExternName(section);
          const sort = readSort(section);
          const entity = scope.at(sort, section.u32());
          if (section.byte() === 0x01) readExternRef(section);
          scope.add(sort, entity);
          exports.set(name, entity);
          if (depth === 0) this.exports.push(item(name, at, entity));
        }
      }
      if (section.at !== section.end) refuse(`section ${id} has more bytes than parts`);
    }
    return exports;
  }

  #makeInstance(c: Cursor, scope: Scope, depth: number): Entity {
    const component = c.byte() === 0x00
      ? expect(scope.at("component", c.u32()), "component")
      : undefined;
    const parts = new Map<string, Entity>();
    for (let n = c.u32(); n > 0; n--) {
      const name = component ? c.name() : readExternName(c);
      const sort = readSort(c);
      parts.set(name, scope.at(sort, c.u32()));
    }
    if (!component) return { sort: "instance", exports: parts };
    const inside = new Scope(component.scope);
    const { start, end } = component;
    return {
      sort: "instance",
      exports: this.component(start, end, inside, parts, depth + 1),
    };
  }

  /** Definitions that lift or lower; all others are of resources and of the asynchronous ABI. */
  #canon(c: Cursor, scope: Scope): void {
    const opcode = c.byte();
    if (opcode > 0x01) refuse("it uses resources or the asynchronous ABI");
    c.byte();
    c.u32();
    for (let n = c.u32(); n > 0; n--) {
      const option = c.byte();
      if (option >= 0x03 && option <= 0x05) c.u32();
      else if (option > 0x02) refuse("it uses the asynchronous ABI");
    }
    if (opcode === 0x00) {
      const { text } = expect(scope.at("type", c.u32()), "func type");
      scope.add("func", { sort: "func", text });
    }
  }
}

function sortOf(bound: ExternRef): Sort {
  return bound.kind === "func" || bound.kind === "instance" ? bound.kind : "type";
}

function item(name: string, at: number, entity: Entity): BorderItem {
  const functions = new Map<string, string>();
  if (entity.sort === "func") functions.set("", entity.text);
  else if (entity.sort === "instance") {
    for (const [name, inner] of entity.exports) {
      if (inner.sort === "func") functions.set(name, inner.text);
    }
  }
  return { name, at, functions };
}

/** Reads the border of a component. */
export function readBorder(bytes: Uint8Array): Border {
  const reader = new BorderReader(bytes);
  reader.component(0, bytes.length, new Scope(), undefined);
  return { imports: reader.imports, exports: reader.exports };
}

/** Calls `found` for every type that a component and those in it define, with its byte. */
export function scanTypes(
  bytes: Uint8Array,
  found: (type: RawType, at: number) => void,
  start = 0,
  end = bytes.length,
  depth = 0,
): void {
  if (depth > NESTING_MAX) refuse("its components lie too deep in one another");
  const c = new Cursor(bytes, start + 8, end);
  while (c.at < c.end) {
    const id = c.byte();
    const section = c.sub(c.u32());
    if (id === 4) scanTypes(bytes, found, section.at, section.end, depth + 1);
    if (id !== 7) continue;
    for (let n = section.u32(); n > 0; n--) {
      const at = section.at;
      const visit = (type: RawType) => {
        if (type.kind === "instance" || type.kind === "component") {
          for (const decl of type.decls) if (decl.kind === "type") visit(decl.type);
        } else found(type, at);
      };
      visit(readType(section));
    }
  }
}

/** The primitive types that the definition of a type names itself. */
export function primitivesOf(type: RawType): string[] {
  const refs = ((): readonly (RawRef | null)[] => {
    switch (type.kind) {
      case "primitive":
        return [type.name];
      case "record":
        return type.fields.map(([, ref]) => ref);
      case "variant":
        return type.cases.map(([, ref]) => ref);
      case "list":
      case "option":
        return [type.of];
      case "tuple":
        return type.of;
      case "result":
        return [type.ok, type.err];
      case "func":
        return [...type.params, type.result];
      default:
        return [];
    }
  })();
  return refs.filter((ref) => typeof ref === "string");
}
