/**
 * Which verdicts a node remembers of those that it gave or heard: there is no end to what others
 * tell. Pure.
 *
 * None of its own makes room for another's, and who gives many takes room from itself only. What is
 * left out is chosen of all in one way, by what they are on and not by who was heard first: what was
 * left out and is heard again is left out again.
 *
 * @module
 */
import type { Failure } from "./effective_release.ts";

/** Verdicts that are remembered, of its own at most half of that. */
export const VERDICTS_KEPT_MAX = 256;
/** Of these, the newest, with what was found: the rest is for other nodes, not for people. */
export const EVIDENCE_KEPT_MAX = 32;

/** What is remembered, the newest last. */
export function keepVerdicts<T extends Failure>(
  node: string,
  failures: readonly T[],
): readonly T[] {
  const sorted = failures.toSorted(byVersion);
  const own = sorted.filter((each) => each.node === node).slice(-VERDICTS_KEPT_MAX / 2);
  const others = sorted.filter((each) => each.node !== node);
  return [...inTurns(others, VERDICTS_KEPT_MAX - own.length), ...own].sort(byVersion)
    .map((each, i, { length }) =>
      each.evidence === "" || i >= length - EVIDENCE_KEPT_MAX ? each : { ...each, evidence: "" }
    );
}

/** So many of these, of each node in turn the last that is left; in the order that they have. */
export function inTurns<T extends Pick<Failure, "node">>(
  verdicts: readonly T[],
  max: number,
): readonly T[] {
  if (verdicts.length <= max) return verdicts;
  const counts = new Map<string, number>();
  const turns = verdicts.toReversed().map((verdict) => {
    const turn = counts.get(verdict.node) ?? 0;
    counts.set(verdict.node, turn + 1);
    return { verdict, turn };
  });
  turns.sort((a, b) => a.turn - b.turn);
  const chosen = new Set(turns.slice(0, max).map(({ verdict }) => verdict));
  return verdicts.filter((verdict) => chosen.has(verdict));
}

/** Names a verdict on a release. */
export const nameOfVerdict = (
  { component, version, release, node }: Omit<Failure, "evidence">,
) => [component, version, release, node].join(" ");

/** In the order of versions, and of names within one. */
export function byVersion(a: Failure, b: Failure): number {
  return a.version - b.version || (nameOfVerdict(a) < nameOfVerdict(b) ? -1 : 1);
}
