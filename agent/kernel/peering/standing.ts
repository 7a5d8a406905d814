/**
 * The standing of peers: what they did wrong, and until when they are not linked with.
 *
 * Each fault has points; points fade by one a second. With {@link CUT_AT} of them a peer is cut,
 * for 10 s the first time, twice as long each time, up to ten minutes, and after a day without
 * a fault it starts anew. Few faults are proof of ill will, so no peer is cut for ever: to end it
 * is the owner's decision, by revocation.
 *
 * Memory is bounded: of more than {@link PEERS_MAX} peers the ones whose faults are oldest are
 * forgotten. Times are in milliseconds of one monotonic clock.
 *
 * @module
 */

/** What a peer can do wrong, with its points. */
export const FAULTS = {
  /** Bytes that are no frame, or a frame that is not allowed at this point. */
  garbage: 100,
  /** A signature that does not verify: no honest node hands such a thing on. */
  forged: 100,
  /** A session that lies: endless, repeated, or of other events than were asked for. */
  "dishonest sync": 100,
  /** Frames faster than is allowed. */
  flood: 50,
  /** Events that it said it has and did not send. They may have become void meanwhile. */
  withheld: 10,
  /** Events that their author may not write. An honest node may have learnt less or more. */
  unauthorised: 5,
} as const;

/** One of {@link FAULTS}. */
export type Fault = keyof typeof FAULTS;

/** Points at which a peer is cut. */
export const CUT_AT = 100;
/** Peers whose faults are remembered. */
export const PEERS_MAX = 1024;

const BAN_MIN_MS = 10_000;
const BAN_MAX_MS = 600_000;
const FORGET_MS = 86_400_000;

interface Record {
  points: number;
  atMs: number;
  bans: number;
  bannedUntilMs: number;
}

/** See the module. */
export class Standing {
  readonly #records = new Map<string, Record>();

  /** Notes a fault. Answers for how long the peer is to be cut, if it is. */
  fault(peer: string, fault: Fault, nowMs: number): number | undefined {
    const record = this.#current(peer, nowMs);
    this.#records.delete(peer); // the newest is last
    this.#records.set(peer, record);
    if (this.#records.size > PEERS_MAX) this.#records.delete(this.#records.keys().next().value!);
    record.points += FAULTS[fault];
    if (record.points < CUT_AT) return undefined;
    const ms = Math.min(BAN_MAX_MS, BAN_MIN_MS * 2 ** record.bans);
    record.points = 0;
    record.bans += 1;
    record.bannedUntilMs = nowMs + ms;
    return ms;
  }

  /** Whether nothing is to be had to do with the peer now. */
  isBanned(peer: string, nowMs: number): boolean {
    return (this.#records.get(peer)?.bannedUntilMs ?? 0) > nowMs;
  }

  #current(peer: string, nowMs: number): Record {
    const record = this.#records.get(peer);
    if (record === undefined || nowMs - record.atMs > FORGET_MS) {
      return { points: 0, atMs: nowMs, bans: 0, bannedUntilMs: 0 };
    }
    record.points = Math.max(0, record.points - (nowMs - record.atMs) / 1000);
    record.atMs = nowMs;
    return record;
  }
}
