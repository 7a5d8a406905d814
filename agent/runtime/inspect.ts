/**
 * What a file is and what it would need, for `realm inspect`; nothing of it runs.
 *
 * @module
 */
import {
  CAPABILITIES,
  type Capability,
  PACKAGE,
  type Profile,
  VERSION,
} from "../apps/contracts.ts";
import { checkProfile, profilesOf } from "../apps/profile.ts";
import { RealmError } from "../kernel/error.ts";
import { HEALTH_EXPORT } from "../kernel/health_check.ts";
import type { World } from "../kernel/ports.ts";
import { sha256Hex } from "../kernel/sha256.ts";
import {
  coreNames,
  type ExternName,
  identify,
  refuseCandidates,
  type Wasi03,
  written,
} from "../wasm/component.ts";
import {
  GRANT_OF_INTERFACE,
  GRANT_OF_PREVIEW1,
  type GrantName,
  GRANTS,
  isProvided,
} from "./wasi/grants.ts";

/** An import and the grant that it needs to be of use. */
export interface InspectedImport {
  /** With `#` and a function's name, for those of WASI 0.1 that need a grant. */
  readonly interface: string;
  readonly version?: string;
  /** `false`: linking fails with exit status 106. */
  readonly provided: boolean;
  /** Missing when it is always there. */
  readonly grant?: { readonly flag: string; readonly manifest: string; readonly gives: string };
}

/** A profile of apps whose interface a component exports. */
export interface InspectedProfile {
  readonly profile: Profile;
  /** What a bundle would have to ask for. */
  readonly capabilities: readonly Capability[];
  /** Why it may not be a part of an app all the same. */
  readonly refused?: { readonly code: string; readonly message: string };
}

export interface Inspection {
  readonly digest: string;
  readonly bytes: number;
  /** `module`: a core module of WASI 0.1. */
  readonly kind: "component" | "module";
  readonly worlds: readonly World[];
  readonly imports: readonly InspectedImport[];
  readonly exports: readonly string[];
  /** Whether it says how it is by the export of `health = { export = true }`. */
  readonly health?: true;
  /** What it has of WASI 0.3. */
  readonly wasi03?: Wasi03;
  /** What it is to apps, where it is something (`docs/apps.md`). */
  readonly profiles?: readonly InspectedProfile[];
}

const PREVIEW1 = "wasi_snapshot_preview1";

function grantOf(name: GrantName | null | undefined): Pick<InspectedImport, "grant"> {
  if (!name) return {};
  const { flag, manifest, gives } = GRANTS[name];
  return { grant: { flag, manifest, gives } };
}

function inspectProfile(bytes: Uint8Array, profile: Profile): InspectedProfile {
  try {
    const { capabilities } = checkProfile(
      bytes,
      profile,
      Object.keys(CAPABILITIES) as Capability[],
    );
    return { profile, capabilities };
  } catch (error) {
    if (!(error instanceof RealmError)) throw error;
    const { code, message } = error;
    return { profile, capabilities: [], refused: { code, message } };
  }
}

function inspectImport({ name, version }: ExternName, isOfApp: boolean): InspectedImport {
  return {
    interface: name,
    ...(version === undefined ? {} : { version }),
    provided: name === PREVIEW1 || isProvided(name, version) ||
      (isOfApp && version === VERSION && name.startsWith(PACKAGE)),
    ...grantOf(GRANT_OF_INTERFACE[name]),
  };
}

/** The functions of WASI 0.1 that a module names and that need a grant. */
function inspectFunctions(bytes: Uint8Array): InspectedImport[] {
  const names = coreNames(bytes);
  return Object.entries(GRANT_OF_PREVIEW1).filter(([name]) => names.has(name))
    .map(([name, grant]) => ({
      interface: `${PREVIEW1}#${name}`,
      provided: true,
      ...grantOf(grant),
    }));
}

/** Reads the border of a file. Throws RealmError `invalid-module`. */
export async function inspect(bytes: Uint8Array): Promise<Inspection> {
  const { kind, imports, exports, worlds, wasi03 } = identify(bytes);
  const profiles = profilesOf(bytes).map((profile) => inspectProfile(bytes, profile));
  const isOfApp = profiles.length > 0;
  return {
    digest: await sha256Hex(bytes),
    bytes: bytes.length,
    kind,
    worlds,
    imports: [
      ...imports.map((name) => inspectImport(name, isOfApp)),
      ...kind === "module" ? inspectFunctions(bytes) : [],
    ],
    exports: exports.map(written),
    ...(worlds.includes("wasi:http/proxy") &&
      exports.some((name) => written(name) === HEALTH_EXPORT) &&
      { health: true }),
    ...(wasi03 && { wasi03 }),
    ...(profiles.length > 0 && { profiles }),
  };
}

/** Throws RealmError `unsupported` unless the file has the export of `health = { export = true }`. */
export function requireHealth({ exports, health }: Pick<Inspection, "exports" | "health">): void {
  if (health) return;
  throw new RealmError(
    "unsupported",
    `Cannot ask the component how it is: it exports ${
      exports.join(", ") || "nothing"
    }, health.export wants ${HEALTH_EXPORT}`,
    { hint: `Export ${HEALTH_EXPORT} (wit/realm-health-0.1.0), or give health a path with http` },
  );
}

/** Throws RealmError `unsupported` unless the file fits `world`. */
export function requireWorld(
  inspection: Pick<Inspection, "worlds" | "wasi03">,
  world: World,
): void {
  refuseCandidates(inspection.wasi03);
  if (inspection.worlds.includes(world)) return;
  throw new RealmError(
    "unsupported",
    `Cannot use the component as ${world}: it fits ${
      inspection.worlds.join(" and ") || "no world that realm runs"
    }`,
    { hint: "realm inspect tells what a component is" },
  );
}
