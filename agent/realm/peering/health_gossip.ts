/**
 * How health records spread over links: each node signs its own every other second, and hands on
 * those of others to whoever does not hear them directly.
 *
 * @module
 */
import { RealmError } from "../../kernel/error.ts";
import type { SyncSigner, VerifySync } from "../../kernel/verify.ts";
import { HealthBoard } from "./health_board.ts";
import { type HealthRecord, readHealth, type SignedHealth, signHealth } from "./health_record.ts";
import type { Frame } from "./frame.ts";
import type { Link } from "../../kernel/peering/link.ts";
import { batches, type LinkSet } from "../../kernel/peering/link_set.ts";

/** What a node says of itself but for what this module adds. */
export type OwnRecord = Omit<HealthRecord, "key" | "epoch" | "counter" | "heard">;

/** What a {@link HealthGossip} is made with. */
export interface HealthGossipInit {
  /** The own key, and that in text form. */
  readonly signer: SyncSigner;
  readonly self: string;
  /** Greater than at every earlier start. */
  readonly epoch: number;
  readonly links: LinkSet<Link, Frame>;
  readonly verify: VerifySync;
  readonly nowMs: () => number;
  /** From 0, below 1. */
  readonly random: () => number;
  readonly isApproved: (peer: string) => boolean;
  /** `undefined` as long as there is nothing to say. */
  readonly own: () => OwnRecord | undefined;
  /** Round trip to a linked peer in milliseconds, where it was measured. */
  readonly latencyMs: (peer: string) => number | undefined;
  /** A node says that it runs something else than before. */
  readonly changed: () => void;
}

/** Own health is told after at least so long, and up to a third more. */
const PAUSE_MS = 1_500;
/** And so soon after the log changed. */
const SOON_MS = 200;
/** A peer that said something so recently is one that is heard. */
const HEARD_MS = 3_000;
/** Records of others wait this long, to go on together. */
const GATHER_MS = 5;

/** See the module. */
export class HealthGossip {
  readonly board: HealthBoard;
  readonly #init: HealthGossipInit;
  /** Records of others to hand on. */
  #news: { readonly signed: SignedHealth; readonly from: string }[] = [];
  #newsAtMs = Infinity;
  #epoch: number;
  #counter = 0;
  #tellAtMs = 0;

  constructor(init: HealthGossipInit) {
    this.#init = init;
    this.#epoch = init.epoch;
    this.board = new HealthBoard(init.self);
  }

  /** When {@link tick} has something to do. */
  get dueMs(): number {
    return Math.min(this.#tellAtMs, this.#newsAtMs);
  }

  /** What this node says of itself is not true any more. */
  tellSoon(): void {
    this.#tellAtMs = Math.min(this.#tellAtMs, this.#init.nowMs() + SOON_MS);
  }

  /** Tells and hands on what is due. Answers whether it told of itself. */
  tick(nowMs: number): boolean {
    if (nowMs >= this.#newsAtMs) this.#handOn();
    if (nowMs < this.#tellAtMs) return false;
    this.#tellAtMs = nowMs + PAUSE_MS * (1 + this.#init.random() / 3);
    const own = this.#init.own();
    if (own === undefined) return true;
    const signed = signHealth(this.#record(own, nowMs), (bytes) => this.#init.signer.sign(bytes));
    this.board.put(signed, nowMs);
    for (const link of this.#init.links.trusted()) this.#send(link, [signed]);
    return true;
  }

  #record(own: OwnRecord, nowMs: number): HealthRecord {
    const heard = this.#init.links.all()
      .filter((link) => link.isOpen && nowMs - link.heardAtMs < HEARD_MS)
      .map(({ peer }) => [peer, this.#init.latencyMs(peer) ?? -1] as const);
    return { ...own, key: this.#init.self, epoch: this.#epoch, counter: this.#counter++, heard };
  }

  /** A link with an approved peer opened: it is told of everyone. */
  opened(link: Link): void {
    this.#send(link, this.board.all());
  }

  /** A peer sent records. */
  received(link: Link, encoded: readonly Uint8Array[]): void {
    const { links, verify, nowMs } = this.#init;
    for (const bytes of encoded) {
      if (this.board.has(bytes)) continue;
      let signed: SignedHealth | undefined;
      try {
        signed = readHealth(bytes, (record) => this.#isNews(record), verify);
      } catch (error) {
        if (!(error instanceof RealmError)) throw error;
        const fault = error.code === "bad-signature" ? "forged" : "garbage";
        return links.fault(link, fault, error.message);
      }
      if (signed === undefined) continue;
      if (signed.record.key === this.#init.self) {
        // Said at an earlier start, of which this node lost count.
        this.#epoch = signed.record.epoch + 1;
        continue;
      }
      const before = this.board.get(signed.record.key)?.record;
      this.board.put(signed, nowMs(), signed.record.key === link.peer);
      if (!runsTheSame(before, signed.record)) this.#init.changed();
      this.#news.push({ signed, from: link.peer });
      this.#newsAtMs = Math.min(this.#newsAtMs, nowMs() + GATHER_MS);
    }
  }

  #isNews(record: HealthRecord): boolean {
    if (record.key === this.#init.self) {
      // What was said since the start is below the counter: it comes back as no news.
      return record.epoch > this.#epoch ||
        (record.epoch === this.#epoch && record.counter >= this.#counter);
    }
    return this.#init.isApproved(record.key) && this.board.isNews(record);
  }

  #handOn(): void {
    const news = this.#news;
    this.#news = [];
    this.#newsAtMs = Infinity;
    for (const link of this.#init.links.trusted()) {
      // It says itself whom it hears; what is old of that is a second or two old.
      const hears = new Map(this.board.get(link.peer)?.record.heard);
      const others = news.filter(({ signed: { record: { key } }, from }) =>
        from !== link.peer && key !== link.peer && !hears.has(key)
      );
      this.#send(link, others.map(({ signed }) => signed));
    }
  }

  /** Health that there is no room for is left out: the next is better. */
  #send(link: Link, records: readonly SignedHealth[]): void {
    for (const batch of batches(records.map(({ bytes }) => bytes))) {
      if (link.hasRoom) this.#init.links.send(link, { frame: "health", records: batch });
    }
  }
}

/** What of a record other nodes act on. */
export type ActedOn = Pick<
  HealthRecord,
  "version" | "replicas" | "failures" | "verdicts" | "basis" | "refusal" | "turns"
>;

/**
 * Whether two records say the same of what runs, by which manifest, drains and scales, of what failed
 * and of what is refused. Of what is left out here a node takes no notice until something else
 * changes, which may be never.
 */
export function runsTheSame(a: ActedOn | undefined, b: ActedOn): boolean {
  const said = ({ version, replicas, failures, verdicts, basis, refusal, turns }: ActedOn) =>
    JSON.stringify([version, replicas, failures, verdicts, basis, refusal, turns]);
  return a !== undefined && said(a) === said(b);
}
