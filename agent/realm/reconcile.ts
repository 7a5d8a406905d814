/**
 * The steps that take what runs on a node to what should run there. Pure: the same input gives the
 * same steps, sorted by component and index, whatever the order of the input; when all of them are
 * done, there are none left.
 *
 * A replica that ended is started again after a back-off that doubles from 1 s to 60 s and begins
 * anew after it ran for a minute. Times are in milliseconds of one monotonic clock.
 *
 * @module
 */
import type { ComponentSpec } from "./manifest.ts";
import { byReplica, type DesiredReplica } from "./desired.ts";

/** A replica that is there, running or not. */
export interface ObservedReplica {
  readonly component: string;
  readonly index: number;
  /** The digest and revision that it was started with. */
  readonly digest: string;
  readonly revision: string;
  /** Starts since it was last healthy; the first start has 0. See {@link Step}. */
  readonly attempt: number;
  readonly state: ReplicaState;
}

/** Where a replica is in its life. */
export type ReplicaState =
  | { readonly kind: "starting" }
  | { readonly kind: "running" }
  /** Told to stop, and not gone yet: nothing is done about it until it is. */
  | { readonly kind: "stopping" }
  | {
    readonly kind: "exited";
    /** Exit status 0. A trap, a failed start or a reached limit is no success. */
    readonly success: boolean;
    readonly atMs: number;
    /** How long it ran. */
    readonly ranMs: number;
  };

/** One thing to do. After `stop` the replica is no longer observed. */
export type Step =
  | { readonly kind: "start"; readonly replica: DesiredReplica }
  /** It ended and its policy wants it back: `attempt` is the one to record with it. */
  | { readonly kind: "restart"; readonly replica: DesiredReplica; readonly attempt: number }
  /** Another digest or revision: the new one starts with attempt 0. */
  | { readonly kind: "replace"; readonly replica: DesiredReplica; readonly from: ReplicaVersion }
  | { readonly kind: "stop"; readonly component: string; readonly index: number };

/** Which bytes in which revision. */
export interface ReplicaVersion {
  readonly digest: string;
  readonly revision: string;
}

const BACKOFF_MIN_MS = 1_000;
const BACKOFF_MAX_MS = 60_000;
/** A replica that ran this long was healthy. */
const HEALTHY_MS = 60_000;

/** The steps for this moment. Replicas that wait for their back-off have none: see {@link dueAt}. */
export function reconcile(
  desired: readonly DesiredReplica[],
  observed: readonly ObservedReplica[],
  nowMs: number,
): Step[] {
  const there = new Map(observed.map((replica) => [keyOf(replica), replica]));
  const wanted = new Set(desired.map(keyOf));
  const steps: Step[] = [];
  for (const replica of desired) {
    const step = stepFor(replica, there.get(keyOf(replica)), nowMs);
    if (step !== undefined) steps.push(step);
  }
  for (const replica of observed) {
    if (wanted.has(keyOf(replica)) || replica.state.kind === "stopping") continue;
    steps.push({ kind: "stop", component: replica.component, index: replica.index });
  }
  return steps.sort((a, b) => byReplica(subjectOf(a), subjectOf(b)));
}

/**
 * When {@link reconcile} has to be asked again though nothing happened: the end of the nearest
 * back-off, or `undefined`.
 */
export function dueAt(
  desired: readonly DesiredReplica[],
  observed: readonly ObservedReplica[],
): number | undefined {
  const wanted = new Map(desired.map((replica) => [keyOf(replica), replica]));
  let due: number | undefined;
  for (const replica of observed) {
    const want = wanted.get(keyOf(replica));
    if (want === undefined) continue;
    const at = restartAt(want, replica);
    if (at !== undefined && (due === undefined || at < due)) due = at;
  }
  return due;
}

/** How long a replica waits before its `attempt`th start since it was last healthy, from 1. */
export function backoffMs(attempt: number): number {
  return Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** (attempt - 1));
}

/** `orders@blue#0`: how people and logs name a replica. */
export function keyOf({ component, index }: { component: string; index: number }): string {
  return `${component}#${index}`;
}

function stepFor(
  replica: DesiredReplica,
  there: ObservedReplica | undefined,
  nowMs: number,
): Step | undefined {
  if (there === undefined) return { kind: "start", replica };
  if (there.state.kind === "stopping") return undefined;
  if (!isSameVersion(replica, there)) {
    const { digest, revision } = there;
    return { kind: "replace", replica, from: { digest, revision } };
  }
  const at = restartAt(replica, there);
  if (at === undefined || at > nowMs) return undefined;
  return { kind: "restart", replica, attempt: nextAttempt(there) };
}

function restartAt(replica: DesiredReplica, there: ObservedReplica): number | undefined {
  const { state } = there;
  if (state.kind !== "exited" || !isSameVersion(replica, there)) return undefined;
  if (!isWantedBack(replica.spec, state.success)) return undefined;
  return state.atMs + backoffMs(nextAttempt(there));
}

function nextAttempt({ attempt, state }: ObservedReplica): number {
  return state.kind === "exited" && state.ranMs >= HEALTHY_MS ? 1 : attempt + 1;
}

/** A request handler never ends by itself: whatever ended it, it is wanted back. */
function isWantedBack(spec: ComponentSpec, success: boolean): boolean {
  if (spec.world === "wasi:http/proxy" || spec.restart === "always") return true;
  return spec.restart === "on-failure" && !success;
}

function isSameVersion(a: ReplicaVersion, b: ReplicaVersion): boolean {
  return a.digest === b.digest && a.revision === b.revision;
}

function subjectOf(step: Step): { component: string; index: number } {
  return step.kind === "stop" ? step : step.replica;
}
