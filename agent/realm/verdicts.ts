/**
 * Who decides between "this release was complete here" and "this release was given up": what is told
 * of a release, and what follows. Pure.
 *
 * Of each release on which a node gave a verdict, nodes tell three things, each for itself, in all
 * their health records: that they gave the verdict, that they heard it from who gave it, and that
 * they saw the release complete. None of that is taken back while there is room for it, and who
 * gives many verdicts takes that from itself only; so what is told of a release is a set that only
 * grows, and what follows depends on that set and on the members: not on who is heard first.
 * Members are the approved nodes to which the component could come when the release came: those
 * approved before its manifest, in the order of the log, or, where none of them is left, all. So
 * who is approved later changes nothing of what was decided; only a revocation can, which takes a
 * witness or a verdict away.
 *
 * - A release was *complete* once more than half of them saw it so; of one before that in force, half
 *   of them are enough, so that of two nodes neither sends the other back from release to release.
 * - Else it *failed* once a node tells of its own verdict, or half of the members heard one: a
 *   verdict outlives the machine that gave it.
 * - Else nothing is told.
 *
 * A node that saw a release complete itself waits for a moment with going by a verdict on it: others
 * that saw it so say that only once they hear the verdict ({@link NewVerdicts}).
 *
 * More that is told takes a release on in this order (untold, failed, complete), and never back. A
 * node that goes by a release as complete says that it saw it so; so those that agree do not come to
 * disagree because one of them is not heard any more.
 *
 * @module
 */
import type { Failure } from "./effective_release.ts";
import { inTurns } from "./kept_verdicts.ts";

/** A verdict that a node gave, or heard from the node that did. */
export interface HeardVerdict extends Omit<Failure, "evidence"> {
  /** Whether the node that tells of it saw the release complete. */
  readonly wasComplete: boolean;
}

/** What a verdict is on. */
export type JudgedRelease = Pick<Failure, "component" | "version" | "release">;

/** Verdicts that a node tells of. */
export const VERDICTS_MAX = 128;
/** Its own of them that count: others have room to say of each of these whether they saw it complete. */
export const VERDICTS_OWN_MAX = 64;

/** What nodes tell of one release, by their names. */
export interface Told {
  /** Of a verdict of their own. */
  readonly gave: ReadonlySet<string>;
  /** Of a verdict, their own or another's. */
  readonly heard: ReadonlySet<string>;
  /** That it was complete. */
  readonly saw: ReadonlySet<string>;
}

/** What follows from what is told of a release. */
export type Decision = "untold" | "failed" | "complete";

/** See the module. */
export function decide(
  { gave, heard, saw }: Told,
  members: readonly string[],
  isInForce: boolean,
): Decision {
  const count = (nodes: ReadonlySet<string>) => members.filter((name) => nodes.has(name)).length;
  const isHalf = (nodes: ReadonlySet<string>) =>
    count(nodes) > 0 && count(nodes) * 2 >= members.length;
  if (isInForce ? count(saw) * 2 > members.length : isHalf(saw)) return "complete";
  return gave.size > 0 || isHalf(heard) ? "failed" : "untold";
}

/**
 * What a node tells of the verdicts that it knows, what matters most last: its own, and of each other
 * node in turn those on what it saw complete. `failures` are sorted by version, those that others
 * tell of now after the rest.
 */
export function tellVerdicts(
  node: string,
  failures: readonly Failure[],
  wasComplete: (component: string, release: string, version: number) => boolean,
): readonly HeardVerdict[] {
  const all = failures.map(({ component, version, release, node }) => {
    return {
      component,
      version,
      release,
      node,
      wasComplete: wasComplete(component, release, version),
    };
  });
  const own = all.filter((verdict) => verdict.node === node).slice(-VERDICTS_OWN_MAX);
  const others = all.filter((verdict) => verdict.node !== node)
    .sort((a, b) => Number(a.wasComplete) - Number(b.wasComplete));
  return [...inTurns(others, VERDICTS_MAX - own.length), ...own];
}

/** For so long what others say of a verdict may not be heard yet. */
export const HEARING_MS = 5_000;

/**
 * How long a node has known of verdicts, since its start: what others say of one that was stored is
 * to be heard again. Times are in milliseconds of a monotonic clock.
 */
export class NewVerdicts {
  readonly #sinceMs = new Map<string, number>();

  /** Whether it is asked for a verdict on this release for the first time, or was a moment ago. */
  isNew(release: JudgedRelease, nowMs: number): boolean {
    const key = keyOf(release);
    const sinceMs = this.#sinceMs.get(key) ?? nowMs;
    this.#sinceMs.set(key, sinceMs);
    return nowMs - sinceMs < HEARING_MS;
  }

  /** When the next one is not new any more; `undefined` for none. */
  dueAt(nowMs: number): number | undefined {
    const due = [...this.#sinceMs.values()].map((sinceMs) => sinceMs + HEARING_MS)
      .filter((atMs) => atMs > nowMs);
    return due.length === 0 ? undefined : Math.min(...due);
  }
}

/** What is told of every release of which there is a verdict. */
export class Tellings {
  readonly #by = new Map<string, { readonly teller: string; readonly verdict: HeardVerdict }[]>();

  /** Verdicts by the name of the node that tells of them; of more of its own than count the last. */
  constructor(told: Iterable<readonly [teller: string, verdicts: readonly HeardVerdict[]]>) {
    for (const [teller, verdicts] of told) {
      const own = verdicts.filter(({ node }) => node === teller).slice(-VERDICTS_OWN_MAX);
      for (const verdict of [...verdicts.filter(({ node }) => node !== teller), ...own]) {
        const key = keyOf(verdict);
        const there = this.#by.get(key);
        if (there) there.push({ teller, verdict });
        else this.#by.set(key, [{ teller, verdict }]);
      }
    }
  }

  /** Whether anything is told of a release. */
  has(release: JudgedRelease): boolean {
    return this.#by.has(keyOf(release));
  }

  /** What is told of a release, by verdicts of nodes that may give one; `undefined` for nothing. */
  of(
    release: JudgedRelease,
    mayJudge: (node: string) => boolean,
  ): (Told & { readonly givers: readonly string[] }) | undefined {
    const all = this.#by.get(keyOf(release))?.filter(({ verdict }) => mayJudge(verdict.node));
    if (all === undefined || all.length === 0) return undefined;
    const tellers = (isMeant: (verdict: HeardVerdict, teller: string) => boolean) =>
      new Set(all.flatMap(({ teller, verdict }) => isMeant(verdict, teller) ? [teller] : []));
    return {
      gave: tellers(({ node }, teller) => node === teller),
      heard: tellers(() => true),
      saw: tellers(({ wasComplete }) => wasComplete),
      givers: [...new Set(all.map(({ verdict }) => verdict.node))].sort(),
    };
  }
}

const keyOf = (
  { component, version, release }: Pick<Failure, "component" | "version" | "release">,
) => `${component}\0${version}\0${release}`;
