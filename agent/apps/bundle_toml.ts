/**
 * `bundle.toml`: what an author writes and `realm app build` packs. `docs/bundles.md` has every key.
 *
 * Throws RealmError `invalid-config` that lists every problem with line, path, what was found and
 * what was wanted.
 *
 * @module
 */
import {
  complain,
  integer,
  list,
  matching,
  oneOf,
  optional,
  pathOf,
  quote,
  readConfig,
  record,
  type Report,
  required,
  secretText,
  table,
  text,
  withDefault,
} from "../kernel/config.ts";
import type { CID } from "../kernel/canonical.ts";
import { publicKeyProblem } from "../kernel/key.ts";
import { SHA256_HEX } from "../kernel/sha256.ts";
import {
  ABI_MAX,
  ASKS,
  type Bundle,
  isLabel,
  isOutbound,
  isVersion,
  LABEL_WANTED,
  MODULES_MAX,
  NETWORK_MAX,
  type Role,
  ROLES,
  STATE_DIGEST_MAX,
  VERSION_WANTED,
} from "./bundle.ts";

/** `[components.ROLE]` */
export interface ComponentFile {
  /** Relative to the folder of `bundle.toml`: a component, a core module, or the text of one. */
  readonly file: string;
  /** The world of a core module that does not say it itself, a WIT text. */
  readonly wit: string | undefined;
  /** What the component must have; not of a file that is made into one. */
  readonly sha256: string | undefined;
}

/** `[modules.NAME]` */
export interface ModuleFile {
  readonly file: string;
  readonly into: readonly Role[];
}

/** The file, key by key. */
export interface BundleFile {
  readonly name: string;
  readonly version: string;
  /** Text form of the key that has to sign; any, where it is not written. */
  readonly publisher: string | undefined;
  readonly abi: number;
  readonly stateDigest: number;
  /** A packed bundle of the same app, of which this one is a later version. */
  readonly follows: string | undefined;
  readonly components: ReadonlyMap<Role, ComponentFile>;
  readonly modules: ReadonlyMap<string, ModuleFile>;
  /** Sorted. */
  readonly capabilities: readonly string[];
  /** Sorted. */
  readonly network: readonly string[];
}

const file = text((value) =>
  value === "" || value.includes("\0") ? "the path of a file" : undefined
);

const ask = text((value) =>
  value === "allow-floats"
    ? "something else: floats in state-apply are reserved, not possible in this version"
    : ASKS.includes(value)
    ? undefined
    : `one of ${ASKS.join(", ")}`
);

const component = table<ComponentFile>({
  file: required(file),
  wit: optional(file),
  sha256: optional(matching(SHA256_HEX, "64 digits of lower-case hex")),
});

const components = table<Readonly<Record<Role, ComponentFile | undefined>>>({
  "state-apply": required(component),
  "state-propose": optional(component),
  interaction: optional(component),
  behavior: optional(component),
});

const bundleFile = table<
  Omit<BundleFile, "components"> & {
    readonly components: Readonly<Record<Role, ComponentFile | undefined>>;
  }
>({
  name: required(text((value) => isLabel(value) ? undefined : LABEL_WANTED)),
  version: required(text((value) => isVersion(value) ? undefined : VERSION_WANTED)),
  publisher: optional(secretText(publicKeyProblem)),
  abi: withDefault(integer(1, ABI_MAX), ABI_MAX),
  stateDigest: withDefault(integer(1, STATE_DIGEST_MAX), STATE_DIGEST_MAX),
  follows: optional(file),
  components: required(components),
  modules: withDefault(
    record(
      (name) => isLabel(name) ? undefined : LABEL_WANTED,
      table<ModuleFile>({
        file: required(file),
        into: required(list(oneOf(...ROLES), { unique: true })),
      }),
    ),
    new Map(),
  ),
  capabilities: withDefault(list(ask, { unique: true }), []),
  network: withDefault(
    list(text((value) => isOutbound(value) ? undefined : "SCHEME://HOST[:PORT]"), { unique: true }),
    [],
  ),
});

/** Reads the text of a `bundle.toml`; `name` names it in errors. */
export function parseBundleToml(source: string, name = "bundle.toml"): BundleFile {
  const { value } = readConfig(source, `bundle ${quote(name)}`, bundleFile, across);
  const byRole = ROLES.flatMap((role) => {
    const entry = value.components[role];
    return entry === undefined ? [] : [[role, entry] as const];
  });
  return {
    ...value,
    components: new Map(byRole),
    modules: new Map(
      [...value.modules].sort(([a], [b]) => a < b ? -1 : 1).map(([label, { file, into }]) => [
        label,
        { file, into: ROLES.filter((role) => into.includes(role)) },
      ]),
    ),
    capabilities: [...value.capabilities].sort(),
    network: [...value.network].sort(),
  };
}

function across(
  file: {
    readonly components: Readonly<Record<Role, ComponentFile | undefined>>;
    readonly modules: ReadonlyMap<string, ModuleFile>;
    readonly capabilities: readonly string[];
    readonly network: readonly string[];
  },
  report: Report,
): void {
  for (const [name, { into }] of file.modules) {
    const path = `${pathOf("modules", name)}.into`;
    if (into.length === 0) complain(report, path, "is empty, wanted the components that have it");
    for (const role of into) {
      if (file.components[role] === undefined) {
        complain(report, path, `has ${quote(role)}, which is not among the components`);
      }
    }
  }
  if (file.modules.size > MODULES_MAX) {
    complain(report, "modules", `has ${file.modules.size}, wanted at most ${MODULES_MAX}`);
  }
  if (file.network.length > NETWORK_MAX) {
    complain(report, "network", `has ${file.network.length} hosts, wanted at most ${NETWORK_MAX}`);
  }
  if (file.network.length > 0 && !file.capabilities.includes("network")) {
    complain(report, "network", `needs "network" among the capabilities`);
  }
}

/** The bundle that a file describes, once the bytes of everything in it are known. */
export function bundleOf(
  file: BundleFile,
  { publisher, app, components, modules }: {
    readonly publisher: Uint8Array;
    readonly app: CID | undefined;
    readonly components: ReadonlyMap<Role, CID>;
    readonly modules: ReadonlyMap<string, CID>;
  },
): Bundle {
  return {
    name: file.name,
    version: file.version,
    publisher,
    app,
    abi: file.abi,
    stateDigest: file.stateDigest,
    components,
    modules: new Map(
      [...file.modules].map(([name, { into }]) => [name, { component: modules.get(name)!, into }]),
    ),
    capabilities: file.capabilities,
    network: file.network,
  };
}
