/**
 * The core modules of an app's component, rewritten so that what they use is counted: one for each of
 * its parts.
 *
 * A part made of one core module has a form that its tools fix: functions are imported by interface
 * and name, and the module exports its memory, `cabi_realloc` and the functions of what the part
 * exports, as `realm:app/applier@0.1.0#apply`. The small modules that tools put beside it, because
 * functions that need its memory are imported before there is one, only pass calls on. A component is
 * one part, or has modules composed in, each of which is a part that gives others what it exports
 * (`wasm/composition.ts`). ABI 1 takes components of this form and calls the modules itself;
 * components of the other profiles have it as well. Throws RealmError `invalid-module` or
 * `unsupported`.
 *
 * @module
 */
import { RealmError } from "../../kernel/error.ts";
import { readBorder } from "../../wasm/border.ts";
import { coreModules, identify } from "../../wasm/component.ts";
import { type Part, readComposition } from "../../wasm/composition.ts";
import { meter } from "../../wasm/meter/meter.ts";
import { decodeModule, SECTION } from "../../wasm/meter/module.ts";
import { RENEWABLE } from "../../wasm/meter/lasting_names.ts";
import { EXPORT, MIGRATOR, PACKAGE, type Profile, VERSION } from "../contracts.ts";
import { coreTypeProblem } from "./core_types.ts";
import { MEMORY_PAGES_MAX, TABLE_ELEMENTS_MAX } from "./prices.ts";
import { type Signature, signatureOf, SIGNATURES } from "./signature.ts";

/** What a guest is instantiated from. */
export interface CoreModule {
  readonly module: WebAssembly.Module;
  /** Pages of 64 KiB that its memory may have. */
  readonly memoryPagesMax: number;
  /** Whether nothing but memory and integer globals can change while it runs. */
  readonly isRenewable: boolean;
}

/** As what a component is taken. */
export interface CoreModuleOptions {
  readonly profile: Profile;
  readonly memoryPagesMax: number;
  readonly tableElementsMax: number;
}

const STATE_APPLY: CoreModuleOptions = {
  profile: "state-apply",
  memoryPagesMax: MEMORY_PAGES_MAX,
  tableElementsMax: TABLE_ELEMENTS_MAX,
};

/** What a part gives to another. */
export interface Link {
  /** Which part gives it, of those before. */
  readonly part: number;
  /** What that exports it as. */
  readonly name: string;
  /** The functions that are wanted of it. */
  readonly functions: ReadonlyMap<string, Signature>;
}

/** A part of a component, with what other parts give it by the name under which it imports it. */
export interface CorePart extends CoreModule {
  readonly links: ReadonlyMap<string, Link>;
}

/** Finds, rewrites and compiles the parts of a component; the last has what the component exports. */
export async function corePartsOf(
  component: Uint8Array,
  options: CoreModuleOptions = STATE_APPLY,
): Promise<readonly CorePart[]> {
  const { profile, memoryPagesMax } = options;
  if (identify(component).kind !== "component") {
    throw refusedAs(profile, "it is a core module, wanted a component");
  }
  const { parts, exports } = readComposition(component);
  if (parts.length === 0) throw refusedAs(profile, "it has no core module");
  for (const exported of [EXPORT[profile], MIGRATOR]) {
    const name = `${PACKAGE}${exported}@${VERSION}`;
    const main = exports.get(name);
    if (main !== undefined && (main.from !== parts.length - 1 || main.name !== name)) {
      throw refusedAs(profile, `what it exports is not of its last part`);
    }
  }
  const made: CorePart[] = [];
  let pages = 0;
  const links = parts.map((part) => linksOf(part, parts, profile));
  for (const [i, part] of parts.entries()) {
    const { pagesMin, bytes, ...core } = await compiled(part.bytes, options);
    pages += pagesMin;
    const problem = coreTypeProblem(
      { bytes, module: core.module },
      (from, name) => (links[i]!.get(from)?.functions ?? functionsOf(from))?.get(name),
      (exported) => {
        const [of = "", name = ""] = exported.split("#");
        const taken = links.flatMap((taker) => [...taker.values()])
          .find((link) => link.part === i && link.name === of && link.functions.has(name));
        return (taken?.functions ?? functionsOf(of))?.get(name);
      },
    );
    if (problem !== undefined) throw refusedAs(profile, problem);
    made.push({ ...core, links: links[i]! });
  }
  if (pages > memoryPagesMax) {
    throw refusedAs(profile, `its parts have ${pages} pages, wanted at most ${memoryPagesMax}`);
  }
  return made;
}

