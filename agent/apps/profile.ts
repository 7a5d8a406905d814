/**
 * Which components may be what in an app, decided from their bytes before anything of them runs.
 *
 * A component of a profile exports the interface of that profile, imports what the profile may have
 * and nothing else, all with exactly the types of the contract, and uses no part of WebAssembly that
 * the profile may not use, in any of the core modules and components in it, in code that nothing
 * calls too. The matrix is `contracts.ts`; `docs/apps.md` tells it to people. Throws RealmError
 * `invalid-module` (malformed, or not a component), `unsupported` (well-formed, and nothing that any
 * profile has) or `refused` (not for this profile), naming import or function, and byte of the file.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import { type BorderItem, primitivesOf, readBorder, scanTypes } from "../wasm/border.ts";
import { coreModules, identify } from "../wasm/component.ts";
import { type Feature, functionName, scanFeatures } from "../wasm/features.ts";
import {
  CAPABILITIES,
  type Capability,
  EXPORT,
  GRANTED,
  IMPORT,
  INTERFACES,
  MIGRATOR,
  PACKAGE,
  type Profile,
  PROFILES,
  VERSION,
} from "./contracts.ts";

/** What one profile makes of a component. */
export interface ProfileCheck {
  readonly profile: Profile;
  /** Interfaces of the contract that it imports, without package and version, sorted. */
  readonly imports: readonly string[];
  /** Capabilities that it uses and that were granted, sorted. */
  readonly capabilities: readonly Capability[];
  /** Where its core modules stand in the file. */
  readonly coreModules: readonly { readonly start: number; readonly end: number }[];
}

/** Types that all glue lifts and lowers alike; of others, what is malformed is not told alike. */
const DETERMINISTIC = new Set(["u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64"]);
const DETERMINISTIC_KINDS = new Set(
  ["primitive", "record", "variant", "enum", "list", "option", "tuple", "result", "func"],
);

/** What a profile may use; a capability: only where that was granted. */
const FEATURES: Readonly<Record<Profile, Readonly<Record<Feature, boolean | Capability>>>> = {
  // A handler of exceptions could catch what the host throws to reject the event.
  "state-apply": { float: false, vector: false, exception: false },
  "state-propose": { float: false, vector: false, exception: true },
  "interaction": { float: true, vector: false, exception: true },
  "behavior": { float: "floats", vector: "simd", exception: true },
};

const MESSAGE_LENGTH_MAX = 300;

const FEATURE_WORDS: Readonly<Record<Feature, string>> = {
  float: "floats",
  vector: "SIMD",
  exception: "exceptions",
};

/** The capabilities that a bundle asks for, for components of these profiles. */
export function parseCapabilities(
  names: readonly string[],
  profiles: readonly Profile[] = PROFILES,
): Capability[] {
  return names.map((name) => {
    const wrong = (what: string, hint: string) =>
      new RealmError("refused", `Cannot grant a capability: ${JSON.stringify(name)} ${what}`, {
        hint,
      });
    if (name === "allow-floats") {
      throw wrong(
        "is reserved, floats in state-apply are not possible in this version",
        "Compute with integers, for example with fixed decimals",
      );
    }
    if (!Object.hasOwn(CAPABILITIES, name)) {
      throw wrong("is not known", `There are ${Object.keys(CAPABILITIES).join(", ")}`);
    }
    const capability = name as Capability;
    const owners: readonly Profile[] = CAPABILITIES[capability];
    if (!owners.some((profile) => profiles.includes(profile))) {
      throw wrong(`is for ${owners.join(" and ")} only`, "Take it out of the bundle");
    }
    return capability;
  });
}

/** The profiles whose interface a component exports; `[]` for a core module. */
export function profilesOf(bytes: Uint8Array): Profile[] {
  const { kind, exports } = identify(bytes);
  if (kind === "module") return [];
  return PROFILES.filter((profile) =>
    exports.some(({ name, version }) => name === PACKAGE + EXPORT[profile] && version === VERSION)
  );
}

/** Refuses a component that is not what a profile asks for. */
export function checkProfile(
  bytes: Uint8Array,
  profile: Profile,
  granted: readonly Capability[] = [],
): ProfileCheck {
  return new ProfileChecker(bytes, profile, granted).check();
}

class ProfileChecker {
  readonly #used = new Set<Capability>();

  constructor(
    readonly bytes: Uint8Array,
    readonly profile: Profile,
    readonly granted: readonly Capability[],
  ) {}

