/**
 * What a file is and what it would need, for `realm inspect`; nothing of it runs.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import type { World } from "../kernel/ports.ts";
import { sha256Hex } from "../kernel/sha256.ts";
import { type ExternName, identify, refuse03, type Wasi03 } from "./component.ts";
import { GRANT_OF_INTERFACE, GRANTS, isProvided } from "./wasi/grants.ts";

/** An import and the grant that it needs to be of use. */
export interface InspectedImport {
  readonly interface: string;
  readonly version?: string;
  /** `false`: linking fails with exit status 106. */
  readonly provided: boolean;
  /** Missing when it is always there. */
  readonly grant?: { readonly flag: string; readonly manifest: string; readonly gives: string };
}

export interface Inspection {
  readonly digest: string;
  readonly bytes: number;
  /** `module`: a core module of WASI 0.1. */
  readonly kind: "component" | "module";
  readonly worlds: readonly World[];
  readonly imports: readonly InspectedImport[];
  readonly exports: readonly string[];
  /** What it has of WASI 0.3, which this version does not run. */
  readonly wasi03?: Wasi03;
}

const written = ({ name, version }: ExternName) => version ? `${name}@${version}` : name;

function inspectImport({ name, version }: ExternName): InspectedImport {
  const grant = GRANT_OF_INTERFACE[name];
  return {
    interface: name,
    ...(version === undefined ? {} : { version }),
    provided: name === "wasi_snapshot_preview1" || isProvided(name, version),
    ...(grant
      ? {
        grant: {
          flag: GRANTS[grant].flag,
          manifest: GRANTS[grant].manifest,
          gives: GRANTS[grant].gives,
        },
      }
      : {}),
  };
}

/** Reads the border of a file. Throws RealmError `invalid-module`. */
export async function inspect(bytes: Uint8Array): Promise<Inspection> {
  const { kind, imports, exports, worlds, wasi03 } = identify(bytes);
  return {
    digest: await sha256Hex(bytes),
    bytes: bytes.length,
    kind,
    worlds,
    imports: imports.map(inspectImport),
    exports: exports.map(written),
    ...(wasi03 && { wasi03 }),
  };
}

/** Throws RealmError `unsupported` unless the file fits `world`. */
export function requireWorld(
  inspection: Pick<Inspection, "worlds" | "wasi03">,
  world: World,
): void {
  refuse03(inspection.wasi03);
  if (inspection.worlds.includes(world)) return;
  throw new RealmError(
    "unsupported",
    `Cannot use the component as ${world}: it fits ${
      inspection.worlds.join(" and ") || "no world that realm runs"
    }`,
    { hint: "realm inspect tells what a component is" },
  );
}
