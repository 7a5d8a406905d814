/**
 * Whom to dial now, so that the peers that should be connected are.
 *
 * Pure: what happened comes in, with the time; what to do goes out. Each target is tried at its
 * addresses in turn, and after each failure waits longer: from half a second, twice as long each
 * time, up to a minute, less a random part of up to half of it, so that many nodes that lost one
 * another do not come back in step. Of two nodes that want each other the one with the smaller key
 * dials at once and the other a moment later, by when there is nothing left to do.
 *
 * A peer that is connected by way of a relay is still looked for directly, ever less often: what was
 * in between may have gone, and a relay has better things to do.
 *
 * @module
 */

/** Somebody to be connected with: a key, or an address where whoever answers is welcome. */
export interface Target {
  /** The text form of the key, or the address. */
  readonly id: string;
  /** Whether `id` is a key. */
  readonly isKey: boolean;
  /** Where to find it, the best first; none when nothing is known. */
  readonly addresses: readonly string[];
}

/** How a target is connected: by way of a relay is better than not at all. */
export type Connected = "direct" | "relayed" | "no";

/** One thing to do. */
export type RedialStep =
  | { readonly kind: "dial"; readonly id: string; readonly address: string }
  /** Nothing is known of where this key is: others may know. */
  | { readonly kind: "find"; readonly id: string };

/** Times in milliseconds. */
export interface RedialTimes {
  readonly firstMs: number;
  readonly longestMs: number;
  /** How much later the node with the larger key dials. */
  readonly courtesyMs: number;
  /** How long a connection lasts before what failed earlier is forgotten. */
  readonly stableMs: number;
  /** Steps that are under way at once. */
  readonly parallelMax: number;
}

export const REDIAL_TIMES: RedialTimes = Object.freeze({
  firstMs: 500,
  longestMs: 60_000,
  courtesyMs: 400,
  stableMs: 10_000,
  parallelMax: 8,
});

/** A relayed peer is tried directly as after so many failures, and one more each time. */
const FAILURES_OF_RELAYED = 3;

interface Attempt {
  /** When it may be tried next. */
  nextMs: number;
  failures: number;
  /** Which address is next. */
  turn: number;
  underway: boolean;
  /** Whether it was connected by way of a relay when that was last looked at. */
  isRelayed: boolean;
  /** Since when it is connected. */
  upSinceMs?: number | undefined;
}

/** The state of all targets. */
export class Redial {
  readonly #attempts = new Map<string, Attempt>();
  readonly #times: RedialTimes;

  /** `random` gives numbers from 0 up to 1. */
  constructor(
    readonly self: string,
    readonly random: () => number,
    times: Partial<RedialTimes> = {},
  ) {
    this.#times = { ...REDIAL_TIMES, ...times };
  }

  /**
   * What to do now; each step is under way until {@link done} is told of it. Targets that are no
   * longer named are forgotten.
   */
  due(
    nowMs: number,
    targets: readonly Target[],
    connectionOf: (target: Target) => Connected,
  ): RedialStep[] {
    const named = new Set(targets.map(({ id }) => id));
    let room = this.#times.parallelMax;
    for (const [id, { underway }] of this.#attempts) {
      if (underway) room--;
      else if (!named.has(id)) this.#attempts.delete(id);
    }
    const steps: RedialStep[] = [];
    for (const target of targets) {
      if (target.id === this.self) continue;
      const attempt = this.#attempt(target, nowMs);
      const connection = connectionOf(target);
      if (connection === "no") {
        if (attempt.upSinceMs !== undefined) this.#lost(attempt, nowMs);
      } else attempt.upSinceMs ??= nowMs;
      const isRelayed = connection === "relayed";
      if (isRelayed && !attempt.isRelayed) this.#wait(attempt, nowMs, FAILURES_OF_RELAYED);
      attempt.isRelayed = isRelayed;
      if (connection === "direct") continue;
      if (room === 0 || attempt.underway || attempt.nextMs > nowMs) continue;
      const { id } = target;
      const addresses = isRelayed
        ? target.addresses.filter((address) => !address.includes("/p2p-circuit"))
        : target.addresses;
      const address = addresses[attempt.turn % (addresses.length || 1)];
      if (address === undefined && isRelayed) continue;
      attempt.underway = true;
      room--;
      steps.push(address === undefined ? { kind: "find", id } : { kind: "dial", id, address });
    }
    return steps;
  }

  /**
   * A step ended. After a failure the next address is due after a while, after `found` an address at
   * once.
   */
  done(id: string, nowMs: number, outcome: "connected" | "found" | "failed"): void {
    const attempt = this.#attempts.get(id);
    if (attempt === undefined) return;
    attempt.underway = false;
    if (outcome === "connected") {
      attempt.upSinceMs ??= nowMs;
      if (attempt.isRelayed) this.#wait(attempt, nowMs); // the direct one may not last
    } else if (outcome === "found") attempt.nextMs = nowMs;
    else this.#wait(attempt, nowMs);
  }

  /** Something has changed, for example an address was learnt: it is due now. */
  hurry(id: string, nowMs: number): void {
    const attempt = this.#attempts.get(id);
    if (attempt !== undefined) attempt.nextMs = Math.min(attempt.nextMs, nowMs);
  }

  #attempt({ id, isKey }: Target, nowMs: number): Attempt {
    let attempt = this.#attempts.get(id);
    if (attempt === undefined) {
      const late = isKey && this.self > id ? this.#times.courtesyMs : 0;
      attempt = { nextMs: nowMs + late, failures: 0, turn: 0, underway: false, isRelayed: false };
      this.#attempts.set(id, attempt);
    }
    return attempt;
  }

  /** A connection that lasted starts afresh; one that ended at once is a failure as any other. */
  #lost(attempt: Attempt, nowMs: number): void {
    if (nowMs - attempt.upSinceMs! >= this.#times.stableMs) attempt.failures = 0;
    attempt.upSinceMs = undefined;
    this.#wait(attempt, nowMs);
  }

  #wait(attempt: Attempt, nowMs: number, failures = attempt.failures): void {
    attempt.failures = failures;
    const { firstMs, longestMs } = this.#times;
    const fullMs = Math.min(firstMs * 2 ** Math.min(attempt.failures, 30), longestMs);
    attempt.failures++;
    attempt.turn++;
    attempt.nextMs = nowMs + fullMs * (1 - this.random() / 2);
  }
}
