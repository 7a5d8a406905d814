/**
 * What a bundle is, for people and as JSON.
 *
 * @module
 */
import type { PackedBundle } from "../agent/apps/bundle.ts";
import { formatTable, printable } from "./output.ts";

/** What `inspect`, `app build` and `app check` tell of a bundle. */
export interface BundleDescription {
  readonly kind: "bundle";
  readonly name: string;
  readonly version: string;
  /** CID of its manifest. */
  readonly bundle: string;
  /** CID of the first bundle of its app. */
  readonly app: string;
  readonly publisher: string;
  /** Steps from the key of the first bundle to this one. */
  readonly successions: number;
  readonly bytes: number;
  readonly abi: number;
  readonly stateDigest: number;
  readonly components: readonly {
    readonly role: string;
    readonly sha256: string;
    readonly bytes: number;
    readonly modules: readonly string[];
  }[];
  /** What it asks for, as `realm app grants` shows it once it is granted. */
  readonly asks: readonly string[];
}

/** `bytes` is the size of the packed form. */
export async function describeBundle(
  packed: PackedBundle,
  bytes: number,
): Promise<BundleDescription> {
  const { formatPublicKey } = await import("../agent/kernel/key.ts");
  const { asksOf } = await import("../agent/topics/installed_apps.ts");
  const { sha256Of } = await import("../agent/apps/car.ts");
  const { bundle, id, app, succession, components } = packed;
  return {
    kind: "bundle",
    name: bundle.name,
    version: bundle.version,
    bundle: id.toString(),
    app: app.toString(),
    publisher: formatPublicKey(bundle.publisher),
    successions: succession.length,
    bytes,
    abi: bundle.abi,
    stateDigest: bundle.stateDigest,
    components: [...components].map(([role, each]) => ({
      role,
      sha256: sha256Of(bundle.components.get(role)!),
      bytes: each.length,
      modules: [...bundle.modules].filter(([, { into }]) => into.includes(role))
        .map(([name]) => name),
    })),
    asks: asksOf(packed),
  };
}

/** The text of a description. */
export function formatBundle(file: string, described: BundleDescription): string {
  const { name, version, bytes, app, bundle, publisher, components, asks, abi } = described;
  return [
    `${printable(file)}: bundle of ${name} ${version}, ${bytes} bytes`,
    `bundle     ${bundle}`,
    `app        ${app === bundle ? "this is its first bundle" : app}`,
    `publisher  ${publisher}`,
    `abi        ${abi}`,
    `asks for   ${printable(asks.join(", ")) || "nothing"}`,
    "",
    formatTable(components, [
      { title: "COMPONENT", text: ({ role }) => role },
      { title: "BYTES", text: ({ bytes }) => String(bytes), align: "right" },
      { title: "SHA256", text: ({ sha256 }) => sha256 },
      { title: "MODULES", text: ({ modules }) => modules.join(", ") },
    ]),
  ].join("\n");
}
