/**
 * From what a manifest says of a component to its bytes, checked before anyone signs for them.
 *
 * @module
 */
import { fetchArtifact } from "../artifact/fetch_artifact.ts";
import type { PeerBlob } from "../artifact/p2p_source.ts";
import type { Machine, Progress } from "../artifact/source.ts";
import { RealmError } from "../kernel/error.ts";
import { sha256Hex } from "../kernel/sha256.ts";
import type { ComponentSpec } from "../realm/manifest.ts";
import { inspect, requireHealth, requireWorld } from "../runtime/inspect.ts";

export type { Machine } from "../artifact/source.ts";

/** A component's bytes and their sha256. */
export interface FetchedComponent {
  readonly bytes: Uint8Array;
  readonly digest: string;
}

/** How the source of a component is fetched. */
export interface FetchOptions {
  /** Relative paths start here. */
  readonly folder: string;
  readonly machine: Machine;
  /** Whom `p2p:` is asked of. */
  readonly peerBlob?: PeerBlob;
  readonly progress?: Progress;
  /**
   * Asked when the source cannot be reached: bytes that were had from it before.
   */
  readonly stored?: () => Promise<Uint8Array | undefined>;
}

/**
 * Fetches the source of a component. Checks the digest that the manifest pins, if it does, and that
 * the bytes fit its world and have the exports that it is to use.
 *
 * Throws RealmError that names the component: `digest-mismatch`, `not-found`, and what
 * {@link checkComponent} throws.
 */
export async function fetchComponent(
  name: string,
  spec: Pick<ComponentSpec, "source" | "sha256" | "world" | "health">,
  { folder, machine, peerBlob, progress, stored }: FetchOptions,
): Promise<FetchedComponent> {
  const { bytes, sha256 } = await about(name, async () => {
    try {
      return await fetchArtifact({
        source: spec.source,
        manifestFolder: folder,
        machine,
        ...(spec.sha256 === undefined ? {} : { sha256: spec.sha256 }),
        ...(peerBlob === undefined ? {} : { peerBlob }),
        ...(progress === undefined ? {} : { progress }),
      });
    } catch (error) {
      const isOffline = error instanceof RealmError && error.code === "failed";
      const bytes = isOffline ? await stored?.() : undefined;
      if (bytes === undefined) throw error;
      return { bytes, sha256: await sha256Hex(bytes) };
    }
  });
  await checkComponent(name, bytes, spec);
  return { bytes, digest: sha256 };
}

/**
 * The digest of a component that fits its world, exports what its `health` calls, and imports
 * nothing that realm does not provide.
 *
 * Throws RealmError `invalid-module`, `unsupported` or `unknown-import`.
 */
export async function checkComponent(
  name: string,
  bytes: Uint8Array,
  { world, health }: Pick<ComponentSpec, "world" | "health">,
): Promise<string> {
  const inspection = await about(name, async () => {
    const inspection = await inspect(bytes);
    requireWorld(inspection, world);
    if (health?.export) requireHealth(inspection);
    return inspection;
  });
  const missing = inspection.imports.filter(({ provided }) => !provided);
  if (missing.length > 0) {
    const names = missing.map((i) => i.version ? `${i.interface}@${i.version}` : i.interface);
    throw new RealmError(
      "unknown-import",
      `Cannot use component "${name}": it imports ${
        names.join(", ")
      }, which realm does not provide`,
      { hint: "realm inspect tells what a component imports" },
    );
  }
  return inspection.digest;
}

/** Adds to an error of `act` which component it is about. */
async function about<T>(name: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    if (!(error instanceof RealmError)) throw error;
    throw new RealmError(
      error.code,
      `Cannot use component "${name}": ${error.message.replace(/^C/, "c")}`,
      {
        ...(error.hint === undefined ? {} : { hint: error.hint }),
        cause: error,
      },
    );
  }
}
