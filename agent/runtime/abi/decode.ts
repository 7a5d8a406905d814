/**
 * Reads a component of the asynchronous ABI into a {@link Plan}.
 *
 * Takes what language tools make of one program: core modules, the canonical definitions between
 * them, and nested components that only rename what is exported. Refuses, with `unsupported`, what
 * is composed of several programs or uses a feature that no tool makes yet. The bytes are valid:
 * the transpiler has checked them before.
 *
 * @see https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md
 * @module
 */
import { type CoreModule, Cursor } from "../../wasm/component.ts";
import type { FuncType, Primitive, TypeDef, TypeRef } from "../../wasm/value_types.ts";
import type { Canon, CanonOptions, Lift, PlainCanon, Plan, Step } from "./plan.ts";
import {
  type CoreSort,
  type Decl,
  type ExternRef,
  type RawRef,
  type RawType,
  readAlias,
  readExternName,
  readExternRef,
  readResult,
  readSort,
  readType,
  refuse,
  type Sort,
} from "../../wasm/component_types.ts";

/** What an index of a component's spaces names. */
type Entity =
  | { readonly sort: "value type"; readonly ref: TypeRef }
  | { readonly sort: "func type"; readonly type: FuncType }
  | { readonly sort: "instance type"; readonly decls: readonly Decl[]; readonly scope: Scope }
  | { readonly sort: "component type" }
  | { readonly sort: "resource"; readonly id: number }
  | {
    readonly sort: "import";
    readonly iface: string;
    readonly name: string;
    readonly type: FuncType;
  }
  | {
    readonly sort: "lift";
    readonly core: number;
    readonly type: FuncType;
    readonly options: CanonOptions;
  }
  | { readonly sort: "instance"; readonly exports: ReadonlyMap<string, Entity> }
  | { readonly sort: "component"; readonly bytes: Cursor; readonly scope: Scope };

type Of<S extends Entity["sort"]> = Extract<Entity, { readonly sort: S }>;

/** The index spaces of a component, or of a type of an instance; it sees those around it. */
class Scope {
  readonly type: Entity[] = [];
  readonly func: Entity[] = [];
  readonly instance: Entity[] = [];
  readonly component: Entity[] = [];

  constructor(readonly outer?: Scope) {}

  add(sort: Sort, entity: Entity): void {
    this[spaceOf(sort)].push(entity);
  }

  at(sort: Sort, index: number): Entity {
    return this[spaceOf(sort)][index] ??
      refuse(`it refers to ${sort} ${index}, which it does not have`);
  }

  up(count: number): Scope {
    if (count === 0) return this;
    return this.outer?.up(count - 1) ?? refuse("it refers outside of itself");
  }
}

function spaceOf(sort: Sort): "type" | "func" | "instance" | "component" {
  return sort === "core module" || sort === "value"
    ? refuse(`it has a ${sort} at its border`)
    : sort;
}

function expect<S extends Entity["sort"]>(entity: Entity | undefined, ...sorts: S[]): Of<S> {
  if (entity !== undefined && (sorts as string[]).includes(entity.sort)) return entity as Of<S>;
  return refuse(
    `it has ${entity ? `a ${entity.sort}` : "nothing"} where a ${sorts.join(" or ")} is wanted`,
  );
}

/** As in {@link Cursor}; how deep components may lie in one another. */
const NESTING_MAX = 8;

/** Opcodes without immediates. */
const PLAIN: Readonly<Record<number, PlainCanon>> = {
  0x05: "task.cancel",
  0x0d: "subtask.drop",
  0x1f: "waitable-set.new",
  0x22: "waitable-set.drop",
  0x23: "waitable.join",
  0x24: "backpressure.inc",
  0x25: "backpressure.dec",
};

/** Opcodes on a type of stream or future, from 0x0e and from 0x15. */
const ENDS = [
  "new",
  "read",
  "write",
  "cancel-read",
  "cancel-write",
  "drop-readable",
  "drop-writable",
] as const;