/** The functions of an interface of the contract, by its full name. */
function functionsOf(name: string): ReadonlyMap<string, Signature> | undefined {
  const version = `@${VERSION}`;
  if (!name.startsWith(PACKAGE) || !name.endsWith(version)) return undefined;
  return SIGNATURES.get(name.slice(PACKAGE.length, -version.length));
}

function linksOf(
  { bytes, givers }: Part,
  parts: readonly Part[],
  profile: Profile,
): ReadonlyMap<string, Link> {
  const links = new Map<string, Link>();
  for (const [name, giver] of givers) {
    if (giver.from === "host") {
      if (giver.name === name) continue;
      throw refusedAs(profile, `it gives a part ${giver.name} for ${name}`);
    }
    const wanted = readBorder(bytes).imports.find((item) => item.name === name)!;
    const given = readBorder(parts[giver.from]!.bytes).exports
      .find((item) => item.name === giver.name)!;
    const functions = new Map<string, Signature>();
    for (const [fn, type] of wanted.functions) {
      if (given.functions.get(fn) !== type) {
        throw refusedAs(profile, `its parts do not agree on ${fn} of ${name}`);
      }
      functions.set(fn, signatureOf(type));
    }
    links.set(name, { part: giver.from, name: giver.name, functions });
  }
  return links;
}

async function compiled(
  component: Uint8Array,
  { profile, memoryPagesMax: pagesMax, tableElementsMax }: CoreModuleOptions,
): Promise<CoreModule & { readonly pagesMin: number; readonly bytes: Uint8Array }> {
  const refused = (why: string) => refusedAs(profile, why);
  const found: { bytes: Uint8Array; memoryPagesMax: number; pagesMin: number }[] = [];
  for (const { start, end } of coreModules(component)) {
    const bytes = component.subarray(start, end);
    const { memories, importedMemories, sections, globals, tags } = decodeModule(bytes);
    if (tags.length > 0 && profile === "state-apply") throw refused("it has exceptions");
    if (memories.length === 1 && importedMemories === 0 && !sections.has(SECTION.START)) {
      const { min, max } = memories[0]!;
      const memoryPagesMax = Math.min(max ?? pagesMax, pagesMax);
      found.push({ bytes, memoryPagesMax, pagesMin: min });
    } else if (
      memories.length > 0 || globals.length > 0 || sections.has(SECTION.START) ||
      sections.has(SECTION.DATA)
    ) throw refused("a core module of it shares its memory, has several or runs at its start");
  }
  const [main, ...others] = found;
  if (main === undefined || others.length > 0) {
    throw refused(`it has ${found.length} core modules with a memory, wanted one`);
  }
  const metered = meter(main.bytes, { memoryPagesMax: pagesMax, tableElementsMax });
  let module: WebAssembly.Module;
  try {
    module = await WebAssembly.compile(metered.bytes);
  } catch (error) {
    if (!(error instanceof WebAssembly.CompileError)) throw error;
    throw new RealmError("invalid-module", `Cannot load the component: ${error.message}`, {
      cause: error,
    });
  }
  const isRenewable = WebAssembly.Module.customSections(module, RENEWABLE).length > 0;
  const { bytes, memoryPagesMax, pagesMin } = main;
  return { bytes, module, memoryPagesMax, pagesMin, isRenewable };
}

/** The error for a component that is valid and not of the form. */
export function refusedAs(profile: Profile, why: string): RealmError {
  return new RealmError("unsupported", `Cannot load the component as ${profile}: ${why}`);
}