  #refused(what: string, at: number, why: string, hint?: string): RealmError {
    return new RealmError(
      "refused",
      `Cannot use the component as ${this.profile}: it ${clip(what)} (byte ${at}), ${why}`,
      { hint: hint ?? "docs/apps.md has what each profile may use" },
    );
  }

  check(): ProfileCheck {
    const { bytes, profile } = this;
    if (identify(bytes).kind !== "component") {
      throw new RealmError(
        "invalid-module",
        `Cannot use the file as ${profile}: it is a core module, wanted a component`,
        { hint: "Make a component of it with wasm-tools component new" },
      );
    }
    const { imports, exports } = this.#of("", () => readBorder(bytes));
    for (const item of imports) this.#import(item);
    this.#export(exports);
    this.#types();
    const modules = [...coreModules(bytes)];
    for (const [i, { start, end }] of modules.entries()) this.#coreModule(i, start, end);
    return {
      profile,
      imports: imports.map(({ name }) => interfaceOf(name)!).sort(),
      capabilities: [...this.#used].sort(),
      coreModules: modules,
    };
  }

  /** Says in an error of a reader for what the bytes were read. */
  #of<T>(where: string, read: () => T): T {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof RealmError) || error.code === "refused") throw error;
      const what = error.message.replace(/^[^:]*: /, "");
      throw new RealmError(
        error.code,
        `Cannot use the component as ${this.profile}: ${where}${clip(what)}`,
        { hint: error.hint ?? "docs/apps.md has what each profile may use", cause: error },
      );
    }
  }

  #import(item: BorderItem): void {
    const { profile } = this;
    const { name, at } = item;
    const found = interfaceOf(name);
    if (found === undefined || !Object.hasOwn(IMPORT, found)) {
      const isOurs = name.startsWith(PACKAGE);
      throw this.#refused(
        `imports ${name}`,
        at,
        isOurs ? `of which realm has ${PACKAGE}…@${VERSION} only` : "which no app may have",
        isOurs ? undefined : "Apps are built without the standard library's system interfaces",
      );
    }
    const owners = IMPORT[found]!;
    if (!owners.includes(profile)) {
      throw this.#refused(`imports ${name}`, at, `which is for ${owners.join(" and ")} only`);
    }
    const capability = Object.hasOwn(GRANTED, found) ? GRANTED[found] : undefined;
    if (capability !== undefined) this.#grant(capability, `imports ${name}`, at);
    this.#functions(item, found);
  }

  #grant(capability: Capability, what: string, at: number): void {
    if (!this.granted.includes(capability)) {
      throw this.#refused(
        what,
        at,
        `which the bundle has not asked for`,
        `Ask for it in bundle.toml: capabilities = ["${capability}"]`,
      );
    }
    this.#used.add(capability);
  }

  /** The functions of an instance are of the contract, with its types. */
  #functions({ name, at, functions }: BorderItem, of: string): void {
    const contract = INTERFACES[of]!;
    for (const [fn, type] of functions) {
      const wanted = Object.hasOwn(contract, fn) ? contract[fn] : undefined;
      if (wanted === undefined) {
        throw this.#refused(`has ${fn} of ${name}`, at, "which the contract does not have");
      }
      if (type !== wanted) {
        throw this.#refused(`has ${fn}${type} of ${name}`, at, `wanted ${fn}${wanted}`);
      }
    }
  }

  #export(exports: readonly BorderItem[]): void {
    const of = EXPORT[this.profile];
    const name = `${PACKAGE}${of}@${VERSION}`;
    const item = exports.find((item) => item.name === name);
    const missing = Object.keys(INTERFACES[of]!).filter((fn) => !item?.functions.has(fn));
    if (item === undefined || missing.length > 0) {
      throw new RealmError(
        "refused",
        `Cannot use the component as ${this.profile}: it does not export ${
          item ? `${missing[0]} of ` : ""
        }${name}`,
        { hint: "Build it for the world of that name in wit/realm-app-0.1.0" },
      );
    }
    this.#functions(item, of);
    const migrator = exports.find(({ name }) => name === `${PACKAGE}${MIGRATOR}@${VERSION}`);
    if (this.profile === "state-apply" && migrator !== undefined) {
      this.#functions(migrator, MIGRATOR);
    }
  }

  /** Types of nested components too: what passes between those decides a verdict as well. */
  #types(): void {
    this.#of("", () =>
      scanTypes(this.bytes, (type, at) => {
        if (this.profile !== "state-apply") return;
        const wrong = DETERMINISTIC_KINDS.has(type.kind)
          ? primitivesOf(type).find((name) => !DETERMINISTIC.has(name))
          : type.kind;
        if (wrong !== undefined) {
          throw this.#refused(`has a type with ${wrong}`, at, "wanted integers and list<u8> only");
        }
      }));
  }

  #coreModule(i: number, start: number, end: number): void {
    const bytes = this.bytes.subarray(start, end);
    const uses: { feature: Feature; what: string; at: number; function: number | undefined }[] = [];
    const allowed = FEATURES[this.profile];
    const module = this.#of(
      `core module ${i} (from byte ${start}): `,
      () =>
        scanFeatures(bytes, (use) => {
          const right = allowed[use.feature];
          if (right === true) return;
          if (right !== false && this.granted.includes(right)) this.#used.add(right);
          else if (uses.length === 0) uses.push(use);
        }),
    );
    const [use] = uses;
    if (use === undefined) return;
    const name = use.function === undefined ? undefined : functionName(module, use.function);
    const place = use.function === undefined
      ? ` in core module ${i}`
      : ` in function ${use.function}${name === undefined ? "" : ` (${name})`} of core module ${i}`;
    const right = allowed[use.feature];
    throw this.#refused(
      `has the ${use.what}${place}`,
      start + use.at,
      `and ${FEATURE_WORDS[use.feature]} are not for ${this.profile}` +
        (right === false ? "" : " without a grant"),
      right === false || right === true
        ? undefined
        : `Ask for it in bundle.toml: capabilities = ["${right}"]`,
    );
  }
}

/** Names and types are those of a guest, which may be as long as it likes. */
function clip(text: string): string {
  return text.length <= MESSAGE_LENGTH_MAX ? text : `${text.slice(0, MESSAGE_LENGTH_MAX)}…`;
}

/** `state-read` of `realm:app/state-read@0.1.0`; undefined for any other name. */
function interfaceOf(name: string): string | undefined {
  const end = `@${VERSION}`;
  return name.startsWith(PACKAGE) && name.endsWith(end)
    ? name.slice(PACKAGE.length, -end.length)
    : undefined;
}