class Decoder {
  readonly types: TypeDef[] = [];
  readonly resources: string[] = [];
  readonly steps: Step[] = [];
  /** Core modules, of which an uninstantiated component may have others. */
  readonly modules: CoreModule[] = [];
  readonly #defined = new Map<string, number>();
  readonly #counts: Record<CoreSort | "instance" | "module", number> = {
    func: 0,
    table: 0,
    memory: 0,
    global: 0,
    tag: 0,
    instance: 0,
    module: 0,
  };

  /** The value type of a reference in a scope. */
  #ref(raw: RawRef, scope: Scope): TypeRef {
    return typeof raw === "string"
      ? raw as Primitive
      : expect(scope.at("type", raw), "value type").ref;
  }

  #optional(raw: RawRef | null, scope: Scope): TypeRef | null {
    return raw === null ? null : this.#ref(raw, scope);
  }

  /** Equal types are one: an end of a stream passes wherever its type is written. */
  #define(def: TypeDef): Of<"value type"> {
    const key = JSON.stringify(def);
    let ref = this.#defined.get(key);
    if (ref === undefined) this.#defined.set(key, ref = this.types.push(def) - 1);
    return { sort: "value type", ref };
  }

  #type(raw: RawType, scope: Scope): Entity {
    const ref = (r: RawRef) => this.#ref(r, scope);
    switch (raw.kind) {
      case "primitive":
        return { sort: "value type", ref: raw.name as Primitive };
      case "record":
        return this.#define({ kind: "record", fields: raw.fields.map(([n, t]) => [n, ref(t)]) });
      case "variant":
        return this.#define({
          kind: "variant",
          cases: raw.cases.map(([n, t]) => [n, this.#optional(t, scope)]),
        });
      case "list":
      case "option":
        return this.#define({ kind: raw.kind, of: ref(raw.of) });
      case "tuple":
        return this.#define({ kind: "tuple", of: raw.of.map(ref) });
      case "flags":
      case "enum":
        return this.#define({ kind: raw.kind, names: raw.names });
      case "result":
        return this.#define({
          kind: "result",
          ok: this.#optional(raw.ok, scope),
          err: this.#optional(raw.err, scope),
        });
      case "own":
      case "borrow": {
        const { id } = expect(scope.at("type", raw.resource), "resource");
        return this.#define({ kind: raw.kind, resource: id });
      }
      case "stream":
      case "future":
        return this.#define({ kind: raw.kind, of: this.#optional(raw.of, scope) });
      case "func":
        return {
          sort: "func type",
          type: {
            params: raw.params.map(ref),
            result: this.#optional(raw.result, scope),
            isAsync: raw.isAsync,
          },
        };
      case "instance":
        return { sort: "instance type", decls: raw.decls, scope };
      case "component":
        return { sort: "component type" };
      case "resource":
        return refuse("it defines a resource of its own");
    }
  }

  /** What stands for an import; `name` is its own, or that of the instance that exports it. */
  #imported(iface: string, name: string, bound: ExternRef, scope: Scope): Entity {
    switch (bound.kind) {
      case "func": {
        const { type } = expect(scope.at("type", bound.index), "func type");
        return { sort: "import", iface, name, type };
      }
      case "equal":
        return scope.at("type", bound.index);
      case "resource":
        return { sort: "resource", id: this.resources.push(`${iface}#${name}`) - 1 };
      case "instance":
        return this.#instance(name, expect(scope.at("type", bound.index), "instance type"));
    }
  }

  /** An imported instance. */
  #instance(iface: string, { decls, scope: around }: Of<"instance type">): Entity {
    const scope = new Scope(around);
    const exports = new Map<string, Entity>();
    for (const decl of decls) {
      if (decl.kind === "type") scope.add("type", this.#type(decl.type, scope));
      else if (decl.kind === "alias") scope.add(decl.alias.sort, this.#alias(decl.alias, scope));
      else if (decl.kind === "import") refuse("it imports a component");
      else {
        const entity = this.#imported(iface, decl.name, decl.bound, scope);
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

  /** Reads a component in its sections; `args` are its imports, where it is a nested one. */
  component(
    c: Cursor,
    scope: Scope,
    args: ReadonlyMap<string, Entity> | undefined,
    depth = 0,
  ): Map<string, Entity> {
    if (depth > NESTING_MAX) refuse("its components lie too deep in one another");
    const exports = new Map<string, Entity>();
    c.at += 8;
    while (c.at < c.end) {
      const id = c.byte();
      const section = c.sub(c.u32());
      // Of nested components only names are wanted: core code in one is a second program.
      if (args && (id === 1 || id === 2 || id === 8)) {
        refuse("it is composed of several components, of which each has code of its own");
      }
      if (id === 1) {
        this.modules.push({ start: section.at, end: section.end });
        continue;
      }
      if (id === 4) {
        scope.add("component", { sort: "component", bytes: section, scope });
        continue;
      }
      if (id === 0) continue;
      if (id === 3) refuse("it has core types at its border");
      if (id === 9) refuse("it has a start function");
      for (let n = section.u32(); n > 0; n--) {
        if (id === 2) this.#coreInstance(section);
        else if (id === 5) scope.add("instance", this.#makeInstance(section, scope, depth));
        else if (id === 6) this.#readAlias(section, scope);
        else if (id === 7) scope.add("type", this.#type(readType(section), scope));
        else if (id === 8) this.#canon(section, scope);
        else if (id === 10) {
          const name = readExternName(section);
          const bound = readExternRef(section);
          const arg = args ? args.get(name) : this.#imported("", name, bound, scope);
          scope.add(sortOf(bound), arg ?? refuse(`it does not give ${name} to a part of itself`));
        } else if (id === 11) {
          const name = readExternName(section);
          const sort = readSort(section);
          const entity = scope.at(sort, section.u32());
          if (section.byte() === 0x01) readExternRef(section);
          scope.add(sort, entity);
          exports.set(name, entity);
        } else refuse(`it has an unknown section ${id}`);
      }
    }
    return exports;
  }

  #makeInstance(c: Cursor, scope: Scope, depth: number): Entity {
    const form = c.byte();
    const component = form === 0x00
      ? expect(scope.at("component", c.u32()), "component")
      : undefined;
    const parts = new Map<string, Entity>();
    for (let n = c.u32(); n > 0; n--) {
      const name = component ? c.name() : readExternName(c);
      const sort = readSort(c);
      parts.set(name, scope.at(sort, c.u32()));
    }
    if (!component) return { sort: "instance", exports: parts };
    const { bytes } = component;
    const body = new Cursor(bytes.bytes, bytes.at, bytes.end);
    return {
      sort: "instance",
      exports: this.component(body, new Scope(component.scope), parts, depth + 1),
    };
  }

  #step(step: Step, space: CoreSort | "instance"): void {
    this.steps.push(step);
    this.#counts[space]++;
  }

  #readAlias(c: Cursor, scope: Scope): void {
    const alias = readAlias(c);
    if (alias.core) {
      const { sort, instance, name } = alias;
      this.#step({ do: "alias", sort, instance, name }, sort);
    } else scope.add(alias.sort, this.#alias(alias, scope));
  }

  #coreInstance(c: Cursor): void {
    if (c.byte() === 0x00) {
      const module = c.u32();
      const args: [string, number][] = [];
      for (let n = c.u32(); n > 0; n--) {
        const name = c.name();
        c.byte(); // the sort: an instance
        args.push([name, c.u32()]);
      }
      return this.#step({ do: "instantiate", module, args }, "instance");
    }
    const exports: [string, CoreSort, number][] = [];
    for (let n = c.u32(); n > 0; n--) {
      const name = c.name();
      const sort = CORE_SORTS[c.byte()] ?? refuse("it has a core export of an unknown sort");
      exports.push([name, sort, c.u32()]);
    }
    this.#step({ do: "bundle", exports }, "instance");
  }

  #options(c: Cursor): CanonOptions {
    const options: { -readonly [K in keyof CanonOptions]: CanonOptions[K] } = { isAsync: false };
    for (let n = c.u32(); n > 0; n--) {
      const option = c.byte();
      if (option === 0x03) options.memory = c.u32();
      else if (option === 0x04) options.realloc = c.u32();
      else if (option === 0x05) options.postReturn = c.u32();
      else if (option === 0x06) options.isAsync = true;
      else if (option === 0x07) options.callback = c.u32();
      else if (option === 0x01 || option === 0x02) refuse("its strings are not UTF-8");
      else if (option !== 0x00) refuse("it uses garbage-collected values at its border");
    }
    return options;
  }

  #canon(c: Cursor, scope: Scope): void {
    const opcode = c.byte();
    const add = (canon: Canon) => this.#step({ do: "canon", canon }, "func");
    if (opcode === 0x00) {
      c.byte();
      const core = c.u32();
      const options = this.#options(c);
      const { type } = expect(scope.at("type", c.u32()), "func type");
      if (options.isAsync && options.callback === undefined) {
        refuse("it exports an async function without a callback (a stackful one)");
      }
      scope.add("func", { sort: "lift", core, type, options });
    } else if (opcode === 0x01) {
      c.byte();
      const func = scope.at("func", c.u32());
      const options = this.#options(c);
      if (func.sort === "lift") refuse("it calls a function that it exports");
      const { iface, name, type } = expect(func, "import");
      add({ fn: "lower", iface, name, type, options });
    } else if (opcode === 0x03) {
      add({ fn: "resource.drop", resource: expect(scope.at("type", c.u32()), "resource").id });
    } else if (opcode === 0x02 || opcode === 0x04) refuse("it defines a resource of its own");
    else if (opcode === 0x09) {
      const type = this.#optional(readResult(c), scope);
      add({ fn: "task.return", type, options: this.#options(c) });
    } else if (opcode === 0x0a || opcode === 0x0b) {
      if (c.byte() !== 0x7f) refuse("it keeps more than 32 bits in a context");
      add({ fn: opcode === 0x0a ? "context.get" : "context.set", slot: c.u32() });
    } else if (opcode === 0x06) add({ fn: "subtask.cancel", isAsync: c.byte() === 1 });
    else if (opcode >= 0x0e && opcode <= 0x1b) {
      const of = opcode < 0x15 ? "stream" : "future";
      const end = ENDS[opcode - (of === "stream" ? 0x0e : 0x15)]!;
      const { ref } = expect(scope.at("type", c.u32()), "value type");
      const type = ref as number;
      if (this.types[type]?.kind !== of) refuse(`it uses a type as a ${of} that is none`);
      if (end === "read" || end === "write") {
        add({ fn: `${of}.${end}`, type, options: this.#options(c) });
      } else {
        if (end === "cancel-read" || end === "cancel-write") c.byte(); // never waits here
        add({ fn: `${of}.${end}`, type });
      }
    } else if (opcode === 0x20 || opcode === 0x21) {
      c.byte();
      add({ fn: opcode === 0x20 ? "waitable-set.wait" : "waitable-set.poll", memory: c.u32() });
    } else if (opcode === 0x0c) {
      c.byte();
      add({ fn: "thread.yield" });
    } else if (PLAIN[opcode]) add({ fn: PLAIN[opcode] });
    else if (opcode >= 0x1c && opcode <= 0x1e) refuse("it uses error contexts");
    else if (opcode >= 0x26 && opcode <= 0x42) refuse("it uses threads");
    else refuse(`it uses an unknown function of the canonical ABI (0x${opcode.toString(16)})`);
  }
}

const CORE_SORTS: Readonly<Record<number, CoreSort>> = {
  0x00: "func",
  0x01: "table",
  0x02: "memory",
  0x03: "global",
  0x04: "tag",
};

function sortOf(bound: ExternRef): Sort {
  return bound.kind === "func" || bound.kind === "instance" ? bound.kind : "type";
}

/** A plan, and where the core modules stand that it numbers. */
export interface Decoded {
  readonly plan: Plan;
  readonly modules: readonly CoreModule[];
}

/** Reads a valid component. Throws RealmError `unsupported`. */
export function decodePlan(bytes: Uint8Array): Decoded {
  const decoder = new Decoder();
  const exported = decoder.component(new Cursor(bytes), new Scope(), undefined);
  const exports: Lift[] = [];
  for (const [iface, entity] of exported) {
    if (entity.sort !== "instance") continue;
    for (const [name, func] of entity.exports) {
      if (func.sort !== "lift") continue;
      const { core, type, options } = func;
      exports.push({ iface, name, core, type, options });
    }
  }
  const { types, resources, steps, modules } = decoder;
  return { plan: { types, resources, steps, exports }, modules };
}
