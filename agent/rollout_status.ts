/**
 * How far a component is on its way to a release, as the control API tells it. Pure.
 *
 * @module
 */
import type { Rollout } from "./control/api.ts";
import type { RolloutStatus } from "./realm/node_rollout.ts";
import type { GivenUp, Refusal } from "./realm/peering/health_record.ts";

/** What a node that refuses is said to give as its reason, where it has not been heard. */
const UNKNOWN = "why is not heard yet";

/**
 * Tells of a rollout. `refusalOf` is what a node says of itself at this moment: it may already, or
 * not yet, be another thing than what the rollout was told from; who refuses is named all the same,
 * with the manifest in force, `version`. `givenUpBy` is who gave up what of it.
 */
export function rolloutStatus(
  rollout: RolloutStatus | undefined,
  refusalOf: (node: string) => Refusal | null | undefined,
  version: number,
  givenUpBy: NonNullable<Rollout["givenUpBy"]> = [],
): Rollout | null {
  if (rollout === undefined) return null;
  const { wanted, settled, refused, waitsFor, failure } = rollout;
  const refusedBy = rollout.refusedBy.map((node) => ({
    node,
    ...refusalOf(node) ?? { version, why: UNKNOWN },
  }));
  const isDone = settled >= wanted - refused;
  const state = isDone && refusedBy.length > 0
    ? "refused" as const
    : failure === undefined
    ? isDone ? "complete" as const : "rolling" as const
    : isDone
    ? "returned" as const
    : "returning" as const;
  const why = failure &&
    { version: failure.version, node: failure.node, evidence: failure.evidence };
  return {
    state,
    version: rollout.version,
    wanted,
    settled,
    waitsFor,
    refusedBy,
    givenUpBy: isDone ? [] : givenUpBy,
    failure: why ?? null,
  };
}

/** What other nodes say that live, by their names, as far as they were heard. */
export function heardOf<T>(
  nodes: Iterable<{ readonly name: string; readonly live: boolean; readonly self: boolean }>,
  records: ReadonlyMap<string, T>,
): ReadonlyMap<string, T> {
  return new Map(
    [...nodes].flatMap(({ name, live, self }) => {
      const record = live && !self ? records.get(name) : undefined;
      return record === undefined ? [] : [[name, record] as const];
    }),
  );
}

/**
 * Which nodes gave up replicas of a component, by what each says of itself; sorted. Those that go by
 * another version than one of `versions` tell of other releases.
 */
export function givenUpBy(
  component: string,
  versions: readonly number[],
  said: Iterable<
    readonly [
      node: string,
      record: { readonly version: number; readonly givenUp: readonly GivenUp[] },
    ]
  >,
): NonNullable<Rollout["givenUpBy"]> {
  return [...said].filter(([, { version }]) => versions.includes(version))
    .sort(([a], [b]) => a < b ? -1 : 1).flatMap(([node, record]) =>
      record.givenUp.filter((each) => each.component === component)
        .map(({ replicas, why }) => ({ node, replicas, why: plain(why) }))
    );
}

/** One line without what moves, colours or hides text, whatever a guest or a node says. */
function plain(text: string): string {
  return text.replace(/[\s\p{C}\p{Zl}\p{Zp}]+/gu, " ").trim();
}

/**
 * Nodes but `self` that say that they refuse a manifest, sorted: what can be known of others before
 * they are asked to go by another one, since their policies do not leave them.
 */
export function refusingNodes(
  nodes: Iterable<string>,
  self: string,
  records: ReadonlyMap<string, { readonly refusal: Refusal | null }>,
): (Refusal & { readonly node: string })[] {
  return [...nodes].sort().flatMap((node) => {
    const refusal = node === self ? null : records.get(node)?.refusal ?? null;
    return refusal === null ? [] : [{ node, version: refusal.version, why: refusal.why }];
  });
}
