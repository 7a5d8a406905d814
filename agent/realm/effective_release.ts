/**
 * Which release of each component a realm goes by: that of the manifest in force, or, where that
 * failed, the newest before it that did not. Pure; `rollout.ts` has how replicas get there.
 *
 * @module
 */
import { revisionOf } from "./desired.ts";
import type { Release } from "./plan.ts";

/** That a release of a component could not be made ready. */
export interface Failure {
  readonly component: string;
  /** Of the manifest with which it came. */
  readonly version: number;
  /** See {@link releaseOf}. */
  readonly release: string;
  /** Name of the node that found it. */
  readonly node: string;
  /** Probe, status, body and the last lines of the log, for people. */
  readonly evidence: string;
}

/** UTF-16 units of the evidence of a failure: it travels in every health record. */
export const EVIDENCE_LENGTH_MAX = 1_500;

/** The verdict by which a release of a component failed; `undefined` where it did not. */
export type VerdictOn = (
  component: string,
  release: string,
  of: VersionedRelease,
) => Failure | undefined;

/** Names what runs of a component, whatever it was restarted for. */
export function releaseOf(component: string, { manifest, digests }: Release): string | undefined {
  const spec = manifest.components.get(component);
  const digest = digests.get(component);
  if (spec === undefined || digest === undefined) return undefined;
  return revisionOf(spec, digest, 0);
}

/** A manifest that came into force, with its version. */
export interface VersionedRelease extends Release {
  readonly version: number;
}

/** Which release of a component a realm goes by. */
export interface Goal {
  readonly component: string;
  /** The version that it is of: below the one in force when that one's failed. */
  readonly version: number;
  readonly release: string;
  readonly failure: Failure | undefined;
}

/**
 * The manifest in force with components whose release failed as they were in the newest version
 * before in which they had another release that did not fail. Where there is none they stay.
 *
 * `before` are the manifests that were in force before, newest first; it is asked for no more than
 * is needed, and so is `verdictOn`.
 */
export function effectiveRelease(
  inForce: VersionedRelease,
  before: Iterable<VersionedRelease>,
  verdictOn: VerdictOn,
): { readonly release: Release; readonly goals: ReadonlyMap<string, Goal> } {
  const { manifest, digests, version } = inForce;
  const components = new Map(manifest.components);
  const effective = new Map(digests);
  const goals = new Map<string, Goal>();
  for (const component of manifest.components.keys()) {
    const release = releaseOf(component, inForce);
    if (release === undefined) continue;
    const failure = verdictOn(component, release, inForce);
    const last = failure && lastBefore(component, release, before, verdictOn);
    if (last !== undefined) {
      components.set(component, last.of.manifest.components.get(component)!);
      effective.set(component, last.of.digests.get(component)!);
    }
    goals.set(component, {
      component,
      version: last?.of.version ?? version,
      release: last?.release ?? release,
      failure,
    });
  }
  return { release: { manifest: { ...manifest, components }, digests: effective }, goals };
}

/** The newest release of a component before that is another one and did not fail. */
export function lastBefore(
  component: string,
  release: string,
  before: Iterable<VersionedRelease>,
  verdictOn: VerdictOn,
): { readonly of: VersionedRelease; readonly release: string } | undefined {
  for (const of of before) {
    const there = releaseOf(component, of);
    if (there === undefined) return undefined; // a name that was given anew
    if (there === release) continue;
    if (verdictOn(component, there, of) === undefined) return { of, release: there };
  }
  return undefined;
}
