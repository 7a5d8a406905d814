/**
 * Which manifest a node obeys: the one in force in its view, but for one case. While the owner's key
 * has written on two branches, none of what it wrote after they part counts, and the view is back at
 * the manifest before. A node does not go back: it keeps what it runs until the owner has joined the
 * branches. What was taken away by a revocation or a succession is left at once.
 *
 * @module
 */
import type { ManifestRecord, RealmView } from "./realm_view.ts";

/** The manifest that a node obeys: what it has to remember over a restart. */
export type AppliedManifest = Pick<ManifestRecord, "event" | "version" | "sha256">;

/** What to obey from now on; `undefined` for nothing. Returns `applied` itself to keep it. */
export function followManifest(
  applied: AppliedManifest | undefined,
  { inForce, history, owner }: Pick<RealmView, "inForce" | "history" | "owner">,
): AppliedManifest | undefined {
  if (applied === undefined || applied.event === inForce?.event) return applied ?? inForce;
  if (inForce !== undefined && inForce.version > applied.version) return inForce;
  const record = history.find(({ event }) => event === applied.event);
  const isUndecided = record?.outcome === "conflict" && record.author === owner;
  return isUndecided ? applied : inForce;
}
