/**
 * What is kept in memory of an event's payload: all of it, but of a manifest only what the fold of
 * the log needs, since there may be many and each may have a megabyte.
 *
 * @module
 */
import { RealmError } from "../kernel/error.ts";
import type { Event } from "../kernel/event.ts";
import { formatPublicKey } from "../kernel/key.ts";
import type { VerifySync } from "../kernel/verify.ts";
import { type ControlEvent, controlKindOf, readControlEvent } from "./control_event.ts";
import { verifyManifestSync } from "./manifest_signature.ts";
import type { TreeHead } from "./published.ts";

/** Of a manifest event. */
export interface SaidManifest {
  readonly kind: "manifest";
  readonly version: number;
  /** sha256 of the manifest, in hex. */
  readonly sha256: string;
  /** sha256 of its components, in hex. */
  readonly digests: readonly string[];
  /** What it says of all that was published. */
  readonly tree: TreeHead;
  /** Names in it; empty, like `operators`, where there is a problem. */
  readonly components: ReadonlySet<string>;
  readonly nodes: ReadonlySet<string>;
  /** Text forms of their keys. */
  readonly operators: readonly string[];
  /** Why it can never be in force: not signed by its author, not valid, or of another tree. */
  readonly problem: string | undefined;
}

/** Of any event. `unknown` is of a later version of realm: kept, and without effect. */
export type Said =
  | Exclude<ControlEvent, { kind: "manifest" }>
  | SaidManifest
  | { readonly kind: "unknown" };

/** Reads an event, and verifies the manifest in it. Throws RealmError `corrupt`. */
export function saidBy(event: Event, verify: VerifySync): Said {
  if (controlKindOf(event.type) === undefined) return { kind: "unknown" };
  const read = readControlEvent(event);
  if (read.kind !== "manifest") return read;
  const { manifestBytes, signature, tree } = read;
  const { version, sha256 } = signature;
  const digests = [...signature.digests.values()];
  try {
    const owner = formatPublicKey(event.author);
    const { manifest } = verifyManifestSync(
      { manifestBytes, signature, owner, lastVersion: 0, verify },
    );
    return {
      kind: "manifest",
      version,
      sha256,
      digests,
      tree,
      components: new Set(manifest.components.keys()),
      nodes: new Set(manifest.nodes.keys()),
      operators: manifest.realm.operators,
      problem: undefined,
    };
  } catch (error) {
    if (!(error instanceof RealmError)) throw error;
    const none = new Set<string>();
    const problem = error.message;
    return {
      kind: "manifest",
      version,
      sha256,
      digests,
      tree,
      components: none,
      nodes: none,
      operators: [],
      problem,
    };
  }
}
