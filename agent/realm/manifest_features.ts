/**
 * What a manifest uses that this version does not do yet.
 *
 * Every key of the contract parses and validates; `realm apply` and agents refuse a manifest for
 * which {@link unsupportedFeatures} is not empty, rather than run it without what it asks for.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import { formatList, pathOf, quote } from "../kernel/config.ts";
import { type ComponentSpec, lineOf, type Manifest } from "./manifest.ts";

/** A use of something that comes later. */
export interface UnsupportedFeature {
  /** `components.auth.listen` */
  readonly path: string;
  readonly line: number;
  /** `listening sockets` */
  readonly feature: string;
}

/** For each key of a component: whether it is used, and what it is. */
const COMPONENT_FEATURES: readonly {
  readonly key: string;
  readonly isUsed: (component: ComponentSpec) => boolean;
  readonly feature: string;
}[] = [
  { key: "health", isUsed: (c) => c.health?.export === true, feature: "health by an export" },
];

/** Every such use, in the order of the file. */
export function unsupportedFeatures(manifest: Manifest): UnsupportedFeature[] {
  const found: UnsupportedFeature[] = [];
  const add = (path: string, feature: string) =>
    found.push({ path, line: lineOf(manifest, path), feature });

  for (const [name, component] of manifest.components) {
    for (const { key, isUsed, feature } of COMPONENT_FEATURES) {
      if (isUsed(component)) add(`${pathOf("components", name)}.${key}`, feature);
    }
  }
  return found.sort((a, b) => a.line - b.line);
}

/** Throws RealmError `unsupported` that lists every use, when there is one. */
export function requireSupported(manifest: Manifest, file = "realm.toml"): void {
  const found = unsupportedFeatures(manifest);
  if (found.length === 0) return;
  const lines = found.map(({ line, path, feature }) =>
    `line ${line}: ${path}: ${feature} not supported yet`
  );
  throw new RealmError("unsupported", `Cannot apply manifest ${quote(file)}:${formatList(lines)}`, {
    hint: "Remove these keys until a later version",
  });
}
