/**
 * How interfaces of WASI are made for an instance, and by which names their functions are known.
 *
 * @module
 */
import type { createCli } from "./cli.ts";
import type { createClocks } from "./clocks.ts";
import type { WasiInstance } from "./context.ts";
import type { createFilesystem } from "./filesystem.ts";
import type { createHttp } from "./http.ts";
import type { createKeyvalue } from "./keyvalue.ts";
import type { createRandom } from "./random.ts";
import { bindFunctions, bindResource } from "./resource.ts";

// deno-lint-ignore ban-types
type Functions = Record<string, Function>;
type ResourceClass = {
  new (host: WasiInstance, ...args: any[]): object;
  prototype: object;
  length: number;
};

/** What the interfaces of one instance are made of; each part when it is first asked for. */
export interface Parts {
  readonly host: WasiInstance;
  readonly http: ReturnType<typeof createHttp>;
  readonly cli: ReturnType<typeof createCli>;
  readonly clocks: ReturnType<typeof createClocks>;
  readonly random: ReturnType<typeof createRandom>;
  readonly filesystem: ReturnType<typeof createFilesystem>;
  readonly keyvalue: ReturnType<typeof createKeyvalue>;
  /** What `make` makes of these parts, once. */
  made(make: (parts: Parts) => Functions): Functions;
}

/** The parts of the instance at work, of several that have the same interfaces. */
export class Place {
  #parts: Parts | undefined;

  get parts(): Parts {
    if (this.#parts === undefined) throw new Error("No instance is at work");
    return this.#parts;
  }

  set parts(parts: Parts) {
    this.#parts = parts;
  }

  get host(): WasiInstance {
    return this.parts.host;
  }
}

/** A generation of WASI, by interface without version. */
export interface Interfaces {
  readonly functions: Readonly<Record<string, (parts: Parts) => Functions>>;
  /** Resources that a guest only gets, by their names in WIT. */
  readonly resources: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /**
   * Resources that a guest constructs, or whose static functions (the last) it calls, by the names
   * of their classes; one with a static function `new` or `create` has no constructor.
   */
  readonly constructible: Readonly<
    Record<string, Readonly<Record<string, readonly [string, ResourceClass, ...string[]]>>>
  >;
}

/** The name of a resource's class in the glue. */
export function classNameOf(resource: string): string {
  return resource.replace(/(^|-)(\w)/g, (_, _dash, letter: string) => letter.toUpperCase());
}

/** The classes of each interface that are the same for every instance, by name in the glue. */
export function classesOf({ resources }: Interfaces): Readonly<Record<string, object>> {
  return Object.fromEntries(
    Object.entries(resources).map(([iface, resources]) => [
      iface,
      Object.fromEntries(
        Object.entries(resources).map(([resource, type]) => [classNameOf(resource), type]),
      ),
    ]),
  );
}

/**
 * Makes the members of an interface for the instances of a place; `classes` as of {@link classesOf}.
 *
 * They have no state: whatever they find of an instance they find by the parts that are there when
 * they are called.
 */
export function membersOf(
  place: Place,
  iface: string,
  { functions, constructible }: Interfaces,
  classes: Readonly<Record<string, object>>,
): Record<string, unknown> {
  // Inherits nothing: a guest may import any name.
  const members: Record<string, unknown> = Object.create(null);
  const make = functions[iface]!;
  Object.assign(members, bindFunctions(place, iface, () => place.parts.made(make)));
  Object.assign(members, classes[iface]);
  const made = constructible[iface];
  for (const name in made) {
    const [resource, type, ...statics] = made[name]!;
    members[name] = bindResource(place, iface, resource, type, statics);
  }
  return members;
}

/** Members of classes that no guest may call. */
const NOT_METHODS = new Set(["constructor", "released"]);

function* methodsOf(prototype: object | null): Iterable<string> {
  for (; prototype; prototype = Object.getPrototypeOf(prototype)) {
    for (const name of Object.getOwnPropertyNames(prototype)) {
      if (!NOT_METHODS.has(name)) yield name;
    }
  }
}

/**
 * The functions of an interface, as the glue names them: `name` of functions and methods,
 * `new Class` of constructors, `Class.name` of static functions.
 */
export function* namesIn(
  iface: string,
  members: Readonly<Record<string, unknown>>,
  { constructible }: Interfaces,
  classes: Readonly<Record<string, object>>,
): Iterable<string> {
  const made = constructible[iface] ?? {};
  const types = { ...classes[iface], ...made };
  for (const name of Object.keys(members)) {
    if (!Object.hasOwn(types, name)) {
      yield name;
      continue;
    }
    const statics: readonly string[] = made[name]?.slice(2) as string[] | undefined ?? [];
    const isMade = statics.includes("new") || statics.includes("create");
    if (made[name] && !isMade) yield `new ${name}`;
    for (const member of statics) yield `${name}.${member}`;
    yield* methodsOf((members[name] as { prototype: object }).prototype);
  }
}

/** The glue's name for a function with a name of WIT. */
export function glueName(wit: string): string {
  const camel = (name: string) =>
    name.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
  const [, kind, resource, member = ""] =
    /^\[(method|static|constructor)\]([^.]+)(?:\.(.+))?$/.exec(wit) ?? [];
  if (kind === undefined) return camel(wit);
  if (kind === "constructor") return `new ${classNameOf(resource!)}`;
  return kind === "method" ? camel(member) : `${classNameOf(resource!)}.${camel(member)}`;
}
