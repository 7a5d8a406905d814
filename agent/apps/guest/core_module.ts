/**
 * The one core module of an app's component, rewritten so that what it uses is counted.
 *
 * A component made of one core module has a form that its tools fix: functions of the host are
 * imported by interface and name, and the module exports its memory, `cabi_realloc` and the functions
 * of its profile, as `realm:app/applier@0.1.0#apply`. The small modules that tools put beside it, because functions that
 * need its memory are imported before there is one, only pass calls on. ABI 1 takes components of
 * this form and calls the module itself; components of the other profiles have it as well. Throws RealmError `invalid-module` or `unsupported`.
 *
 * @module
 */
import { RealmError } from "../../kernel/error.ts";
import { coreModules, identify } from "../../wasm/component.ts";
import { meter } from "../../wasm/meter/meter.ts";
import { decodeModule, SECTION } from "../../wasm/meter/module.ts";
import { RENEWABLE } from "../../wasm/meter/lasting_names.ts";
import type { Profile } from "../contracts.ts";
import { MEMORY_PAGES_MAX, TABLE_ELEMENTS_MAX } from "./prices.ts";

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

/** Finds, rewrites and compiles the module of a component. */
export async function coreModuleOf(
  component: Uint8Array,
  { profile, memoryPagesMax: pagesMax, tableElementsMax }: CoreModuleOptions = STATE_APPLY,
): Promise<CoreModule> {
  const refused = (why: string) => refusedAs(profile, why);
  const { kind } = identify(component);
  if (kind !== "component") throw refused("it is a core module, wanted a component");
  const found: { bytes: Uint8Array; memoryPagesMax: number }[] = [];
  for (const { start, end } of coreModules(component)) {
    const bytes = component.subarray(start, end);
    const { memories, importedMemories, sections, globals, tags } = decodeModule(bytes);
    if (tags.length > 0 && profile === "state-apply") throw refused("it has exceptions");
    if (memories.length === 1 && importedMemories === 0 && !sections.has(SECTION.START)) {
      const { max } = memories[0]!;
      found.push({ bytes, memoryPagesMax: Math.min(max ?? pagesMax, pagesMax) });
    } else if (
      memories.length > 0 || globals.length > 0 || sections.has(SECTION.START) ||
      sections.has(SECTION.DATA)
    ) throw refused("a core module of it shares its memory, has several or runs at its start");
  }
  const [main, ...others] = found;
  if (main === undefined || others.length > 0) {
    throw refused(`it has ${found.length} core modules with a memory, wanted one`);
  }
  const { bytes } = meter(main.bytes, { memoryPagesMax: pagesMax, tableElementsMax });
  let module: WebAssembly.Module;
  try {
    module = await WebAssembly.compile(bytes);
  } catch (error) {
    if (!(error instanceof WebAssembly.CompileError)) throw error;
    throw new RealmError("invalid-module", `Cannot load the component: ${error.message}`, {
      cause: error,
    });
  }
  const isRenewable = WebAssembly.Module.customSections(module, RENEWABLE).length > 0;
  return { module, memoryPagesMax: main.memoryPagesMax, isRenewable };
}

/** The error for a component that is valid and not of the form. */
export function refusedAs(profile: Profile, why: string): RealmError {
  return new RealmError("unsupported", `Cannot load the component as ${profile}: ${why}`);
}
